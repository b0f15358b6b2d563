"""Intervals and tests against brute force, hand-worked cases, and what they promise: their rates in simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from benchmarks import coverage

REPETITIONS = 400


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def random_distances(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Symmetric with a zero diagonal, shape (..., N, N)."""
    upper = np.triu(rng.uniform(0.2, 0.8, shape), 1)
    return upper + np.swapaxes(upper, -1, -2)


def constant_distances(n: int, value: float = 0.5) -> np.ndarray:
    return value * (1 - np.eye(n))


def mean_over_pairs(distances: np.ndarray, trials) -> float:
    return float(np.mean([distances[i, j] for i, j in itertools.combinations(trials, 2)]))


# Estimates

HAND_WORKED = np.array([[0.0, 0.2, 0.4], [0.2, 0.0, 0.6], [0.4, 0.6, 0.0]])


def test_three_trials_worked_by_hand():
    # U = .4; mean distances to the others .3, .4, .5; Var = 4 * 2 / (3 * 1) * .02 = .16 / 3; t(2) = 4.302653
    estimate = stats.pairwise_estimate(HAND_WORKED)
    margin = 4.302653 * math.sqrt(0.16 / 3)
    assert estimate.n == 3
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.4, 0.4 - margin, 0.4 + margin), rel=1e-6)
    assert stats.pseudo_values(HAND_WORKED) == pytest.approx([0.0, 0.4, 0.8], abs=1e-12)
    assert stats.spread_and_correlation(HAND_WORKED[None]) == (pytest.approx(1.0), 0)


@pytest.mark.parametrize("n", [3, 4, 7, 12])
def test_pairwise_estimate_is_the_jackknife_by_brute_force(rng, n):
    distances = random_distances(rng, n, n)
    without = [mean_over_pairs(distances, [j for j in range(n) if j != i]) for i in range(n)]
    variance = (n - 1) / n * sum((u - np.mean(without)) ** 2 for u in without)
    estimate = stats.pairwise_estimate(distances, confidence=0.9)
    assert estimate.mean == pytest.approx(mean_over_pairs(distances, range(n)))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(scipy_stats.t.ppf(0.95, n - 1) * math.sqrt(variance))


def test_mean_estimate_is_the_t_interval(rng):
    values = rng.normal(size=9)
    oracle = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    estimate = stats.mean_estimate(values)
    assert (estimate.low, estimate.high) == pytest.approx((oracle.low, oracle.high))


def test_paired_difference_is_the_jackknife_of_the_difference(rng):
    a, b = random_distances(rng, 2, 6, 6)
    estimate = stats.paired_difference(a, b)
    assert estimate == stats.pairwise_estimate(a - b)
    assert estimate.mean == pytest.approx(mean_over_pairs(a, range(6)) - mean_over_pairs(b, range(6)))
    reversed_estimate = stats.paired_difference(b, a)
    assert (reversed_estimate.low, reversed_estimate.high) == pytest.approx((-estimate.high, -estimate.low))


def test_the_report_s_coefficient_of_variation():
    assert stats.coefficient_of_variation([1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(2 / 3) / 2)
    assert math.isnan(stats.coefficient_of_variation([0.0, 0.0]))


def test_too_few_trials_give_nan_and_never_a_number(rng):
    one, two = np.zeros((1, 1)), constant_distances(2, 0.3)
    assert math.isnan(stats.pairwise_estimate(one).mean)
    assert stats.pairwise_estimate(two).mean == 0.3
    assert math.isnan(stats.pairwise_estimate(two).low)
    assert stats.paired_difference(two, constant_distances(2, 0.1)).mean == pytest.approx(0.2)
    assert math.isnan(stats.mean_estimate([]).mean)
    assert stats.mean_estimate([2.5]).mean == 2.5
    assert math.isnan(stats.mean_estimate([2.5]).high)
    for few in (one, two):
        assert math.isnan(stats.paired_test(few, few).p)
        assert math.isnan(stats.permutation_test(few, few, rng).p)
        found = stats_many.activation_cv(np.stack([few, few]), rng)
        assert math.isnan(found.cv.high) and math.isnan(found.from_noise) and math.isnan(found.significance.p)
        assert stats_many.verdict(found.cv, found.significance.p) is stats_many.Verdict.TOO_FEW


def test_trials_that_do_not_differ_at_all(rng):
    same = constant_distances(4)
    estimate = stats.pairwise_estimate(same)
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.5, 0.5, 0.5))
    assert stats.paired_test(same, same).p == 1
    assert stats.permutation_test(same, same, rng).p == 1
    assert coverage.label_permutation_p(constant_distances(8), 4, rng) == 1
    found = stats_many.activation_cv(np.stack([same, same, same]), rng)
    assert (found.cv.mean, found.from_noise) == pytest.approx((0, 0), abs=1e-9)
    assert (found.significance.p, found.shuffled.p) == (1, 1)


def test_matrices_of_the_wrong_kind_are_refused(rng):
    good = random_distances(rng, 4, 4)
    skew, diagonal, hole = good.copy(), good.copy(), good.copy()
    skew[0, 1] += 0.1
    diagonal[2, 2] = 0.1
    hole[0, 1] = hole[1, 0] = math.nan
    for bad, message in ((skew, "symmetric"), (diagonal, "itself"), (hole, "finite"), (good[:3], "shape")):
        with pytest.raises(ValueError, match=message):
            stats.pairwise_estimate(bad)
    with pytest.raises(ValueError, match="share"):
        stats.paired_difference(good, random_distances(rng, 5, 5))
    with pytest.raises(ValueError, match="finite"):
        stats.mean_estimate([1.0, math.nan])


# Tests of two activations


def test_labels_are_enumerated_exactly(rng):
    a, b = random_distances(rng, 3, 3), random_distances(rng, 4, 4)
    values = np.concatenate([stats.pseudo_values(a), stats.pseudo_values(b)])
    statistics = []
    for group in itertools.combinations(range(7), 3):
        others = [i for i in range(7) if i not in group]
        statistics.append(abs(values[list(group)].mean() - values[others].mean()))
    outcome = stats.permutation_test(a, b, rng)
    assert outcome.p == pytest.approx(np.mean(np.array(statistics) >= statistics[0] - 1e-12))
    assert outcome.exact and outcome.standard_error == 0
    assert outcome.smallest_p == pytest.approx(1 / 35)


def test_pooled_labels_of_the_benchmark_agree_with_brute_force(rng):
    pooled = random_distances(rng, 7, 7)
    statistics = []
    for group in itertools.combinations(range(7), 3):
        others = [i for i in range(7) if i not in group]
        statistics.append(abs(mean_over_pairs(pooled, group) - mean_over_pairs(pooled, others)))
    exact = np.mean(np.array(statistics) >= statistics[0] - 1e-12)
    repetitions = 4_000
    sampled = coverage.label_permutation_p(pooled, 3, rng, repetitions)
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / repetitions))


def test_permuted_pseudo_values_agree_with_scipy(rng):
    a, b = random_distances(rng, 2, 5, 5)
    oracle = scipy_stats.permutation_test(
        (stats.pseudo_values(a), stats.pseudo_values(b)),
        lambda x, y, axis: np.abs(x.mean(axis=axis) - y.mean(axis=axis)),
        vectorized=True,
        n_resamples=np.inf,
        alternative="greater",
    )
    assert stats.permutation_test(a, b, rng).p == pytest.approx(oracle.pvalue)


def test_monte_carlo_labels_come_within_their_standard_error(rng, monkeypatch):
    a, b = random_distances(rng, 2, 7, 7)
    exact = stats.permutation_test(a, b, rng)
    monkeypatch.setattr(stats, "EXACT_LIMIT", 100)
    sampled = stats.permutation_test(a, b, rng, repetitions=4_000)
    assert not sampled.exact and 0 < sampled.standard_error < 0.01
    assert sampled.p == pytest.approx(exact.p, abs=4 * sampled.standard_error)
    repeated = [stats.permutation_test(a, b, np.random.default_rng(1), 500) for _ in range(2)]
    assert repeated[0] == repeated[1]


def test_clear_difference_gives_the_smallest_p(rng):
    a, b = random_distances(rng, 2, 5, 5)
    assert stats.permutation_test(a, b + 9 * (1 - np.eye(5)), rng).p == stats.smallest_p(5, 5)


@pytest.mark.parametrize(("n", "p"), [(3, 0.10), (4, 0.029), (5, 0.0079), (6, 0.0022)])
def test_smallest_p_of_equal_groups(n, p):
    assert stats.smallest_p(n, n) == pytest.approx(p, rel=0.02)


def test_paired_t_agrees_with_scipy_and_knows_its_limits(rng):
    a, b = rng.normal(size=(2, 6))
    assert stats.paired_t_test(a, b).p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert math.isnan(stats.paired_t_test(a[:1], b[:1]).p)
    assert stats.paired_t_test(a, a).p == 1
    with pytest.raises(ValueError, match="share their trials"):
        stats.paired_t_test(a, b[:5])


def test_paired_test_says_what_the_interval_says(rng):
    a, b = random_distances(rng, 2, 6, 6)
    p = stats.paired_test(a, b).p
    just_reaches_zero = stats.paired_difference(a, b, confidence=1 - p)
    assert min(abs(just_reaches_zero.low), abs(just_reaches_zero.high)) == pytest.approx(0, abs=1e-9)


def test_holm_worked_by_hand():
    # ascending .005 * 4, .01 * 3, .03 * 2, .04 * 1, each at least the one before
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert stats.holm([0.02, math.nan, 0.03]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert stats.holm([]).shape == (0,)


# Many activations


def test_without_a_generator_there_is_no_second_opinion_and_all_else_is_the_same(rng):
    cells = random_distances(rng, 3, 5, 5)
    alone, both = stats_many.activation_cv(cells), stats_many.activation_cv(cells, rng)
    assert alone.shuffled is None is stats_many.activation_cv(cells[:, :2, :2]).shuffled
    assert (alone.cv, alone.from_noise, alone.significance) == (both.cv, both.from_noise, both.significance)


def test_shuffling_two_activations_is_flipping_signs(rng):
    cells = random_distances(rng, 2, 7, 7)
    differences = stats.pseudo_values(cells[0]) - stats.pseudo_values(cells[1])
    flipped = [abs(np.mean(signs * differences)) for signs in itertools.product((1, -1), repeat=7)]
    exact = np.mean(np.array(flipped) >= flipped[0] - 1e-12)
    outcome = stats_many.activation_cv(cells, rng).shuffled
    assert outcome.p == pytest.approx(exact, abs=4 * outcome.standard_error)
    assert outcome.smallest_p == 1 / 2**6


def test_two_activations_are_tested_as_a_pair(rng):
    cells = random_distances(rng, 2, 7, 7)
    assert stats_many.activation_cv(cells, rng).significance.p == pytest.approx(stats.paired_test(*cells).p)


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.15, 0.5])
def test_cv_interval_inverts_the_f_test(rng, strength):
    k, n = 6, 8
    cells = random_distances(rng, k, n, n) + strength * np.arange(k)[:, None, None] * (1 - np.eye(n))
    found = stats_many.activation_cv(cells, rng)
    table = stats.pseudo_values(cells)
    residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    mean_square = (residuals**2).sum() / 35
    f = n * table.mean(axis=1).var(ddof=1) / mean_square
    epsilon = geisser_greenhouse(table)
    df = 5 * epsilon, 35 * epsilon
    for bound, probability in ((found.cv.low, 0.975), (found.cv.high, 0.025)):
        noncentrality = epsilon * n * k * (bound * table.mean()) ** 2 / mean_square
        if bound > 0:
            assert special.ncfdtr(*df, noncentrality, f) == pytest.approx(probability, abs=1e-6)
    assert (found.cv.low > 0) == (found.significance.p < 0.025)
    assert found.significance.p == pytest.approx(scipy_stats.f.sf(f, *df))


def test_cv_interval_of_an_overwhelming_difference_has_the_uncertainty_of_the_noise(rng):
    for size in (3e4, 3e5):  # F about 1e5, and beyond what the noncentral F distribution can compute
        cells = random_distances(rng, 6, 5, 5) + size * np.arange(6)[:, None, None] * (1 - np.eye(5))
        cv = stats_many.activation_cv(cells, np.random.default_rng(0), repetitions=9).cv
        ratios = cv.low / cv.mean, cv.high / cv.mean
        epsilon = geisser_greenhouse(stats.pseudo_values(cells))
        assert ratios == pytest.approx(
            np.sqrt(scipy_stats.chi2.isf([0.975, 0.025], 20 * epsilon) / (20 * epsilon)), rel=0.02
        )


def geisser_greenhouse(table: np.ndarray) -> float:
    """Epsilon from the eigenvalues of the covariance of orthonormal contrasts, as it is defined; ``table`` (K, N)."""
    k = len(table)
    contrasts = np.linalg.svd(np.eye(k) - 1 / k)[0][:, : k - 1].T
    eigenvalues = np.linalg.eigvalsh(np.cov(contrasts @ table))
    return float(eigenvalues.sum() ** 2 / ((k - 1) * (eigenvalues**2).sum()))


def test_verdict_follows_its_rule():
    def judge(p: float, high: float) -> stats_many.Verdict:
        return stats_many.verdict(stats.Estimate(0.08, 0.0, high, 8), p)

    assert judge(0.05, 0.30) is stats_many.Verdict.SENSITIVE
    assert judge(0.06, 0.09) is stats_many.Verdict.NOT_SHOWN
    assert judge(0.06, 0.10) is stats_many.Verdict.TOO_FEW
    assert judge(math.nan, math.nan) is stats_many.Verdict.TOO_FEW


# Planning


@pytest.mark.parametrize(("effect", "trials"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_trials_needed_agrees_with_the_tables_of_the_paired_t_test(effect, trials):
    x = 0.25
    cv = x / (effect * math.sqrt(1 + (1 + x) ** 2))
    assert stats.trials_needed(x, cv) == trials


def test_trials_needed_respects_the_floor_of_permutation_and_grows_sensibly():
    assert stats.trials_needed(2.0, 0.01) == stats.FEWEST_PLANNED
    assert stats.trials_needed(2.0, 0.01, alpha=0.05 / 150) == 8
    assert stats.trials_needed(0.1, 0.2) > stats.trials_needed(0.2, 0.2) > stats.trials_needed(0.2, 0.2, 0.8)
    assert stats.trials_needed(-0.2, 0.2) < stats.trials_needed(0.2, 0.2)
    assert stats.trials_needed(0.001, 0.3) > 100_000
    for wrong in ((0.0, 0.2), (-1.0, 0.2), (0.1, 0.0), (0.1, math.nan), (0.1, 0.2, 1.5), (0.1, 0.2, 0.0, 1.0)):
        with pytest.raises(ValueError, match="needs|power"):
            stats.trials_needed(*wrong)


# Promises, by simulation (longer: python -m benchmarks.coverage). 400 repetitions: standard error .011 at .95


@pytest.mark.parametrize("trials", ["equal", "unequal"])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_jackknife_covers_and_t_over_pairs_does_not(rng, n, trials):
    rates = coverage.coverage(n, coverage.SPREADS[trials], REPETITIONS, rng)
    assert 0.91 <= rates["jackknife-t"] <= 0.995
    if n == 10:
        assert rates["t over pairs"] < 0.75


@pytest.mark.parametrize("study", [{}, {"spread": 0.3}, {"spread": 0.3, "apart": True}])
def test_tests_keep_their_level_and_t_over_pairs_does_not(rng, study):
    rates = coverage.rejections(5, REPETITIONS, rng, **study)
    assert max(rates["permutation"], rates["Welch"], rates["paired"]) <= 0.085
    assert rates["t over pairs"] > 0.15
    assert (rates["pooled labels"] > 0.12) if "apart" in study else (rates["pooled labels"] <= 0.085)


def test_sharing_seeds_is_used_by_the_paired_test_alone(rng):
    study = {"spread": 0.3, "correlation": 0.7}
    alike = coverage.rejections(6, REPETITIONS, rng, **study)
    different = coverage.rejections(6, REPETITIONS // 2, rng, scales=(0.5, 0.66), **study)
    assert 0.02 <= alike["paired"] <= 0.085
    assert max(alike["Welch"], alike["permutation"]) < 0.03
    assert different["paired"] > 1.3 * different["Welch"]


def test_cv_of_alike_and_of_different_activations(rng):
    study = {"spread": 0.3, "correlation": 0.7, "apart": True}
    alike = coverage.sensitivity(5, np.full(6, 0.5), REPETITIONS, rng, **study)
    assert alike["from noise"] == pytest.approx(alike["observed CV"], rel=0.12)
    assert alike["covered"] >= 0.92
    assert max(alike["p <= .05"], alike["any pair by Holm"]) <= 0.085
    different = coverage.sensitivity(5, np.linspace(0.35, 0.65, 6), REPETITIONS // 2, rng, **study)
    assert different["from noise"] == pytest.approx(alike["from noise"], rel=0.12)
    assert different["covered"] >= 0.92
    assert different["p <= .05"] > 0.6


def test_one_activation_that_varies_more_does_not_pass_for_a_difference(rng):
    rates = coverage.sensitivity(5, repetitions=REPETITIONS, rng=rng, correlation=0.7, **coverage.one_varies_more())
    assert rates["shuffled p <= .05"] > 0.11
    assert rates["p <= .05"] < 0.11
    assert rates["covered"] >= 0.9


def test_planned_trials_have_the_planned_power(rng):
    plan = coverage.planned(0.29, 0.3, 0.7, REPETITIONS, rng)
    assert 0.7 <= plan["power"] <= 0.92
