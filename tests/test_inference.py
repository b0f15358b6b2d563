"""Tests between activations, companions, matched loss, the front and contexts: hand-worked cases and properties."""

import itertools
import math
import re
from functools import cache

import numpy as np
import pytest
from scipy import stats as scipy_stats
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, varying, write_cells

import analyze_results
from analysis import (
    contexts,
    controls,
    differences,
    equal_loss,
    measure,
    metrics_compared,
    omnibus,
    ranks,
    stats,
    trade_off,
)
from analysis.table import Table
from views.render import FORMATS, render

MODULES = (
    *(differences, omnibus, ranks, metrics_compared),
    *(equal_loss, trade_off, contexts, controls),
)
NEW_TABLES = {name: table for module in MODULES for name, table in module.TABLES.items()}


def cell_of(distances, activation="relu", model="charlm", numbers=None, **pair_changes) -> dict:
    """A measured cell whose trials have these relative PDs (N, N); ``numbers`` (N,) are theirs, from 1 on."""
    numbers = numbers or range(1, len(distances) + 1)
    places = list(enumerate(numbers))
    pairs = [make_pair(a, b, distances[i][j], **pair_changes) for (i, a), (j, b) in itertools.combinations(places, 2)]
    trials = [make_trial(number) for number in numbers]
    return measure.measure(make_cell(model, activation, trials=trials, pairs=pairs, planned=len(trials)))


def additive(effects, mean: float) -> np.ndarray:
    """Distances mean + a_i + a_j: their pseudo-values are linear in the effects a, with twice the spread."""
    effects = np.asarray(effects) - np.mean(effects)
    return (mean + effects[:, None] + effects) * (1 - np.eye(len(effects)))


def symmetric(first: float, second: float, third: float) -> list[list[float]]:
    """Three trials with these distances between 1 and 2, 1 and 3, 2 and 3."""
    return [[0, first, second], [first, 0, third], [second, third, 0]]


def three_activations(model: str, seed: int, shifts=(0.0, 0.0, 0.0), n: int = 5) -> list[dict]:
    rng = np.random.default_rng(seed)
    names = ("relu", "gelu", "swish")
    noise = [rng.normal(0, 0.01, n) for _ in names]
    return [
        cell_of(additive(x, 0.3 + shift), name, model) for name, x, shift in zip(names, noise, shifts, strict=True)
    ]


def text_of(name: str, measured: list[dict]) -> str:
    return "\n".join(render(table, "github") for table in NEW_TABLES[name](measured))


def difference_rows(measured: list[dict]) -> list[dict]:
    return differences.difference_rows(measured, differences.compare_permuted)


# ---------------------------------------------------------------- two activations

FIRST, SECOND, THIRD = symmetric(0.3, 0.5, 0.7), symmetric(0.2, 0.3, 0.4), symmetric(0.2, 0.25, 0.15)


def test_a_difference_worked_by_hand():
    (row,) = difference_rows([cell_of(FIRST, "relu"), cell_of(SECOND, "gelu")])
    # differences .1, .2, .3: U = .2, q = .15, .2, .25, Var = 4 * 2 / 3 * .005; with 2 df p = 1 - t / sqrt(t^2 + 2)
    error = math.sqrt(8 / 3 * 0.005)
    t = 0.2 / error
    assert row["difference"] == pytest.approx(0.2)
    assert row["high_difference"] - 0.2 == pytest.approx(4.302653 * error, rel=1e-6)
    assert row["relative_difference"] == pytest.approx(100 * 0.2 / 0.3)
    assert row["p_paired"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert row["smallest_p"] == pytest.approx(0.1)
    assert row["p_permutation"] >= row["smallest_p"]
    assert (row["n_seeds"], row["shown"]) == (3, "no")


def test_only_seeds_that_both_completed_take_part():
    four = np.full((4, 4), 9.0) * (1 - np.eye(4))
    four[1:, 1:] = FIRST
    (row,) = difference_rows([cell_of(four, "relu"), cell_of(SECOND, "gelu", numbers=(2, 3, 4))])
    assert row["n_seeds"] == 3
    assert row["difference"] == pytest.approx(0.2)


def test_swapping_two_activations_changes_only_the_sign():
    first, second = cell_of(FIRST, "relu"), cell_of(SECOND, "gelu")
    one, other = differences.compare_permuted(first, second), differences.compare_permuted(second, first)
    assert one["difference"] == -other["difference"]
    assert one["low_difference"] == pytest.approx(-other["high_difference"])
    assert [one[p] for p in ("p_paired", "p_permutation")] == [other[p] for p in ("p_paired", "p_permutation")]


def test_every_architecture_is_a_family_of_its_own():
    near = three_activations("charlm", seed=1)
    far = three_activations("minigpt", seed=2, shifts=(0, 0.1, 0.2))
    rows = difference_rows([*near, *far])
    assert [row["model"] for row in rows] == ["charlm"] * 3 + ["minigpt"] * 3
    for family in (rows[:3], rows[3:]):
        assert min(row["p_holm"] for row in family) == pytest.approx(min(1, 3 * min(r["p_paired"] for r in family)))
    assert {row["shown"] for row in rows[:3]} == {"no"}
    assert {row["shown"] for row in rows[3:]} == {"yes"}
    assert difference_rows(near) == rows[:3]


def test_six_activations_are_fifteen_comparisons():
    names = ("relu", "gelu", "swish", "swiglu", "smelu_05", "smelu_1")
    measured = [measure.measure(random_cell("charlm", name)) for name in names]
    assert len(difference_rows(measured)) == 15
    assert "There are 15 of them." in text_of("differences", measured)


def test_seeds_with_missing_pairs_are_left_out():
    """As after trials 4 to 6 were added without the predictions of 1 and 2: no pair joins the two groups."""
    pairs = [make_pair(1, 2, 0.1), *(make_pair(a, b, 0.4) for a, b in itertools.combinations((4, 5, 6), 2))]
    trials = [make_trial(number) for number in (1, 2, 4, 5, 6)]
    seeds, distances = differences.shared_distances([make_cell(trials=trials, pairs=pairs)])
    assert seeds == [45, 46, 47]
    assert distances == pytest.approx(0.4 * (1 - np.eye(3))[None])


def with_losses(activation: str, losses: dict[int, float]) -> dict:
    """A measured cell of trials with these losses, by their numbers."""
    trials = [make_trial(number, loss) for number, loss in losses.items()]
    return measure.measure(make_cell(activation=activation, trials=trials, planned=len(trials)))


def test_differences_of_loss_are_paired_over_shared_seeds():
    cells = [with_losses("relu", {1: 9.0, 2: 2.61, 3: 2.65, 4: 2.70}), with_losses("gelu", {2: 2.6, 3: 2.6, 4: 2.6})]
    (row,) = differences.difference_rows(cells, differences.compare_loss)
    expected = scipy_stats.ttest_rel([2.61, 2.65, 2.70], [2.6, 2.6, 2.6])
    interval = expected.confidence_interval()
    assert (row["n_seeds"], row["p_holm"]) == (3, row["p_paired"])
    assert row["p_paired"] == pytest.approx(expected.pvalue)
    assert row["difference"] == pytest.approx(0.16 / 3)
    assert (row["low_difference"], row["high_difference"]) == pytest.approx((interval.low, interval.high))
    assert row["relative_difference"] == pytest.approx(100 * 0.16 / 3 / 2.6)


def test_two_shared_seeds_are_too_few_for_a_test_of_loss():
    cells = [with_losses("relu", {1: 2.6, 2: 2.7}), with_losses("gelu", {1: 2.5, 2: 2.5, 3: 2.5})]
    (row,) = differences.difference_rows(cells, differences.compare_loss)
    assert (row["n_seeds"], row["p_paired"], row["shown"]) == (2, None, "too few trials")


def test_differences_of_loss_stand_beside_those_of_pd():
    of_pd, of_loss = differences.differences(three_activations("charlm", seed=1))
    assert len(of_pd.rows) == len(of_loss.rows) == 3
    assert "loss" in of_loss.title


def test_differences_to_the_first_activation_have_the_p_of_the_table():
    shifted = three_activations("charlm", seed=1, shifts=(0.0, 0.05, 0.0), n=8)
    without_relu = three_activations("minigpt", seed=2)[1:]
    rows = differences.against_first([*without_relu, *shifted])
    table = {row["other_activation"]: row for row in difference_rows(shifted) if row["activation"] == "relu"}
    assert [row["activation"] for row in rows] == ["gelu", "swish"]
    assert [row["shown"] for row in rows] == ["yes", "no"]
    for row in rows:
        in_table = table[row["activation"]]
        assert row["difference"] == pytest.approx(-in_table["difference"])
        assert row["low_difference"] == pytest.approx(-in_table["high_difference"])
        assert row["p_holm"] == in_table["p_holm"]


# ---------------------------------------------------------------- all activations of an architecture


def test_the_verdict_follows_the_difference_that_is_there():
    alike = three_activations("charlm", seed=1)
    different = three_activations("minigpt", seed=2, shifts=(0, 0.1, 0.2))
    untested = [cell_of(symmetric(0.1, 0.2, 0.3), "relu", "tinylstm")]
    rows = omnibus.sensitivity_rows([*alike, *different, *untested])
    assert [row["verdict"] for row in rows] == ["not shown", "sensitive", "too few trials to tell"]
    assert {row["verdict"] for row in rows} == set(omnibus.RULES)
    assert rows[0]["low_cv"] == 0
    assert rows[1]["low_cv"] > rows[1]["cv_from_noise"]


def test_the_cv_is_that_of_the_report():
    measured = three_activations("minigpt", seed=2, shifts=(0, 0.1, 0.2))
    (row,) = omnibus.sensitivity_rows(measured)
    assert row["cv"] == pytest.approx(measure.compare_activations(measured)["cv_relative_pd"])


def test_activations_with_too_few_trials_are_left_out():
    measured = three_activations("charlm", seed=1)
    late = cell_of([[0, 9.0], [9.0, 0]], "swiglu")
    with_late, without = omnibus.sensitivity_rows([*measured, late])[0], omnibus.sensitivity_rows(measured)[0]
    assert (with_late["n_activations"], with_late["n_cells"]) == (3, 4)
    assert with_late["cv"] == without["cv"]


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


def test_the_plan_is_that_of_the_pilot():
    one, family = omnibus.planner_rows(three_activations("charlm", seed=1))
    names = ["trials_for_5_percent", "trials_for_10_percent", "trials_for_20_percent", "trials_for_30_percent"]
    assert [one[name] for name in names] == sorted((one[name] for name in names), reverse=True)
    assert (one["comparisons"], family["comparisons"]) == (1, 3)
    assert all(family[name] >= one[name] for name in names)
    assert one[names[1]] == stats.trials_needed(0.1, one["cv_between_trials"], one["correlation"])


def test_a_pilot_that_does_not_vary_plans_nothing():
    (row,) = omnibus.planner_rows([cell_of(0.3 * (1 - np.eye(4)))])
    assert row["trials_for_5_percent"] is None


# ---------------------------------------------------------------- each metric by itself


def with_metric(cells: list[dict], metric: str, value) -> list[dict]:
    """The cells with another metric for every pair: ``value`` of the cell and of the pair."""
    changed = [{**cell, "pairs": [{**pair, metric: value(cell, pair)} for pair in cell["pairs"]]} for cell in cells]
    return [measure.measure(cell) for cell in changed]


def verdicts(measured: list[dict]) -> dict[tuple[str, str], dict]:
    return {(row["when"], row["metric"]): row for row in metrics_compared.verdict_rows(measured)}


def test_every_metric_is_judged_by_itself():
    apart = three_activations("charlm", seed=3, shifts=(0.0, 0.1, 0.2))
    reversed_ = with_metric(apart, "total_variation", lambda cell, pair: 1 - pair["relative_pd"])
    rows = verdicts(with_metric(reversed_, "jensen_shannon", lambda cell, pair: 0.01 + 0.001 * sum(pair["trials"])))
    pd, opposite, alike = (rows["the end", name] for name in ("relative_pd", "total_variation", "jensen_shannon"))
    (shown,) = omnibus.sensitivity_rows(apart)
    assert {name: pd[name] for name in shown} == shown
    assert (pd["n_shown"], pd["n_differences"], pd["n_against"]) == (3, 3, 0)
    assert (opposite["n_shown"], opposite["n_against"]) == (3, 3)
    assert (alike["verdict"], alike["n_shown"], alike["n_against"]) == ("not shown", 0, 0)
    assert {name for when, name in rows if when == "equal loss"} == {"relative_pd", "top1_mismatches"}


def test_equal_loss_is_judged_by_what_is_read_off_there():
    curves = {"relu": [4, 3, 2], "gelu": [4, 3.2, 2.7], "swish": [4, 3, 2.5]}  # all have PD 2.3 at loss 2.7
    rows = verdicts([on_a_curve(name, losses) for name, losses in curves.items()])
    assert rows["the end", "relative_pd"]["cv"] == pytest.approx(100 * np.std([3, 2.3, 2.5]) / 2.6)
    assert rows["equal loss", "relative_pd"]["cv"] == pytest.approx(0, abs=1e-9)
    assert rows["equal loss", "relative_pd"]["n_shown"] == 0 < rows["the end", "relative_pd"]["n_shown"]


def test_every_metric_of_every_cell_has_its_interval():
    cells = three_activations("charlm", seed=4)
    (table,) = metrics_compared.cell_metrics(cells)
    assert [row["metric"] for row in table.rows] == list(measure.PAIR_METRICS)
    row = table.rows[0]
    expected = stats.pairwise_estimate(measure.pair_matrix(cells[1]["pairs"], "relative_pd")[1])
    assert [row[f"{kind}_gelu"] for kind in ("mean", "low", "high")] == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert f"{expected.mean:#.4g} [{expected.low:#.4g}, {expected.high:#.4g}]" in render(table, "github")


def test_correlations_may_have_an_interval_below_zero_and_distances_may_not():
    values = {(1, 2): 0.01, (1, 3): 0.01, (2, 3): 0.9}
    (cell,) = with_metric(
        [cell_of(symmetric(*values.values()))], "loss_correlation", lambda _, p: values[*p["trials"]]
    )
    assert cell["low_loss_correlation"] < 0 == cell["low_relative_pd"]


# ---------------------------------------------------------------- over all architectures


def ranked(measured: list[dict], metric: str = "relative_pd") -> dict:
    return next(row for row in ranks.rank_rows(measured) if (row["metric"], row["when"]) == (metric, "the end"))


def test_an_order_that_recurs_in_every_architecture():
    cells = [
        cell
        for model in ("charlm", "convlm", "minigpt")
        for cell in three_activations(model, 5, shifts=(0.2, 0, 0.1))
    ]
    row = ranked(cells)
    assert [row[name] for name in ("relu", "gelu", "swish")] == [3, 1, 2]
    assert (row["w"], row["n_architectures"]) == (pytest.approx(1), 3)
    assert row["p"] == pytest.approx(scipy_stats.chi2.sf(6, 2))  # of three blocks of three, chi-squared is 6


def test_an_order_of_one_architecture_or_of_incomplete_ones_is_not_tested():
    cells = three_activations("charlm", 5, shifts=(0.2, 0, 0.1))
    alone = ranked(cells)
    assert [alone[name] for name in ("relu", "gelu", "swish")] == [3, 1, 2]
    assert (alone["w"], alone["p"], alone["n_architectures"]) == (None, None, 1)
    assert ranked(cells, "top1_mismatches")["gelu"] == 2  # all alike
    two = [*cells, *three_activations("convlm", 6)[:2]]
    three = [*two, *three_activations("minigpt", 7)]
    assert ("swish" in ranked(two), ranked(two)["p"]) == (False, None)
    assert ranked(three)["n_architectures"] == 2


def test_activations_of_one_architecture_alone_do_not_empty_the_ranks():
    pair = [*three_activations("charlm", 5, (0.2, 0, 0.1)), *three_activations("convlm", 6, (0.2, 0, 0.1))]
    extra = cell_of(additive(np.zeros(5), 0.1), "mish", "charlm")
    assert ranked([*pair, extra]) == ranked(pair)
    assert ranked(pair)["n_architectures"] == 2
    assert ranked(pair, "top1_mismatches")["p"] is None  # of ties alone


# ---------------------------------------------------------------- companions


def test_rank_correlation_of_one_group_is_spearman_s():
    x, y = np.random.default_rng(3).integers(0, 6, (2, 20))
    rho = scipy_stats.spearmanr(x, y).statistic
    assert metrics_compared.rank_correlation([np.stack([x, y])]) == pytest.approx(rho)


def test_within_architectures_differences_between_them_do_not_count():
    rising = np.array([[1, 2, 3], [1, 2, 3]])
    lower_right = rising + np.array([[10], [-10]])
    assert metrics_compared.rank_correlation([rising, lower_right]) == pytest.approx(1)
    assert metrics_compared.rank_correlation([np.concatenate([rising, lower_right], axis=1)]) < 0


def test_nothing_is_said_of_too_few_or_constant_metrics():
    assert metrics_compared.rank_correlation([np.array([[1, 2], [1, 2]])]) is None
    assert metrics_compared.rank_correlation([np.array([[1, 2, 3], [5, 5, 5]])]) is None


def test_metrics_that_follow_pd_tell_its_story():
    levels = {"relu": 0.2, "gelu": 0.3, "swish": 0.25, "swiglu": 0.4}
    measured = [
        cell_of(level * (1 - np.eye(3)), name, text_distance=level**2, top5_agreement=1 - level, hellinger=-level)
        for name, level in levels.items()
    ]
    rows = {row["metric"]: row for row in metrics_compared.companion_rows(measured)}
    assert rows["total_variation"]["rho"] == pytest.approx(1)
    assert {name: row["story"] for name, row in rows.items() if row["rho"] is not None} == {
        "true_label_pd": "the same",
        "global_pd": "the same",
        "total_variation": "the same",
        "hellinger": "the opposite",
        "top5_agreement": "the same",
        "text_distance": "the same",
    }


def test_the_matrix_has_both_correlations_of_every_two_metrics():
    measured = [
        cell_of(level * (1 - np.eye(3)), name, model, text_distance=distance)
        for model, high in (("charlm", 0), ("minigpt", 1))
        for name, level, distance in (("relu", 0.2 + high, 0.3 - high), ("gelu", 0.3 + high, 0.4 - high))
    ]
    rows = {row["metric"]: row for row in metrics_compared.matrix_rows(measured)}
    means = metrics_compared.means_by_model(measured)
    over_all, within = metrics_compared.correlations(means, "relative_pd", "text_distance")
    assert (over_all, within) == (pytest.approx(-0.6), pytest.approx(1))
    assert (rows["text_distance"]["relative_pd"], rows["relative_pd"]["text_distance"]) == (over_all, within)


# ---------------------------------------------------------------- matched loss


@pytest.mark.parametrize(
    "level, distance", [(4.0, 0.1), (3.0, 0.2), (2.75, 0.25), (2.5, 0.3), (2.2, 0.36), (1.9, None)]
)
def test_pd_at_a_loss_is_on_the_line_between_evaluations(level, distance):
    found = equal_loss.at_loss([3.5, 3.0, 2.5, 2.0], [0.1, 0.2, 0.3, 0.4], level)
    assert found == (None if distance is None else pytest.approx(distance))


def on_a_curve(activation: str, losses: list[float]) -> dict:
    """A cell whose pairs have a PD that the loss alone decides: 5 - loss."""
    history = {"step": list(range(len(losses))), "train_loss": losses, "val_loss": losses}
    trials = [make_trial(number, losses[-1], history=history) for number in (1, 2, 3)]
    curve = {"step": history["step"], "relative_pd": [5 - x for x in losses], "top1_mismatches": [0] * len(losses)}
    pairs = [make_pair(a, b, 5 - losses[-1], history=curve) for a, b in itertools.combinations((1, 2, 3), 2)]
    return measure.measure(make_cell(activation=activation, trials=trials, pairs=pairs))


def test_where_the_loss_alone_decides_nothing_is_left_at_matched_loss():
    rows = equal_loss.matched_rows([on_a_curve("relu", [4, 3, 2]), on_a_curve("gelu", [4, 3.2, 2.7])])
    assert [row["mean_relative_pd"] for row in rows] == pytest.approx([3, 2.3])
    assert [row["level"] for row in rows] == [2.7, 2.7]
    assert [row["matched_pd"] for row in rows] == pytest.approx([2.3, 2.3])
    assert [row["coarse_matched_pd"] for row in rows] == pytest.approx([2.3, 2.3])


def test_what_reading_between_evaluations_may_be_off_is_told():
    curves = on_a_curve("relu", [4, 2.8, 2.4, 2]), on_a_curve("gelu", [4, 3.2, 2.8, 2.6])
    for pair in curves[0]["pairs"]:
        pair["history"]["relative_pd"] = [1, 1, 3, 3]
    table, *_ = equal_loss.matched_loss(list(curves))
    # ReLU at 2.6: 2 between steps 1 and 2; with steps 0, 1 and 3 only, 1 + 2 * 0.2 / 0.8 = 1.5.
    assert [row["matched_pd"] for row in table.rows] == pytest.approx([2, 2.4])
    assert table.notes[-1].endswith("would be read up to 0.5000 off.")


def test_differences_at_matched_loss_are_tested_as_those_at_the_end():
    rng = np.random.default_rng(3)
    at_end, matched = [], []
    for activation, shift in (("relu", 0.0), ("gelu", 0.01), ("swish", 1.0)):
        cell = on_a_curve(activation, [4, 3, 3])
        for pair in cell["pairs"]:
            distance = 2 + shift + rng.normal(0, 0.01)
            pair["relative_pd"] = distance
            pair["history"] = pair["history"] | {"relative_pd": [1, distance, 9]}
        at_end.append(cell | {"pairs": [dict(pair) for pair in cell["pairs"]]})
        matched.append(cell | {"pairs": [pair | {"relative_pd": 9} for pair in cell["pairs"]]})
    (sensitivity,), (differences,) = equal_loss.matched_sensitivity(matched), equal_loss.matched_differences(matched)
    assert sensitivity.rows == omnibus.sensitivity(at_end)[1].rows
    assert differences.rows == differences.differences(at_end)[0].rows
    assert {row["shown"] for row in differences.rows} == {"yes", "no"}


def test_a_cell_without_pairs_has_no_matched_pd():
    alone = measure.measure(make_cell(activation="gelu", trials=[make_trial(1)]))
    rows = equal_loss.matched_rows([on_a_curve("relu", [4, 3, 2]), alone])
    assert [row["matched_pd"] is None for row in rows] == [False, True]


# ---------------------------------------------------------------- the front, contexts


def test_the_front_is_what_nothing_dominates():
    rng = np.random.default_rng(5)
    cells = [{"mean_val_loss": x, "mean_relative_pd": y} for x, y in rng.integers(0, 8, (30, 2)).tolist()]
    front = trade_off.pareto_front(cells)

    def dominates(a: dict, b: dict) -> bool:
        return all(a[k] <= b[k] for k in a) and a != b

    assert front
    assert not any(dominates(a, b) for a in cells for b in front)
    assert all(any(dominates(a, b) for a in front) for b in cells if b not in front)


def test_the_front_of_an_architecture_need_not_be_that_of_all():
    measured = [
        cell_of(level * (1 - np.eye(3)), "relu", model) for model, level in (("charlm", 0.2), ("minigpt", 0.3))
    ]
    worse = cell_of(0.4 * (1 - np.eye(3)), "gelu", "minigpt")
    assert [row["front"] for row in trade_off.pareto_rows([*measured, worse])] == [
        "of all cells",
        "of its architecture",
        "no",
    ]


def sweep_cells(model: str, **distances: list[list[float]]) -> list[dict]:
    return [cell_of(matrix, name, model) for name, matrix in distances.items()]


def test_the_sweep_is_in_the_order_of_beta_beside_relu():
    measured = sweep_cells("charlm", smelu_1=THIRD, gelu=SECOND, relu=FIRST, smelu_05=SECOND)
    rows = trade_off.smelu_rows(measured)
    assert [(row["activation"], row["beta"]) for row in rows] == [("relu", 0), ("smelu_05", 0.5), ("smelu_1", 1)]
    assert [row["mean_relative_pd"] for row in rows] == pytest.approx([0.5, 0.3, 0.2])
    assert rows[0]["difference"] is rows[0]["low_difference"] is None
    assert [row["difference"] for row in rows[1:]] == pytest.approx([-0.2, -0.3])
    compared = differences.compare_pairs(measured[3], measured[2])
    for name in ("difference", "low_difference", "high_difference"):
        assert rows[1][name] == compared[name]


def test_each_architecture_with_three_betas_has_a_sweep_in_the_order_given():
    without_relu = sweep_cells("minigpt", smelu_05=FIRST, smelu_1=SECOND, smelu_2=THIRD)
    two_betas = sweep_cells("tinylstm", relu=FIRST, smelu_1=SECOND, gelu=THIRD)
    whole = sweep_cells("convlm", relu=FIRST, smelu_01=SECOND, smelu_2=THIRD)
    measured = [*without_relu, *two_betas, *whole]
    assert list(trade_off.smelu_sweeps(measured)) == ["minigpt", "convlm"]
    rows = trade_off.smelu_rows(measured)
    assert [row["difference"] is None for row in rows] == [True] * 3 + [True, False, False]
    assert trade_off.smelu(two_betas) == []


def test_contexts_are_means_over_pairs():
    def pair(a: int, b: int, apart: float) -> dict:
        different = {"relative_pd": apart, "top1_mismatches": round(1000 * apart), "global_pd": apart / 2}
        return make_pair(a, b, 0.2, different_contexts=different)

    cell = measure.measure(make_cell(pairs=[pair(1, 2, 0.7), pair(1, 3, 0.8), pair(2, 3, 0.9)]))
    (row,) = contexts.context_rows([cell])
    assert row["shared_relative_pd"] == pytest.approx(0.2)
    assert [row[f"different_{name}"] for name in contexts.ON_CONTEXTS] == pytest.approx([0.8, 800, 0.4])


def test_cells_without_other_contexts_say_nothing_of_them():
    (row,) = contexts.context_rows([cell_of(FIRST)])
    assert row["different_relative_pd"] is None


# ---------------------------------------------------------------- every table


def awkward_cells() -> list[dict]:
    """Diverged, single and missing trials, names that nobody knows, and cells like any other."""
    diverged = make_cell(activation="gelu", trials=[make_trial(1), make_trial(2), make_diverged(3)])
    lost = make_cell("minigpt", "gelu", trials=[make_diverged(1)], planned=1)
    alone = make_cell("minigpt", "my_activation", trials=[make_trial(1)])
    bent = make_cell(activation="smelu_1", trials=[make_trial(1), make_trial(2), make_diverged(3)])
    usual = [random_cell("charlm", name) for name in ("relu", "swish", "smelu_05")]
    control = varying((), make_cell(study="again", trials=diverged["trials"]))
    grown = random_cell("hybridlm", "relu", n_trials=4)  # trial 4 was trained elsewhere, so its pairs are not known
    grown["trials"].append(make_diverged(5))
    grown["pairs"] = [pair for pair in grown["pairs"] if 4 not in pair["trials"]]
    return [*usual, diverged, bent, lost, alone, random_cell("my_model", "my_activation"), control, grown]


@cache
def awkward_tables(name: str) -> list[Table]:
    return analyze_results.TABLES[name](measure.measure_study(awkward_cells(), "cpu"))


def awkward_text(name: str, form: str = "github") -> str:
    return "\n".join(render(table, form) for table in awkward_tables(name))


@pytest.mark.parametrize("name", NEW_TABLES)
def test_diverged_trials_are_counted_in_every_table(name):
    assert re.search(r"\+ [1-4] diverged", awkward_text(name))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NEW_TABLES)
def test_every_format_shows_every_table(name, form):
    text = awkward_text(name, form)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    if form.startswith("latex"):
        body = [line for line in text.splitlines() if not line.startswith("%")]
        assert "\n".join(body).isascii()
        assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]


@pytest.mark.parametrize("n_trials", [1, 2])
@pytest.mark.parametrize("activations", [("relu",), ("relu", "gelu")])
def test_too_few_trials_are_said_to_be(n_trials, activations):
    measured = [measure.measure(random_cell("charlm", name, n_trials=n_trials)) for name in activations]
    texts = {name: text_of(name, measured) for name in NEW_TABLES}
    assert not any(re.search(r"\b(nan|None|inf)\b", text) for text in texts.values())
    assert texts["sensitivity"].count("too few trials to tell") == 2  # in the rule and in the row
    assert ("too few trials" in texts["differences"]) == (len(activations) > 1)


def test_they_follow_the_report_s_tables_and_are_the_same_every_time(tmp_path, capsys):
    write_cells(tmp_path / "results", awkward_cells())
    options = ["--results-dir", str(tmp_path / "results"), "--no-plots"]

    def said() -> str:
        assert analyze_results.main(options) == 0
        return capsys.readouterr().out

    text = said()
    places = [text.index(awkward_tables(name)[0].title) for name in analyze_results.TABLES]
    assert places == sorted(places)
    assert said() == text
