"""Which order of activations recurs over architectures: mean ranks, Kendall's W, Friedman's test. Pure functions."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.stats import friedmanchisquare, rankdata

from analysis.measure import MeasuredCell, by_model
from labels import in_order


@dataclass(frozen=True)
class Ranking:
    """Mean rank of each activation over architectures by a metric; rank 1 is the lowest mean.

    ``w`` is Kendall's coefficient of concordance, from 0 to 1; ``p`` that of Friedman's test (1937, J. Am. Stat.
    Assoc. 32:675). Both are NaN for fewer than two architectures or three activations.
    """

    metric: str
    n_architectures: int
    ranks: dict[str, float]
    w: float = math.nan
    p: float = math.nan


def ranking(measured: list[MeasuredCell], metric: str) -> Ranking:
    """By the means of a metric. Only architectures with a mean for each of the recurring activations count."""
    names = recurring(measured)
    means = [_means(cells, names, metric) for cells in by_model(measured).values()]
    known = [block for block in means if not any(map(math.isnan, block))]
    blocks = np.array(known).reshape(len(known), len(names))
    ranks = rankdata(blocks, axis=1)
    mean_ranks = ranks.mean(axis=0) if len(blocks) else np.full(len(names), math.nan)
    by_name = dict(zip(names, map(float, mean_ranks), strict=True))
    if len(blocks) < 2 or len(names) < 3 or not np.ptp(ranks):
        return Ranking(metric, len(blocks), by_name)
    chi_squared, p = map(float, friedmanchisquare(*ranks.T))
    return Ranking(metric, len(blocks), by_name, chi_squared / (len(blocks) * (len(names) - 1)), p)


def _means(cells: list[MeasuredCell], names: list[str], metric: str) -> list[float]:
    """The mean of a metric with each of the activations ``names``; NaN where a cell is missing."""
    found = {cell.activation: cell for cell in cells}
    return [found[name].mean(metric) if name in found else math.nan for name in names]


def recurring(measured: list[MeasuredCell]) -> list[str]:
    """The activations that more than one architecture has, if there are several, else all."""
    architectures = Counter(cell.activation for cell in measured)
    least = 2 if len(by_model(measured)) > 1 else 1
    return in_order(name for name, count in architectures.items() if count >= least)
