"""Figures. Every ``plot_*`` function takes plain data and axes, and returns the axes.

Cells are measured cells (``measure.measure``). An activation has one colour in every figure: Okabe & Ito's for the
study's six, which colour-blind readers can tell apart, far from these and from each other for the rest of the
registry, and a fixed cycle, by name, for others.
"""

import math
from collections.abc import Iterable
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from analysis.measure import PAIR_METRICS, by_model, completed_trials, over_training
from analysis.table import ABSENT, number, trial_count
from labels import counted, in_order, label

# In all colours, channels are multiples of 17 (1/15): that is how finely figures.png_bytes keeps them.
COLOURS = {
    "relu": "#0077BB",
    "gelu": "#EE9900",
    "swish": "#009977",
    "swiglu": "#DD5500",
    "smelu_05": "#55BBEE",
    "smelu_1": "#CC77AA",
    "geglu": "#0000EE",
    "reglu": "#00BB00",
    "mish": "#FF22EE",
    "elu": "#110066",
    "selu": "#EE0066",
    "prelu": "#660011",
    "squared_relu": "#778811",
    "smelu_01": "#9977EE",
    "smelu_025": "#004411",
    "smelu_2": "#990088",
}
OTHER_COLOURS = ("#000000", "#888888", "#EE9977", "#664400", "#66CC66")
MARKERS = "os^Dv<>PX*"
GREY, DARK = "#666666", "#003366"
HEAT = ListedColormap([(1 - k / 7.5, 1 - k / 15, 1) for k in range(6)])  # light enough for black numbers
# From more reproducible to less, in steps of 5 %; light enough for black numbers.
LESS_TO_MORE = ListedColormap(
    ["#77BBFF", "#99CCFF", "#CCEEFF", "#FFFFFF", "#FFFFFF", "#FFEEBB", "#FFDD88", "#FFBB55"]
)
STRONG_DIFFERENCE = 20  # %: from here on the colour stays the same
ROUND = [1, 2, 5, 10]  # the steps between ticks
BARS_ALONG = 6  # evaluations at which a curve shows its intervals, at most
BARS_WITH_NUMBERS = 6  # in a group, at most
DIAMOND = {"fmt": "D", "mec": "black", "mew": 0.6, "ms": 6, "capsize": 4, "lw": 1.5}  # an estimate, for errorbar
SLANTED = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
UNITS = {
    "val_loss": "Validation loss (nats/char)",
    "val_accuracy": "Validation accuracy (fraction)",
    "relative_pd": "Relative PD, all classes",
    "top1_mismatches": "Top-1 mismatches (of the probe set)",
    "total_variation": "Total variation",
    "training_time": "Training time (s)",
}


def activation_colours(activations: Iterable[str]) -> dict[str, str]:
    """A colour for each name. Pass every activation of a study, so that its figures agree on unknown ones."""
    others = cycle(OTHER_COLOURS)
    return {name: COLOURS.get(name) or next(others) for name in in_order(activations)}


def model_markers(models: Iterable[str]) -> dict[str, str]:
    return dict(zip(in_order(models), cycle(MARKERS), strict=False))


def count_text(cell: dict) -> str:
    return f"N = {trial_count(cell['n_trials'], cell['n_diverged'], cell['planned_trials'])}"


def _nothing(ax: Axes, why: str) -> Axes:
    """Axes that say why there is nothing in them."""
    _say(ax, why)
    ax.set_axis_off()
    return ax


def _say(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)


def _floats(values: list) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


# ---------------------------------------------------------------- one cell


def plot_curves(ax: Axes, steps: list[int], curves: list[list], colour: str, name: str, line: str = "-") -> Axes:
    """Each curve thin, their mean thick under ``name``."""
    values = np.array([_floats(curve) for curve in curves])
    if len(curves) > 1:
        ax.plot(steps, values.T, line, color=colour, lw=0.8, alpha=0.6)
    ax.plot(steps, values.mean(axis=0), line, color=colour, lw=2, marker="o", ms=4, label=name)
    ax.set_xlabel("training step")
    return ax


def plot_losses(ax: Axes, cell: dict, colour: str) -> Axes:
    """Training and validation loss while training; diverged trials as far as they got."""
    completed = [trial["history"] for trial in completed_trials(cell)]
    for metric, name, line in (("val_loss", "validation", "-"), ("train_loss", "training", "--")):
        if completed:
            plot_curves(ax, completed[0]["step"], [h[metric] for h in completed], colour, name, line)
    diverged = [trial["history"] for trial in cell["trials"] if trial["status"] == "diverged"]
    for i, history in enumerate(diverged):
        name = None if i else "validation, diverged"
        ax.plot(history["step"], _floats(history["val_loss"]), ":", color=GREY, marker="x", ms=5, label=name)
    ax.set(title="Loss: mean (thick) and each trial (thin)", xlabel="training step", ylabel="loss (nats/char)")
    ax.legend(handlelength=3)
    return ax


def plot_loss_spread(ax: Axes, cell: dict, colour: str) -> Axes:
    """How far the validation loss of each trial is from their mean, in thousandths, once training has begun."""
    ax.set_title("Validation loss of each trial minus their mean")
    completed = completed_trials(cell)
    if len(completed) < 2:
        return _nothing(ax, "needs two trials")
    losses = np.array([_floats(trial["history"]["val_loss"]) for trial in completed])
    spread = 1000 * (losses - losses.mean(axis=0))
    ax.axhline(0, color=GREY, lw=1)
    for trial, values, marker in zip(completed, spread, cycle(MARKERS), strict=False):
        steps = trial["history"]["step"]
        ax.plot(steps[1:], values[1:], color=colour, lw=1, marker=marker, ms=5, label=f"trial {trial['trial']}")
    ax.set(xlabel="training step", ylabel="difference (0.001 nats/char)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), ncols=math.ceil(len(completed) / 12))
    return ax


def plot_pair_history(ax: Axes, cell: dict, metric: str, colour: str) -> Axes:
    """A pairwise metric while training: each pair thin, their mean thick."""
    ax.set_title(UNITS[metric])
    pairs = cell["pairs"]
    if not pairs:
        return _nothing(ax, "needs two trials")
    curves = [pair["history"][metric] for pair in pairs]
    plot_curves(ax, pairs[0]["history"]["step"], curves, colour, f"mean of {counted(len(pairs), 'pair')}")
    ax.margins(y=0.12)
    ax.set_ylim(bottom=-0.03 * ax.get_ylim()[1])  # a pair without any difference can be seen
    ax.legend()
    return ax


def plot_matrix(ax: Axes, matrix: np.ndarray, rows: list[str], columns: list[str]) -> Axes:
    """A heat map from zero up; nan stays white. The numbers are written in where they fit, else a scale is beside."""
    highest = np.nanmax(matrix, initial=0) or 1
    image = ax.imshow(matrix, cmap=HEAT, vmin=0, vmax=highest, aspect="auto")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(False)
    if len(columns) > 7:
        ax.figure.colorbar(image, ax=ax)
        return ax
    for (row, column), value in np.ndenumerate(matrix):
        if math.isfinite(value):
            ax.text(column, row, f"{value:.3f}", ha="center", va="center", size=9)
    return ax


def plot_pairs(ax: Axes, trials: list[int], distances: np.ndarray) -> Axes:
    """Relative PD between the trials (N,), as an (N, N) heat map."""
    ax.set_title("Relative PD between trials")
    if not trials:
        return _nothing(ax, "needs two trials")
    apart = np.where(np.eye(len(trials)), math.nan, distances)
    return plot_matrix(ax, apart, [f"trial {n}" for n in trials], [str(n) for n in trials])


def single_values(cell: dict, metric: str) -> list[float]:
    """The metric of each completed trial, or of each pair if it is one of pairs."""
    return [item[metric] for item in (cell["pairs"] if metric in PAIR_METRICS else completed_trials(cell))]


def plot_strip(ax: Axes, cell: dict, metric: str, colour: str) -> Axes:
    """Single values as dots, beside them their mean and its 95 % interval."""
    ax.set_title(UNITS[metric])
    values = single_values(cell, metric)
    if not values:
        return _nothing(ax, "needs two trials" if cell["n_trials"] else "no trial completed")
    places = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
    ax.plot(places, values, "o", color=colour, alpha=0.7)
    plot_estimate(ax, 0.5, cell, metric, colour, horizontal=False)
    kind = "pair" if metric in PAIR_METRICS else "trial"
    ax.set_xticks([0, 0.5], [counted(len(values), kind), f"mean {cell[f'mean_{metric}']:.4g}"])
    ax.set_xlim(-0.4, 0.9)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="x", visible=False)
    return ax


def interval_reach(cell: dict, metric: str) -> list[list[float]] | None:
    """How far the 95 % interval reaches below and above the mean, as error bars want it; None without an interval.

    Never below 0, as rounding could make it where all values are the same.
    """
    mean, low, high = (cell[f"{kind}_{metric}"] for kind in ("mean", "low", "high"))
    return None if low is None else [[max(mean - low, 0)], [max(high - mean, 0)]]


def plot_estimate(ax: Axes, place: float, cell: dict, metric: str, colour: str, *, horizontal: bool) -> Axes:
    """The mean as a diamond, with its 95 % interval where there is one."""
    mean = cell[f"mean_{metric}"]
    if mean is None:
        return ax
    x, y = (mean, place) if horizontal else (place, mean)
    errors = {"xerr" if horizontal else "yerr": interval_reach(cell, metric)}
    ax.errorbar(x, y, **errors, color=colour, **DIAMOND)
    return ax


# ---------------------------------------------------------------- one architecture, all architectures


def plot_by_activation(ax: Axes, measured: list[dict], metric: str, colours: dict[str, str]) -> Axes:
    """A row for each activation of one architecture: single values, their mean and its 95 % interval."""
    for place, cell in enumerate(measured):
        values, colour = single_values(cell, metric), colours[cell["activation"]]
        ax.plot(values, [place + 0.22] * len(values), "o", color=colour, alpha=0.6, ms=5, mew=0)
        plot_estimate(ax, place - 0.12, cell, metric, colour, horizontal=True)
    ax.set_yticks(range(len(measured)), [f"{label(cell['activation'])}\n{count_text(cell)}" for cell in measured])
    ax.set_ylim(len(measured) - 0.5, -0.5)
    kind = "pairs" if metric in PAIR_METRICS else "trials"
    ax.set(title=f"Dots: {kind}; diamond: mean, 95 % interval", xlabel=UNITS[metric])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="y", visible=False)
    return ax


def plot_grid(ax: Axes, measured: list[dict], metric: str, colours: dict[str, str]) -> Axes:
    """A group for each architecture, in it the mean and 95 % interval of every activation."""
    groups = by_model(measured)
    offsets = dict(zip(colours, np.linspace(-0.32, 0.32, len(colours)), strict=True))
    for place, cells in enumerate(groups.values()):
        for cell in cells:
            name = cell["activation"]
            at = place + (offsets[name] if len(offsets) > 1 else 0)
            plot_estimate(ax, at, cell, metric, colours[name], horizontal=False)
    ax.set_xticks(range(len(groups)), map(label, groups), **SLANTED)
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.grid(axis="x", visible=False)
    ax.set_ylabel(UNITS[metric])
    return ax


def plot_cv(ax: Axes, compared: list[dict], metric: str, tested: list[dict]) -> Axes:
    """CV over activations (%) of each architecture, and what is ``tested`` of it (``omnibus.sensitivity_rows``)."""
    for place, (row, test) in enumerate(zip(compared, tested, strict=True)):
        cv, noise = row[f"cv_{metric}"], test["cv_from_noise"]
        if cv is None:
            ax.text(place, 0, "needs two\nactivations", ha="center", va="bottom", size=9, color=GREY)
            continue
        ax.bar(place, cv, width=0.55, color="#BBBBBB", label="CV over activations")
        top = max(cv, noise or 0, test["high_cv"] or 0)
        ax.annotate(f"{cv:.1f}", (place, top), (0, 4), textcoords="offset points", ha="center", size=9)
        if noise is not None:
            reach = [place - 0.36, place + 0.36]
            ax.plot(reach, [noise] * 2, color="black", lw=2, label="from noise alone")
            bounds = [test["low_cv"], test["high_cv"]]
            ax.plot([place] * 2, bounds, "-_", color=DARK, lw=1.5, ms=9, label="without noise, 95 % interval")
    names = [f"{label(row['model'])} ({row[f'n_activations_{metric}']})" for row in compared]
    ax.set_xticks(range(len(compared)), names, **SLANTED)
    ax.set_xlim(-0.6, len(compared) - 0.4)
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.set_ylabel("% of mean PD")
    ax.grid(axis="x", visible=False)
    _legend_once(ax)
    return ax


def _legend_once(ax: Axes, **options) -> None:
    """A legend with each name once, if there is any."""
    handles, names = ax.get_legend_handles_labels()
    entries = dict(zip(names, handles, strict=True))
    if entries:
        ax.legend(entries.values(), entries.keys(), **options)


def plot_plane(ax: Axes, measured: list[dict], colours: dict[str, str]) -> Axes:
    """Loss against PD: colour is the activation, marker the architecture."""
    for model, marker in model_markers(cell["model"] for cell in measured).items():
        cells = [c for c in measured if c["model"] == model and c["mean_relative_pd"] is not None]
        for cell in cells:
            colour = colours[cell["activation"]]
            ax.plot(cell["mean_val_loss"], cell["mean_relative_pd"], marker, color=colour, mec="black", mew=0.5, ms=7)
        if cells:
            ax.plot([], [], marker, color="white", mec="black", label=label(model))
    ax.set(xlabel=UNITS["val_loss"], ylabel=UNITS["relative_pd"])
    ax.xaxis.set_major_locator(MaxNLocator(6))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "ncols": 3}
    _legend_once(ax, columnspacing=1, handletextpad=0.2, **below)
    return ax


# ---------------------------------------------------------------- along training


def plot_pd_over_training(ax: Axes, cells: list[dict], colours: dict[str, str]) -> Axes:
    """Mean PD of each cell of one architecture, with 95 % intervals; curves are shifted to keep these apart."""
    followed = {cell["activation"]: over_training(cell) for cell in cells if cell["pairs"]}
    if not followed:
        return _nothing(ax, "needs two trials")
    for name, points in followed.items():
        steps = np.array([point["step"] for point in points])
        barred = np.unique(np.linspace(0, len(points) - 1, BARS_ALONG).round().astype(int))
        at = steps + sideways(name, colours) * steps[-1] / len(barred)
        ax.plot(at, [point["mean_relative_pd"] for point in points], color=colours[name], lw=1.5)
        for place in barred:
            reach = interval_reach(points[place], "relative_pd")
            ax.errorbar(at[place], points[place]["mean_relative_pd"], reach, fmt="o", color=colours[name], ms=4, lw=1)
    ax.set_xlabel("training step")
    if len(steps) <= BARS_ALONG:
        ax.set_xticks(steps)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    return ax


def sideways(name: str, colours: dict[str, str]) -> float:
    """The place of an activation among all of them, from -0.3 to 0.3."""
    last = len(colours) - 1
    return 0.6 * (list(colours).index(name) - last / 2) / max(last, 1)


def plot_paths(ax: Axes, measured: list[dict], colours: dict[str, str]) -> Axes:
    """Each cell's way through the plane of loss and PD while training; at its end the architecture's marker."""
    markers = model_markers(cell["model"] for cell in measured)
    known = [cell for cell in measured if cell["pairs"]]
    for cell in known:
        points = [*over_training(cell)[:-1], cell]
        colour, marker = colours[cell["activation"]], markers[cell["model"]]
        way = [[point[f"mean_{metric}"] for point in points] for metric in ("val_loss", "relative_pd")]
        ax.plot(*way, color=colour, lw=1, alpha=0.6)
        ax.plot(way[0][-1], way[1][-1], marker, color=colour, mec="black", mew=0.5, ms=7)
    for model in in_order(cell["model"] for cell in known):
        ax.plot([], [], markers[model], color="white", mec="black", label=label(model))
    ax.set(xlabel=UNITS["val_loss"], ylabel=UNITS["relative_pd"])
    _legend_once(ax, loc="best")
    return ax


def plot_ends(ax: Axes, cells: list[dict], front: list[dict], colours: dict[str, str]) -> Axes:
    """Where the cells of one architecture end, with 95 % intervals of loss and PD, and their ``front``."""
    known = [cell for cell in cells if cell["mean_relative_pd"] is not None]
    if not known:
        return _nothing(ax, "needs two trials")
    for cell in known:
        place = cell["mean_val_loss"], cell["mean_relative_pd"]
        reach = interval_reach(cell, "relative_pd"), interval_reach(cell, "val_loss")
        ax.errorbar(*place, *reach, fmt="D", color=colours[cell["activation"]], mec="black", mew=0.6, ms=6, lw=1)
    plot_front(ax, front)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    ax.set_xlabel(UNITS["val_loss"])
    return ax


def plot_front(ax: Axes, front: list[dict]) -> Axes:
    """The stairs along the cells that no other is below in both loss and PD."""
    corners = sorted((cell["mean_val_loss"], cell["mean_relative_pd"]) for cell in front)
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    losses, distances = zip((corners[0][0], top), *corners, (high, corners[-1][1]), strict=True)
    ax.step(losses, distances, where="post", color=GREY, lw=1, ls="--", zorder=1)
    ax.set(xlim=(low, high), ylim=(bottom, top))
    return ax


# ---------------------------------------------------------------- differences to the first activation


def plot_forest(ax: Axes, rows: list[dict], activations: list[str], colours: dict[str, str]) -> Axes:
    """A row for each of ``activations``: difference of PD and its 95 % interval; filled where it is shown."""
    known = [row | {"mean_difference": row["difference"]} for row in rows if row["difference"] is not None]
    for row in known:
        colour = colours[row["activation"]]
        face = colour if row["shown"] == "yes" else "white"
        place = row["difference"], activations.index(row["activation"])
        reach = interval_reach(row, "difference")
        ax.errorbar(*place, xerr=reach, fmt="D", color=colour, mfc=face, mew=1.5, ms=6, capsize=3, lw=1.5)
    ax.set_yticks(range(len(activations)), map(label, activations))
    ax.set_ylim(len(activations) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if not known:
        ax.set_xticks([])
        _say(ax, "nothing to compare")
        return ax
    ax.axvline(0, color=GREY, lw=1, zorder=1)
    widest = max(map(abs, ax.get_xlim()))
    ax.set_xlim(-widest, widest)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    return ax


def plot_differences(ax: Axes, cells: list[dict], rows: list[dict], activations: list[str]) -> Axes:
    """A heat map by architecture of the differences to PD with the first activation, in % of it.

    PD itself stands in the first column. A difference that is shown is bold and has a star.
    """
    models = in_order(cell["model"] for cell in cells)
    relative = np.full((len(models), len(activations)), math.nan)
    texts = {place: ABSENT for place in np.ndindex(relative.shape)}
    for cell in cells:
        if cell["activation"] == activations[0]:
            texts[models.index(cell["model"]), 0] = number("{:.3f}")(cell["mean_relative_pd"])
    for row in rows:
        place = models.index(row["model"]), activations.index(row["activation"])
        relative[place] = math.nan if row["relative_difference"] is None else row["relative_difference"]
        texts[place] = number("{:+.1f}")(row["relative_difference"]) + "*" * (row["shown"] == "yes")
    for (y, x), text in texts.items():
        look = {"weight": "bold"} if text.endswith("*") else {"color": "#333333"}
        ax.text(x, y, text.replace("-", "\N{MINUS SIGN}"), ha="center", va="center", size=9, **look)
    limits = {"vmin": -STRONG_DIFFERENCE, "vmax": STRONG_DIFFERENCE}
    image = ax.imshow(relative, cmap=LESS_TO_MORE, aspect="auto", **limits)
    ax.figure.colorbar(image, ax=ax, extend="both", pad=0.02).set_label("difference (%)")
    names = [f"{label(activations[0])}: PD", *map(label, activations[1:])]
    ax.set_xticks(range(len(activations)), names, **(SLANTED if len(activations) > 7 else {}))
    ax.set_yticks(range(len(models)), map(label, models))
    ax.axvline(0.5, color="black", lw=1)
    ax.grid(False)
    return ax


# ---------------------------------------------------------------- controls


def plot_controls(ax: Axes, rows: list[dict], kinds: list[str], colours: dict[str, str]) -> Axes:
    """Bars of PD by what differs between trials, one of ``kinds`` a group, in it a bar for each activation."""
    names = [name for name in colours if any(row["activation"] == name for row in rows)]
    height = 0.8 / len(names)
    for row in rows:
        if row["mean_relative_pd"] is None:
            continue
        place = kinds.index(row["varies"]) + (names.index(row["activation"]) - (len(names) - 1) / 2) * height
        mean, reach = row["mean_relative_pd"], interval_reach(row, "relative_pd")
        colour = colours[row["activation"]]  # of the edge too, so that a bar of length 0 can be seen
        ax.barh(place, mean, 0.85 * height, xerr=reach, color=colour, ec=colour, ecolor="black", capsize=2)
        if len(names) <= BARS_WITH_NUMBERS:
            end = row["high_relative_pd"] or mean
            ax.annotate(f"{mean:.3f}", (end, place), (4, 0), textcoords="offset points", va="center", size=9)
    ax.set_yticks(range(len(kinds)), kinds)
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    longest = ax.get_xlim()[1]
    ax.set_xlim(-0.01 * longest, 1.18 * longest)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
    ax.grid(axis="y", visible=False)
    return ax


# ---------------------------------------------------------------- along the bend of SmeLU


def plot_trade(ax: Axes, sweep: list[dict], colours: dict[str, str]) -> Axes:
    """PD against loss with their 95 % intervals, joined in the order of beta."""
    known = [cell for cell in sweep if cell["mean_relative_pd"] is not None]
    if not known:
        return _nothing(ax, "needs two trials")
    losses, distances = ([cell[f"mean_{metric}"] for cell in known] for metric in ("val_loss", "relative_pd"))
    ax.plot(losses, distances, color=GREY, lw=1)
    for cell, loss, pd in zip(known, losses, distances, strict=True):
        errors = {"xerr": interval_reach(cell, "val_loss"), "yerr": interval_reach(cell, "relative_pd")}
        ax.errorbar(loss, pd, **errors, color=colours[cell["activation"]], **DIAMOND)
    ax.set(xlabel=UNITS["val_loss"], ylabel=UNITS["relative_pd"])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    return ax


def plot_along_beta(ax: Axes, sweep: list[dict], metric: str, colours: dict[str, str]) -> Axes:
    """The mean and 95 % interval of a metric against beta, whose root is the scale so that small ones keep apart."""
    places = [math.sqrt(cell["beta"]) for cell in sweep]
    ax.plot(places, _floats([cell[f"mean_{metric}"] for cell in sweep]), color=GREY, lw=1)
    for place, cell in zip(places, sweep, strict=True):
        plot_estimate(ax, place, cell, metric, colours[cell["activation"]], horizontal=False)
    ax.set_xticks(places, [f"{cell['beta']:g}" for cell in sweep])
    ax.set_ylabel(UNITS[metric])
    ax.yaxis.set_major_locator(MaxNLocator(5))
    return ax
