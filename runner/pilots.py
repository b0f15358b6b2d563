"""Pilots of the trained study: the learning rate of each cell, chosen on seeds that the study does not use.

``python -m runner.pilots`` trains every cell at every rate of one grid, from the same seeds and for the same number
of steps, and notes each finished pilot in ``results/pilots/trained.json``. Given again it goes on; that file alone is
enough for it, so a clone continues too. ``--models NAME --rates R`` extends the grid of an architecture on one side.
``config_trained.RATES`` holds what was chosen. Those of variants and sizes go to a file of their own, ``--file``.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

from tabulate import tabulate

import config_trained
from config import MODEL_GROUPS
from labels import counted
from runner.study_run import run_study, workers_for
from runner.workers import run_jobs
from study import cli
from study.cell import check_cell
from study.corpus import read_corpus
from study.files import (
    RESULTS_DIR,
    OtherSettings,
    UserError,
    check_form,
    read_checked,
    write_bytes,
    write_checked,
)
from study.locks import exclusive
from study.options import MOST_STEPS, MOST_TRIALS, MOST_WORKERS, check_names, names_from
from study.plan import PRECISIONS, Job, Plan, Study, has_cuda, pending_jobs, planned_jobs
from study.schema import PilotsForm, no_faults
from study.store import Store, fingerprint

RATES = (0.002, 0.004, 0.008)  # not 0.001: after 800 steps of it CharLM was at 1.93 to 2.17 nats
SEED_BASE = 9000
FILE = RESULTS_DIR / "pilots" / "trained.json"
RULE = (
    "Chosen is the rate with the lowest mean validation loss at the end over the pilot seeds; "
    "one at which a pilot diverged comes last."
)


@dataclass(frozen=True)
class Grid:
    """What every cell is tried at: learning ``rates``, ``seeds`` and training steps."""

    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    iterations: int

    def study(
        self, rate: float, store: Store, device: str = config_trained.CONFIG.device, precision: str | None = None
    ) -> Study:
        """The trials of all cells at one rate, as a study; their files are not published."""
        config = replace(
            config_trained.CONFIG,
            study=f"{self.iterations}_steps_rate_{rate:g}",
            learning_rate=rate,
            rates={},
            iterations=self.iterations,
            eval_interval=self.iterations,
            seed_base=SEED_BASE,
            n_trials=len(self.seeds),
            landscape=False,
        )
        return Study(config, "trained", device, store, asked_precision=precision)


# ---------------------------------------------------------------- the file


def read_pilots(path: Path) -> tuple[Grid | None, list[dict]]:
    """The grid and the finished pilots in the file; none where there is no file yet. Damaged if it is another's."""
    if not path.exists():
        return None, []
    content = read_checked(path)
    check_form(path, content, PilotsForm, no_faults)
    grid = Grid(tuple(content["rates"]), tuple(content["seeds"]), content["iterations"])
    return grid, content["pilots"]


def write_pilots(path: Path, grid: Grid, pilots: list[dict]) -> None:
    """Write the file, and its table beside it for people."""
    header = {"rule": RULE, "rates": [*grid.rates], "seeds": [*grid.seeds], "iterations": grid.iterations}
    write_checked(path, {**header, "pilots": pilots})
    write_bytes(path.with_suffix(".md"), describe(grid, pilots).encode())


def add_pilots(path: Path, grid: Grid, found: list[dict]) -> tuple[Grid, list[dict]]:
    """Add the pilots ``found`` to the file, in which another run may have noted others since; returns all of it."""
    with exclusive(path.with_name(f"{path.name}.lock"), wait=True):
        before, pilots = read_pilots(path)
        there = set(map(place_of, pilots))
        grid, pilots = extended(grid, before), pilots + [pilot for pilot in found if place_of(pilot) not in there]
        write_pilots(path, grid, pilots)
    return grid, pilots


def place_of(pilot: dict) -> tuple[str, str, float, int]:
    return pilot["model"], pilot["activation"], pilot["rate"], pilot["seed"]


def extended(grid: Grid, before: Grid | None) -> Grid:
    """The grid of the file, whose rates are those of every architecture and stay, with the seeds of both; ``grid``
    where there is none yet. UserError where the file's has other iterations."""
    if before is None:
        return grid
    if before.iterations != grid.iterations:
        raise UserError(
            f"the pilots that are there have {before.iterations} steps, not {grid.iterations}; "
            "give these a file of their own with --file"
        )
    return Grid(before.rates, tuple(sorted({*before.seeds, *grid.seeds})), grid.iterations)


def finished_pilots(study: Study, jobs: Iterable[Job], rate: float) -> list[dict]:
    """What the file keeps of those of ``jobs`` that are done: one small record each."""
    found = []
    for cell, number in jobs:
        if number in study.store.done_trials(cell):
            record = study.store.read_record(cell, number)
            times = ("training_time", "evaluation_time")
            kept = ("model", "activation", "seed", "status", "val_loss", *times, "fingerprint")
            found.append({**{name: record[name] for name in kept}, "rate": rate})
    return found


# ---------------------------------------------------------------- the choice


@dataclass(frozen=True)
class Choice:
    """The best rate of a cell so far.

    rate      None where at every rate a pilot diverged
    losses    mean validation loss at each rate of the grid, None where a pilot diverged; without those not run
    complete  whether every rate was run from every seed
    at_edge   whether a better rate may lie beyond the grid, because this is its lowest or highest, or there is none
    """

    rate: float | None
    losses: dict[float, float | None]
    complete: bool
    at_edge: bool


def choose(grid: Grid, pilots: list[dict]) -> dict[tuple[str, str], Choice]:
    """The choice of each (architecture, activation) that has pilots, by the ``RULE``.

    The grid of an architecture has every rate at which one of its cells has a pilot, too.
    """
    found: dict[tuple[str, str], dict[float, list[float | None]]] = {}
    rates: dict[str, set[float]] = {}
    for pilot in pilots:
        of_cell = found.setdefault((pilot["model"], pilot["activation"]), {})
        of_cell.setdefault(pilot["rate"], []).append(pilot["val_loss"])
        rates.setdefault(pilot["model"], set(grid.rates)).add(pilot["rate"])

    def choice(by_rate: dict[float, list[float | None]], tried: set[float]) -> Choice:
        losses = {rate: mean_or_none(seen) for rate, seen in sorted(by_rate.items())}
        finite = {rate: loss for rate, loss in losses.items() if loss is not None}
        best = min(finite, key=lambda rate: finite[rate], default=None)
        complete = all(len(by_rate.get(rate, [])) == len(grid.seeds) for rate in tried)
        return Choice(best, losses, complete, best in (None, min(tried), max(tried)))

    return {cell: choice(by_rate, rates[cell[0]]) for cell, by_rate in found.items()}


def shared_rates(chosen: dict[tuple[str, str], Choice]) -> dict[str, float]:
    """For each architecture of which every pilot was run, the rate with the lowest loss, as a mean over activations;
    none for one where at every rate some pilot diverged."""
    by_model: dict[str, list[Choice]] = {}
    for (model, _), choice in chosen.items():
        by_model.setdefault(model, []).append(choice)
    found = {}
    for model, choices in by_model.items():
        losses = {rate: mean_or_none([each.losses.get(rate) for each in choices]) for rate in choices[0].losses}
        finite = {rate: loss for rate, loss in losses.items() if loss is not None}
        if finite and all(each.complete for each in choices):
            found[model] = min(finite, key=lambda rate: finite[rate])
    return found


def mean_or_none(losses: list[float | None]) -> float | None:
    """The mean; None if one is None, because its pilot diverged."""
    finite = [loss for loss in losses if loss is not None]
    return mean(finite) if len(finite) == len(losses) else None


def describe(grid: Grid, pilots: list[dict]) -> str:
    """Loss by cell and rate, and what is chosen, as a Markdown text."""
    choices = choose(grid, pilots)
    rates = sorted({*grid.rates, *(pilot["rate"] for pilot in pilots)})

    def shown(choice: Choice, rate: float) -> str:
        if rate not in choice.losses:
            return "-"
        loss = choice.losses[rate]
        return "diverged" if loss is None else f"{loss:.4f}"

    def chosen(choice: Choice) -> str:
        if not choice.complete:
            return "not all run"
        return "none" if choice.rate is None else f"{choice.rate:g}"

    rows = [
        [*cell, *(shown(choice, rate) for rate in rates), chosen(choice), "yes" if choice.at_edge else ""]
        for cell, choice in choices.items()
    ]
    headers = ["model", "activation", *(f"{rate:g}" for rate in rates), "chosen", "at the edge"]
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=["left"] * 2)
    seeds = ", ".join(map(str, grid.seeds))
    shared = ", ".join(f"{model} {rate:g}" for model, rate in shared_rates(choices).items())
    return (
        f"Validation loss after {counted(grid.iterations, 'step')} from seed {seeds}, by learning rate. {RULE}\n\n"
        f"{table}\n\nOne rate for all activations, with the lowest mean loss over them: {shared or 'none yet'}.\n"
    )


# ---------------------------------------------------------------- the command


def parse(argv: list[str] | None) -> argparse.Namespace:
    config = config_trained.CONFIG
    parser = cli.Parser(prog="runner.pilots", description="Find the learning rate of each cell of the trained study.")
    groups = ", ".join(MODEL_GROUPS)
    parser.add_argument("--models", nargs="+", default=["all"], metavar="NAME", help=f"names, or lists: {groups}")
    parser.add_argument("--activations", nargs="+", default=["all"], metavar="NAME")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=cli.learning_rate,
        default=RATES,
        metavar="R",
        help=f"beside those in the file (default: {' '.join(map(str, RATES))})",
    )
    parser.add_argument(
        "--seeds",
        type=cli.up_to(MOST_TRIALS),
        default=1,
        metavar="N",
        help=f"pilots of a cell and rate, from {SEED_BASE} on",
    )
    parser.add_argument(
        "--iterations",
        type=cli.up_to(MOST_STEPS),
        default=config.iterations // 2,
        metavar="K",
        help=f"training steps, over which the schedule is spread (default: half of the study's {config.iterations})",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default=config.device, help=f"default: {config.device}")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of products (default: bfloat16 with CUDA, else float32)"
    )
    parser.add_argument(
        "--workers", type=cli.up_to(MOST_WORKERS), metavar="W", help="processes (default: one per core)"
    )
    parser.add_argument(
        "--file",
        type=cli.path,
        default=FILE,
        metavar="FILE",
        help=f"default: {FILE}; trials lie beside it, in a folder of its name",
    )
    parser.add_argument("--show", action="store_true", help="print the table of what is done, and stop")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    before, pilots = read_pilots(args.file)
    if args.show:
        if before is None:
            raise UserError(f"there is no {args.file} yet")
        cli.say(describe(before, pilots))
        return 0
    seeds = tuple(range(SEED_BASE, SEED_BASE + args.seeds))
    wanted = Grid(tuple(sorted(set(args.rates))), seeds, args.iterations)
    grid = extended(wanted, before)
    store = store_of(args.file)
    if args.device == "cuda" and not has_cuda():
        raise UserError("no CUDA device is available here; leave --device out")
    check_fingerprints(grid, store, pilots, args)
    read_corpus()
    return run_grid(grid, wanted.rates, store, args, pilots)


def store_of(file: Path) -> Store:
    """Where the trials behind a file lie: in a folder of their own, named like it."""
    folder = file.absolute().with_name(f"{file.stem}_trials")
    return Store(folder, folder / "checkpoints")


def check_fingerprints(grid: Grid, store: Store, pilots: list[dict], args: argparse.Namespace) -> None:
    """OtherSettings unless the pilots in the file were made with the settings of these."""
    for pilot in pilots:
        study = grid.study(pilot["rate"], store, args.device, args.precision)
        if pilot["fingerprint"] != fingerprint(study.identity(study.cell(pilot["model"], pilot["activation"]))):
            raise OtherSettings(
                f"{args.file} has pilots of other settings or other versions of torch or numpy; "
                "give these a file of their own with --file"
            )


def run_grid(grid: Grid, rates: Iterable[float], store: Store, args: argparse.Namespace, pilots: list[dict]) -> int:
    """Train what the file lacks of the grid and of ``rates``, architecture by architecture and rate by rate; returns
    the exit code."""
    code, whole = 0, grid
    everywhere = grid.study(grid.rates[0], store, args.device, args.precision)
    models = names_from(args.models, {"all": everywhere.config.models, **MODEL_GROUPS})
    activations = names_from(args.activations, {"all": everywhere.config.activations})
    check_names(everywhere, models, activations)
    for model in models:
        for rate in sorted({*grid.rates, *rates}):
            study = grid.study(rate, store, args.device, args.precision)
            jobs = lacking(planned_jobs(study, [model], activations), rate, pilots)
            if jobs:
                plan = Plan(jobs, pending_jobs(study, jobs), {})
                for cell in plan.cells:
                    check_cell(study, cell)  # where the file was removed, and its trials are of other settings
                cli.say(f"{model} at learning rate {rate:g}")
                ended = run_study(study, plan, partial(run_jobs, study, args.workers or workers_for(study.device)))
                whole, pilots = add_pilots(args.file, whole, finished_pilots(study, jobs, rate))
                code = max(code, ended)
            if code > cli.FAILED:
                return code
    cli.say(describe(whole, pilots))
    return code


def lacking(jobs: list[Job], rate: float, pilots: list[dict]) -> list[Job]:
    """Those of ``jobs`` that are in no record of the file."""
    there = set(map(place_of, pilots))
    return [
        (cell, number)
        for cell, number in jobs
        if (cell.model, cell.activation, rate, SEED_BASE + number - 1) not in there
    ]


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    return cli.outcome("runner.pilots", lambda: run(args))


if __name__ == "__main__":
    cli.leave(main())
