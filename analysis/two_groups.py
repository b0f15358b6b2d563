"""Two groups of models that may share nothing: how far apart their mean distances are, and the test for it.

``analysis/stats.py`` compares activations whose trials share their seeds. Here the two groups may have different
numbers of models, trained from any seeds. The mean over the pairs of each group is a U-statistic with its own
jackknife variance; the groups are independent, so the variances add, on Welch's (1947, Biometrika 34:28) degrees of
freedom. The test is the one that belongs to this interval. In simulation (``benchmarks/simulated.py``'s models,
1,500 studies a case, 6 v 6 and 6 v 10) it rejects equal means at a nominal 5 % in .02 to .06 of studies where both
groups are alike, the models in each equally or unequally far from the rest, and in .07 to .10 where the models of
one group alone are very unequal. Permuting the models' labels, also of a studentized statistic (Janssen 1997, Stat.
Probab. Lett. 36:9), was tried beside it: .03 to .07 and up to .12 (.19 without studentizing), so Welch's test it
is.

Pure functions over arrays. ``a`` (N_a, N_a) and ``b`` (N_b, N_b) are distances within each group, symmetric with a
zero diagonal, ``x`` and ``y`` one value for each model. Raise ValueError as ``analysis.stats`` does.
"""

import math

import numpy as np
from scipy import special

from analysis import stats
from analysis.stats import FEWEST, ROUNDING, Estimate


def distance_difference(a: np.ndarray, b: np.ndarray, paired: bool, confidence: float = 0.95) -> Estimate:
    """Mean over pairs of ``a`` minus that of ``b``; the interval is NaN with fewer than ``FEWEST`` models in either.

    ``paired`` says that the i-th models belong together, such as by their seed.
    """
    if min(len(a), len(b)) < FEWEST:
        return _without_interval(_mean(a) - _mean(b), len(a), len(b))
    return value_difference(stats.pseudo_values(a), stats.pseudo_values(b), paired, confidence)


def distance_ratio(a: np.ndarray, b: np.ndarray, paired: bool, confidence: float = 0.95) -> Estimate:
    """Mean over pairs of ``a`` over that of ``b``, with the t interval of its logarithm.

    The logarithm of a mean U moves by a pseudo-value over U (the delta method), so its interval is that of the
    difference of these [derived]. NaN where a mean is 0; the interval as in ``distance_difference``.
    """
    first, second = _mean(a), _mean(b)
    if not (first > 0 and second > 0):
        return _without_interval(math.nan, len(a), len(b))
    if min(len(a), len(b)) < FEWEST:
        return _without_interval(first / second, len(a), len(b))
    moved = value_difference(stats.pseudo_values(a) / first, stats.pseudo_values(b) / second, paired, confidence)
    margin = moved.high - moved.mean
    ratio = first / second
    return Estimate(ratio, ratio * math.exp(-margin), ratio * math.exp(margin), moved.n)


def welch_test(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p that two unpaired groups have the same mean distance; NaN with fewer than ``FEWEST`` models in
    either, or where no model of either group differs from its group, so that there is no standard error."""
    if min(len(a), len(b)) < FEWEST:
        return math.nan
    x, y = stats.pseudo_values(a), stats.pseudo_values(b)
    error, freedom = _welch(x, y)
    if error <= ROUNDING * max(abs(x.mean()), abs(y.mean())):
        return math.nan
    return float(2 * special.stdtr(freedom, -abs(x.mean() - y.mean()) / error))


def value_difference(x: np.ndarray, y: np.ndarray, paired: bool, confidence: float = 0.95) -> Estimate:
    """Mean of ``x`` minus that of ``y`` with its t interval, which is NaN with fewer than 2 models in either."""
    if paired:
        return stats.mean_estimate(np.subtract(x, y), confidence)
    difference = float(np.mean(x) - np.mean(y))
    if min(len(x), len(y)) < 2:
        return _without_interval(difference, len(x), len(y))
    error, freedom = _welch(x, y)
    margin = float(special.stdtrit(freedom, (1 + confidence) / 2)) * error if error > 0 else 0.0
    return Estimate(difference, difference - margin, difference + margin, min(len(x), len(y)))


def _welch(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The standard error of the difference of two means, and its degrees of freedom."""
    first, second = (float(np.var(values, ddof=1)) / len(values) for values in (x, y))
    if first + second == 0:
        return 0.0, math.nan
    freedom = (first + second) ** 2 / (first**2 / (len(x) - 1) + second**2 / (len(y) - 1))
    return math.sqrt(first + second), freedom


def _mean(distances: np.ndarray) -> float:
    return stats.pairwise_estimate(distances).mean


def _without_interval(mean: float, *sizes: int) -> Estimate:
    return Estimate(mean, math.nan, math.nan, min(sizes))
