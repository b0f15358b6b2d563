"""Differences between two groups of models: oracles, and rates in simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import stats, stats_many, two_groups
from benchmarks import simulated

REPETITIONS = 500


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def random_distances(rng: np.random.Generator, n: int, scale: float = 1.0) -> np.ndarray:
    upper = np.triu(rng.uniform(0.2, 0.8, (n, n)), 1)
    return scale * (upper + upper.T)


def pooled_groups(rng, n_a: int, n_b: int, repetitions: int = REPETITIONS, **study):
    """Distances within two groups of simulated models, of one population unless ``study`` says otherwise."""
    n = max(n_a, n_b)
    for first, second in simulated.simulate(rng, repetitions, n, **{"scales": (simulated.SCALE,) * 2, **study}):
        yield first[:n_a, :n_a], second[:n_b, :n_b]


def test_the_unpaired_test_and_interval_are_welch_s_on_pseudo_values(rng):
    a, b = random_distances(rng, 6), random_distances(rng, 9)
    oracle = scipy_stats.ttest_ind(stats.pseudo_values(a), stats.pseudo_values(b), equal_var=False)
    interval = oracle.confidence_interval(0.95)
    found = two_groups.distance_difference(a, b, paired=False)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(stats.pairwise_estimate(a).mean - stats.pairwise_estimate(b).mean)
    assert two_groups.welch_test(a, b) == pytest.approx(oracle.pvalue)
    assert two_groups.welch_test(b, a) == pytest.approx(oracle.pvalue)


def test_the_paired_interval_is_that_of_two_activations(rng):
    a, b = random_distances(rng, 5), random_distances(rng, 5)
    found, oracle = two_groups.distance_difference(a, b, paired=True), stats.paired_difference(a, b)
    assert (found.mean, found.low, found.high) == pytest.approx((oracle.mean, oracle.low, oracle.high))


@pytest.mark.parametrize("paired", [True, False])
def test_the_ratio_does_not_depend_on_the_unit_and_turns_over_with_the_groups(rng, paired):
    a, b = random_distances(rng, 6), random_distances(rng, 6, 2.0)
    found = two_groups.distance_ratio(a, b, paired)
    scaled = two_groups.distance_ratio(1e-9 * a, 1e-9 * b, paired)
    turned = two_groups.distance_ratio(b, a, paired)
    assert found.low < found.mean < found.high
    assert (scaled.mean, scaled.low, scaled.high) == pytest.approx((found.mean, found.low, found.high))
    assert (turned.mean, turned.low, turned.high) == pytest.approx((1 / found.mean, 1 / found.high, 1 / found.low))


def test_the_p_does_not_depend_on_the_unit(rng):
    a, b = random_distances(rng, 6), random_distances(rng, 7)
    assert two_groups.welch_test(1e-12 * a, 1e-12 * b) == pytest.approx(two_groups.welch_test(a, b))


def test_too_few_models_or_no_spread_give_no_p_and_no_interval(rng):
    two, six = random_distances(rng, 2), random_distances(rng, 6)
    for found in (two_groups.distance_difference(two, six, False), two_groups.distance_ratio(two, six, False)):
        assert not math.isnan(found.mean) and math.isnan(found.low)
    assert math.isnan(two_groups.welch_test(two, six))
    same = 0.5 * (1 - np.eye(6))
    assert math.isnan(two_groups.welch_test(same, 0.3 * (1 - np.eye(6))))
    assert math.isnan(two_groups.distance_ratio(np.zeros((6, 6)), six, False).mean)
    assert math.isnan(two_groups.value_difference(np.ones(1), np.ones(4), False).low)


@pytest.mark.parametrize(("n_a", "n_b"), [(6, 6), (6, 10)])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_models_of_one_population_are_seldom_found_to_differ(rng, n_a, n_b, spread):
    p = [two_groups.welch_test(a, b) for a, b in pooled_groups(rng, n_a, n_b, spread=spread)]
    allowed = scipy_stats.binom.ppf(0.999, REPETITIONS, 0.06) / REPETITIONS
    assert np.mean(np.array(p) <= 0.05) <= allowed


def test_paired_models_of_one_population_are_seldom_found_to_differ(rng):
    studies = pooled_groups(rng, 6, 6, spread=0.3, correlation=0.5)
    p = [stats_many.sign_flip_max_t(np.stack(groups))[0] for groups in studies]
    assert np.mean(np.array(p) <= 0.05) <= scipy_stats.binom.ppf(0.999, REPETITIONS, 0.06) / REPETITIONS


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_a_known_ratio_and_difference(rng, paired):
    scale = 1.2 * simulated.SCALE
    means = simulated.true_mean(scale, 0.3), simulated.true_mean(spread=0.3)
    study = {"scales": (scale, simulated.SCALE), "spread": 0.3, "correlation": 0.5 * paired}
    covered = np.zeros(2)
    for a, b in pooled_groups(rng, 6, 6, 300, **study):
        ratio, difference = two_groups.distance_ratio(a, b, paired), two_groups.distance_difference(a, b, paired)
        covered += (
            ratio.low <= means[0] / means[1] <= ratio.high,
            difference.low <= means[0] - means[1] <= difference.high,
        )
    assert (covered / 300 >= 0.92).all()


def test_a_large_known_difference_is_found(rng):
    scales = (1.6 * simulated.SCALE, simulated.SCALE)
    p = [two_groups.welch_test(a, b) for a, b in pooled_groups(rng, 8, 6, 100, scales=scales)]
    assert np.mean(np.array(p) <= 0.05) > 0.9
