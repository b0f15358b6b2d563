"""Every figure that there is something to draw for, of a study, its architectures and its cells."""

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from analysis.findings import Findings
from labels import label
from plot_utils import activation_colours, project_style
from views.architecture_figures import ARCHITECTURE_FIGURES
from views.cell_figures import CELL_FIGURES
from views.course_figure import COURSE_FIGURE
from views.drawing import Drawing, Kind, Level
from views.landscape_figure import LANDSCAPE_FIGURE
from views.parts_figure import PARTS_FIGURE
from views.sizes_figure import SIZES_FIGURE
from views.study_figures import STUDY_FIGURES

UNNAMED_STUDIES = ("cpu", "cuda")  # the default ones, whose figures need no name of a study


def drawings(findings: Findings, named: bool) -> list[Drawing]:
    """The figures of the study, the most important first, then of its architectures, then of its cells.

    With ``named`` the study's name ends the names of those of study and architectures; cells always have it.
    """
    colours = activation_colours(cell.activation for cell in findings.measured)
    ending = f"_{findings.study}" if named else ""
    of_study = [
        Drawing(
            f"shamir_{kind.name}{ending}",
            kind.name,
            Level.STUDY,
            None,
            kind.title,
            _drawn(kind, findings, colours),
        )
        for kind in (*STUDY_FIGURES, COURSE_FIGURE, LANDSCAPE_FIGURE, PARTS_FIGURE, SIZES_FIGURE)
        if kind.is_there(findings)
    ]
    of_architectures = [
        Drawing(
            f"{model}_{kind.name}{ending}",
            kind.name,
            Level.ARCHITECTURE,
            model,
            f"{label(model)}: {kind.title}",
            _drawn(kind, findings, model, colours),
        )
        for model in findings.models
        for kind in ARCHITECTURE_FIGURES
        if kind.is_there(findings, model)
    ]
    of_cells = [
        Drawing(
            f"{cell.model}_{cell.activation}_{cell.study}_{kind.name}",
            kind.name,
            Level.CELL,
            cell.model,
            f"{label(cell.model)} with {label(cell.activation)}: {kind.title}",
            _drawn(kind, cell, colours),
            cell,
        )
        for cell in findings.measured
        for kind in CELL_FIGURES
        if kind.is_there(cell)
    ]
    return of_study + of_architectures + of_cells


def is_published(drawing: Drawing, study: str) -> bool:
    """Whether a figure of a published study is committed with it.

    Those of the study, the comparison of activations in each architecture, all of CharLM's and, as in the report,
    those of its cells in study cpu. The rest is drawn on demand, so that ``plots/`` can be looked through.
    """
    if drawing.level is Level.STUDY or drawing.kind == "shamir_comparison":
        return True
    return drawing.model == "charlm" and (drawing.level is Level.ARCHITECTURE or study == "cpu")


def _drawn(kind: Kind, *about) -> Callable[[], Figure]:
    return partial(_in_project_style, kind.draw, *about)


def _in_project_style(draw: Callable[..., Figure], *about) -> Figure:
    with project_style():
        return draw(*about)


def drawn_by(root: Path) -> list[Path]:
    """The project's modules that figures depend on: this one, ``save``, and all that those import, in order."""
    found, waiting = set(), [Path("views", "figures.py"), Path("views", "save.py")]
    while waiting:
        module = waiting.pop()
        if module not in found and (root / module).is_file():
            found.add(module)
            waiting += _imported(root / module)
    return [root / module for module in sorted(found)]


def _imported(source: Path) -> list[Path]:
    """The files that the imports of ``source`` would mean if they were of the project."""
    names = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [Path(*name.split(".")).with_suffix(".py") for name in names]
