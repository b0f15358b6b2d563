"""What the learning rate alone does is found by settings, paired by seed, and the higher rate's minus the lower's."""

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial

from analysis.findings import Findings
from analysis.tables import TABLES
from study.files import ROOT
from views.doc_numbers import Numbers

N = 8


def cell(study: str, activation: str, rate: float, level: float, loss: float, n_trials: int = N, **settings) -> dict:
    """A cell whose trials have nearly the same effects on PD and loss at every rate."""
    effects = np.random.default_rng(0).normal(0, 0.01, n_trials) + rate * np.linspace(-0.1, 0.1, n_trials)
    pairs = [
        make_pair(i + 1, j + 1, float(level + effects[i] + effects[j]), mismatches=round(1000 * level))
        for i in range(n_trials)
        for j in range(i + 1, n_trials)
    ]
    trials = [make_trial(i + 1, loss + float(effects[i])) for i in range(n_trials)]
    made = make_cell("charlm", activation, study, trials=trials, pairs=pairs, planned=n_trials)
    return made | {"config": made["config"] | {"learning_rate": rate} | settings}


CELLS = [
    cell("own", "relu", 0.008, 0.5, 1.8),
    cell("own", "gelu", 0.004, 0.3, 1.9),
    cell("own", "swish", 0.004, 0.3, 1.9),
    cell("one_rate", "relu", 0.004, 0.4, 1.7),
    cell("one_rate", "gelu", 0.004, 0.3, 1.9),
    cell("longer", "gelu", 0.002, 0.2, 1.9, iterations=500),
    cell("few", "swish", 0.002, 0.2, 1.9, n_trials=2),
]


@pytest.mark.parametrize("study, first", [("own", "relu"), ("one_rate", "relu")])
def test_a_cell_is_compared_with_the_same_at_another_rate_whatever_the_study(study, first):
    (effect,) = Findings.of_study(CELLS, study).rate_effects
    assert (effect.relative_pd.activation, effect.low, effect.high) == (first, 0.004, 0.008)
    assert effect.relative_pd.estimate.mean == pytest.approx(0.1)
    assert effect.relative_pd.relative == pytest.approx(0.1 / effect.relative_pd.second)
    assert effect.top1_mismatches.estimate.mean == pytest.approx(100)
    assert effect.val_loss.estimate.mean == pytest.approx(0.1)
    # All signs are the same, so that of the 2^N ways to flip them two are as extreme.
    assert effect.relative_pd.p == pytest.approx(2 / 2**N)


def test_p_is_adjusted_over_the_rows():
    cells = [*CELLS, cell("one_rate", "swish", 0.008, 0.35, 1.9)]
    found = Findings.of_study(cells, "own").rate_effects
    assert [(each.relative_pd.activation, each.relative_pd.n_tests) for each in found] == [("relu", 2), ("swish", 2)]
    assert all(each.relative_pd.p == pytest.approx(2 * 2 / 2**N) for each in found)
    (table,) = TABLES["rates"](Findings.of_study(cells, "own"))
    assert [row["activation"] for row in table.rows] == ["relu", "swish"]


def test_a_study_without_another_rate_has_no_such_table():
    assert TABLES["rates"](Findings.of_study(CELLS, "longer")) == []
    assert TABLES["rates"](Findings.of_study(CELLS, "few")) == []


def test_the_docs_say_the_effect_of_each_factor():
    cells = [*CELLS, cell("one_rate", "gelu", 0.001, 0.33, 1.9)]
    doubling = "doubling the learning rate changes PD by 24.6 %, shown in 1 of 1 cell"
    assert Numbers(cells, {}, ROOT).rate_effect("own") == (
        f"{doubling}; a learning rate 4 times as high changes PD by \N{MINUS SIGN}8.9 %, shown in 1 of 1 cell"
    )


def test_the_docs_name_the_cells_whose_loss_is_lower_at_another_rate():
    said = Numbers(CELLS, {}, ROOT).better_elsewhere("own")
    assert (
        said
        == " By unadjusted intervals, the loss is lower at another rate for ReLU in CharLM at 0.004, by 0.100 nats."
    )
    assert Numbers(CELLS, {}, ROOT).better_elsewhere("one_rate") == ""


def test_other_processors_are_named_in_the_table():
    (quiet,) = TABLES["rates"](Findings.of_study(CELLS, "own"))
    elsewhere = [cell("own", "relu", 0.008, 0.5, 1.8), *CELLS[1:]]
    for trial in elsewhere[0]["trials"]:
        trial["environment"]["processor"] = "another"
    (said,) = TABLES["rates"](Findings.of_study(elsewhere, "own"))
    assert said.notes == (*quiet.notes, "The two rates were trained on different processors: CharLM with ReLU.")
