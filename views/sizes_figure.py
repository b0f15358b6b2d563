"""The figure of sizes: how PD, its CV over activations, its companions and loss go with the number of parameters."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter

import plot_utils as plots
from analysis.equal_loss import When
from analysis.findings import Findings
from analysis.sizes import QUANTITIES, REPORTED_SLOPE, SizeTrend
from analysis.variants import is_cv, quantity_label
from labels import label
from views.drawing import Kind

THE_REPORT_S: dict[str, Any] = {"color": plots.DARK, "linestyle": "--", "linewidth": 1.0}
COLUMNS = 4
COLOURS = {"charlm": plots.COLOURS["relu"], "minigpt": plots.COLOURS["swiglu"]}


def plot_sizes(ax: Axes, trends: Sequence[SizeTrend]) -> Axes:
    """A mark with its interval at every size of each architecture, the straight line through them and, of the CV of
    which the report has a slope, one that is as steep, dashed."""
    for each in trends:
        colour = COLOURS.get(each.base, plots.DARK)
        sizes = [point.n_parameters for point in each.points]
        for size, point in zip(sizes, each.points, strict=True):
            plots.plot_estimate(ax, size, point.estimate, colour, horizontal=False)
        x = np.log10(sizes)
        middle = math.fsum(point.estimate.mean for point in each.points) / len(sizes)
        ax.plot(sizes, middle + each.slope.mean * (x - x.mean()), "-", color=colour, lw=1.2, alpha=0.6)
        if each.reported:
            ax.plot(sizes, middle + REPORTED_SLOPE * (x - x.mean()), **THE_REPORT_S)
        if is_cv(each.quantity):
            ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xscale("log")
    return plots.few_ticks(ax, y=5)


def plot_rates(ax: Axes, trends: Sequence[SizeTrend]) -> Axes:
    """The learning rate of every size of each architecture; those that are alike lie side by side."""
    for place, each in enumerate(trends):
        sizes = [point.n_parameters * (1 + 0.1 * place) for point in each.points]
        rates = [point.rate for point in each.points]
        ax.plot(sizes, rates, "D", color=COLOURS.get(each.base, plots.DARK), mec="black", mew=0.6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    used = sorted({point.rate for each in trends for point in each.points if math.isfinite(point.rate)})
    ax.set_yticks(used, [f"{rate:g}" for rate in used])
    ax.yaxis.set_minor_locator(NullLocator())
    return ax


def sizes(findings: Findings, _: dict[str, str]) -> Figure:
    """A panel for each quantity."""
    trends = [each for each in findings.size_trends if each.when is When.END]
    shown = [name for name in QUANTITIES if any(each.quantity == name for each in trends)]
    n_panels = len(shown) + 1
    figure = Figure(figsize=(plots.WIDTH, plots.panel_height(n_panels, 2.4, COLUMNS) + 1))
    axes = plots.panels(figure, n_panels, COLUMNS)
    for ax, quantity in zip(axes, shown, strict=False):
        plot_sizes(ax, [each for each in trends if each.quantity == quantity])
        ax.set_title(quantity_label(quantity).replace(", ", ",\n"), size=9)
    plot_rates(axes[-1], [each for each in trends if each.quantity == shown[0]])
    axes[-1].set_title("Learning rate", size=9)
    for ax in axes:
        ax.set_xlabel("parameters")
    bases = dict.fromkeys(each.base for each in trends)
    legend = [
        Line2D([], [], color=COLOURS.get(name, plots.DARK), marker="D", mec="black", mew=0.6, label=label(name))
        for name in bases
    ]
    if any(each.reported for each in trends):
        legend.append(Line2D([], [], **THE_REPORT_S, label="as steep as the report's CV"))
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend))
    figure.suptitle(
        "How PD, its CV over activations and the loss go with size: 95 % intervals, and straight lines\n"
        f"{plots.study_and_trials(findings.measured)}"
    )
    return figure


SIZES_FIGURE = Kind(
    "sizes",
    "how PD, its CV over activations, mismatches, total variation and loss go with the number of parameters",
    lambda findings: bool(findings.size_trends),
    sizes,
)
