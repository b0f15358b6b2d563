"""The audit: the transcription of the report against itself, and verdicts that follow the numbers they are about."""

import copy
import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from synthetic_cells import awkward_cells, make_cell, make_diverged, make_pair, make_trial, random_cell, varying

from analysis.findings import Findings
from audit import checks as audit_checks
from audit import hypotheses, inventory, measures
from audit import numbers as audit_numbers
from audit import tables as audit_tables
from audit.checks import ClaimVerdict
from audit.numbers import AuditedNumber, Judgement
from audit.ours import Ours
from study import corpus, files
from views.render import FORMATS, render

REPORT = files.read_json(files.ROOT / "data" / "report.json")


def changed(section: str, place: dict, **numbers: str) -> dict:
    """The report with other numbers in those rows of a section that have what ``place`` says."""
    report = copy.deepcopy(REPORT)
    rows = [row for row in audit_numbers.find_section(report, section)["rows"] if place.items() <= row.items()]
    assert rows
    for row in rows:
        assert numbers.keys() <= row.keys()
        row |= numbers
    return report


def numbers_at(numbers: list[AuditedNumber], section: str, quantity: str, **place) -> list[AuditedNumber]:
    wanted = {"section": section, "quantity": quantity, **place}
    return [each for each in numbers if wanted.items() <= vars(each.number).items()]


@pytest.fixture(scope="module")
def printed() -> list[AuditedNumber]:
    """The report's numbers against each other."""
    return audit_numbers.audited_numbers(REPORT, None)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return Findings.of_study(study_cells(), "cpu")


@pytest.fixture(scope="module")
def ours() -> Ours:
    """A study of 100 steps and one of 500."""
    return Ours([*study_cells(), *study_cells("long", 500, 0.3)])


@pytest.fixture(scope="module")
def beside_ours(ours) -> list[AuditedNumber]:
    """The report's numbers beside those of our studies."""
    return audit_numbers.audited_numbers(REPORT, ours)


# ---------------------------------------------------------------- the transcription


def test_every_table_of_results_is_there():
    count = Counter(number.section for number in audit_numbers.printed_numbers(REPORT))
    assert count == {
        **{"3.1": 30, "3.2": 11, "3.3": 12, "3.4": 85},
        **{"3.5.1": 19, "3.5.2": 15, "3.5.3": 9, "3.5.4": 12, "3.5.5": 3, "3.5.6": 3, "3.5.7": 6},
        **{"3.6": 8, "4.4": 9, "4.6": 5, "B": 10},
    }


def test_every_quantity_and_check_is_known():
    assert {number.quantity for number in audit_numbers.printed_numbers(REPORT)} == set(audit_numbers.QUANTITIES)
    assert {check["check"] for claim in REPORT["claims"] for check in claim["checks"]} == set(audit_checks.CHECKS)
    assert {each["measure"] for claim in REPORT["claims"] for each in claim["ours"]} == set(measures.MEASURES)


def test_every_number_of_the_report_is_in_a_line_of_the_audit():
    assert sum(len(each["numerals"]) for each in REPORT["numerals"]) == 614
    assert inventory.without_line(REPORT) == {}
    assert inventory.not_printed(REPORT) == {}


def test_a_number_without_a_line_is_found():
    report = copy.deepcopy(REPORT)
    report["claims"] = [claim for claim in report["claims"] if "p=0.024" not in claim["words"]]
    audit_numbers.find_section(report, "4.6")["rows"].pop()
    assert inventory.without_line(report) == {"4.6": ["0.0090"], "7.2": ["0.024", "1", "5", "5.36"]}
    twice = copy.deepcopy(REPORT)
    twice["numerals"][0]["numerals"].append(twice["numerals"][0]["numerals"][0])  # printed once more
    (found,) = inventory.without_line(twice).values()
    assert found == twice["numerals"][0]["numerals"][:1]
    next(claim for claim in report["claims"] if claim["section"] == "8.1")["words"] += " 99%"
    assert inventory.not_printed(report) == {"8.1": ["99"]}


@pytest.mark.parametrize(
    "text, found",
    [
        ("SmeLU-1 and SmeLU β=0.5 on GB10, Top-1 of CIFAR-10", []),
        ("PD=0.049 - 10-30× better, ~$10K-20K, 0-1000", ["0.049", "10", "30", "10", "20", "0", "1000"]),
        ("1,115,394 (+2.7% worse), 3e-4, sub-0.6, top-3", ["1,115,394", "+2.7", "3e-4", "0.6", "3"]),
    ],
)
def test_numerals_are_told_from_names(text, found):
    assert inventory.numerals(text) == found


def test_claims_are_alike_and_of_known_sections():
    known = {each["section"] for each in REPORT["numerals"]} | {"1.1", "1.2", "5.1", "5.2", "5.3", "6.3", "7.6"}
    for claim in REPORT["claims"]:
        assert list(claim) == ["section", "words", "checks", "ours"]
        assert claim["checks"] and claim["section"] in known


@pytest.mark.parametrize(
    "section, quantity",
    [
        ("3.1", "val_loss"),  # means of 3.4
        ("3.1", "std_val_loss"),
        ("3.1", "std_val_accuracy"),
        ("3.2", "excess_relative_pd"),
        ("3.3", "excess_val_loss"),
        ("3.4", "train_accuracy"),
        ("3.5.1", "cv_over_activations"),
        ("3.5.2", "std_over_activations"),
        ("3.5.7", "cv_over_activations"),
        ("3.6", "excess_training_time"),
        ("4.4", "excess_training_time"),
        ("4.6", "std_val_loss"),
        ("B", "mismatch_percent"),
    ],
)
def test_derived_numbers_follow_from_those_they_are_derived_from(printed, section, quantity):
    found = [each for each in numbers_at(printed, section, quantity) if not each.number.of_single_trial]
    assert found
    assert {each.judgement for each in found} == {Judgement.AGREES}


def test_numbers_worked_by_hand(printed):
    (minigpt,) = numbers_at(printed, "3.5.1", "cv_over_activations")
    pds = [0.9126, 0.9126, 1.5364, 1.6267]
    mean = sum(pds) / 4
    assert minigpt.recomputed == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in pds) / 4) / mean)
    assert minigpt.row()["recomputed"] == pytest.approx(100 * minigpt.recomputed)  # as the report prints it
    (gelu,) = numbers_at(printed, "3.1", "val_loss", activation="gelu")
    assert gelu.recomputed == pytest.approx((2.6242 + 2.6299) / 2)
    (smelu,) = numbers_at(printed, "4.4", "excess_relative_pd")
    assert smelu.recomputed == pytest.approx(0.4958 / 0.5094 - 1)


def test_the_loss_of_character_frequencies_is_that_of_the_corpus():
    text = corpus.read_corpus()
    split = len(text) * 9 // 10
    train, validation = Counter(text[:split]), Counter(text[split:])
    total = sum(n * -math.log(train[character] / split) for character, n in validation.items())
    assert total / (len(text) - split) == pytest.approx(audit_checks.FREQUENCIES_ALONE, abs=1e-4)


# ---------------------------------------------------------------- verdicts on numbers


@pytest.mark.parametrize("printed, value, same", [("2.7", 2.743, True), ("2.7", 2.6, True), ("2.70", 2.743, False)])
def test_agreement_is_within_one_unit_of_the_last_digit(printed, value, same):
    assert audit_numbers.agrees(printed, value) == same
    assert audit_numbers.agrees(printed, value / 100, scale=100) == same


def test_no_two_models_mismatch_more_than_their_accuracies_allow():
    rng = np.random.default_rng(1)
    for _ in range(200):
        classes = rng.integers(2, 5)
        targets, first, second = rng.integers(0, classes, (3, 12))
        agree = rng.random((2, 12)) < rng.random((2, 1))
        first, second = np.where(agree[0], targets, first), np.where(agree[1], targets, second)
        most = audit_numbers.most_mismatches(12, (first == targets).mean(), (second == targets).mean())
        assert (first != second).sum() <= most + 1e-9


@pytest.mark.parametrize("right_first, right_second", list(itertools.product((0, 3, 7, 10), repeat=2)))
def test_the_most_mismatches_can_be_had(right_first, right_second):
    targets = np.zeros(10)
    first, second = np.full(10, 1), np.full(10, 2)
    first[:right_first] = 0
    second[10 - right_second :] = 0
    most = audit_numbers.most_mismatches(10, (first == targets).mean(), (second == targets).mean())
    assert (first != second).sum() == pytest.approx(most)


def test_impossible_counts_are_those_above_the_bound(printed):
    (gelu,) = numbers_at(printed, "3.5.1", "top1_mismatches", activation="gelu")
    assert (gelu.at_most, gelu.judgement) == (881, Judgement.IMPOSSIBLE)  # 2 - 2 * 0.5595
    report = changed("3.5.1", {"activation": "gelu"}, top1_mismatches="881")
    fewer = numbers_at(audit_numbers.audited_numbers(report, None), "3.5.1", "top1_mismatches", activation="gelu")
    assert [each.judgement for each in fewer] == [Judgement.POSSIBLE]
    assert {each.judgement for each in numbers_at(printed, "3.4", "top1_mismatches")} == {Judgement.POSSIBLE}


def test_repeated_losses_are_named(printed):
    (relu,) = numbers_at(printed, "3.5.1", "val_loss", activation="relu")
    assert (relu.judgement, relu.same_as) == (Judgement.REPEATED, ("gelu", "swish", "smelu_1"))
    table = next(table for table in audit_tables.tables(REPORT, None) if table.title.startswith("3.5.1"))
    assert "same as GELU, Swish, SmeLU β=1" in render(table, "github")
    report = changed("3.5.1", {"activation": "relu"}, val_loss="1.6050")
    (relu,) = numbers_at(audit_numbers.audited_numbers(report, None), "3.5.1", "val_loss", activation="relu")
    assert (relu.judgement, relu.same_as) == (None, ())


def test_a_number_that_does_not_follow_is_counted():
    report = changed("3.1", {"activation": "relu"}, val_loss="2.6279")
    (number,) = numbers_at(audit_numbers.audited_numbers(report, None), "3.1", "val_loss", activation="relu")
    assert number.judgement is Judgement.DIFFERS
    assert "1 of these differ from them (in 3.1)" in dict(audit_tables.outcome(report, None))["Arithmetic"]


# ---------------------------------------------------------------- verdicts on claims

CLAIMED = {  # the section and the start of a claim, and numbers of the report that would turn its verdict
    ("4.3", "[GELU:] Reproducibility"): ("3.1", {"activation": "relu"}, {"relative_pd": "0.5190"}),
    ("4.2", "[SmeLU β=1.0:] Best"): ("3.1", {"activation": "smelu_05"}, {"relative_pd": "0.4900"}),
    ("3.5.7", "SwiGLU"): ("3.5.6", {"activation": "relu"}, {"relative_pd": "0.6000"}),
    ("Executive Summary", "GELU"): ("3.1", {"activation": "gelu"}, {"relative_pd": "0.5000"}),
    ("4.2", "Reproducibility gain"): ("3.1", {"activation": "relu"}, {"relative_pd": "0.5300"}),
    ("B", "All activations"): ("B", {"activation": "relu"}, {"top1_mismatches": "700"}),
    ("3.5.3", "ReLU"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.2000"}),
    ("3.5.4", "Hybrid CNN"): ("3.5.4", {"activation": "gelu"}, {"relative_pd": "3.0000"}),
    ("8.5", "Why do transformers"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.0000"}),
    ("8.3", "[LSTMs:]"): ("3.5.6", {"activation": "relu"}, {"val_loss": "2.4000"}),
    ("8.1", "ConvLM: GELU"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.3410"}),
}


def verdict(report: dict, section: str, start: str) -> ClaimVerdict:
    here = (claim for claim in report["claims"] if claim["section"] == section)
    return audit_checks.checked(report, next(claim for claim in here if claim["words"].startswith(start))).verdict


@pytest.mark.parametrize("claim", CLAIMED)
def test_other_numbers_would_turn_the_verdict(claim):
    section, place, numbers = CLAIMED[claim]
    before, after = verdict(REPORT, *claim), verdict(changed(section, place, **numbers), *claim)
    assert before != after
    assert {ClaimVerdict.HOLDS, ClaimVerdict.ROUNDED} & {before, after}


def test_the_verdicts_that_the_report_is_known_for():
    assert verdict(REPORT, "Executive Summary", "ReLU Consistently Worst") is ClaimVerdict.FAILS
    assert verdict(REPORT, "4.3", "[GELU:] Reproducibility") is ClaimVerdict.FAILS
    assert verdict(REPORT, "6.2", "MiniGPT") is ClaimVerdict.FAILS
    assert verdict(REPORT, "8.5", "Total remaining") is ClaimVerdict.FAILS
    assert verdict(REPORT, "8.1", "MiniGPT (10.8M") is ClaimVerdict.HOLDS
    assert verdict(REPORT, "8.1", "TinyLSTM") is ClaimVerdict.SAYS_NOTHING
    assert verdict(REPORT, "8.6", "Transformer") is ClaimVerdict.ROUNDED
    assert verdict(REPORT, "3.5.7", "Formula Impact") is ClaimVerdict.UNCHECKABLE
    assert verdict(REPORT, "2.1", "Dropout") is ClaimVerdict.SETTING
    assert verdict(REPORT, "7.8", "Open-source") is ClaimVerdict.PROPOSAL


def test_claims_about_shares_times_and_cvs_worked_by_hand():
    minutes = {"minutes": ["271", "254", "255"], "percent": "6.5"}
    overhead = audit_checks.first_trial_overhead(REPORT, minutes)
    assert (overhead.verdict, overhead.evidence[0][:5]) == (ClaimVerdict.HOLDS, "6.5 %")  # 271 v 254.5
    share = {"in": ["3.5.1", "3.5.2", "3.5.3", "3.5.4"], "percent": "80", "sensitive_from": "10"}
    insensitive = audit_checks.share_insensitive(REPORT, share)
    assert insensitive.evidence[0].startswith("0 of 4 CVs")
    lenient = share | {"sensitive_from": "100", "percent": "100"}
    assert audit_checks.share_insensitive(REPORT, lenient).verdict is ClaimVerdict.HOLDS
    printed = {"in": ["3.5.1"], "percent": "26.94"}
    assert audit_checks.cv_is(REPORT, printed) == audit_checks.CheckResult(ClaimVerdict.HOLDS, ("3.5.1: 26.94 %",))
    assert audit_checks.cv_is(REPORT, printed | {"percent": "26.95"}).verdict is ClaimVerdict.ROUNDED
    assert audit_checks.cv_is(REPORT, printed | {"percent": "5.40"}).verdict is ClaimVerdict.FAILS


@pytest.mark.parametrize(
    "printed, operation, of, unit, verdict",
    [
        ("15,000", "ratio", ["3020", "0.2"], "1000", ClaimVerdict.HOLDS),
        ("15,000", "ratio", ["3020", "0.2"], "1", ClaimVerdict.FAILS),
        ("53", "ratio", ["26.94", "0"], "1", ClaimVerdict.FAILS),  # no number
        ("3.8", "percent less", ["3.1/smelu_1/relative_pd", "3.1/relu/relative_pd"], "0.1", ClaimVerdict.ROUNDED),
        ("26.94", "the number itself", ["3.5.1/cv"], "0.01", ClaimVerdict.HOLDS),
        ("21.0", "percent more", ["27.7", "22.9"], "0.1", ClaimVerdict.HOLDS),
        ("12", "sum", ["10", "1.2"], "1", ClaimVerdict.ROUNDED),
        ("12", "sum", ["10", "0.5"], "1", ClaimVerdict.FAILS),
    ],
)
def test_a_number_made_of_others(printed, operation, of, unit, verdict):
    check = {"printed": printed, "operation": operation, "of": of, "unit": unit}
    assert audit_checks.computed(REPORT, check).verdict is verdict


@pytest.mark.parametrize(
    "least, most, verdict",
    [
        ("22", "27", ClaimVerdict.HOLDS),
        ("20", "27", ClaimVerdict.ROUNDED),  # wider than 21.9 to 26.9
        ("21", "27", ClaimVerdict.ROUNDED),
        ("23", "27", ClaimVerdict.FAILS),
        ("22", "25", ClaimVerdict.FAILS),
    ],
)
def test_a_range_that_covers_others(least, most, verdict):
    of = [["the number itself", "3.5.1/cv"], ["the number itself", "3.5.2/cv"]]
    assert audit_checks.covers(REPORT, {"range": [least, most], "of": of}).verdict is verdict


def test_a_range_of_round_numbers_may_be_off_by_their_last_digit_that_counts():
    check = {"range": ["10", "20"], "of": [["the number itself", "3.5.1/cv"], ["the number itself", "3.5.2/cv"]]}
    assert audit_checks.covers(REPORT, check).verdict is ClaimVerdict.FAILS  # 21.9 to 26.9
    assert audit_checks.covers(REPORT, check | {"unit": "10"}).verdict is ClaimVerdict.ROUNDED


def test_of_several_checks_the_gravest_counts():
    holds, fails = ({"check": "reading", "verdict": verdict, "why": verdict} for verdict in ("holds", "contradicted"))
    result = audit_checks.checked(REPORT, {"checks": [holds, fails]})
    assert (result.verdict, result.evidence) == (ClaimVerdict.FAILS, ("holds", "contradicted"))


# ---------------------------------------------------------------- beside our study


def study_cells(study: str = "cpu", iterations: int = 100, pd: float = 0.2) -> list[dict]:
    """CharLM with three activations: that PD on shared contexts, more on different ones."""
    trials = [make_trial(number, 2.62 + number / 100) for number in (1, 2, 3)]
    cells = [
        make_cell(activation=name, study=study, trials=trials, pairs=pairs_of(pd, 140))
        for name in ("relu", "gelu", "swish")
    ]
    for cell in cells:
        cell["config"] |= {"iterations": iterations}
    return cells


def pairs_of(distance: float, mismatches: int) -> list[dict]:
    different = {"relative_pd": 0.7, "top1_mismatches": 830, "global_pd": 0.5}
    return [make_pair(a, b, distance, mismatches, different_contexts=different) for a, b in ((1, 2), (1, 3), (2, 3))]


def test_ours_is_beside_the_report_in_its_units(beside_ours):
    def ours_and_rebuilt(section: str, quantity: str) -> tuple[float, float]:
        (number,) = numbers_at(beside_ours, section, quantity, activation="relu")
        row = number.row()
        return row["ours"].mean, row["rebuilt"]

    assert ours_and_rebuilt("3.1", "relative_pd") == pytest.approx((0.2, 0.5))  # by the global formula
    assert ours_and_rebuilt("3.5.2", "relative_pd") == pytest.approx((0.3, 0.7))  # by the element-wise formula
    assert ours_and_rebuilt("B", "mismatch_percent") == pytest.approx((14, 83))
    assert ours_and_rebuilt("3.4", "top1_mismatches") == pytest.approx((140, 830))
    assert ours_and_rebuilt("3.1", "val_accuracy") == pytest.approx((27, math.nan), nan_ok=True)
    (excess,) = numbers_at(beside_ours, "3.3", "excess_val_loss", activation="gelu")
    assert excess.ours.mean == pytest.approx(0)


def test_beside_each_section_is_the_study_nearest_in_steps(beside_ours, ours):
    def studies(section: str) -> set:
        return {each.where for each in beside_ours if each.number.section == section and each.where}

    assert studies("3.1") == studies("B") == {"cpu, 100 steps"}
    assert studies("3.5.2") == {"long, 500 steps"}
    assert studies("3.5.1") == set()  # 5000 steps and 10.8 M parameters
    assert ours.beside(None).study == "long"
    near, far = ({"iterations": steps, "parameters": 430_000} for steps in (999, 1001))
    assert ours.beside(near).study == "long" and ours.beside(far) is None
    assert ours.beside({"iterations": 500, "parameters": 10_800_000}) is None


def test_of_studies_as_near_the_larger_one_and_never_a_control_is_beside():
    small = study_cells("a_small_one", 100)[:2]
    control = [cell | {"study": "a_control"} for cell in study_cells()]
    for cell in control:
        cell["config"] = cell["config"] | {"vary": ["order"]}
    section = {"iterations": 100, "parameters": 430_000}
    assert Ours([*small, *control, *study_cells()]).beside(section).study == "cpu"
    assert Ours(control).beside(section).study == "a_control"  # where there is nothing else
    assert Ours([]).beside(section) is None


def test_inside_ours_are_fractions_with_the_interval_of_the_cell(beside_ours, findings):
    (share,) = numbers_at(beside_ours, "B", "mismatch_percent", activation="relu")
    assert (share.ours.mean, share.rebuilt) == pytest.approx((0.14, 0.83))
    relu = findings.models["charlm"][0]
    for quantity in ("val_loss", "val_accuracy", "relative_pd"):
        (number,) = numbers_at(beside_ours, "3.1", quantity, activation="relu")
        own = relu.estimate(quantity)
        assert (number.ours.mean, number.ours.low, number.ours.high) == (own.mean, own.low, own.high)


def test_an_excess_has_the_interval_of_the_paired_difference():
    cells = study_cells()
    cells[1]["trials"] = [make_trial(number, 2.7 + number * number / 100) for number in (1, 2, 3)]
    cells = [varying(range(1, 4), cell) for cell in cells]
    findings = Findings.of_study(cells, "cpu")
    numbers = audit_numbers.audited_numbers(REPORT, Ours(cells))
    (excess,) = numbers_at(numbers, "3.3", "excess_val_loss", activation="gelu")
    one = next(each for each in findings.loss_differences if (each.activation, each.other) == ("relu", "gelu"))
    assert excess.ours.low == pytest.approx(-one.estimate.high / one.first) and one.estimate.high != 0


def test_what_we_did_not_measure_has_no_counterpart(beside_ours):
    absent = [
        *numbers_at(beside_ours, "3.1", "val_loss", activation="smelu_1"),
        *numbers_at(beside_ours, "3.4", "val_loss", trial="1"),
        *numbers_at(beside_ours, "3.5.1", "val_loss"),
        *numbers_at(beside_ours, "3.5.2", "cv_over_activations"),  # SwiGLU is missing
    ]
    assert len(absent) == 11
    assert not any(each.ours.known or each.where for each in absent)


def test_an_excess_over_a_pd_of_zero_is_unknown():
    same_seed = [varying((), make_cell(activation=name, pairs=pairs_of(0.0, 0))) for name in ("smelu_1", "relu")]
    numbers = audit_numbers.audited_numbers(REPORT, Ours(same_seed))
    (excess,) = numbers_at(numbers, "3.2", "excess_relative_pd", activation="relu")
    assert not excess.ours.known


def test_the_outcome_has_ten_topics_about_these_numbers(ours):
    outcome = audit_tables.outcome(REPORT, ours)
    said = dict(outcome)
    assert len(outcome) == len(said) == 10
    assert "0 of these differ" in said["Arithmetic"]
    assert "4 of 15 printed counts" in said["Mismatches"]
    assert (
        "825 to 835; ours on shared contexts 140 to 140, with each model scored on different contexts 830 to"
        in said["Top-1 mismatches of 1,000, CharLM"]
    )
    of_pd = said["PD, CharLM, by the report's global formula"]
    assert "0.50 to 0.52; ours on shared contexts 0.10 to 0.10, with each model" in of_pd
    assert "3.5.1 Relative PD 0.9126: GELU, Swish" in said["Repeats"]
    (charlm,) = ours.beside(None).sensitivities()
    assert f"(long, 500 steps): CharLM {charlm.verdict} (0.0 %)" in said["Sensitivity to the activation"]
    assert "flipping the signs of our 3 differences none below 0.25" in said["Design"]


# ---------------------------------------------------------------- what we measure where the report claims something


@pytest.fixture(scope="module")
def spread() -> Findings:
    """Two architectures, the same order of activations in each: PD .2, .25 and .3, losses the other way round."""
    cells = []
    for model, factor in (("charlm", 1), ("convlm", 2)):
        for place, name in enumerate(("relu", "gelu", "swish")):
            trials = [make_trial(n, 2.6 - place / 10 + n / 1000, training_time=20.0 + n) for n in (1, 2, 3)]
            pairs = [
                make_pair(a, b, factor * (0.2 + 0.05 * place + 0.001 * (a * b + place * (b - a))))
                for a, b in itertools.combinations((1, 2, 3), 2)
            ]
            cells.append(make_cell(model, name, trials=trials, pairs=pairs))
    return Findings.of_study(cells, "cpu")


def measured(findings: Findings, measure: str, **asked) -> list[measures.Measurement]:
    return measures.measured(findings, {"measure": measure, **asked})


def test_measurements_worked_by_hand(spread):
    lowest, highest = measured(spread, "span", models=["charlm"], metric="relative_pd")
    assert (lowest.what, highest.what) == ("CharLM ReLU", "CharLM Swish")
    assert lowest.estimate == spread.models["charlm"][0].estimate("relative_pd")
    assert [each.text() for each in measured(spread, "rank", activation="swish", metric="val_loss")] == [
        "CharLM rank 1 of 3",
        "ConvLM rank 1 of 3",
    ]
    (rho,) = measured(spread, "correlation", metrics=["val_loss", "relative_pd"])
    assert rho.estimate.mean == pytest.approx(-1)
    (overhead,) = measured(spread, "first_trial_overhead")
    assert overhead.estimate.mean == pytest.approx(21 / 22.5 - 1)
    (ratio,) = measured(spread, "metric_ratio", models=["charlm"], metrics=["relative_pd", "global_pd"])
    assert ratio.text() == "CharLM 2.00"
    assert measured(spread, "experiments")[0].text() == "18 trials"
    assert measured(spread, "setting", key=["iterations"], unit="steps")[0].text() == "100 steps"
    assert measured(spread, "setting", key=["shape", "layers"]) == []
    assert measured(spread, "early_verdicts") == []  # three trials have no verdict that could be the same
    six = Findings.of_study([random_cell("charlm", name, "cpu", 6) for name in ("relu", "gelu", "swish")], "cpu")
    (verdict, count) = measured(six, "early_verdicts")[0].text().split(" in ", 1)
    assert verdict == "the verdict at step 50 is that at step 100" and count.endswith(" of 1 architectures")


def test_a_measured_difference_is_that_of_the_findings_in_percent(spread):
    (ours,) = measured(
        spread, "difference", models=["charlm"], activation="swish", others=["relu"], metric="relative_pd"
    )
    (theirs,) = [
        each
        for each in spread.differences()
        if (each.model, each.activation, each.other) == ("charlm", "relu", "swish")
    ]
    assert ours.estimate.mean * ours.scale == pytest.approx(100 * (theirs.second / theirs.first - 1))
    assert ours.estimate.low == -theirs.estimate.high
    assert ours.verdict == {True: "shown", False: "not shown", None: "not tested"}[theirs.shown]


def test_the_cv_comes_with_the_verdict_of_the_findings(spread):
    found = measured(spread, "activation_cv")
    assert [(each.estimate, each.verdict) for each in found] == [
        (each.cv, str(each.verdict)) for each in spread.sensitivities()
    ]


def test_hypotheses_are_answered_from_the_findings(spread):
    said = {
        each.hypothesis.words: each.answer
        for each in hypotheses.answered(Ours([cell.content for cell in spread.measured]))
    }
    assert len(said) == len(hypotheses.HYPOTHESES)
    smooth = said["Smooth activations make predictions more reproducible than ReLU"]
    shown = [each.shown for each in spread.differences() if each.activation == "relu"]
    assert re.match(r"A smooth activation minus ReLU: of 4 differences, .*; from [+]2.* GELU minus ReLU\)", smooth)
    assert (f"shown lower in 0 and higher in {shown.count(True)};" in smooth) == (None not in shown)
    assert said["A larger β of SmeLU improves reproducibility"].endswith("not compared in this study.")
    assert "rank correlation -1.00" in said["Loss and reproducibility are a trade-off"]
    highest = hypotheses.against_of(spread, "swish")
    assert [(each.activation, each.estimate.mean > 0) for each in highest] == [("swish", True)] * 4
    lstm = said["An LSTM is 10-30 times as reproducible as a transformer"]
    assert lstm == "Not measured in this study."
    relu = [make_cell(model, "relu", pairs=pairs_of(pd, 9)) for model, pd in (("charlm", 0.1), ("tinylstm", 0.4))]
    lstm = hypotheses.recurrent_is_most_reproducible(Findings.of_study(relu, "cpu"))
    assert lstm.startswith("PD with ReLU, as a multiple of TinyLSTM's: CharLM 0.25. TinyLSTM's is 0.400")


def test_hypotheses_leave_out_what_is_not_known():
    """ReLU has one trial that ended: it has no PD, and is neither the lowest nor an extreme."""
    cells = [random_cell("charlm", name, n_trials=6) for name in ("gelu", "swish")]
    cells.append(make_cell("charlm", "relu", trials=[make_trial(1), make_diverged(2)], pairs=[]))
    text = " ".join(each.answer for each in hypotheses.answered(Ours(cells)))
    assert "nan" not in text and "CharLM ReLU 1 of" not in text
    unlike = [cell | {"n_parameters": n} for cell, n in zip(cells[:2], (430_000, 1_000_000), strict=True)]
    assert "has 430,000 to 1,000,000 parameters: " in hypotheses.one_size(Findings.of_study(unlike, "cpu"))


def test_awkward_studies_are_audited_too():
    ours = Ours(awkward_cells())
    text = "\n".join(render(table, "github") for table in audit_tables.tables(REPORT, ours))
    assert "CharLM" in text and not re.search(r"\b(nan|None|inf)\b", text)


# ---------------------------------------------------------------- the tables


def test_hypotheses_then_a_table_for_each_section_then_the_claims(ours):
    first, *tables = audit_tables.tables(REPORT, ours)
    assert len(first.rows) == len(hypotheses.HYPOTHESES)
    titles = [f"{section['section']} {section['title']}" for section in REPORT["sections"]]
    numbers, claims = tables[: len(titles)], tables[len(titles) :]
    assert all(table.title.startswith(title) for table, title in zip(numbers, titles, strict=True))
    assert sum(len(table.rows) for table in numbers) == 237
    assert sum(len(table.rows) for table in claims) == len(REPORT["claims"])
    assert [table.title for table in claims][:3] == [
        "Claims: header",
        "Claims: executive summary",
        "Claims: section 1",
    ]


def test_the_introduction_says_which_studies_are_ours(ours):
    (said, *legend) = audit_tables.introduction(ours)
    assert "the most architectures (long, 500 steps, 430,000 to 430,000 parameters)" in said
    assert audit_tables.introduction(None) == ["Ours: not measured yet.", *legend]


def test_without_results_the_report_is_still_compared_with_itself():
    said = [render(table, "github") for table in audit_tables.tables(REPORT, None)]
    text = "\n".join([*said, *(sentence for _, sentence in audit_tables.outcome(REPORT, None))])
    assert "not possible" in text and "not measured yet" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_numbers_and_claims_are_judged_once_for_all_topics(monkeypatch, ours):
    calls = Counter()

    def counted(function):
        def call(*arguments):
            calls[function.__name__] += 1
            return function(*arguments)

        return call

    for name in ("audited_numbers", "audited_claims"):
        monkeypatch.setattr(audit_tables, name, counted(getattr(audit_tables, name)))
    audit_tables.outcome(REPORT, ours)
    assert calls == {"audited_numbers": 1, "audited_claims": 1}


@pytest.fixture(scope="module")
def tables(ours) -> list:
    return audit_tables.tables(REPORT, ours)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_kind_of_table(tables, form):
    kinds = ("The report's hypotheses", "3.5.1", "Claims: header")
    text = "\n".join(render(table, form) for table in tables if table.title.startswith(kinds))
    assert "SwiGLU" in text and not re.search(r"\b(nan|None|inf)\b", text)


def test_every_table_can_be_typeset(tables):
    text = "\n".join(render(table, "latex") for table in tables)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert "\n".join(body).isascii()
    assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]
