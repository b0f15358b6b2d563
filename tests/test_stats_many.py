"""Tests and intervals for many activations: against other formulas, brute force, and their rates in simulation."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from analysis.stats import Estimate
from analysis.stats_many import EffectVerdict
from benchmarks import coverage, simulated
from benchmarks.simulated import distances_of

# Seconds until eight people retched, eating four animals: Field, Discovering Statistics, "bushtucker".
PUBLISHED = np.array(
    [[8, 9, 6, 5, 8, 7, 10, 12], [7, 5, 2, 3, 4, 5, 2, 6], [1, 2, 3, 1, 5, 6, 7, 8], [6, 5, 8, 9, 8, 7, 2, 1]], float
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def random_cells(rng: np.random.Generator, k: int, n: int, effect: float = 0.0) -> np.ndarray:
    """Distances with an interaction of two trials, so not of the form of ``distances_of``; shape (K, N, N)."""
    upper = np.triu(rng.uniform(0.3, 0.7, (k, n, n)), 1)
    return upper + np.swapaxes(upper, 1, 2) + effect * np.arange(k)[:, None, None] * (1 - np.eye(n))


def epsilons(table: np.ndarray) -> tuple[float, float]:
    """Geisser and Greenhouse's and Huynh and Feldt's, from the covariance of orthonormal contrasts; table (K, N)."""
    k, n = table.shape
    contrasts = np.linalg.svd(np.eye(k) - 1 / k)[0][:, : k - 1].T
    covariance = np.atleast_2d(np.cov(contrasts @ table))
    g = np.trace(covariance) ** 2 / ((k - 1) * np.trace(covariance @ covariance))
    return float(g), float((n * (k - 1) * g - 2) / ((k - 1) * (n - 1 - (k - 1) * g)))


# Epsilon and the F test


def test_epsilon_and_p_of_a_published_table():
    assert stats_many.huynh_feldt_lecoutre_epsilon(PUBLISHED) == pytest.approx(0.666, abs=5e-4)
    assert stats_many.equal_means_test(distances_of(PUBLISHED)).p == pytest.approx(0.048, abs=5e-4)


@pytest.mark.parametrize("n", [5, 8, 12])
def test_epsilon_is_huynh_and_feldts_formula_kept_between_geisser_and_greenhouses_and_1(rng, n):
    for sd in (1.0, 3.0, 30.0):
        table = rng.normal(size=(6, n)) * np.array([sd, 1, 1, 1, 1, 1])[:, None]
        g, h = epsilons(table)
        assert stats_many.huynh_feldt_lecoutre_epsilon(table) == pytest.approx(min(max(h, g), 1.0))
        assert stats_many.sphericity_epsilon(table) == pytest.approx(g if g < 0.3 else min(max(h, g), 1.0))


def test_epsilon_where_there_is_nothing_to_estimate(rng):
    assert stats_many.huynh_feldt_lecoutre_epsilon(rng.normal(size=(2, 7))) == 1
    assert stats_many.huynh_feldt_lecoutre_epsilon(np.ones((6, 8))) == 1
    assert 0.2 <= stats_many.huynh_feldt_lecoutre_epsilon(rng.normal(size=(6, 3))) <= 1


def test_equal_means_test_is_the_f_test_on_fewer_degrees_of_freedom(rng):
    table = rng.normal(1, 0.1, (6, 8))
    epsilon = min(epsilons(table)[1], 1.0)
    seeds = table.mean(axis=0)
    mean_square = ((table - table.mean(axis=1, keepdims=True) - seeds + table.mean()) ** 2).sum() / 35
    f = 8 * table.mean(axis=1).var(ddof=1) / mean_square
    oracle = scipy_stats.f.sf(f, 5 * epsilon, 35 * epsilon)
    assert stats_many.equal_means_test(distances_of(table)).p == pytest.approx(oracle)


def test_two_activations_are_tested_as_a_pair(rng):
    cells = random_cells(rng, 2, 7)
    assert stats_many.equal_means_test(cells).p == pytest.approx(stats.paired_test(*cells).p)


# Sign flips


def adjusted_by_brute_force(table: np.ndarray) -> list[float]:
    """Step-down maxima of |t| over every flip of every seed, one flip and one pair at a time."""
    pairs = list(itertools.combinations(range(len(table)), 2))

    def absolute_t(signs: tuple[int, ...]) -> list[float]:
        return [abs(scipy_stats.ttest_1samp(np.multiply(signs, table[a] - table[b]), 0).statistic) for a, b in pairs]

    n = table.shape[1]
    observed, flipped = absolute_t((1,) * n), [absolute_t(s) for s in itertools.product((1, -1), repeat=n)]
    adjusted, largest_yet = [0.0] * len(pairs), 0.0
    remaining = sorted(range(len(pairs)), key=lambda pair: -observed[pair])
    while remaining:
        pair = remaining[0]
        p = np.mean([max(ts[each] for each in remaining) >= observed[pair] - 1e-9 for ts in flipped])
        largest_yet = max(largest_yet, float(p))
        adjusted[pair] = largest_yet
        remaining = remaining[1:]
    return adjusted


@pytest.mark.parametrize("effect", [0.0, 0.1])
def test_sign_flips_agree_with_brute_force(rng, effect):
    cells = random_cells(rng, 3, 6, effect)
    assert stats_many.sign_flip_max_t(cells) == pytest.approx(adjusted_by_brute_force(stats.pseudo_values(cells)))


def test_one_pair_is_the_sign_flip_test_of_scipy(rng):
    cells = random_cells(rng, 2, 8, 0.05)
    differences = np.subtract(*stats.pseudo_values(cells))
    oracle = scipy_stats.permutation_test(
        (differences,), lambda x, axis: np.abs(x.mean(axis=axis)), permutation_type="samples",
        vectorized=True, n_resamples=np.inf, alternative="greater",
    )  # fmt: skip
    assert stats_many.sign_flip_max_t(cells) == pytest.approx([oracle.pvalue])


def test_step_down_is_monotone_and_never_below_a_single_pair_s_p(rng):
    for effect in (0.0, 0.02, 0.05):
        cells = random_cells(rng, 6, 8, effect)
        adjusted = stats_many.sign_flip_max_t(cells)
        pairs = list(itertools.combinations(cells, 2))
        alone = [stats_many.sign_flip_max_t(np.stack(pair))[0] for pair in pairs]
        descending = np.argsort([stats.paired_test(*pair).p for pair in pairs])
        assert (adjusted >= np.array(alone) - 1e-12).all()
        assert (np.diff(adjusted[descending]) >= 0).all()


def test_the_clearest_difference_gets_the_smallest_p():
    cells = random_cells(np.random.default_rng(0), 6, 7, 50.0)
    assert stats_many.sign_flip_max_t(cells) == pytest.approx(np.full(15, 2 / 2**7))


def test_too_few_trials_and_pairs_without_variance_get_no_p(rng):
    assert np.isnan(stats_many.sign_flip_max_t(random_cells(rng, 4, 5))).all()
    table = rng.normal(1, 0.1, (4, 7))
    table[1], table[2] = table[0], table[0] + 0.5
    p = dict(zip(itertools.combinations(range(4), 2), stats_many.sign_flip_max_t(distances_of(table)), strict=True))
    assert p[0, 1] == 1
    assert math.isnan(p[0, 2]) and math.isnan(p[1, 2])
    assert p[0, 3] == p[1, 3] <= 1


def test_many_trials_are_flipped_at_random(rng, monkeypatch):
    cells = random_cells(rng, 4, 10, 0.05)
    exact = stats_many.sign_flip_max_t(cells)
    monkeypatch.setattr(stats_many, "FLIP_LIMIT", 9)
    with pytest.raises(ValueError, match="rng"):
        stats_many.sign_flip_max_t(cells)
    assert stats_many.sign_flip_max_t(cells, rng, 4_000) == pytest.approx(exact, abs=0.03)
    assert stats_many.sign_flip_max_t(random_cells(rng, 4, 10, 9.0), rng, 99) == pytest.approx(
        np.full(6, 0.01), abs=0.011
    )


# The interval


def test_at_no_effect_the_interval_is_the_f_test(rng):
    for effect in (0.0, 0.02, 0.03, 0.05):
        cells = random_cells(rng, 6, 8, effect)
        form = stats_many.QuadraticForm.of(stats.pseudo_values(cells))
        p = stats_many.equal_means_test(cells).p
        assert 1 - form.share_below(0.0) == pytest.approx(p, abs=2e-3)
        found = stats_many.cv_without_noise_interval(cells)
        if abs(p - 0.025) > 2e-3:
            assert (found.low > 0) == (p < 0.025)


def test_of_a_clear_effect_it_is_the_jackknifes_t_interval(rng):
    table = np.array([1.0, 2.0, 4.0, 5.0])[:, None] + rng.normal(0, 0.02, (4, 9))
    left_out = [stats.coefficient_of_variation(np.delete(table, i, 1).mean(axis=1)) for i in range(9)]
    error = 8 * np.std(left_out) / math.sqrt(8)
    margin = scipy_stats.t.ppf(0.975, 8) * error
    found = stats_many.cv_without_noise_interval(distances_of(table))
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((margin, margin), rel=1e-2)
    assert found.mean == pytest.approx(stats.coefficient_of_variation(table.mean(axis=1)), rel=1e-4)


def test_the_estimate_is_the_cv_less_what_noise_adds_to_it(rng):
    k, n = 4, 6
    table = 1 + 0.04 * np.arange(k)[:, None] + rng.normal(0, 0.05, (k, n))
    squares = n * k * table.var() - n * k * table.mean(axis=1).var() - n * k * table.mean(axis=0).var()
    of_noise = squares / ((k - 1) * (n - 1)) / n * (k - 1) / k  # of the variance of the means over seeds
    found = stats_many.cv_without_noise_interval(distances_of(table))
    assert found.mean == pytest.approx(math.sqrt(table.mean(axis=1).var() - of_noise) / table.mean())
    assert found.mean < 0.98 * stats.coefficient_of_variation(table.mean(axis=1))


def test_both_ways_to_a_bound_agree_where_they_meet(rng, monkeypatch):
    table = 1 + 0.3 * np.arange(6)[:, None] + rng.normal(0, 0.03, (6, 8))
    long_way = stats_many.cv_without_noise_interval(distances_of(table))
    monkeypatch.setattr(stats_many, "CLEAR_EFFECT", 1.0)
    short_way = stats_many.cv_without_noise_interval(distances_of(table))
    assert (short_way.low, short_way.high) == pytest.approx((long_way.low, long_way.high), rel=1e-3)


def test_share_below_falls_and_more_confidence_is_wider(rng):
    for effect in (0.0, 0.03, 0.2):
        cells = random_cells(rng, 6, 6, effect)
        form = stats_many.QuadraticForm.of(stats.pseudo_values(cells))
        assert (np.diff([form.share_below(cv) for cv in np.linspace(0, 0.5, 60)]) <= 1e-12).all()
        wide, narrow = (
            stats_many.cv_without_noise_interval(cells, 0.99),
            stats_many.cv_without_noise_interval(cells, 0.8),
        )
        assert wide.low <= narrow.low <= narrow.mean <= narrow.high <= wide.high


def test_the_interval_where_there_is_little_to_say(rng):
    two = random_cells(rng, 4, 2)
    assert not stats_many.cv_without_noise_interval(two).has_interval
    assert math.isnan(stats_many.equal_means_test(two).p)
    exact = stats_many.cv_without_noise_interval(distances_of(np.array([1.0, 2.0, 3.0])[:, None] * np.ones(8)))
    assert exact.mean == pytest.approx(math.sqrt(2 / 3) / 2) and not exact.has_interval
    assert math.isnan(stats_many.cv_without_noise_interval(distances_of(np.zeros((3, 8)))).low)
    for function in (stats_many.cv_without_noise_interval, stats_many.equal_means_test, stats_many.sign_flip_max_t):
        with pytest.raises(ValueError, match="at least 2 cells"):
            function(two[:1])


def test_order_of_seeds_and_activations_and_the_scale_do_not_matter(rng):
    cells = random_cells(rng, 5, 7, 0.04)
    seeds, activations = rng.permutation(7), rng.permutation(5)
    changed = 3 * cells[activations][:, seeds][:, :, seeds]
    before, after = stats_many.cv_without_noise_interval(cells), stats_many.cv_without_noise_interval(changed)
    assert (after.mean, after.low, after.high) == pytest.approx((before.mean, before.low, before.high), abs=1e-6)
    assert stats_many.equal_means_test(changed).p == pytest.approx(stats_many.equal_means_test(cells).p)
    assert sorted(stats_many.sign_flip_max_t(changed)) == pytest.approx(sorted(stats_many.sign_flip_max_t(cells)))


# The rule


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.11, 0.20, 0.001, EffectVerdict.MATTERS),
        (0.10, 0.20, 0.001, EffectVerdict.UNDECIDED),
        (0.02, 0.09, 0.05, EffectVerdict.DIFFERS),
        (0.02, 0.10, 0.05, EffectVerdict.UNDECIDED),
        (0.00, 0.09, 0.06, EffectVerdict.NO_DIFFERENCE),
        (0.00, 0.20, 0.06, EffectVerdict.UNDECIDED),
        (0.00, 0.09, math.nan, EffectVerdict.UNDECIDED),
        (math.nan, math.nan, 0.01, EffectVerdict.UNDECIDED),
    ],
)
def test_the_rule_for_effects(low, high, p, verdict):
    assert stats_many.effect_verdict(Estimate(0.05, low, high, 8), p, 8) is verdict
    assert stats_many.effect_verdict(Estimate(0.05, low, high, 5), p, 5) is EffectVerdict.TOO_FEW


# Values unlike ours


def test_without_variance_there_is_no_p(rng):
    constant = np.array([1.0, 2.0, 3.0])[:, None] * np.ones(8)
    assert math.isnan(stats_many.equal_means_test(distances_of(constant)).p)
    assert stats_many.equal_means_test(distances_of(np.ones((3, 8)))).p == 1
    assert stats_many.equal_means_test(distances_of(np.zeros((3, 8)))).p == 1
    assert np.isnan(stats_many.sign_flip_max_t(distances_of(constant))).all()
    assert math.isnan(stats.paired_test(*distances_of(constant)[:2]).p)
    assert (stats_many.sign_flip_max_t(distances_of(np.ones((3, 8)))) == 1).all()


def test_identical_activations_with_small_counts_are_not_taken_for_different(rng):
    """Three trials and one mismatch in a pair, on average: differences are often equal, so that t is infinite."""
    false = 0
    for _ in range(150):
        counts = np.triu(rng.poisson(1.0, (6, 3, 3)), 1).astype(float)
        cells = counts + np.swapaxes(counts, 1, 2)
        pairs = stats.holm([stats.paired_test(a, b).p for a, b in itertools.combinations(cells, 2)])
        false += bool((pairs <= 0.05).any())
    assert false / 150 <= 0.06


@pytest.mark.parametrize("scale", [1e-10, 1e10])
def test_the_unit_of_the_values_changes_no_p(rng, scale):
    cells = random_cells(rng, 3, 7, 0.05)
    for of_cells in (
        lambda each: stats_many.equal_means_test(each).p,
        lambda each: stats_many.sign_flip_max_t(each),
        lambda each: stats.paired_test(each[0], each[1]).p,
        lambda each: stats.permutation_test(each[0], each[1], np.random.default_rng(0)).p,
    ):
        assert of_cells(scale * cells) == pytest.approx(of_cells(cells)) != pytest.approx(1.0)


def test_the_unit_does_not_hide_a_matrix_that_is_not_symmetric(rng):
    skew = random_cells(rng, 1, 4)[0]
    skew[0, 1] *= 1.5
    with pytest.raises(ValueError, match="symmetric"):
        stats.pairwise_estimate(1e-10 * skew)


# Many studies at once


def test_many_studies_at_once_are_each_as_alone(rng):
    values = rng.normal(1, 0.1, (5, 4, 7)) + 0.05 * np.arange(4)[:, None]
    form = stats_many.QuadraticForm.of(values)
    p = stats_many.equal_means_p(values)
    for place, table in enumerate(values):
        alone = stats_many.cv_without_noise_interval(distances_of(table))
        assert p[place] == pytest.approx(stats_many.equal_means_test(distances_of(table)).p)
        for bound, probability in ((alone.low, 0.975), (alone.high, 0.025)):
            if bound > 0:
                assert form.share_below(bound)[place] == pytest.approx(probability, abs=1e-5)


# Rates in simulation; 500 repetitions, standard error .010 at .05 and .95 (more: python -m benchmarks.coverage)

REPETITIONS = 500


def rates(name: str, n: int, cv: float) -> dict[str, float]:
    return coverage.count(name, n, cv, REPETITIONS)


def test_the_tests_keep_their_level():
    found = rates("equal", 8, 0.0)
    assert 0.01 <= found["rejections: all cells, F"] <= 0.085
    assert 0.01 <= found["rejections: any pair, sign flips"] <= 0.085


def test_sign_flips_keep_their_level_where_one_activation_is_far_more_skewed_and_f_does_not(rng):
    values = 1 + 0.08 * rng.standard_normal((REPETITIONS, 6, 6))
    values[:, 0] = 1 + 0.4 * simulated.exponential(rng, (REPETITIONS, 6))
    flips = [stats_many.sign_flips_of_values(each).min() for each in values]
    assert coverage.share(np.array(flips)) <= 0.085
    assert coverage.share(stats_many.equal_means_p(values)) >= 0.1


def test_the_new_test_finds_more_than_one_that_takes_geisser_and_greenhouses_epsilon(rng):
    values, _ = simulated.scenario("equal")(rng, REPETITIONS, 8, 0.03)
    k, n = values.shape[1:]
    g = stats_many._sphericity(values)
    f = n * values.mean(axis=2).var(axis=1, ddof=1) / stats_many._mean_square(values)
    old = scipy_stats.f.sf(f, g * (k - 1), g * (k - 1) * (n - 1))
    assert coverage.share(stats_many.equal_means_p(values)) > coverage.share(old) + 0.08


@pytest.mark.parametrize(("name", "n", "cv"), [("equal", 6, 0.03), ("one wide", 8, 0.1)])
def test_the_interval_covers_as_often_as_it_says(name, n, cv):
    assert (0.89 if name == "one wide" else 0.92) <= rates(name, n, cv)["coverage: CV without noise"] <= 0.995


# The benchmark


def test_values_become_distances_with_these_pseudo_values(rng):
    values = rng.normal(1, 0.2, (3, 6, 5))
    assert stats.pseudo_values(distances_of(values)) == pytest.approx(values)


def test_what_the_benchmark_counts_is_what_the_functions_say():
    """Every study by itself, through the functions that analysis calls."""
    name, n, cv, repetitions = "one wide", 6, 0.1, 25
    found = coverage.count(name, n, cv, repetitions)
    rng = np.random.default_rng([42, simulated.SCENARIOS.index(name), n, round(1e6 * cv)])
    values, means = simulated.scenario(name)(rng, repetitions, n, cv)
    cells = distances_of(values)
    cvs = [stats_many.cv_without_noise_interval(each) for each in cells]
    p = [stats_many.equal_means_test(each).p for each in cells]
    cell_means = [stats.pairwise_estimate(cell) for study in cells for cell in study]
    truths = np.tile(means, repetitions)
    verdicts = [stats_many.effect_verdict(*each, n) for each in zip(cvs, p, strict=True)]
    assert found["coverage: CV without noise"] == np.mean([each.low <= cv <= each.high for each in cvs])
    assert found["coverage: mean of a cell"] == pytest.approx(
        np.mean([each.low <= truth <= each.high for each, truth in zip(cell_means, truths, strict=True)])
    )
    assert found["rejections: all cells, F"] == np.mean(np.array(p) <= 0.05)
    for verdict in set(EffectVerdict) - {EffectVerdict.TOO_FEW}:
        assert found[f"verdict: {verdict}"] == verdicts.count(verdict) / repetitions
    paired = [stats.paired_test(each[0], each[-1]).p <= 0.05 for each in cells]
    permuted = [stats.permutation_test(each[0], each[-1], rng).p <= 0.05 for each in cells]
    assert found["rejections: two cells, paired t"] == np.mean(paired)
    assert found["rejections: two cells, labels permuted"] == np.mean(permuted)  # 6 v 6 are enumerated


def test_the_benchmark_s_p_of_any_pair_is_the_smallest_of_all_pairs(rng):
    values = rng.normal(1, 0.1, (4, 5, 7)) + 0.03 * np.arange(5)[:, None]
    assert coverage.any_pair_p(values) == pytest.approx([stats_many.sign_flips_of_values(x).min() for x in values])


def test_contexts_are_counted_as_the_crossed_interval_does_it(rng):
    values, blocks = rng.normal(1, 0.1, (1, 1, 7)), rng.normal(0, 0.2, 20)
    found = stats.crossed_estimate(distances_of(values[0, 0]) + blocks.mean() * (1 - np.eye(7)), 1 + blocks)
    margin = math.hypot(coverage.margin_of(values[0, 0]), coverage.margin_of(blocks))
    assert found.high - found.mean == pytest.approx(margin)


def test_benchmark_writes_rows_that_do_not_depend_on_each_other(capsys):
    both = list(coverage.simulate_all(("equal", "outlier"), (3, 6), (0.0, 0.1), 20))
    alone = list(coverage.simulate_all(("outlier",), (6,), (0.1,), 20))
    assert [row["shares"]["0.1"] for row in alone] == [row["shares"]["0.1"] for row in both[-len(alone) :]]
    record = {"repetitions": 20, "rows": both}
    assert json.loads(coverage.text_of(record)) == record
    coverage.print_tables(both, (0.0, 0.1))
    assert "any pair, sign flips" in capsys.readouterr().out
    assert not [row for row in both if row["n"] == 3 and ("flips" in row["what"] or "verdict" in row["what"])]


def test_a_missed_goal_is_marked_beyond_two_standard_errors():
    assert coverage.missed("coverage: CV without noise", 0.1, 0.90, 1000)
    assert coverage.missed("coverage: CV without noise", 0.1, 0.99, 1000)
    assert not coverage.missed("coverage: CV without noise", 0.0, 0.99, 1000)
    assert not coverage.missed("rejections: all cells, F", 0.0, 0.065, 1000)
    assert coverage.missed("rejections: all cells, F", 0.0, 0.08, 1000)
    assert not coverage.missed("rejections: all cells, F", 0.03, 0.5, 1000)  # power


def test_the_committed_record_is_whole_and_its_misses_are_those_of_the_goals():
    record = json.loads(coverage.OUT.read_text())
    asked = {(name, n) for name in simulated.SCENARIOS for n in coverage.TRIALS}
    whats = {row["what"] for row in record["rows"]}
    assert {(row["scenario"], row["n"]) for row in record["rows"]} == asked
    assert whats == set(coverage.count("equal", 8, 0.0, 5))
    for row in record["rows"]:
        assert list(map(float, row["shares"])) == list(coverage.CVS)
        assert row["missed"] == coverage.misses(row["what"], row["shares"], record["repetitions"])
