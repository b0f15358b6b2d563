"""Panels of figures: estimates, metrics, paths, differences, sweeps and passages, each at its true place."""

import itertools
import math

import numpy as np
import pytest
from drawn_studies import (
    CELLS,
    CONTROLLED,
    STUDIES,
    by_name,
    cell_figure,
    colours_of,
    drawn,
    figure,
    findings_of,
    hero,
    panels_of,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic_cells import PASSAGE, make_cell, make_diverged, make_pair, make_trial, random_cell

import plot_utils
from analysis.controls import Control
from analysis.differences import Difference, SharedSeeds
from analysis.measure import MeasuredCell, measure
from analysis.stats import Estimate
from analysis.table import ABSENT
from analysis.trade_off import pareto_front
from config import ACTIVATIONS, MODELS, SMELU_BETAS
from metrics import PAIR_METRICS, Metric
from views import architecture_figures, cell_figures, disagreement, study_figures
from views.figures import drawings

# ---------------------------------------------------------------- compared panels


def joined(axes: list[Axes], which: str) -> bool:
    first, *others = axes
    shared = first.get_shared_x_axes() if which == "x" else first.get_shared_y_axes()
    return bool(others) and all(shared.joined(first, other) for other in others)


@pytest.mark.parametrize("name", ["pd_over_training", "activation_differences", "controls"])
def test_panels_of_architectures_share_both_axes(name):
    axes = panels_of(f"shamir_{name}")
    assert [each.get_title() for each in axes] == ["CharLM", "TinyLSTM"]
    assert joined(axes, "x") and joined(axes, "y")


def test_paths_share_both_axes_and_metrics_their_rows():
    whole, *paths = panels_of("shamir_loss_pd_plane")
    assert joined(paths, "x") and joined(paths, "y") and not joined([whole, *paths], "x")
    assert joined(panels_of("charlm_metrics"), "y")


def test_only_panels_with_nothing_below_name_the_axis_below():
    for name, what in (("pd_over_training", "training step"), ("loss_pd_plane", plot_utils.axis_label("val_loss"))):
        below = by_name([random_cell(model, "relu") for model in MODELS[:4]])[f"shamir_{name}"].draw()
        named = [axes.get_title() for axes in below.findobj(Axes) if axes.get_xlabel() == what and axes.axison]
        assert named[-3:] == ["MiniGPT", "NanoTransformer", "TinyLSTM"] and "CharLM" not in named


def test_the_four_panels_share_rows_above_and_pd_below():
    panels = hero()
    assert [*panels] == ["A", "B", "C", "D"]
    assert joined([panels["A"], panels["B"]], "y") and joined([panels["C"], panels["D"]], "y")


def test_functions_return_their_axes(ax):
    findings = findings_of(STUDIES["odd cells"])
    measured, colours = findings.measured, colours_of(findings.measured)
    assert study_figures.plot_grid(ax, findings.models, "relative_pd", colours) is ax
    assert study_figures.plot_plane(ax, measured, colours) is ax
    assert study_figures.plot_cv(ax, findings.sensitivities()) is ax
    assert plot_utils.plot_by_activation(ax, measured, "val_loss", colours) is ax
    assert cell_figures.plot_losses(ax, measured[0], "black") is ax


# ---------------------------------------------------------------- estimates


def drawn_interval(container) -> list[float]:
    """The ends of an error bar."""
    (segment,) = container[2][0].get_segments()
    return sorted({float(value) for value in segment.ravel()} - {float(v) for v in container[0].get_xydata()[0]})


def test_an_estimate_is_drawn_at_its_mean_with_its_interval(ax):
    estimate = measure(random_cell("charlm", "relu")).estimate("relative_pd")
    plot_utils.plot_estimate(ax, 0.5, estimate, "black", horizontal=False)
    (container,) = ax.containers
    assert container[0].get_xydata().tolist() == [[0.5, estimate.mean]]
    assert drawn_interval(container) == pytest.approx([estimate.low, estimate.high])


def test_without_an_interval_only_the_mean_is_drawn(ax):
    estimate = measure(CELLS["two trials"]).estimate("relative_pd")
    plot_utils.plot_estimate(ax, 0.5, estimate, "black", horizontal=False)
    diamond, caps, _ = ax.containers[0]
    assert len(diamond.get_xydata()) == 1
    assert not caps


def test_what_is_unknown_is_not_drawn(ax):
    unknown = measure(CELLS["one trial"]).estimate("relative_pd")
    plot_utils.plot_estimate(ax, 0, unknown, "black", horizontal=True)
    plot_utils.plot_two_estimates(ax, unknown, unknown, "black")
    assert not ax.containers and not ax.lines


def test_every_trial_and_pair_is_a_dot(ax):
    cell = measure(CELLS["ten trials"])
    cell_figures.plot_strip(ax, cell, "relative_pd", "black")
    assert ax.lines[0].get_ydata().tolist() == [pair["relative_pd"] for pair in cell.pairs]


def test_curves_show_each_trial_and_their_mean(ax):
    plot_utils.plot_curves(ax, [0, 50], [[4.0, 3.0], [4.2, 3.4]], "black", "validation")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[4.0, 3.0], [4.2, 3.4], pytest.approx([4.1, 3.2])]


def test_a_heat_map_of_trials_writes_its_numbers_but_none_on_the_diagonal(ax):
    cell_figures.plot_pairs(ax, [1, 3], np.array([[0, 0.25], [0.25, 0]]), "#000000")
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["0.250", "0.250"]


# ---------------------------------------------------------------- metrics


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.axison]


def test_every_metric_of_pairs_that_a_cell_has_gets_a_panel():
    expected = [about.label for name, about in PAIR_METRICS.items() if name not in ("text_distance", "barrier")]
    assert [title.removesuffix(" \N{UPWARDS ARROW}") for title in titles(figure("charlm_metrics"))] == expected
    arrows = [title for title in titles(figure("charlm_metrics")) if title.endswith("\N{UPWARDS ARROW}")]
    assert len(arrows) == sum(about.agreement for about in PAIR_METRICS.values())


def test_a_metric_added_to_the_registry_gets_its_panel(monkeypatch):
    monkeypatch.setitem(PAIR_METRICS, "my_metric", Metric("My metric", "bits"))
    pairs = [make_pair(*pair, my_metric=0.5) for pair in itertools.combinations((1, 2, 3), 2)]
    panel = drawn([make_cell(pairs=pairs), random_cell("charlm", "relu")], "charlm_metrics").axes[-1]
    assert (panel.get_title(), panel.get_xlabel()) == ("My metric", "bits")
    (container,) = panel.containers
    assert container[0].get_xydata().tolist() == [[0.5, 1]]


def test_cells_of_earlier_versions_are_drawn_without_what_they_lack():
    old = random_cell("charlm", "relu")
    for pair in old["pairs"]:
        del pair["hellinger"], pair["total_variation"], pair["history"]["top1_mismatches"]
    both = drawn([old, random_cell("charlm", "gelu")], "charlm_metrics")
    panels = {axes.get_title(): axes for axes in both.axes}
    assert len(panels["Hellinger"].containers) == 1 and len(panels["Symmetric KL"].containers) == 2
    assert "hellinger" not in architecture_figures.known_metrics([measure(old)])
    assert "not in this cell's file" in texts(cell_figure("summary", old))
    assert "not followed over training" in texts(cell_figure("reproducibility", old))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


# ---------------------------------------------------------------- the four panels


def test_the_heat_map_has_numbers_of_pd_and_colours_of_deviations_from_the_mean_of_the_row(ax):
    cells = [make_cell(activation=name, pairs=[make_pair(1, 2, pd)]) for name, pd in (("relu", 0.2), ("gelu", 0.3))]
    groups = {"charlm": [measure(cell) for cell in cells]}
    study_figures.plot_deviation_from_mean(ax, groups, ["relu", "gelu", "swish"])
    assert [text.get_text() for text in ax.texts] == ["0.200", "0.300", ABSENT]
    deviations = ax.images[0].get_array().filled(np.nan)
    assert deviations == pytest.approx(np.array([[-20, 20, np.nan]]), nan_ok=True)


def test_differences_within_an_architecture_can_be_told_apart_by_colour():
    shades = [plot_utils.DEVIATION(plot_utils.DEVIATION_NORM(value)) for value in (-30, -7, -2, 0, 2, 7, 30)]
    assert len(set(shades)) == len(shades)
    for red, green, blue, _ in shades:
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45  # black numbers can be read


def test_cvs_are_those_of_the_findings_with_interval_noise_and_threshold():
    found = findings_of(CONTROLLED).sensitivities()
    lines = hero()["B"].lines
    by_label = {name: [line.get_xdata() for line in lines if line.get_label() == name] for name in labels_of(lines)}
    assert [list(x) for x in by_label["observed"]] == [[100 * each.cv.mean] for each in found]
    intervals = by_label["95 % interval, noise taken out"]
    assert [list(x) for x in intervals] == [[100 * each.cv.low, 100 * each.cv.high] for each in found]
    assert [list(x) for x in by_label["what noise alone gives"]] == [[100 * each.from_noise] for each in found]
    assert [list(x) for x in by_label["10 %: the margin"]] == [[10, 10]]


def labels_of(lines) -> set[str]:
    return {line.get_label() for line in lines}


def test_every_cell_is_in_its_architectures_group_and_in_the_plane(ax):
    measured = findings_of([random_cell(model, name) for model in MODELS for name in ACTIVATIONS]).measured
    study_figures.plot_plane(ax, measured, colours_of(measured))
    markers = [line for line in ax.lines if len(line.get_xdata()) == 1]
    shown = {(line.get_xdata()[0], line.get_ydata()[0], line.get_color()) for line in markers}
    assert shown == {
        (cell.mean("val_loss"), cell.mean("relative_pd"), plot_utils.COLOURS[cell.activation]) for cell in measured
    }
    black = [line for line in markers if line.get_markeredgecolor() == "black"]
    assert len(black) == len(pareto_front(measured))


# ---------------------------------------------------------------- over training, and the plane


def evaluated(cell: dict, steps: list[int]) -> MeasuredCell:
    """The cell as if it had been evaluated at these steps, with PD going up in a line from 0."""
    for trial in cell["trials"]:
        trial["history"] = {"step": steps, "val_loss": [4.0] * len(steps)}
    for pair in cell["pairs"]:
        pair["history"] = {"step": steps, "relative_pd": [pair["relative_pd"] * step / steps[-1] for step in steps]}
    return measure(cell)


def test_pd_over_training_goes_through_the_means_over_pairs_at_the_true_steps(ax):
    cells = [measure(random_cell("charlm", name)) for name in ACTIVATIONS]
    study_figures.plot_pd_over_training(ax, cells, colours_of(cells))
    assert len(ax.lines) == len(ax.collections) == len(cells)
    for cell, curve, band in zip(cells, ax.lines, ax.collections, strict=True):
        assert curve.get_xdata().tolist() == [0, 50, 100]
        means = [np.mean([pair["history"]["relative_pd"][i] for pair in cell.pairs]) for i in range(3)]
        assert curve.get_ydata() == pytest.approx(means)
        estimate = cell.estimate("relative_pd")
        assert means[-1] == pytest.approx(estimate.mean)
        corners = band.get_paths()[0].vertices
        assert {0, 50, 100} == {*corners[:, 0]}
        ends = corners[corners[:, 0] == 100][:, 1]
        assert (ends.min(), ends.max()) == pytest.approx((estimate.low, estimate.high))


def test_many_evaluations_have_few_ticks(ax):
    cell = evaluated(random_cell("charlm", "relu", n_trials=4), list(range(0, 5001, 100)))
    study_figures.plot_pd_over_training(ax, [cell], {"relu": "black"})
    assert len(ax.lines[0].get_xdata()) == 51 and len(ax.get_xticks()) < 9


def test_a_path_begins_after_the_start_of_training_and_ends_at_its_cell(ax):
    cell, other = measure(CELLS["three trials"]), measure(random_cell("charlm", "relu"))
    study_figures.plot_paths(ax, [cell], {cell.activation: "black"}, [other])
    grey, path, end = ax.lines
    assert grey.get_xydata().tolist() == [[other.mean("val_loss"), other.mean("relative_pd")]]
    way = path.get_xydata()
    assert len(way) == 2 and way[0, 0] == pytest.approx(3.12)
    assert way[-1].tolist() == end.get_xydata()[0].tolist() == [cell.mean("val_loss"), cell.mean("relative_pd")]


def test_no_cell_is_below_the_steps_of_the_front(ax):
    points = [(2.0, 0.4), (2.2, 0.3), (2.3, 0.35), (2.5, 0.2), (2.6, 0.25)]
    cells = [measured_at(loss, pd) for loss, pd in points]
    ax.plot(*zip(*points, strict=True), "o")
    plot_utils.plot_front(ax, pareto_front(cells))
    stairs = ax.lines[-1].get_path().vertices
    heights = [stairs[stairs[:, 0] <= loss][-1, 1] for loss, _ in points]
    assert heights == [0.4, 0.3, 0.3, 0.2, 0.2]


def measured_at(loss: float, pd: float) -> MeasuredCell:
    estimates = {"val_loss": Estimate(loss, loss, loss, 3), "relative_pd": Estimate(pd, pd, pd, 3)}
    return MeasuredCell(make_cell(), estimates)


# ---------------------------------------------------------------- differences


def difference(activation: str, value: float, p: float) -> Difference:
    estimate = Estimate(value, value - 0.02, value + 0.01, 3)
    return Difference("charlm", activation, "relu", estimate, 1 + value, 1.0, SharedSeeds(3, 0, 3), p)


def test_only_differences_that_are_shown_are_filled(ax):
    differences = [difference("gelu", -0.1, 0.01), difference("swish", 0.05, 0.2)]
    colours = plot_utils.activation_colours(ACTIVATIONS)
    study_figures.plot_forest(ax, differences, ["gelu", "swish", "swiglu"], colours)
    (gelu, _, bars), (swish, *_) = ax.containers
    assert gelu.get_markerfacecolor() == colours["gelu"] and swish.get_markerfacecolor() == "white"
    assert gelu.get_xydata().tolist() == [[-0.1, 0]] and swish.get_xydata().tolist() == [[0.05, 1]]
    assert bars[0].get_segments()[0][:, 0] == pytest.approx([-0.12, -0.09])


def test_the_heat_map_marks_differences_that_are_shown(monkeypatch):
    findings = findings_of([random_cell("charlm", name) for name in ("relu", "gelu", "swish")])
    monkeypatch.setattr(findings, "against_first", [difference("gelu", -0.1, 0.01), difference("swish", 0.05, 0.2)])
    heat_map = next(d for d in drawings(findings, named=False) if d.name == "shamir_heat_map").draw()
    fields = heat_map.axes[0].texts
    pd = f"{findings.measured[0].mean('relative_pd'):.3f}"
    assert [text.get_text() for text in fields] == [pd, "\N{MINUS SIGN}10.0*", "+5.0"]
    assert [text.get_weight() == "bold" for text in fields] == [False, True, False]


def test_bars_of_controls_are_as_long_as_pd(ax):
    whole, same = measure(random_cell("charlm", "relu")), measure(CELLS["identical"] | {"activation": "relu"})
    controls = [Control("everything", whole, 1.0), Control("nothing", same, 0.0)]
    study_figures.plot_controls(ax, controls, ["everything", "nothing"], {"relu": "black", "gelu": "black"})
    assert [bar.get_width() for bar in ax.patches] == [whole.mean("relative_pd"), 0]
    assert [bar.get_y() + bar.get_height() / 2 for bar in ax.patches] == pytest.approx([0, 1])
    assert [text.get_text() for text in ax.texts] == [f"{whole.mean('relative_pd'):.3f}", "0.000"]


# ---------------------------------------------------------------- SmeLU


def sweep_of(cells: list[dict]):
    (sweep,) = findings_of(cells).sweeps.values()
    return sweep, plot_utils.activation_colours(SMELU_BETAS)


WHOLE_SWEEP = [random_cell("nanotransformer", name) for name in SMELU_BETAS]


def test_the_trade_of_pd_and_loss_joins_what_is_known_in_the_order_of_beta(ax):
    cells = [
        *(random_cell("nanotransformer", name) for name in ("relu", "smelu_05")),
        make_cell("nanotransformer", "smelu_01", trials=[make_trial(1), make_trial(2), make_diverged(3)]),
        make_cell("nanotransformer", "smelu_2", trials=[make_diverged(1), make_diverged(2)]),
    ]
    sweep, colours = sweep_of(cells)
    architecture_figures.plot_trade(ax, sweep, colours)
    known = {point.beta: [point.cell.mean("val_loss"), point.cell.mean("relative_pd")] for point in sweep[:-1]}
    assert [*known] == [0, 0.1, 0.5] and not sweep[-1].cell.estimate("relative_pd").known
    assert ax.lines[0].get_xydata().tolist() == [*known.values()]
    assert [diamond.get_xydata().tolist() for diamond, _, _ in ax.containers] == [[point] for point in known.values()]


def test_the_trade_of_pd_and_loss_has_the_intervals_of_both(ax):
    sweep, colours = sweep_of(WHOLE_SWEEP)
    architecture_figures.plot_trade(ax, sweep, colours)
    for point, (_, caps, _) in zip(sweep, ax.containers, strict=True):
        loss, pd = (point.cell.estimate(metric) for metric in ("val_loss", "relative_pd"))
        ends = [(loss.low, pd.mean), (loss.high, pd.mean), (loss.mean, pd.low), (loss.mean, pd.high)]
        assert np.allclose(sorted(tuple(cap.get_xydata()[0]) for cap in caps), sorted(ends))


def test_a_metric_along_beta_is_drawn_at_the_root_of_beta(ax):
    sweep, colours = sweep_of(WHOLE_SWEEP)
    architecture_figures.plot_along_beta(ax, sweep, "val_loss", colours)
    points = [[math.sqrt(point.beta), point.cell.mean("val_loss")] for point in sweep]
    assert ax.lines[0].get_xydata().tolist() == points
    assert [diamond.get_xydata().tolist() for diamond, _, _ in ax.containers] == [[point] for point in points]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "0.1", "0.25", "0.5", "1", "2"]


def test_losses_are_spread_around_their_mean_in_thousandths(ax):
    cell = measure(make_cell(trials=[make_trial(1, 2.4), make_trial(2, 2.6)], pairs=[make_pair(1, 2)], planned=2))
    cell_figures.plot_loss_spread(ax, cell, "black")
    _, first, second = (list(line.get_ydata()) for line in ax.lines)  # after the line at 0
    assert first == pytest.approx([-5, -100]) and second == pytest.approx([5, 100])


# ---------------------------------------------------------------- where two models disagree


def test_groups_are_dots_at_their_values_and_small_ones_are_left_out(ax):
    groups = {
        "n_predictions": [0, 9, 10, 100, 100, 100, 81],
        "relative_pd": [None, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5],
        "top1_mismatches": [0, 9, 5, 40, 30, 20, 0],
    }
    pairs = [make_pair(1, other, breakdown={"word_position": groups}) for other in (2, 3)]
    cell, colours = measure(make_cell(activation="gelu", pairs=pairs)), {"relu": "blue", "gelu": "red"}
    assert disagreement.plot_breakdown(ax, [cell], "word_position", "mismatch_share", colours) is ax
    dots, line = (drawn.get_ydata().tolist() for drawn in ax.lines)
    assert dots == pytest.approx([np.nan, np.nan, 0.5, 0.4, 0.3, 0.2, 0], nan_ok=True)
    assert line == pytest.approx(dots[:6], nan_ok=True)  # what is no letter is not joined
    assert {drawn.get_color() for drawn in ax.lines} == {"red"}


def test_grey_bars_are_the_fractions_of_all_predictions(ax):
    cells = [measure(random_cell("charlm", "relu")), measure(random_cell("charlm", "gelu", n_trials=2))]
    disagreement.plot_group_shares(ax, cells, "character_class")
    classes = [pair["breakdown"]["character_class"]["n_predictions"] for cell in cells for pair in cell.pairs]
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx(np.sum(classes, axis=0) / np.sum(classes))


def test_agreement_is_given_character_by_character():
    right, wrong, different = disagreement.AGREEMENT
    assert disagreement.agreement("abcd", "abxx", "axxd") == [right, different, wrong, different]
    first, second = ({"passage": {"text": "abcd", "predicted": predicted}} for predicted in ("abxx", "axxd"))
    said = "of 4 characters 1 both right, 1 the same and wrong, 2 different"
    assert disagreement.agreement_text(first, second) == said


@pytest.mark.parametrize("text", [PASSAGE, "x" * 200, "a\n\nb\n\n" * 3, "y" * 57 + "\n\n" + "z"])
def test_lines_to_draw_lose_nothing_and_fit(text):
    lines = disagreement.text_lines(text)
    assert "".join(lines) == text
    assert max(map(len, lines)) <= disagreement.LONGEST_LINE


def test_a_speech_is_a_line():
    assert disagreement.text_lines(PASSAGE) == [PASSAGE[:53], PASSAGE[53:]]


def test_there_is_one_shade_for_each_interval_of_confidence():
    for colour in disagreement.AGREEMENT.values():
        shades = [disagreement.shade(colour, confidence) for confidence in (0, 0.3, 0.5, 0.7, 1)]
        assert len(set(shades)) == disagreement.SHADES
        assert shades[-1] == disagreement.shade(colour, 0.81)


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
    right, wrong, different = disagreement.AGREEMENT.values()
    kinds = zip((right, different, wrong, different), (0.1, 0.5, 0.9, 1.0), strict=True)
    fills = [disagreement.shade(*kind) for kind in kinds]
    assert np.array([bar.get_facecolor()[:3] for bar in ax.patches]) == pytest.approx(np.array(fills * 2))
