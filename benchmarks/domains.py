"""Does the activation matter in small classifiers of other kinds of data? The tasks of ``examples/``, each with the
six activations and twelve seeds, at learning rates from pilots; run by hand:

    python -m benchmarks.domains [--workers W]

Trains what is missing in sensitivity_results/domains/ (the same command goes on) and writes
benchmarks/results/domains.json. Stops where the ``rates`` of a task are not those that its pilots choose.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from activations import activation_named
from analysis.domains import measured
from analysis.own_answer import own_answer
from config import ACTIVATIONS
from own.folder import complete_seeds, facts_of, jobs_of
from own.pilots import RATES, pilots_of, rates_line, rates_of, train_saying
from own.task import Task, load_task
from own.trial import Result, Setting
from runner.pilots import Grid, choose
from runner.study_run import workers_for
from study import cli
from study.environment import environment
from study.files import ROOT, UserError, digest, write_json

OUT = Path(__file__).parent / "results" / "domains.json"
FOLDER = ROOT / "sensitivity_results" / "domains"
SEEDS, SEED_BASE = 12, 42
PILOT_SEEDS = (9000, 9001)


@dataclass(frozen=True)
class Domain:
    """How a task is trained; ``more_rates`` extend the grid where the best rate was at its edge."""

    steps: int
    more_rates: tuple[float, ...] = ()

    @property
    def grid(self) -> Grid:
        return Grid(tuple(sorted({*RATES, *self.more_rates})), PILOT_SEEDS, self.steps)


DOMAINS = {"digits": Domain(1000), "mnist": Domain(500), "vowels": Domain(400), "power": Domain(400)}


def path_of(name: str) -> Path:
    return ROOT / "examples" / f"{name}.py"


def pilots(name: str, workers: int) -> dict:
    """The pilots of a task, by activation and rate the loss from each seed; UserError where the task's rates are not
    those that they choose."""
    task, grid = load_task(path_of(name)), DOMAINS[name].grid
    found = pilots_of(task, grid, ACTIVATIONS, FOLDER / name, workers, cli.say)
    choices = choose(grid, found)
    if task.rates != rates_of(choices):
        raise UserError(f"{task.path} has other rates than its pilots choose: {rates_line(choices)}")
    losses: dict[str, dict[str, list]] = {name: {f"{rate:g}": [] for rate in grid.rates} for name in ACTIVATIONS}
    for each in found:
        losses[each["activation"]][f"{each['rate']:g}"].append(each["val_loss"])
    return {
        "seeds": list(grid.seeds),
        "losses": losses,
        "at_edge": [activation for (_, activation), choice in choices.items() if choice.at_edge],
    }


def study(name: str, workers: int) -> dict:
    """The trials of a task, and what they say."""
    task, steps = load_task(path_of(name)), DOMAINS[name].steps
    folder = FOLDER / name / digest(repr(facts_of(task, "cpu")).encode())[:16]
    setting = Setting(task.path, folder, steps, "cpu")
    train_saying(setting, jobs_of(ACTIVATIONS, SEEDS, SEED_BASE), workers, cli.say, name)
    seeds = dict(complete_seeds(setting, ACTIVATIONS, range(SEED_BASE, SEED_BASE + SEEDS)))
    whole = {seed: found for seed, found in seeds.items() if not any(each.diverged for each in found.values())}
    trials = {activation: [found[activation] for found in whole.values()] for activation in ACTIVATIONS}
    answer = own_answer(
        {activation: [each.end for each in found] for activation, found in trials.items()},
        {activation: [each.early for each in found] for activation, found in trials.items()},
        list(whole),
        task.targets,
    )
    return {
        "source": task.source,
        "steps": steps,
        "samples": len(trials[ACTIVATIONS[0]][0].end),
        "diverged": SEEDS - len(whole),
        "rates": dict(task.rates),
        "parameters": parameters(task),
        "training_loss": {activation: last_losses(found) for activation, found in trials.items()},
        **measured(answer),
    }


def parameters(task: Task) -> dict[str, int]:
    return {
        name: sum(each.numel() for each in task.model(activation_named(name)).parameters()) for name in ACTIVATIONS
    }


def last_losses(trials: list[Result]) -> list[float]:
    """The mean training loss over the last fifth of the steps but one, and over the last."""
    losses = np.mean([each.losses for each in trials], axis=0)
    fifths = np.array_split(losses, 5)
    return [float(fifths[-2].mean()), float(fifths[-1].mean())]


def record(workers: int) -> dict:
    """UserError, before anything of the study is trained, that names every task with other rates than its pilots'."""
    found: dict[str, dict] = {}
    faults = []
    for name in DOMAINS:
        try:
            found[name] = {"pilots": pilots(name, workers)}
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    domains: Mapping[str, dict] = {name: {**study(name, workers), **found[name]} for name in DOMAINS}
    return {"seed_base": SEED_BASE, "environment": environment("cpu"), "domains": domains}


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(prog="benchmarks.domains", description="Train the tasks of examples/ with six activations.")
    parser.add_argument("--workers", type=cli.up_to(4096), default=workers_for("cpu"), metavar="W")
    workers = parser.parse_args(argv).workers

    def action() -> int:
        write_json(OUT, record(workers))
        cli.say(f"wrote {OUT}")
        return 0

    return cli.outcome("benchmarks.domains", action)


if __name__ == "__main__":
    sys.exit(main())
