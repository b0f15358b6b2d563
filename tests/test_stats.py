"""Intervals and tests against brute force, hand-worked cases, and what they promise: their rates in simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from benchmarks import coverage, simulated

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


def test_trials_that_do_not_differ_at_all(rng):
    same = constant_distances(4)
    estimate = stats.pairwise_estimate(same)
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.5, 0.5, 0.5))
    assert stats.paired_test(same, same).p == 1
    assert stats.permutation_test(same, same, rng).p == 1


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


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_jackknife_covers_and_t_over_pairs_does_not(rng, n, spread):
    rates = coverage.coverage_of_predictions(n, spread, REPETITIONS, rng)
    assert 0.91 <= rates["jackknife-t"] <= 0.995
    if n == 10:
        assert rates["t over pairs"] < 0.75


def test_two_cells_are_told_apart_and_not_where_they_are_alike():
    alike, different = (coverage.count("equal", 6, cv, REPETITIONS) for cv in (0.0, 0.1))
    for test in ("paired t", "labels permuted"):
        assert alike[f"rejections: two cells, {test}"] <= 0.085
        assert different[f"rejections: two cells, {test}"] > 0.5
    # sharing a seed makes trials alike, of which only the paired test makes use
    assert different["rejections: two cells, paired t"] >= different["rejections: two cells, labels permuted"]


def test_the_cv_from_noise_is_what_alike_activations_have(rng):
    values, _ = simulated.scenario("equal")(rng, REPETITIONS, 6, 0.0)
    cells = simulated.distances_of(values)
    observed = [stats.coefficient_of_variation(stats.mean_over_pairs(each)) for each in cells]
    assert np.mean([stats_many.cv_from_noise(each) for each in cells]) == pytest.approx(np.mean(observed), rel=0.05)


def test_planned_trials_have_the_planned_power(rng):
    plan = coverage.planned(0.3, 0.7, REPETITIONS, rng)
    assert 0.7 <= plan["power"] <= 0.92
