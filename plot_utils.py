"""What figures share: style, colours, axis labels, estimates with their intervals, panels and legends.

Every ``plot_*`` function takes data and axes, and returns the axes. Cells are measured cells (``analysis.measure``).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.measure import MeasuredCell
from analysis.stats import Estimate
from analysis.table import trial_count
from labels import in_order, label
from metrics import PAIR_METRICS, TRIAL_METRICS

# ---------------------------------------------------------------- style

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titley": 1.0,  # where titles are anyway; looking for what they must keep clear of takes 6 % of the time
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "figure.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "activations",  # otherwise the identifiers in an SVG are random
}
Look = dict[str, Any]  # keyword arguments of matplotlib
WIDTH = 9  # inches, of every figure
ROUND = [1, 2, 5, 10]  # the steps between ticks
SMALL = 9  # points: numbers inside of axes
SLANTED: Look = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}


@contextmanager
def project_style() -> Iterator[None]:
    """Inside, matplotlib has its own defaults and ``STYLE``, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


# ---------------------------------------------------------------- colours and markers

# Okabe & Ito's for the study's six, which colour-blind readers can tell apart; for the rest of the registry colours
# far from these and from each other. An activation has one colour in every figure.
COLOURS = {
    "relu": "#0072B2",
    "gelu": "#E69F00",
    "swish": "#009E73",
    "swiglu": "#D55E00",
    "smelu_05": "#56B4E9",
    "smelu_1": "#CC79A7",
    "geglu": "#0000EE",
    "reglu": "#00BB00",
    "mish": "#FF22EE",
    "elu": "#110066",
    "selu": "#EE0066",
    "prelu": "#660011",
    "squared_relu": "#778811",
    "apl": "#FF0022",
    "smelu_01": "#9977EE",
    "smelu_025": "#004411",
    "smelu_2": "#990088",
}
OTHER_COLOURS = (
    *("#000000", "#888888", "#EE9977", "#664400", "#66CC66", "#442244"),
    *("#0055FF", "#113333", "#AACC00", "#FF11AA", "#7700BB", "#AABB88"),
)
MARKERS = "os^Dv<>PX*phd8"
GREY, DARK, LIGHT = "#666666", "#222222", "#DDDDDD"
# Deviations in percent, in steps: small ones can be told apart too. Light enough for black numbers.
DEVIATION_STEPS = (-20, -10, -5, -2.5, -1, 1, 2.5, 5, 10, 20)
DEVIATION = LinearSegmentedColormap.from_list("deviation", ["#4A90D9", "#FFFFFF", "#F09030"])
DEVIATION_NORM = BoundaryNorm(DEVIATION_STEPS, DEVIATION.N, extend="both")


def activation_colours(activations: Iterable[str]) -> dict[str, str]:
    """A colour for each name. Pass every activation of a study, so that its figures agree on unknown ones."""
    others = cycle(OTHER_COLOURS)
    return {name: COLOURS.get(name) or next(others) for name in in_order(activations)}


def model_markers(models: Iterable[str]) -> dict[str, str]:
    return dict(zip(in_order(models), cycle(MARKERS), strict=False))


def sideways(name: str, colours: dict[str, str], width: float = 0.6) -> float:
    """The place of an activation among all of them, from minus to plus half of ``width``, in a category."""
    last = len(colours) - 1
    return width * (list(colours).index(name) / last - 0.5) if last else 0.0


# ---------------------------------------------------------------- words


def axis_label(metric: str) -> str:
    return (PAIR_METRICS | TRIAL_METRICS)[metric].axis


def count_text(cell: MeasuredCell) -> str:
    return f"N = {trial_count(cell.n_trials, cell.n_diverged, cell.planned_trials)}"


def study_and_trials(cells: Sequence[MeasuredCell]) -> str:
    """Such as "study cpu: N = 3 trials a cell" or "study cpu: N = 2 to 3 trials a cell, 1 diverged"."""
    counts = sorted({cell.n_trials for cell in cells})
    diverged = sum(cell.n_diverged for cell in cells)
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"study {cells[0].study}: N = {span} trials a cell" + (f", {diverged} diverged" if diverged else "")


def with_minus(text: str) -> str:
    """The text with a minus sign in place of each hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def say(ax: Axes, why: str) -> Axes:
    """Write into axes why there is nothing in them."""
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)
    return ax


def nothing(ax: Axes, why: str) -> Axes:
    """Say why there is nothing to see, without axes."""
    ax.set_axis_off()
    return say(ax, why)


# ---------------------------------------------------------------- estimates


def interval_reach(estimate: Estimate) -> list[list[float]] | None:
    """How far the interval reaches below and above the mean, as error bars want it; None without an interval.

    Never below 0, as rounding could make it where all values are the same.
    """
    if not estimate.has_interval:
        return None
    return [[max(estimate.mean - estimate.low, 0)], [max(estimate.high - estimate.mean, 0)]]


def plot_estimate(
    ax: Axes, place: float, estimate: Estimate, colour: str, *, horizontal: bool, filled: bool = True
) -> Axes:
    """The mean as a diamond, with its 95 % interval where there is one; nothing if it is not known."""
    if estimate.known:
        x, y = (estimate.mean, place) if horizontal else (place, estimate.mean)
        reach = interval_reach(estimate)
        _diamond(
            ax, x, y, colour, xerr=reach if horizontal else None, yerr=None if horizontal else reach, filled=filled
        )
    return ax


def plot_two_estimates(ax: Axes, x: Estimate, y: Estimate, colour: str) -> Axes:
    """A diamond at both means, with the 95 % intervals of both."""
    if x.known and y.known:
        _diamond(ax, x.mean, y.mean, colour, xerr=interval_reach(x), yerr=interval_reach(y), filled=True)
    return ax


def _diamond(ax: Axes, x: float, y: float, colour: str, *, xerr, yerr, filled: bool) -> None:
    edge: Look = {"mec": "black", "mew": 0.6} if filled else {"mec": colour, "mew": 1.5}
    face = colour if filled else "white"
    drawn = ax.errorbar(x, y, yerr, xerr, fmt="D", color=colour, mfc=face, ms=6, capsize=2.5, lw=1.5, **edge)
    for cap in drawn.lines[1]:
        cap.set_markeredgewidth(1.5)


def plot_rows(
    ax: Axes,
    estimates: dict[str, Estimate],
    colours: dict[str, str],
    rows: Sequence[str],
    not_filled: Iterable[str] = (),
) -> Axes:
    """One row for each activation of ``rows``, the first on top: its estimate, where there is one."""
    hollow = set(not_filled)
    for name, estimate in estimates.items():
        place = rows.index(name)
        plot_estimate(ax, place, estimate, colours[name], horizontal=True, filled=name not in hollow)
    return name_rows(ax, [label(name) for name in rows])


def plot_by_activation(ax: Axes, cells: Sequence[MeasuredCell], metric: str, colours: dict[str, str]) -> Axes:
    """A row for each cell of one architecture: single values as dots, below them their mean and its 95 % interval."""
    for place, cell in enumerate(cells):
        values, colour = cell.values(metric), colours[cell.activation]
        ax.plot(values, [place - 0.2] * len(values), "o", color=colour, alpha=0.5, ms=4.5, mew=0)
        plot_estimate(ax, place + 0.12, cell.estimate(metric), colour, horizontal=True)
    if not any(cell.estimate(metric).known for cell in cells):
        ax.set_xticks([])
        say(ax, "nothing measured")
    ax.set_xlabel(axis_label(metric))
    return name_rows(few_ticks(ax, x=5), [row_name(cell, cells) for cell in cells])


def row_name(cell: MeasuredCell, cells: Sequence[MeasuredCell]) -> str:
    """The activation, with its trials where these are not the same for all ``cells``."""
    same = len({count_text(other) for other in cells}) == 1
    return label(cell.activation) if same else f"{label(cell.activation)}\n{count_text(cell)}"


def name_rows(ax: Axes, names: Sequence[str]) -> Axes:
    """Name the rows 0, 1, ... of the axes, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    return ax


def plot_front(ax: Axes, front: Sequence[MeasuredCell]) -> Axes:
    """The steps along the cells that no other is below in both loss and PD: a Pareto front."""
    corners = sorted((cell.mean("val_loss"), cell.mean("relative_pd")) for cell in front)
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    losses, distances = zip((corners[0][0], top), *corners, (high, corners[-1][1]), strict=True)
    ax.step(losses, distances, where="post", color=DARK, lw=1.2, ls=(0, (4, 2)), zorder=1)
    ax.set(xlim=(low, high), ylim=(bottom, top))
    return ax


# ---------------------------------------------------------------- curves and heat maps


def floats(values: Iterable[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def plot_curves(
    ax: Axes, steps: Sequence[int], curves: Sequence[Sequence], colour: str, name: str, line: str = "-"
) -> Axes:
    """Each curve thin, their mean thick under ``name``."""
    values = np.array([floats(curve) for curve in curves])
    if len(curves) > 1:
        ax.plot(steps, values.T, line, color=colour, lw=0.8, alpha=0.5)
    ax.plot(steps, values.mean(axis=0), line, color=colour, lw=2, marker="o", ms=4, label=name)
    return step_ticks(ax, steps)


def plot_numbers(ax: Axes, texts: np.ndarray, **style) -> Axes:
    """A text (rows, columns) in each field of a heat map; one that ends in a star is bold."""
    for (row, column), text in np.ndenumerate(texts):
        weight = "bold" if text.endswith("*") else "normal"
        ax.text(column, row, with_minus(text), ha="center", va="center", size=SMALL, weight=weight, **style)
    return ax


def plot_deviations(
    ax: Axes, percent: np.ndarray, texts: np.ndarray, columns: Sequence[str], *, fit: tuple[int, int]
) -> Axes:
    """A heat map (rows, columns) whose colour is a deviation in percent, with ``texts``; nan stays white.

    ``fit`` says up to how many columns have room for names, and for numbers, that are not turned.
    """
    ax.imshow(percent, cmap=DEVIATION, norm=DEVIATION_NORM, aspect="auto")
    plot_numbers(ax, texts, rotation=90 if len(columns) > fit[1] else 0)
    ax.set_xticks(range(len(columns)), columns, **(SLANTED if len(columns) > fit[0] else {}))
    ax.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    ax.set_yticks(np.arange(0.5, len(percent) - 1), minor=True)
    ax.grid(False)
    ax.grid(which="minor", color="white", lw=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    return ax


def deviation_scale(figure: Figure | SubFigure, axes: Axes | Sequence[Axes], **options) -> None:
    """The colour scale of ``plot_deviations``, beside ``axes``."""
    scale = figure.colorbar(ScalarMappable(DEVIATION_NORM, DEVIATION), ax=axes, extend="both", **options)
    scale.set_ticks(list(DEVIATION_STEPS), labels=[with_minus(f"{step:+g} %") for step in DEVIATION_STEPS])


def few_ticks(ax: Axes, x: int | None = None, y: int | None = None) -> Axes:
    """At most about so many ticks, at round numbers."""
    for axis, count in ((ax.xaxis, x), (ax.yaxis, y)):
        if count is not None:
            axis.set_major_locator(MaxNLocator(count, steps=ROUND))
    return ax


def step_ticks(ax: Axes, steps: Sequence[int]) -> Axes:
    """A tick at every evaluation, where these are few."""
    ax.set_xlabel("training step")
    if len(steps) > FEW_STEPS:
        return few_ticks(ax, x=5)
    ax.set_xticks(steps)
    return ax


FEW_STEPS = 6
PLAIN = FuncFormatter(lambda value, _: with_minus(f"{value:g}"))

# ---------------------------------------------------------------- panels and legends

PANELS = 3  # of small axes in a row
LEGEND_CHARACTERS = 105  # in a line below a figure


def panel_rows(count: int, columns: int = PANELS) -> int:
    return math.ceil(count / columns)


def panel_height(count: int, height: float, columns: int = PANELS) -> float:
    """Inches for all rows of panels, each of ``height`` unless it is the only one, which is wide."""
    return height * panel_rows(count, columns) if count > 1 else max(height, 3.4)


def panels(figure: Figure | SubFigure, count: int, columns: int = PANELS, **options) -> list[Axes]:
    """``count`` axes, ``columns`` in a row, which share their axes as ``options`` say.

    With shared axes only those on the left and those with nothing below are labelled.
    """
    columns = min(count, columns)
    axes = figure.subplots(panel_rows(count, columns), columns, squeeze=False, **options)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax in axes.flat[max(count - columns, 0) : count]:
        ax.tick_params(labelbottom=True)
    return list(axes.flat[:count])


def outer_labels(axes: Sequence[Axes], x: str = "", y: str = "") -> None:
    """Label the axes at the left and those with nothing below, and no others."""
    for ax in axes:
        ax.set(xlabel="", ylabel="")
    for ax in axes[::PANELS]:
        ax.set_ylabel(y)
    for ax in axes[-PANELS:]:
        ax.set_xlabel(x)


def legend_once(ax: Axes, **options) -> None:
    """A legend with each name once, if there is any."""
    handles, names = ax.get_legend_handles_labels()
    entries = dict(zip(names, handles, strict=True))
    if entries:
        ax.legend(entries.values(), entries.keys(), **options)


def activation_legend(figure: Figure, colours: dict[str, str], others: Sequence[Artist] = ()) -> None:
    """Below the figure, which colour is which activation, and what ``others`` are."""
    shown: list[Artist] = [
        Line2D([], [], ls="", marker="D", mec="black", mew=0.6, color=colour, label=label(name))
        for name, colour in colours.items()
    ]
    shown += others
    fitting = LEGEND_CHARACTERS // (max(len(str(handle.get_label())) for handle in shown) + 4)  # marker and space
    columns = math.ceil(len(shown) / math.ceil(len(shown) / fitting))
    figure.legend(handles=shown, loc="outside lower center", ncols=columns, columnspacing=1.4, handletextpad=0.3)
