"""The studies of parts, sizes, gated activations and attention dropout are judged by what was registered of them."""

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial

from analysis import registered
from analysis.expectation import Outcome
from analysis.findings import Findings
from analysis.registration import RECIPE, REGISTERED
from config import ONLY_WITH_DROPOUT, PARENTS
from model import build_model, count_parameters


def cells_of(study: str, levels: dict | None = None, models: tuple[str, ...] = (), n_trials: int = 0) -> list[dict]:
    """All cells of a registered study, or those of ``models``, with a mean PD of .8 but for ``levels``, by
    architecture and, in a pair with it, activation."""
    config, rng = REGISTERED[study].config, np.random.default_rng(0)
    n_trials = n_trials or config.n_trials
    cells = []
    for model in models or config.models:
        size = count_parameters(build_model(model, "relu", config)) if "@" in model or study == "sizes" else 430_000
        for activation in config.activations:
            level = (levels or {}).get((model, activation), (levels or {}).get(model, 0.8))
            effects = rng.normal(0, 0.002, n_trials)
            pairs = [
                make_pair(i + 1, j + 1, float(level + effects[i] + effects[j]), mismatches=400 + int(50 * level))
                for i in range(n_trials)
                for j in range(i + 1, n_trials)
            ]
            trials = [make_trial(i, seed=config.seed_base + i - 1) for i in range(1, n_trials + 1)]
            cell = make_cell(
                model, activation, study, trials=trials, pairs=pairs, planned=n_trials, n_parameters=size
            )
            cells.append(cell | {"config": cell["config"] | {key: getattr(config, key) for key in RECIPE}})
    return cells


def outcomes(cells: list[dict]) -> dict[int, str]:
    (table,) = registered.registered(Findings.of_study(cells, cells[0]["study"]))
    return {row["number"]: row["outcome"] for row in table.rows}


def wrong(cells: list[dict]) -> set[int]:
    return {number for number, outcome in outcomes(cells).items() if outcome == Outcome.WRONG}


def by_activation(model: str, **levels: float) -> dict:
    return {(model, name): level for name, level in levels.items()}


def test_parts_that_move_nothing_and_parts_that_move_pd():
    assert wrong(cells_of("parts", {"tinyrnn": 0.9})) == {3}
    assert wrong(cells_of("parts", {"tinyrnn": 0.9, "charlm_one_head": 0.9, "charlm_no_gain": 0.7})) == set()
    assert wrong(cells_of("parts", {"charlm_one_head": 0.9, "tinygru": 0.9})) == {5}


def test_a_variant_in_which_the_activation_matters():
    assert wrong(cells_of("parts", by_activation("charlm_no_gain", swiglu=1.3) | {"tinyrnn": 0.9})) == {1}
    both = by_activation("tinylstm", swiglu=1.3) | by_activation("charlm_one_block", swiglu=1.3)
    two = both | by_activation("charlm_rms_norm", relu=0.4)
    assert wrong(cells_of("parts", two)) == {1, 2, 5}
    assert 4 in wrong(cells_of("parts", by_activation("tinylstm", swiglu=1.3) | by_activation("tinygru", gelu=1.3)))


def test_what_needs_charlm_alone_is_judged_before_tinylstm_is_there_and_the_families_are_the_registered_ones():
    of_charlm = tuple(name for name in REGISTERED["parts"].config.models if name.startswith("charlm"))
    cells = cells_of("parts", {"charlm_one_head": 0.9}, of_charlm)
    found = outcomes(cells)
    assert {number for number, outcome in found.items() if outcome == Outcome.OPEN} == {2, 3, 4, 5}
    findings = Findings.of_study(cells, "parts")
    assert {(each.family.n_tests, each.family.n_made) for each in findings.sensitivities()} == {(18, 10)}
    effects = [each for each in findings.part_effects if each.n_tests]
    assert {each.n_tests for each in effects} == {2 * 7}
    head = next(each for each in effects if (each.model, each.quantity) == ("charlm_one_head", "relative_pd"))
    assert head.p == pytest.approx(14 * head.p_alone)
    (table,) = registered.registered(findings)
    assert [row["found"] for row in table.rows][3:] == ["nothing yet"] * 2
    assert "CharLM with one head +12." in table.rows[2]["found"]
    assert outcomes(cells_of("parts", models=of_charlm, n_trials=7))[1] == Outcome.OPEN


@pytest.mark.parametrize("level, outcome", [(0.9, Outcome.WRONG), (0.7, Outcome.NOT_WRONG), (0.8, Outcome.UNDECIDED)])
def test_attention_dropout(level, outcome):
    assert outcomes(cells_of("attention_dropout", {ONLY_WITH_DROPOUT: level})) == {6: outcome}


def test_attention_dropout_needs_both():
    assert outcomes(cells_of("attention_dropout", models=("charlm",))) == {6: Outcome.OPEN}
    assert PARENTS[ONLY_WITH_DROPOUT] == "charlm"


CHARLM_SIZES = tuple(name for name in REGISTERED["sizes"].config.models if name.startswith("charlm"))


def test_sizes_are_judged_when_all_of_charlm_are_there():
    rising = {name: 0.5 + 0.1 * place for place, name in enumerate(CHARLM_SIZES)}
    assert wrong(cells_of("sizes", rising)) == {8}
    assert wrong(cells_of("sizes", {name: -level + 1.3 for name, level in rising.items()}, CHARLM_SIZES)) == set()
    four = cells_of("sizes", rising, CHARLM_SIZES[:-1])
    assert set(outcomes(four).values()) == {Outcome.OPEN}
    assert Findings.of_study(four, "sizes").size_trends == []


def test_a_trend_of_the_cv_as_large_as_the_report_s():
    levels = {}
    for place, name in enumerate(CHARLM_SIZES):
        levels |= by_activation(name, swiglu=0.8 * (1.1 + 0.1 * place))
    assert wrong(cells_of("sizes", levels)) == {7, 8}


def test_a_gated_activation_that_ends_minigpt_s_insensitivity():
    assert wrong(cells_of("gated")) == set() and wrong(cells_of("gated", by_activation("tinylstm", apl=1.9))) == set()
    assert wrong(cells_of("gated", by_activation("minigpt", geglu=1.9))) == {9}
    both = by_activation("minigpt", geglu=1.9, relu=0.1)
    assert wrong(cells_of("gated", both)) == set()
