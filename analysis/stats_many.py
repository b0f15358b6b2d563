"""Many activations at once, judged by the size of the effect: pure functions over arrays.

They rest on pseudo-values, as ``stats`` explains. How they behave is simulated in ``tests/test_stats_many.py`` and,
at length, in ``benchmarks/coverage.py``.

Sources beyond those of ``stats``: Satterthwaite 1946, Biometrics Bull. 2:110. Box 1954, Ann. Math. Stat. 25:290 and
25:484. Geisser & Greenhouse 1958, Ann. Math. Stat. 29:885. Huynh & Feldt 1976, J. Educ. Stat. 1:69. Lecoutre 1991, J.
Educ. Stat. 16:371. Muller & Barton 1989, J. Am. Stat. Assoc. 84:549. Steiger 2004, Psychol. Methods 9:164. Weerahandi 1993, J. Am. Stat. Assoc. 88:899. Westfall & Young 1993, Resampling-Based Multiple
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
    permutation_significance,
    pseudo_values,
)

LARGE_F = 1e6  # above it the noncentral F distribution cannot be computed everywhere
RELEVANT_CV = 0.10  # the smallest that the report calls sensitive
FLIP_LIMIT = 12  # trials up to which a test by sign flips enumerates all of them
LOW_EPSILON = 0.3  # Geisser and Greenhouse's epsilon below which Huynh and Feldt's is not used
CLEAR_EFFECT = 1e4  # square of an effect over its standard error above which noncentral chi-square turns normal
VARIANCE_NODES = (np.arange(50) + 0.5) / 50  # probabilities at which an unknown variance is averaged over


@dataclass(frozen=True)
class ActivationCV:
    """How much the mean distance differs between activations: see ``activation_cv``."""

    cv: Estimate
    from_noise: float
    significance: Significance
    shuffled: Significance | None


class Verdict(StrEnum):
    """Is an architecture sensitive to its activation? See ``verdict``."""

    SENSITIVE = "sensitive"
    NOT_SHOWN = "not shown"
    TOO_FEW = "too few trials to tell"


class EffectVerdict(StrEnum):
    """Does the activation matter in an architecture? See ``effect_verdict``."""

    MATTERS = "matters"
    DIFFERS = "differs, by less than the margin"
    NO_DIFFERENCE = "no difference above the margin"
    UNDECIDED = "undecided"
    TOO_FEW = "too few trials to tell"


def huynh_feldt_lecoutre_epsilon(values: np.ndarray) -> float:
    """Huynh and Feldt's epsilon of a table ``values``, shape (K, N), from Geisser and Greenhouse's epsilon g to 1:

        (N (K - 1) g - 2) / ((K - 1) (N - 1 - (K - 1) g))

    g is far too low where all activations vary equally and trials are few (.6 for six activations and eight trials);
    this undoes most of that (Huynh & Feldt 1976). Lecoutre's correction (1991) puts N - G + 1 for N in the numerator
    where trials come in G groups; all of ours are one group, so that it changes nothing here, and the value is the
    one that other programs print under either name. For N < K - 1 trials g has next to no room below its largest
    value, (N - 1) / (K - 1), at which this is 1.
    """
    k, n = values.shape
    g = _sphericity(values)
    freedom_left = (k - 1) * (n - 1 - (k - 1) * g)
    if freedom_left < ROUNDING:
        return 1.0
    return float(np.clip((n * (k - 1) * g - 2) / freedom_left, g, 1.0))


def sphericity_epsilon(values: np.ndarray) -> float:
    """By how much the degrees of freedom of a table ``values``, shape (K, N), shrink as activations vary unequally.

    Huynh and Feldt's epsilon, or Geisser and Greenhouse's where that is below ``LOW_EPSILON``: where one activation
    varies far more than the others, the former is too high and equal means are rejected too often. Textbooks change
    over at .75, which with up to twelve trials is seldom reached even where all activations vary equally; .3 is our
    own choice, fixed before the study it judges. How the test behaves with it is simulated.
    """
    g = _sphericity(values)
    return g if g < LOW_EPSILON else huynh_feldt_lecoutre_epsilon(values)


def equal_means_test(distances: np.ndarray) -> Significance:
    """Do K activations with the same seeds, ``distances`` (K, N, N), have the same mean distance?

    F over the pseudo-values, activations by seeds, on degrees of freedom times ``sphericity_epsilon`` (Box 1954). It
    differs from the test of ``activation_cv`` in that epsilon alone, and finds more: at a true CV of 3 %, eight
    trials and equally varying activations, .55 against .42. In simulation it rejects equal means at a nominal 5 % in
    .03 to .06 of studies, up to .07 with six trials and activations as unequal as ours, but in .08 to .12 where the
    distances of one activation are far more skewed than the others'; ``sign_flip_max_t`` keeps its level there.
    NaN for N < 3. Raises ValueError for K < 2.
    """
    distances = _checked_cells(distances)
    if distances.shape[-1] < FEWEST:
        return Significance(p=math.nan, smallest_p=1.0)
    values = pseudo_values(distances)
    return Significance(_f_test(values, sphericity_epsilon(values)))


def sign_flip_max_t(
    distances: np.ndarray, rng: np.random.Generator | None = None, repetitions: int = 9_999
) -> np.ndarray:
    """Which two of K activations with the same seeds differ in mean distance? Adjusted p of every pair.

    ``distances`` (K, N, N) -> (K (K - 1) / 2,), in the order of ``itertools.combinations``. With d_i the differences
    of two activations' pseudo-values, t is that of their mean, and a flip changes the sign of d_i of *all* pairs at
    once, seed by seed. The p of a pair is the share of flips whose largest |t|, over the pairs with no larger |t|
    than its own, is at least its own, made monotone: Westfall and Young's (1993) step-down maxima. Pairs that go
    along with each other so cost less than by Holm's method. All 2^N flips up to ``FLIP_LIMIT`` trials; above it
    ``repetitions`` random ones from ``rng``, the observed one counted (Phipson & Smyth 2010).

    Were the d_i independent, and did the differences of all pairs together have a distribution that changing their
    sign leaves alone, the p would be exact at any N; a single pair's is so if its two activations are
    exchangeable. Pseudo-values of distances are independent only to first order: what two trials do together, beyond
    the sum of what each does, is in the pseudo-values of both and is flipped twice. So here the level is approximate:
    a pair of six activations with equal means is found in .02 to .06 of simulated studies at a nominal 5 %, in .07
    with exponentially skewed trials or simulated predictions and many trials.

    The smallest p is 2 / 2^N, so all are NaN for N < ``FEWEST_JUDGED``. A pair whose trials do not differ at all has
    p = 1; one whose trials differ all by the same amount has no standard error, so NaN, and is left out of the
    maxima. Raises ValueError for K < 2, or without ``rng`` where it is needed.
    """
    distances = _checked_cells(distances)
    n = distances.shape[-1]
    first, second = np.triu_indices(len(distances), 1)
    if n < FEWEST_JUDGED:
        return np.full(len(first), math.nan)
    values = pseudo_values(distances)
    differences = values[first] - values[second]  # (P, N)
    root = np.linalg.norm(differences, axis=1) * math.sqrt(n)
    differ = root > ROUNDING
    p_values = np.where(differ, math.nan, 1.0)
    scaled = differences[differ] / root[differ, None]
    alike = np.abs(scaled.sum(axis=1)) > 1 - ROUNDING  # no variance within the pair
    tested = np.flatnonzero(differ)[~alike]
    p_values[tested] = _step_down(np.abs(_sign_flips(n, rng, repetitions) @ scaled[~alike].T))
    return p_values


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

    It replaces the interval of ``activation_cv``, which bounds the ratio of effect and noise and multiplies it by
    the noise as estimated: however clear the effect, that is as uncertain as the noise, so it is far too wide.
    Simulated coverage of a nominal 95 %, N = 6 to 12, with the covariances of our architectures: 93 to 97 % where the
    effect is above the noise, up to 99 % where it is about as large or smaller, 95 to 98 % at C = 0, where only the
    lower bound can be wrong. One far wider activation: 92 to 99 %; if it is far more skewed too, 91 to 94 %. Skewed
    trials or outliers: 95 to 99 %. The interval is [0, 0] where means lie closer to each other than noise lets them
    in 97.5 % of studies. NaN for N < 3 or a mean of 0. Raises ValueError for K < 2.
    """
    distances = _checked_cells(distances)
    k, n, _ = distances.shape
    observed = coefficient_of_variation(mean_over_pairs(distances))
    if n < FEWEST or math.isnan(observed):
        return Estimate(observed, math.nan, math.nan, n)
    form = _QuadraticForm.of(pseudo_values(distances))
    if form.noise <= ROUNDING**2:
        return Estimate(observed, observed, observed, n)
    low, high = (form.bound((1 + sign * confidence) / 2) for sign in (1, -1))
    return Estimate(math.sqrt(max(form.q - form.noise, 0.0) / k), low, high, n)


def effect_verdict(cv: Estimate, p: float, n: int, margin: float = 0.10, alpha: float = 0.05) -> EffectVerdict:
    """Does the activation matter in an architecture? The rule, to be fixed before any result is seen.

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


@dataclass(frozen=True)
class _QuadraticForm:
    """The sum of squares Q of K relative means, and what its noise is: see ``cv_without_noise_interval``."""

    q: float
    noise: float  # tr S / N, what noise adds to Q on average
    overall: float  # tr S^2 / tr S / N: twice this is the variance of Q over its mean, where there is only noise
    along: float  # v / N, shrunk towards ``overall`` by the share of Q that may be noise
    k: int
    n: int

    @classmethod
    def of(cls, values: np.ndarray) -> "_QuadraticForm":
        k, n = values.shape
        relative = values / values.mean()
        d = relative.mean(axis=1) - 1
        q = float(d @ d)
        noise = (k - 1) * _mean_square(relative) / n
        overall = noise / (sphericity_epsilon(values) * (k - 1))
        if q == 0:
            return cls(q, noise, overall, overall, k, n)
        # what each seed adds to the root of Q, the mean in the CV's denominator included
        influence = d @ _residuals(relative) / math.sqrt(q) - math.sqrt(q) * relative.mean(axis=0)
        share = max(0.0, 1 - noise / q)
        along = share * float(influence.var(ddof=1)) / n + (1 - share) * overall
        return cls(q, noise, overall, along, k, n)

    def share_below(self, cv: float) -> float:
        """How probable a Q up to the observed one is, were ``cv`` the CV without noise."""
        effect = self.k * cv**2
        c = (self.overall * self.noise + 2 * effect * self.along) / (self.noise + 2 * effect)
        certain = 2 * effect / (self.noise + 2 * effect)
        df = (self.n - 1) / (certain + (1 - certain) * self.overall / self.noise)
        variances = 2 / df * special.gammaincinv(df / 2, VARIANCE_NODES)
        return float(special.chndtr(self.q * variances / c, self.noise / c, effect * variances / c).mean())

    def bound(self, probability: float) -> float:
        """The CV at which ``share_below`` falls to ``probability``, 0 where it is never above it."""
        if self.q > CLEAR_EFFECT * self.along:
            margin = stats.t.isf(probability, self.n - 1) * math.sqrt(self.along)
            return float(math.sqrt(self.q - self.noise) + margin) / math.sqrt(self.k)
        if self.share_below(0.0) <= probability:
            return 0.0
        far = math.sqrt((self.q + self.noise) / self.k)
        while self.share_below(far) > probability:
            far *= 2
        return float(optimize.brentq(lambda cv: self.share_below(cv) - probability, 0.0, far, xtol=1e-8))


def _checked_cells(distances: np.ndarray) -> np.ndarray:
    """``distances`` (K, N, N), once they are known to be those of at least 2 activations."""
    distances = checked(distances)
    if distances.ndim != 3 or len(distances) < 2:
        raise ValueError(f"comparing activations needs at least 2 cells, got shape {distances.shape}")
    return distances


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


def activation_cv(
    distances: np.ndarray,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
    repetitions: int = 9_999,
) -> ActivationCV:
    """CV over activations of the mean distance, its interval, the CV that noise alone would give, and a test.

    ``distances``, shape (K, N, N): K activations whose i-th trials share their seed. With x_ki the pseudo-values
    and s^2 the residual mean square of the K x N table (activation and seed effects removed):

    - ``cv.mean`` is the observed CV of the K means (ddof=0). It contains noise, and is never 0.
    - ``significance`` is that of F = N K (CV mean)^2 / ((K - 1) s^2) on epsilon (K - 1) and epsilon (K - 1)(N - 1)
      degrees of freedom. Epsilon is Geisser and Greenhouse's, from 1 / (K - 1) to 1: some activations vary more
      from trial to trial than others, or go along with each other more, and then K means have less freedom. As
      estimated it is at most (N - 1) / (K - 1), so of six activations and three trials next to nothing is found:
      equal means are rejected in .001 of simulated studies at a nominal 5 %, in .02 with 8 trials.
    - ``cv.low``, ``cv.high`` bound the CV without noise: F is noncentral F on those degrees of freedom, with
      epsilon lambda for noncentrality (Muller & Barton 1989), which is bounded by inversion (Steiger 2004), and
      CV = s sqrt(lambda / (N K)) / mean [derived]. They start at 0, and the observed CV may lie above them.
    - ``from_noise`` = s chi / (mean sqrt(N K)), with chi the mean of a chi variable on K - 1 degrees of
      freedom: the CV expected if all activations were alike [derived].
    - ``shuffled``: a second opinion, where ``rng`` is given: activations shuffled within each seed, so often. Its
      null hypothesis is that activations are alike in every way. Where one of six with equal means varies far more
      than the others, by exp(0.6 z), and seeds are shared, it rejects in .12 to .21 of simulated studies at a
      nominal 5 %, ``significance`` in .02 (N = 3) to .12 (N = 8). Where all vary equally ``significance`` is the
      one that finds less: .76 against .94 in a case with N = 5.

    For N < 3 all but the observed CV are NaN. Raises ValueError for K < 2 or matrices of the wrong kind.
    """
    distances = checked(distances)
    k, n, _ = distances.shape
    if k < 2:
        raise ValueError(f"a CV over activations needs at least 2 of them, got {k}")
    cv = coefficient_of_variation(mean_over_pairs(distances))
    if n < 3:
        nothing = Significance(p=math.nan, smallest_p=1.0)
        return ActivationCV(Estimate(cv, math.nan, math.nan, n), math.nan, nothing, None if rng is None else nothing)
    values = pseudo_values(distances)  # (K, N)
    unit, epsilon = _noise_unit(values), _sphericity(values)
    low, high = _cv_interval(cv, unit, epsilon, k, n, confidence)
    return ActivationCV(
        cv=Estimate(cv, low, high, n),
        from_noise=unit * float(stats.chi.mean(k - 1)),
        significance=Significance(_f_test(values, epsilon)),
        shuffled=None if rng is None else _shuffle_within_seeds(values, rng, repetitions),
    )


def verdict(cv: Estimate, p: float, alpha: float = 0.05, relevant_cv: float = RELEVANT_CV) -> Verdict:
    """Is an architecture sensitive to its activation? The rule, fixed before any result was seen:

    - "sensitive" if p <= alpha, p being that of ``activation_cv``, adjusted over the architectures judged together;
    - "not shown" if not, and the interval of the CV ends below ``relevant_cv``: a CV as large as the smallest that
      the report calls sensitive, 10 %, is ruled out. One of six activations may still lie 27 % of the mean away;
    - "too few trials to tell" otherwise, also where there is no test or interval.

    The p and the interval were made to allow for unequally variable activations after the first results.
    """
    if p <= alpha:
        return Verdict.SENSITIVE
    if not math.isnan(p) and cv.high < relevant_cv:
        return Verdict.NOT_SHOWN
    return Verdict.TOO_FEW


def _residuals(values: np.ndarray) -> np.ndarray:
    """A table of pseudo-values, shape (K, N), with the effects of activations and of seeds removed."""
    return values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()


def _mean_square(values: np.ndarray) -> float:
    """The residual mean square s^2 of a table of pseudo-values, shape (K, N)."""
    k, n = values.shape
    return float((_residuals(values) ** 2).sum() / ((k - 1) * (n - 1)))


def _noise_unit(values: np.ndarray) -> float:
    """s / (mean sqrt(N K)) of a table of pseudo-values, shape (K, N): see ``activation_cv``."""
    mean = float(values.mean())
    return math.sqrt(_mean_square(values) / values.size) / mean if mean != 0 else math.nan


def _sphericity(values: np.ndarray) -> float:
    """Geisser and Greenhouse's epsilon of a table, shape (K, N): 1 if any two activations differ equally widely."""
    # With eigenvalues l of the covariance between activations, epsilon = (sum l)^2 / ((K - 1) sum l^2): the share of
    # the K - 1 directions in which activations differ that the noise really fills. The trace of the covariance is
    # sum l, the sum of its squared entries sum l^2.
    residuals = _residuals(values)
    covariance = residuals @ residuals.T
    squares = float((covariance**2).sum())
    return float(np.trace(covariance) ** 2 / ((len(values) - 1) * squares)) if squares > 0 else 1.0


def _f_test(values: np.ndarray, epsilon: float) -> float:
    """p of equal means of a table, shape (K, N); 1 where nothing differs, even if nothing varies."""
    k, n = values.shape
    means, mean_square = values.mean(axis=1), _mean_square(values)
    if np.ptp(means) < ROUNDING:
        return 1.0
    f = n * means.var(ddof=1) / mean_square if mean_square > 0 else math.inf
    # Noise that fills a share epsilon of its directions leaves F that share of its degrees of freedom (Box 1954).
    return float(stats.f.sf(f, epsilon * (k - 1), epsilon * (k - 1) * (n - 1)))


def _cv_interval(cv: float, unit: float, epsilon: float, k: int, n: int, confidence: float) -> tuple[float, float]:
    """Bounds of the CV without noise: the noncentralities that make the observed F improbably large or small."""
    if not unit > ROUNDING * cv:
        return cv, cv
    df = epsilon * (k - 1), epsilon * (k - 1) * (n - 1)
    f = (cv / unit) ** 2 / (k - 1)
    # The larger the true CV, the further right F lies. So the lower bound is the CV at which an F as large as the
    # observed one has probability 2.5 %, the upper bound that at which one as small has. The search is over the root
    # of the noncentrality, to which the CV is proportional: doubled until it is beyond the bound, then narrowed down.

    def bound(probability: float) -> float:
        if f > LARGE_F:  # the noncentrality is then all of the numerator, and only s^2 is uncertain
            return cv * math.sqrt(stats.chi2.isf(probability, df[1]) / df[1])

        def excess(root: float) -> float:
            return special.ncfdtr(*df, root**2, f) - probability

        if excess(0.0) <= 0:
            return 0.0
        far = 1.0
        while excess(far) > 0:
            far *= 2
        return unit * optimize.brentq(excess, 0.0, far) / math.sqrt(epsilon)

    return bound((1 + confidence) / 2), bound((1 - confidence) / 2)


def _shuffle_within_seeds(values: np.ndarray, rng: np.random.Generator, repetitions: int) -> Significance:
    """Permutation test that K activations are alike, from their pseudo-values (K, N): shuffled for each seed.

    The statistic is the standard deviation of the K means; their mean, and so the CV's denominator, never changes.
    """
    k, n = values.shape
    # Only trials with the same seed change places, so that what a seed does to all activations cancels.
    shuffled = rng.permuted(np.broadcast_to(values.T, (repetitions, n, k)), axis=-1).mean(axis=1)
    means = np.concatenate([values.mean(axis=1)[None], shuffled])  # (M, K)
    return permutation_significance(means.std(axis=1), exact=False, floor=math.factorial(k) ** (1.0 - n))
