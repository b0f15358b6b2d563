"""Do relative PD's companions give its answer? Verdicts by metric, and rank correlations. Pure functions."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.stats import norm, rankdata

from analysis.differences import Difference
from analysis.measure import MeasuredCell, by_model
from analysis.stats import ROUNDING, Estimate
from labels import label
from metrics import METRICS, PAIR_METRICS

SAME, MUCH_THE_SAME = 0.9, 0.7
FEWEST_CELLS = 3
FEWEST_WITH_INTERVAL = 5


def judged() -> tuple[str, ...]:
    """The metrics on which the rule for verdicts is applied."""
    return tuple(name for name, metric in PAIR_METRICS.items() if metric.judged)


def companions() -> tuple[str, ...]:
    """What is compared with relative PD: the other metrics of pairs, and the loss."""
    return (*(name for name in PAIR_METRICS if name != "relative_pd"), "val_loss")


def metric_label(name: str) -> str:
    return METRICS[name].label if name in METRICS else label(name)


# ---------------------------------------------------------------- the same differences by another metric


def contradictions(differences: Iterable[Difference], of_pd: Iterable[Difference]) -> int:
    """How many differences are shown with one sign where that of relative PD is shown with the other."""
    signs = {(each.model, each.activation, each.other): _shown_sign(each) for each in of_pd}
    return sum(_shown_sign(each) * signs[each.model, each.activation, each.other] < 0 for each in differences)


def _shown_sign(difference: Difference) -> float:
    return float(np.sign(difference.estimate.mean)) if difference.shown else 0.0


# ---------------------------------------------------------------- rank correlations


def rank_correlation(groups: list[np.ndarray]) -> float | None:
    """Spearman's rank correlation of two quantities, (2, cells) for each group; ranked within the groups.

    Ranks of each group are taken from their mean and pooled, so that differences between groups do not count.
    None for fewer than ``FEWEST_CELLS`` cells in all, or a quantity that does not vary.
    """
    ranks = [rankdata(group, axis=1) for group in groups]
    pooled = np.concatenate([rank - rank.mean(axis=1, keepdims=True) for rank in ranks], axis=1)
    if pooled.shape[1] < FEWEST_CELLS or not pooled.any(axis=1).all():
        return None
    return float(np.corrcoef(pooled)[0, 1])


def spearman_estimate(rho: float | None, n: int) -> Estimate:
    """Spearman's ``rho`` of ``n`` points with its 95 % interval; none for fewer than ``FEWEST_WITH_INTERVAL`` points
    or a perfect order, whose Fisher's z is infinite. NaN where there is no ``rho``.

    atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3)): Bonett & Wright 2000, Psychometrika 65:23. It takes points as
    independent, and has no room for the noise of the means that are ranked.
    """
    if rho is None or n < FEWEST_WITH_INTERVAL or abs(rho) > 1 - ROUNDING:
        return Estimate(math.nan if rho is None else rho, math.nan, math.nan, n)
    reach = norm.isf(0.025) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + side * reach) for side in (-1, 1))
    return Estimate(rho, low, high, n)


def spearman_within(groups: list[np.ndarray]) -> Estimate:
    """Spearman's of two quantities, (2, cells) for each group, ranked within the groups, with its interval.

    NaN for too few cells. A group's mean rank is estimated, so that each group but one takes one cell's worth of
    information with it.
    """
    known = [group for group in groups if group.size]
    if not known:
        return spearman_estimate(None, 0)
    n = sum(group.shape[1] for group in known) - (len(known) - 1)
    return spearman_estimate(rank_correlation(known), n)


def correlations(measured: list[MeasuredCell], first: str, second: str) -> tuple[float | None, float | None]:
    """Rank correlation of two metrics' means over all cells, and within architectures."""
    groups = [
        np.array([(cell.mean(first), cell.mean(second)) for cell in cells if _has_both(cell, first, second)]).T
        for cells in by_model(measured).values()
    ]
    groups = [group for group in groups if group.size]
    if not groups:
        return None, None
    return rank_correlation([np.concatenate(groups, axis=1)]), rank_correlation(groups)


def _has_both(cell: MeasuredCell, first: str, second: str) -> bool:
    return cell.estimate(first).known and cell.estimate(second).known


def agreement_with_pd(over_all: float | None, within: float | None, falls_with_pd: bool = False) -> str | None:
    """In words, by the weaker of two rank correlations; None where one is unknown."""
    if over_all is None or within is None:
        return None
    least, most = sorted(-rho if falls_with_pd else rho for rho in (over_all, within))
    if least >= SAME:
        return "the same"
    if least >= MUCH_THE_SAME:
        return "much the same"
    return "the opposite" if most <= -MUCH_THE_SAME else "another"
