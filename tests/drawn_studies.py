"""Studies made up for the tests of figures, and their figures, drawn once."""

import itertools
from functools import cache

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, varying

import plot_utils
from analysis.findings import Findings
from analysis.measure import MeasuredCell
from config import ACTIVATIONS, STREAMS
from views.drawing import Drawing
from views.figures import drawings

CELLS = {
    "one trial": random_cell("charlm", "relu", n_trials=1),
    "two trials": random_cell("charlm", "gelu", n_trials=2),
    "three trials": random_cell("nanotransformer", "smelu_05"),
    "ten trials": random_cell("charlm", "smelu_1", n_trials=10),
    "diverged": make_cell(activation="swish", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
    "all diverged": make_cell(activation="swiglu", trials=[make_diverged(1), make_diverged(2)]),
    "identical": make_cell(
        "tinylstm", pairs=[make_pair(*pair, 0.0, 0) for pair in itertools.combinations((1, 2, 3), 2)]
    ),
}
CONTROLLED = [
    varying(streams, random_cell(model, activation, study))
    for study, streams in (("cpu", STREAMS), ("only_init", ("init",)), ("nothing", ()))
    for model in ("charlm", "tinylstm")
    for activation in ("relu", "smelu_05", "smelu_1")
]
STUDIES = {
    "one cell": [random_cell("tinylstm", "relu")],
    "odd cells": list(CELLS.values()),
    "unknown names": [random_cell("my_model", name) for name in ("gelu", "my_first", "my_second")],
    "nothing completed": [CELLS["all diverged"]],
    "fourteen activations": [random_cell("charlm", f"my_{i}_activation") for i in range(14)],
    "without the first activation": [
        random_cell("charlm", "relu"),
        *(random_cell("minigpt", a) for a in ACTIVATIONS[1:]),
    ],
}


def findings_of(cells: list[dict]) -> Findings:
    return Findings.of_study(cells, "cpu")


def colours_of(cells: list[MeasuredCell]) -> dict[str, str]:
    return plot_utils.activation_colours(cell.activation for cell in cells)


def by_name(cells: list[dict]) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in drawings(findings_of(cells), named=False)}


def drawn(cells: list[dict], name: str) -> Figure:
    """The figure of that name of a study."""
    return by_name(cells)[name].draw()


@cache
def of_controlled() -> dict[str, Drawing]:
    return by_name(CONTROLLED)


@cache
def figure(name: str) -> Figure:
    """A figure of the study with controls, drawn once for all tests; only to be read."""
    return of_controlled()[name].draw()


def cell_figure(kind: str, cell: dict) -> Figure:
    return drawn([cell], f"{cell['model']}_{cell['activation']}_cpu_{kind}")


def panels_of(name: str) -> list[Axes]:
    return [axes for axes in figure(name).findobj(Axes) if axes.axison and axes.get_label() != "<colorbar>"]


def hero() -> dict[str, Axes]:
    return {axes.get_title()[0]: axes for axes in panels_of("shamir_cross_model_analysis")}
