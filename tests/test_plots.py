"""Figures, on cells made up by hand: what they show, and that it can be read."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell

import figures
import plot_utils
from config import ACTIVATIONS, MODELS
from summary import measure, measure_study

CELLS = {
    "one trial": random_cell("charlm", "relu", n_trials=1),
    "two trials": random_cell("charlm", "gelu", n_trials=2),
    "three trials": random_cell("nanotransformer", "smelu_05"),
    "ten trials": random_cell("charlm", "smelu_1", n_trials=10),
    "diverged": make_cell(activation="swish", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
    "all diverged": make_cell(activation="swiglu", trials=[make_diverged(1), make_diverged(2)]),
    "identical": make_cell(pairs=[make_pair(*pair, 0.0, 0) for pair in itertools.combinations((1, 2, 3), 2)]),
}
STUDIES = {
    "whole": [random_cell(model, activation) for model in MODELS for activation in ACTIVATIONS],
    "one cell": [random_cell("tinylstm", "relu")],
    "odd cells": list(CELLS.values()),
    "unknown names": [random_cell("my_model", name) for name in ("gelu", "my_first", "my_second")],
    "nothing completed": [CELLS["all diverged"]],
}


def colours_of(cells: list[dict]) -> dict[str, str]:
    return plot_utils.activation_colours(cell["activation"] for cell in cells)


def cell_figure(kind: str, cell: dict) -> Figure:
    return figures.CELL_FIGURES[kind](measure(cell), colours_of([cell])[cell["activation"]])


def study_figure(kind: str, cells: list[dict]) -> Figure:
    draw = {"comparison": figures.shamir_comparison, "analysis": figures.cross_model_analysis}[kind]
    measured = measure_study(cells, "cpu")
    if kind == "comparison":
        measured = [cell for cell in measured if cell["model"] == measured[0]["model"]]
    return draw(measured, colours_of(cells))


def check_readable(figure: Figure) -> None:
    """Everything lies inside the figure, no text is small, and tick labels of one axis keep apart."""
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert drawn.x0 > -0.01 and drawn.y0 > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 9
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            check_apart(axis)


def check_apart(axis: Axis) -> None:
    low, high = sorted(axis.get_view_interval())
    labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [label for label in labels if label.get_visible() and label.get_text() and label.get_rotation() == 0]
    for first, second in itertools.pairwise(shown):
        assert not first.get_window_extent().overlaps(second.get_window_extent()), second.get_text()


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("kind", figures.CELL_FIGURES)
def test_cell_figures_are_readable(kind, cell):
    check_readable(cell_figure(kind, cell))


@pytest.mark.parametrize("kind", figures.CELL_FIGURES)
def test_cell_figures_are_small_because_they_are_committed(kind):
    assert len(figures.png_bytes(cell_figure(kind, CELLS["ten trials"]))) < 40_000


def test_a_figure_of_many_colours_keeps_them_all(ax):
    reds, greens = np.meshgrid(*2 * [np.arange(0, 256, figures.COLOUR_STEP)])
    ax.imshow(np.dstack([reds, greens, 255 - reds]).astype(np.uint8), interpolation="nearest")
    shown = {(red, green, 255 - red) for red, green in zip(reds.flat, greens.flat, strict=True)}
    assert len(shown) == figures.PALETTE_SIZE
    assert shown < pixels(ax.figure)  # with the colours of the axes there are more than a palette holds


@pytest.mark.parametrize("cells", STUDIES.values(), ids=STUDIES.keys())
@pytest.mark.parametrize("kind", ["comparison", "analysis"])
def test_study_figures_are_readable(kind, cells):
    check_readable(study_figure(kind, cells))


@pytest.mark.parametrize("kind", figures.CELL_FIGURES)
def test_cell_figures_say_how_many_trials(kind):
    title = cell_figure(kind, CELLS["diverged"]).get_suptitle()
    assert "N = 2 + 1 diverged" in title


def test_the_same_data_give_the_same_bytes():
    first, second = (figures.png_bytes(cell_figure("summary", CELLS["three trials"])) for _ in range(2))
    assert first == second


# ---------------------------------------------------------------- colours


def test_each_activation_has_a_colour_of_its_own():
    colours = plot_utils.activation_colours([*ACTIVATIONS, "my_first", "my_second"])
    assert len(set(colours.values())) == len(ACTIVATIONS) + 2


def test_colours_do_not_depend_on_the_order_or_on_what_is_missing():
    everything = plot_utils.activation_colours([*ACTIVATIONS, "my_first", "my_second"])
    assert plot_utils.activation_colours(["my_second", "gelu", "my_first"]).items() <= everything.items()


def pixels(figure: Figure) -> set[tuple]:
    with Image.open(io.BytesIO(figures.png_bytes(figure))) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(10**6)}


@pytest.mark.parametrize("kind", ["comparison", "analysis"])
def test_study_figures_have_the_colours_of_all_activations(kind):
    cells = [random_cell("charlm", activation) for activation in ACTIVATIONS]
    assert {rgb(activation) for activation in ACTIVATIONS} <= pixels(study_figure(kind, cells))


@pytest.mark.parametrize("kind", figures.CELL_FIGURES)
def test_cell_figures_have_the_colour_of_their_activation_only(kind):
    seen = pixels(cell_figure(kind, random_cell("charlm", "swiglu")))
    assert {name for name in ACTIVATIONS if rgb(name) in seen} == {"swiglu"}


def rgb(activation: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(plot_utils.COLOURS[activation].removeprefix("#")))


# ---------------------------------------------------------------- what is drawn


@pytest.fixture
def ax():
    return Figure().subplots()


def test_an_estimate_is_drawn_at_its_mean_with_its_interval(ax):
    cell = measure(random_cell("charlm", "relu"))
    plot_utils.plot_estimate(ax, 0.5, cell, "relative_pd", "black", horizontal=False)
    (container,) = ax.containers
    diamond, caps, _ = container
    assert diamond.get_xydata().tolist() == [[0.5, cell["mean_relative_pd"]]]
    reach = sorted(cap.get_ydata()[0] for cap in caps)
    assert reach == pytest.approx([cell["low_relative_pd"], cell["high_relative_pd"]])


def test_without_an_interval_only_the_mean_is_drawn(ax):
    plot_utils.plot_estimate(ax, 0.5, measure(CELLS["two trials"]), "relative_pd", "black", horizontal=False)
    diamond, caps, _ = ax.containers[0]
    assert len(diamond.get_xydata()) == 1
    assert not caps


def test_every_trial_and_pair_is_a_dot(ax):
    cell = measure(CELLS["ten trials"])
    plot_utils.plot_strip(ax, cell, "relative_pd", "black")
    assert ax.lines[0].get_ydata().tolist() == [pair["relative_pd"] for pair in cell["pairs"]]


def test_curves_show_each_trial_and_their_mean(ax):
    plot_utils.plot_curves(ax, [0, 50], [[4.0, 3.0], [4.2, 3.4]], "black", "validation")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[4.0, 3.0], [4.2, 3.4], pytest.approx([4.1, 3.2])]


def test_a_heat_map_writes_its_numbers_but_not_unknown_ones(ax):
    plot_utils.plot_matrix(ax, np.array([[0.25, np.nan]]), ["a"], ["b", "c"])
    assert [text.get_text() for text in ax.texts] == ["0.250"]


def test_functions_return_their_axes(ax):
    measured = measure_study(STUDIES["odd cells"], "cpu")
    colours = colours_of(measured)
    assert plot_utils.plot_grid(ax, measured, "relative_pd", colours) is ax
    assert plot_utils.plot_plane(ax, measured, colours) is ax
    assert plot_utils.plot_losses(ax, measured[0], "black") is ax
