"""The figures of one cell: its training curves, its reproducibility, and a summary."""

import math
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import plot_utils as plots
from analysis.measure import MeasuredCell, pair_matrix
from labels import counted, label
from metrics import PAIR_METRICS
from views.drawing import Kind

SUMMARY_METRICS = (
    "val_loss",
    "val_accuracy",
    "relative_pd",
    "top1_mismatches",
    "total_variation",
    "training_time",
)
MOST_NUMBERS = 7  # trials up to which their distances are written into the heat map


def titled(cell: MeasuredCell, explanation: str) -> str:
    """The title of a figure: which cell, and what is drawn."""
    of_cell = f"{label(cell.model)} with {label(cell.activation)}, study {cell.study}, {plots.count_text(cell)}"
    return f"{of_cell}\n{explanation}"


# ---------------------------------------------------------------- axes


def plot_losses(ax: Axes, cell: MeasuredCell, colour: str) -> Axes:
    """Training and validation loss while training; diverged trials as far as they got."""
    histories = [trial["history"] for trial in cell.completed]
    for metric, name, line in (("val_loss", "validation", "-"), ("train_loss", "training", "--")):
        if histories:
            plots.plot_curves(ax, histories[0]["step"], [h[metric] for h in histories], colour, name, line)
    for trial in cell.trials:
        if trial["status"] == "diverged":
            steps, losses = trial["history"]["step"], plots.floats(trial["history"]["val_loss"])
            ax.plot(steps, losses, ":", color=plots.GREY, marker="x", ms=5, label="validation, diverged")
    ax.set(title="Loss: mean (thick), each trial (thin)", xlabel="training step", ylabel="loss (nats/char)")
    plots.legend_once(ax, handlelength=3)
    return plots.few_ticks(ax, y=6)


def plot_loss_spread(ax: Axes, cell: MeasuredCell, colour: str) -> Axes:
    """How far the validation loss of each trial is from their mean, in thousandths, once training has begun."""
    ax.set_title("Validation loss of each trial minus their mean")
    trials = cell.completed
    if len(trials) < 2:
        return plots.nothing(ax, "needs two trials")
    losses = np.array([plots.floats(trial["history"]["val_loss"]) for trial in trials])
    spread = 1000 * (losses - losses.mean(axis=0))
    ax.axhline(0, color=plots.GREY, lw=1)
    for trial, values, marker in zip(trials, spread, cycle(plots.MARKERS), strict=False):
        steps = trial["history"]["step"]
        ax.plot(steps[1:], values[1:], color=colour, lw=1, marker=marker, ms=5, label=f"trial {trial['trial']}")
    ax.set(xlabel="training step", ylabel="difference (0.001 nats/char)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), ncols=math.ceil(len(trials) / 12))
    return plots.few_ticks(ax, y=6)


def plot_pair_history(ax: Axes, cell: MeasuredCell, metric: str, colour: str) -> Axes:
    """A metric of pairs while training: each pair thin, their mean thick."""
    ax.set_title(plots.axis_label(metric))
    followed = [pair["history"] for pair in cell.pairs if metric in pair["history"]]
    if not followed:
        return plots.nothing(ax, "not followed over training" if cell.pairs else "needs two trials")
    name = f"mean of {counted(len(followed), 'pair')}"
    plots.plot_curves(ax, followed[0]["step"], [history[metric] for history in followed], colour, name)
    ax.margins(y=0.15)
    ax.set_ylim(bottom=-0.03 * ax.get_ylim()[1])  # a pair without any difference can be seen
    ax.legend()
    return ax


def plot_pairs(ax: Axes, trials: list[int], distances: np.ndarray, colour: str) -> Axes:
    """Relative PD between the trials (N,), as an (N, N) heat map from zero up, with its numbers where they fit."""
    ax.set_title("Relative PD between trials")
    if not trials:
        return plots.nothing(ax, "needs two trials")
    apart = np.where(np.eye(len(trials)), math.nan, distances)
    shades = LinearSegmentedColormap.from_list("shades", ["white", colour], N=12)
    highest = np.nanmax(apart, initial=0) or 1
    image = ax.imshow(apart, cmap=shades, vmin=0, vmax=1.8 * highest, aspect="auto")  # light enough for black numbers
    ax.set_xticks(range(len(trials)), [str(number) for number in trials])
    ax.set_yticks(range(len(trials)), [f"trial {number}" for number in trials])
    ax.grid(False)
    if len(trials) > MOST_NUMBERS:
        ax.figure.colorbar(image, ax=ax)
        return ax
    texts = [[f"{value:.3f}" if math.isfinite(value) else "" for value in row] for row in apart]
    return plots.plot_numbers(ax, np.array(texts))


def plot_strip(ax: Axes, cell: MeasuredCell, metric: str, colour: str) -> Axes:
    """Single values as dots, beside them their mean and its 95 % interval."""
    ax.set_title(plots.axis_label(metric))
    of_pairs = metric in PAIR_METRICS
    values = cell.values(metric)
    if not values:
        return plots.nothing(ax, _why_unknown(cell, of_pairs))
    places = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
    ax.plot(places, values, "o", color=colour, alpha=0.7, mew=0)
    plots.plot_estimate(ax, 0.5, cell.estimate(metric), colour, horizontal=False)
    ax.set_xticks([0, 0.5], [counted(len(values), "pair" if of_pairs else "trial"), f"mean {cell.mean(metric):.4g}"])
    ax.set_xlim(-0.4, 0.9)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="x", visible=False)
    return ax


def _why_unknown(cell: MeasuredCell, of_pairs: bool) -> str:
    if not cell.n_trials:
        return "no trial completed"
    return "needs two trials" if of_pairs and not cell.pairs else "not in this cell's file"


# ---------------------------------------------------------------- figures


def training_curves(cell: MeasuredCell, colours: dict[str, str]) -> Figure:
    """Losses over training, and how far the trials are from each other."""
    colour = colours[cell.activation]
    figure = Figure(figsize=(plots.WIDTH, 3.7))
    left, right = figure.subplots(1, 2)
    plot_losses(left, cell, colour)
    plot_loss_spread(right, cell, colour)
    figure.suptitle(titled(cell, "losses on fixed windows of the text"))
    return figure


def reproducibility(cell: MeasuredCell, colours: dict[str, str]) -> Figure:
    """PD and mismatches of every pair over training, and PD between trials at the end."""
    colour = colours[cell.activation]
    figure = Figure(figsize=(plots.WIDTH, 3.5))
    left, middle, right = figure.subplots(1, 3)
    plot_pair_history(left, cell, "relative_pd", colour)
    plot_pair_history(middle, cell, "top1_mismatches", colour)
    plot_pairs(right, *pair_matrix(cell.pairs, "relative_pd"), colour)
    figure.suptitle(titled(cell, "thin: each pair of trials; 0: two trials predict the same"))
    return figure


def summary(cell: MeasuredCell, colours: dict[str, str]) -> Figure:
    """Single values, means and intervals of the main metrics."""
    colour = colours[cell.activation]
    figure = Figure(figsize=(plots.WIDTH, 5.2))
    for ax, metric in zip(plots.panels(figure, len(SUMMARY_METRICS)), SUMMARY_METRICS, strict=True):
        plot_strip(ax, cell, metric, colour)
    figure.suptitle(titled(cell, "dots: trials or pairs; diamond: their mean with its 95 % interval"))
    return figure


CELL_FIGURES = (
    Kind("training_curves", "loss over training", lambda cell: bool(cell.trials), training_curves),
    Kind("reproducibility", "how much its trials disagree", lambda cell: bool(cell.pairs), reproducibility),
    Kind("summary", "single values and their means", lambda cell: cell.n_trials > 0, summary),
)
