"""Does the loss around trained models predict how far they disagree? Rank correlations over cells, with intervals.

Pure functions of measured cells.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.measure import MeasuredCell, by_model
from analysis.metrics_compared import rank_correlation
from analysis.stats import Estimate

LANDSCAPE = ("barrier", "curvature", "gradient_noise")
PREDICTORS = (*LANDSCAPE, "val_loss")  # the loss, to see whether the others say more than it
NORMAL_QUANTILE = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Prediction:
    """Spearman's correlation of a metric's means with PD's: over all cells, and of ranks within architectures."""

    metric: str
    over_all: Estimate
    within: Estimate

    @property
    def shown(self) -> bool:
        """Whether the interval within architectures, where size and kind of model are the same, leaves out 0."""
        return self.within.has_interval and not self.within.low <= 0 <= self.within.high


def with_landscape(measured: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells with a PD of which anything of the landscape was measured."""
    return [
        cell
        for cell in measured
        if cell.estimate("relative_pd").known and any(cell.estimate(name).known for name in LANDSCAPE)
    ]


def predictions(measured: list[MeasuredCell]) -> list[Prediction]:
    """One for each of ``PREDICTORS``, over the cells that have a landscape."""
    return [_prediction(with_landscape(measured), metric) for metric in PREDICTORS]


def _prediction(measured: list[MeasuredCell], metric: str) -> Prediction:
    known = [cell for cell in measured if cell.estimate(metric).known]
    groups = [
        np.array([(cell.mean("relative_pd"), cell.mean(metric)) for cell in cells]).T
        for cells in by_model(known).values()
    ]
    if not groups:
        unknown = spearman_estimate(None, 0)
        return Prediction(metric, unknown, unknown)
    over_all = rank_correlation([np.concatenate(groups, axis=1)])
    # A group's mean rank is estimated: each group but one takes one cell's worth of information with it.
    within_cells = len(known) - (len(groups) - 1)
    return Prediction(
        metric,
        spearman_estimate(over_all, len(known)),
        spearman_estimate(rank_correlation(groups), within_cells),
    )


def spearman_estimate(rho: float | None, n: int) -> Estimate:
    """Spearman's ``rho`` of ``n`` cells with its 95 % interval; without one for fewer than five cells.

    atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3)): Bonett & Wright 2000, Psychometrika 65:23. It takes cells as
    independent, though those of an architecture share seeds.
    """
    if rho is None:
        return Estimate(math.nan, math.nan, math.nan, n)
    if n < 5:
        return Estimate(rho, math.nan, math.nan, n)
    if abs(rho) >= 1:  # by rounding, a little more; the interval of a perfect order has no width
        return Estimate(rho, rho, rho, n)
    reach = NORMAL_QUANTILE * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + side * reach) for side in (-1, 1))
    return Estimate(rho, low, high, n)
