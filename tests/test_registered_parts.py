"""The studies of parts, sizes, gated activations and attention dropout are judged by what was registered of them."""

import re

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial

import analyze_results
from analysis import registered
from analysis.account import account
from analysis.answer import scope
from analysis.expectation import Outcome
from analysis.expected_parts import OF_CHARLM, SIZES_OF_CHARLM
from analysis.findings import Findings
from analysis.measure import by_model, evidence, measure_study
from analysis.registration import REGISTERED, SETTINGS
from analysis.sizes import QUANTITIES
from analysis.stats_many import EffectVerdict
from analysis.variant_tables import TABLES
from config import ONLY_WITH_DROPOUT, PARENTS, base_name
from model import build_model, count_parameters
from study.files import ROOT
from views import docs, parts_figure, sizes_figure
from views.doc_numbers import Numbers


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
            cells.append(cell | {"config": cell["config"] | {key: getattr(config, key) for key in SETTINGS}})
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
    cells = cells_of("parts", {"charlm_one_head": 0.9}, OF_CHARLM)
    found = outcomes(cells)
    assert {number for number, outcome in found.items() if outcome == Outcome.OPEN} == {4, 5}
    # One CV is shown, and another may be once the tests that count as p = 1 are made.
    may_be = by_activation("charlm_no_gain", swiglu=0.804) | by_activation("charlm_one_block", swiglu=0.801)
    assert outcomes(cells_of("parts", may_be, OF_CHARLM))[2] == Outcome.OPEN
    findings = Findings.of_study(cells, "parts")
    assert {(each.family.n_tests, each.family.n_made) for each in findings.sensitivities()} == {(18, 10)}
    effects = [each for each in findings.part_effects if each.n_tests]
    assert {each.n_tests for each in effects} == {2 * 7}
    head = next(each for each in effects if (each.model, each.quantity) == ("charlm_one_head", "relative_pd"))
    assert head.p == pytest.approx(14 * head.p_alone)
    (table,) = registered.registered(findings)
    assert [row["found"] for row in table.rows][3:] == ["nothing yet"] * 2
    assert "CharLM with one head: +12." in table.rows[2]["found"]
    assert outcomes(cells_of("parts", models=OF_CHARLM, n_trials=5))[1] == Outcome.OPEN


@pytest.mark.parametrize("level, outcome", [(0.9, Outcome.WRONG), (0.7, Outcome.NOT_WRONG), (0.8, Outcome.UNDECIDED)])
def test_attention_dropout(level, outcome):
    assert outcomes(cells_of("attention_dropout", {ONLY_WITH_DROPOUT: level})) == {6: outcome}


def test_attention_dropout_needs_both():
    assert outcomes(cells_of("attention_dropout", models=("charlm",))) == {6: Outcome.OPEN}
    assert PARENTS[ONLY_WITH_DROPOUT] == "charlm"


def test_sizes_are_judged_when_all_of_charlm_are_there():
    rising = {name: 0.5 + 0.1 * place for place, name in enumerate(SIZES_OF_CHARLM)}
    assert wrong(cells_of("sizes", rising)) == {8}
    assert wrong(cells_of("sizes", {name: -level + 1.3 for name, level in rising.items()}, SIZES_OF_CHARLM)) == set()
    four = cells_of("sizes", rising, SIZES_OF_CHARLM[:-1])
    assert set(outcomes(four).values()) == {Outcome.OPEN}
    assert Findings.of_study(four, "sizes").size_trends == []


def test_a_trend_of_the_cv_as_large_as_the_report_s():
    levels = {}
    for place, name in enumerate(SIZES_OF_CHARLM):
        levels |= by_activation(name, swiglu=0.8 * (1.1 + 0.1 * place))
    assert wrong(cells_of("sizes", levels)) == {7, 8}


def test_a_change_with_size_is_said_where_it_is_shown_and_without_the_smallest():
    charlm, minigpt = (
        [name for name in REGISTERED["sizes"].config.models if base_name(name) == base]
        for base in ("charlm", "minigpt")
    )
    rising = {name: 0.5 + 0.1 * place for place, name in enumerate(charlm)}
    cells = cells_of("sizes", rising | {"minigpt@0.1M": 1.0})
    numbers = Numbers(cells, {}, ROOT)
    assert numbers.trend_shown("sizes", "relative_pd") == "shown in CharLM and MiniGPT"
    assert numbers.trend_shown("sizes", "CV of relative_pd") == "not shown in CharLM and MiniGPT"
    assert Numbers(cells_of("sizes", rising), {}, ROOT).trend_shown("sizes", "relative_pd") == (
        "shown in CharLM, not in MiniGPT"
    )
    assert int(numbers.seeds_for_report("sizes")) >= 6

    def slopes(*without: str) -> list[float]:
        said = numbers.trend("sizes", "relative_pd", without, named=False).replace("−", "-").split(" and ")
        return [float(each.split(" [")[0]) for each in said]

    of_all, without_smallest = slopes(), slopes(*numbers.smallest)
    assert len(of_all) == len(without_smallest) == 2
    assert of_all[1] < -0.05 and abs(without_smallest[1]) < 0.01 and without_smallest[0] > 0.1
    assert slopes("minigpt@0.1M") == without_smallest[1:] and set(numbers.smallest) < {*charlm, *minigpt}


def test_the_figure_of_sizes_shows_their_learning_rates():
    cells = [
        cell | {"config": cell["config"] | {"learning_rate": 0.002 if cell["model"] == "charlm@2.5M" else 0.004}}
        for cell in cells_of("sizes", models=SIZES_OF_CHARLM)
    ]
    rates = sizes_figure.sizes(Findings.of_study(cells, "sizes"), {}).axes[len(QUANTITIES)]
    (marks,) = rates.lines
    assert rates.get_title() == "Learning rate" and list(marks.get_ydata()) == [0.004] * 4 + [0.002]
    assert [text.get_text() for text in rates.get_yticklabels()] == ["0.002", "0.004"]


def test_a_gated_activation_that_ends_minigpt_s_insensitivity():
    assert wrong(cells_of("gated")) == set() and wrong(cells_of("gated", by_activation("tinylstm", apl=1.9))) == set()
    assert wrong(cells_of("gated", by_activation("minigpt", geglu=1.9))) == {9}
    both = by_activation("minigpt", geglu=1.9, relu=0.1)
    assert wrong(cells_of("gated", both)) == set()
    by_apl = Findings.of_study(cells_of("gated", by_activation("minigpt", apl=1.9)), "gated")
    ((_, found, outcome),) = registered.judged(by_apl)
    assert found.endswith("but not without APL") and outcome == Outcome.NOT_WRONG  # APL is not gated


# ---------------------------------------------------------------- what is not complete, or not of the study


def test_an_architecture_without_all_activations_or_six_seeds_gets_neither_verdict_nor_test():
    cells = cells_of("parts", {"charlm_one_head": 0.9}, OF_CHARLM)
    lacking = [cell for cell in cells if (cell["model"], cell["activation"]) != ("charlm_one_head", "smelu_1")]
    few = cells_of("parts", models=("charlm_no_gain",), n_trials=5)
    findings = Findings.of_study([*(cell for cell in lacking if cell["model"] != "charlm_no_gain"), *few], "parts")
    verdicts = {each.model: each.verdict for each in findings.sensitivities()}
    assert {model for model, verdict in verdicts.items() if verdict is EffectVerdict.TOO_FEW} == {
        "charlm_one_head",
        "charlm_no_gain",
    }
    assert {each.model for each in findings.part_effects} == {"charlm_one_block", "charlm_rms_norm"}
    for moment in findings.course:
        assert {each.model for each in moment.sensitivities if not each.tested} == {
            "charlm_one_head",
            "charlm_no_gain",
        }
    rows = TABLES["parts"](findings)[0].rows
    assert {row["model"] for row in rows} == {*OF_CHARLM}  # what is not complete is shown as such
    assert set(outcomes(lacking).values()) == {Outcome.OPEN}


def test_sizes_that_are_there_have_their_rows_before_the_slope_can_be_told():
    findings = Findings.of_study(cells_of("sizes", models=SIZES_OF_CHARLM[:3]), "sizes")
    (points,) = TABLES["sizes"](findings)
    assert [row["model"] for row in points.rows] == ["charlm@0.1M", "charlm@0.25M", "charlm"]
    assert "1 architecture and 2 sizes of it" in scope(findings) and "K parameters" in scope(findings)


def test_an_architecture_stands_among_its_sizes_by_its_parameters_and_before_its_variants():
    cells = cells_of("sizes", models=("minigpt", *reversed(SIZES_OF_CHARLM)))
    assert list(by_model(measure_study(cells, "sizes"))) == [*SIZES_OF_CHARLM, "minigpt"]
    of_parts = cells_of("parts", models=("tinygru", "charlm_one_head", "charlm"))
    assert list(by_model(measure_study(of_parts, "parts"))) == ["charlm", "charlm_one_head", "tinygru"]


def test_cells_of_another_recipe_or_rate_are_named_and_end_the_registered_families():
    cells = cells_of("parts", models=("charlm", "charlm_one_head"))
    other_rate = [c | {"config": c["config"] | {"learning_rate": 0.5}} if c is cells[0] else c for c in cells]
    other_steps = [c | {"config": c["config"] | {"iterations": 7}} if c is cells[0] else c for c in cells]
    for changed in (other_rate, other_steps):
        findings = Findings.of_study(changed, "parts")
        assert registered.registered(findings) == []
        assert {each.family.n_tests for each in findings.sensitivities()} == {4}
        assert "Not of the registered study of this name: charlm relu" in account(findings.measured)


def test_rates_that_differ_between_architectures_are_as_registered():
    cells = cells_of("parts", models=("charlm", "tinylstm"))
    rates = {"charlm": 0.004, "tinylstm": 0.016}
    cells = [cell | {"config": cell["config"] | {"learning_rate": rates[cell["model"]]}} for cell in cells]
    said = account(Findings.of_study(cells, "parts").measured)
    assert not any(line.startswith("Not comparable") for line in said)
    assert any(line.startswith("Nothing yet of: charlm_one_head, ") and "minigpt" not in line for line in said)


def test_of_a_copied_cell_the_planned_trials_count():
    cells = [cell | {"taken_from": "trained"} for cell in cells_of("gated", models=("minigpt",), n_trials=10)]
    findings = Findings.of_study(cells, "gated")
    (found,) = findings.sensitivities()
    assert {(cell.n_trials, len(cell.pairs)) for cell in findings.measured} == {(6, 15)}
    assert (found.seeds.n_seeds, found.seeds.planned_trials) == (6, 6)
    own = Findings.of_study(cells_of("gated", models=("minigpt",), n_trials=10), "gated")
    assert own.sensitivities()[0].seeds.n_seeds == 10


def test_variants_and_sizes_are_not_further_architectures_of_the_strongest_evidence():
    cells = [*cells_of("parts"), *cells_of("sizes"), *cells_of("gated")]
    assert [evidence([c for c in cells if c["study"] == name])[0] for name in ("parts", "sizes", "gated")] == [2] * 3


def at_rate(cells: list[dict], rate: float, study: str = "parts") -> list[dict]:
    return [cell | {"study": study, "config": cell["config"] | {"learning_rate": rate}} for cell in cells]


def test_variant_and_parent_at_two_rates_are_compared_at_one_too_where_it_was_trained():
    parent = at_rate(cells_of("parts", models=("charlm",)), 0.004)
    at_its_own = at_rate(cells_of("parts", {"charlm_one_head": 0.7}, ("charlm_one_head",)), 0.002)
    at_parents = at_rate(cells_of("parts", {"charlm_one_head": 0.9}, ("charlm_one_head",)), 0.004, "elsewhere")
    at_a_third = at_rate(cells_of("parts", {"charlm_one_head": 0.3}, ("charlm_one_head",)), 0.001, "third")
    findings = Findings.of_study([*parent, *at_its_own, *at_a_third, *at_parents], "parts")
    (own,) = (each for each in findings.part_effects if each.quantity == "relative_pd")
    assert own.percent.mean == pytest.approx(-12.5, abs=0.5)
    assert re.fullmatch(r"-12\.\d % \[-1\d\.\d, -\d+\.\d\], at rate 0\.002, not 0\.004", own.size)
    (at_one,) = (each for each in findings.part_effects_at_one_rate if each.quantity == "relative_pd")
    assert at_one.percent.mean == pytest.approx(12.5, abs=0.5) and at_one.shown is None and not at_one.n_tests
    assert [table.title for table in TABLES["parts"](findings)][-1] == "Variant and parent at one learning rate"
    numbers = Numbers([*parent, *at_its_own, *at_a_third, *at_parents], {}, ROOT)
    said = numbers.at_one_rate("parts", "charlm")
    assert said.startswith("at 0.004, PD of CharLM with one head differs from CharLM's by +12.")
    assert re.search(r"% \[.*\], and its CV by .* percentage points \[", said)
    assert numbers.at_one_rate("parts", "tinylstm") == ""
    assert numbers.part_effect("parts", "charlm_one_head", "relative_pd").startswith("−12.")
    assert numbers.part_effect("parts", "charlm_one_head", "relative_pd", at_one_rate=True).startswith("+12.")
    own_rate_only = [*parent, *at_its_own, *at_a_third]
    assert Numbers(own_rate_only, {}, ROOT).at_one_rate("parts", "charlm") == ""
    parent_too = [*own_rate_only, *at_rate(cells_of("parts", {"charlm": 0.56}, ("charlm",)), 0.002, "parent")]
    said = Numbers(parent_too, {}, ROOT).at_one_rate("parts", "charlm")
    assert said.startswith("at 0.002, PD of CharLM with one head differs from CharLM's by +25.")
    assert "learning rate 0.002" in parts_figure.parts(findings, {}).axes[0].get_yticklabels()[0].get_text()
    assert {ax.get_xscale() for ax in parts_figure.parts(findings, {}).axes} == {"linear"}
    far = Findings.of_study([*parent, *cells_of("parts", {"charlm_one_head": 6.0}, ("charlm_one_head",))], "parts")
    scales = {ax.get_title(): ax.get_xscale() for ax in parts_figure.parts(far, {}).axes}
    assert scales["Relative PD,\nall classes"] == "symlog" and scales["CV of relative PD,\nall classes"] == "linear"
    same = Findings.of_study([*parent, *at_rate(at_its_own, 0.004), *at_parents], "parts")
    assert same.part_effects_at_one_rate == [] and not any(each.other_rate for each in same.part_effects)


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize(
    "cells",
    [
        cells_of("parts", models=("charlm",)),
        cells_of("parts", models=OF_CHARLM[:3]) + cells_of("gated", models=("minigpt",)),
        cells_of("parts") + cells_of("gated") + cells_of("sizes") + cells_of("attention_dropout"),
        cells_of("sizes", models=SIZES_OF_CHARLM[:2]),
    ],
    ids=["charlm", "some", "all", "two sizes"],
)
def test_the_page_is_written_from_what_is_there(cells):
    environment = docs.environment(ROOT)
    text = environment.get_template("parts.md").render(
        numbers=Numbers(cells, {}, ROOT), pilots=analyze_results.complete_pilots()
    )
    assert "nan" not in text and "None" not in text and "nothing yet" not in text.split("## ")[0]
    there = {cell["study"] for cell in cells}
    for study in ("parts", "gated", "sizes", "attention_dropout"):
        assert (f"`{study}`" in text.split("## ")[0].partition("Not run yet")[2]) == (study not in there)


def test_the_readme_says_what_waits_for_its_trials():
    parts = cells_of("parts", models=OF_CHARLM)
    assert Numbers(parts, {}, ROOT).not_answered() == (
        "Registered, not answered yet: recurrence, gated activations, size and attention dropout."
    )
    every = cells_of("parts") + cells_of("gated") + cells_of("sizes", models=SIZES_OF_CHARLM)
    assert Numbers(every, {}, ROOT).not_answered() == "Registered, not answered yet: attention dropout."
    assert Numbers(every + cells_of("attention_dropout"), {}, ROOT).not_answered() == ""
    half = cells_of("parts") + [cell for cell in cells_of("gated") if cell["model"] == "minigpt"]
    assert "gated activations" in Numbers(half, {}, ROOT).not_answered()
