"""The table and the figure of the landscape: what predicts PD, and what is shown where nothing was measured."""

import math

import numpy as np
import pytest
from readable import check_readable
from scipy.stats import rankdata
from synthetic_cells import make_cell, make_pair, make_trial, random_cell

from analysis.findings import Findings
from analysis.landscape import LANDSCAPE
from analysis.metrics_compared import spearman_estimate
from analysis.table import ABSENT
from analysis.tables import TABLES
from config import ACTIVATIONS, MODELS
from plot_utils import activation_colours, project_style
from views.landscape_figure import LANDSCAPE_FIGURE


def cell(model: str, activation: str, rank: int) -> dict:
    """PD and barrier rise with ``rank``; the curvature falls with it."""
    size = 10 * MODELS.index(model)
    trials = [
        make_trial(n, curvature=100.0 - rank + n, gradient_noise=300.0 + 7 * min(rank, 5 - rank) + n)
        for n in (1, 2, 3)
    ]
    pds = [0.2 + rank / 100 + k / 1000 for k in range(3)]
    pairs = [
        make_pair(*numbers, pd, barrier=size + pd**2)
        for numbers, pd in zip(((1, 2), (1, 3), (2, 3)), pds, strict=True)
    ]
    return make_cell(model, activation, trials=trials, pairs=pairs)


@pytest.fixture(scope="module")
def findings() -> Findings:
    cells = [cell(model, name, rank) for model in MODELS for rank, name in enumerate(ACTIVATIONS)]
    return Findings.of_study(cells, "cpu")


def test_what_gives_pds_order_within_architectures_predicts_it(findings):
    cells, predictions = TABLES["landscape"](findings)
    assert [row["barrier"].known and row["barrier"].has_interval for row in cells.rows] == [True] * 36
    rows = {row["metric"]: row for row in predictions.rows}
    assert rows["barrier"]["within"].mean == pytest.approx(1)
    assert rows["curvature"]["within"].mean == pytest.approx(-1)
    assert 0 < rows["barrier"]["over_all"].mean < 0.9  # between architectures it has another order
    found = {each.metric: each for each in findings.landscape_predictions}
    assert not found["gradient_noise"].shown and rows["gradient_noise"]["predicts"] == "not shown"


def test_what_predicts_by_way_of_the_learning_rate_does_not_at_one_rate():
    """Curvature falls and PD rises with the rate; among the cells of a rate they rise together."""
    cells = []
    for model in MODELS:
        for rank, name in enumerate(ACTIVATIONS):
            made = cell(model, name, rank)
            rate = 0.004 if rank < 3 else 0.008
            for number, trial in enumerate(made["trials"]):
                trial["curvature"] = 100 * (rate == 0.004) + rank + number
            cells.append(made | {"config": made["config"] | {"learning_rate": rate}})
    table, predictions = TABLES["landscape"](Findings.of_study(cells, "cpu"))
    (curvature,) = (row for row in predictions.rows if row["metric"] == "curvature")
    assert curvature["within"].mean < -0.5 and curvature["at_one_rate"].mean == pytest.approx(1)
    assert [column.header for column in table.columns][2] == "Learning rate"
    assert "and at one learning rate [95 % interval]" in [column.header for column in predictions.columns]


def test_a_study_without_a_landscape_shows_dashes_and_says_how_to_get_one():
    findings = Findings.of_study([random_cell("charlm", name) for name in ACTIVATIONS], "cpu")
    (table,) = TABLES["landscape"](findings)
    assert all(row[2:5] == [ABSENT] * len(LANDSCAPE) for row in table.texts())
    assert "--landscape" in table.notes[-1]
    assert not LANDSCAPE_FIGURE.is_there(findings)


def test_a_pair_without_a_barrier_leaves_its_cell_without_an_interval():
    content = cell("charlm", "gelu", 1)
    content["pairs"][0]["barrier"] = None
    (measured,) = Findings.of_study([content], "cpu").measured
    assert measured.estimate("barrier").known and not measured.estimate("barrier").has_interval


def test_the_interval_of_a_rank_correlation_covers_it():
    """Of normal variables with correlation r, Spearman's is 6 / pi asin(r / 2); 36 cells, as in a whole study."""
    rng, r, cells = np.random.default_rng(3), 0.6, 36
    x, noise = rng.normal(size=(2, 1500, cells))
    ranks = [rankdata(values, axis=1) - (cells + 1) / 2 for values in (x, r * x + math.sqrt(1 - r * r) * noise)]
    rhos = (ranks[0] * ranks[1]).sum(axis=1) / np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    true = 6 / math.pi * math.asin(r / 2)
    estimates = [spearman_estimate(float(rho), cells) for rho in rhos]
    assert 0.93 < np.mean([each.low <= true <= each.high for each in estimates]) < 0.97


def test_few_cells_give_no_interval():
    assert spearman_estimate(0.5, 4).known and not spearman_estimate(0.5, 4).has_interval
    assert not spearman_estimate(None, 0).known
    assert not spearman_estimate(1.0, 36).has_interval  # a perfect order has none either


def test_the_figure_is_readable_and_shows_every_cell(findings):
    colours = activation_colours(each.activation for each in findings.measured)
    with project_style():
        figure = LANDSCAPE_FIGURE.draw(findings, colours)
    check_readable(figure)
    below = figure.subfigs[1].axes
    assert [len(ax.lines) for ax in below] == [36] * len(LANDSCAPE)
    places = {tuple(line.get_xydata()[0]) for line in below[1].lines}
    assert places == {(each.mean("curvature"), each.mean("relative_pd")) for each in findings.measured}
