"""The README and the docs: written from the committed studies, short, and what they say to append works."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import short_text
from PIL import Image
from runs import run_to_its_end

import analyze_results
import compare
from analysis.findings import Findings
from analysis.measure import strongest_study
from study.corpus import CORPUS_PATH, CORPUS_SHA256
from study.files import ROOT, digest, read_json, write_bytes
from study.store import read_cells
from views import doc_numbers, docs, many

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_what_holds_numbers_is_what_the_committed_studies_give(committed_cells):
    report = read_json(analyze_results.REPORT_PATH)
    facts = analyze_results.parameter_table(), analyze_results.complete_pilots()
    written = docs.pages(committed_cells, report, ROOT, *facts)
    assert written.keys() >= {"README.md", "docs/results.md", "docs/audit.md", "docs/speed.md", "docs/gallery.md"}
    stale = [path for path, text in written.items() if (ROOT / path).read_text() != text]
    assert not stale, f"write them anew: python analyze_results.py --docs ({', '.join(stale)})"


def test_the_answer_is_that_of_the_strongest_published_study(committed_cells):
    assert strongest_study(committed_cells) == doc_numbers.GALLERY[0] == "trained"


def test_the_readme_is_read_in_five_minutes():
    assert README.count("\n") <= 170
    assert len(README.encode()) <= 14_000


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_images_resolve(page):
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
    assert page.name == "README.md" or page.name in " ".join(path.read_text() for path in PAGES if path != page)


def test_the_modules_at_the_root_are_named():
    assert {path.name for path in ROOT.glob("*.py")} <= set(re.findall(r"\w+\.py", README))


def test_committed_figures_are_drawn_from_the_committed_cells_and_by_this_code(committed, committed_cells):
    here = {path.name: path for path in (committed / "plots").glob("*.png")}
    del here["bench_training.png"]
    for study in doc_numbers.in_gallery(committed_cells):
        findings = Findings.of_study(committed_cells, study)
        for drawing in doc_numbers.published_drawings(findings):
            with Image.open(here.pop(f"{drawing.name}.png")) as image:
                texts = many.basis_of(drawing, findings)
                assert image.text == texts, f"draw it anew: python analyze_results.py --study {study} --all-figures"
    assert not here, "neither published_drawings nor the gallery has these"


# ---------------------------------------------------------------- your own model, your own predictions

FEW = " --seeds 6 --steps 20"  # beside --budget 5min, which would be spent


def test_the_section_on_your_own_is_executed(tmp_path):
    """Its commands as they stand, in a folder with a task and predictions; those of training with ``FEW``."""
    section = README.partition("## Your own model, your own predictions\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    train, two, groups = commands.replace("--budget 5min", f"--budget 5min{FEW}").splitlines()
    guide = (ROOT / "docs" / "sensitivity.md").read_text()
    (task,) = re.findall(r"<!-- example: task -->\n```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "my_task.py").write_text(task)
    arrays = {"y": np.random.default_rng(0).integers(0, 4, 50)}
    for name, first in (("relu", "p"), ("gelu", "q")):
        (tmp_path / name).mkdir()
        for i in range(1, 7):
            arrays[f"{first}{i}"] = p = np.random.default_rng([i, ord(first)]).dirichlet(np.ones(4), 50)
            np.save(tmp_path / name / f"seed_{i}.npy", p)
    for name, array in (("run1", arrays["p1"]), ("run2", arrays["p2"]), ("y", arrays["y"])):
        np.save(tmp_path / f"{name}.npy", array)
    for name in ("compare.py", "sensitivity.py"):
        (tmp_path / name).symlink_to(ROOT / name)

    def run(line: str) -> str:
        python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}'
        outcome = run_to_its_end(["bash", "-c", f"{python}\n{line}"], cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        return " ".join(outcome.stdout.split())

    assert FEW in train
    said = run(train)
    assert "plan: 3 activations x 6 seeds x 20 steps" in said and "v swish" in said
    assert len([*tmp_path.glob("sensitivity_results/my_task/*/seed_4?.npz")]) == 18
    assert "Two models do not say how such models differ" in run(two)
    said = run(groups)
    assert "Between relu and gelu:" in said and "(p " in said and "Without targets" not in said

    (call,) = re.findall(r"`(compare\.compare\(.*?\))`", section)
    found = eval(call, {"compare": compare, **arrays})
    assert found["comparisons"][0]["verdict"] == "too few trials to tell"  # of three models each
    apart = compare.compare({"relu": [arrays["p1"], arrays["p2"], arrays["p3"]]}, arrays["y"])
    assert found["groups"][0] == apart["groups"][0]


# ---------------------------------------------------------------- what is to be appended

SMALLER = "\nCONFIG = replace(CONFIG, context=32, eval_windows=4, probe_contexts=40, texts=2, text_length=6)\n"


def to_append() -> dict[str, str]:
    """The code blocks of README and docs, by the file to which they are to be appended."""
    blocks = {}
    for page in PAGES:
        blocks |= dict(re.findall(r"<!-- append to (\S+) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL))
    return blocks


def test_an_activation_an_architecture_and_a_metric_are_added_as_described(tmp_path):
    text = short_text().encode()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    for package in ("training", "study", "runner", "analysis", "audit", "views"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    corpus = tmp_path / "study" / "corpus.py"
    corpus.write_text(corpus.read_text().replace(CORPUS_SHA256, digest(text)))
    write_bytes(tmp_path / "data" / CORPUS_PATH.name, text)
    shutil.copy(ROOT / "data" / "report.json", tmp_path / "data")
    blocks = to_append()
    assert blocks.keys() == {"activations.py", "metrics.py", "model.py", "config_cpu.py"}
    blocks["config_cpu.py"] += SMALLER
    for name, code in blocks.items():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n\n{code}")

    def run(*command: str) -> str:
        outcome = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    grid = (
        "--models",
        "grulm",
        "--activations",
        "snake",
        "--trials",
        "2",
        "--iterations",
        "2",
        "--study",
        "mine",
        "--workers",
        "1",
    )
    run("run_all_experiments.py", *grid)
    cell = json.loads((tmp_path / "results" / "grulm_snake_mine.json").read_text())
    (pair,) = cell["pairs"]
    assert 0 < pair["largest_difference"] <= 1 and len(pair["history"]["largest_difference"]) == 2
    csv = run("analyze_results.py", "--tables", "cell_metrics", "--format", "csv", "--no-plots")
    assert "largest_difference" in csv
    run("analyze_results.py", "--html")
    page = (tmp_path / "results" / "report.html").read_text()
    assert page.count("Largest difference") >= 1 and "grulm" in page.lower()
