"""Intervals and tests for means over pairs of trials: pure functions over arrays.

The N (N - 1) / 2 distances within a cell share N trials, so they are not independent, and a t interval over pairs
is far too narrow. Everything here rests on Tukey's pseudo-values, one number per trial: their mean is the mean over
pairs, and their standard error is its jackknife standard error (``pseudo_values``). So what is true of N
independent numbers is used for them: t intervals, t tests, permutations, analysis of variance, planning.

One letter per axis: N trials, K activations. What varies is the trial; the probe set is held fixed, so that no
interval here says how another set of contexts would have turned out. Formulas marked [derived] are our own; how
they behave is simulated in ``tests/test_stats.py`` and, at length, in ``benchmarks/coverage.py``.

Sources: Hoeffding 1948, Ann. Math. Stat. 19:293. Arvesen 1969, Ann. Math. Stat. 40:2076. Holm 1979, Scand. J. Stat.
6:65. Efron & Stein 1981, Ann. Stat. 9:586. Janssen 1997, Stat. Probab. Lett. 36:9. Phipson & Smyth 2010, Stat. Appl.
Genet. Mol. Biol. 9:39. Of many activations at once: ``stats_many``.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special, stats

EXACT_LIMIT = 20_000  # labelings up to which a permutation test enumerates them all; 8 v 8 trials have 12,870
ROUNDING = 1e-9  # as a share of the largest value: what is smaller is taken for nothing
FEWEST = 3  # trials without which there is neither an interval over pairs nor a test
FEWEST_JUDGED = 6  # trials: with 5, the smallest p of 2^5 sign flips, .0625, is above any usual alpha
FEWEST_PLANNED = 6  # trials: a planned power of .8 came out as .56 with 4 in simulation, from 5 on as .80 to .89
LARGEST_EFFECT = 1e6  # standard deviations: of far larger ones SciPy's noncentral t knows no power


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` trials or their pairs, with its confidence interval; NaN where there is none.

    ``std`` (ddof=0) is that of the single values, where a caller asked for it.
    """

    mean: float
    low: float
    high: float
    n: int
    std: float = math.nan

    @property
    def known(self) -> bool:
        return not math.isnan(self.mean)

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)


UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Significance:
    """The outcome of a test.

    ``p`` is two-sided, NaN where there are too few trials for the test; ``smallest_p`` is the smallest that the
    test could have given with this many trials; ``exact`` says that every labeling was enumerated;
    ``standard_error`` is that of a Monte Carlo ``p``, else 0.
    """

    p: float
    smallest_p: float = 0.0
    exact: bool = False
    standard_error: float = 0.0


# Estimates


def mean_estimate(values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of ``values``, shape (N,), one per independent trial, with the t interval on N - 1 degrees of freedom.

    The interval is NaN for N < 2, the mean too for N = 0. Raises ValueError if a value is not finite: what to do
    about a diverged trial is for the caller to say.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if not np.isfinite(values).all():
        raise ValueError("values are not all finite; leave diverged trials out and say how many")
    if n < 2:
        return Estimate(float(values[0]) if n else math.nan, math.nan, math.nan, n)
    mean = float(values.mean())
    margin = special.stdtrit(n - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(n)
    return Estimate(mean, float(mean - margin), float(mean + margin), n)


def pairwise_estimate(distances: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean over the pairs of N trials with its jackknife-t interval.

    ``distances``, shape (N, N), is symmetric with a zero diagonal. The mean U over pairs is a U-statistic
    (Hoeffding 1948); with q_i the mean distance from trial i to the others, the interval is

        U +- t(N - 1) sqrt(Var),   Var = 4 (N - 1) / (N (N - 2)^2) * sum (q_i - U)^2   [derived]

    which is the jackknife of a U-statistic (Arvesen 1969, "Jackknifing U-statistics") in closed form. It is
    conservative for few trials (Efron & Stein 1981). The interval is NaN for N < 3, the mean for N < 2.
    Raises ValueError if ``distances`` are not such a matrix.
    """
    n = np.shape(distances)[-1]
    if n < 3:
        return Estimate(float(mean_over_pairs(distances)), math.nan, math.nan, n)
    # A mean over pairs of independent trials is a U-statistic: to first order the mean of one term for each trial,
    # how far it lies from all others. So its error shrinks with N, not with the N (N - 1) / 2 pairs.
    return mean_estimate(pseudo_values(distances), confidence)


def paired_difference(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean over pairs of ``a`` minus that of ``b``: two cells whose i-th trials share their seed.

    ``a`` and ``b`` have shape (N, N). It is ``pairwise_estimate`` of a_ij - b_ij, so that what a seed does to both
    cells cancels [derived]. Raises ValueError if the shapes differ: pass the seeds that both cells completed.
    """
    return pairwise_estimate(_difference(a, b), confidence)


def crossed_estimate(distances: np.ndarray, blocks: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean over pairs with an interval for other trials and other contexts at once.

    ``distances`` (N, N), or a difference of two such; ``blocks`` (G,), the same mean within each of G stretches of
    text that hold equally many contexts. Neighbouring contexts are alike, so stretches are resampled, not contexts.
    The margin for trials, with contexts held fixed, and the t margin for contexts, with trials held fixed, are added
    in quadrature [derived]. What trials and contexts do together is counted in both, so the interval is
    conservative (Owen 2007, Ann. Appl. Stat. 1:386). It is NaN for N < 3. Raises ValueError as
    ``pairwise_estimate`` does.
    """
    trials, contexts = pairwise_estimate(distances, confidence), mean_estimate(blocks, confidence)
    margin = math.hypot(trials.high - trials.mean, contexts.high - contexts.mean)
    return Estimate(trials.mean, trials.mean - margin, trials.mean + margin, trials.n)


def coefficient_of_variation(values: Sequence[float] | np.ndarray) -> float:
    """Standard deviation (ddof=0, as in the report) over mean; NaN where the mean is 0."""
    values = np.asarray(values, dtype=float)
    mean = values.mean()
    return float(values.std() / mean) if mean != 0 else math.nan


def pseudo_values(distances: np.ndarray) -> np.ndarray:
    """One number per trial, to be treated as N independent values whose mean is the mean U over pairs.

    ``distances`` (..., N, N) -> (..., N). Tukey's pseudo-value N U - (N - 1) U_without_i is, for a mean over
    pairs, U + 2 (N - 1) / (N - 2) * (q_i - U) [derived]. The standard error of their mean is the jackknife's.
    Raises ValueError for N < 3 or a matrix that is not symmetric with a zero diagonal.
    """
    distances = checked(distances)
    n = distances.shape[-1]
    if n < 3:
        raise ValueError(f"pseudo-values need at least 3 trials, got {n}")
    to_others = distances.sum(axis=-1) / (n - 1)
    mean = to_others.mean(axis=-1, keepdims=True)
    # Without trial i, whose N - 1 distances average q_i, the mean moves by 2 (U - q_i) / (N - 2). N - 1 times that is
    # what the trial contributes; a variance of the q_i alone would be too small by about a factor of 4.
    return mean + 2 * (n - 1) / (n - 2) * (to_others - mean)


# Two activations


def paired_test(a: np.ndarray, b: np.ndarray) -> Significance:
    """Do two cells with the same seeds, shape (N, N) each, have the same mean distance? Jackknife-t over seeds.

    The test that belongs to ``paired_difference``, for one comparison chosen beforehand, and the one that
    ``trials_needed`` plans for; all comparisons of an architecture are ``stats_many.sign_flip_max_t``'s. It keeps its
    level whether or not sharing a seed makes trials alike, gains power where it does, and its p has no floor. It is
    NaN where all trials differ by the same amount, as small counts may: without variance there is no test. Where the
    trials of one cell alone vary widely in scale (by exp(0.6 z), those of the other not at all), it and
    ``permutation_test`` reject equal means at a nominal 5 % in .07 to .11 of simulated studies.
    NaN for N < 3. Raises ValueError as ``paired_difference`` does.
    """
    difference = _difference(a, b)
    n = len(difference)
    if n < 3:
        return Significance(p=math.nan, smallest_p=1.0)
    return Significance(_t_test(pseudo_values(difference), max(np.abs(a).max(), np.abs(b).max())))


def permutation_test(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, repetitions: int = 9_999
) -> Significance:
    """Do two cells have the same mean distance? Labels of the pseudo-values permuted; needs no distance across cells.

    ``a`` (N_a, N_a), ``b`` (N_b, N_b). The statistic is the difference of the two means over pairs. Exact
    enumeration up to ``EXACT_LIMIT`` labelings, else ``repetitions`` random ones from ``rng``. Pseudo-values of
    one cell are independent only to first order, so the level is approximate: .02 to .07 at 5 % in
    simulation, and .00 to .01 where sharing a seed makes trials alike. With unequal numbers of trials the
    cells should also be about equally variable (Janssen 1997). NaN if either cell has fewer than 3 trials.
    """
    n_a, n_b = len(a), len(b)
    if min(n_a, n_b) < 3:
        return Significance(p=math.nan, smallest_p=smallest_p(n_a, n_b))
    values = np.concatenate([pseudo_values(a), pseudo_values(b)])
    in_a, exact = _labelings(n_a, n_b, rng, repetitions)
    differences = in_a @ values / n_a - (1 - in_a) @ values / n_b
    return _permutation_significance(np.abs(differences), exact, smallest_p(n_a, n_b))


def smallest_p(n_a: int, n_b: int) -> float:
    """The smallest two-sided p that permuting the labels of ``n_a`` and ``n_b`` trials can give.

    One labeling in C(n_a + n_b, n_a) is the observed one; with equal groups its mirror image ties with it.
    3 v 3 .10, 4 v 4 .029, 5 v 5 .0079, 6 v 6 .0022. Raises ValueError for an empty group.
    """
    if min(n_a, n_b) < 1:
        raise ValueError(f"each group needs at least 1 trial, got {n_a} and {n_b}")
    return (2 if n_a == n_b else 1) / math.comb(n_a + n_b, n_a)


def holm(p_values: Sequence[float] | np.ndarray, planned: int = 0) -> np.ndarray:
    """Holm's (1979) step-down adjusted p-values, in the order given; valid under any dependence.

    The k-th smallest of m is multiplied by m - k + 1, then made monotone and cut at 1. NaN, a test that could not
    be made, stays NaN and does not count in m, unless m is ``planned``: tests that are not made yet have p = 1.
    """
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, math.nan)
    made = np.flatnonzero(~np.isnan(p_values))
    ascending = made[np.argsort(p_values[made])]
    factors = max(planned, len(made)) - np.arange(len(made))
    adjusted[ascending] = np.minimum(np.maximum.accumulate(factors * p_values[ascending]), 1.0)
    return adjusted


def holm_family(p_values: Sequence[float], planned: int = 0) -> list[tuple[float, int]]:
    """Of each p-value the adjusted one, by ``holm``, and how many tests its family has; 0 of NaN, in none."""
    n_tests = max(planned, sum(not math.isnan(p) for p in p_values))
    return [(float(p), 0 if math.isnan(p) else n_tests) for p in holm(p_values, planned)]


# Planning


def spread_and_correlation(distances: np.ndarray) -> tuple[float, float]:
    """CV between trials and correlation over seeds, as ``trials_needed`` wants them, from pilot cells (K, N, N).

    From the covariance over seeds of each cell's pseudo-values, divided by their mean: the root of the mean variance,
    and the mean covariance of two cells over the mean variance [derived]. As the jackknife variance is conservative
    for few trials, a small pilot makes the plan too large rather than too small. The correlation is 0 for one cell;
    NaN where a mean is 0, and the correlation where nothing varies. Raises ValueError for N < 3.
    """
    values = pseudo_values(distances)  # (K, N)
    means = values.mean(axis=1, keepdims=True)
    if not means.all():
        return math.nan, math.nan
    covariance = np.atleast_2d(np.cov(values / means))
    k, variance = len(covariance), float(np.diagonal(covariance).mean())
    if variance <= ROUNDING**2:
        variance = 0.0
    if k == 1 or variance == 0:
        return math.sqrt(variance), 0.0 if variance else math.nan
    return math.sqrt(variance), min(float((covariance.sum() / variance - k) / (k * (k - 1))), 1.0)


def trials_needed(
    relative_difference: float,
    cv_between_trials: float,
    correlation: float = 0.0,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Trials per cell with which ``paired_test`` shows a mean distance (1 + ``relative_difference``) times a pilot's.

    The smallest N for which a two-sided t test over N seeds at level ``alpha`` finds the difference, in the right
    direction, with probability ``power``, and ``smallest_p(N, N)`` <= alpha, so that permuting labels could find
    it too. The pseudo-values of both cells are taken to be normal, with standard deviation ``cv_between_trials``
    times the cell's mean, and to correlate over shared seeds by ``correlation`` (0: sharing them gains nothing; both
    from ``spread_and_correlation``). With x the relative difference, t is noncentral on N - 1 degrees of freedom with
    noncentrality sqrt(N) |x| / (cv sqrt(1 + (1 + x)^2 - 2 correlation (1 + x))) [derived].
    For the first step of Holm's method over m comparisons pass alpha / m. Never fewer than ``FEWEST_PLANNED``.
    Raises ValueError for arguments outside their range.
    """
    ratio = 1 + relative_difference
    if ratio <= 0 or ratio == 1 or not cv_between_trials > 0 or not -1 <= correlation <= 1:
        raise ValueError("needs a difference above -1 but not 0, a positive CV and a correlation from -1 to 1")
    if not 0.5 <= power < 1 or not 0 < alpha < 1:
        raise ValueError(f"power must be from 0.5 to below 1 and alpha between 0 and 1, got {power} and {alpha}")
    effect = abs(relative_difference) / (cv_between_trials * math.sqrt(1 + ratio**2 - 2 * correlation * ratio))
    if_labels_are_permuted = next(n for n in itertools.count(FEWEST_PLANNED) if smallest_p(n, n) <= alpha)
    return trials_to_show(effect, power, alpha, if_labels_are_permuted)


def trials_to_show(effect: float, power: float = 0.8, alpha: float = 0.05, fewest: int = FEWEST_PLANNED) -> int:
    """The smallest N, at least ``fewest``, with which a two-sided t test at level ``alpha`` over N values finds a
    mean of ``effect``, in standard deviations of one value, in the right direction with probability ``power``."""
    effect = min(abs(effect), LARGEST_EFFECT)
    if_variance_were_known = ((stats.norm.isf(alpha / 2) + stats.norm.ppf(power)) / effect) ** 2

    def power_with(n: int) -> float:
        return stats.nct.sf(stats.t.isf(alpha / 2, n - 1), n - 1, math.sqrt(n) * effect)

    return next(n for n in itertools.count(max(fewest, math.floor(if_variance_were_known))) if power_with(n) >= power)


# What the functions above share


def checked(distances: np.ndarray) -> np.ndarray:
    """``distances`` (..., N, N) as floats, once they are known to be finite, symmetric, with a zero diagonal."""
    distances = np.asarray(distances, dtype=float)
    if distances.ndim < 2 or distances.shape[-1] != distances.shape[-2]:
        raise ValueError(f"distances must have shape (..., N, N), got {distances.shape}")
    if not np.isfinite(distances).all():
        raise ValueError("distances are not all finite; leave diverged trials out and say how many")
    mirrored = np.swapaxes(distances, -1, -2)
    rounding = ROUNDING * np.abs(distances).max(initial=0.0)
    if (np.abs(distances - mirrored) > rounding + 1e-5 * np.abs(mirrored)).any():
        raise ValueError("distances are not symmetric")
    if np.diagonal(distances, axis1=-2, axis2=-1).any():
        raise ValueError("distances from a trial to itself are not all zero")
    return distances


def mean_over_pairs(distances: np.ndarray) -> np.ndarray:
    """(..., N, N) -> (...); NaN for N < 2."""
    distances = checked(distances)
    n = distances.shape[-1]
    return distances.sum(axis=(-1, -2)) / (n * (n - 1)) if n > 1 else np.full(distances.shape[:-2], math.nan)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if np.shape(a) != np.shape(b):
        raise ValueError(f"cells do not share their trials: {np.shape(a)} and {np.shape(b)}")
    return checked(a) - checked(b)


def _t_test(differences: np.ndarray, scale: float) -> float:
    """Two-sided p of a mean of 0; ``scale`` is the largest of the values that ``differences`` (N,) are of.

    1 where nothing differs. NaN where all differ by the same: with no variance there is no standard error.
    """
    n, rounding = len(differences), ROUNDING * scale
    if np.abs(differences).max() <= rounding:
        return 1.0
    error = differences.std(ddof=1) / math.sqrt(n)
    if error <= rounding:
        return math.nan
    # stats.t.sf, whose checks take a hundred times as long
    return float(2 * special.stdtr(n - 1, -abs(differences.mean()) / error))


def _labelings(n_a: int, n_b: int, rng: np.random.Generator, repetitions: int) -> tuple[np.ndarray, bool]:
    """Ways to call ``n_a`` of the trials A, shape (M, N_a + N_b), 1 for A and 0 for B; the observed one is first."""
    n = n_a + n_b
    exact = math.comb(n, n_a) <= EXACT_LIMIT
    if exact:
        return _every_labeling(n_a, n_b), exact
    chosen = rng.permuted(np.tile(np.arange(n), (repetitions, 1)), axis=1)[:, :n_a]
    return _membership(np.concatenate([np.arange(n_a)[None], chosen]), n), exact


@cache
def _every_labeling(n_a: int, n_b: int) -> np.ndarray:
    """Kept, because a study asks for the same one for each of its comparisons."""
    n = n_a + n_b
    return _membership(np.array(list(itertools.combinations(range(n), n_a))), n)


def _membership(chosen: np.ndarray, n: int) -> np.ndarray:
    """Which of ``n`` trials are in A: (M, N_a) places -> (M, N_a + N_b), 1 or 0."""
    in_a = np.zeros((len(chosen), n))
    np.put_along_axis(in_a, chosen, 1.0, axis=1)
    return in_a


def _permutation_significance(statistics: np.ndarray, exact: bool, floor: float) -> Significance:
    """How often a statistic is at least the first, observed one, which counts too (Phipson & Smyth 2010)."""
    p = float(np.mean(statistics >= statistics[0] - ROUNDING * statistics.max()))
    if exact:
        return Significance(p, floor, exact=True)
    repetitions = len(statistics) - 1
    error = math.sqrt(p * (1 - p) / repetitions)
    return Significance(p, max(floor, 1 / (repetitions + 1)), exact=False, standard_error=error)
