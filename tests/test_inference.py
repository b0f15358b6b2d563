"""Tests between activations, verdicts and plans: hand-worked cases and properties."""

import itertools
import math

import numpy as np
import pytest
from measured_cells import FIRST, SECOND, additive, cell_of, on_a_curve, symmetric, three_activations
from scipy import stats as scipy_stats
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell

from analysis import (
    companion_tables,
    differences,
    finding_tables,
    measure,
    metrics_compared,
    omnibus,
    stats,
    stats_many,
)
from analysis.equal_loss import When
from analysis.findings import Findings, MetricVerdict
from analysis.measure import MeasuredCell
from analysis.stats_many import EffectVerdict
from analysis.table import Row
from analysis.tables import TABLES
from metrics import PAIR_METRICS
from views.render import render


def text_of(name: str, measured: list[MeasuredCell]) -> str:
    return "\n".join(render(table, "github") for table in TABLES[name](Findings(measured)))


def pd_rows(measured: list[MeasuredCell]) -> list[Row]:
    """The rows of the table of differences of PD."""
    return finding_tables.differences(Findings(measured))[0].rows


# ---------------------------------------------------------------- two activations


def test_a_difference_worked_by_hand():
    findings = Findings([cell_of(FIRST, "relu"), cell_of(SECOND, "gelu")])
    (found,), (permuted,) = findings.differences(), findings.second_opinions()
    # differences .1, .2, .3: U = .2, q = .15, .2, .25, Var = 4 * 2 / 3 * .005
    error = math.sqrt(8 / 3 * 0.005)
    assert found.estimate.mean == pytest.approx(0.2)
    assert found.estimate.high - 0.2 == pytest.approx(4.302653 * error, rel=1e-6)
    assert (found.first, found.second, found.relative) == pytest.approx((0.5, 0.3, 0.2 / 0.3))
    assert (found.seeds.n_seeds, found.shown, found.n_tests, permuted) == (3, None, 0, None)
    assert math.isnan(found.p)  # below six trials there is an interval and no p
    (row,) = finding_tables.differences(findings)[0].rows
    assert (row["difference"], row["shown"]) == (found.estimate, None)
    assert "+66.67" in text_of("differences", findings.measured)


def test_a_difference_is_tested_from_six_trials_on():
    effects = np.array([0.01, -0.02, 0.03, 0.0, 0.02, -0.01])
    cells = [cell_of(additive(effects, 0.5), "relu"), cell_of(additive(-effects, 0.3), "gelu")]
    (found,), (permuted,) = Findings(cells).differences(), Findings(cells).second_opinions()
    assert found.p == 2 / 2**6  # all six differences have one sign
    assert (found.shown, found.n_tests, found.seeds.n_seeds) == (True, 1, 6)
    assert permuted.p == permuted.smallest_p == stats.smallest_p(6, 6)
    five = [
        cell_of(cell_distances[:5, :5], name)
        for cell_distances, name in ((additive(effects, 0.5), "relu"), (additive(-effects, 0.3), "gelu"))
    ]
    assert Findings(five).differences()[0].shown is None


def test_only_seeds_that_both_completed_take_part():
    four = np.full((4, 4), 9.0) * (1 - np.eye(4))
    four[1:, 1:] = FIRST
    found = differences.difference_of_pairs(cell_of(four, "relu"), cell_of(SECOND, "gelu", numbers=(2, 3, 4)))
    assert found.seeds.n_seeds == 3
    assert found.estimate.mean == pytest.approx(0.2)


def test_swapping_two_activations_changes_only_the_sign():
    first, second = cell_of(FIRST, "relu"), cell_of(SECOND, "gelu")
    one, other = differences.difference_of_pairs(first, second), differences.difference_of_pairs(second, first)
    assert one.estimate.mean == -other.estimate.mean
    assert one.estimate.low == pytest.approx(-other.estimate.high)
    assert vars(one.reversed) == vars(other)
    assert one.reversed.relative == other.relative


def test_every_architecture_is_a_family_of_its_own():
    near = three_activations("charlm", seed=1)
    far = three_activations("minigpt", seed=2, shifts=(0, 0.1, 0.2))
    found = Findings([*near, *far]).differences()
    assert [each.model for each in found] == ["charlm"] * 3 + ["minigpt"] * 3
    for cells, own in ((near, found[:3]), (far, found[3:])):
        distances = differences.shared_distances(cells, "relative_pd")[1]
        assert [each.p for each in own] == stats_many.sign_flip_max_t(distances).tolist()
        assert {each.n_tests for each in own} == {3}
    assert {each.shown for each in found[:3]} == {False}
    assert {each.shown for each in found[3:]} == {True}
    assert Findings(near).differences() == found[:3]


def test_one_cell_with_few_trials_does_not_keep_the_others_from_being_tested():
    near = three_activations("charlm", seed=1)
    found = Findings([*near, cell_of(FIRST, "swiglu")]).differences()
    with_few = [each for each in found if "swiglu" in (each.activation, each.other)]
    others = [each for each in found if each not in with_few]
    assert others == Findings(near).differences()
    assert {each.shown for each in with_few} == {None} and all(each.estimate.has_interval for each in with_few)


def test_six_activations_are_fifteen_comparisons():
    names = ("relu", "gelu", "swish", "swiglu", "smelu_05", "smelu_1")
    measured = [measure.measure(random_cell("charlm", name)) for name in names]
    assert len(pd_rows(measured)) == 15
    assert "Comparisons: 15." in text_of("differences", measured)


def test_seeds_with_missing_pairs_are_left_out():
    """As after trials 4 to 6 were added without the predictions of 1 and 2: no pair joins the two groups."""
    pairs = [make_pair(1, 2, 0.1), *(make_pair(a, b, 0.4) for a, b in itertools.combinations((4, 5, 6), 2))]
    trials = [make_trial(number) for number in (1, 2, 4, 5, 6)]
    cell = measure.measure(make_cell(trials=trials, pairs=pairs))
    seeds, distances = differences.shared_distances([cell], "relative_pd")
    assert seeds == [45, 46, 47]
    assert distances == pytest.approx(0.4 * (1 - np.eye(3))[None])


def with_losses(activation: str, losses: dict[int, float]) -> MeasuredCell:
    """A measured cell of trials with these losses, by their numbers."""
    trials = [make_trial(number, loss) for number, loss in losses.items()]
    return measure.measure(make_cell(activation=activation, trials=trials, planned=len(trials)))


def test_differences_of_loss_are_paired_over_shared_seeds():
    cells = [with_losses("relu", {1: 9.0, 2: 2.61, 3: 2.65, 4: 2.70}), with_losses("gelu", {2: 2.6, 3: 2.6, 4: 2.6})]
    (found,) = Findings(cells).loss_differences
    interval = scipy_stats.ttest_rel([2.61, 2.65, 2.70], [2.6, 2.6, 2.6]).confidence_interval()
    assert (found.seeds.n_seeds, found.shown) == (3, None)
    assert found.estimate.mean == pytest.approx(0.16 / 3)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((interval.low, interval.high))
    assert found.relative == pytest.approx(0.16 / 3 / 2.6)


def test_losses_are_tested_by_flipping_signs_of_six_seeds():
    losses = {number: 2.6 + 0.01 * number for number in range(1, 7)}
    cells = [with_losses("relu", losses), with_losses("gelu", dict.fromkeys(losses, 2.5))]
    (found,) = Findings(cells).loss_differences
    assert (found.p, found.shown) == (2 / 2**6, True)


def test_two_shared_seeds_are_too_few_for_a_test_of_loss():
    cells = [with_losses("relu", {1: 2.6, 2: 2.7}), with_losses("gelu", {1: 2.5, 2: 2.5, 3: 2.5})]
    (found,) = Findings(cells).loss_differences
    assert found.seeds.n_seeds == 2
    assert math.isnan(found.p) and found.shown is None
    of_loss = finding_tables.differences(Findings(cells))[1]
    assert "too few trials" in of_loss.texts()[0]


def test_differences_of_loss_are_beside_those_of_pd():
    of_pd, of_loss = finding_tables.differences(Findings(three_activations("charlm", seed=1)))
    assert len(of_pd.rows) == len(of_loss.rows) == 3
    assert "loss" in of_loss.title


def test_differences_to_the_first_activation_have_the_p_of_the_table():
    shifted = three_activations("charlm", seed=1, shifts=(0.0, 0.05, 0.0), n=8)
    without_relu = three_activations("minigpt", seed=2)[1:]
    found = Findings([*without_relu, *shifted]).against_first
    table = {row["other_activation"]: row for row in pd_rows(shifted) if row["activation"] == "relu"}
    assert [(each.activation, each.other, each.shown) for each in found] == [
        ("gelu", "relu", True),
        ("swish", "relu", False),
    ]
    for each in found:
        in_table = table[each.activation]
        assert each.estimate.mean == -in_table["difference"].mean
        assert each.estimate.low == -in_table["difference"].high
        assert each.p == in_table["p_adjusted"]


# ---------------------------------------------------------------- all activations of an architecture


def test_the_verdict_follows_the_difference_that_is_there():
    alike = three_activations("charlm", seed=1)
    small = three_activations("minigpt", seed=2, shifts=(0, 0.02, 0.04), n=12)
    large = three_activations("convlm", seed=3, shifts=(0, 0.1, 0.2))
    untested = three_activations("tinylstm", seed=4, shifts=(0, 0.1, 0.2), n=5)
    found = Findings([*alike, *small, *large, *untested]).sensitivities()
    assert [each.verdict for each in found] == [
        EffectVerdict.NO_DIFFERENCE,
        EffectVerdict.DIFFERS,
        EffectVerdict.MATTERS,
        EffectVerdict.TOO_FEW,
    ]
    assert [each.tested for each in found] == [True, True, True, False]
    assert found[3].cv.has_interval  # an interval, and neither p nor verdict
    assert set(EffectVerdict) == set(omnibus.RULES)
    assert found[0].cv.low == 0 < found[1].cv.low


def test_p_is_adjusted_over_all_architectures_by_the_primary_metrics():
    models = [three_activations("charlm", seed=1), three_activations("minigpt", seed=2, shifts=(0, 0.01, 0.02))]
    cells = with_metric([*itertools.chain(*models)], "top1_mismatches", lambda pair: 100 + sum(pair["trials"]) ** 2)
    cells = with_metric(cells, "total_variation", lambda pair: pair["relative_pd"] / 2)
    untested = [cell_of(symmetric(0.1, 0.2, 0.3), "relu", "tinylstm")]
    findings = Findings([*cells, *untested])
    both = [*findings.sensitivities("relative_pd"), *findings.sensitivities("top1_mismatches")]
    assert [each.p_holm for each in both] == pytest.approx(
        stats.holm([each.p for each in both]).tolist(), nan_ok=True
    )
    assert {each.family.n_tests for each in both} == {4}
    assert both[0].family.text == "4 tests (2 architectures by relative PD and top-1 mismatches)"
    secondary = findings.sensitivities("total_variation")
    assert [each.p for each in secondary] == pytest.approx([each.p for each in both[:3]], nan_ok=True)
    assert [each.p_holm for each in secondary] == pytest.approx(
        stats.holm([each.p for each in secondary]).tolist(), nan_ok=True
    )
    assert {each.family.n_tests for each in secondary} == {2}


def test_trials_that_do_not_vary_leave_it_undecided():
    cells = [cell_of(level * (1 - np.eye(6)), name) for level, name in ((0.3, "relu"), (0.4, "gelu"))]
    (found,) = Findings(cells).sensitivities()
    assert math.isnan(found.p) and found.verdict is EffectVerdict.UNDECIDED


def test_the_cv_is_that_of_the_report():
    measured = three_activations("minigpt", seed=2, shifts=(0, 0.1, 0.2))
    (found,) = Findings(measured).sensitivities()
    assert found.cv.mean == pytest.approx(measure.spread_over(measured, "relative_pd").cv)


def test_activations_with_too_few_trials_are_left_out():
    measured = three_activations("charlm", seed=1)
    late = cell_of([[0, 9.0], [9.0, 0]], "swiglu")
    (with_late,), (without,) = (Findings(each).sensitivities() for each in ([*measured, late], measured))
    assert (with_late.n_activations, with_late.n_cells) == (3, 4)
    assert with_late.cv == without.cv


def test_seeds_that_diverged_in_a_cell_that_is_left_out_do_not_count():
    content = three_activations("charlm", seed=1)[0].content
    trials = [content["trials"][0], *(make_diverged(trial["trial"]) for trial in content["trials"][1:])]
    lost = measure.measure(content | {"activation": "swiglu", "trials": trials, "pairs": []})
    findings = Findings([*three_activations("charlm", seed=1), lost])
    (found,) = findings.sensitivities()
    assert (found.n_activations, found.n_cells, found.seeds.n_diverged) == (3, 4, 0)
    assert {plan.seeds.n_diverged for plan in findings.plans} == {0}


def test_the_rule_is_printed_above_the_numbers():
    text = text_of("sensitivity", three_activations("charlm", seed=1))
    assert text.index("When") < text.index("CV from noise alone")
    assert all(rule in text for rule in omnibus.RULES.values())


# ---------------------------------------------------------------- how many trials


def test_spread_and_correlation_of_a_pilot_worked_by_hand():
    effects = np.array([-0.02, 0.0, 0.01, 0.03])
    same = np.stack([additive(effects, 0.4), additive(2 * effects, 0.8)])
    spread, correlation = stats.spread_and_correlation(same)
    assert spread == pytest.approx(2 * effects.std(ddof=1) / 0.4)
    assert correlation == pytest.approx(1)
    assert stats.spread_and_correlation(np.stack([same[0], additive(-effects, 0.4)]))[1] == pytest.approx(-1)
    assert stats.spread_and_correlation(same[:1]) == (pytest.approx(spread), 0)
    rng = np.random.default_rng(0)
    for k in range(2, 60):  # copies of one pilot: rounding makes no correlation above 1
        copies = np.stack([additive(rng.normal(0, 0.01, 6), 0.4)] * k)
        assert stats.spread_and_correlation(copies)[1] <= 1
    alike = np.full((10, 10), 2 / 297) * (1 - np.eye(10))  # pseudo-values differ by rounding alone
    assert np.ptp(stats.pseudo_values(alike)) > 0 and stats.spread_and_correlation(alike[None])[0] == 0


def test_the_plan_is_that_of_the_pilot():
    one, family = omnibus.plans(three_activations("charlm", seed=1))
    assert list(one.trials) == [0.05, 0.10, 0.20, 0.30]
    assert list(one.trials.values()) == sorted(one.trials.values(), reverse=True)
    assert (one.comparisons, family.comparisons) == (1, 3)
    assert all(family.trials[x] >= n for x, n in one.trials.items())
    assert one.trials[0.10] == stats.trials_needed(0.1, one.cv_between_trials, one.correlation)
    first_of_holm = stats.trials_needed(0.1, one.cv_between_trials, one.correlation, alpha=0.05 / 3)
    assert family.trials[0.10] == first_of_holm > one.trials[0.10]
    assert one.row()["trials_for_5_percent"] == one.trials[0.05]


def test_a_pilot_that_does_not_vary_plans_nothing():
    (plan,) = omnibus.plans([cell_of(0.3 * (1 - np.eye(4)))])
    assert set(plan.trials.values()) == {None}


# ---------------------------------------------------------------- each metric by itself


def with_metric(cells: list[MeasuredCell], metric: str, value) -> list[MeasuredCell]:
    """The cells with another metric for every pair: ``value`` of the pair."""
    changed = [cell.content | {"pairs": [pair | {metric: value(pair)} for pair in cell.pairs]} for cell in cells]
    return [measure.measure(content) for content in changed]


def verdicts(measured: list[MeasuredCell]) -> dict[tuple[When, str], MetricVerdict]:
    return {(each.when, each.sensitivity.metric): each for each in Findings(measured).metric_verdicts}


def test_every_metric_is_judged_by_itself():
    apart = three_activations("charlm", seed=3, shifts=(0.0, 0.1, 0.2))
    reversed_ = with_metric(apart, "total_variation", lambda pair: 1 - pair["relative_pd"])
    found = verdicts(with_metric(reversed_, "jensen_shannon", lambda pair: 0.01 + 0.001 * sum(pair["trials"])))
    pd, opposite, alike = (found[When.END, name] for name in ("relative_pd", "total_variation", "jensen_shannon"))
    assert [pd.sensitivity] == Findings(apart).sensitivities()
    assert (pd.n_shown, pd.n_differences, pd.n_against) == (3, 3, 0)
    assert (opposite.n_shown, opposite.n_against) == (3, 3)
    assert (alike.sensitivity.shown, alike.n_shown, alike.n_against) == (False, 0, 0)
    assert {name for when, name in found if when is When.END} == set(metrics_compared.judged())
    assert {name for when, name in found if when is When.EQUAL_LOSS} == {"relative_pd", "top1_mismatches"}


def test_equal_loss_is_judged_by_what_is_read_off_there():
    curves = {"relu": [4, 3, 2], "gelu": [4, 3.2, 2.7], "swish": [4, 3, 2.5]}  # all have PD 2.3 at loss 2.7
    found = verdicts([on_a_curve(name, losses) for name, losses in curves.items()])
    at_end, at_equal_loss = found[When.END, "relative_pd"], found[When.EQUAL_LOSS, "relative_pd"]
    assert at_end.sensitivity.cv.mean == pytest.approx(np.std([3, 2.3, 2.5]) / 2.6)
    assert at_equal_loss.sensitivity.cv.mean == pytest.approx(0, abs=1e-9)
    assert at_equal_loss.n_shown == 0


def test_every_metric_of_every_cell_has_its_interval():
    cells = three_activations("charlm", seed=4)
    (table,) = companion_tables.cell_metrics(Findings(cells))
    assert [row["metric"] for row in table.rows] == list(PAIR_METRICS)
    expected = stats.pairwise_estimate(measure.pair_matrix(cells[1].pairs, "relative_pd")[1])
    shown = table.rows[0]["of_gelu"]
    assert (shown.mean, shown.low, shown.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert f"{expected.mean:#.4g} [{expected.low:#.4g}, {expected.high:#.4g}]" in render(table, "github")


def test_correlations_may_have_an_interval_below_zero_and_distances_may_not():
    values = {(1, 2): 0.01, (1, 3): 0.01, (2, 3): 0.9}
    (cell,) = with_metric(
        [cell_of(symmetric(*values.values()))], "loss_correlation", lambda pair: values[*pair["trials"]]
    )
    assert cell.estimate("loss_correlation").low < 0 == cell.estimate("relative_pd").low
