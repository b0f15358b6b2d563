"""Cells made up by hand, from their content to the report's tables and the summary."""

import csv
import io
import math
import re

import pytest
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, varying

import config
import labels
from analysis import measure, report_tables
from analysis.findings import Findings
from analysis.table import Table
from views.render import FORMATS, PARTS, csv_text, remark, render

LOSSES = (2.60, 2.62, 2.67)
DISTANCES = (0.2, 0.3, 0.4)


def worked_cell(activation="relu", scale=1.0, **changes) -> dict:
    """Mean loss 2.63, std sqrt(0.0026 / 3); mean PD 0.3 ``scale``; mean mismatches 200; times 21, 22, 23 s."""
    trials = [make_trial(number, loss) for number, loss in enumerate(LOSSES, 1)]
    pairs = [
        make_pair(*pair, scale * distance, mismatches)
        for pair, distance, mismatches in zip(((1, 2), (1, 3), (2, 3)), DISTANCES, (100, 200, 300), strict=True)
    ]
    return make_cell(activation=activation, trials=trials, pairs=pairs, **changes)


def diverged_cell(activation="gelu") -> dict:
    return make_cell(activation=activation, trials=[make_trial(1), make_trial(2), make_diverged(3)])


@pytest.fixture(scope="module")
def one() -> Findings:
    return Findings([measure.measure(worked_cell())])


@pytest.fixture(scope="module")
def two() -> Findings:
    """The second of two cells has half the PD."""
    return Findings.of_study([worked_cell("relu"), worked_cell("gelu", scale=0.5)], "cpu")


def csv_rows(table: Table) -> list[dict]:
    """The rows of a table as CSV gives them to a program."""
    return list(csv.DictReader(io.StringIO(csv_text(table))))


def csv_rows_of(findings: Findings, name: str) -> list[dict]:
    return [row for table in report_tables.TABLES[name](findings) for row in csv_rows(table)]


# ---------------------------------------------------------------- numbers


def test_estimates_of_a_hand_worked_cell():
    cell = measure.measure(worked_cell())
    loss, distance = cell.estimate("val_loss"), cell.estimate("relative_pd")
    assert (loss.mean, loss.std, loss.n) == pytest.approx((2.63, math.sqrt(0.0026 / 3), 3))
    assert (distance.mean, distance.std, distance.n) == pytest.approx((0.3, math.sqrt(0.02 / 3), 3))
    assert cell.mean("top1_mismatches") == 200
    assert cell.mean("val_accuracy") == pytest.approx(0.27)
    assert cell.training_seconds == 66
    # q = 0.25, 0.3, 0.35; Var = 4 * 2 / (3 * 1) * 0.005; t(2) = 4.302653
    margin = 4.302653 * math.sqrt(8 / 3 * 0.005)
    assert distance.high - 0.3 == pytest.approx(margin, rel=1e-6)
    assert margin > 0.3 and distance.low == 0  # cut off: no distance is negative
    late = make_cell(trials=[make_trial(n, training_time=seconds) for n, seconds in ((1, 1.0), (2, 1.0), (3, 200.0))])
    assert measure.measure(late).estimate("training_time").low == 0  # nor a time
    assert not cell.estimate("text_distance").known  # of which these pairs have nothing


@pytest.mark.parametrize("name", ["results", "overview", "architectures", "reproducibility", "accuracy", "variance"])
def test_tables_give_a_program_the_numbers_of_a_hand_worked_cell(one, name):
    (row,) = csv_rows_of(one, name)
    assert row["model"] == "charlm"
    expected = {
        "mean_val_loss": 2.63,
        "std_val_loss": math.sqrt(0.0026 / 3),
        "mean_relative_pd": 0.3,
        "mean_top1_mismatches": 200,
        "mean_val_accuracy": 0.27,
        "n_trials": 3,
        "rank": 1,
    }
    shared = expected.keys() & row.keys()
    assert len(shared) >= 3
    assert {field: float(row[field]) for field in shared} == pytest.approx({f: expected[f] for f in shared})


def test_accuracies_are_shown_in_percent(one):
    (table,) = report_tables.results(one)
    (texts,) = table.texts()
    assert "27.00 ± 0.00" in texts and "200 / 1000" in texts and "2.6300 ± 0.0294" in texts


def test_trial_details_end_with_their_mean(one):
    (table,) = report_tables.trials(one)
    assert [row["trial"] for row in table.rows] == [1, 2, 3, "mean"]
    assert [row["val_loss"] for row in table.rows] == pytest.approx([*LOSSES, 2.63])


def test_a_pair_without_a_value_leaves_the_mean_of_the_others_and_no_interval():
    content = random_cell("charlm", "relu", n_trials=4)
    assert measure.measure(content).estimate("relative_pd").has_interval
    content["pairs"][2]["relative_pd"] = None
    others = [pair["relative_pd"] for pair in content["pairs"] if pair["relative_pd"] is not None]
    found = measure.measure(content).estimate("relative_pd")
    assert found.mean == pytest.approx(sum(others) / 5) and not found.has_interval


def test_spread_over_activations(two):
    spread = measure.spread_over(two.measured, "relative_pd")
    assert (spread.n, spread.mean, spread.std, spread.cv) == pytest.approx((2, 0.225, 0.075, 1 / 3))
    assert measure.spread_over(two.measured, "val_loss").cv == pytest.approx(0)
    (row,) = report_tables.cross_model(two)[0].rows
    assert (row["relative_pd"].mean, row["relative_pd"].std) == pytest.approx((0.225, 0.075))
    assert row["cv_relative_pd"] == pytest.approx(1 / 3)
    assert row["n_trials"] == 6
    assert "33.33" in render(report_tables.cross_model(two)[0], "github")


def test_a_spread_of_nothing_or_of_one_activation_is_unknown(one):
    assert measure.spread_over([], "relative_pd").n == 0
    alone = measure.spread_over(one.measured, "relative_pd")
    assert alone.mean == pytest.approx(0.3) and math.isnan(alone.cv)


def test_the_statistics_are_below_each_architecture(two):
    (table,) = report_tables.architectures(two)
    assert any("mean 0.2250, std 0.0750, CV 33.33 %" in note for note in table.notes)


def test_ranking_counts_from_the_lowest(two):
    rows = report_tables.rank(two, "relative_pd")
    assert [row["activation"] for row in rows] == ["gelu", "relu"]
    assert [row["rank"] for row in rows] == [1, 2]
    assert [row["excess"] for row in rows] == pytest.approx([0, 1])
    (table,) = report_tables.reproducibility(two)
    assert "+100.00" in table.texts()[1]


def test_ranking_says_whether_the_intervals_are_apart():
    def alike(activation, distance):
        pairs = [make_pair(*pair, distance) for pair in ((1, 2), (1, 3), (2, 3))]
        return measure.measure(make_cell(activation=activation, pairs=pairs))

    wide = measure.measure(worked_cell("swish"))
    unknown = measure.measure(random_cell("charlm", "swiglu", n_trials=2, seed=1))
    rows = report_tables.rank(Findings([alike("relu", 0.1), alike("gelu", 0.11), wide, unknown]), "relative_pd")
    assert {row["activation"]: row["against_lowest"] for row in rows} == {
        "relu": "lowest",
        "gelu": "apart from the lowest's",
        "swish": "overlaps the lowest's",
        "swiglu": "unknown",
    }


def test_speed_and_time(one):
    (row,) = report_tables.speed(one)[0].rows
    assert row["training_time"].mean == 22
    assert row["seconds_per_step"] == pytest.approx(0.22)
    cell, total = report_tables.time(one)[0].rows
    assert cell["training_seconds"] == 66
    assert total["total_seconds"] == 72
    assert total["share"] == 1


def test_csv_gives_back_the_numbers():
    cells = [random_cell(model, activation) for model in ("charlm", "tinylstm") for activation in ("relu", "swish")]
    findings = Findings.of_study(cells, "cpu")
    (table,) = report_tables.results(findings)
    for row, cell in zip(csv_rows(table), findings.measured, strict=True):
        assert (row["model"], row["activation"]) == (cell.model, cell.activation)
        for metric in ("val_loss", "relative_pd", "val_accuracy", "top1_mismatches"):
            estimate = cell.estimate(metric)
            assert [float(row[f"{part}_{metric}"]) for part in PARTS] == [getattr(estimate, part) for part in PARTS]
        assert int(row["n_predictions"]) == 1000


def test_names_of_the_study_stay_names_in_csv():
    (row,) = csv_rows_of(Findings([measure.measure(random_cell("my_model", "smelu_05"))]), "results")
    assert (row["model"], row["activation"]) == ("my_model", "smelu_05")


def test_one_study_is_measured_in_the_order_of_the_registries():
    cells = [
        make_cell("my_model", "relu"),
        make_cell("minigpt", "zeta"),
        make_cell("minigpt", "gelu"),
        make_cell("minigpt", "alpha"),
        make_cell("charlm", "relu", study="other"),
    ]
    measured = measure.measure_study(cells, "cpu")
    names = [(cell.model, cell.activation) for cell in measured]
    assert names == [("minigpt", "gelu"), ("minigpt", "alpha"), ("minigpt", "zeta"), ("my_model", "relu")]
    assert list(measure.by_model(measured)) == ["minigpt", "my_model"]


def test_every_name_of_the_registries_has_a_label_of_its_own():
    names = (*config.MODELS, *config.PARENTS, *config.ACTIVATIONS, *config.MODERN)
    assert all(labels.label(name) != name for name in names)
    assert len({labels.label(name) for name in names}) == len(set(names))
    assert labels.in_order(config.ACTIVATIONS) == [*config.ACTIVATIONS]


def test_sizes_are_named_and_ordered_by_their_numbers():
    names = ["charlm@100M", "mine@x", "charlm@5M", "minigpt", "charlm@0.25M", "charlm"]
    ordered = ["charlm", "charlm@0.25M", "charlm@5M", "charlm@100M", "minigpt", "mine@x"]
    assert labels.in_order(names) == ordered
    assert labels.label("charlm@0.25M") == "CharLM at 0.25 M" and labels.label("mine@x") == "mine@x"


def test_over_training_ends_with_the_cell_s_own_estimate():
    cell = measure.measure(random_cell("charlm", "relu"))
    points = measure.over_training(cell)
    assert [point["step"] for point in points] == [0, 50, 100]
    assert points[-1]["relative_pd"] == cell.estimate("relative_pd")
    assert points[0]["relative_pd"].mean == pytest.approx(0.1)
    assert measure.over_training(cell, "hellinger") == []  # not followed


# ---------------------------------------------------------------- what is missing


@pytest.fixture(scope="module")
def with_diverged() -> Findings:
    lost = make_cell(activation="swish", trials=[make_diverged(1)], planned=1)
    return Findings([measure.measure(cell) for cell in (diverged_cell(), lost)])


@pytest.mark.parametrize("name", report_tables.TABLES)
def test_diverged_trials_are_counted_in_every_table(with_diverged, name):
    text = "\n".join(render(table, "github") for table in report_tables.TABLES[name](with_diverged))
    assert "+ 1 diverged" in text or "+ 2 diverged" in text


def test_diverged_trials_take_part_in_no_mean():
    with_one = measure.measure(diverged_cell())
    without = measure.measure(make_cell(trials=[make_trial(1), make_trial(2)], planned=2))
    assert with_one.mean("val_loss") == without.mean("val_loss")
    assert (with_one.n_trials, with_one.n_diverged) == (2, 1)


def test_missing_trials_are_counted_beside_those_that_are_there():
    findings = Findings([measure.measure(make_cell(trials=[make_trial(1)]))])
    assert "1 of 3" in report_tables.results(findings)[0].texts()[0]


@pytest.mark.parametrize("n_trials", [1, 2])
def test_few_trials_give_no_interval_and_never_nan(n_trials):
    findings = Findings([measure.measure(random_cell("charlm", "relu", n_trials=n_trials))])
    estimate = findings.measured[0].estimate("relative_pd")
    assert estimate.known == (n_trials > 1) and not estimate.has_interval
    texts = [
        render(table, form) for make in report_tables.TABLES.values() for table in make(findings) for form in FORMATS
    ]
    assert not re.search(r"\bnan\b", "\n".join(texts))
    (cell,) = measure.summarize_study(findings.measured)["cells"]
    assert cell["low_relative_pd"] is None
    assert (cell["mean_relative_pd"] is None) == (n_trials == 1)


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_table(with_diverged, form):
    for make_tables in report_tables.TABLES.values():
        for table in make_tables(with_diverged):
            assert table.title in render(table, form)


def test_html_is_escaped():
    assert remark("a < b & c", "html") == "<p>a &lt; b &amp; c</p>"


@pytest.mark.parametrize("form", ["latex", "latex_booktabs", "latex_longtable", "latex_raw"])
def test_latex_is_escaped(form):
    findings = Findings([measure.measure(random_cell("my_model", "smelu_05"))])
    text = "\n".join(render(table, form) for make in report_tables.TABLES.values() for table in make(findings))
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert any(r"my\_model" in line for line in body)
    assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]
    assert "\n".join(body).isascii()


# ---------------------------------------------------------------- studies and the summary


def study_of(name: str, models: int, n_trials: int, iterations: int = 100, **changes) -> list[dict]:
    """A study of so many architectures with two activations each."""
    cells = [
        make_cell(
            model, activation, name, trials=[make_trial(number, **changes) for number in range(1, n_trials + 1)]
        )
        for model in config.MODELS[:models]
        for activation in ("relu", "gelu")
    ]
    for cell in cells:
        cell["config"]["iterations"] = iterations
    return cells


def test_the_study_with_the_strongest_evidence_is_shown():
    broad, deep = study_of("broad", 3, 3), study_of("deep", 2, 8)
    assert measure.strongest_study([*deep, *broad]) == "broad"
    more_trials = study_of("more", 3, 4)
    assert measure.strongest_study([*more_trials, *broad]) == "more"
    longer = study_of("longer", 3, 4, iterations=500)
    assert measure.strongest_study([*longer, *more_trials]) == "longer"
    newer = study_of("a_newer", 3, 4, iterations=500, finished="2030-01-01T00:00:00+00:00")
    assert measure.strongest_study([*newer, *longer]) == "a_newer"


def test_what_cannot_be_compared_is_no_evidence():
    two_trials = study_of("two", 6, 2, iterations=5000)
    one_activation = [cell for cell in study_of("one", 6, 8) if cell["activation"] == "relu"]
    small = study_of("small", 1, 3)
    assert measure.strongest_study([*two_trials, *one_activation, *small]) == "small"
    diverged = [cell | {"trials": [*cell["trials"][:2], make_diverged(3)]} for cell in study_of("bad", 6, 3)]
    assert measure.strongest_study([*diverged, *small]) == "small"
    controls = [varying(("init",), cell) for cell in study_of("init", 6, 8)]
    assert measure.strongest_study([*controls, *two_trials]) == "two"


def test_the_summary_of_a_study_has_plain_numbers(two):
    summary = measure.summarize_study(two.measured)
    assert [row["model"] for row in summary["architectures"]] == ["charlm"]
    (architecture,) = summary["architectures"]
    assert architecture["cv_relative_pd"] == pytest.approx(100 / 3)  # in percent, as the report has it
    assert architecture["n_activations_relative_pd"] == 2
    assert summary["total_time_seconds"] == pytest.approx(2 * 72)
    assert summary["environment"]["torch"] == "2.13.0"
    for plain, cell in zip(summary["cells"], two.measured, strict=True):
        assert all(value is None or isinstance(value, str | int | float) for value in plain.values())
        for part in PARTS:
            assert plain[f"{part}_relative_pd"] == getattr(cell.estimate("relative_pd"), part)
    assert measure.summarize_study(two.measured) == summary


def test_environments_that_differ_are_listed():
    first, second = random_cell("charlm", "relu"), random_cell("charlm", "gelu")
    second["trials"][-1]["environment"]["commit"] = "abd"
    environment = measure.shared_environment([first, second])
    assert environment["commit"] == ["abc", "abd"]
    assert environment["device"] == "cpu"
