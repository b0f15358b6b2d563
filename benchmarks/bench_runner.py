"""What the runner costs beside training and evaluating, and how that grows.

  python -m benchmarks.bench_runner [--trials 60]

overhead  seconds per trial that are neither training nor evaluating, once a worker has started: small trials (but
          predictions of full size) on one worker, in cells of three trials and in one cell that grows; and
          how much of it is the comparison with every other trial of the cell
planning  the largest study that may be asked for, from the start of the command to that of its first worker: with
          nothing done, and with everything done (as small files); seconds after the imports, and peak memory of the
          process
growth    CPU seconds of what follows each trial of a cell, the size of its file, and planning with 600 trials done
start     seconds of a run with nothing to do; share of CPU outside training and evaluation in a cell of 2 x 100 steps
memory    of a CPU worker over two rounds of the six architectures of the CPU configuration, one iteration each
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

from tabulate import tabulate

import config_cpu
from benchmarks.growth import bench_growth, command_cost, describe_growth, make_trial, study_in
from benchmarks.start import bench_start, describe_start
from config import ACTIVATIONS, MODELS, Config, Shape
from runner.workers import Event, run_jobs
from study import cli
from study.environment import environment
from study.files import ROOT, write_json
from study.known import Predictions
from study.options import MOST_TRIALS
from study.pairs import compare_two, probe_facts
from study.plan import Job, Study, planned_jobs
from study.store import Cell, fingerprint

GOALS = {"overhead_seconds": 0.1, "planning_seconds": 5, "planning_megabytes": 500, "worker_megabytes": 800}
PLANNED = len(MODELS) * len(ACTIVATIONS) * MOST_TRIALS

SMALL = replace(
    config_cpu.CONFIG,
    study="bench",
    shapes={"nanotransformer": Shape(layers=1, width=32, hidden=48, heads=2)},
    context=32,
    batch_size=16,
    iterations=2,
    eval_interval=1,
    eval_windows=4,
    texts=1,
    text_length=1,
)


def run_on_one_worker(study: Study, jobs: list[Job]) -> list[tuple[Job, float, int]]:
    """Run ``jobs``; returns each with the time of its end and the worker's memory then, in bytes."""
    ends = []

    def hear(event: Event) -> None:
        if event.kind == "progress":
            return
        if event.kind != "done":
            raise RuntimeError(event.detail)
        (worker,) = multiprocessing.active_children()
        ends.append((event.job, time.perf_counter(), resident_bytes(worker.pid)))

    run_jobs(study, 1, jobs, hear, lambda: False)
    return ends


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


# ---------------------------------------------------------------- overhead


def overheads(study: Study, jobs: list[Job]) -> list[float]:
    """Seconds of each of ``jobs`` but the first, which has the worker's start, that are not its training's."""
    ends = run_on_one_worker(study, jobs)
    seconds = []
    for (_, before, _), (job, end, _) in zip(ends, ends[1:], strict=False):
        record = study.store.read_record(*job)
        seconds.append(end - before - record["training_time"] - record["evaluation_time"])
    return seconds


def bench_overhead(n_trials: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, replace(SMALL, n_trials=3))
        in_cells = overheads(study, planned_jobs(study, ["nanotransformer"], list(ACTIVATIONS)))
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, replace(SMALL, n_trials=n_trials + 1))  # so that no trial completes the cell
        cell = study.cell("nanotransformer", "gelu")
        in_one = overheads(study, planned_jobs(study, [cell.model], [cell.activation])[:n_trials])
        per_pair = pair_seconds(study, cell)
    shown = [n for n in (3, 5, 10, 20, 40, 60, 100) if n <= n_trials]
    return {
        "cells_of_three": mean(in_cells),
        "growing_cell": [
            {"trial": n, "seconds": mean(in_one[max(0, n - 4) : n - 1]), "comparing": (n - 1) * per_pair}
            for n in shown  # each with up to two trials before it
        ],
    }


def pair_seconds(study: Study, cell: Cell) -> float:
    """Seconds that it takes to compare two trials of the cell."""
    records = [study.store.read_record(cell, number) for number in (1, 2)]
    p, q = (
        Predictions(study.store.predictions_of(cell, record["trial"], record), record["predictions_sha256"])
        for record in records
    )
    facts = probe_facts(study, cell)
    compare_two(p, q, *records, facts)  # after this, models keep what is computed of them alone
    start = time.perf_counter()
    for _ in range(20):
        compare_two(p, q, *records, facts)
    return (time.perf_counter() - start) / 20


# ---------------------------------------------------------------- planning


def planning_config() -> Config:
    n_trials = -(-PLANNED // (len(MODELS) * len(ACTIVATIONS)))
    return replace(config_cpu.CONFIG, study="bench", n_trials=n_trials)


def make_done(study: Study) -> None:
    """All files that planning looks at, of a study whose every trial is done; of each cell's records it reads one."""
    for model in MODELS:
        for activation in ACTIVATIONS:
            cell = study.cell(model, activation)
            study.store.trials_dir(cell).mkdir(parents=True)
            numbers = range(1, study.config.n_trials + 1)
            make_trial(study, cell, numbers[0])
            for number in numbers[1:]:
                study.store.record_path(cell, number).write_text("{}")
                study.store.predictions_path(cell, number).touch()
            write_json(study.store.cell_path(cell), done_cell(study, cell, numbers))


def done_cell(study: Study, cell: Cell, numbers: Iterable[int]) -> dict:
    """What a cell file has to hold; its trials have diverged, so there are no pairs and none are lacking."""
    facts = study.identity(cell)
    outcome = dict.fromkeys(("train_loss", "val_loss", "train_accuracy", "val_accuracy"))
    trial = {
        "status": "diverged",
        **outcome,
        "finished": "2026-01-01T00:00:00+00:00",
        "history": {"step": [0], "train_loss": [None], "val_loss": [None]},
        "environment": {},
        "training_time": 1.0,
        "evaluation_time": 1.0,
        "predictions_sha256": "0" * 64,
    }
    trials = [{"trial": number, "seed": study.config.seed_base + number - 1, **trial} for number in numbers]
    return {
        **asdict(cell),
        "status": "completed",
        "planned_trials": len(trials),
        "n_parameters": 1,
        "environment": {},
        "config": facts,
        "fingerprint": fingerprint(facts),
        "trials": trials,
        "pairs": [],
    }


def bench_planning() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, planning_config())
        nothing_done, _ = command_cost(study, "--dry-run")
        make_done(study)
        everything_done, _ = command_cost(study)
        return {"trials": PLANNED, "nothing_done": nothing_done, "everything_done": everything_done}


# ---------------------------------------------------------------- memory


def bench_memory() -> list[dict]:
    config = replace(config_cpu.CONFIG, study="bench", iterations=1, eval_interval=1, n_trials=2)
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, config)
        jobs = [(study.cell(model, "swiglu"), number) for number in (1, 2) for model in MODELS]
        return [
            {"model": cell.model, "round": number, "megabytes": size / 2**20}
            for (cell, number), _, size in run_on_one_worker(study, jobs)
        ]


# ---------------------------------------------------------------- report


def describe(results: dict) -> str:
    overhead, planning = results["overhead"], results["planning"]
    rows = [["in cells of three trials", overhead["cells_of_three"], None]]
    rows += [[f"trial {r['trial']} of one cell", r["seconds"], r["comparing"]] for r in overhead["growing_cell"]]
    plans = [
        [name.replace("_", " "), planning[name]["seconds"], planning[name]["megabytes"]]
        for name in ("nothing_done", "everything_done")
    ]
    memory = [[r["model"], r["round"], r["megabytes"]] for r in results["memory"]]
    return "\n\n".join(
        [
            tabulate(
                rows,
                ["overhead", f"seconds (goal: {GOALS['overhead_seconds']})", "of which comparing"],
                floatfmt=".3f",
            ),
            tabulate(
                plans,
                [
                    f"planning {planning['trials']:,} trials",
                    f"seconds (goal: {GOALS['planning_seconds']})",
                    f"peak MB (goal: {GOALS['planning_megabytes']})",
                ],
                floatfmt=("", ".2f", ".0f"),
            ),
            tabulate(
                memory,
                ["a worker's memory after", "round", f"MB (goal: {GOALS['worker_megabytes']})"],
                floatfmt=".0f",
            ),
        ]
    )


def main() -> None:
    parser = cli.Parser(
        prog="bench_runner", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=cli.positive_int, default=60, help="of the cell that grows (default: 60)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_runner.json")
    args = parser.parse_args()
    results: dict[str, Any] = {
        "overhead": bench_overhead(args.trials),
        "growth": bench_growth(args.trials),
        "start": bench_start(),
        "planning": bench_planning(),
        "memory": bench_memory(),
    }
    print(describe(results))
    print(f"\n{describe_growth(results['growth'])}\n\n{describe_start(results['start'])}")
    write_json(args.output, {"environment": environment("cpu"), "goals": GOALS, **results})
    print(f"\nwritten to {args.output}")


if __name__ == "__main__":
    main()
