"""Figures, on cells made up by hand: which there are, that they can be read, and that they stay the same."""

import io
import itertools
import math
from functools import cache

import matplotlib
import numpy as np
import pytest
from drawn_studies import (
    CELLS,
    CONTROLLED,
    STUDIES,
    cell_figure,
    colours_of,
    drawn,
    figure,
    findings_of,
    hero,
    of_controlled,
)
from matplotlib.figure import Figure
from PIL import Image
from readable import check_readable
from synthetic_cells import random_cell

import plot_utils
from analysis.measure import measure, with_breakdown, with_passages
from analysis.stats import Estimate
from config import ACTIVATIONS, MODERN, SMELU_BETAS
from model import ARCHITECTURES
from views import architecture_figures, cell_figures, save, study_figures
from views.drawing import Level
from views.figures import drawings
from views.save import FIGURE_FORMATS, figure_bytes, png_texts

STUDY_KINDS = [kind.name for kind in study_figures.STUDY_FIGURES]


@cache
def saved(name: str) -> bytes:
    return figure_bytes(figure(name))


EVERY_KIND = [
    *(f"shamir_{kind}" for kind in STUDY_KINDS),
    *(f"charlm_{kind.name}" for kind in architecture_figures.ARCHITECTURE_FIGURES),
    *(f"charlm_relu_cpu_{kind.name}" for kind in cell_figures.CELL_FIGURES),
]


# ---------------------------------------------------------------- can be read


@pytest.mark.parametrize("name", EVERY_KIND)
def test_figures_are_readable(name):
    check_readable(figure(name))


@pytest.mark.parametrize(
    ("study", "names"),
    {
        "odd cells": ("shamir_cross_model_analysis", "shamir_loss_pd_plane", "charlm_shamir_comparison"),
        "one cell": ("shamir_cross_model_analysis",),
        "unknown names": ("shamir_heat_map", "my_model_where_disagreement_lives"),
        "nothing completed": ("charlm_swiglu_cpu_training_curves",),
        "fourteen activations": ("shamir_cross_model_analysis", "shamir_heat_map"),
    }.items(),
)
def test_figures_of_odd_studies_are_readable(study, names):
    for name in names:
        check_readable(drawn(STUDIES[study], name))


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("ten trials", "training_curves"),
        ("ten trials", "reproducibility"),
        ("diverged", "training_curves"),
        ("diverged", "summary"),
        ("identical", "reproducibility"),
    ],
)
def test_figures_of_odd_cells_are_readable(cell, kind):
    check_readable(cell_figure(kind, CELLS[cell]))


SAVED = [
    "shamir_cross_model_analysis",
    "shamir_pd_over_training",
    "charlm_shamir_comparison",
    "charlm_relu_cpu_training_curves",
    "charlm_relu_cpu_summary",
]


@pytest.mark.parametrize("name", SAVED)
def test_figures_are_small_because_they_are_committed(name):
    assert len(saved(name)) < 60_000


@pytest.mark.parametrize("kind", STUDY_KINDS)
def test_study_figures_say_which_study_and_how_many_trials(kind):
    assert "study cpu: N = 3 trials a cell" in figure(f"shamir_{kind}").get_suptitle()


def test_cell_figures_say_how_many_trials():
    for kind in ("training_curves", "summary"):
        assert "N = 2 + 1 diverged" in cell_figure(kind, CELLS["diverged"]).get_suptitle()


# ---------------------------------------------------------------- which figures there are


def test_figures_are_named_by_model_kind_and_study_and_ordered_by_what_they_are_about():
    findings = findings_of(CONTROLLED)
    for named, ending in ((False, ""), (True, "_cpu")):
        found = drawings(findings, named)
        names = [drawing.name for drawing in found]
        assert names[: len(STUDY_KINDS)] == [f"shamir_{kind}{ending}" for kind in STUDY_KINDS]
        assert f"charlm_shamir_comparison{ending}" in names and f"tinylstm_smelu_sweep{ending}" in names
        assert "tinylstm_relu_cpu_reproducibility" in names
        assert len(set(names)) == len(names)
        assert [drawing.level for drawing in found] == sorted((d.level for d in found), key=list(Level).index)
        assert all(drawing.title for drawing in found)
        assert {d.model for d in found if d.level is not Level.STUDY} == {"charlm", "tinylstm"}


def missing(cells: list[dict]) -> set[str]:
    names = [drawing.name for drawing in drawings(findings_of(cells), named=False)]
    return {kind for kind in STUDY_KINDS if f"shamir_{kind}" not in names}


def test_what_there_is_nothing_of_is_not_drawn():
    assert missing(CONTROLLED) == set()
    assert missing(STUDIES["unknown names"]) == {"controls"}
    assert missing(STUDIES["one cell"]) == {"controls", "heat_map", "activation_differences"}
    assert missing(STUDIES["without the first activation"]) == {"controls", "heat_map", "activation_differences"}
    assert missing(STUDIES["nothing completed"]) == set(STUDY_KINDS)
    names = [d.name for d in drawings(findings_of([CELLS["one trial"]]), named=False)]
    cells = ("training_curves", "summary")
    expected = ["shamir_cross_model_analysis", "charlm_shamir_comparison", *(f"charlm_relu_cpu_{k}" for k in cells)]
    assert names == expected


def test_a_sweep_is_drawn_of_each_architecture_with_three_betas():
    cells = [
        *(random_cell("nanotransformer", name) for name in SMELU_BETAS),
        *(random_cell("minigpt", name) for name in ("relu", "smelu_1")),
        *(random_cell("charlm", name) for name in ("relu", "smelu_05", "smelu_1")),
    ]
    names = [d.name for d in drawings(findings_of(cells), named=True) if "sweep" in d.name]
    assert names == [f"{model}_smelu_sweep_cpu" for model in ("charlm", "nanotransformer")]


def test_figures_of_disagreement_need_cells_that_say_where_it_is():
    silent = random_cell("charlm", "elu")
    for entry in (*silent["trials"], *silent["pairs"]):
        for name in {"breakdown", "passage"} & entry.keys():
            del entry[name]
    measured = [measure(cell) for cell in (silent, *CELLS.values())]
    known = ["gelu", "smelu_05", "smelu_1", "swish", "gelu"]
    for chosen in (with_breakdown(measured), with_passages(measured)):
        assert [cell.activation for cell in chosen] == known
    names = [d.name for d in drawings(findings_of([silent]), named=False)]
    assert not any("disagreement" in name or "letter" in name for name in names)


# ---------------------------------------------------------------- the same bytes


def one_estimate() -> Figure:
    with plot_utils.project_style():
        axes = Figure().subplots()
        return plot_utils.plot_estimate(axes, 0, Estimate(1, 0, 2, 3), "red", horizontal=True).figure


def one_cell(kind: str) -> Figure:
    return cell_figure(kind, CELLS["two trials"])


@pytest.mark.parametrize("form", FIGURE_FORMATS)
def test_the_same_data_give_the_same_bytes_in_every_format(form):
    first, second = (figure_bytes(one_estimate(), form) for _ in range(2))
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[form])


@pytest.mark.parametrize("name", ["charlm_relu_cpu_summary", "charlm_metrics", "shamir_loss_pd_plane"])
def test_a_png_drawn_once_has_the_pixels_of_one_that_matplotlib_saves(name):
    saved_by_matplotlib = io.BytesIO()
    with plot_utils.project_style():
        of_controlled()[name].draw().savefig(saved_by_matplotlib, dpi=save.DPI)
        ours = save._pixels(of_controlled()[name].draw())
    with Image.open(saved_by_matplotlib) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(ours))
    error = np.abs(np.asarray(save._with_palette(ours).convert("RGB"), int) - np.asarray(ours, int))
    assert error.max() <= 40 and (error.max(axis=-1) > 8).mean() < 0.01


def test_another_format_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match="'gif'; choose from png, pdf, svg"):
        figure_bytes(Figure(), "gif")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FIGURE_FORMATS)
def test_characters_that_the_font_lacks_are_drawn_as_boxes_without_a_warning(form):
    figure = Figure()
    figure.text(0.5, 0.5, "\N{CJK UNIFIED IDEOGRAPH-4E16}")
    assert figure_bytes(figure, form)


def test_the_users_settings_have_no_influence(tmp_path):
    settings = tmp_path / "matplotlibrc"
    settings.write_text(
        "text.usetex: True\nfont.size: 20\nfont.family: monospace\naxes.facecolor: black\nsavefig.dpi: 30\n"
        "savefig.bbox: tight\nfigure.constrained_layout.use: False\nsvg.fonttype: none\nlines.linewidth: 9\n"
    )
    plain = figure_bytes(one_cell("training_curves"))
    with matplotlib.rc_context(fname=settings):
        assert figure_bytes(one_cell("training_curves")) == plain
        assert matplotlib.rcParams["font.size"] == 20


def test_drawing_leaves_the_users_settings_as_they_are():
    before = dict(matplotlib.rcParams)
    one_cell("summary")
    assert dict(matplotlib.rcParams) == before


def test_texts_are_kept_in_a_png(ax):
    assert png_texts(figure_bytes(ax.figure, texts={"Trials": "a", "Code": "b"})) == {"Trials": "a", "Code": "b"}
    assert png_texts(figure_bytes(ax.figure)) == {}


# ---------------------------------------------------------------- colours


def test_each_activation_has_a_colour_of_its_own():
    names = {*ACTIVATIONS, *MODERN, *(f"my_{number}" for number in range(12))}
    colours = plot_utils.activation_colours(names)
    assert len(set(colours.values())) == len(names)


def test_each_architecture_has_a_marker_of_its_own():
    assert len(set(plot_utils.model_markers(ARCHITECTURES).values())) == len(ARCHITECTURES)


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


def seen(payload: bytes, names: tuple[str, ...] = ACTIVATIONS) -> set[str]:
    """The activations whose colour, but for the rounding of the palette, is in a PNG."""
    with Image.open(io.BytesIO(payload)) as image:
        pixels = np.array([colour for _, colour in image.convert("RGB").getcolors(10**6)])
    colours = {name: list(bytes.fromhex(plot_utils.COLOURS[name].removeprefix("#"))) for name in names}
    return {name for name, colour in colours.items() if np.abs(pixels - colour).max(axis=1).min() <= 4}


@pytest.mark.parametrize("name", SAVED[:3])
def test_figures_have_the_colours_of_their_activations(name):
    assert seen(saved(name)) == {"relu", "smelu_05", "smelu_1"}


def test_thirteen_colours_survive_the_palette(ax):
    cells = [measure(random_cell("charlm", activation)) for activation in MODERN]
    plot_utils.plot_by_activation(ax, cells, "relative_pd", colours_of(cells))
    assert seen(figure_bytes(ax.figure), MODERN) == {*MODERN}


def test_cell_figures_have_the_colour_of_their_activation_only():
    for kind in ("training_curves", "summary"):
        assert seen(saved(f"charlm_relu_cpu_{kind}")) == {"relu"}


def test_verdicts_have_no_colours_of_their_own():
    observed = [
        line for line in hero()["B"].lines if line.get_label() in ("observed", "95 % interval, noise taken out")
    ]
    assert {line.get_color() for line in observed} == {plot_utils.DARK}
