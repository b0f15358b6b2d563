"""The report beside our studies: what they measure where it claims something, and the tables."""

import itertools
import math
import re
from collections import Counter

import pytest
from audited_report import REPORT, numbers_at
from synthetic_cells import awkward_cells, make_cell, make_diverged, make_pair, make_trial, random_cell, varying

from analysis.findings import Findings
from audit import hypotheses, measures
from audit import numbers as audit_numbers
from audit import tables as audit_tables
from audit.claims import audited_claims
from audit.numbers import AuditedNumber
from audit.ours import Ours
from views.render import FORMATS, render


@pytest.fixture(scope="module")
def beside_ours(ours) -> list[AuditedNumber]:
    """The report's numbers beside those of our studies."""
    return audit_numbers.audited_numbers(REPORT, ours)


@pytest.fixture(scope="module")
def ours() -> Ours:
    """A study of 100 steps and one of 500."""
    return Ours([*study_cells(), *study_cells("long", 500, 0.3)])


@pytest.fixture(scope="module")
def findings() -> Findings:
    return Findings.of_study(study_cells(), "cpu")


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


def test_what_a_study_was_made_for_is_said_of_that_study():
    sizes = [
        make_cell(f"charlm@{size}M", name, "sizes", n_parameters=int(size * 1e6), pairs=pairs_of(pd, 9))
        for size, pd in ((0.1, 0.2), (1, 0.3), (10, 0.4))
        for name in ("relu", "gelu")
    ]
    other = [make_cell("convlm", name, pairs=pairs_of(0.2, 9)) for name in ("relu", "gelu")]
    ours = Ours([*study_cells(), *other, *sizes])
    assert ours.beside(None).study == "cpu"
    (trend,) = [each for each in ours.named("sizes").size_trends if each.quantity == "CV of relative_pd"][:1]
    (found,) = measured(ours.named("sizes"), "size_trend")
    assert found.estimate == trend.slope and found.what == "change of CharLM's CV for a tenfold size"
    answers = {each.hypothesis.sections: each for each in hypotheses.answered(ours)}
    of_size = answers["7.3, 8.1, 8.4"]
    assert of_size.where.startswith("sizes") and of_size.answer.startswith(found.what)
    assert (answers["7.2"].where, answers["7.2"].answer) == (
        "cpu, 100 steps",
        "Not measured in this study. See docs/parts.md.",
    )
    (claim,) = [each for each in audited_claims(REPORT, ours) if each.words.startswith("Hypothesis: Activation")]
    assert [each.where for each in claim.ours] == [of_size.where]
    assert Ours(study_cells()).named("sizes") is None


def test_hypotheses_leave_out_what_is_not_known():
    """ReLU has one trial that ended: it has no PD, and is neither the lowest nor an extreme."""
    cells = [random_cell("charlm", name, n_trials=6) for name in ("gelu", "swish")]
    cells.append(make_cell("charlm", "relu", trials=[make_trial(1), make_diverged(2)], pairs=[]))
    text = " ".join(each.answer for each in hypotheses.answered(Ours(cells)))
    assert "nan" not in text and "CharLM ReLU 1 of" not in text
    unlike = [cell | {"n_parameters": n} for cell, n in zip(cells[:2], (430_000, 1_000_000), strict=True)]
    assert "has 430,000 to 1,000,000 parameters: " in hypotheses.size_matters(Findings.of_study(unlike, "cpu"))


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
