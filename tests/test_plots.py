"""Figures, on cells made up by hand: what they show, and that it can be read."""

import io
import itertools
import math

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell

import analyze_results
import figures
import plot_utils
from config import ACTIVATIONS, MODELS, MODERN, SMELU_BETAS
from confounds import smelu_sweeps
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
    "modern": [random_cell("charlm", activation) for activation in MODERN],
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
    assert len(figures.png_bytes(cell_figure(kind, CELLS["ten trials"]))) < 60_000


@pytest.mark.parametrize("cells", STUDIES.values(), ids=STUDIES.keys())
@pytest.mark.parametrize("kind", ["comparison", "analysis"])
def test_study_figures_are_readable(kind, cells):
    check_readable(study_figure(kind, cells))


def sweep_of(cells: list[dict]) -> list[dict]:
    (sweep,) = smelu_sweeps(measure_study(cells, "cpu")).values()
    return sweep


SWEEPS = {
    "whole": [random_cell("nanotransformer", name) for name in SMELU_BETAS],
    "three betas": [random_cell("charlm", name) for name in ("relu", "smelu_05", "smelu_1")],
    "one trial": [random_cell("charlm", name, n_trials=1) for name in SMELU_BETAS],
    "diverged": [
        *(random_cell("nanotransformer", name) for name in ("relu", "smelu_05")),
        make_cell("nanotransformer", "smelu_01", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
        make_cell("nanotransformer", "smelu_2", trials=[make_diverged(1), make_diverged(2)]),
    ],
}


@pytest.mark.parametrize("cells", SWEEPS.values(), ids=SWEEPS.keys())
def test_sweep_figures_are_readable_and_small(cells):
    figure = figures.smelu_sweep(sweep_of(cells), colours_of(cells))
    check_readable(figure)
    assert len(figures.png_bytes(figure)) < 60_000


def test_studies_have_a_sweep_figure_of_each_architecture_with_three_betas():
    two_betas = [random_cell("minigpt", name) for name in ("relu", "smelu_1")]
    measured = measure_study([*SWEEPS["whole"], *two_betas, *SWEEPS["three betas"]], "cpu")
    for named, ending in ((False, ""), (True, "_cpu")):
        names = [name for name, _ in analyze_results.study_figures(measured, named) if "sweep" in name]
        assert names == [f"{model}_smelu_sweep{ending}.png" for model in ("charlm", "nanotransformer")]


@pytest.mark.parametrize("kind", figures.CELL_FIGURES)
def test_cell_figures_say_how_many_trials(kind):
    title = cell_figure(kind, CELLS["diverged"]).get_suptitle()
    assert "N = 2 + 1 diverged" in title


def test_the_same_data_give_the_same_bytes():
    first, second = (figures.png_bytes(cell_figure("summary", CELLS["three trials"])) for _ in range(2))
    assert first == second


# ---------------------------------------------------------------- colours


def test_each_activation_has_a_colour_of_its_own():
    names = {*ACTIVATIONS, *MODERN, "my_first", "my_second"}
    colours = plot_utils.activation_colours(names)
    assert len(set(colours.values())) == len(names)


def test_the_colours_of_the_registry_are_apart_and_dark_enough_for_white_paper():
    places = [lab(plot_utils.COLOURS[name]) for name in {*ACTIVATIONS, *MODERN}]
    assert min(math.dist(*pair) for pair in itertools.combinations(places, 2)) > 25
    assert max(lightness for lightness, _, _ in places) < 75


def lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* of an sRGB colour under D65: distances of about 2 can just be seen."""
    channels = np.frombuffer(bytes.fromhex(colour.removeprefix("#")), dtype=np.uint8) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / to_xyz.sum(axis=1))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_colours_do_not_depend_on_the_order_or_on_what_is_missing():
    everything = plot_utils.activation_colours([*ACTIVATIONS, "my_first", "my_second"])
    assert plot_utils.activation_colours(["my_second", "gelu", "my_first"]).items() <= everything.items()


def pixels(figure: Figure) -> set[tuple]:
    with Image.open(io.BytesIO(figures.png_bytes(figure))) as image:
        return {colour for _, colour in image.getcolors(10**6)}


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


def test_the_trade_of_pd_and_loss_joins_what_is_known_in_the_order_of_beta(ax):
    sweep = sweep_of(SWEEPS["diverged"])
    plot_utils.plot_trade(ax, sweep, colours_of(sweep))
    known = {cell["beta"]: [cell["mean_val_loss"], cell["mean_relative_pd"]] for cell in sweep[:-1]}
    assert [*known] == [0, 0.1, 0.5] and sweep[-1]["mean_relative_pd"] is None
    assert ax.lines[0].get_xydata().tolist() == [*known.values()]
    assert [diamond.get_xydata().tolist() for diamond, _, _ in ax.containers] == [[point] for point in known.values()]


def test_the_trade_of_pd_and_loss_has_the_intervals_of_both(ax):
    sweep = sweep_of(SWEEPS["whole"])
    plot_utils.plot_trade(ax, sweep, colours_of(sweep))
    for cell, (_, caps, _) in zip(sweep, ax.containers, strict=True):
        across = [(cell[f"{end}_val_loss"], cell["mean_relative_pd"]) for end in ("low", "high")]
        upright = [(cell["mean_val_loss"], cell[f"{end}_relative_pd"]) for end in ("low", "high")]
        assert np.allclose(sorted(tuple(cap.get_xydata()[0]) for cap in caps), sorted(across + upright))


def test_a_metric_along_beta_is_drawn_at_the_root_of_beta(ax):
    sweep = sweep_of(SWEEPS["whole"])
    plot_utils.plot_along_beta(ax, sweep, "val_loss", colours_of(sweep))
    points = [[math.sqrt(cell["beta"]), cell["mean_val_loss"]] for cell in sweep]
    assert ax.lines[0].get_xydata().tolist() == points
    assert [diamond.get_xydata().tolist() for diamond, _, _ in ax.containers] == [[point] for point in points]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "0.1", "0.25", "0.5", "1", "2"]


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
