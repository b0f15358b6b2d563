"""What bfloat16 products do to the answer: the same trials in float32 and in bfloat16, pair by pair.

    python -m benchmarks.bench_precision [--models charlm tinylstm convlm] [--seeds 8] [--iterations 400] --folder DIR

Trials of config_trained.py, shortened, with seeds that are in no study. Of each architecture, by precision: the
validation loss, and PD and mismatches of trials with different seeds; and between precisions: the same of the two
trials with one seed. No figure is a time, so it may run beside other work; run again with the same folder, it goes on
where it was.
"""

import argparse
import itertools
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

import config_trained
import metrics
from analysis.stats import Estimate
from analysis.two_groups import distance_difference, distance_ratio, value_difference
from labels import label
from runner.pilots import SEED_BASE
from runner.workers import Event, run_jobs
from study import cli
from study.environment import environment
from study.files import ROOT, finite_or_none, write_json
from study.plan import Study, pending_jobs, planned_jobs
from study.store import Store

PRECISIONS = ("float32", "bfloat16")
MODELS = ("charlm", "tinylstm", "convlm")


def study_of(precision: str, seeds: int, iterations: int, folder: Path) -> Study:
    config = replace(
        config_trained.CONFIG,
        study=precision,
        iterations=iterations,
        eval_interval=iterations,
        contexts_between=1,
        seed_base=SEED_BASE,
        n_trials=seeds,
        landscape=False,
    )
    asked = None if precision == "float32" else precision
    store = Store(folder / "results", folder / "checkpoints")
    return Study(config, "trained", "cpu", store, asked_precision=asked)


def train(study: Study, models: list[str], activation: str, workers: int) -> None:
    jobs = pending_jobs(study, planned_jobs(study, models, [activation]))

    def on_event(event: Event) -> None:
        cell, number = event.job
        if event.kind == "failed":
            raise RuntimeError(event.detail)
        if event.kind == "done":
            print(f"{cell.name} trial {number}: {event.detail}", flush=True)

    run_jobs(study, workers, jobs, on_event, lambda: False)


def trials_of(study: Study, model: str, activation: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Validation losses (N,) and final predictions (samples, V) of each trial."""
    cell, store = study.cell(model, activation), study.store
    records = [store.read_record(cell, number) for number in range(1, study.config.n_trials + 1)]
    predictions = [store.predictions_of(cell, r["trial"], r)[-1] for r in records]
    return np.array([r["val_loss"] for r in records]), predictions


def distances(predictions: list[np.ndarray], metric) -> np.ndarray:
    """A metric of every two models: (N, N), symmetric with a zero diagonal."""
    found = np.zeros((len(predictions),) * 2)
    for i, j in itertools.combinations(range(len(predictions)), 2):
        found[i, j] = found[j, i] = metric(predictions[i], predictions[j])
    return found


def summary(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values)}


def interval(estimate: Estimate) -> dict[str, float | None]:
    return {name: finite_or_none(getattr(estimate, name)) for name in ("mean", "low", "high")}


def compare(studies: dict[str, Study], model: str, activation: str) -> dict:
    """Estimates are of bfloat16 beside float32, with 95 % intervals over seeds, which both share."""
    found = {precision: trials_of(study, model, activation) for precision, study in studies.items()}
    (losses, plain), (losses_there, rounded) = (found[precision] for precision in PRECISIONS)
    pd, pd_there = (distances(predictions, metrics.relative_pd) for predictions in (plain, rounded))
    same_seed = list(zip(plain, rounded, strict=True))
    upper = np.triu_indices(len(plain), 1)
    return {
        "model": model,
        "activation": activation,
        "loss": {name: summary(values.tolist()) for name, (values, _) in found.items()},
        "loss_difference": interval(value_difference(losses_there, losses, paired=True)),
        "pd_within": {
            name: summary(matrix[upper].tolist()) for name, matrix in zip(PRECISIONS, (pd, pd_there), strict=True)
        },
        "pd_difference": interval(distance_difference(pd_there, pd, paired=True)),
        "pd_ratio": interval(distance_ratio(pd_there, pd, paired=True)),
        "pd_between": summary([metrics.relative_pd(p, q) for p, q in same_seed]),
        "top1_within": {
            name: summary(distances(predictions, metrics.top1_mismatches)[upper].tolist())
            for name, (_, predictions) in found.items()
        },
        "top1_between": summary([metrics.top1_mismatches(p, q) for p, q in same_seed]),
    }


def describe(results: list[dict]) -> str:
    headers = ["", "loss", "in bfloat16, minus that", "PD over seeds", "in bfloat16, over that", "PD of one seed"]
    rows = [
        [
            label(r["model"]),
            f"{r['loss']['float32']['mean']:.4f}",
            "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**r["loss_difference"]),
            f"{r['pd_within']['float32']['mean']:.4f}",
            "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**r["pd_ratio"]),
            f"{r['pd_between']['mean']:.4f}",
        ]
        for r in results
    ]
    return tabulate(rows, headers, disable_numparse=True)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="bench_precision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=config_trained.CONFIG.models, default=list(MODELS))
    parser.add_argument("--activation", choices=config_trained.CONFIG.activations, default="gelu")
    parser.add_argument("--seeds", type=cli.positive_int, default=8)
    parser.add_argument("--iterations", type=cli.positive_int, default=400)
    parser.add_argument("--workers", type=cli.positive_int, default=1)
    parser.add_argument("--folder", type=cli.path, required=True, help="for the trials")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_precision.json")
    args = parser.parse_args(argv)
    studies = {name: study_of(name, args.seeds, args.iterations, args.folder.absolute()) for name in PRECISIONS}
    for study in studies.values():
        train(study, args.models, args.activation, args.workers)
    results = [compare(studies, model, args.activation) for model in args.models]
    print(f"\n{describe(results)}")
    header = {"environment": environment("cpu"), "seeds": args.seeds, "iterations": args.iterations}
    write_json(args.output, {**header, "results": results})
    print(f"\nwritten to {args.output}")


if __name__ == "__main__":
    main()
