"""Variants against their parents and sizes of an architecture: on made-up cells whose differences are known."""

import copy
import itertools
import math

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial, variant_cells

from analysis import jackknifed, sizes, stats, variants
from analysis.findings import Findings
from analysis.measure import measure
from analysis.variant_tables import TABLES
from study.files import ROOT
from views.figures import drawings
from views.render import csv_text

N = 8


def cell(model: str, activation: str, mean: float, seed: int, n_parameters: int = 430_000) -> dict:
    """PD is the mean of what its two trials have, so that what they have are the pseudo-values; mean as told."""
    own = np.random.default_rng(seed).normal(0, 0.01, N)
    own += mean - own.mean()
    pairs = [make_pair(i + 1, j + 1, (own[i] + own[j]) / 2) for i, j in itertools.combinations(range(N), 2)]
    trials = [make_trial(number, 2.5 + mean) for number in range(1, N + 1)]
    return make_cell(model, activation, trials=trials, pairs=pairs, planned=N, n_parameters=n_parameters)


def effects_of(cells: list[dict]) -> dict[tuple[str, str], variants.PartEffect]:
    return {(each.model, each.quantity): each for each in variants.part_effects([measure(each) for each in cells])}


# ---------------------------------------------------------------- what is jackknifed


def distances_of(values: np.ndarray) -> np.ndarray:
    """Distances (..., N, N) whose pseudo-values are ``values`` (..., N)."""
    return (values[..., :, None] + values[..., None, :]) / 2 * (1 - np.eye(values.shape[-1]))


def test_the_pseudo_values_of_a_cv_are_those_of_leaving_out_each_trial():
    drawn = np.random.default_rng(1).normal(1, 0.1, (4, N, N))
    distances = np.abs(drawn + np.swapaxes(drawn, 1, 2)) * (1 - np.eye(N))
    found = jackknifed.cv_of(stats.pseudo_values(distances))
    assert found.value == pytest.approx(stats.coefficient_of_variation(stats.mean_over_pairs(distances)))
    for place, pseudo in enumerate(found.pseudo):
        kept = np.delete(np.delete(distances, place, 1), place, 2)
        without = stats.coefficient_of_variation(stats.mean_over_pairs(kept))
        assert pseudo == pytest.approx(N * found.value - (N - 1) * without)


def test_a_slope_is_that_of_least_squares_and_the_interval_that_of_its_seeds():
    values = np.random.default_rng(2).normal(0, 1, (4, N)) + np.arange(4)[:, None]
    x = [5.0, 5.5, 6.0, 7.0]
    slope = jackknifed.slope_of(x, [jackknifed.mean_of(row[None]) for row in values])
    assert slope.value == pytest.approx(np.polyfit(x, values.mean(axis=1), 1)[0])
    expected = stats.mean_estimate(np.array([np.polyfit(x, column, 1)[0] for column in values.T]))
    assert (slope.estimate.low, slope.estimate.high) == pytest.approx((expected.low, expected.high))
    assert (slope.p <= 0.05) == (not expected.low <= 0 <= expected.high)


def test_too_few_seeds_have_neither_interval_nor_p():
    assert not jackknifed.mean_of(np.ones((2, 2))).estimate.has_interval
    assert math.isnan(jackknifed.mean_of(np.arange(10.0).reshape(2, 5)).p)
    assert math.isnan(jackknifed.mean_of(np.ones((2, 8))).p) and jackknifed.mean_of(np.ones((2, 8))).spread == 0


@pytest.mark.parametrize("cv", [0.0, 0.05])
def test_the_interval_of_a_difference_of_cvs_covers_and_the_one_around_its_pseudo_values_does_not(cv):
    """K = 4, N = 8, two architectures with the same true CV, of which one varies more over seeds."""
    rng, line = np.random.default_rng(3), np.array([-3, -1, 1, 3]) / 5**0.5
    covered, around_pseudo = [], []
    for _ in range(600):
        seeds = rng.normal(0, 0.5**0.5, N)
        both = [1 + cv * line[:, None] + sd * (rng.normal(0, 0.8, (4, N)) + seeds) for sd in (0.04, 0.06)]
        found = jackknifed.cv_of(both[1]) - jackknifed.cv_of(both[0])
        covered.append(found.estimate.low <= 0 <= found.estimate.high)
        around = stats.mean_estimate(found.pseudo)
        around_pseudo.append(around.low <= 0 <= around.high)
    assert 0.93 <= np.mean(covered) <= 0.99
    assert cv or np.mean(around_pseudo) < 0.935


@pytest.mark.parametrize("cv, least", [(0.0, 0.90), (0.02, 0.93)])
def test_the_interval_of_a_slope_of_cvs_covers_where_larger_models_vary_more_over_seeds(cv, least):
    """K = 3, N = 6, five sizes with the same true CV. Noise alone gives the larger ones a higher CV, so that with a
    true CV of 0 the interval covers too seldom."""
    rng, line = np.random.default_rng(5), np.array([-1, 0, 1]) / (2 / 3) ** 0.5
    covered = []
    for _ in range(600):
        seeds = rng.normal(0, 0.2**0.5, 6)
        sizes = [
            1 + cv * line[:, None] + sd * (rng.normal(0, 0.8**0.5, (3, 6)) + seeds)
            for sd in (0.01, 0.015, 0.02, 0.025, 0.03)
        ]
        slope = jackknifed.slope_of([5.0, 5.4, 5.63, 6.0, 6.4], [jackknifed.cv_of(values) for values in sizes])
        covered.append(slope.estimate.low <= 0 <= slope.estimate.high)
    assert least <= np.mean(covered) <= 0.975


def test_the_trials_planned_for_have_the_power():
    n = stats.trials_to_show(0.9)
    rng = np.random.default_rng(4)
    found = [jackknifed.mean_of(rng.normal(0.9, 1, (1, n))).p <= 0.05 for _ in range(2000)]
    assert n > stats.FEWEST_PLANNED and 0.78 <= np.mean(found) <= 0.90
    assert stats.trials_to_show(-0.9) == n
    assert [stats.trials_to_show(effect) for effect in (50, 1e15)] == [stats.FEWEST_PLANNED] * 2


# ---------------------------------------------------------------- parts


def test_a_variant_is_its_parent_plus_what_was_added():
    means = {"relu": 0.2, "gelu": 0.3}
    cells = [cell("charlm", name, mean, seed) for seed, (name, mean) in enumerate(means.items())]
    cells += [cell("charlm_one_head", name, mean + 0.1, seed) for seed, (name, mean) in enumerate(means.items(), 5)]
    found = effects_of(cells)
    pd, loss = found["charlm_one_head", "relative_pd"], found["charlm_one_head", "val_loss"]
    assert pd.difference.mean == pytest.approx(0.1) and pd.of_parent == pytest.approx(0.25)
    assert pd.percent.mean == pytest.approx(40) and pd.size.startswith("+40.0 % [")
    assert pd.difference.low < 0.1 < pd.difference.high
    assert loss.difference.mean == pytest.approx(0.1) and math.isnan(loss.p) and loss.shown is None
    spread = found["charlm_one_head", "CV of relative_pd"]
    assert spread.of_parent == pytest.approx(0.05 / 0.25) and spread.difference.mean == pytest.approx(1 / 7 - 1 / 5)
    assert spread.percent.mean == pytest.approx(100 * (1 / 7 - 1 / 5))
    assert spread.size.startswith("-5.7 percentage points [")
    assert pd.shown and pd.n_tests == 1  # mismatches are the same in every trial, so that they have no test
    assert ("charlm", "relative_pd") not in found


def test_p_is_holm_s_over_variants_and_primary_metrics_means_and_cvs_apart():
    cells = variant_cells()
    more = [each | {"model": "charlm_no_gain"} for each in copy.deepcopy(cells) if each["model"] == "charlm_one_head"]
    found = effects_of([*cells, *more]).values()
    for names in (["relative_pd", "top1_mismatches"], ["CV of relative_pd", "CV of top1_mismatches"]):
        of_family = [each for each in found if each.quantity in names]
        assert [each.n_tests for each in of_family] == [4] * 4
        assert [each.p for each in of_family] == pytest.approx(stats.holm([each.p_alone for each in of_family]))
    described = [each for each in found if each.quantity in ("val_loss", "total_variation", "curvature", "barrier")]
    assert len(described) == 8 and all(math.isnan(each.p) for each in described)


def test_activations_and_seeds_are_those_that_both_have():
    cells = variant_cells()
    without = [each for each in cells if (each["model"], each["activation"]) != ("charlm", "swiglu")]
    effect = effects_of(without)["charlm_one_head", "relative_pd"]
    assert (effect.n_activations, effect.seeds.n_seeds, effect.seeds.n_diverged) == (2, 7, 1)
    alone = [each for each in cells if each["model"] != "charlm"]
    assert effects_of(alone) == {}


def test_metrics_that_a_study_has_not_are_left_out():
    cells = [cell(model, name, 0.3, 1) for model in ("charlm", "charlm_one_head") for name in ("relu", "gelu")]
    assert not {quantity for _, quantity in effects_of(cells)} & {"curvature", "barrier"}


# ---------------------------------------------------------------- sizes


def sized_cells(slope: float) -> list[dict]:
    """PD of two activations is 0.3 and 0.3 (1 + 2 cv), with a cv that rises by ``slope`` for a tenfold size."""
    found = []
    for place, size in enumerate((100_000, 430_000, 1_000_000, 10_000_000)):
        cv = 0.1 + slope * math.log10(size / 1e6)
        name = "charlm" if size == 430_000 else f"charlm@{size / 1e6:g}M"
        for k, (activation, sign) in enumerate((("relu", -1), ("gelu", 1))):
            found.append(cell(name, activation, 0.3 * (1 + sign * cv), 10 * place + k, size))
    return found


def test_the_slope_of_the_cv_is_the_one_that_was_put_in():
    trends = {(each.quantity, each.when): each for each in sizes.size_trends([measure(c) for c in sized_cells(0.03)])}
    trend = trends["CV of relative_pd", "the end"]
    assert trend.slope.mean == pytest.approx(0.03) and trend.slope.low < 0.03 < trend.slope.high
    assert [point.model for point in trend.points] == ["charlm@0.1M", "charlm", "charlm@1M", "charlm@10M"]
    assert trend.points[0].estimate.mean == pytest.approx(0.07) and math.isnan(trend.level)
    assert [each.p for each in trends.values() if each.p_alone >= 0].count(trend.p) == 1
    level = trends["relative_pd", "the end"]
    assert [trend.p, level.p] == pytest.approx(stats.holm([trend.p_alone, level.p_alone])) and level.n_tests == 2
    assert all(math.isnan(each.p) for each in trends.values() if each not in (trend, level))
    assert level.slope.mean == pytest.approx(0, abs=1e-9) and level.needed is None
    assert trends["CV of relative_pd", "equal loss"].level == max(2.5 + 0.3 * 1.13, 0) and trend.needed >= 6


def test_n_to_show_the_report_s_slope_is_that_of_a_t_test_over_seeds(monkeypatch):
    monkeypatch.setattr(sizes, "REPORTED_SLOPE", 0.004)  # the real one takes as few seeds here as are ever planned
    (trend,) = [
        each
        for each in sizes.size_trends([measure(c) for c in sized_cells(0.0)])
        if (each.quantity, each.when) == ("CV of relative_pd", "the end")
    ]
    n = trend.seeds.n_seeds
    error = (trend.slope.high - trend.slope.mean) / stats.special.stdtrit(n - 1, 0.975)
    effect = sizes.REPORTED_SLOPE / (error * n**0.5)
    assert trend.n_tests == 2 and trend.needed == stats.trials_to_show(effect, alpha=0.05 / 2) > stats.FEWEST_PLANNED


def test_the_report_s_sizes_and_cvs_are_those_that_it_prints():
    text = (ROOT / "data" / "report.json").read_text()
    for model, size in (("charlm", 430_000), ("minigpt", 10_800_000)):
        assert f'"model": "{model}"' in text and f'"cv_over_activations": "{100 * sizes.REPORTED[size]:.2f}"' in text
    assert "Large transformers (10.8M params) show HIGHER sensitivity (26.94%) than small ones (21.89%)" in text


def test_an_architecture_needs_three_sizes_and_activations_in_common():
    cells = sized_cells(0.0)
    two = [each for each in cells if each["model"] in ("charlm@1M", "charlm")]
    assert sizes.sized([measure(c) for c in two]) == {}
    assert sizes.sized([measure(c) for c in cells if "@" not in c["model"]]) == {}
    lacking = [each for each in cells if (each["model"], each["activation"]) != ("charlm@1M", "relu")]
    (groups,) = sizes.sized([measure(c) for c in lacking]).values()
    assert [[c.activation for c in group] for group in groups] == [["gelu"]] * 4
    foreign = [each | {"activation": "mish"} if each["model"] == "charlm" else each for each in cells]
    (groups,) = sizes.sized([measure(c) for c in foreign]).values()
    assert [group[0].model for group in groups] == ["charlm@0.1M", "charlm@1M", "charlm@10M"]


# ---------------------------------------------------------------- tables


def test_the_tables_name_part_size_and_verdict():
    findings = Findings.of_study(variant_cells(), "cpu")
    verdicts, tested, described, by_activation = TABLES["parts"](findings)
    assert "charlm_one_head" in csv_text(verdicts)
    assert not any("minigpt" in csv_text(table) for table in (verdicts, tested, described, by_activation))
    quantities = [row["quantity"] for row in (*tested.rows, *described.rows)]
    assert sorted(quantities) == sorted(variants.QUANTITIES)
    assert [row["activation"] for row in by_activation.rows] == ["relu", "gelu", "swiglu"]
    mean = sum(row["difference"].mean for row in by_activation.rows) / 3
    (of_pd,) = (row for row in tested.rows if row["quantity"] == "relative_pd")
    assert mean == pytest.approx(of_pd["difference"].mean, abs=0.01)  # one seed of GELU diverged
    shown = {row["quantity"]: text for row, text in zip(tested.rows, tested.texts(), strict=True)}
    assert shown["CV of relative_pd"][2].endswith(" %") and shown["CV of relative_pd"][3].endswith(" points")
    points, trends = (csv_text(table) for table in TABLES["sizes"](findings))
    assert [line.split(",")[0] for line in points.splitlines()[1:]] == ["minigpt@0.1M", "minigpt@1M", "minigpt@10M"]
    assert trends.count("equal loss") == 4 and "charlm" not in points + trends


def test_a_study_without_variants_or_sizes_has_none():
    findings = Findings.of_study([cell("charlm", name, 0.3, 1) for name in ("relu", "gelu")], "cpu")
    assert [make(findings) for make in TABLES.values()] == [[], []]
    assert "parts" not in {drawing.kind for drawing in drawings(findings, named=False)}


def test_the_figure_has_a_mark_for_each_variant_and_quantity_filled_where_it_is_shown():
    findings = Findings.of_study(variant_cells(), "cpu")
    (drawing,) = [each for each in drawings(findings, named=False) if each.kind == "parts"]
    axes = drawing.draw().axes
    assert drawing.name == "shamir_parts" and len(axes) == len(variants.QUANTITIES)
    for ax, quantity in zip(axes, variants.QUANTITIES, strict=True):
        (effect,) = [each for each in findings.part_effects if each.quantity == quantity]
        (mark,) = [line for line in ax.lines if line.get_marker() == "D"]
        assert mark.get_xdata()[0] == pytest.approx(effect.percent.mean)
        assert (mark.get_markerfacecolor() != "white") == bool(effect.shown)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["CharLM with one head"]
