"""What the cells of a study say: estimates for each cell, statistics for each architecture. Pure functions.

A measured cell is a cell with, for every metric, ``mean_<metric>``, ``std_<metric>`` (ddof=0) and the bounds
``low_<metric>`` and ``high_<metric>`` of its 95 % interval; None where there is nothing to compute it from. Under
"controls" it has the measured cells of other studies that differ from it in nothing but what varies between trials.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from analysis import stats
from config import STREAMS
from labels import in_order


def pool(pairs: list[dict], grouping: str) -> dict[str, np.ndarray]:
    """All ``pairs`` together: predictions, relative PD and share of mismatches (groups,); nan of an empty group."""
    groups = [pair["breakdown"][grouping] for pair in pairs]
    count, distance, mismatches = (
        np.array([group[name] for group in groups], dtype=float)
        for name in ("n_predictions", "relative_pd", "top1_mismatches")
    )
    total = count.sum(axis=0)

    def share(values: np.ndarray) -> np.ndarray:
        return np.divide(np.nansum(values, axis=0), total, out=np.full_like(total, np.nan), where=total > 0)

    return {"n_predictions": total, "relative_pd": share(count * distance), "mismatch_share": share(mismatches)}


TRIAL_METRICS = (
    "train_loss",
    "val_loss",
    "train_accuracy",
    "val_accuracy",
    "probe_entropy",
    "calibration_error",
    "training_time",
)
PAIR_METRICS = (
    "relative_pd",
    "true_label_pd",
    "global_pd",
    "total_variation",
    "jensen_shannon",
    "symmetric_kl",
    "hellinger",
    "top1_mismatches",
    "one_right",
    "both_wrong",
    "normalized_mismatch",
    "top5_agreement",
    "loss_correlation",
    "perplexity_correlation",
    "ensemble_gain",
    "text_distance",
)
CORRELATIONS = ("loss_correlation", "perplexity_correlation")  # which can be below 0, as no other metric can
COMPARED_METRICS = ("val_loss", "val_accuracy", "relative_pd", "top1_mismatches", "training_time")


def completed_trials(cell: dict) -> list[dict]:
    return [trial for trial in cell["trials"] if trial["status"] == "completed"]


def measure(cell: dict, others: Iterable[dict] = ()) -> dict:
    """The cell with its counts and estimates, and its controls among ``others``.

    Diverged trials count, but take part in no estimate.
    """
    completed = completed_trials(cell)
    measured = {
        **cell,
        "n_trials": len(completed),
        "n_diverged": len(cell["trials"]) - len(completed),
        "n_predictions": cell["pairs"][0]["n_predictions"] if cell["pairs"] else None,
        "total_training_time": math.fsum(trial["training_time"] for trial in cell["trials"]),
        "total_evaluation_time": math.fsum(trial["evaluation_time"] for trial in cell["trials"]),
        "controls": controls_of(cell, others),
    }
    for metric in TRIAL_METRICS:
        values = [trial[metric] for trial in completed if trial.get(metric) is not None]
        measured |= _described(metric, values, stats.mean_estimate(values) if values else None)
    for metric in PAIR_METRICS:
        measured |= _described_pairs(metric, cell["pairs"], len(completed))
    return measured


def over_training(cell: dict) -> list[dict]:
    """For every evaluation its step, val loss (on the fixed windows) and relative PD, named as in a measured cell."""
    completed, pairs = completed_trials(cell), cell["pairs"]
    points = []
    for place, step in enumerate(completed[0]["history"]["step"] if completed else ()):
        losses = [trial["history"]["val_loss"][place] for trial in completed]
        then = [pair | {"relative_pd": pair["history"]["relative_pd"][place]} for pair in pairs]
        described = _described_pairs("relative_pd", then, len(completed))
        points.append({"step": step, **_described("val_loss", losses, stats.mean_estimate(losses)), **described})
    return points


def _described_pairs(metric: str, pairs: list[dict], n_trials: int) -> dict:
    values = [pair[metric] for pair in pairs if pair.get(metric) is not None]
    whole = values and len(values) == math.comb(n_trials, 2)
    return _described(metric, values, _pairwise(pairs, metric) if whole else None)


def _described(metric: str, values: list[float], interval: stats.Estimate | None) -> dict:
    return {
        f"mean_{metric}": float(np.mean(values)) if values else None,
        f"std_{metric}": float(np.std(values)) if len(values) > 1 else None,
        f"low_{metric}": finite(interval.low) if interval else None,
        f"high_{metric}": finite(interval.high) if interval else None,
    }


def _pairwise(pairs: list[dict], metric: str) -> stats.Estimate:
    """The interval over pairs, cut off at 0, below which no distance can be."""
    estimate = stats.pairwise_estimate(pair_matrix(pairs, metric)[1])
    return estimate if metric in CORRELATIONS else replace(estimate, low=np.maximum(estimate.low, 0))


def pair_matrix(pairs: list[dict], metric: str) -> tuple[list[int], np.ndarray]:
    """The trials that take part in pairs (N,) and the metric between them (N, N); nan where it is unknown."""
    numbers = sorted({number for pair in pairs for number in pair["trials"]})
    matrix = np.full((len(numbers), len(numbers)), math.nan)
    np.fill_diagonal(matrix, 0)
    for pair in pairs:
        i, j = (numbers.index(number) for number in pair["trials"])
        matrix[i, j] = matrix[j, i] = math.nan if pair[metric] is None else pair[metric]
    return numbers, matrix


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def varied(cell: dict) -> tuple[str, ...]:
    """The random streams that differ between the cell's trials."""
    return tuple(name for name in STREAMS if name in cell["config"]["vary"])


def controls_of(cell: dict, others: Iterable[dict]) -> dict[tuple[str, ...], dict]:
    """Those of ``others``, measured, with all settings of ``cell`` but other streams varied: by these streams.

    Of several with the same streams that with the most completed trials, of equals the first.
    """
    found = {}
    for other in others:
        streams = varied(other)
        if streams != varied(cell) and cell["config"] | {"vary": None} == other["config"] | {"vary": None}:
            found.setdefault(streams, []).append(other)
    return {streams: measure(max(cells, key=lambda c: len(completed_trials(c)))) for streams, cells in found.items()}


def measure_study(cells: list[dict], study: str) -> list[dict]:
    """The measured cells of a study, in the order of ``labels.LABELS``; ``cells`` are those of all studies."""
    found = {(cell["model"], cell["activation"]): cell for cell in cells if cell["study"] == study}
    models = in_order(model for model, _ in found)
    activations = in_order(activation for _, activation in found)
    grid = [(model, activation) for model in models for activation in activations]
    return [measure(found[place], cells) for place in grid if place in found]


def by_model(measured: list[dict]) -> dict[str, list[dict]]:
    """Measured cells by architecture, in the order given."""
    groups = {}
    for cell in measured:
        groups.setdefault(cell["model"], []).append(cell)
    return groups


def with_breakdown(measured: list[dict]) -> list[dict]:
    """The cells that have pairs and say where these disagree; cells of earlier versions do not."""
    return [cell for cell in measured if cell["pairs"] and all("breakdown" in pair for pair in cell["pairs"])]


def with_passages(measured: list[dict]) -> list[dict]:
    """The cells that have what two trials or more predict on the study's passage."""
    return [cell for cell in measured if sum("passage" in trial for trial in completed_trials(cell)) > 1]


def compare_activations(measured: list[dict]) -> dict:
    """Over the activations of one architecture: how many, and mean, std and CV (%) of every cell's mean.

    CV is std (ddof=0) / mean, as in the report. It contains the noise of the cells' own estimates; what that
    alone would give says ``omnibus.sensitivity_rows``.
    """
    compared = {
        "model": measured[0]["model"],
        "n_trials": sum(cell["n_trials"] for cell in measured),
        "n_diverged": sum(cell["n_diverged"] for cell in measured),
        "planned_trials": sum(cell["planned_trials"] for cell in measured),
    }
    for metric in COMPARED_METRICS:
        known = [cell for cell in measured if cell[f"mean_{metric}"] is not None]
        means = [cell[f"mean_{metric}"] for cell in known]
        compared |= {
            f"n_activations_{metric}": len(means),
            f"mean_{metric}": float(np.mean(means)) if means else None,
            f"std_{metric}": float(np.std(means)) if len(means) > 1 else None,
            f"cv_{metric}": _percent(stats.coefficient_of_variation(means)) if len(means) > 1 else None,
        }
    return compared


def _percent(fraction: float) -> float | None:
    return finite(100 * fraction)


# ---------------------------------------------------------------- all studies


def latest_study(cells: list[dict]) -> str:
    """The study whose newest trial is the newest of all, controls aside if there are others; of equals the first."""
    newest = {}
    for cell in [cell for cell in cells if varied(cell) == STREAMS] or cells:
        finished = max((trial["finished"] for trial in cell["trials"]), default="")
        newest[cell["study"]] = max(finished, newest.get(cell["study"], ""))
    return max(sorted(newest), key=newest.get)


def shared_environment(cells: list[dict]) -> dict:
    """Each fact of the environments: its value where all trials agree, else the list of its values."""
    environments = [trial["environment"] for cell in cells for trial in cell["trials"]]
    names = sorted({name for environment in environments for name in environment})
    return {name: _agreed([environment.get(name) for environment in environments]) for name in names}


def _agreed(values: list):
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    return distinct[0] if len(distinct) == 1 else sorted(distinct, key=str)


CELL_FIELDS = (
    "model",
    "activation",
    "status",
    "n_parameters",
    "planned_trials",
    "n_trials",
    "n_diverged",
    "n_predictions",
    *(f"{kind}_{metric}" for metric in TRIAL_METRICS + PAIR_METRICS for kind in ("mean", "std", "low", "high")),
)


def summarize_study(measured: list[dict]) -> dict:
    """What the summary file keeps of one study; the same cells give the same record."""
    return {
        "cells": [{name: cell[name] for name in CELL_FIELDS} for cell in measured],
        "architectures": [compare_activations(group) for group in by_model(measured).values()],
        "environment": shared_environment(measured),
        "total_time_seconds": math.fsum(
            cell["total_training_time"] + cell["total_evaluation_time"] for cell in measured
        ),
    }


def mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
