"""The study's figures, composed from the axes of ``plot_utils``. No figure touches the disk or pyplot's state."""

import math

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import plot_utils as plots
from analysis.controls import CONTEXTS, KINDS, control_rows
from analysis.differences import against_first
from analysis.measure import (
    by_model,
    compare_activations,
    completed_trials,
    pair_matrix,
    with_breakdown,
    with_passages,
)
from analysis.omnibus import sensitivity_rows
from analysis.trade_off import pareto_front, smelu_sweeps
from labels import in_order, label
from views import disagreement

LEGEND_CHARACTERS = 125  # in a line below a figure
SHOWN = "{}: p at most 0.05, paired test, Holm's method within the architecture"
PANELS, PANEL_HEIGHT = 3, 2.7  # of small axes in a row, and inches
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.use": True,
}


def _cell_title(cell: dict) -> str:
    return f"{label(cell['model'])} with {label(cell['activation'])}: study {cell['study']}, {plots.count_text(cell)}"


def _pd_matrix(measured: list[dict]) -> tuple[np.ndarray, list[str], list[str]]:
    """Mean relative PD (models, activations), nan where it is unknown, and the names of both axes."""
    models = in_order(cell["model"] for cell in measured)
    activations = in_order(cell["activation"] for cell in measured)
    matrix = np.full((len(models), len(activations)), math.nan)
    for cell in measured:
        if cell["mean_relative_pd"] is not None:
            place = models.index(cell["model"]), activations.index(cell["activation"])
            matrix[place] = cell["mean_relative_pd"]
    return matrix, [label(name) for name in models], [label(name) for name in activations]


@matplotlib.rc_context(STYLE)
def training_curves(cell: dict, colour: str) -> Figure:
    figure = Figure(figsize=(9, 3.5))
    left, right = figure.subplots(1, 2)
    plots.plot_losses(left, cell, colour)
    plots.plot_loss_spread(right, cell, colour)
    figure.suptitle(_cell_title(cell))
    return figure


@matplotlib.rc_context(STYLE)
def reproducibility(cell: dict, colour: str) -> Figure:
    figure = Figure(figsize=(9, 3.3))
    left, middle, right = figure.subplots(1, 3)
    plots.plot_pair_history(left, cell, "relative_pd", colour)
    plots.plot_pair_history(middle, cell, "top1_mismatches", colour)
    plots.plot_pairs(right, *pair_matrix(cell["pairs"], "relative_pd"))
    figure.suptitle(_cell_title(cell))
    return figure


@matplotlib.rc_context(STYLE)
def summary(cell: dict, colour: str) -> Figure:
    figure = Figure(figsize=(9, 5))
    axes = figure.subplots(2, 3)
    for ax, metric in zip(axes.flat, plots.UNITS, strict=True):
        plots.plot_strip(ax, cell, metric, colour)
    figure.suptitle(f"{_cell_title(cell)}; bars: 95 % intervals")
    return figure


CELL_FIGURES = {"training_curves": training_curves, "reproducibility": reproducibility, "summary": summary}


@matplotlib.rc_context(STYLE)
def shamir_comparison(measured: list[dict], colours: dict[str, str]) -> Figure:
    """The cells of one architecture: PD by activation, beside it the loss."""
    figure = Figure(figsize=(9, 1.4 + 0.55 * len(measured)))
    left, right = figure.subplots(1, 2, sharey=True)
    plots.plot_by_activation(left, measured, "relative_pd", colours)
    plots.plot_by_activation(right, measured, "val_loss", colours)
    name, study = label(measured[0]["model"]), measured[0]["study"]
    figure.suptitle(f"{name}, study {study}: lower is more reproducible (left), and better (right)")
    return figure


@matplotlib.rc_context(STYLE)
def where_disagreement_lives(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    """Mismatches and PD by groups of predictions, of the cells of one architecture."""
    measured = with_breakdown(measured)
    if not measured:
        return None
    figure = Figure(figsize=(9, 5.8))
    axes = figure.subplots(2, 3, sharex="col", sharey="row")
    for column, (grouping, (said, *_)) in enumerate(disagreement.GROUPINGS.items()):
        disagreement.plot_group_shares(axes[0, column], measured, grouping)
        for row, metric in enumerate(disagreement.METRICS):
            disagreement.plot_breakdown(axes[row, column], measured, grouping, metric, colours)
        axes[1, column].set_xlabel(said)
    for ax, name in zip(axes[:, 0], disagreement.METRICS.values(), strict=True):
        ax.set(ylabel=name, ylim=(0, 1.06 * ax.get_ylim()[1]))
    shares = Patch(color=disagreement.LIGHT, label="fraction of all predictions")
    _activation_legend(figure, colours, shares)
    where = f"Where disagreement lives: {label(measured[0]['model'])}, {_study_and_trials(measured)}"
    figure.suptitle(f"{where}\nmeans over all pairs; which activations differ is tested over all predictions only")
    return figure


@matplotlib.rc_context(STYLE)
def letter_by_letter(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    """The study's passage, as the first two trials of the first and of the last of these cells predict it."""
    measured = with_passages(measured)
    if not measured:
        return None
    shown = {cell["activation"]: completed_trials(cell)[:2] for cell in (measured[0], measured[-1])}
    lines = len(disagreement.text_lines(shown[measured[0]["activation"]][0]["passage"]["text"]))
    figure = Figure(figsize=(9, 1 + 0.87 * lines * len(shown)))
    axes = figure.subplots(len(shown), squeeze=False)[:, 0]
    for ax, (name, trials) in zip(axes, shown.items(), strict=True):
        disagreement.plot_passage(ax, *trials)
        ax.set_title(f"{label(name)}: {disagreement.agreement_text(*trials)}", loc="left")
    disagreement.agreement_legend(figure)
    figure.suptitle(f"Letter by letter: {label(measured[0]['model'])}, study {measured[0]['study']}")
    return figure


@matplotlib.rc_context(STYLE)
def smelu_sweep(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    """ReLU and SmeLU: PD beside loss, and each against beta."""
    sweep = smelu_sweeps(measured).get(measured[0]["model"])
    if not sweep:
        return None
    figure = Figure(figsize=(9, 5.4))
    axes = figure.subplot_mosaic([["trade", "relative_pd"], ["trade", "val_loss"]], width_ratios=[1.25, 1])
    plots.plot_trade(axes["trade"], sweep, colours).set_title("PD beside loss in order of β: lower left is better")
    for metric in ("relative_pd", "val_loss"):
        plots.plot_along_beta(axes[metric], sweep, metric, colours)
    axes["relative_pd"].set_title("Each against β; bars: 95 % intervals")
    axes["val_loss"].set_xlabel("β (square-root scale)")
    _activation_legend(figure, {cell["activation"]: colours[cell["activation"]] for cell in sweep})
    name = label(sweep[0]["model"])
    figure.suptitle(f"{name} with SmeLU of half-width β (0: ReLU), {_study_and_trials(sweep)}")
    return figure


# Each from the measured cells of one architecture; None where there is nothing to draw.
MODEL_FIGURES = {
    "shamir_comparison": shamir_comparison,
    "where_disagreement_lives": where_disagreement_lives,
    "letter_by_letter": letter_by_letter,
    "smelu_sweep": smelu_sweep,
}


@matplotlib.rc_context(STYLE)
def cross_model_analysis(measured: list[dict], colours: dict[str, str]) -> Figure:
    figure = Figure(figsize=(10, 8.6))
    axes = figure.subplots(2, 2)
    compared = [compare_activations(cells) for cells in by_model(measured).values()]
    matrix, models, activations = _pd_matrix(measured)
    plots.plot_grid(axes[0, 0], measured, "relative_pd", colours).set_title("A. Relative PD, 95 % intervals")
    tested = sensitivity_rows(measured)
    plots.plot_cv(axes[0, 1], compared, "relative_pd", tested).set_title("B. CV of PD over (n) activations")
    plots.plot_plane(axes[1, 0], measured, colours).set_title("C. Means of PD and loss: lower left is better")
    plots.plot_matrix(axes[1, 1], matrix, models, activations).set_title("D. Relative PD, all classes")
    axes[1, 1].set_xticks(range(len(activations)), activations, **plots.SLANTED)
    _activation_legend(figure, colours)
    figure.suptitle(f"All architectures, {_study_and_trials(measured)}")
    return figure


@matplotlib.rc_context(STYLE)
def pd_over_training(measured: list[dict], colours: dict[str, str]) -> Figure:
    groups = by_model(measured)
    figure = Figure(figsize=(10, 1.5 + PANEL_HEIGHT * _panel_rows(len(groups))))
    panels = _panels(figure, len(groups), plots.UNITS["relative_pd"])
    for ax, (model, cells) in zip(panels, groups.items(), strict=True):
        plots.plot_pd_over_training(ax, cells, colours).set_title(label(model))
    _activation_legend(figure, colours)
    shift = "bars: 95 % intervals; curves are shifted sideways to keep them apart"
    figure.suptitle(f"PD over training, {_study_and_trials(measured)}\n{shift}")
    return figure


@matplotlib.rc_context(STYLE)
def loss_pd_plane(measured: list[dict], colours: dict[str, str]) -> Figure:
    groups = by_model(measured)
    heights = [4.2, PANEL_HEIGHT * _panel_rows(len(groups))]
    figure = Figure(figsize=(10, 1 + sum(heights)))
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    whole = above.subplots()
    plots.plot_paths(whole, measured, colours).set_title(
        "From the first evaluation (loss on fixed windows) to the end (marker; loss on the whole split)"
    )
    known = [cell for cell in measured if cell["mean_relative_pd"] is not None]
    if known:
        plots.plot_front(whole, pareto_front(known))
    panels = _panels(below, len(groups), plots.UNITS["relative_pd"])
    for ax, (model, cells) in zip(panels, groups.items(), strict=True):
        front = pareto_front([cell for cell in cells if cell in known])
        plots.plot_ends(ax, cells, front, colours).set_title(f"{label(model)}: the end")
    _activation_legend(figure, colours)
    figure.suptitle(
        f"Loss and PD, {_study_and_trials(measured)}; lower left is better\n"
        "dashed: Pareto front of the means; bars below: 95 % intervals"
    )
    return figure


@matplotlib.rc_context(STYLE)
def heat_map(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    rows = against_first(measured)
    if not rows:
        return None
    figure = Figure(figsize=(10, 1.8 + 0.45 * len(by_model(measured))))
    activations = list(colours)
    plots.plot_differences(figure.subplots(), measured, rows, activations)
    what = f"Relative PD against that with {label(activations[0])} (%)"
    figure.suptitle(f"{what}, {_study_and_trials(measured)}\n{SHOWN.format('*')}")
    return figure


@matplotlib.rc_context(STYLE)
def activation_differences(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    groups, rows = by_model(measured), against_first(measured)
    if not rows:
        return None
    first, *others = colours
    height = 0.9 + 0.27 * max(len(others), 3)
    figure = Figure(figsize=(10, 0.8 + height * _panel_rows(len(groups))))
    for ax, model in zip(_panels(figure, len(groups), sharey=True), groups, strict=True):
        own = [row for row in rows if row["model"] == model]
        plots.plot_forest(ax, own, others, colours).set_title(label(model))
        ax.set_xlabel("difference of relative PD")
    figure.suptitle(
        f"Relative PD minus that with {label(first)} (left: more reproducible), {_study_and_trials(measured)}\n"
        f"bars: 95 % intervals, paired by seed; {SHOWN.format('filled')}"
    )
    return figure


@matplotlib.rc_context(STYLE)
def controls(measured: list[dict], colours: dict[str, str]) -> Figure | None:
    rows = control_rows(measured)
    if not rows:
        return None
    groups = by_model(rows)
    kinds = [kind for kind in KINDS if any(row["varies"] == kind for row in rows)]
    most = max(len({row["activation"] for row in own}) for own in groups.values())
    bar = 0.17 if most <= plots.BARS_WITH_NUMBERS else 0.09
    height = 0.8 + len(kinds) * max(0.3, bar * most)
    figure = Figure(figsize=(10, 1 + height * _panel_rows(len(groups))))
    panels = _panels(figure, len(groups), sharey=True)
    for ax, (model, own) in zip(panels, groups.items(), strict=True):
        plots.plot_controls(ax, own, kinds, colours).set_title(label(model))
        ax.set_xlabel(plots.UNITS["relative_pd"])
    names = {row["activation"] for row in rows}
    own_trials = [row for row in rows if row["varies"] != CONTEXTS]
    _activation_legend(figure, {name: colour for name, colour in colours.items() if name in names})
    figure.suptitle(f"PD by what differs between trials, {_study_and_trials(own_trials)}, 95 % intervals")
    return figure


# Each from the measured cells of a study; None where there is nothing to draw.
STUDY_FIGURES = {
    "cross_model_analysis": cross_model_analysis,
    "pd_over_training": pd_over_training,
    "loss_pd_plane": loss_pd_plane,
    "heat_map": heat_map,
    "activation_differences": activation_differences,
    "controls": controls,
}


def _panels(figure: Figure | SubFigure, count: int, row_label: str = "", **options) -> list[Axes]:
    """``count`` axes, ``PANELS`` in a row, each row with its label."""
    columns = min(count, PANELS)
    axes = figure.subplots(_panel_rows(count), columns, squeeze=False, **options)
    for ax in axes[:, 0]:
        ax.set_ylabel(row_label)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return list(axes.flat[:count])


def _panel_rows(count: int) -> int:
    return math.ceil(count / PANELS)


def _study_and_trials(cells: list[dict]) -> str:
    """Such as "study cpu: N = 3 trials a cell" or "study cpu: N = 2 to 3 trials a cell, 1 diverged"."""
    counts = sorted({cell["n_trials"] for cell in cells})
    diverged = sum(cell["n_diverged"] for cell in cells)
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"study {cells[0]['study']}: N = {span} trials a cell" + (f", {diverged} diverged" if diverged else "")


def _activation_legend(figure: Figure, colours: dict[str, str], *others: Artist) -> None:
    handles = [Line2D([], [], ls="", marker="D", color=colour, label=label(name)) for name, colour in colours.items()]
    handles += others
    fitting = LEGEND_CHARACTERS // (max(len(handle.get_label()) for handle in handles) + 6)  # marker and space
    columns = math.ceil(len(handles) / math.ceil(len(handles) / fitting))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
