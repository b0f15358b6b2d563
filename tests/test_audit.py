"""The audit: the transcription of the report against itself, and verdicts that follow the numbers they are about."""

import copy
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from audited_report import REPORT, numbers_at

from audit import checks as audit_checks
from audit import inventory, measures
from audit import numbers as audit_numbers
from audit import tables as audit_tables
from audit.checks import ClaimVerdict
from audit.numbers import AuditedNumber, Judgement
from study import corpus
from views.render import render


def changed(section: str, place: dict, **numbers: str) -> dict:
    """The report with other numbers in those rows of a section that have what ``place`` says."""
    report = copy.deepcopy(REPORT)
    rows = [row for row in audit_numbers.find_section(report, section)["rows"] if place.items() <= row.items()]
    assert rows
    for row in rows:
        assert numbers.keys() <= row.keys()
        row |= numbers
    return report


@pytest.fixture(scope="module")
def printed() -> list[AuditedNumber]:
    """The report's numbers against each other."""
    return audit_numbers.audited_numbers(REPORT, None)


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
