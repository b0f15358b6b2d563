"""The study of trained models is judged by what was registered: its family, its expectations, its learning rates."""

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial

from analysis import registered, registration
from analysis.account import account
from analysis.findings import Findings
from analysis.omnibus import Family
from analysis.stats import holm
from config_trained import CONFIG, RATES
from study import store
from study.files import ROOT
from views.doc_numbers import Numbers

RECIPE = {key: getattr(CONFIG, key) for key in registration.SETTINGS}
LEVELS = {"relu": 0.5, "gelu": 0.5, "swish": 0.5, "swiglu": 0.5, "smelu_05": 0.5, "smelu_1": 0.5}


def cells_of(
    models=CONFIG.models,
    untrained: float = 0.2,
    mismatch_levels: dict[str, float] | None = None,
    n_trials=10,
    **levels,
) -> list[dict]:
    """Cells of the registered study, all with the same mean PD but for ``levels``."""
    cells, rng = [], np.random.default_rng(0)
    for place, model in enumerate(models):
        for activation, level in (LEVELS | levels).items():
            effects = rng.normal(0, 0.002, n_trials)
            of_mismatches = (mismatch_levels or {}).get(activation, 0.5)
            pairs = [
                make_pair(
                    i + 1,
                    j + 1,
                    float((1 + place / 10) * (level + effects[i] + effects[j])),
                    mismatches=round(400 * (of_mismatches + effects[i] + effects[j])),
                )
                for i in range(n_trials)
                for j in range(i + 1, n_trials)
            ]
            for pair in pairs:
                pair["history"]["relative_pd"][0] = untrained
            trials = [make_trial(number, seed=999 + number) for number in range(1, n_trials + 1)]
            cell = make_cell(model, activation, "trained", trials=trials, pairs=pairs, planned=n_trials)
            cells.append(cell | {"config": cell["config"] | RECIPE})
    return cells


def outcomes(cells: list[dict], study: str = "trained") -> dict[int, str]:
    (table,) = registered.registered(Findings.of_study(cells, study))
    return {row["number"]: row["outcome"] for row in table.rows}


@pytest.mark.parametrize(
    "document, total", [(registration.OF_TRAINED, 8), (registration.OF_PARTS, 9)], ids=["trained", "parts"]
)
def test_expectations_stand_in_the_registration_in_the_same_words(document, total):
    said = " ".join((ROOT / document).read_text().replace("*", "").replace("`", "").split())
    of_it = [name for name, each in registration.REGISTERED.items() if each.document == document]
    expected = [each for study in of_it for each in registered.EXPECTATIONS[study]]
    assert sorted(each.number for each in expected) == [*range(1, total + 1)]
    for each in expected:
        assert f"{each.number}. {each.text} ".replace("*", "") in said
        assert each.wrong_if.replace("*", "").rstrip(".") in said


def test_what_an_expectation_waits_for_is_registered():
    for name, found in registration.REGISTERED.items():
        for each in registered.EXPECTATIONS[name]:
            assert set(each.needs) <= set(found.config.models)


@pytest.mark.parametrize(
    "change", [{"iterations": 100}, {"schedule": "constant"}, {"optimizer": "adam"}, {"dropout": 0.2}]
)
def test_a_study_of_the_same_name_and_another_recipe_is_not_the_registered_one(change):
    cells = [cell | {"config": cell["config"] | change} for cell in cells_of(["charlm"])]
    findings = Findings.of_study(cells, "trained")
    assert registered.registered(findings) == [] and findings.sensitivities()[0].family.n_tests == 2


def test_an_architecture_is_complete_with_six_seeds_of_every_registered_activation():
    cells = [*cells_of(["charlm"]), *cells_of(["minigpt"])[:5], *cells_of(["convlm"], n_trials=5)]
    assert registration.complete_models(Findings.of_study(cells, "trained").measured) == {"charlm"}


def test_the_family_is_the_registered_one_before_all_architectures_are_there():
    found = Findings.of_study(cells_of(["charlm", "convlm"]), "trained").sensitivities()
    assert {each.family for each in found} == {Family(("relative_pd", "top1_mismatches"), 6, 12, 4)}
    assert found[0].family.text.startswith("12 tests (6 architectures by ")
    assert found[0].family.text.endswith(", as registered; 4 tests made so far)")
    whole = Findings.of_study(cells_of(), "trained").sensitivities()[0].family
    assert (whole.n_tests, whole.n_made) == (12, 12) and "registered" not in whole.text
    another = [cell | {"study": "mine"} for cell in cells_of(["charlm"])]
    assert Findings.of_study(another, "mine").sensitivities()[0].family.n_tests == 2


def test_tests_that_are_not_made_yet_count_as_p_of_1():
    assert holm([0.01, 0.02], planned=4) == pytest.approx(holm([0.01, 0.02, 1, 1])[:2])
    assert holm([0.01, 0.02], planned=1) == pytest.approx(holm([0.01, 0.02]))


def test_outcomes_wait_until_the_study_is_complete():
    assert set(outcomes(cells_of(["charlm"])).values()) == {registered.Outcome.OPEN}
    assert set(outcomes(cells_of(n_trials=5)).values()) == {registered.Outcome.OPEN}
    assert registered.registered(Findings.of_study([c | {"study": "cpu"} for c in cells_of()], "cpu")) == []


def test_all_alike():
    found = outcomes(cells_of())
    assert {number for number, outcome in found.items() if outcome == "wrong"} == {2}
    assert {number for number, outcome in found.items() if outcome == "undecided"} == {3, 4}


def test_swiglu_and_relu_higher_by_much():
    found = outcomes(cells_of(swiglu=0.8, relu=0.6))
    assert {number for number, outcome in found.items() if outcome == "wrong"} == {1, 8}


def test_another_activation_makes_most_relu_is_lowest_and_mismatches_and_step_0_say_more():
    apart = {"relu": 0.3, "swiglu": 0.6}
    found = outcomes(cells_of(relu=0.47, swiglu=0.49, untrained=0.9, mismatch_levels=apart))
    assert found[3] == found[4] == found[7] == "wrong" and found[1] == found[6] == "not shown wrong"
    assert outcomes(cells_of(mismatch_levels=apart))[6] == "wrong"


def test_smelu_1_below_all_smooth_ones_in_two_architectures():
    assert outcomes(cells_of(smelu_1=0.4))[5] == "wrong"
    assert outcomes([*cells_of(["charlm"], smelu_1=0.4), *cells_of(CONFIG.models[1:])])[5] == "not shown wrong"


@pytest.mark.parametrize(
    "other",
    [
        {"vary": ["init"]},
        {"corpus": "0" * 64},
        {"precision": "bfloat16"},
        {"batch_size": 4},
        {"contexts_between": 100},
        {"weight_decay": 0.0},
    ],
    ids=lambda other: next(iter(other)),
)
def test_cells_of_another_recipe_are_not_of_the_study_whatever_its_name(other):
    cells = cells_of(["charlm"])
    assert registration.registration_of(Findings.of_study(cells, "trained").measured)
    cells = [cell | {"config": cell["config"] | other} for cell in cells]
    measured = Findings.of_study(cells, "trained").measured
    assert registration.registration_of(measured) is None
    assert any(line.startswith("Not of the registered study of this name: charlm") for line in account(measured))


def test_learning_rates_that_pilots_chose_are_said_and_are_no_obstacle():
    def with_rates(cells: list[dict], change: float) -> list[str]:
        rates = {place: change * rate for place, rate in RATES.items()}
        of_cells = [rates[cell["model"], cell["activation"]] for cell in cells]
        both = zip(cells, of_cells, strict=True)
        changed = [cell | {"config": cell["config"] | {"learning_rate": rate}} for cell, rate in both]
        return account(Findings.of_study(changed, "trained").measured)

    cells = cells_of(["charlm"])
    assert "Each cell at the learning rate that its pilots chose: 0.004 or 0.008" in with_rates(cells, 1)
    assert not any(line.startswith("Not comparable") for line in with_rates(cells, 1))
    assert "Not comparable, because cells differ in: learning_rate (0.008 or 0.016)" in with_rates(cells, 2)


def test_the_readme_counts_outcomes_and_quotes_what_was_found():
    numbers = Numbers(cells_of(relu=0.6), {}, ROOT)
    assert numbers.expectations("trained") == "7 not shown wrong and 1 wrong"
    assert numbers.expectation("trained", 4) == "ReLU has the lower PD in 0 of 24 pairs shown (of 24)"
    assert Numbers(cells_of(["charlm"]), {}, ROOT).expectations("trained") == f"8 {registered.Outcome.OPEN}"


def test_a_recipe_is_what_makes_a_trial_but_for_its_own_rate():
    assert {*registration.NO_RECIPE} == {*store.NO_IDENTITY, "learning_rate"}
