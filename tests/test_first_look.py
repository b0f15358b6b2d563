"""What a person sees first: the answer in a screen or two, of the strongest study, the same words everywhere."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from synthetic_cells import random_cell, write_cells

import analyze_results
from analysis import answer
from analysis.findings import Findings
from analysis.measure import strongest_study
from labels import label
from study.files import RESULTS_DIR, ROOT
from study.store import read_cells
from views.drawing import Drawing
from views.figures import drawings, drawn_by

MODELS = ("charlm", "minigpt", "nanotransformer", "tinylstm", "convlm", "hybridlm")
ACTIVATIONS = ("relu", "gelu", "swish", "swiglu", "smelu_05", "smelu_1")


def study_of(name: str, models=("charlm",), n_trials: int = 3, **config) -> list[dict]:
    cells = [random_cell(model, activation, name, n_trials) for model in models for activation in ("relu", "gelu")]
    return [cell | {"config": cell["config"] | config} for cell in cells]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weak and a strong study, and the command's places."""
    results = tmp_path_factory.mktemp("results")
    strong = [random_cell(model, name, "strong", 6) for model in MODELS for name in ACTIVATIONS]
    return write_cells(results, [*strong, *study_of("weak")])


def shown(folder, capsys, *options: str) -> str:
    assert analyze_results.main(["--results-dir", str(folder), "--no-plots", *options]) == 0
    return capsys.readouterr().out


def test_the_default_output_is_short_and_says_what_is_shown_and_how_to_see_more(folder, capsys):
    output = shown(folder, capsys)
    assert output.count("\n") <= 60
    findings = Findings.of_study(read_cells(folder), "strong")
    said = (answer.QUESTION, answer.headline(findings), *answer.other_primary(findings), answer.scope(findings))
    for words in (*said, "--tables all", "--html"):
        assert words in output
    assert "strongest evidence here: strong" in output and "weak (1 architecture" in output
    for name in (*MODELS, *ACTIVATIONS):
        assert label(name) in output


def test_a_study_that_is_asked_for_names_the_strongest_and_what_that_says(folder, capsys):
    output = shown(folder, capsys, "--study", "weak")
    assert output.startswith("Study weak: ")
    strongest = answer.headline(Findings.of_study(read_cells(folder), "strong"))
    size = "6 architectures, 6 trials a cell, 100 steps"
    assert f"The strongest evidence here is study strong ({size}): {strongest}" in output


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (study_of("b", models=("charlm", "minigpt")), study_of("a", n_trials=9)),
        (study_of("b", n_trials=4), study_of("a")),
        (study_of("b", iterations=500), study_of("a", iterations=100)),
        (study_of("b"), study_of("a", n_trials=2)),
        (study_of("b"), study_of("a", n_trials=9, vary=["init"])),
    ],
    ids=["architectures", "trials", "steps", "three trials at least", "controls come last"],
)
def test_the_strongest_study_compares_most(stronger, weaker):
    assert strongest_study([*stronger, *weaker]) == "b" == strongest_study([*weaker, *stronger])


def test_all_tables_are_shown_on_request_under_names_of_one_style(folder, capsys):
    output = shown(folder, capsys, "--study", "weak", "--tables", "all")
    findings = Findings.of_study(read_cells(folder), "weak")
    for make in analyze_results.TABLES.values():
        assert all(table.title in output for table in make(findings))
    assert all(name.replace("_", "").isalpha() and name.islower() for name in analyze_results.TABLES)


def test_an_unknown_table_is_one_line_that_names_all(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        analyze_results.main(["--tables", "resluts"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert all(name in said for name in analyze_results.TABLES)


@pytest.mark.parametrize(
    "options",
    [
        ("--html", "--format", "latex"),
        ("--html", "--figure-format", "pdf"),
        ("--html", "--all-figures"),
        ("--audit", "--all-figures"),
        ("--docs", "--study", "weak"),
    ],
    ids=" ".join,
)
def test_an_option_without_effect_is_refused_in_one_line(options, capsys):
    with pytest.raises(SystemExit) as ended:
        analyze_results.main(list(options))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert f"{options[1]} has no effect with {options[0]}" in said


def test_each_study_is_measured_once(folder, capsys, monkeypatch):
    asked = []
    of_study = Findings.of_study
    monkeypatch.setattr(Findings, "of_study", lambda contents, name: asked.append(name) or of_study(contents, name))
    shown(folder, capsys, "--study", "weak")
    assert sorted(asked) == ["strong", "weak"]


def test_figures_depend_on_what_draws_and_computes_them_and_not_on_words():
    drawn = {str(path.relative_to(ROOT)) for path in drawn_by(ROOT)}
    assert {"views/figures.py", "views/save.py", "analysis/stats.py", "plot_utils.py", "labels.py"} <= drawn
    assert not drawn & {"analysis/answer.py", "analysis/finding_tables.py", "views/page.py", "views/docs.py"}


def test_the_size_of_an_effect_is_said_in_characters_and_names_the_activations():
    findings = Findings.of_study(read_cells(RESULTS_DIR), "reference")
    charlm = next(each for each in answer.architecture_answers(findings) if each.model == "charlm")
    for metric, form, scale in (("top1_mismatches", "{:.0f} ({})", 0.1), ("relative_pd", "{:.3f} ({})", 1)):
        means = {cell.activation: cell.mean(metric) for cell in findings.models["charlm"]}
        for name in (min(means, key=means.get), max(means, key=means.get)):
            assert form.format(scale * means[name], label(name)) in charlm.in_words()


@pytest.fixture
def few_drawings(monkeypatch):
    """The command draws one figure of each level only, and an empty one; which there are is tested elsewhere."""

    def one_of_each(findings: Findings, named: bool) -> list[Drawing]:
        last = {drawing.level: drawing for drawing in drawings(findings, named)}
        return [replace(drawing, draw=lambda: Figure((1, 1))) for drawing in last.values()]

    monkeypatch.setattr(analyze_results, "drawings", one_of_each)


def test_figures_that_are_up_to_date_are_not_drawn_again(tmp_path, capsys, few_drawings):
    results, plots = write_cells(tmp_path / "results", study_of("weak")), tmp_path / "plots"
    places = ["--results-dir", str(results), "--plots-dir", str(plots)]
    assert analyze_results.main(places) == 0
    drawn = {path: path.stat().st_mtime_ns for path in plots.iterdir()}
    assert f"Figures: {len(drawn)} drawn, 0 up to date" in capsys.readouterr().out
    assert analyze_results.main(places) == 0
    assert f"Figures: 0 drawn, {len(drawn)} up to date" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in plots.iterdir()} == drawn
    next(iter(drawn)).write_bytes(b"not a figure")
    assert analyze_results.main(places) == 0
    assert f"Figures: 1 drawn, {len(drawn) - 1} up to date" in capsys.readouterr().out


def test_a_published_study_comes_without_the_figures_of_its_cells(tmp_path, few_drawings):
    results = write_cells(tmp_path / "results", study_of("weak"))
    (results / "published.txt").write_text("# committed\nweak\n")
    places = ["--results-dir", str(results), "--plots-dir", str(tmp_path / "plots")]
    assert analyze_results.main(places) == 0
    without = list((tmp_path / "plots").iterdir())
    assert len(without) == 2 and not any("charlm_gelu_weak" in path.name for path in without)
    assert analyze_results.main([*places, "--all-figures"]) == 0
    (of_a_cell,) = set((tmp_path / "plots").iterdir()) - set(without)
    assert of_a_cell.name.startswith("charlm_gelu_weak_")


@pytest.mark.parametrize("form", ["pdf", "svg"])
def test_figures_are_drawn_for_papers(form, tmp_path, few_drawings):
    results = write_cells(tmp_path / "results", study_of("weak"))
    plots = tmp_path / "plots"
    options = ["--results-dir", str(results), "--plots-dir", str(plots), "--figure-format", form]
    assert analyze_results.main(options) == 0
    assert {path.suffix for path in plots.iterdir()} == {f".{form}"}
