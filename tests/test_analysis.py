"""Tables, summary and the command, on cells made up by hand."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, write_cells

import analyze_results
import config
import labels
from analysis import measure, report_tables
from study import files
from views.render import FORMATS, remark, render

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


def run(folder: Path, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, *options])


def csv_tables(text: str) -> list[list[dict]]:
    """The rows of each table of a CSV output."""
    blocks = [[line for line in block.splitlines() if not line.startswith("#")] for block in text.split("\n\n")]
    return [list(csv.DictReader(block)) for block in blocks if block]


def rows_of(capsys, folder: Path, cells: list[dict], name: str) -> list[dict]:
    """The rows of one kind of table, as the command prints them."""
    write_cells(folder / "results", cells)
    assert run(folder, "--no-plots", "--format", "csv", "--tables", name) == 0
    return [row for table in csv_tables(capsys.readouterr().out) for row in table]


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("name", ["results", "overview", "architectures", "reproducibility", "accuracy", "variance"])
def test_numbers_of_a_hand_worked_cell(tmp_path, capsys, name):
    (row,) = rows_of(capsys, tmp_path, [worked_cell()], name)
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


def test_interval_of_pd_is_the_jackknife_over_trials(tmp_path, capsys):
    (row,) = rows_of(capsys, tmp_path, [worked_cell()], "results")
    # q = 0.25, 0.3, 0.35; Var = 4 * 2 / (3 * 1) * 0.005; t(2) = 4.302653
    margin = 4.302653 * math.sqrt(8 / 3 * 0.005)
    assert float(row["high_relative_pd"]) - 0.3 == pytest.approx(margin, rel=1e-6)
    assert margin > 0.3 and float(row["low_relative_pd"]) == 0  # cut off: no distance is negative


def test_trial_details_end_with_their_mean(tmp_path, capsys):
    rows = rows_of(capsys, tmp_path, [worked_cell()], "trials")
    assert [row["trial"] for row in rows] == ["1", "2", "3", "mean"]
    assert [float(row["val_loss"]) for row in rows] == pytest.approx([*LOSSES, 2.63])


def test_cv_over_activations(tmp_path, capsys):
    cells = [worked_cell("relu"), worked_cell("gelu", scale=0.5)]
    (row,) = rows_of(capsys, tmp_path, cells, "cross-model")
    assert float(row["mean_relative_pd"]) == pytest.approx(0.225)
    assert float(row["std_relative_pd"]) == pytest.approx(0.075)
    assert float(row["cv_relative_pd"]) == pytest.approx(100 / 3)
    assert float(row["cv_val_loss"]) == pytest.approx(0)
    assert int(row["n_trials"]) == 6


def test_the_statistics_stand_below_each_architecture(tmp_path, capsys):
    write_cells(tmp_path / "results", [worked_cell("relu"), worked_cell("gelu", scale=0.5)])
    run(tmp_path, "--no-plots", "--tables", "architectures")
    assert "mean 0.2250, std 0.0750, CV 33.33 %" in capsys.readouterr().out


def test_ranking_counts_from_the_lowest(tmp_path, capsys):
    cells = [worked_cell("relu"), worked_cell("gelu", scale=0.5)]
    rows = rows_of(capsys, tmp_path, cells, "reproducibility")
    assert [row["activation"] for row in rows] == ["gelu", "relu"]
    assert [float(row["excess"]) for row in rows] == pytest.approx([0, 100])


def test_ranking_says_whether_the_intervals_are_apart():
    def alike(activation, distance):
        pairs = [make_pair(*pair, distance) for pair in ((1, 2), (1, 3), (2, 3))]
        return measure.measure(make_cell(activation=activation, pairs=pairs))

    wide = measure.measure(worked_cell("swish"))
    unknown = measure.measure(random_cell("charlm", "swiglu", n_trials=2, seed=1))
    rows = report_tables.rank([alike("relu", 0.1), alike("gelu", 0.11), wide, unknown], "relative_pd")
    assert {row["activation"]: row["against_lowest"] for row in rows} == {
        "relu": "lowest",
        "gelu": "apart from the lowest's",
        "swish": "overlaps the lowest's",
        "swiglu": "unknown",
    }


def test_speed_and_time(tmp_path, capsys):
    (row,) = rows_of(capsys, tmp_path, [worked_cell()], "speed")
    assert float(row["mean_training_time"]) == 22
    assert float(row["seconds_per_step"]) == pytest.approx(0.22)
    cell, total = rows_of(capsys, tmp_path, [worked_cell()], "time")
    assert float(cell["total_training_time"]) == 66
    assert float(total["total_time"]) == 72
    assert float(total["share"]) == 100


def test_csv_gives_back_the_numbers(tmp_path, capsys):
    cells = [random_cell(model, activation) for model in ("charlm", "tinylstm") for activation in ("relu", "swish")]
    rows = rows_of(capsys, tmp_path, cells, "results")
    for row, cell in zip(rows, measure.measure_study(cells, "cpu"), strict=True):
        assert row["model"] == cell["model"]
        numbers = row.keys() - {"model", "activation"}
        assert {field: float(row[field]) for field in numbers} == {field: cell[field] for field in numbers}


def test_one_study_is_measured_in_the_order_of_the_registries():
    cells = [
        make_cell("my_model", "relu"),
        make_cell("minigpt", "zeta"),
        make_cell("minigpt", "gelu"),
        make_cell("minigpt", "alpha"),
        make_cell("charlm", "relu", study="other"),
    ]
    measured = measure.measure_study(cells, "cpu")
    names = [(cell["model"], cell["activation"]) for cell in measured]
    assert names == [("minigpt", "gelu"), ("minigpt", "alpha"), ("minigpt", "zeta"), ("my_model", "relu")]


def test_every_name_of_the_registries_has_a_label_of_its_own():
    names = config.MODELS + config.ACTIVATIONS + config.MODERN
    assert all(labels.label(name) != name for name in names)
    assert len({labels.label(name) for name in names}) == len(set(names))
    assert labels.in_order(config.ACTIVATIONS) == [*config.ACTIVATIONS]


# ---------------------------------------------------------------- what is missing


def diverged_cell(activation="gelu") -> dict:
    return make_cell(activation=activation, trials=[make_trial(1), make_trial(2), make_diverged(3)])


@pytest.mark.parametrize("name", report_tables.TABLES)
def test_diverged_trials_are_counted_in_every_table(name):
    lost = make_cell(activation="swish", trials=[make_diverged(1)], planned=1)
    measured = [measure.measure(cell) for cell in (diverged_cell(), lost)]
    text = "\n".join(render(table, "github") for table in report_tables.TABLES[name](measured))
    assert "+ 1 diverged" in text or "+ 2 diverged" in text


def test_diverged_trials_take_part_in_no_mean():
    with_diverged = measure.measure(diverged_cell())
    without = measure.measure(make_cell(trials=[make_trial(1), make_trial(2)], planned=2))
    assert with_diverged["mean_val_loss"] == without["mean_val_loss"]
    assert with_diverged["n_diverged"] == 1


def test_an_unfinished_study_is_shown_and_what_is_missing_is_told(tmp_path, capsys):
    cells = [
        random_cell("charlm", "relu"),
        make_cell("charlm", "gelu", trials=[make_trial(1)]),
        make_cell("minigpt", "gelu", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
    ]
    write_cells(tmp_path / "results", cells)
    assert run(tmp_path, "--no-plots") == 0
    said = capsys.readouterr().out
    assert "3 of 4 cells of 2 architectures x 2 activations" in said
    assert "Missing cells: minigpt relu\n" in said
    assert "Missing trials: charlm gelu 2 of 3\n" in said
    assert "Diverged trials: minigpt gelu 1\n" in said
    assert "Nothing yet of: nanotransformer, tinylstm" in said
    assert "1 of 3 |" in said


def test_a_complete_study_misses_nothing(tmp_path, capsys):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    run(tmp_path, "--no-plots", "--tables", "results")
    said = capsys.readouterr().out
    assert "Missing" not in said
    assert "Diverged" not in said
    assert "comparable" not in said


def test_cells_of_different_settings_are_told(tmp_path, capsys):
    longer = random_cell("charlm", "gelu")
    longer["config"]["iterations"] = 200
    write_cells(tmp_path / "results", [random_cell("charlm", "relu"), longer])
    run(tmp_path, "--no-plots", "--tables", "results")
    assert "Not comparable, because cells differ in: iterations (100 or 200)" in capsys.readouterr().out


@pytest.mark.parametrize("n_trials", [1, 2])
def test_few_trials_give_no_interval_and_never_nan(tmp_path, capsys, n_trials):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu", n_trials=n_trials)])
    assert run(tmp_path, "--no-plots") == 0
    assert not re.search(r"\bnan\b", capsys.readouterr().out)
    text = (tmp_path / "results" / files.SUMMARY_NAME).read_text()
    cell = json.loads(text, parse_constant=pytest.fail)["studies"]["cpu"]["cells"][0]
    assert cell["low_relative_pd"] is None
    assert (cell["mean_relative_pd"] is None) == (n_trials == 1)


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_table(form):
    measured = [measure.measure(cell) for cell in (random_cell("charlm", "smelu_05"), diverged_cell())]
    for make_tables in report_tables.TABLES.values():
        for table in make_tables(measured):
            assert table.title in render(table, form)


def test_html_is_escaped():
    assert remark("a < b & c", "html") == "<p>a &lt; b &amp; c</p>"


@pytest.mark.parametrize("form", ["latex", "latex_booktabs", "latex_longtable", "latex_raw"])
def test_latex_is_escaped(form):
    measured = [measure.measure(random_cell("my_model", "smelu_05"))]
    text = "\n".join(render(table, form) for make in report_tables.TABLES.values() for table in make(measured))
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert any(r"my\_model" in line for line in body)
    assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)]
    assert "\n".join(body).isascii()


def test_names_of_the_study_stay_names_in_csv(tmp_path, capsys):
    (row,) = rows_of(capsys, tmp_path, [random_cell("my_model", "smelu_05")], "results")
    assert (row["model"], row["activation"]) == ("my_model", "smelu_05")


# ---------------------------------------------------------------- studies and the summary


def two_studies() -> list[dict]:
    later = [make_trial(number, finished=f"2026-05-05T00:00:0{number}+00:00") for number in (1, 2)]
    return [random_cell("charlm", "relu", "aaa"), make_cell(study="later", trials=later, planned=2)]


def test_the_study_run_last_is_shown_and_named(tmp_path, capsys):
    write_cells(tmp_path / "results", two_studies())
    run(tmp_path, "--no-plots", "--tables", "results")
    first, *rest = capsys.readouterr().out.splitlines()
    assert "later" in first
    assert "--study: aaa" in first
    assert not any("ReLU" in line for line in rest)


def test_the_default_study_is_shown_also_when_others_are_newer(tmp_path, capsys):
    write_cells(tmp_path / "results", [*two_studies(), random_cell("charlm", "relu", "cpu")])
    run(tmp_path, "--no-plots", "--tables", "results")
    assert capsys.readouterr().out.startswith("Showing study cpu; choose another with --study: aaa, later")


def test_the_study_asked_for_is_shown(tmp_path, capsys):
    write_cells(tmp_path / "results", two_studies())
    assert run(tmp_path, "--no-plots", "--study", "aaa", "--tables", "results") == 0
    said = capsys.readouterr().out
    assert said.startswith("Study aaa:")
    assert "ReLU" in said


def test_the_summary_has_every_study(tmp_path):
    write_cells(tmp_path / "results", two_studies())
    run(tmp_path, "--no-plots", "--study", "aaa")
    studies = json.loads((tmp_path / "results" / files.SUMMARY_NAME).read_text())["studies"]
    assert set(studies) == {"aaa", "later"}
    assert studies["later"]["total_time_seconds"] == pytest.approx(21 + 22 + 2 * 2)
    assert studies["aaa"]["environment"]["torch"] == "2.13.0"
    assert [row["model"] for row in studies["aaa"]["architectures"]] == ["charlm"]


def test_environments_that_differ_are_listed():
    first, second = random_cell("charlm", "relu"), random_cell("charlm", "gelu")
    second["trials"][-1]["environment"]["commit"] = "abd"
    environment = measure.shared_environment([first, second])
    assert environment["commit"] == ["abc", "abd"]
    assert environment["device"] == "cpu"


def test_the_same_results_give_the_same_bytes(tmp_path, capsys):
    write_cells(tmp_path / "results", [diverged_cell()])

    def everything() -> dict:
        run(tmp_path, "--study", "cpu")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {"said": capsys.readouterr().out} | {str(path): path.read_bytes() for path in files}

    assert everything() == everything()


# ---------------------------------------------------------------- mistakes


def truncate_a_cell(results: Path) -> None:
    path = next(results.glob("*.json"))
    path.write_bytes(path.read_bytes()[:200])


MISTAKES = {
    "unknown study": (["--study", "nope"], "choose --study from cpu"),
    "unknown format": (["--format", "nope"], "invalid choice: 'nope'"),
    "unknown table": (["--tables", "results,nope"], "unknown table 'nope'; choose from results"),
    "unknown option": (["--nope"], "unrecognized arguments: --nope"),
    "missing folder": (["--results-dir", "/nonexistent/results"], "run ./run_background.sh"),
    "plots folder is a file": (["--plots-dir", __file__], "cannot write to"),
}


@pytest.mark.parametrize("options, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, options, message):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    expect_mistake(tmp_path, capsys, options, message)


def test_figures_are_named_by_what_they_show_and_those_of_earlier_cells_are_left_out(tmp_path):
    told, silent = random_cell("charlm", "relu", "mine"), random_cell("convlm", "relu", "mine")
    for entry in (*silent["trials"], *silent["pairs"]):
        for name in {"breakdown", "passage"} & entry.keys():
            del entry[name]
    write_cells(tmp_path / "results", [told, silent])
    assert run(tmp_path) == 0
    kinds = ("training_curves", "reproducibility", "summary")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        *(f"{model}_relu_mine_{kind}.png" for model in ("charlm", "convlm") for kind in kinds),
        *(f"{model}_shamir_comparison_mine.png" for model in ("charlm", "convlm")),
        "charlm_where_disagreement_lives_mine.png",
        "charlm_letter_by_letter_mine.png",
        *(f"shamir_{kind}_mine.png" for kind in ("cross_model_analysis", "pd_over_training", "loss_pd_plane")),
    }


def test_a_damaged_cell_is_one_line_and_stays_as_it_is(tmp_path, capsys):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    truncate_a_cell(results)
    before = next(results.iterdir()).read_bytes()
    expect_mistake(tmp_path, capsys, [], "charlm_relu_cpu.json is damaged")
    assert [path.read_bytes() for path in results.iterdir()] == [before]


FAULTS = {
    "no n_parameters": lambda cell: cell.pop("n_parameters"),
    "no planned_trials": lambda cell: cell.pop("planned_trials"),
    "config without iterations and vary": lambda cell: cell["config"].pop("iterations"),
    "no evaluation_time, no seed": lambda cell: [cell["trials"][0].pop(key) for key in ("seed", "evaluation_time")],
    "no true_label_pd": lambda cell: cell["pairs"][2].pop("true_label_pd"),
    "val_loss is no number": lambda cell: cell["trials"][0].update(val_loss="2.6"),
    "relative_pd is no number": lambda cell: cell["pairs"][0].update(relative_pd=[0.2]),
    "pairs is no list of objects": lambda cell: cell.update(pairs=[1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cell_that_lacks_something_is_one_line(tmp_path, capsys, fault):
    cell = random_cell("charlm", "relu")
    FAULTS[fault](cell)
    write_cells(tmp_path / "results", [cell])
    expect_mistake(tmp_path, capsys, [], f"charlm_relu_cpu.json is no cell file ({fault}); restore it or remove it")


def test_a_number_that_was_altered_is_one_line(tmp_path, capsys):
    path = tmp_path / "results" / "charlm_relu_cpu.json"
    files.write_checked(path, random_cell("charlm", "relu"))
    assert run(tmp_path, "--no-plots", "--tables", "results") == 0
    text = path.read_text()
    path.write_text(text.replace('"top1_mismatches": ', '"top1_mismatches": 1', 1))
    expect_mistake(tmp_path, capsys, [], "charlm_relu_cpu.json does not match its checksum; restore it or remove it")


def test_trials_of_machines_that_may_round_otherwise_are_named(tmp_path, capsys):
    here, there = random_cell("charlm", "relu"), random_cell("charlm", "gelu")
    for cell, capability in ((here, "AVX2"), (there, "AVX512")):
        for trial in cell["trials"]:
            trial["environment"]["cpu_capability"] = capability
    write_cells(tmp_path / "results", [here, there])
    assert run(tmp_path, "--no-plots", "--tables", "results") == 0
    line = "Comparable but for rounding, because trials differ in: cpu_capability (AVX2 or AVX512)\n"
    assert line in capsys.readouterr().out


def test_an_empty_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    expect_mistake(tmp_path, capsys, [], "no results in")


def expect_mistake(folder: Path, capsys, options: list[str], message: str) -> None:
    try:
        code = run(folder, *options)
    except SystemExit as stopped:
        code = stopped.code
    complaint = capsys.readouterr().err
    assert code == 2
    assert message in complaint
    assert complaint.count("\n") == 1


def test_analysis_needs_neither_torch_nor_pyplot():
    program = "import analyze_results, sys; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=files.ROOT, check=True)
