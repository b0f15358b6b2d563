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
from synthetic_cells import PASSAGE, make_cell, make_diverged, make_pair, make_trial, random_cell, varying

import analyze_results
import plot_utils
from analysis.measure import measure, measure_study, with_breakdown, with_passages
from analysis.omnibus import sensitivity_rows
from analysis.table import ABSENT
from analysis.trade_off import pareto_front, smelu_sweeps
from config import ACTIVATIONS, MODELS, MODERN, SMELU_BETAS, STREAMS
from views import disagreement, figures, png

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
    "fourteen activations": [random_cell(model, f"my_{i}_activation") for model in MODELS[:4] for i in range(14)],
    "without the first activation": [
        random_cell("charlm", "relu"),
        *(random_cell("minigpt", a) for a in ACTIVATIONS[1:]),
    ],
    "with controls": [
        varying(streams, random_cell(model, activation, study))
        for study, streams in (("cpu", STREAMS), ("only_init", ("init",)), ("nothing", ()))
        for model in MODELS
        for activation in ACTIVATIONS
    ],
}
KINDS = (*figures.MODEL_FIGURES, *figures.STUDY_FIGURES)


def colours_of(cells: list[dict]) -> dict[str, str]:
    return plot_utils.activation_colours(cell["activation"] for cell in cells)


def cell_figure(kind: str, cell: dict) -> Figure:
    return figures.CELL_FIGURES[kind](measure(cell), colours_of([cell])[cell["activation"]])


def study_figure(kind: str, cells: list[dict]) -> Figure | None:
    measured = measure_study(cells, "cpu")
    if kind in figures.STUDY_FIGURES:
        return figures.STUDY_FIGURES[kind](measured, colours_of(cells))
    first = [cell for cell in measured if cell["model"] == measured[0]["model"]]
    return figures.MODEL_FIGURES[kind](first, colours_of(cells))


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
    assert len(png.png_bytes(cell_figure(kind, CELLS["ten trials"]))) < 40_000


def test_a_figure_of_many_colours_keeps_them_all(ax):
    reds, greens = np.meshgrid(*2 * [np.arange(0, 256, png.COLOUR_STEP)])
    ax.imshow(np.dstack([reds, greens, 255 - reds]).astype(np.uint8), interpolation="nearest")
    shown = {(red, green, 255 - red) for red, green in zip(reds.flat, greens.flat, strict=True)}
    assert len(shown) == png.PALETTE_SIZE
    assert shown < pixels(ax.figure)  # with the colours of the axes there are more than a palette holds


@pytest.mark.parametrize("cells", STUDIES.values(), ids=STUDIES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_study_figures_are_readable(kind, cells):
    if figure := study_figure(kind, cells):
        check_readable(figure)


def test_what_there_is_nothing_of_is_not_drawn():
    def missing(study: str) -> set[str]:
        return {kind for kind in figures.STUDY_FIGURES if not study_figure(kind, STUDIES[study])}

    assert missing("with controls") == set()
    assert missing("whole") == {"controls"}
    assert missing("one cell") == {"controls", "heat_map", "activation_differences"}


def test_study_figures_are_named_by_their_kind_and_study():
    cells = [
        cell for cell in STUDIES["with controls"] if cell["model"] == "charlm" and cell["activation"][:4] != "smel"
    ]
    measured = measure_study(cells[::2], "cpu")
    for named, ending in ((False, ""), (True, "_cpu")):
        names = {name for name, _ in analyze_results.study_figures(measured, named)}
        assert {f"shamir_{kind}{ending}.png" for kind in figures.STUDY_FIGURES} <= names


def test_cvs_have_the_interval_of_the_table_of_sensitivity():
    lines = study_figure("cross_model_analysis", STUDIES["whole"]).axes[1].lines
    drawn = [list(line.get_ydata()) for line in lines if "interval" in line.get_label()]
    rows = sensitivity_rows(measure_study(STUDIES["whole"], "cpu"))
    assert drawn == [[row["low_cv"], row["high_cv"]] for row in rows]


@pytest.mark.parametrize("kind", figures.STUDY_FIGURES)
def test_study_figures_say_which_study_and_how_many_trials(kind):
    title = study_figure(kind, STUDIES["with controls"]).get_suptitle()
    assert "study cpu: N = 3 trials a cell" in title


@pytest.mark.parametrize("kind", KINDS)
def test_study_figures_are_not_too_large(kind):
    assert len(png.png_bytes(study_figure(kind, STUDIES["with controls"]))) < 150_000


def test_figures_of_disagreement_need_cells_that_tell_of_it():
    silent = random_cell("charlm", "relu")
    for entry in (*silent["trials"], *silent["pairs"]):
        for name in {"breakdown", "passage"} & entry.keys():
            del entry[name]
    measured = [measure(cell) for cell in (silent, *STUDIES["odd cells"])]
    told = [
        CELLS[name]["activation"] for name in ("two trials", "three trials", "ten trials", "diverged", "identical")
    ]
    for chosen in (with_breakdown(measured), with_passages(measured)):
        assert [cell["activation"] for cell in chosen] == told


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
    figure = figures.smelu_sweep(measure_study(cells, "cpu"), colours_of(cells))
    check_readable(figure)
    assert len(png.png_bytes(figure)) < 60_000


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
    first, second = (png.png_bytes(cell_figure("summary", CELLS["three trials"])) for _ in range(2))
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
    with Image.open(io.BytesIO(png.png_bytes(figure))) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(10**6)}


@pytest.mark.parametrize(
    "kind",
    ["shamir_comparison", "where_disagreement_lives", "cross_model_analysis", "pd_over_training", "loss_pd_plane"],
)
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


def test_groups_are_dots_at_their_values_and_small_ones_are_left_out(ax):
    groups = {
        "n_predictions": [0, 9, 10, 100, 100, 100, 81],
        "relative_pd": [None, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5],
        "top1_mismatches": [0, 9, 5, 40, 30, 20, 0],
    }
    pairs = [make_pair(1, 2, breakdown={"word_position": groups})]
    cell, colours = make_cell(activation="gelu", pairs=pairs), {"relu": "blue", "gelu": "red"}
    assert disagreement.plot_breakdown(ax, [cell], "word_position", "mismatch_share", colours) is ax
    dots, line = (drawn.get_ydata().tolist() for drawn in ax.lines)
    assert dots == pytest.approx([np.nan, np.nan, 0.5, 0.4, 0.3, 0.2, 0], nan_ok=True)
    assert line == pytest.approx(dots[:6], nan_ok=True)  # what is no letter stands apart
    assert {drawn.get_color() for drawn in ax.lines} == {"red"}


def test_grey_bars_are_the_fractions_of_all_predictions(ax):
    cells = [random_cell("charlm", "relu"), random_cell("charlm", "gelu", n_trials=2)]
    disagreement.plot_group_shares(ax, cells, "character_class")
    classes = [pair["breakdown"]["character_class"]["n_predictions"] for cell in cells for pair in cell["pairs"]]
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx(np.sum(classes, axis=0) / np.sum(classes))


def test_agreement_is_told_character_by_character():
    right, wrong, apart = disagreement.AGREEMENT
    assert disagreement.agreement("abcd", "abxx", "axxd") == [right, apart, wrong, apart]
    first, second = ({"passage": {"text": "abcd", "predicted": predicted}} for predicted in ("abxx", "axxd"))
    said = "alike on 2 of 4 characters, right on 1 of these; not alike on 2"
    assert disagreement.agreement_text(first, second) == said


@pytest.mark.parametrize("text", [PASSAGE, "x" * 200, "a\n\nb\n\n" * 3, "y" * 57 + "\n\n" + "z"])
def test_lines_to_draw_lose_nothing_and_fit(text):
    lines = disagreement.text_lines(text)
    assert "".join(lines) == text
    assert max(map(len, lines)) <= disagreement.LONGEST_LINE


def test_a_speech_is_a_line():
    assert disagreement.text_lines(PASSAGE) == [PASSAGE[:53], PASSAGE[53:]]


def test_shades_are_those_that_the_files_keep():
    for colour in disagreement.AGREEMENT.values():
        shades = [disagreement.shade(colour, confidence) for confidence in (0, 0.3, 0.5, 0.7, 1)]
        assert len(set(shades)) == disagreement.SHADES
        assert shades[-1] == disagreement.shade(colour, 0.81)
        levels = 15 * np.array(shades)
        assert levels == pytest.approx(np.round(levels))


def test_a_passage_shows_what_was_to_be_predicted_and_what_both_predict(ax):
    first, second = (
        make_trial(number, passage={"text": "A b\n", "predicted": predicted, "probability": [0.1, 0.5, 0.9, 1.0]})
        for number, predicted in ((3, "A c "), (7, "Axc\n"))
    )
    assert disagreement.plot_passage(ax, first, second) is ax
    rows = {}
    for text in ax.texts:
        rows[text.get_position()[1]] = rows.get(text.get_position()[1], "") + text.get_text()
    assert list(rows.values()) == ["A␣b⏎", "A␣c␣", "Axc⏎"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["text", "trial 3", "trial 7"]
    assert [text.get_text() for text in ax.texts if text.get_weight() == "bold"] == ["A", "␣", "A", "⏎"]
    right, wrong, apart = disagreement.AGREEMENT.values()
    kinds = zip((right, apart, wrong, apart), (0.1, 0.5, 0.9, 1.0), strict=True)
    fills = [disagreement.shade(*kind) for kind in kinds]
    assert np.array([bar.get_facecolor()[:3] for bar in ax.patches]) == pytest.approx(np.array(fills * 2))


def evaluated(cell: dict, steps: list[int]) -> dict:
    """The cell as if it had been evaluated at these steps, with PD going up in a line from 0."""
    for trial in cell["trials"]:
        trial["history"] = {"step": steps, "val_loss": [4.0] * len(steps)}
    for pair in cell["pairs"]:
        pair["history"] = {"relative_pd": [pair["relative_pd"] * step / steps[-1] for step in steps]}
    return measure(cell)


def test_pd_over_training_goes_through_the_means_over_pairs(ax):
    cell = measure(CELLS["three trials"])
    plot_utils.plot_pd_over_training(ax, [cell], {cell["activation"]: "black"})
    (curve, *_) = ax.lines
    assert curve.get_xdata().tolist() == [0, 50, 100]
    means = [np.mean([pair["history"]["relative_pd"][i] for pair in cell["pairs"]]) for i in range(3)]
    assert curve.get_ydata() == pytest.approx(means)
    assert means[-1] == pytest.approx(cell["mean_relative_pd"])
    last = ax.containers[-1][2][0].get_segments()[0]
    assert last[:, 1] == pytest.approx([cell["low_relative_pd"], cell["high_relative_pd"]])


def test_curves_with_many_evaluations_have_few_bars_and_one_at_the_end(ax):
    cell = evaluated(random_cell("charlm", "relu", n_trials=4), list(range(0, 5001, 100)))
    plot_utils.plot_pd_over_training(ax, [cell], {"relu": "black"})
    places = [container[0].get_xdata()[0] for container in ax.containers]
    assert len(places) == plot_utils.BARS_ALONG and (places[0], places[-1]) == (0, 5000)


def test_curves_are_shifted_by_less_than_half_the_way_to_the_next_bar(ax):
    cells = [measure(random_cell("charlm", name)) for name in ACTIVATIONS]
    plot_utils.plot_pd_over_training(ax, cells, colours_of(cells))
    starts = [curve.get_xdata()[0] for curve in ax.lines if len(curve.get_xdata()) == 3]
    assert len(set(starts)) == len(ACTIVATIONS) and max(map(abs, starts)) < 25


def test_a_path_ends_at_its_cell(ax):
    cell = measure(CELLS["three trials"])
    plot_utils.plot_paths(ax, [cell], {cell["activation"]: "black"})
    way = ax.lines[0].get_xydata()
    assert len(way) == 3 and way[0, 0] == pytest.approx(4.2)
    assert way[-1] == pytest.approx([cell["mean_val_loss"], cell["mean_relative_pd"]])


def test_no_cell_is_below_the_stairs_of_the_front(ax):
    points = [(2.0, 0.4), (2.2, 0.3), (2.3, 0.35), (2.5, 0.2), (2.6, 0.25)]
    cells = [{"mean_val_loss": loss, "mean_relative_pd": pd} for loss, pd in points]
    ax.plot(*zip(*points, strict=True), "o")
    plot_utils.plot_front(ax, pareto_front(cells))
    stairs = ax.lines[-1].get_path().vertices
    heights = [stairs[stairs[:, 0] <= loss][-1, 1] for loss, _ in points]
    assert heights == [0.4, 0.3, 0.3, 0.2, 0.2]


def difference(activation: str, value: float, shown: str) -> dict:
    bounds = {"difference": value, "low_difference": value - 0.02, "high_difference": value + 0.01}
    return {"model": "charlm", "activation": activation, "relative_difference": 100 * value, "shown": shown} | bounds


DIFFERENCES = [difference("gelu", -0.1, "yes"), difference("swish", 0.05, "no")]


def test_only_differences_that_are_shown_are_filled(ax):
    colours = plot_utils.activation_colours(ACTIVATIONS)
    plot_utils.plot_forest(ax, DIFFERENCES, ["gelu", "swish", "swiglu"], colours)
    (gelu, _, bars), (swish, *_) = ax.containers
    assert gelu.get_markerfacecolor() == colours["gelu"] and swish.get_markerfacecolor() == "white"
    assert gelu.get_xydata().tolist() == [[-0.1, 0]] and swish.get_xydata().tolist() == [[0.05, 1]]
    assert bars[0].get_segments()[0][:, 0] == pytest.approx([-0.12, -0.09])
    assert sum(ax.get_xlim()) == 0


def test_the_heat_map_marks_differences_that_are_shown(ax):
    cells = [measure(make_cell("charlm", "relu"))]
    plot_utils.plot_differences(ax, cells, DIFFERENCES, ["relu", "gelu", "swish", "swiglu"])
    assert [text.get_text() for text in ax.texts] == ["0.250", "\N{MINUS SIGN}10.0*", "+5.0", ABSENT]
    assert [text.get_weight() == "bold" for text in ax.texts] == [False, True, False, False]


def test_bars_of_controls_are_as_long_as_pd(ax):
    whole = measure(random_cell("charlm", "relu")) | {"varies": "everything"}
    nothing = measure(CELLS["identical"]) | {"varies": "nothing", "activation": "relu"}
    plot_utils.plot_controls(ax, [whole, nothing], ["everything", "nothing"], {"relu": "black", "gelu": "black"})
    assert [bar.get_width() for bar in ax.patches] == [whole["mean_relative_pd"], 0]
    assert [bar.get_y() + bar.get_height() / 2 for bar in ax.patches] == pytest.approx([0, 1])
    assert [text.get_text() for text in ax.texts] == [f"{whole['mean_relative_pd']:.3f}", "0.000"]


def test_functions_return_their_axes(ax):
    measured = measure_study(STUDIES["odd cells"], "cpu")
    colours = colours_of(measured)
    assert plot_utils.plot_grid(ax, measured, "relative_pd", colours) is ax
    assert plot_utils.plot_plane(ax, measured, colours) is ax
    assert plot_utils.plot_losses(ax, measured[0], "black") is ax
