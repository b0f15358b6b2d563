"""PD where all activations of an architecture have come to the same loss. Pure functions of measured cells.

The equal loss of an architecture is the highest that any pair of its trials ended at: the mean of the two, over the
fixed validation windows of the training curves. A metric at that loss is read off each pair's own curve, linearly
between the evaluations around it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.measure import MeasuredCell, by_model, measure
from metrics import PAIR_METRICS


class When(StrEnum):
    """At which point of training models are compared."""

    END = "the end"
    EQUAL_LOSS = "equal loss"


@dataclass(frozen=True, eq=False)
class AtEqualLoss:
    """A cell ``at_end`` and ``matched``, which has the followed metrics of its pairs at the loss ``level``.

    ``step`` is that at which its pairs came to this loss, on average. ``coarse_pd`` is its mean PD there if read off
    every other evaluation only, which tells how much the reading depends on how densely training was followed.
    """

    at_end: MeasuredCell
    matched: MeasuredCell
    level: float
    step: float
    coarse_pd: float


def followed_metrics(measured: list[MeasuredCell]) -> list[str]:
    """The metrics of pairs whose course over training every cell has."""
    pairs = [pair for cell in measured for pair in cell.pairs]
    followed = [name for name, metric in PAIR_METRICS.items() if metric.followed]
    return [name for name in followed if all(name in pair["history"] for pair in pairs)]


def at_loss(losses: list[float], distances: list[float | None], level: float) -> float | None:
    """``distances`` where ``losses``, of the same evaluations, first come down to ``level``; linear in between.

    None where that loss is not reached, or a distance beside it is unknown.
    """
    reached = next((place for place, loss in enumerate(losses) if loss <= level), None)
    if reached is None:
        return None
    before = max(reached - 1, 0)
    first, second = distances[before], distances[reached]
    if first is None or second is None:
        return None
    share = (losses[before] - level) / (losses[before] - losses[reached]) if reached else 0.0
    return float(first + share * (second - first))


def pair_losses(cell: MeasuredCell, pair: dict) -> list[float]:
    """Mean val loss of a pair's two trials at every evaluation."""
    history = {trial["trial"]: trial["history"]["val_loss"] for trial in cell.completed}
    return np.mean([history[number] for number in pair["trials"]], axis=0).tolist()


def at_equal_loss(
    measured: list[MeasuredCell], groups: Iterable[list[MeasuredCell]] | None = None
) -> list[AtEqualLoss]:
    """Every cell at the equal loss of its architecture; of its group, where ``groups`` of ``measured`` are given."""
    found = []
    metrics = followed_metrics(measured)
    for cells in by_model(measured).values() if groups is None else groups:
        losses = [[pair_losses(cell, pair) for pair in cell.pairs] for cell in cells]
        level = max((of_pair[-1] for of_cell in losses for of_pair in of_cell), default=math.nan)
        found += [_matched(cell, of_cell, level, metrics) for cell, of_cell in zip(cells, losses, strict=True)]
    return found


def _matched(cell: MeasuredCell, losses: list[list[float]], level: float, metrics: list[str]) -> AtEqualLoss:
    fine, coarse = (
        [
            _pair_at_loss(pair, of_pair, level, metrics, every)
            for pair, of_pair in zip(cell.pairs, losses, strict=True)
        ]
        for every in (1, 2)
    )
    return AtEqualLoss(
        cell,
        measure(cell.content | {"pairs": fine}),
        level,
        _mean([pair["step"] for pair in fine]),
        _mean([pair["relative_pd"] for pair in coarse]),
    )


def _pair_at_loss(pair: dict, losses: list[float], level: float, metrics: list[str], every: int) -> dict:
    """The pair with only the followed metrics, at that loss, and the step; by every ``every``-th evaluation, counted
    from the end, and the first."""
    places = sorted({0, *range(len(losses) - 1, -1, -every)})
    seen, history = [losses[place] for place in places], pair["history"]
    values = {name: at_loss(seen, [history[name][place] for place in places], level) for name in (*metrics, "step")}
    return {"trials": pair["trials"], "n_predictions": pair["n_predictions"], "history": history, **values}


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan
