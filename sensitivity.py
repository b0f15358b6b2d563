"""Your model, five minutes: does the choice of activation change how much two trainings of it disagree?

Trains the model of a task file with every activation from several seeds, as many as a budget of time pays for.
"""

import argparse
import contextlib
import json
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from analysis.compared_shown import tables
from analysis.own_answer import OwnAnswer, own_answer, own_json, sentences
from compare import check_output
from labels import counted
from own.fitness import examine
from own.folder import complete_seeds, facts_of, jobs_of, pending_of, planned_before, write_plan
from own.plan import DEFAULT_SEEDS, FEWEST_SEEDS, Cost, Plan, duration, extended, plan, seconds_of
from own.run import train_pending
from own.task import Task, chosen_activations, load_task
from own.trial import Job, Setting
from runner.study_run import workers_for
from runner.workers import Event
from study import cli
from study.files import UserError, write_bytes
from study.options import MOST_STEPS, MOST_TRIALS, MOST_WORKERS
from study.plan import device_here, has_cuda
from training.seeding import deterministic
from views.render import render

PROGRAM = "sensitivity.py"
RESULTS = Path("sensitivity_results")
SEED_BASE = 42
LINE = 110  # characters
DESCRIPTION = """\
Does the choice of activation change how much two trainings of your model disagree? Trains it with each activation
from several seeds, within a budget of time, and answers in words."""
EXAMPLES = """\
the task is a Python file:
  def model(activation):            activation() makes the module; activation.gated says that it halves the features
      return nn.Sequential(nn.Linear(64, 64), activation(), nn.Linear(64, 10))
  def batch(rng):                   one batch; all its randomness from rng, a NumPy generator
      i = rng.integers(0, len(x), 64); return x[i], y[i]
  probe, targets = x_test, y_test   fixed inputs to predict on, and their classes (optional)
  optional: loss(output, y), optimizer(parameters), predict(model, probe) -> probabilities (samples, classes)

examples:
  sensitivity.py my_task.py --activations relu gelu swish --budget 5min
  sensitivity.py my_task.py --activations relu gelu --budget 1h --html page.html     goes on with more seeds
  sensitivity.py my_task.py --activations relu gelu --steps 500 --dry-run            what would it cost?

Ctrl-C answers from the seeds that are complete; the same command goes on. More: docs/sensitivity.md

exit codes: 0; 2 for a task or options that cannot be used, in one line on stderr; 130 after Ctrl-C."""


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    return cli.outcome(PROGRAM, lambda: run(arguments))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.parser_with_examples(PROGRAM, DESCRIPTION, EXAMPLES)
    parser.add_argument("task", type=cli.path, metavar="TASK.py")
    parser.add_argument(
        "--activations", nargs="+", required=True, metavar="NAME", help="two or more; your own as my.py:Snake"
    )
    parser.add_argument(
        "--budget", type=time_span, default=300.0, metavar="TIME", help="such as 90s, 5min (default), 2h"
    )
    parser.add_argument(
        "--seeds",
        type=enough_seeds,
        metavar="N",
        help=f"trials of each activation, {FEWEST_SEEDS} or more (default: {DEFAULT_SEEDS}, or as the budget allows)",
    )
    parser.add_argument(
        "--steps", type=cli.up_to(MOST_STEPS), metavar="K", help="training steps (default: as the budget allows)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one"
    )
    parser.add_argument(
        "--workers", type=cli.up_to(MOST_WORKERS), metavar="W", help="trials at once (default: one for each core)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check the task, print the plan and its cost, and stop"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words and tables")
    parser.add_argument("--html", type=cli.path, metavar="FILE", help="also write one page to read and send")
    parser.add_argument(
        "--results-dir", type=cli.path, metavar="DIR", help=f"where trials are kept (default: {RESULTS}/NAME-OF-TASK)"
    )
    return parser.parse_args(argv)


def time_span(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def enough_seeds(text: str) -> int:
    value = cli.up_to(MOST_TRIALS)(text)
    if value < FEWEST_SEEDS:
        raise argparse.ArgumentTypeError(f"{value} seeds are too few to be judged; {FEWEST_SEEDS} or more")
    return value


# ---------------------------------------------------------------- the command


@dataclass(frozen=True)
class Begun:
    """A task that was found fit, what its trials cost, and what is planned; ``pending`` is what of it is not done."""

    task: Task
    setting: Setting
    facts: dict
    activations: tuple[str, ...]
    cost: Cost
    plan: Plan
    workers: int
    pending: list[Job]

    @property
    def seeds(self) -> range:
        return range(SEED_BASE, SEED_BASE + self.plan.seeds)

    @property
    def seconds_left(self) -> float:
        return self.cost.seconds(len(self.pending) / len(self.activations), self.plan.steps, self.workers)

    @property
    def minutes_a_seed(self) -> float:
        return self.cost.of_seed(self.plan.steps) / self.workers / 60

    def as_json(self) -> dict:
        shown = {name: getattr(self.plan, name) for name in ("seeds", "steps", "seconds")}
        return {"activations": list(self.activations), **shown}


def run(arguments: argparse.Namespace) -> int:
    if arguments.html is not None:
        check_output(arguments.html)
    code = 0
    # Beside the one object that --json prints, what is said on the way goes to stderr.
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        begun = prepare(arguments)
        cli.say(described(begun))
        if not arguments.dry_run:
            code = train(begun)
    if arguments.dry_run:
        if arguments.json:
            print(json.dumps({"plan": begun.as_json()}, indent=1))
        return 0
    try:
        answer(begun, arguments)
    except UserError as error:
        if not code:
            raise
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # stopped too early, which is no mistake
    return code


def prepare(arguments: argparse.Namespace) -> Begun:
    """Check the task and make the plan; nothing is written."""
    names, own = chosen_activations(arguments.activations)
    if len(names) < 2:
        raise UserError("one activation has nothing to be compared with; give two or more")
    if arguments.device == "cuda" and not has_cuda():
        raise UserError("no CUDA device is available here; choose --device cpu")
    device = device_here() if arguments.device == "auto" else arguments.device
    task = load_task(arguments.task)
    for name in task.without_rate(names):
        cli.say(f"no rate for {name}: the optimizer's own")
    folder = (arguments.results_dir or RESULTS / arguments.task.stem).absolute()
    facts = facts_of(task, device)
    before = planned_before(folder, facts)
    if before and arguments.steps not in (None, before.steps):
        raise UserError(
            f"the trials in {folder} have {before.steps} steps; leave --steps out, or choose another --results-dir"
        )
    cli.say(f"{task.path}: a few steps with {counted(len(names), 'activation')}, twice, to check and to time them")
    with deterministic(device):
        cost, shape, warnings = examine(task, names, SEED_BASE, device, own)
    if device == "cuda":
        torch.cuda.empty_cache()  # the memory that this process still holds is for those that train
    for warning in warnings:
        cli.say(f"warning: {warning}")
    workers = arguments.workers or workers_for(device)
    if before:
        planned = extended(before, cost, arguments.budget, workers, arguments.seeds)
    else:
        planned = plan(cost, arguments.budget, workers, arguments.seeds, arguments.steps)
    setting = Setting(arguments.task.absolute(), folder, planned.steps, device, own, shape=shape)
    pending = pending_of(setting, jobs_of(names, planned.seeds, SEED_BASE))
    return Begun(task, setting, facts, names, cost, planned, workers, pending)


def described(begun: Begun) -> str:
    """The plan and its cost, before it is spent."""
    steps = ", ".join(f"{name} {1000 * seconds:.3g} ms" for name, seconds in begun.cost.step.items())
    n_trials = begun.plan.seeds * len(begun.activations)
    done = n_trials - len(begun.pending)
    trials = f"{counted(n_trials, 'trial')}{f' ({done} done)' if done else ''}"
    return (
        f"a step takes {steps}\n"
        f"plan: {len(begun.activations)} activations x {begun.plan.seeds} seeds x {begun.plan.steps} steps, "
        f"{trials} on {counted(begun.workers, 'worker')}: about {duration(begun.seconds_left)}"
    )


def train(begun: Begun) -> int:
    """Train what is pending; returns the exit code."""
    setting, steps = begun.setting, begun.plan.steps
    n_trials = len(begun.pending)
    bar = tqdm(total=n_trials * steps, unit="step", disable=not sys.stderr.isatty(), leave=False)
    start = time.monotonic()
    reached: dict[Job, int] = {}
    done: list[Job] = []

    def on_event(event: Event) -> None:
        if event.kind in ("progress", "done"):
            now = event.progress.get("step", steps)
            bar.update(now - reached.get(event.job, 0))
            reached[event.job] = now
        if event.kind == "done" and bar.disable:
            done.append(event.job)
            name, seed = event.job
            seconds = time.monotonic() - start
            left = duration(seconds * (n_trials * steps / sum(reached.values()) - 1))
            count = f"{len(done)} of {n_trials}, about {left} left"
            cli.say(f"[{seconds:.0f} s]  {name} seed {seed}  {event.detail}; {count}")

    with bar:
        stopped = train_pending(
            setting,
            begun.workers,
            begun.pending,
            on_event,
            begin=lambda: write_plan(setting.folder, begun.facts, begun.plan),
        )
    if stopped:
        cli.say(cli.STOPPED)
        return 128 + stopped
    return 0


# ---------------------------------------------------------------- the answer


def answer(begun: Begun, arguments: argparse.Namespace) -> None:
    """Say what the complete seeds tell; UserError if there are fewer than two."""
    complete = dict(complete_seeds(begun.setting, begun.activations, begun.seeds))
    diverged = [
        f"{name} seed {seed}" for seed, found in complete.items() for name, result in found.items() if result.diverged
    ]
    whole = {seed: found for seed, found in complete.items() if not any(each.diverged for each in found.values())}
    if len(whole) < 2:
        lost = f", {', '.join(diverged)} diverged" if diverged else ""
        yet = "" if diverged and len(complete) == len(begun.seeds) else " yet"
        raise UserError(f"no answer{yet}: {counted(len(whole), 'seed')} complete with every activation{lost}")
    by_name = {name: [found[name] for found in whole.values()] for name in begun.activations}
    found = own_answer(
        {name: [each.end for each in results] for name, results in by_name.items()},
        {name: [each.early for each in results] for name, results in by_name.items()},
        list(whole),
        begun.task.targets,
    )
    said = list(sentences(found, begun.plan.steps, begun.minutes_a_seed))
    said += [
        f"The training loss of {name} did not fall, so these models have learned nothing."
        for name, results in by_name.items()
        if not fell([each.losses for each in results])
    ]
    if diverged:
        said.append(f"Diverged, and their seeds left out with every activation: {', '.join(diverged)}.")
    show(found, said, begun, arguments)


def show(found: OwnAnswer, said: list[str], begun: Begun, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(own_json(found, begun.as_json(), said), indent=1, allow_nan=False))
    else:
        for sentence in said:
            print(textwrap.fill(sentence, LINE, subsequent_indent="  ", break_long_words=False))
        for table in tables(found.compared):
            print(f"\n{render(table, 'github')}", flush=True)
    if arguments.html:
        from views.compare_page import compare_page  # here, because nothing else needs matplotlib

        write_bytes(arguments.html, compare_page(found.compared, said, PROGRAM).encode(errors="replace"))


def fell(losses: Sequence[np.ndarray]) -> bool:
    """Whether the mean training loss of several trials, each (steps,), is lower in the last tenth of the steps."""
    mean = np.mean(losses, axis=0)
    few = max(1, len(mean) // 10)
    return bool(mean[-few:].mean() < mean[:few].mean())


if __name__ == "__main__":
    cli.leave(main())
