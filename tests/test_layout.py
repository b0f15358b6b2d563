"""The house: which modules stand at the root, which part may import which, and what each part does without."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from study.files import ROOT

AT_THE_ROOT = {
    "activations",
    "model",
    "config",
    "config_cpu",
    "config_trained",
    "labels",
    "metrics",
    "probabilities",
    "cores",
    "train",
    "run_all_experiments",
    "analyze_results",
    "compare",
    "sensitivity",
    "plot_utils",
}
# From the ground up; a part imports its own modules and those of parts below it. Torch is in the left tower only.
MAY_IMPORT = {
    "config": set(),
    "activations": {"config"},
    "probabilities": set(),
    "cores": set(),
    "metrics": {"probabilities"},
    "labels": {"config"},
    "config_cpu": {"config"},
    "config_trained": {"config", "config_cpu"},
    "training": {"activations", "config"},
    "model": {"activations", "config", "config_cpu", "config_trained", "training"},
    "study": {
        "activations",
        "config",
        "config_cpu",
        "config_trained",
        "labels",
        "metrics",
        "model",
        "probabilities",
        "training",
    },
    "train": {"activations", "config", "labels", "metrics", "model", "study", "training"},
    "runner": {"config", "config_trained", "cores", "labels", "metrics", "study", "train", "training"},
    "analysis": {"config", "config_trained", "cores", "labels", "metrics", "probabilities"},
    "audit": {"analysis", "config", "labels", "metrics"},
    "plot_utils": {"analysis", "labels", "metrics"},
    "views": {"analysis", "audit", "config", "config_trained", "labels", "metrics", "plot_utils"},
    # Model and pilots for the docs alone.
    "analyze_results": {"analysis", "audit", "cores", "labels", "model", "runner", "study", "views"},
    "compare": {"analysis", "labels", "study", "views"},
    "own": {"activations", "config", "probabilities", "runner", "study", "train", "training"},
    "sensitivity": {
        "activations",
        "analysis",
        "compare",
        "labels",
        "own",
        "runner",
        "study",
        "training",
        "views",
    },
    "run_all_experiments": {
        "activations",
        "analyze_results",
        "config",
        "labels",
        "model",
        "runner",
        "study",
        "train",
    },
}
TOWERS = {
    "torch": ("analysis", "audit", "views", "compare"),
    "matplotlib": ("training", "study", "runner", "own", "sensitivity"),
}

IMPORT_WITHOUT = """
import importlib, sys

library, root, *names = sys.argv[1:]


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == library:
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, Absent())
sys.path.insert(0, root)
for name in names:
    importlib.import_module(name)
"""


def modules_of(part: str) -> dict[str, Path]:
    """The modules of a package or the one at the root, by their dotted names."""
    if part in AT_THE_ROOT:
        return {part: ROOT / f"{part}.py"}
    return {f"{part}.{path.stem}": path for path in (ROOT / part).glob("*.py") if path.stem != "__init__"}


MODULES = {name: path for part in MAY_IMPORT for name, path in modules_of(part).items()}


def imported(path: Path) -> set[str]:
    """Those of our modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names & MODULES.keys()


def test_the_root_holds_what_is_typed_or_imported_from_outside_and_no_more():
    assert {path.stem for path in ROOT.glob("*.py")} == AT_THE_ROOT


def test_every_package_has_its_place():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks"}
    assert packages == MAY_IMPORT.keys() - AT_THE_ROOT


@pytest.mark.parametrize("name", MODULES)
def test_no_import_runs_back_up(name):
    part = name.partition(".")[0]
    parts = {other.partition(".")[0] for other in imported(MODULES[name])} - {part}
    assert parts <= MAY_IMPORT[part]


def test_no_imports_run_in_a_circle():
    TopologicalSorter({name: imported(path) - {name} for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("library", TOWERS)
def test_each_tower_does_without_the_library_of_the_other(library, tmp_path):
    names = [name for part in TOWERS[library] for name in modules_of(part)]
    names += ["run_all_experiments"]  # which loads neither before it has something to train or to draw
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, library, str(ROOT), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
