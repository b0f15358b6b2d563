"""What is computed of several cells' means, with its jackknife: pure functions over arrays.

A CV over activations, and differences and slopes of such, are no means over trials, so ``stats.pseudo_values`` has
none of theirs; leaving out one seed after the other gives them. Seeds are shared by all cells, so that what a seed
does to all of them cancels in a difference. Letters as in ``stats``: K cells, N trials.

An interval lies around the value itself, not around the mean of its pseudo-values. That mean has less of the bias
that noise gives a CV, but the interval around it covers a difference of two small CVs too seldom. How often each does
is simulated in ``tests/test_variants.py``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis import stats
from analysis.stats import Estimate


@dataclass(frozen=True, eq=False)
class Jackknifed:
    """A ``value`` and its pseudo-values (N,), one for each seed; sums and multiples of it have those of theirs."""

    value: float
    pseudo: np.ndarray

    def __add__(self, other: "Jackknifed") -> "Jackknifed":
        return Jackknifed(self.value + other.value, self.pseudo + other.pseudo)

    def __sub__(self, other: "Jackknifed") -> "Jackknifed":
        return self + -1 * other

    def __rmul__(self, factor: float) -> "Jackknifed":
        return Jackknifed(factor * self.value, factor * self.pseudo)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds (ddof=1): the standard error times the root of N."""
        return float(self.pseudo.std(ddof=1))

    @property
    def estimate(self) -> Estimate:
        """With the 95 % t interval on N - 1 degrees of freedom; without one below ``stats.FEWEST`` seeds."""
        n = len(self.pseudo)
        if n < stats.FEWEST:
            return Estimate(self.value, math.nan, math.nan, n)
        margin = special.stdtrit(n - 1, 0.975) * self.spread / math.sqrt(n)
        return Estimate(self.value, self.value - margin, self.value + margin, n)

    @property
    def p(self) -> float:
        """Two-sided, of a true value of 0; NaN below ``stats.FEWEST_JUDGED`` seeds, or where seeds do not vary."""
        n = len(self.pseudo)
        if n < stats.FEWEST_JUDGED or self.spread <= stats.ROUNDING * np.abs(self.pseudo).max():
            return math.nan
        return float(2 * special.stdtr(n - 1, -abs(self.value) / (self.spread / math.sqrt(n))))


def mean_of(values: np.ndarray) -> Jackknifed:
    """The mean over K cells, of pseudo-values or of values of single trials (K, N)."""
    return Jackknifed(float(values.mean()), values.mean(axis=0))


def cv_of(values: np.ndarray) -> Jackknifed:
    """The CV (ddof=0) over the means of K cells (K, N), which contains the noise of the trials.

    The mean over the pairs without one trial is that of the pseudo-values without its own [derived], so that leaving
    out a seed needs no distances.
    """
    n = values.shape[1]
    without = (values.sum(axis=1, keepdims=True) - values) / (n - 1)  # (K, N): the means without each seed
    value = stats.coefficient_of_variation(values.mean(axis=1))
    left = np.array([stats.coefficient_of_variation(column) for column in without.T])
    return Jackknifed(value, n * value - (n - 1) * left)


def slope_of(x: Sequence[float], points: Sequence[Jackknifed]) -> Jackknifed:
    """The slope of the least-squares line through ``points`` at ``x``, all weighted alike."""
    centred = np.asarray(x) - np.mean(x)
    weights = centred / (centred**2).sum()
    first, *others = (float(weight) * point for weight, point in zip(weights, points, strict=True))
    return sum(others, first)
