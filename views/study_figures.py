"""The figures of a whole study: its architectures beside each other."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import plot_utils as plots
from analysis.controls import CONTEXTS, KINDS, Control
from analysis.differences import Difference, first_activation
from analysis.findings import Findings
from analysis.measure import MeasuredCell, over_training, spread_over
from analysis.omnibus import Sensitivity
from analysis.stats_many import MARGIN
from analysis.table import ABSENT, number
from analysis.trade_off import pareto_front
from labels import in_order, label
from views.drawing import Kind

PD, LOSS = "relative_pd", "val_loss"
SHOWN = "p at most .05 over the architecture (sign flips, step-down)"
PATHS = (
    "Over training, from the first evaluation after its start to the end (diamond); grey: the ends of the others.\n"
    "Loss: on fixed windows, at the end on the whole split."
)
BARS_WITH_NUMBERS = 6  # in a group, at most


def known_of(cells: Sequence[MeasuredCell]) -> list[MeasuredCell]:
    """The cells with a PD."""
    return [cell for cell in cells if cell.estimate(PD).known]


# ---------------------------------------------------------------- all architectures in one panel


def plot_deviation_from_mean(ax: Axes, groups: dict[str, list[MeasuredCell]], activations: list[str]) -> Axes:
    """PD of every cell as a number, and as colour how far it is from the mean of its architecture, in percent."""
    percent = np.full((len(groups), len(activations)), math.nan)
    texts = np.full(percent.shape, ABSENT, dtype=object)
    for row, cells in enumerate(groups.values()):
        mean = spread_over(cells, PD).mean
        for cell in known_of(cells):
            place = row, activations.index(cell.activation)
            percent[place] = 100 * (cell.mean(PD) / mean - 1) if mean else 0.0
            texts[place] = f"{cell.mean(PD):.3f}"
    plots.plot_deviations(ax, percent, texts, [label(name) for name in activations], fit=(4, 8))
    return plots.name_rows(ax, [label(model) for model in groups])


def plot_cv(ax: Axes, sensitivities: Sequence[Sensitivity]) -> Axes:
    """A row for each architecture: the CV observed over activations in percent, what noise alone gives, and the 95 %
    interval of what is left without noise."""
    for row, found in enumerate(sensitivities):
        if math.isnan(found.cv.mean):
            ax.annotate("needs two activations", (0, row), (4, 0), textcoords="offset points", va="center", size=9)
            continue
        ax.plot(100 * found.cv.mean, row, "o", color=plots.DARK, ms=7, label="observed", zorder=3)
        if found.cv.has_interval:
            bounds = [100 * found.cv.low, 100 * found.cv.high]
            ax.plot(bounds, [row, row], "-|", color=plots.DARK, lw=1.8, ms=9, label="95 % interval, noise taken out")
            noise = 100 * found.from_noise
            ax.plot(noise, row, "|", color="#999999", ms=14, mew=3.5, label="what noise alone gives", zorder=2)
    ax.axvline(
        100 * MARGIN,
        color=plots.GREY,
        lw=1,
        ls=":",
        label=f"{100 * MARGIN:.0f} %: the margin",
    )
    ax.set_xlim(0, 1.05 * max(ax.get_xlim()[1], 100 * MARGIN))
    ax.set_xlabel("% of mean PD")
    return plots.name_rows(plots.few_ticks(ax, x=6), [_cv_row_name(found) for found in sensitivities])


def _cv_row_name(found: Sensitivity) -> str:
    if found.n_activations == found.n_cells:
        return label(found.model)
    return f"{label(found.model)}\n({found.n_activations} of {found.n_cells} activations)"


def plot_grid(ax: Axes, groups: dict[str, list[MeasuredCell]], metric: str, colours: dict[str, str]) -> Axes:
    """A group for each architecture, in it the mean and 95 % interval of every activation."""
    for place, cells in enumerate(groups.values()):
        if place % 2:
            ax.axvspan(place - 0.5, place + 0.5, color="#F4F4F4", lw=0, zorder=0)
        for cell in cells:
            at = place + plots.sideways(cell.activation, colours, 0.76)
            plots.plot_estimate(ax, at, cell.estimate(metric), colours[cell.activation], horizontal=False)
    ax.set_xticks(
        range(len(groups)), [label(model) for model in groups], **(plots.SLANTED if len(groups) > 3 else {})
    )
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.grid(axis="x", visible=False)
    ax.set_ylabel(plots.axis_label(metric))
    return ax


def plot_plane(ax: Axes, cells: Sequence[MeasuredCell], colours: dict[str, str]) -> Axes:
    """Loss and PD of every cell at the end: colour is the activation, marker the architecture; on the Pareto front
    of all of them the edge is black."""
    known = known_of(cells)
    if not known:
        return plots.nothing(ax, "needs two trials")
    front = pareto_front(known)
    for model, marker in plots.model_markers(cell.model for cell in cells).items():
        for cell in known:
            if cell.model == model:
                edge: plots.Look = (
                    {"mec": "black", "mew": 1.2, "zorder": 3} if cell in front else {"mec": "white", "mew": 0.5}
                )
                ax.plot(cell.mean(LOSS), cell.mean(PD), marker, color=colours[cell.activation], ms=8, **edge)
    ax.set(xlabel=plots.axis_label(LOSS), ylabel=plots.axis_label(PD))
    ax.margins(0.07)
    plots.plot_front(ax, front)
    return plots.few_ticks(ax, x=6)


def architecture_markers(cells: Sequence[MeasuredCell]) -> list[Line2D]:
    """The entries of a legend of ``plot_plane``."""
    look: plots.Look = {"ls": "", "color": "white", "mec": plots.DARK, "ms": 7}
    markers = plots.model_markers(cell.model for cell in cells)
    return [Line2D([], [], marker=marker, label=label(model), **look) for model, marker in markers.items()]


# ---------------------------------------------------------------- one architecture a panel


def plot_pd_over_training(ax: Axes, cells: Sequence[MeasuredCell], colours: dict[str, str]) -> Axes:
    """Mean PD of each cell of one architecture at the steps of its evaluations, in a band of its 95 % interval."""
    followed = {cell.activation: points for cell in cells if (points := over_training(cell))}
    if not followed:
        return plots.nothing(ax, "needs two trials")
    opacity = min(0.13, 0.9 / len(followed))
    for name, points in followed.items():
        steps, estimates = [point["step"] for point in points], [point[PD] for point in points]
        low, high = [each.low for each in estimates], [each.high for each in estimates]
        ax.fill_between(steps, low, high, color=colours[name], alpha=opacity, lw=0)
        ax.plot(steps, [each.mean for each in estimates], color=colours[name], lw=1.6, marker="o", ms=3.5)
    plots.step_ticks(plots.few_ticks(ax, y=6), steps)
    return ax


def plot_paths(
    ax: Axes, cells: Sequence[MeasuredCell], colours: dict[str, str], others: Sequence[MeasuredCell]
) -> Axes:
    """The way of each cell of one architecture through the plane of loss and PD, from its first evaluation after
    training began to its end (a diamond); grey dots are where ``others`` end."""
    ends = known_of(others)
    ax.plot(
        [cell.mean(LOSS) for cell in ends], [cell.mean(PD) for cell in ends], "o", color="#C8C8C8", ms=3, zorder=1
    )
    for cell in known_of(cells):
        then = [(point[LOSS].mean, point[PD].mean) for point in over_training(cell)[1:-1]]
        way = np.array([*then, (cell.mean(LOSS), cell.mean(PD))])
        colour = colours[cell.activation]
        ax.plot(*way.T, color=colour, lw=1.2, alpha=0.8, marker=".", ms=4)
        ax.plot(*way[-1], "D", color=colour, mec="black", mew=0.6, ms=5.5)
    return plots.few_ticks(ax, x=4, y=5)


def plot_forest(ax: Axes, differences: Sequence[Difference], rows: list[str], colours: dict[str, str]) -> Axes:
    """A row for each activation of ``rows``: the difference with its 95 % interval; filled where it is shown."""
    known = [each for each in differences if each.estimate.known]
    hollow = [each.activation for each in known if not each.shown]
    plots.plot_rows(ax, {each.activation: each.estimate for each in known}, colours, rows, hollow)
    if known:
        ax.axvline(0, color=plots.GREY, lw=1, zorder=1)
        ax.xaxis.set_major_formatter(plots.PLAIN)
    else:
        plots.say(ax, "nothing to compare")
    return ax


def plot_controls(ax: Axes, controls: Sequence[Control], kinds: list[str], colours: dict[str, str]) -> Axes:
    """Bars of PD by what differs between trials, one of ``kinds`` a group, in it a bar for each activation."""
    names = in_order(control.cell.activation for control in controls)
    height = 0.8 / len(names)
    for control in controls:
        estimate, name = control.cell.estimate(PD), control.cell.activation
        if not estimate.known:
            continue
        place = kinds.index(control.varies) + (names.index(name) - (len(names) - 1) / 2) * height
        look: plots.Look = {"color": colours[name], "ec": colours[name]}  # the edge lets a bar of length 0 be seen
        reach = plots.interval_reach(estimate)
        ax.barh(place, estimate.mean, 0.85 * height, xerr=reach, ecolor="black", capsize=2, **look)
        if len(names) <= BARS_WITH_NUMBERS:
            end = estimate.high if estimate.has_interval else estimate.mean
            above: plots.Look = {"textcoords": "offset points", "va": "center", "size": plots.SMALL}
            ax.annotate(f"{estimate.mean:.3f}", (end, place), (4, 0), **above)
    return plots.name_rows(ax, kinds)


# ---------------------------------------------------------------- figures


def cross_model_analysis(findings: Findings, colours: dict[str, str]) -> Figure:
    """The study in four panels: two with architectures as rows, two with PD as the upright axis."""
    measured, groups = findings.measured, findings.models
    heights = [1.75 + 0.34 * max(len(groups), 5), 4.1]
    figure = Figure(figsize=(plots.WIDTH, 0.9 + sum(heights)))
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    a, b = above.subplots(1, 2, width_ratios=[1.5, 1], sharey=True)
    plot_deviation_from_mean(a, groups, list(colours)).set_title("A. Relative PD; colour: from the row's mean")
    plots.deviation_scale(above, a, pad=0.02, aspect=15)
    plot_cv(b, findings.sensitivities()).set_title("B. CV of PD over activations")
    b.tick_params(axis="y", which="both", length=0)
    plots.legend_once(b, **BELOW)
    c, d = below.subplots(1, 2, width_ratios=[1.2, 1], sharey=True)
    plot_grid(c, groups, PD, colours).set_title("C. Means with 95 % intervals")
    plot_plane(d, measured, colours).set(title="D. Means beside loss; dashed: Pareto front", ylabel="")
    d.legend(handles=architecture_markers(measured), ncols=3, columnspacing=1, handletextpad=0, **BELOW)
    plots.activation_legend(figure, colours)
    figure.suptitle(f"Disagreement between two trainings (PD), {plots.study_and_trials(measured)}")
    return figure


BELOW: plots.Look = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.2}  # axes with a label


def pd_over_training(findings: Findings, colours: dict[str, str]) -> Figure:
    """PD at every evaluation, a panel for each architecture."""
    groups = findings.models
    figure = Figure(figsize=(plots.WIDTH, 1.5 + plots.panel_height(len(groups), 2.5)))
    axes = plots.panels(figure, len(groups), sharex=True, sharey=True)
    for ax, (model, cells) in zip(axes, groups.items(), strict=True):
        plot_pd_over_training(ax, cells, colours).set_title(label(model))
    plots.outer_labels(axes, "training step", plots.axis_label(PD))
    plots.activation_legend(figure, colours)
    figure.suptitle(
        f"PD over training, {plots.study_and_trials(findings.measured)}\nmeans over pairs; bands: 95 % intervals"
    )
    return figure


def loss_pd_plane(findings: Findings, colours: dict[str, str]) -> Figure:
    """Where all cells end in the plane of loss and PD; below, their ways there, a panel for each architecture."""
    measured, groups = findings.measured, findings.models
    heights = [3.6, plots.panel_height(len(groups), 2.5)]
    figure = Figure(figsize=(plots.WIDTH, 1.3 + sum(heights)))
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    whole = above.subplots()
    plot_plane(whole, measured, colours).set_title(
        "Where training ends; dashed and black edges: Pareto front of the means"
    )
    whole.legend(handles=architecture_markers(measured), loc="center left", bbox_to_anchor=(1, 0.5))
    axes = plots.panels(below, len(groups), sharex=True, sharey=True)
    for ax, (model, cells) in zip(axes, groups.items(), strict=True):
        others = [cell for cell in measured if cell.model != model]
        plot_paths(ax, cells, colours, others).set_title(label(model))
    plots.outer_labels(axes, plots.axis_label(LOSS), plots.axis_label(PD))
    plots.activation_legend(figure, colours)
    figure.suptitle(f"Loss and PD, {plots.study_and_trials(measured)}; lower left: lower loss, more alike")
    below.suptitle(PATHS, size=10.5)
    return figure


def heat_map(findings: Findings, colours: dict[str, str]) -> Figure:
    """PD against that with the first activation in percent, and which differences are shown."""
    measured, groups = findings.measured, findings.models
    first = first_activation(measured)
    activations, models = list(colours), list(groups)
    percent = np.full((len(models), len(activations)), math.nan)
    texts = np.full(percent.shape, ABSENT, dtype=object)
    for cell in measured:
        if cell.activation == first:
            texts[models.index(cell.model), 0] = number("{:.3f}")(cell.mean(PD))
    for each in findings.against_first:
        place = models.index(each.model), activations.index(each.activation)
        percent[place] = 100 * each.relative
        texts[place] = number("{:+z.1f}", 100)(each.relative) + ("*" if each.shown else "")
    figure = Figure(figsize=(plots.WIDTH, 1.8 + 0.42 * max(len(models), 5)))
    ax = figure.subplots()
    names = [f"{label(first)}: PD", *map(label, activations[1:])]
    plots.plot_deviations(ax, percent, texts, names, fit=(7, 14))
    plots.name_rows(ax, [label(model) for model in models])
    plots.deviation_scale(figure, ax, pad=0.02)
    figure.suptitle(
        f"Relative PD against that with {label(first)} (%), {plots.study_and_trials(measured)}\n*: {SHOWN}"
    )
    return figure


def activation_differences(findings: Findings, colours: dict[str, str]) -> Figure:
    """PD minus that with the first activation, with intervals, a panel for each architecture."""
    groups, first = findings.models, first_activation(findings.measured)
    rows = [name for name in colours if name != first]
    height = 0.9 + 0.25 * max(len(rows), 3)
    figure = Figure(figsize=(plots.WIDTH, 1.1 + height * plots.panel_rows(len(groups))))
    axes = plots.panels(figure, len(groups), sharex=True, sharey=True)
    for ax, model in zip(axes, groups, strict=True):
        own = [each for each in findings.against_first if each.model == model]
        plot_forest(ax, own, rows, colours).set_title(label(model))
    plots.few_ticks(axes[0], x=5)
    plots.outer_labels(axes, f"PD minus that with {label(first)}")
    figure.suptitle(
        f"Relative PD minus that with {label(first)}, {plots.study_and_trials(findings.measured)}\n"
        f"bars: 95 % intervals, paired by seed; filled: {SHOWN}"
    )
    return figure


def controls(findings: Findings, colours: dict[str, str]) -> Figure:
    """PD by which random streams differ between trials, a panel for each architecture."""
    groups: dict[str, list[Control]] = {}
    for control in findings.controls:
        groups.setdefault(control.cell.model, []).append(control)
    kinds = [kind for kind in KINDS if any(control.varies == kind for control in findings.controls)]
    names = in_order(control.cell.activation for control in findings.controls)
    bar = 0.17 if len(names) <= BARS_WITH_NUMBERS else 0.09
    height = 0.7 + len(kinds) * max(0.29, bar * len(names))
    figure = Figure(figsize=(plots.WIDTH, 1.2 + height * plots.panel_rows(len(groups))))
    axes = plots.panels(figure, len(groups), sharex=True, sharey=True)
    for ax, (model, own) in zip(axes, groups.items(), strict=True):
        plot_controls(ax, own, kinds, colours).set_title(label(model))
    longest = axes[0].get_xlim()[1]
    plots.few_ticks(axes[0], x=4).set_xlim(-0.01 * longest, 1.2 * longest)
    plots.outer_labels(axes, plots.axis_label(PD))
    plots.activation_legend(figure, {name: colours[name] for name in names})
    own_trials = [control.cell for control in findings.controls if control.varies != CONTEXTS]
    figure.suptitle(
        f"PD by what differs between trials, {plots.study_and_trials(own_trials)}\nmeans with 95 % intervals"
    )
    return figure


STUDY_FIGURES = (
    Kind(
        "cross_model_analysis",
        "PD of every cell, how much it depends on the activation, and PD beside loss",
        lambda findings: any(cell.n_trials for cell in findings.measured),
        cross_model_analysis,
    ),
    Kind(
        "activation_differences",
        "PD minus that with the first activation, with intervals",
        lambda findings: any(each.estimate.known for each in findings.against_first),
        activation_differences,
    ),
    Kind(
        "heat_map",
        "PD against that with the first activation, in percent",
        lambda findings: any(each.estimate.known for each in findings.against_first),
        heat_map,
    ),
    Kind(
        "loss_pd_plane",
        "loss and PD over training and at its end, with the Pareto front",
        lambda findings: bool(known_of(findings.measured)),
        loss_pd_plane,
    ),
    Kind(
        "pd_over_training",
        "PD over training",
        lambda findings: any(map(over_training, findings.measured)),
        pd_over_training,
    ),
    Kind(
        "controls",
        "PD when only some sources of randomness differ between trials",
        lambda findings: bool(findings.controls),
        controls,
    ),
)
