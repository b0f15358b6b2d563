"""The command: which study it shows, what it prints and writes, and how it answers mistakes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from audited_report import REPORT
from synthetic_cells import awkward_cells, make_cell, make_diverged, make_pair, make_trial, random_cell, write_cells

import analyze_results
from analysis import account
from analysis.findings import Findings
from analysis.tables import TABLES
from study import files
from study.store import fingerprint
from views import many
from views.figures import drawings


def run(folder: Path, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, *options])


# ---------------------------------------------------------------- what is missing


def diverged_cell(activation="gelu") -> dict:
    return make_cell(activation=activation, trials=[make_trial(1), make_trial(2), make_diverged(3)])


def test_an_unfinished_study_is_shown_and_what_is_missing_is_said(tmp_path, capsys):
    cells = [
        random_cell("charlm", "relu"),
        make_cell("charlm", "gelu", trials=[make_trial(1)]),
        make_cell("minigpt", "gelu", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
    ]
    write_cells(tmp_path / "results", cells)
    assert run(tmp_path, "--no-plots", "--tables", "results") == 0
    said = capsys.readouterr().out
    assert "3 of 4 cells of 2 architectures x 2 activations" in said
    assert "Missing cells: minigpt relu\n" in said
    assert "Missing trials: charlm gelu 2 of 3\n" in said
    assert "Diverged trials: minigpt gelu 1\n" in said
    assert "Nothing yet of: nanotransformer, tinylstm" in said
    assert "1 of 3 |" in said


def test_tables_are_separated_by_spaces_or_commas_and_come_in_the_order_asked_for(tmp_path, capsys):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    said = []
    for asked in (["trials", "results"], ["trials,results"]):
        assert run(tmp_path, "--no-plots", "--tables", *asked) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    titles = [line for line in said[0].splitlines() if line.startswith("### ")]
    assert len(titles) == 2 and titles[1] == "### Results"


def test_a_complete_study_misses_nothing(tmp_path, capsys):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    run(tmp_path, "--no-plots", "--tables", "results")
    said = capsys.readouterr().out
    assert "Missing" not in said
    assert "Diverged" not in said
    assert "comparable" not in said


def test_cells_of_different_settings_are_named(tmp_path, capsys):
    longer = random_cell("charlm", "gelu")
    longer["config"] |= {"iterations": 200, "eval_interval": 200}
    for item in longer["trials"] + longer["pairs"]:
        item["history"]["step"] = [0, 100, 200]
    write_cells(tmp_path / "results", [random_cell("charlm", "relu"), longer])
    run(tmp_path, "--no-plots", "--tables", "results")
    assert (
        "Not comparable, because cells differ in: eval_interval (200 or 50), iterations (100 or 200)"
        in capsys.readouterr().out
    )


def test_own_models_beside_others_are_comparable_unless_edited_between_their_cells():
    def said(**sources: str) -> str:
        cells = [random_cell(model, act) for model in ("charlm", "GRULM") for act in ("gelu", "Snake")]
        for cell in cells:
            if cell["model"] == "GRULM":
                cell["config"]["model_source"] = sources.get(cell["activation"], "aa")
            if cell["activation"] == "Snake":
                cell["config"]["activation_source"] = "bb"
        return "\n".join(account.account(Findings.of_study(cells, "cpu").measured))

    assert "comparable" not in said()
    assert said(gelu="cc").endswith("Not comparable, because cells differ in: source of GRULM (aa or cc)")


@pytest.mark.parametrize("n_trials", [1, 2])
def test_few_trials_give_no_interval_and_never_nan(tmp_path, capsys, n_trials):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu", n_trials=n_trials)])
    assert run(tmp_path, "--no-plots") == 0
    assert not re.search(r"\bnan\b", capsys.readouterr().out)
    text = (tmp_path / "results" / files.SUMMARY_NAME).read_text()
    cell = json.loads(text, parse_constant=pytest.fail)["studies"]["cpu"]["cells"][0]
    assert cell["low_relative_pd"] is None
    assert (cell["mean_relative_pd"] is None) == (n_trials == 1)


def test_trials_of_machines_that_may_round_otherwise_are_named(tmp_path, capsys):
    here, there = random_cell("charlm", "relu"), random_cell("charlm", "gelu")
    for cell, capability in ((here, "AVX2"), (there, "AVX512")):
        for trial in cell["trials"]:
            trial["environment"]["cpu_capability"] = capability
    write_cells(tmp_path / "results", [here, there])
    assert run(tmp_path, "--no-plots", "--tables", "results") == 0
    line = "Comparable but for rounding, because trials differ in: cpu_capability (AVX2 or AVX512)\n"
    assert line in capsys.readouterr().out


# ---------------------------------------------------------------- studies and the summary


def two_studies() -> list[dict]:
    later = [make_trial(number, finished=f"2026-05-05T00:00:0{number}+00:00") for number in (1, 2)]
    return [random_cell("charlm", "relu", "aaa"), make_cell(study="later", trials=later, planned=2)]


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


def test_the_same_results_give_the_same_bytes(tmp_path, capsys, monkeypatch):
    write_cells(tmp_path / "results", [diverged_cell()])
    monkeypatch.setattr(analyze_results, "drawings", lambda *asked: drawings(*asked)[:2])  # each is tested by itself

    def everything() -> dict:
        shutil.rmtree(tmp_path / "plots", ignore_errors=True)
        run(tmp_path, "--study", "cpu")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {"said": capsys.readouterr().out} | {str(path): path.read_bytes() for path in files}

    assert everything() == everything()


def test_figures_are_named_by_what_they_show_and_those_of_earlier_cells_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(many, "figure_bytes", lambda *_: b"")  # how they are saved is tested elsewhere
    whole, earlier = random_cell("charlm", "relu", "mine"), random_cell("convlm", "relu", "mine")
    for entry in (*earlier["trials"], *earlier["pairs"]):
        for name in {"breakdown", "passage"} & entry.keys():
            del entry[name]
    write_cells(tmp_path / "results", [whole, earlier])
    assert run(tmp_path) == 0
    kinds = ("training_curves", "reproducibility", "summary")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        *(f"{model}_relu_mine_{kind}.png" for model in ("charlm", "convlm") for kind in kinds),
        *(f"{model}_{kind}_mine.png" for model in ("charlm", "convlm") for kind in ("shamir_comparison", "metrics")),
        "charlm_where_disagreement_lives_mine.png",
        "charlm_letter_by_letter_mine.png",
        *(f"shamir_{kind}_mine.png" for kind in ("cross_model_analysis", "pd_over_training", "loss_pd_plane")),
    }


# ---------------------------------------------------------------- mistakes


def truncate_a_cell(results: Path) -> None:
    path = next(results.glob("*.json"))
    path.write_bytes(path.read_bytes()[:200])


MISTAKES = {
    "unknown study": (["--study", "nope"], "choose --study from cpu"),
    "unknown format": (["--format", "nope"], "invalid choice: 'nope'"),
    "unknown table": (["--tables", "results", "nope"], "unknown table 'nope'; choose from all, results"),
    "unknown beside all": (["--tables", "all", "nope"], "unknown table 'nope'; choose from all, results"),
    "empty table": (["--tables", "results,"], "unknown table ''; choose from all, results"),
    "unknown option": (["--nope"], "unrecognized arguments: --nope"),
    "figures of the audit": (["--audit", "--all-figures"], "--all-figures has no effect with --audit; leave it out"),
    "plots of the audit": (["--audit", "--no-plots"], "--no-plots has no effect with --audit; leave it out"),
    "format of the page": (["--html", "--format", "csv"], "--format has no effect with --html; leave it out"),
    "missing folder": (["--results-dir", "/nonexistent/results"], "run ./run_background.sh"),
    "plots folder is a file": (["--plots-dir", __file__], "cannot write to"),
}


@pytest.mark.parametrize("options, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, options, message):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    expect_mistake(tmp_path, capsys, options, message)


def test_a_damaged_cell_is_one_line_and_stays_as_it_is(tmp_path, capsys):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    truncate_a_cell(results)
    before = next(results.iterdir()).read_bytes()
    expect_mistake(tmp_path, capsys, [], "charlm_relu_cpu.json is damaged")
    assert [path.read_bytes() for path in results.iterdir()] == [before]


def test_a_number_that_was_altered_is_one_line(tmp_path, capsys):
    path = tmp_path / "results" / "charlm_relu_cpu.json"
    cell = random_cell("charlm", "relu")
    files.write_checked(path, cell | {"fingerprint": fingerprint(cell["config"])})
    assert run(tmp_path, "--no-plots", "--tables", "results") == 0
    text = path.read_text()
    path.write_text(text.replace('"top1_mismatches": ', '"top1_mismatches": 1', 1))
    expect_mistake(tmp_path, capsys, [], "charlm_relu_cpu.json does not match its checksum; restore it or remove it")


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


# ---------------------------------------------------------------- all tables


def test_they_follow_the_report_s_tables_and_are_the_same_every_time(tmp_path, capsys):
    write_cells(tmp_path / "results", awkward_cells())
    options = ["--results-dir", str(tmp_path / "results"), "--no-plots", "--tables", "all"]

    def said() -> str:
        assert analyze_results.main(options) == 0
        return capsys.readouterr().out

    text = said()
    findings = Findings.of_study(awkward_cells(), "cpu")
    made = [make(findings) for make in TABLES.values()]
    places = [text.index(tables[0].title) for tables in made if tables]
    assert places == sorted(places)
    assert "Study cpu has nothing for table registered." in text
    assert said() == text


# ---------------------------------------------------------------- the audit


def study_cells() -> list[dict]:
    """CharLM with three activations: PD .2 on shared contexts, more on different ones."""
    different = {"relative_pd": 0.7, "top1_mismatches": 830, "global_pd": 0.5}
    pairs = [make_pair(a, b, 0.2, 140, different_contexts=different) for a, b in ((1, 2), (1, 3), (2, 3))]
    trials = [make_trial(number, 2.62 + number / 100) for number in (1, 2, 3)]
    return [make_cell(activation=name, trials=trials, pairs=pairs) for name in ("relu", "gelu", "swish")]


def run_audit(folder, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, "--audit", *options])


def test_the_audit_prints_and_writes_nothing(tmp_path, capsys):
    results = write_cells(tmp_path / "results", study_cells())
    before = {path: path.read_bytes() for path in results.iterdir()}
    assert run_audit(tmp_path) == 0
    said = capsys.readouterr().out
    assert all(f"### {section['section']} {section['title']}" in said for section in REPORT["sections"])
    assert "the most architectures (cpu, 100 steps, 430,000 to 430,000 parameters)" in said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert run_audit(tmp_path) == 0
    assert capsys.readouterr().out == said


def test_figures_of_results_in_another_folder_lie_there_and_the_hint_names_it(tmp_path, capsys):
    results = write_cells(tmp_path / "my results", study_cells())
    assert analyze_results.main(["--results-dir", str(results)]) == 0
    said = capsys.readouterr().out
    assert f"in {results / 'plots'}\n" in said and list((results / "plots").glob("*.png"))
    assert f"python analyze_results.py --results-dir '{results}' --tables all" in said


def test_without_results_the_report_is_still_held_against_itself(tmp_path, capsys):
    assert run_audit(tmp_path) == 0
    said = capsys.readouterr().out
    assert "Ours: not measured yet." in said
    assert "not possible" in said
    assert not re.search(r"\b(nan|None)\b", said)


def test_a_study_that_is_not_there_is_one_line(tmp_path, capsys):
    assert run_audit(tmp_path, "--study", "nope") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_audit_replaces_the_tables(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_audit(tmp_path, "--tables", "results")
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
