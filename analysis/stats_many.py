"""Many activations at once, judged by the size of the effect: pure functions over arrays.

They rest on pseudo-values, as ``stats`` explains; letters are as there. How they behave is simulated in
``tests/test_stats_many.py`` and, at length, in ``benchmarks/coverage.py``.

Sources beyond those of ``stats``: Satterthwaite 1946, Biometrics Bull. 2:110. Box 1954, Ann. Math. Stat. 25:290 and
25:484. Geisser & Greenhouse 1958, Ann. Math. Stat. 29:885. Huynh & Feldt 1976, J. Educ. Stat. 1:69. Lecoutre 1991, J.
Educ. Stat. 16:371. Weerahandi 1993, J. Am. Stat. Assoc. 88:899. Westfall & Young 1993, Resampling-Based Multiple
Testing.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import optimize, special, stats

from analysis.stats import (
    FEWEST,
    FEWEST_JUDGED,
    ROUNDING,
    Estimate,
    Significance,
    checked,
    coefficient_of_variation,
    mean_over_pairs,
    pseudo_values,
)

ALPHA = 0.05
MARGIN = 0.10  # the CV that matters: the least that the report calls sensitive
FLIP_LIMIT = 12  # trials up to which a test by sign flips enumerates all of them
LOW_EPSILON = 0.3  # Geisser and Greenhouse's epsilon below which Huynh and Feldt's is not used
CLEAR_EFFECT = 1e4  # square of an effect over its standard error above which noncentral chi-square turns normal
VARIANCE_NODES = (np.arange(50) + 0.5) / 50  # probabilities at which an unknown variance is averaged over


class EffectVerdict(StrEnum):
    """Does the activation matter in an architecture? See ``effect_verdict``."""

    MATTERS = "matters"
    DIFFERS = "differs, by less than the margin"
    NO_DIFFERENCE = "no difference above the margin"
    UNDECIDED = "undecided"
    TOO_FEW = "too few trials to tell"


# Is there a difference?


def huynh_feldt_lecoutre_epsilon(values: np.ndarray) -> np.ndarray:
    """Huynh and Feldt's epsilon of tables ``values`` (..., K, N), from Geisser and Greenhouse's epsilon g to 1:

        (N (K - 1) g - 2) / ((K - 1) (N - 1 - (K - 1) g))

    g is far too low where all activations vary equally and trials are few (.6 for six activations and eight trials);
    this undoes most of that (Huynh & Feldt 1976). Lecoutre's correction (1991) puts N - G + 1 for N in the numerator
    where trials come in G groups; all of ours are one group, so that it changes nothing here, and the value is the
    one that other programs print under either name. For N < K - 1 trials g has next to no room below its largest
    value, (N - 1) / (K - 1), at which this is 1. Returns (...,).
    """
    k, n = values.shape[-2:]
    g = _sphericity(values)
    freedom_left = (k - 1) * (n - 1 - (k - 1) * g)
    some = freedom_left >= ROUNDING
    found = np.divide(n * (k - 1) * g - 2, freedom_left, out=np.ones_like(g), where=some)
    return np.where(some, np.clip(found, g, 1.0), 1.0)


def sphericity_epsilon(values: np.ndarray) -> np.ndarray:
    """By how much the degrees of freedom of tables ``values`` (..., K, N) shrink as activations vary unequally.

    Huynh and Feldt's epsilon, or Geisser and Greenhouse's where that is below ``LOW_EPSILON``: where one activation
    varies far more than the others, the former is too high and equal means are rejected too often. Textbooks change
    over at .75, which with up to twelve trials is seldom reached even where all activations vary equally; .3 is our
    own choice, fixed before the study it judges. How the test behaves with it is simulated. Where there are three
    times as many activations as trials, g is always below it, as it cannot exceed (N - 1) / (K - 1), and the test
    hardly ever rejects. Returns (...,).
    """
    g = _sphericity(values)
    return np.where(g < LOW_EPSILON, g, huynh_feldt_lecoutre_epsilon(values))


def equal_means_test(distances: np.ndarray) -> Significance:
    """Do K activations with the same seeds, ``distances`` (K, N, N), have the same mean distance?

    F over the pseudo-values, activations by seeds, on degrees of freedom times ``sphericity_epsilon`` (Box 1954).
    How often it is wrong, and how much it finds, is in ``docs/statistics.md``; where the distances of one activation
    are far more skewed than the others' it rejects too often, and ``sign_flip_max_t`` keeps its level.
    NaN for N < 3, and where the means differ but nothing varies; 1 where nothing differs. ValueError for K < 2.
    """
    distances = _checked_cells(distances)
    if distances.shape[-1] < FEWEST:
        return Significance(p=math.nan, smallest_p=1.0)
    return Significance(float(equal_means_p(pseudo_values(distances))))


def equal_means_p(values: np.ndarray) -> np.ndarray:
    """p of ``equal_means_test`` from pseudo-values (..., K, N) -> (...,)."""
    k, n = values.shape[-2:]
    means, mean_square = values.mean(axis=-1), _mean_square(values)
    rounding = ROUNDING * np.abs(values).max(axis=(-1, -2))
    varies = np.sqrt(mean_square) > rounding
    f = np.divide(n * means.var(axis=-1, ddof=1), mean_square, out=np.zeros_like(mean_square), where=varies)
    epsilon = sphericity_epsilon(values)
    # Noise that fills a share epsilon of its directions leaves F that share of its degrees of freedom (Box 1954).
    p = special.fdtrc(epsilon * (k - 1), epsilon * (k - 1) * (n - 1), f)
    return np.where(varies, p, np.where(np.ptp(means, axis=-1) > rounding, math.nan, 1.0))


def cv_from_noise(distances: np.ndarray) -> float:
    """The CV over activations to expect if all K of ``distances`` (K, N, N) were alike [derived].

    s chi / (mean sqrt(N K)), with s^2 the residual mean square of the pseudo-values and chi the mean of a chi
    variable on K - 1 degrees of freedom. NaN for N < 3 or a mean of 0. Raises ValueError for K < 2.
    """
    distances = _checked_cells(distances)
    if distances.shape[-1] < FEWEST:
        return math.nan
    values = pseudo_values(distances)
    mean = float(values.mean())
    unit = math.sqrt(_mean_square(values) / values.size) / mean if mean != 0 else math.nan
    return unit * float(stats.chi.mean(len(values) - 1))


# Between which two?


def sign_flip_max_t(
    distances: np.ndarray, rng: np.random.Generator | None = None, repetitions: int = 9_999
) -> np.ndarray:
    """Which two of K activations with the same seeds differ in mean distance? Adjusted p of every pair.

    ``distances`` (K, N, N) -> (K (K - 1) / 2,): ``sign_flips_of_values`` of their pseudo-values. These are
    independent only to first order: what two trials do together, beyond the sum of what each does, is in the
    pseudo-values of both and is flipped twice. So here the level is approximate: a pair of six activations with equal
    means is found in .02 to .06 of simulated studies at a nominal 5 %, in .07 with exponentially skewed trials or
    simulated predictions and many trials. NaN for N < ``FEWEST_JUDGED``. Raises ValueError
    for K < 2.
    """
    distances = _checked_cells(distances)
    k, n, _ = distances.shape
    if n < FEWEST_JUDGED:
        return np.full(math.comb(k, 2), math.nan)
    return sign_flips_of_values(pseudo_values(distances), rng, repetitions)


def sign_flips_of_values(
    values: np.ndarray, rng: np.random.Generator | None = None, repetitions: int = 9_999
) -> np.ndarray:
    """Which two of K activations differ in the mean of a value that each of N trials has, such as the loss?

    ``values`` (K, N) -> adjusted p of every pair (K (K - 1) / 2,), in the order of ``itertools.combinations``. With
    d_i the differences of two activations, seed by seed, t is that of their mean, and a flip changes the sign of d_i
    of *all* pairs at once. The p of a pair is the share of flips whose largest |t|, over the pairs with no larger |t|
    than its own, is at least its own, made monotone: Westfall and Young's (1993) step-down maxima. Pairs that go
    along with each other so cost less than by Holm's method. All 2^N flips up to ``FLIP_LIMIT`` trials; above it
    ``repetitions`` random ones from ``rng``, the observed one counted (Phipson & Smyth 2010).

    Where the d_i are independent, and the differences of all pairs together have a distribution that changing their
    sign leaves alone, the p is exact at any N; a single pair's is so if its two activations are exchangeable. The
    smallest p is 2 / 2^N, so all are NaN for N < ``FEWEST_JUDGED``. A pair whose trials do not differ at all has
    p = 1; one whose trials differ all by the same amount has no standard error, so NaN, and is left out of the
    maxima. Raises ValueError without ``rng`` where it is needed.
    """
    n = values.shape[-1]
    first, second = np.triu_indices(len(values), 1)
    if n < FEWEST_JUDGED:
        return np.full(len(first), math.nan)
    differences = values[first] - values[second]  # (P, N)
    rounding = ROUNDING * np.abs(values).max()
    differ = np.abs(differences).max(axis=1) > rounding
    varies = differences.std(axis=1) > rounding
    p_values = np.where(differ, math.nan, 1.0)
    if varies.any():
        # |t| rises with |mean| over the root of the mean square, which no flip changes
        scaled = differences[varies] / (np.linalg.norm(differences[varies], axis=1, keepdims=True) * math.sqrt(n))
        p_values[varies] = _step_down(np.abs(_sign_flips(n, rng, repetitions) @ scaled.T))
    return p_values


# How large is it?


def cv_without_noise_interval(distances: np.ndarray, confidence: float = 0.95) -> Estimate:
    """CV over activations (ddof=0) that would be left without the trials' noise, with its interval.

    ``distances`` (K, N, N): K activations whose i-th trials share their seed. The estimate is the root of CV^2 less
    what noise adds to it on average, 0 where that is more than all of it.

    With x the pseudo-values over their mean, S the covariance over seeds of their deviations from the seed's mean,
    and d the K deviations of their means from 1, Q = |d|^2 = K CV^2 is a quadratic form. If the true CV is C, its
    mean is K C^2 + tr S / N and its variance 2 tr S^2 / N^2 + 4 K C^2 v / N, v being the variance over seeds along d,
    which is shrunk towards tr S^2 / tr S by the share of Q that may be noise. Q is taken for c times a noncentral
    chi-square with these moments (Satterthwaite 1946, Box 1954) [derived]; c as estimated varies like a chi-square,
    on N - 1 degrees of freedom for v, epsilon (K - 1) (N - 1) for tr S. The bounds are the C at which Q, averaged
    over what c can be (Weerahandi 1993), is improbably large or small. At C = 0 this is the F test of
    ``equal_means_test``, and where C is far above the noise a t interval of the jackknife.

    Inverting the noncentral F instead would bound the ratio of effect and noise, to be multiplied by the noise as
    estimated: however clear the effect, that is as uncertain as the noise, so it is far too wide. How often this one
    covers is in ``docs/statistics.md``. At C = 0 only the lower bound can be wrong. The interval is [0, 0] where
    means lie closer to each other than noise lets them in 97.5 % of studies. NaN for N < 3, a mean of 0, or where
    nothing varies between trials. Raises ValueError for K < 2.
    """
    distances = _checked_cells(distances)
    k, n, _ = distances.shape
    observed = coefficient_of_variation(mean_over_pairs(distances))
    if n < FEWEST or math.isnan(observed):
        return Estimate(observed, math.nan, math.nan, n)
    form = QuadraticForm.of(pseudo_values(distances))
    if form.noise <= ROUNDING**2:
        return Estimate(observed, math.nan, math.nan, n)
    low, high = (form.bound((1 + sign * confidence) / 2) for sign in (1, -1))
    return Estimate(math.sqrt(max(form.q - form.noise, 0.0) / k), low, high, n)


@dataclass(frozen=True)
class QuadraticForm:
    """The sum of squares Q of K relative means, and what its noise is: see ``cv_without_noise_interval``.

    Of several studies at once each is an array (...,).
    """

    q: np.ndarray
    noise: np.ndarray  # tr S / N, what noise adds to Q on average
    overall: np.ndarray  # tr S^2 / tr S / N: twice this is the variance of Q over its mean, where there is only noise
    along: np.ndarray  # v / N, shrunk towards ``overall`` by the share of Q that may be noise
    k: int
    n: int

    @classmethod
    def of(cls, values: np.ndarray) -> "QuadraticForm":
        """From pseudo-values (..., K, N)."""
        k, n = values.shape[-2:]
        relative = values / values.mean(axis=(-1, -2), keepdims=True)
        d = relative.mean(axis=-1) - 1
        q = (d**2).sum(axis=-1)
        noise = (k - 1) * _mean_square(relative) / n
        overall = noise / (sphericity_epsilon(values) * (k - 1))
        share = np.maximum(0.0, 1 - np.divide(noise, q, out=np.ones_like(q), where=q > 0))
        root = np.sqrt(np.where(q > 0, q, 1.0))[..., None]
        # what each seed adds to the root of Q, the mean in the CV's denominator included
        influence = np.einsum("...k,...kn->...n", d, _residuals(relative)) / root - root * relative.mean(axis=-2)
        along = share * influence.var(axis=-1, ddof=1) / n + (1 - share) * overall
        return cls(q, noise, overall, along, k, n)

    def share_below(self, cv: float) -> np.ndarray:
        """How probable a Q up to the observed one is, were ``cv`` the CV without noise."""
        effect = self.k * cv**2
        c = (self.overall * self.noise + 2 * effect * self.along) / (self.noise + 2 * effect)
        certain = 2 * effect / (self.noise + 2 * effect)
        df = (self.n - 1) / (certain + (1 - certain) * self.overall / self.noise)
        q, noise, c, df = (np.asarray(each)[..., None] for each in (self.q, self.noise, c, df))
        variances = 2 / df * special.gammaincinv(df / 2, VARIANCE_NODES)
        return special.chndtr(q * variances / c, noise / c, effect * variances / c).mean(axis=-1)

    def bound(self, probability: float) -> float:
        """The CV of one study at which ``share_below`` falls to ``probability``, 0 where it is never above it."""
        if self.q > CLEAR_EFFECT * self.along:
            margin = stats.t.isf(probability, self.n - 1) * math.sqrt(self.along)
            return float(math.sqrt(self.q - self.noise) + margin) / math.sqrt(self.k)
        if self.share_below(0.0) <= probability:
            return 0.0
        far = math.sqrt((self.q + self.noise) / self.k)
        while self.share_below(far) > probability:
            far *= 2
        return float(optimize.brentq(lambda cv: self.share_below(cv) - probability, 0.0, far, xtol=1e-8))


def effect_verdict(cv: Estimate, p: float, n: int, margin: float = MARGIN, alpha: float = ALPHA) -> EffectVerdict:
    """Does the activation matter in an architecture? The rule, fixed before the study of trained models.

    ``cv`` is ``cv_without_noise_interval``; ``p`` that of the test of equal means, adjusted over the family of tests
    (NaN if it could not be made); ``n`` the trials of each activation; ``margin`` the CV that matters.

    - "too few trials to tell" for n < ``FEWEST_JUDGED``;
    - "matters" if the interval lies wholly above ``margin``;
    - "differs, by less than the margin" if it lies wholly below and p <= alpha;
    - "no difference above the margin" if it lies wholly below and p > alpha;
    - "undecided" otherwise.
    """
    if n < FEWEST_JUDGED:
        return EffectVerdict.TOO_FEW
    if not cv.has_interval or math.isnan(p):
        return EffectVerdict.UNDECIDED
    if cv.low > margin:
        return EffectVerdict.MATTERS
    if cv.high < margin:
        return EffectVerdict.DIFFERS if p <= alpha else EffectVerdict.NO_DIFFERENCE
    return EffectVerdict.UNDECIDED


# What the functions above share


def _checked_cells(distances: np.ndarray) -> np.ndarray:
    """``distances`` (K, N, N), once they are known to be those of at least 2 activations."""
    distances = checked(distances)
    if distances.ndim != 3 or len(distances) < 2:
        raise ValueError(f"comparing activations needs at least 2 cells, got shape {distances.shape}")
    return distances


def _residuals(values: np.ndarray) -> np.ndarray:
    """Tables of pseudo-values (..., K, N) with the effects of activations and of seeds removed."""
    of_activations, of_seeds = values.mean(axis=-1, keepdims=True), values.mean(axis=-2, keepdims=True)
    return values - of_activations - of_seeds + values.mean(axis=(-1, -2), keepdims=True)


def _mean_square(values: np.ndarray) -> np.ndarray:
    """The residual mean square s^2 of tables of pseudo-values (..., K, N) -> (...,)."""
    k, n = values.shape[-2:]
    return (_residuals(values) ** 2).sum(axis=(-1, -2)) / ((k - 1) * (n - 1))


def _sphericity(values: np.ndarray) -> np.ndarray:
    """Geisser and Greenhouse's epsilon of tables (..., K, N): 1 if any two activations differ equally widely."""
    # With eigenvalues l of the covariance between activations, epsilon = (sum l)^2 / ((K - 1) sum l^2): the share of
    # the K - 1 directions in which activations differ that the noise really fills. The trace of the covariance is
    # sum l, the sum of its squared entries sum l^2.
    residuals = _residuals(values)
    covariance = residuals @ np.swapaxes(residuals, -1, -2)
    squares = (covariance**2).sum(axis=(-1, -2))
    traces = np.trace(covariance, axis1=-2, axis2=-1)
    return np.divide(traces**2, (values.shape[-2] - 1) * squares, out=np.ones_like(squares), where=squares > 0)


def _sign_flips(n: int, rng: np.random.Generator | None, repetitions: int) -> np.ndarray:
    """(M, N) of 1 and -1, the unflipped first. All of them, but for those that mirror another (|t| is the same)."""
    if n <= FLIP_LIMIT:
        return 1.0 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)
    if rng is None:
        raise ValueError(f"more than {FLIP_LIMIT} trials have their signs flipped at random, which needs an rng")
    return np.concatenate([np.ones((1, n)), rng.choice([-1.0, 1.0], (repetitions, n))])


def _step_down(statistics: np.ndarray) -> np.ndarray:
    """Westfall and Young's adjusted p (P,) of ``statistics`` (M, P), of which the first row is the observed one."""
    ascending = np.argsort(statistics[0])
    largest = np.maximum.accumulate(statistics[:, ascending], axis=1)
    p = np.mean(largest >= largest[0] - ROUNDING, axis=0)
    adjusted = np.empty_like(p)
    adjusted[ascending] = np.maximum.accumulate(p[::-1])[::-1]
    return adjusted
