"""What the README shows is what its commands give, and what it tells to append works."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

import analyze_results
import model
from analysis.measure import measure_study
from study.corpus import CORPUS_PATH
from study.files import ROOT
from study.store import read_cells
from views import figures, png
from views.render import render

README = (ROOT / "README.md").read_text()


def rebuilt_by(command: str) -> str:
    """The part of the README that stands behind the comment which names ``command``."""
    return re.search(rf"<!-- rebuilt by: {re.escape(command)} -->\n(.*?)\n<!-- end -->", README, re.DOTALL)[1]


def to_append() -> dict[str, str]:
    """The README's code blocks, by the file to which they are to be appended."""
    return dict(re.findall(r"<!-- append to (\S+) -->\n```python\n(.*?)```", README, re.DOTALL))


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """Results and figures of the last commit: a run on this machine may have changed those in the folder."""
    folder = tmp_path_factory.mktemp("committed")
    archive = subprocess.run(["git", "archive", "HEAD", "results", "plots"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip("needs the repository's history")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def committed_cells(committed) -> list[dict]:
    return read_cells(committed / "results")


TABLE_COMMANDS = re.findall(
    r"<!-- rebuilt by: (python analyze_results\.py --study (\w+) --tables (\w+) --no-plots) -->", README
)


@pytest.mark.parametrize(("command", "study", "name"), TABLE_COMMANDS, ids=str)
def test_tables_are_those_of_the_committed_studies(command, study, name, committed_cells):
    shown = rebuilt_by(command)
    made = analyze_results.TABLES[name](measure_study(committed_cells, study))
    assert shown.strip() == "\n\n".join(render(table, "github") for table in made).strip()


@pytest.mark.parametrize(("study", "ending"), [("cpu", ""), ("reference", "_reference")])
def test_figures_of_whole_studies_are_drawn_from_their_committed_cells(study, ending, committed, committed_cells):
    measured = measure_study(committed_cells, study)
    basis, controlled = analyze_results.basis_of(measured), any(cell["controls"] for cell in measured)
    for kind in {*figures.STUDY_FIGURES} - ({"controls"} if not controlled else set()):
        with Image.open(committed / "plots" / f"shamir_{kind}{ending}.png") as image:
            assert image.text[png.BASIS] == basis


def test_parameter_counts_are_those_of_the_models():
    assert rebuilt_by("python model.py").strip() == model.parameter_table()


def test_files_that_are_named_exist_and_modules_are_named():
    modules = {path.name for path in ROOT.glob("*.py")}
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert named == modules
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_an_activation_and_an_architecture_are_added_as_told(tmp_path):
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    for package in ("training", "study", "runner", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "data").mkdir()
    shutil.copy(CORPUS_PATH, tmp_path / "data")
    blocks = to_append()
    assert blocks.keys() == {"activations.py", "model.py", "config_cpu.py"}
    for name, code in blocks.items():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n\n{code}")
    command = [sys.executable, "run_all_experiments.py", "--models", "grulm", "--activations", "snake"]
    command += ["--trials", "2", "--iterations", "2", "--study", "mine"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    (cell,) = read_cells(tmp_path / "results")
    assert cell["model"] == "grulm" and cell["activation"] == "snake" and len(cell["pairs"]) == 1
