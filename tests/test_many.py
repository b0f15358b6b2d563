"""Many figures at once: which are up to date, and drawing on several processes."""

import base64
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from patience import living_processes, wait_until
from synthetic_cells import random_cell, write_cells

import analyze_results
from analysis.findings import Findings
from study.files import ROOT
from views import many
from views.drawing import Drawing, Level
from views.figures import drawings, is_published
from views.many import basis_of, drawn


def with_a_number(number: int) -> Figure:
    figure = Figure((1, 1))
    figure.text(0.5, 0.5, str(number))
    return figure


def findings_of(cells: list[dict]) -> Findings:
    return Findings.of_study(cells, "cpu")


def test_several_processes_draw_what_one_does_in_order():
    numbered = [
        (Drawing(f"{i}", "", Level.STUDY, None, "", lambda i=i: with_a_number(i)), "png", {"Code": f"{i}"})
        for i in range(2 * many.FEWEST)
    ]
    one, two = (list(drawn(numbered, n_cores)) for n_cores in (1, 2))
    assert one == two and len(set(one)) == len(numbered)


def test_a_figure_that_cannot_be_drawn_is_an_error_on_several_processes_too():
    def fail() -> Figure:
        raise ZeroDivisionError

    jobs = [(Drawing("a", "", Level.STUDY, None, "", fail), "png", {})] * (2 * many.FEWEST)
    for n_cores in (1, 2):
        with pytest.raises(ZeroDivisionError):
            list(drawn(jobs, n_cores))


# The first figure of several is never finished: one process draws that, and the other soon has nothing more to draw.
DRAW_FOR_EVER = """
import signal, sys, time
from pathlib import Path
from study import cli
from views import many

folder = Path(sys.argv[1])
n_jobs = 2 * many.FEWEST

def draw(job):
    (folder / str(job)).touch()
    while job == 0 and not (folder / "enough").exists():
        time.sleep(0.01)
    return b""

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test in the background has not
many._bytes_of = draw
cli.leave(cli.outcome("analysis", lambda: len(list(many.drawn(range(n_jobs), 2)))))
"""


def test_ctrl_c_while_figures_are_drawn_is_one_line(tmp_path):
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", DRAW_FOR_EVER, str(tmp_path)], cwd=ROOT, stderr=said, start_new_session=True
        )
    try:
        group = lambda: living_processes(session=process.pid)  # noqa: E731
        assert wait_until(lambda: all((tmp_path / str(i)).exists() for i in range(2 * many.FEWEST)), group)
        assert len(group()) == 3
        time.sleep(0.2)  # by now one process waits for a figure to draw
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        time.sleep(0.2)
        (tmp_path / "enough").touch()  # a figure that is being drawn is finished first
        assert wait_until(lambda: process.poll() is not None, group)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "said").read_text() == "analysis: stopped; the same command can be given again\n"
    assert process.returncode == 128 + signal.SIGINT


def test_what_is_drawn_can_be_sent_to_a_process():
    """As it is where processes are not forked."""
    whole = drawings(findings_of([random_cell("charlm", "relu"), random_cell("charlm", "gelu")]), named=True)
    sent = pickle.loads(pickle.dumps(whole))
    assert [drawing.name for drawing in sent] == [drawing.name for drawing in whole]


def test_a_cell_s_figure_is_drawn_anew_only_if_something_of_that_cell_changed():
    cells = [random_cell("charlm", "relu"), random_cell("charlm", "gelu")]
    changed = [with_first(cells[0], "trials", predictions_sha256="f" * 64), cells[1]]
    same, of_gelu = unchanged(cells, changed)
    assert same == of_gelu != set()


@pytest.mark.parametrize(
    ("part", "changes"), [("pairs", {"barrier": 1.5}), ("trials", {"curvature": 7.0}), ("trials", {"val_loss": 2.0})]
)
def test_a_figure_of_other_measurements_is_drawn_anew(part, changes):
    """Though the predictions are the same."""
    cells = [random_cell("charlm", "relu"), random_cell("charlm", "gelu")]
    same, of_gelu = unchanged(cells, [with_first(cells[0], part, **changes), cells[1]])
    assert same == of_gelu != set()


def with_first(cell: dict, part: str, **changes) -> dict:
    first, *others = cell[part]
    return cell | {part: [first | changes, *others]}


def unchanged(cells: list[dict], changed: list[dict]) -> tuple[set[str], set[str]]:
    """Which figures are still up to date with changed cells, and which are of GELU's cell alone."""
    before, after = (
        {drawing.name: basis_of(drawing, findings) for drawing in drawings(findings, named=False)}
        for findings in map(findings_of, (cells, changed))
    )
    of_gelu = {name for name in before if name.startswith("charlm_gelu_cpu_")}
    return {name for name in before if before[name] == after[name]}, of_gelu


def test_the_page_takes_the_figures_that_are_up_to_date(tmp_path, monkeypatch):
    few = lambda *asked: [replace(drawing, draw=lambda: with_a_number(1)) for drawing in drawings(*asked)[:2]]  # noqa: E731
    monkeypatch.setattr(analyze_results, "drawings", few)
    asked = []
    monkeypatch.setattr(analyze_results, "drawn", lambda jobs, n: asked.append(len(jobs)) or drawn(jobs, n))
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu"), random_cell("charlm", "gelu")])
    options = ["--results-dir", str(results), "--plots-dir", str(tmp_path / "plots")]
    pages = []
    for command in (["--html"], [], ["--html"]):
        assert analyze_results.main([*options, *command]) == 0
        page = results / "report.html"
        pages.append(page.read_text() if command else "")
    assert asked == [2, 2, 0] and pages[0] == pages[2]
    for path in (tmp_path / "plots").iterdir():
        assert base64.b64encode(path.read_bytes()).decode() in pages[2]
    changed = random_cell("charlm", "relu")
    changed["trials"][0]["predictions_sha256"] = "f" * 64
    write_cells(results, [changed])
    assert analyze_results.main(options) == 0 and asked[3:] == [2]


def test_of_a_published_study_few_figures_are_committed():
    cells = [random_cell(model, name) for model in ("charlm", "convlm") for name in ("relu", "gelu")]
    whole = drawings(findings_of(cells), named=False)
    of_convlm, of_charlm = ([d for d in whole if d.model == name] for name in ("convlm", "charlm"))
    assert {d.kind for d in of_convlm if is_published(d, "cpu")} == {"shamir_comparison"}
    assert all(is_published(d, "cpu") for d in whole if d not in of_convlm)
    assert {d.level for d in of_charlm if is_published(d, "trained")} == {Level.ARCHITECTURE}
