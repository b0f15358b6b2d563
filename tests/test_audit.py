"""The audit: the transcription of the report against itself, and verdicts that follow the numbers they are about."""

import copy
import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial, write_cells

import analyze_results
from analysis import measure
from audit import claims as audit_claims
from audit import numbers as audit_numbers
from audit import tables as audit_tables
from study import corpus, files
from views.render import FORMATS, render

REPORT = files.read_json(analyze_results.REPORT_PATH)


def changed(section: str, place: dict, **numbers: str) -> dict:
    """The report with other numbers in those rows of a section that have what ``place`` says."""
    report = copy.deepcopy(REPORT)
    rows = [row for row in audit_numbers.find_section(report, section)["rows"] if place.items() <= row.items()]
    assert rows
    for row in rows:
        assert numbers.keys() <= row.keys()
        row |= numbers
    return report


def rows_at(report: dict, section: str, quantity: str, measured=(), **place) -> list[dict]:
    wanted = {"section": section, "quantity": quantity, **place}
    return [row for row in audit_numbers.number_rows(report, list(measured)) if wanted.items() <= row.items()]


# ---------------------------------------------------------------- the transcription


def test_every_table_of_results_is_there():
    count = Counter(number["section"] for number in audit_numbers.printed_numbers(REPORT))
    assert count == {
        **{"3.1": 30, "3.2": 11, "3.3": 12, "3.4": 85},
        **{"3.5.1": 19, "3.5.2": 15, "3.5.3": 9, "3.5.4": 12, "3.5.5": 3, "3.5.6": 3, "3.5.7": 6},
        **{"3.6": 8, "4.4": 9, "4.6": 5, "B": 10},
    }


def test_every_quantity_and_check_is_known():
    assert {number["quantity"] for number in audit_numbers.printed_numbers(REPORT)} == set(audit_numbers.QUANTITIES)
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
def test_derived_numbers_follow_from_those_they_are_derived_from(section, quantity):
    found = [row for row in rows_at(REPORT, section, quantity) if row["trial"] in (None, "mean")]
    assert found
    assert {row["verdict"] for row in found} == {"agrees"}


def test_numbers_worked_by_hand():
    (minigpt,) = rows_at(REPORT, "3.5.1", "cv_over_activations")
    pds = [0.9126, 0.9126, 1.5364, 1.6267]
    mean = sum(pds) / 4
    assert minigpt["recomputed"] == pytest.approx(100 * math.sqrt(sum((x - mean) ** 2 for x in pds) / 4) / mean)
    (gelu,) = rows_at(REPORT, "3.1", "val_loss", activation="gelu")
    assert gelu["recomputed"] == pytest.approx((2.6242 + 2.6299) / 2)
    (smelu,) = rows_at(REPORT, "4.4", "excess_relative_pd")
    assert smelu["recomputed"] == pytest.approx(100 * (0.4958 / 0.5094 - 1))


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


def test_impossible_counts_are_those_above_the_bound():
    (gelu,) = rows_at(REPORT, "3.5.1", "top1_mismatches", activation="gelu")
    assert (gelu["at_most"], gelu["verdict"]) == (881, "not possible")  # 2 - 2 * 0.5595
    (fewer,) = rows_at(changed("3.5.1", {"activation": "gelu"}, top1_mismatches="881"), "3.5.1", "top1_mismatches")[
        :1
    ]
    assert fewer["verdict"] == "possible"
    assert {row["verdict"] for row in rows_at(REPORT, "3.4", "top1_mismatches")} == {"possible"}


def test_repeated_losses_are_named():
    (relu,) = rows_at(REPORT, "3.5.1", "val_loss", activation="relu")
    assert relu["verdict"] == "same as GELU, Swish, SmeLU β=1"
    report = changed("3.5.1", {"activation": "relu"}, val_loss="1.6050")
    (relu,) = rows_at(report, "3.5.1", "val_loss", activation="relu")
    assert relu["verdict"] == "–"


def test_a_number_that_does_not_follow_is_told():
    report = changed("3.1", {"activation": "relu"}, val_loss="2.6279")
    (row,) = rows_at(report, "3.1", "val_loss", activation="relu")
    assert row["verdict"] == "differs"
    assert "1 of these differ from them (in 3.1)" in audit_tables.consistency(report, [])


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


def verdict(report: dict, section: str, start: str) -> str:
    rows = audit_claims.claim_rows(report)
    return next(row["verdict"] for row in rows if row["section"] == section and row["words"].startswith(start))


@pytest.mark.parametrize("claim", CLAIMED)
def test_other_numbers_would_turn_the_verdict(claim):
    section, place, numbers = CLAIMED[claim]
    before, after = verdict(REPORT, *claim), verdict(changed(section, place, **numbers), *claim)
    assert before != after
    assert audit_claims.HOLDS in (before, after)


def test_the_verdicts_that_the_report_is_known_for():
    assert verdict(REPORT, "Executive Summary", "ReLU Consistently Worst") == "does not hold"
    assert verdict(REPORT, "4.3", "[GELU") == "does not hold"
    assert verdict(REPORT, "6.2", "MiniGPT") == "does not hold"
    assert verdict(REPORT, "8.1", "Large transformers") == "holds"
    assert verdict(REPORT, "8.1", "TinyLSTM") == "says nothing"


def test_claims_about_shares_times_and_cvs_worked_by_hand():
    claims = {claim["check"]: claim for claim in REPORT["claims"]}  # the last of each kind
    assert audit_claims.first_trial_overhead(REPORT, claims["first_trial_overhead"])[1].startswith(
        "6.5 %"
    )  # 271 v 254.5
    assert audit_claims.share_insensitive(REPORT, claims["share_insensitive"])[1].startswith("0 of 4 CVs")
    lenient = claims["share_insensitive"] | {"sensitive_from": "100", "percent": "100"}
    assert audit_claims.share_insensitive(REPORT, lenient)[0] == "holds"
    printed = {"in": ["3.5.1"], "percent": "26.94"}
    assert audit_claims.cv_is(REPORT, printed) == ("holds", "3.5.1: 26.94 %")
    assert audit_claims.cv_is(REPORT, printed | {"percent": "5.40"})[0] == "does not hold"


# ---------------------------------------------------------------- beside our study


def study_cells() -> list[dict]:
    """CharLM with three activations: PD .2 on shared contexts, more on different ones."""
    different = {"relative_pd": 0.7, "top1_mismatches": 830, "global_pd": 0.5}
    pairs = [make_pair(a, b, 0.2, 140, different_contexts=different) for a, b in ((1, 2), (1, 3), (2, 3))]
    trials = [make_trial(number, 2.62 + number / 100) for number in (1, 2, 3)]
    return [make_cell(activation=name, trials=trials, pairs=pairs) for name in ("relu", "gelu", "swish")]


def test_ours_stands_beside_the_report_in_its_units():
    measured = measure.measure_study(study_cells(), "cpu")
    (pd,) = rows_at(REPORT, "3.1", "relative_pd", measured, activation="relu")
    assert (pd["ours"], pd["rebuilt"]) == (pytest.approx(0.2), pytest.approx(0.5))  # the global formula
    (pd,) = rows_at(REPORT, "3.5.2", "relative_pd", measured, activation="relu")
    assert (pd["ours"], pd["rebuilt"]) == (pytest.approx(0.2), pytest.approx(0.7))  # the element-wise formula
    (share,) = rows_at(REPORT, "B", "mismatch_percent", measured, activation="relu")
    assert (share["ours"], share["rebuilt"]) == (pytest.approx(14), pytest.approx(83))
    (accuracy,) = rows_at(REPORT, "3.1", "val_accuracy", measured, activation="relu")
    assert (accuracy["ours"], accuracy["rebuilt"]) == (pytest.approx(27), None)
    (excess,) = rows_at(REPORT, "3.3", "excess_val_loss", measured, activation="gelu")
    assert excess["ours"] == pytest.approx(0)


def test_what_we_did_not_measure_has_no_counterpart():
    measured = measure.measure_study(study_cells(), "cpu")
    absent = [
        *rows_at(REPORT, "3.1", "val_loss", measured, activation="smelu_1"),
        *rows_at(REPORT, "3.4", "val_loss", measured, trial="1"),
        *rows_at(REPORT, "3.5.1", "val_loss", measured),
        *rows_at(REPORT, "3.5.2", "cv_over_activations", measured),  # SwiGLU is missing
    ]
    assert len(absent) == 11
    assert {row["ours"] for row in absent} == {None}


def test_the_outcome_has_ten_lines_about_these_numbers():
    lines = audit_tables.outcome(REPORT, measure.measure_study(study_cells(), "cpu"))
    assert [line.partition(".")[0] for line in lines] == [str(place) for place in range(1, 11)]
    text = "\n".join(lines)
    assert "0 of these differ" in text
    assert "4 of 15 printed counts" in text
    assert (
        "825 to 835; ours on shared contexts 140 to 140, with each model scored on different contexts 830 to" in text
    )
    assert "0.50 to 0.52; ours on shared contexts 0.10 to 0.10, with each model" in text


# ---------------------------------------------------------------- the command


def run(folder, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, "--audit", *options])


def test_the_audit_prints_and_writes_nothing(tmp_path, capsys):
    results = write_cells(tmp_path / "results", study_cells())
    before = {path: path.read_bytes() for path in results.iterdir()}
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    assert all(f"### {section['section']} {section['title']}" in said for section in REPORT["sections"])
    assert "Ours: study cpu, 100 iterations, 430,000 to 430,000 parameters" in said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == said


def test_without_results_the_report_is_still_held_against_itself(tmp_path, capsys):
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    assert "Ours: not measured yet." in said
    assert "not possible" in said
    assert not re.search(r"\b(nan|None)\b", said)


def test_a_study_that_is_not_there_is_one_line(tmp_path, capsys):
    assert run(tmp_path, "--study", "nope") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_audit_replaces_the_tables(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, "--tables", "results")
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


TABLES = audit_tables.tables(REPORT, measure.measure_study(study_cells(), "cpu"))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_table(form):
    text = "\n".join(render(table, form) for table in TABLES)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    if form.startswith("latex"):
        body = [line for line in text.splitlines() if not line.startswith("%")]
        assert "\n".join(body).isascii()
        assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]
