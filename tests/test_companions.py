"""Orders over all architectures, and how the companions of PD go with it."""

import math

import numpy as np
import pytest
from measured_cells import additive, cell_of, three_activations
from scipy import stats as scipy_stats

from analysis import companion_tables, finding_tables, metrics_compared, ranks, stats
from analysis.equal_loss import When
from analysis.findings import Findings
from analysis.measure import MeasuredCell
from analysis.ranks import Ranking
from analysis.table import Row
from metrics import PAIR_METRICS

# ---------------------------------------------------------------- over all architectures


def ranked(measured: list[MeasuredCell], metric: str = "relative_pd") -> Ranking:
    return ranks.ranking(measured, metric)


def test_an_order_that_recurs_in_every_architecture():
    cells = [
        cell
        for model in ("charlm", "convlm", "minigpt")
        for cell in three_activations(model, 5, shifts=(0.2, 0, 0.1))
    ]
    found = ranked(cells)
    assert found.ranks == {"relu": 3, "gelu": 1, "swish": 2}
    assert (found.w, found.n_architectures) == (pytest.approx(1), 3)
    assert found.p == pytest.approx(scipy_stats.chi2.sf(6, 2))  # of three blocks of three, chi-squared is 6


def test_an_order_of_one_architecture_or_of_incomplete_ones_is_not_tested():
    cells = three_activations("charlm", 5, shifts=(0.2, 0, 0.1))
    alone = ranked(cells)
    assert alone.ranks == {"relu": 3, "gelu": 1, "swish": 2}
    assert math.isnan(alone.w) and math.isnan(alone.p) and alone.n_architectures == 1
    assert ranked(cells, "top1_mismatches").ranks["gelu"] == 2  # all alike
    two = [*cells, *three_activations("convlm", 6)[:2]]
    three = [*two, *three_activations("minigpt", 7)]
    assert "swish" not in ranked(two).ranks and math.isnan(ranked(two).p)
    assert ranked(three).n_architectures == 2


def test_activations_of_one_architecture_alone_do_not_empty_the_ranks():
    pair = [*three_activations("charlm", 5, (0.2, 0, 0.1)), *three_activations("convlm", 6, (0.2, 0, 0.1))]
    extra = cell_of(additive(np.zeros(5), 0.1), "mish", "charlm")
    assert ranked([*pair, extra]) == ranked(pair)
    assert ranked(pair).n_architectures == 2
    assert math.isnan(ranked(pair, "top1_mismatches").p)  # of ties alone


def test_orders_by_loss_and_by_every_metric_are_adjusted_together():
    cells = [cell for model in ("charlm", "minigpt") for cell in three_activations(model, 5, shifts=(0.2, 0, 0.1))]
    findings = Findings(cells)
    asked = [(when, found.metric) for when, found, _ in findings.rankings]
    assert asked[0] == (When.END, "val_loss")
    assert asked[1:] == [(when, metric) for when in When for metric in findings.metrics(when)]
    adjusted = [p for _, _, p in findings.rankings]
    assert adjusted == pytest.approx(stats.holm([found.p for _, found, _ in findings.rankings]), nan_ok=True)
    (table,) = finding_tables.ranks(findings)
    assert [(row["when"], row["metric"]) for row in table.rows] == asked


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
    few, many = (np.array([range(n), range(n, 0, -1)]) for n in (2, 6))  # ranks up to 2 and up to 6
    assert metrics_compared.rank_correlation([few, many]) == pytest.approx(-1)


def test_nothing_is_said_of_too_few_or_constant_metrics():
    assert metrics_compared.rank_correlation([np.array([[1, 2], [1, 2]])]) is None
    assert metrics_compared.rank_correlation([np.array([[1, 2, 3], [5, 5, 5]])]) is None


def companion_rows(measured: list[MeasuredCell]) -> dict[str, Row]:
    (table,) = companion_tables.companions(Findings(measured))
    return {row["metric"]: row for row in table.rows}


def test_metrics_that_follow_pd_give_its_order():
    levels = {"relu": 0.2, "gelu": 0.3, "swish": 0.25, "swiglu": 0.4}
    measured = [
        cell_of(level * (1 - np.eye(3)), name, text_distance=level**2, top5_agreement=1 - level, hellinger=-level)
        for name, level in levels.items()
    ]
    rows = companion_rows(measured)
    assert list(rows) == [name for name in PAIR_METRICS if name != "relative_pd"] + ["val_loss"]
    assert rows["total_variation"]["rho"] == pytest.approx(1)
    assert {name: row["agreement"] for name, row in rows.items() if row["rho"] is not None} == {
        "true_label_pd": "the same",
        "global_pd": "the same",
        "total_variation": "the same",
        "hellinger": "the opposite",
        "top5_agreement": "the same",
        "text_distance": "the same",
    }


def test_both_correlations_of_two_metrics_that_disagree():
    measured = [
        cell_of(level * (1 - np.eye(3)), name, model, text_distance=distance)
        for model, high in (("charlm", 0), ("minigpt", 1))
        for name, level, distance in (("relu", 0.2 + high, 0.3 - high), ("gelu", 0.3 + high, 0.4 - high))
    ]
    found = metrics_compared.correlations(measured, "relative_pd", "text_distance")
    assert found == (pytest.approx(-0.6), pytest.approx(1))
    row = companion_rows(measured)["text_distance"]
    assert (row["rho"], row["rho_within"], row["agreement"]) == (*found, "another")
