"""The figure of what lies around trained weights: barriers and curvature by activation, and PD beside both."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import plot_utils as plots
from analysis.findings import Findings
from analysis.landscape import LANDSCAPE, with_landscape
from analysis.measure import MeasuredCell, by_model
from analysis.table import with_interval
from metrics import METRICS
from views.drawing import Kind
from views.study_figures import architecture_markers, plot_grid

PD = "relative_pd"


def plot_against_pd(ax: Axes, cells: Sequence[MeasuredCell], metric: str, colours: dict[str, str]) -> Axes:
    """PD over a metric's mean, a mark for each cell: colour is the activation, marker the architecture."""
    markers = plots.model_markers(cell.model for cell in cells)
    for cell in cells:
        if cell.estimate(metric).known:
            look: plots.Look = {"color": colours[cell.activation], "mec": "white", "mew": 0.5, "ms": 8}
            ax.plot(cell.mean(metric), cell.mean(PD), markers[cell.model], **look)
    ax.set(xlabel=METRICS[metric].axis, ylabel=plots.axis_label(PD))
    ax.margins(0.08)
    return plots.few_ticks(ax, x=5)


def landscape(findings: Findings, colours: dict[str, str]) -> Figure:
    """Above, barrier and curvature of every cell, with intervals; below, PD beside what was measured."""
    cells = with_landscape(findings.measured)
    groups = by_model(cells)
    figure = Figure(figsize=(plots.WIDTH, 9))
    above, below = figure.subfigures(2, 1, height_ratios=[3.2, 2], squeeze=False)[:, 0]
    for ax, metric in zip(above.subplots(2, 1, sharex=True), ("barrier", "curvature"), strict=True):
        plot_grid(ax, groups, metric, colours).set_ylim(bottom=0)
        ax.set_title(f"{METRICS[metric].label}: means with 95 % intervals")
    axes = below.subplots(1, len(LANDSCAPE), sharey=True)
    found = {each.metric: each.within for each in findings.landscape_predictions}
    for ax, metric in zip(axes, LANDSCAPE, strict=True):
        within = plots.with_minus(with_interval(2)(found[metric]))
        plot_against_pd(ax, cells, metric, colours).set_title(f"ρ = {within}", size=9.5)
    for ax in axes[1:]:
        ax.set_ylabel("")
    plots.activation_legend(figure, colours, architecture_markers(cells))
    figure.suptitle(f"The loss around trained weights, {plots.study_and_trials(cells)}")
    below.suptitle("Does it predict PD? Spearman's ρ within architectures [95 % interval]", size=10.5)
    return figure


LANDSCAPE_FIGURE = Kind(
    "landscape",
    "loss barriers and curvature by activation, and PD beside them",
    lambda findings: bool(with_landscape(findings.measured)),
    landscape,
)
