"""Pilots of a user's task: a learning rate for each activation, chosen on seeds that are not those of its trials.

``python -m own.pilots my_task.py --steps K`` trains every activation at every rate of one grid, for as many steps as
the trials are to have, and prints the loss on ``probe`` of each and the line with ``rates`` for the task. Given again
it goes on. What is in the task's ``rates`` does not matter.
"""

import argparse
import ast
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from config import ACTIVATIONS as STUDIED
from own.fitness import FEWEST_STEPS, check_predictions, look
from own.folder import facts_of, jobs_of, pending_of
from own.run import train_pending
from own.task import Task, chosen_activations, load_task
from own.trial import Job, Setting
from runner.pilots import Choice, Grid, choose, describe
from runner.study_run import workers_for
from runner.workers import Event
from study import cli
from study.files import UserError, digest
from study.options import MOST_STEPS, MOST_WORKERS
from study.own_code import OwnCode
from study.users_code import files_of, hash_of
from training.seeding import deterministic

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
SEED_BASE = 9000
RESULTS = Path("sensitivity_results")
LEAST = 1e-12  # a probability whose logarithm is taken
NOT_OWN = OwnCode()


def pilots_of(
    task: Task,
    grid: Grid,
    activations: Sequence[str],
    folder: Path,
    workers: int,
    say: Callable[[str], None],
    shape: tuple[int, ...] | None = None,
    own: OwnCode = NOT_OWN,
) -> list[dict]:
    """Train what is pending and return all pilots as ``runner.pilots.choose`` takes them. ``folder`` may have those
    of other tasks and versions; ``shape`` is that of predictions, ``own`` has the user's activations.
    KeyboardInterrupt where a signal stops it."""
    facts = {**facts_of(task, "cpu"), "source": source_without_rates(task.path)}
    folder = folder / f"pilots-{digest(repr([facts, grid.iterations]).encode())[:16]}"
    found = []
    for each in grid.rates:
        place = folder / f"rate_{each:g}"
        setting = Setting(task.path.absolute(), place, grid.iterations, "cpu", own, rate=each, shape=shape)
        jobs = jobs_of(activations, len(grid.seeds), grid.seeds[0])
        train_saying(setting, jobs, workers, say, f"{task.path.stem} at rate {each:g}")
        found += [pilot(task, setting, job) for job in jobs]
    return found


def examine(task: Task, grid: Grid, activations: Sequence[str], own: OwnCode) -> tuple[int, ...]:
    """A few steps of every activation, before anything is spent; returns the shape of predictions. UserError for a
    task that pilots cannot be of."""
    if task.targets is None:
        raise UserError(f"{task.path}: pilots are chosen by their loss on probe, so the task needs targets")
    with deterministic("cpu"):
        for name in activations:
            at_lowest = replace(task, rates={name: grid.rates[0]})
            found = look(at_lowest, Job(name, grid.seeds[0]), "cpu", own, FEWEST_STEPS)
            check_predictions(task, found)
    return found.predictions.shape


def pilot(task: Task, setting: Setting, job: Job) -> dict:
    result = setting.result(job)
    assert result is not None and task.targets is not None
    loss = None if result.diverged else probe_loss(result.end, task.targets)
    name = task.path.stem
    return {"model": name, "activation": job.activation, "rate": setting.rate, "seed": job.seed, "val_loss": loss}


def probe_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The mean cross-entropy, in nats, of probabilities (samples, classes)."""
    of_targets = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(of_targets, LEAST)).mean())


def train_saying(setting: Setting, jobs: Sequence[Job], workers: int, say: Callable[[str], None], what: str) -> None:
    """Train those of ``jobs`` that are pending, with a line for each. KeyboardInterrupt where a signal stops it."""
    pending = pending_of(setting, jobs)
    start, done = time.monotonic(), 0

    def on_event(event: Event) -> None:
        nonlocal done
        if event.kind == "done":
            done += 1
            left = (time.monotonic() - start) / done * (len(pending) - done)
            name, seed = event.job
            say(f"{what}: {name} seed {seed} {event.detail}, {done} of {len(pending)}, about {left:.0f} s left")

    if pending and train_pending(setting, workers, pending, on_event):
        raise KeyboardInterrupt


def source_without_rates(path: Path) -> str:
    """``users_code.source_of`` a task but for its ``rates``, comments and layout."""
    files = files_of(path)
    tree = ast.parse(files[path])
    tree.body = [statement for statement in tree.body if not assigns_rates(statement)]
    return hash_of({**files, path: ast.unparse(tree).encode()}, path.parent)


def assigns_rates(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "rates"


def rates_line(choices: dict[tuple[str, str], Choice]) -> str:
    """What is to be written into the task."""
    return f"rates = {rates_of(choices)}".replace("'", '"')


def rates_of(choices: dict[tuple[str, str], Choice]) -> dict[str, float]:
    """The chosen rates by activation; none where every pilot diverged."""
    return {activation: each.rate for (_, activation), each in choices.items() if each.rate is not None}


# ---------------------------------------------------------------- the command


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="own.pilots", description="Find the learning rate of each activation for a task.")
    parser.add_argument("task", type=cli.path, metavar="TASK.py")
    parser.add_argument("--activations", nargs="+", default=list(STUDIED), metavar="NAME")
    parser.add_argument(
        "--steps", type=cli.up_to(MOST_STEPS), required=True, metavar="K", help="as many as trials have"
    )
    shown = " ".join(map(str, RATES))
    parser.add_argument(
        "--rates", nargs="+", type=cli.learning_rate, default=RATES, metavar="R", help=f"default: {shown}"
    )
    parser.add_argument("--seeds", type=cli.up_to(100), default=2, metavar="N", help=f"from {SEED_BASE} on")
    parser.add_argument(
        "--workers", type=cli.up_to(MOST_WORKERS), metavar="W", help="processes (default: one per core)"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    task = load_task(args.task)
    grid = Grid(tuple(sorted(set(args.rates))), tuple(range(SEED_BASE, SEED_BASE + args.seeds)), args.steps)
    names, own = chosen_activations(args.activations)
    shape = examine(task, grid, names, own)
    folder = (RESULTS / args.task.stem).absolute()
    found = pilots_of(task, grid, names, folder, args.workers or workers_for("cpu"), cli.say, shape, own)
    cli.say(describe(grid, found))
    cli.say(rates_line(choose(grid, found)))
    return 0


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    return cli.outcome("own.pilots", lambda: run(args))


if __name__ == "__main__":
    cli.leave(main())
