"""The study's figures, composed from the axes of ``plot_utils``. No figure touches the disk or pyplot's state."""

import io
import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

import plot_utils as plots
from inference import sensitivity_rows
from labels import in_order, label
from summary import by_model, compare_activations, pair_matrix

DPI = 120
COLOUR_STEP = 17
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


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes. Coarse colours make it half the size."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as image:
        coarse = image.convert("RGB").point(lambda level: round(level / COLOUR_STEP) * COLOUR_STEP)
    coarse.save(small, format="png", optimize=True)
    return small.getvalue()


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
def smelu_sweep(sweep: list[dict], colours: dict[str, str]) -> Figure:
    """One architecture with ReLU and SmeLU (``confounds.smelu_sweeps``): PD beside loss, and each against beta."""
    figure = Figure(figsize=(9, 5.4))
    axes = figure.subplot_mosaic([["trade", "relative_pd"], ["trade", "val_loss"]], width_ratios=[1.25, 1])
    plots.plot_trade(axes["trade"], sweep, colours).set_title("PD beside loss in order of β: lower left is better")
    for metric in ("relative_pd", "val_loss"):
        plots.plot_along_beta(axes[metric], sweep, metric, colours)
    axes["relative_pd"].set_title("Each against β; bars: 95 % intervals")
    axes["val_loss"].set_xlabel("β (square-root scale)")
    _activation_legend(figure, {cell["activation"]: colours[cell["activation"]] for cell in sweep})
    name, study = label(sweep[0]["model"]), sweep[0]["study"]
    figure.suptitle(f"{name} with SmeLU of half-width β (0: ReLU), study {study}: {_trial_counts(sweep)}")
    return figure


@matplotlib.rc_context(STYLE)
def cross_model_analysis(measured: list[dict], colours: dict[str, str]) -> Figure:
    figure = Figure(figsize=(10, 8.6))
    axes = figure.subplots(2, 2)
    compared = [compare_activations(cells) for cells in by_model(measured).values()]
    matrix, models, activations = _pd_matrix(measured)
    plots.plot_grid(axes[0, 0], measured, "relative_pd", colours).set_title("A. Relative PD, 95 % intervals")
    from_noise = [row["cv_from_noise"] for row in sensitivity_rows(measured)]
    plots.plot_cv(axes[0, 1], compared, "relative_pd", from_noise).set_title("B. CV of PD over (n) activations")
    plots.plot_plane(axes[1, 0], measured, colours).set_title("C. PD beside loss: lower left is better")
    plots.plot_matrix(axes[1, 1], matrix, models, activations).set_title("D. Relative PD, all classes")
    axes[1, 1].set_xticks(range(len(activations)), activations, **plots.SLANTED)
    _activation_legend(figure, colours)
    figure.suptitle(f"Study {measured[0]['study']}: {_trial_counts(measured)}")
    return figure


def _trial_counts(measured: list[dict]) -> str:
    """How many trials the cells have, such as "N = 3" or "N = 2 to 3, 1 diverged"."""
    counts = sorted({cell["n_trials"] for cell in measured})
    diverged = sum(cell["n_diverged"] for cell in measured)
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"N = {span} trials a cell" + (f", {diverged} diverged" if diverged else "")


def _activation_legend(figure: Figure, colours: dict[str, str]) -> None:
    handles = [Line2D([], [], ls="", marker="D", color=colour, label=label(name)) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
