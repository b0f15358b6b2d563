"""The figures of one architecture: its activations beside each other."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import plot_utils as plots
from analysis.findings import Findings
from analysis.measure import MeasuredCell, with_breakdown, with_passages
from analysis.trade_off import SweepPoint, pareto_front
from labels import label
from metrics import PAIR_METRICS
from views import disagreement
from views.drawing import Kind

METRIC_COLUMNS = 4
ROW = 0.21  # inches of a row without single values


# ---------------------------------------------------------------- axes


def plot_own_plane(ax: Axes, cells: Sequence[MeasuredCell], colours: dict[str, str]) -> Axes:
    """Loss and PD of the cells of one architecture with the 95 % intervals of both, and their Pareto front."""
    known = [cell for cell in cells if cell.estimate("relative_pd").known]
    if not known:
        return plots.nothing(ax, "needs two trials")
    for cell in known:
        plots.plot_two_estimates(
            ax, cell.estimate("val_loss"), cell.estimate("relative_pd"), colours[cell.activation]
        )
    ax.set(xlabel=plots.axis_label("val_loss"), ylabel=plots.axis_label("relative_pd"))
    plots.plot_front(ax, pareto_front(known))
    return plots.few_ticks(ax, x=4, y=6)


def plot_trade(ax: Axes, sweep: Sequence[SweepPoint], colours: dict[str, str]) -> Axes:
    """PD against loss with their 95 % intervals, joined in the order of beta."""
    cells = [point.cell for point in sweep if point.cell.estimate("relative_pd").known]
    if not cells:
        return plots.nothing(ax, "needs two trials")
    ax.plot([c.mean("val_loss") for c in cells], [c.mean("relative_pd") for c in cells], color=plots.GREY, lw=1)
    for cell in cells:
        plots.plot_two_estimates(
            ax, cell.estimate("val_loss"), cell.estimate("relative_pd"), colours[cell.activation]
        )
    ax.set(xlabel=plots.axis_label("val_loss"), ylabel=plots.axis_label("relative_pd"))
    return plots.few_ticks(ax, x=5)


def plot_along_beta(ax: Axes, sweep: Sequence[SweepPoint], metric: str, colours: dict[str, str]) -> Axes:
    """The mean and 95 % interval of a metric against beta, whose root is the scale so that small ones keep apart."""
    places = [math.sqrt(point.beta) for point in sweep]
    ax.plot(places, [point.cell.mean(metric) for point in sweep], color=plots.GREY, lw=1)
    for place, point in zip(places, sweep, strict=True):
        colour = colours[point.cell.activation]
        plots.plot_estimate(ax, place, point.cell.estimate(metric), colour, horizontal=False)
    ax.set_xticks(places, [f"{point.beta:g}" for point in sweep])
    ax.set_ylabel(plots.axis_label(metric))
    return plots.few_ticks(ax, y=5)


# ---------------------------------------------------------------- figures


def shamir_comparison(findings: Findings, model: str, colours: dict[str, str]) -> Figure:
    """PD and loss by activation, and both in one plane."""
    cells = findings.models[model]
    figure = Figure(figsize=(plots.WIDTH, max(3.8, 1.5 + 0.42 * len(cells))))
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
    plots.plot_by_activation(left, cells, "relative_pd", colours).set_title("Lower: more reproducible")
    plots.plot_by_activation(middle, cells, "val_loss", colours).set_title("Lower: better")
    middle.sharey(left)
    middle.tick_params(labelleft=False)
    plot_own_plane(right, cells, colours).set_title("Both; dashed: Pareto front")
    figure.suptitle(
        f"{label(model)}, {plots.study_and_trials(cells)}\n"
        "dots: pairs (PD) or trials (loss); diamonds: means with 95 % intervals"
    )
    return figure


def metrics(findings: Findings, model: str, colours: dict[str, str]) -> Figure:
    """Every metric of pairs that any cell has, one panel each."""
    cells = findings.models[model]
    rows = [cell.activation for cell in cells]
    shown = known_metrics(cells)
    height = (0.75 + ROW * len(rows)) * plots.panel_rows(len(shown), METRIC_COLUMNS)
    figure = Figure(figsize=(plots.WIDTH, 0.9 + height))
    for ax, metric in zip(plots.panels(figure, len(shown), METRIC_COLUMNS, sharey=True), shown, strict=True):
        estimates = {cell.activation: cell.estimate(metric) for cell in cells}
        plots.few_ticks(plots.plot_rows(ax, estimates, colours, rows), x=3)
        about = PAIR_METRICS[metric]
        marked = "\N{UPWARDS ARROW}" if about.agreement else ""
        ax.set_title(f"{about.label} {marked}".strip(), size=9.5)
        ax.set_xlabel(about.unit)
        ax.xaxis.set_major_formatter(plots.PLAIN)
    figure.suptitle(
        f"{label(model)} by every metric of pairs, {plots.study_and_trials(cells)}\n"
        "means with 95 % intervals; higher: less alike (\N{UPWARDS ARROW}: more alike)"
    )
    return figure


def known_metrics(cells: Sequence[MeasuredCell]) -> list[str]:
    """The metrics of pairs that any of the cells has."""
    return [name for name in PAIR_METRICS if any(cell.estimate(name).known for cell in cells)]


def where_disagreement_lives(findings: Findings, model: str, colours: dict[str, str]) -> Figure:
    """Mismatches and PD by groups of predictions."""
    cells = with_breakdown(findings.models[model])
    figure = Figure(figsize=(plots.WIDTH, 5.4 + 0.07 * len(cells)))  # with room for a longer legend
    axes = figure.subplots(2, 3, sharex="col", sharey="row")
    for column, (grouping, about) in enumerate(disagreement.GROUPINGS.items()):
        disagreement.plot_group_shares(axes[0, column], cells, grouping)
        for row, metric in enumerate(disagreement.METRICS):
            disagreement.plot_breakdown(axes[row, column], cells, grouping, metric, colours)
        axes[1, column].set_xlabel(about.what)
    for ax, name in zip(axes[:, 0], disagreement.METRICS.values(), strict=True):
        ax.set(ylabel=name, ylim=(0, 1.06 * ax.get_ylim()[1]))
    shown = {cell.activation: colours[cell.activation] for cell in cells}
    plots.activation_legend(figure, shown, [Patch(color=plots.LIGHT, label="fraction of all predictions")])
    figure.suptitle(
        f"Where disagreement lives: {label(model)}, {plots.study_and_trials(cells)}\n"
        "means over all pairs; which activations differ is tested over all predictions only"
    )
    return figure


def letter_by_letter(findings: Findings, model: str, colours: dict[str, str]) -> Figure:
    """The study's passage, as the first two trials of the first and of the last cell with one predict it."""
    cells = with_passages(findings.models[model])
    shown = {cell.activation: disagreement.two_with_passage(cell) for cell in (cells[0], cells[-1])}
    lines = len(disagreement.text_lines(shown[cells[0].activation][0]["passage"]["text"]))
    figure = Figure(figsize=(plots.WIDTH, 1 + 0.87 * lines * len(shown)))
    axes = figure.subplots(len(shown), squeeze=False)[:, 0]
    for ax, (name, trials) in zip(axes, shown.items(), strict=True):
        disagreement.plot_passage(ax, *trials)
        ax.set_title(f"{label(name)}: {disagreement.agreement_text(*trials)}", loc="left")
    disagreement.agreement_legend(figure)
    figure.suptitle(f"Letter by letter: {label(model)}, study {findings.study}")
    return figure


def smelu_sweep(findings: Findings, model: str, colours: dict[str, str]) -> Figure:
    """ReLU and SmeLU: PD beside loss, and each against beta."""
    sweep = findings.sweeps[model]
    cells = [point.cell for point in sweep]
    figure = Figure(figsize=(plots.WIDTH, 5.4))
    axes = figure.subplot_mosaic([["trade", "relative_pd"], ["trade", "val_loss"]], width_ratios=[1.25, 1])
    plot_trade(axes["trade"], sweep, colours).set_title("PD beside loss, in order of β")
    for metric in ("relative_pd", "val_loss"):
        plot_along_beta(axes[metric], sweep, metric, colours)
    axes["relative_pd"].set_title("Each against β")
    axes["val_loss"].set_xlabel("β (square-root scale)")
    plots.activation_legend(figure, {cell.activation: colours[cell.activation] for cell in cells})
    figure.suptitle(
        f"{label(model)} with SmeLU of half-width β (0: ReLU), {plots.study_and_trials(cells)}\n"
        "lower left: lower loss, more alike; bars: 95 % intervals"
    )
    return figure


ARCHITECTURE_FIGURES = (
    Kind(
        "shamir_comparison",
        "PD and loss by activation",
        lambda findings, model: any(cell.n_trials for cell in findings.models[model]),
        shamir_comparison,
    ),
    Kind(
        "metrics",
        "every metric of disagreement by activation",
        lambda findings, model: bool(known_metrics(findings.models[model])),
        metrics,
    ),
    Kind(
        "where_disagreement_lives",
        "where two trainings disagree: by character, place in the word and confidence",
        lambda findings, model: bool(with_breakdown(findings.models[model])),
        where_disagreement_lives,
    ),
    Kind(
        "letter_by_letter",
        "a passage as two trainings predict it, letter by letter",
        lambda findings, model: bool(with_passages(findings.models[model])),
        letter_by_letter,
    ),
    Kind(
        "smelu_sweep",
        "PD and loss along the half-width of SmeLU",
        lambda findings, model: model in findings.sweeps,
        smelu_sweep,
    ),
)
