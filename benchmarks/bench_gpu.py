"""What a GPU gives: a trial of either configuration, a recorded step beside a plain one, trials side by side.

    python -m benchmarks.bench_gpu [--iterations 5000]

full    a MiniGPT trial of the full configuration: seconds, validation loss
short   a trial of every architecture of the CPU configuration, 500 iterations, on the GPU: seconds, twice; the PD
        of the two, which should be 0
steps   training steps a second of every architecture of the full configuration, plain and as a CUDA graph
shared  short trials an hour with 1, 2 and 4 worker processes on the GPU

What has been found is written after each measurement, and one that fails is noted as failed.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import config
import config_cpu
from labels import label
from metrics import relative_pd
from runner.workers import Event, run_jobs
from study import cli
from study.environment import environment
from study.files import ROOT, write_json
from study.plan import Study
from study.store import Store
from train import TrialRun, run_trial
from training.seeding import deterministic
from training.step import CHECKED, WARM_UP

SHORT = replace(config_cpu.CONFIG, study="short", iterations=500, eval_interval=50)
WORKERS = (1, 2, 4)
SETTLED = WARM_UP + CHECKED + 5  # steps after which libraries and the graph are ready


def study_in(folder: str, configuration: config.Config, device: str, recorded: bool = False) -> Study:
    store = Store(Path(folder, "results"), Path(folder, "checkpoints"))
    return Study(configuration, "cuda", device, store, cuda_graphs=recorded and device == "cuda")


def one_trial(configuration: config.Config, device: str, model: str = "minigpt") -> tuple[dict, float, object]:
    """The record of a trial, its wall time in seconds, and its final predictions."""
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, configuration, device)
        cell = study.cell(model, "gelu")
        start = time.perf_counter()
        record = run_trial(study, cell, 1)
        seconds = time.perf_counter() - start
        return record, seconds, study.store.read_predictions(cell, 1, record["predictions_sha256"])[-1]


def steps_per_second(configuration: config.Config, device: str, model: str, recorded: bool, count: int) -> float:
    """RuntimeError where a graph was to be replayed and was given up."""
    with deterministic(device), tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, configuration, device, recorded)
        run = TrialRun(study, study.cell(model, "gelu"), 1)
        for _ in range(SETTLED):
            run.advance()
        run.wait_for_device()
        if getattr(run.train_on, "given_up", False):
            raise RuntimeError("the graph does not give the bits of the plain step")
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(count):
                run.advance()
            run.wait_for_device()
            seconds.append(time.perf_counter() - start)
        return count / statistics.median(seconds)


def apart(work, *arguments):
    """In a process of its own, so that one measurement leaves nothing to the next."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def trials_per_hour(configuration: config.Config, device: str, n_workers: int) -> float:
    """Of ``2 n_workers`` trials on ``n_workers`` processes, their start included."""
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(folder, configuration, device)
        jobs = [(study.cell("minigpt", "gelu"), number) for number in range(1, 2 * n_workers + 1)]
        start = time.perf_counter()
        events: list[Event] = []
        run_jobs(study, n_workers, jobs, events.append, lambda: False)
        if failed := [event.detail for event in events if event.kind == "failed"]:
            raise RuntimeError(failed[0])
        return len(jobs) / (time.perf_counter() - start) * 3600


def the_same_twice(configuration: config.Config, device: str, model: str) -> dict:
    """A trial and, in another process, the same again: seconds, loss, and the PD of the two, 0 if deterministic."""
    (record, seconds, first), (_, again, second) = (apart(one_trial, configuration, device, model) for _ in range(2))
    return {
        "seconds": [seconds, again],
        "val_loss": record["val_loss"],
        "same_seed_pd": relative_pd(first, second),
    }


def full_trial(configuration: config.Config, device: str) -> dict:
    record, seconds, _ = apart(one_trial, configuration, device)
    return {"seconds": seconds, "val_loss": record["val_loss"], "iterations": configuration.iterations}


def attempted(work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` finds, or how it failed: one measurement that cannot be made does not cost the others."""
    try:
        return work(*arguments)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def measure(
    device: str, short: config.Config, full: config.Config, count: int, keep: Callable[[dict], None] = lambda _: None
) -> dict:
    """Everything, the most telling first; ``keep`` is given what has been found after each measurement."""
    found: dict[str, dict] = {"full": attempted(full_trial, full, device)}
    keep(found)
    for model in full.models:
        found.setdefault("short", {})[model] = attempted(the_same_twice, short, device, model)
        keep(found)
    for model in full.models:
        rates = found.setdefault("steps_per_second", {}).setdefault(model, {})
        for name, recorded in (("plain", False), ("recorded", True)):
            rates[name] = attempted(apart, steps_per_second, full, device, model, recorded, count)
            keep(found)
    for n in WORKERS:
        found.setdefault("trials_per_hour", {})[str(n)] = attempted(trials_per_hour, short, device, n)
        keep(found)
    return found


def describe(found: dict) -> str:
    def said(value: Any, say: Callable[[Any], list[str]]) -> list[str]:
        return [value["failed"]] if isinstance(value, dict) and "failed" in value else say(value)

    def of_trial(trial: dict) -> list[str]:
        return [*(f"{s:.1f}" for s in trial["seconds"]), f"{trial['val_loss']:.4f}", f"{trial['same_seed_pd']:g}"]

    (full,) = said(
        found["full"], lambda f: [f"{f['iterations']} iterations, {f['seconds']:.1f} s, val loss {f['val_loss']:.4f}"]
    )
    short = [[label(model), *said(trial, of_trial)] for model, trial in found["short"].items()]
    steps = [
        [label(model), *(text for rate in rates.values() for text in said(rate, lambda value: [f"{value:.1f}"]))]
        for model, rates in found["steps_per_second"].items()
    ]
    side_by_side = [[n, *said(rate, lambda value: [f"{value:.0f}"])] for n, rate in found["trials_per_hour"].items()]
    return "\n".join(
        [
            f"full MiniGPT trial: {full}",
            "",
            tabulate(short, ["short trial", "seconds", "again", "val loss", "PD of the two"], disable_numparse=True),
            "",
            tabulate(steps, ["full configuration, steps a second", "plain", "recorded"], disable_numparse=True),
            "",
            tabulate(side_by_side, ["workers on the GPU", "short trials an hour"], disable_numparse=True),
        ]
    )


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog="bench_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only shows that the code runs")
    parser.add_argument("--iterations", type=cli.positive_int, default=5000, help="of the full trial")
    parser.add_argument("--steps", type=cli.positive_int, default=100, help="training steps of one measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_gpu.json")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is available here")
    full = replace(config.CONFIG, iterations=args.iterations)
    header = {"environment": environment(args.device)}
    found = measure(args.device, SHORT, full, args.steps, lambda found: write_json(args.output, header | found))
    print(describe(found))
    print(f"\nwritten to {args.output}")


if __name__ == "__main__":
    main()
