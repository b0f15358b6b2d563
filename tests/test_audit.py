"""The audit: the transcription of the report against itself, and verdicts that follow the numbers they are about."""

import copy
import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial, varying

from analysis.findings import Findings
from audit import claims as audit_claims
from audit import numbers as audit_numbers
from audit import tables as audit_tables
from audit.claims import ClaimVerdict
from audit.numbers import AuditedNumber, Judgement
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
def beside_ours(findings) -> list[AuditedNumber]:
    """The report's numbers beside those of our study."""
    return audit_numbers.audited_numbers(REPORT, findings)


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
    assert {claim["check"] for claim in REPORT["claims"]} == set(audit_claims.CHECKS)


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
    assert total / (len(text) - split) == pytest.approx(audit_claims.FREQUENCIES_ALONE, abs=1e-4)


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
    ("4.3", "[GELU"): ("3.1", {"activation": "relu"}, {"relative_pd": "0.5190"}),
    ("4.2", "[ReLU"): ("3.1", {"activation": "relu"}, {"relative_pd": "0.5190"}),
    ("3.5.7", "SwiGLU"): ("3.5.6", {"activation": "relu"}, {"relative_pd": "0.6000"}),
    ("Executive Summary", "[GELU"): ("3.1", {"activation": "gelu"}, {"relative_pd": "0.5000"}),
    ("3.5.1", "GELU"): ("3.5.1", {"activation": "gelu"}, {"relative_pd": "1.0000"}),
    ("3.5.3", "ReLU"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.2000"}),
    ("3.5.4", "Hybrid"): ("3.5.4", {"activation": "gelu"}, {"relative_pd": "3.0000"}),
    ("8.5", "transformers"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.0000"}),
    ("3.5.6", "TinyLSTM"): ("3.5.6", {"activation": "relu"}, {"val_loss": "2.4000"}),
    ("8.1", "ConvLM"): ("3.5.3", {"activation": "relu"}, {"relative_pd": "1.3410"}),
}


def verdict(report: dict, section: str, start: str) -> ClaimVerdict:
    found = audit_claims.audited_claims(report)
    return next(claim.result.verdict for claim in found if claim.section == section and claim.words.startswith(start))


@pytest.mark.parametrize("claim", CLAIMED)
def test_other_numbers_would_turn_the_verdict(claim):
    section, place, numbers = CLAIMED[claim]
    before, after = verdict(REPORT, *claim), verdict(changed(section, place, **numbers), *claim)
    assert before != after
    assert ClaimVerdict.HOLDS in (before, after)


def test_the_verdicts_that_the_report_is_known_for():
    assert verdict(REPORT, "Executive Summary", "ReLU Consistently Worst") is ClaimVerdict.FAILS
    assert verdict(REPORT, "4.3", "[GELU") is ClaimVerdict.FAILS
    assert verdict(REPORT, "6.2", "MiniGPT") is ClaimVerdict.FAILS
    assert verdict(REPORT, "8.1", "Large transformers") is ClaimVerdict.HOLDS
    assert verdict(REPORT, "8.1", "TinyLSTM") is ClaimVerdict.SAYS_NOTHING


def test_claims_about_shares_times_and_cvs_worked_by_hand():
    claims = {claim["check"]: claim for claim in REPORT["claims"]}  # the last of each kind
    overhead = audit_claims.first_trial_overhead(REPORT, claims["first_trial_overhead"])
    assert overhead.evidence[0].startswith("6.5 %")  # 271 v 254.5
    insensitive = audit_claims.share_insensitive(REPORT, claims["share_insensitive"])
    assert insensitive.evidence[0].startswith("0 of 4 CVs")
    lenient = claims["share_insensitive"] | {"sensitive_from": "100", "percent": "100"}
    assert audit_claims.share_insensitive(REPORT, lenient).verdict is ClaimVerdict.HOLDS
    printed = {"in": ["3.5.1"], "percent": "26.94"}
    assert audit_claims.cv_is(REPORT, printed) == audit_claims.CheckResult(ClaimVerdict.HOLDS, ("3.5.1: 26.94 %",))
    assert audit_claims.cv_is(REPORT, printed | {"percent": "5.40"}).verdict is ClaimVerdict.FAILS


# ---------------------------------------------------------------- beside our study


def study_cells() -> list[dict]:
    """CharLM with three activations: PD .2 on shared contexts, more on different ones."""
    trials = [make_trial(number, 2.62 + number / 100) for number in (1, 2, 3)]
    return [make_cell(activation=name, trials=trials, pairs=pairs_of(0.2, 140)) for name in ("relu", "gelu", "swish")]


def pairs_of(distance: float, mismatches: int) -> list[dict]:
    different = {"relative_pd": 0.7, "top1_mismatches": 830, "global_pd": 0.5}
    return [make_pair(a, b, distance, mismatches, different_contexts=different) for a, b in ((1, 2), (1, 3), (2, 3))]


def test_ours_is_beside_the_report_in_its_units(beside_ours):
    def ours_and_rebuilt(section: str, quantity: str) -> tuple[float, float]:
        (number,) = numbers_at(beside_ours, section, quantity, activation="relu")
        row = number.row()
        return row["ours"].mean, row["rebuilt"]

    assert ours_and_rebuilt("3.1", "relative_pd") == pytest.approx((0.2, 0.5))  # by the global formula
    assert ours_and_rebuilt("3.5.2", "relative_pd") == pytest.approx((0.2, 0.7))  # by the element-wise formula
    assert ours_and_rebuilt("B", "mismatch_percent") == pytest.approx((14, 83))
    assert ours_and_rebuilt("3.4", "top1_mismatches") == pytest.approx((140, 830))
    assert ours_and_rebuilt("3.1", "val_accuracy") == pytest.approx((27, math.nan), nan_ok=True)
    (excess,) = numbers_at(beside_ours, "3.3", "excess_val_loss", activation="gelu")
    assert excess.ours.mean == pytest.approx(0)


def test_inside_ours_are_fractions_with_the_interval_of_the_cell(beside_ours, findings):
    (accuracy,) = numbers_at(beside_ours, "3.1", "val_accuracy", activation="relu")
    assert accuracy.ours.mean == pytest.approx(0.27) and not accuracy.ours.has_interval
    (share,) = numbers_at(beside_ours, "B", "mismatch_percent", activation="relu")
    assert (share.ours.mean, share.rebuilt) == pytest.approx((0.14, 0.83))
    relu = findings.models["charlm"][0]
    for quantity in ("val_loss", "relative_pd"):
        (number,) = numbers_at(beside_ours, "3.1", quantity, activation="relu")
        assert number.ours == relu.estimate(quantity)


def test_what_we_did_not_measure_has_no_counterpart(beside_ours):
    absent = [
        *numbers_at(beside_ours, "3.1", "val_loss", activation="smelu_1"),
        *numbers_at(beside_ours, "3.4", "val_loss", trial="1"),
        *numbers_at(beside_ours, "3.5.1", "val_loss"),
        *numbers_at(beside_ours, "3.5.2", "cv_over_activations"),  # SwiGLU is missing
    ]
    assert len(absent) == 11
    assert not any(each.ours.known for each in absent)


def test_an_excess_over_a_pd_of_zero_is_unknown():
    same_seed = [varying((), make_cell(activation=name, pairs=pairs_of(0.0, 0))) for name in ("smelu_1", "relu")]
    numbers = audit_numbers.audited_numbers(REPORT, Findings.of_study(same_seed, "cpu"))
    (excess,) = numbers_at(numbers, "3.2", "excess_relative_pd", activation="relu")
    assert not excess.ours.known


def test_the_outcome_has_ten_topics_about_these_numbers(findings):
    outcome = audit_tables.outcome(REPORT, findings)
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
    assert "CharLM too few trials to tell (0.0 %" in said["Sensitivity to the activation"]
    assert "our 3 v 3 none below 0.1" in said["Design"]


# ---------------------------------------------------------------- the tables


def test_a_table_for_each_section_then_the_claims(findings):
    tables = audit_tables.tables(REPORT, findings)
    titles = [f"{section['section']} {section['title']}" for section in REPORT["sections"]]
    assert all(table.title.startswith(title) for table, title in zip(tables, titles, strict=False))
    assert len(tables) == len(titles) + 1
    assert len(tables[-1].rows) == len(REPORT["claims"])
    assert sum(len(table.rows) for table in tables[:-1]) == 237


def test_the_introduction_says_which_study_is_ours(findings):
    (ours, *legend) = audit_tables.introduction(findings)
    assert ours.startswith("Ours: study cpu, 100 iterations, 430,000 to 430,000 parameters.")
    assert audit_tables.introduction(None) == ["Ours: not measured yet.", *legend]


def test_without_results_the_report_is_still_compared_with_itself():
    said = [render(table, "github") for table in audit_tables.tables(REPORT, None)]
    text = "\n".join([*said, *(sentence for _, sentence in audit_tables.outcome(REPORT, None))])
    assert "not possible" in text and "not measured yet" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_numbers_and_claims_are_judged_once_for_all_topics(monkeypatch, findings):
    calls = Counter()

    def counted(function):
        def call(*arguments):
            calls[function.__name__] += 1
            return function(*arguments)

        return call

    for name in ("audited_numbers", "audited_claims"):
        monkeypatch.setattr(audit_tables, name, counted(getattr(audit_tables, name)))
    audit_tables.outcome(REPORT, findings)
    assert calls == {"audited_numbers": 1, "audited_claims": 1}


@pytest.fixture(scope="module")
def tables(findings) -> list:
    return audit_tables.tables(REPORT, findings)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_table(tables, form):
    text = "\n".join(render(table, form) for table in tables)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    if form.startswith("latex"):
        body = [line for line in text.splitlines() if not line.startswith("%")]
        assert "\n".join(body).isascii()
        assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]
