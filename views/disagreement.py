"""Where two models disagree, drawn: by groups of predictions, and letter by letter on the study's passage."""

import math
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

import plot_utils as plots
from analysis.measure import pool

# Of each grouping: what stands below its axis, its ticks, and how many groups are in an order and get a line.
GROUPINGS = {
    "character_class": ("character to predict", ("a-z", "A-Z", "space", "newline", "other"), 0),
    "word_position": ("letter of the word to predict", ("1st", "2nd", "3rd", "4th", "5th", "6th+", "none"), 6),
    "confidence": ("confidence, mean of the two models", tuple(f".{k}5" for k in range(10)), 10),
}
METRICS = {"mismatch_share": "Top-1 mismatches (fraction)", "relative_pd": "Relative PD, all classes"}
LIGHT = "#DDDDDD"
FEWEST = 10  # predictions of a pair in a group, below which the group is left out

# Channels are multiples of 85, so that those of the five shades are multiples of 17 (see plot_utils).
AGREEMENT = {"alike and right": "#0055AA", "alike and wrong": "#555555", "not alike": "#FF5500"}
SHADES = 5  # one for each of as many equal intervals of confidence
VISIBLE = str.maketrans({" ": "␣", "\n": "⏎"})
LONGEST_LINE = 58


# ---------------------------------------------------------------- groups


def plot_breakdown(ax: Axes, measured: list[dict], grouping: str, metric: str, colours: dict[str, str]) -> Axes:
    """The metric in each group, over all pairs of each cell (``measure.pool``)."""
    _, ticks, ordered = GROUPINGS[grouping]
    places = np.arange(len(ticks))
    for cell in measured:
        pooled, colour = pool(cell["pairs"], grouping), colours[cell["activation"]]
        enough = pooled["n_predictions"] >= FEWEST * len(cell["pairs"])
        values = np.where(enough, pooled[metric], math.nan)
        aside = 0 if ordered else plots.sideways(cell["activation"], colours)
        ax.plot(places + aside, values, "o", color=colour, ms=4.5)
        ax.plot(places[:ordered], values[:ordered], color=colour, lw=1.2)
    ax.set_xlim(-0.6, len(ticks) - 0.4)
    ax.set_xticks(places, ticks)
    ax.grid(axis="x", visible=False)
    return ax


def plot_group_shares(ax: Axes, measured: list[dict], grouping: str) -> Axes:
    """Which fraction of all predictions is in each group, as grey bars."""
    counts = sum(pool(cell["pairs"], grouping)["n_predictions"] for cell in measured)
    ax.bar(range(len(counts)), counts / counts.sum(), width=0.8, color=LIGHT)
    return ax


# ---------------------------------------------------------------- letter by letter


def agreement(text: str, first: str, second: str) -> list[str]:
    """For each character of ``text``: which of AGREEMENT two predictions of it are."""
    right, wrong, apart = AGREEMENT
    return [
        apart if a != b else right if a == character else wrong
        for character, a, b in zip(text, first, second, strict=True)
    ]


def agreement_text(first: dict, second: dict) -> str:
    """How often two trials agree on the passage, in words."""
    kinds = agreement(first["passage"]["text"], first["passage"]["predicted"], second["passage"]["predicted"])
    right, wrong, apart = (kinds.count(kind) for kind in AGREEMENT)
    return f"alike on {right + wrong} of {len(kinds)} characters, right on {right} of these; not alike on {apart}"


def text_lines(text: str) -> list[str]:
    """The text in lines to draw: each speech, which an empty line ends, on its own, and cut where it is too long."""
    return re.findall(rf"(?s).{{1,{LONGEST_LINE - 2}}}?(?:\n\n|\Z)|.{{1,{LONGEST_LINE}}}", text)


def shade(colour: str, confidence: float) -> tuple[float, ...]:
    """The colour, the paler the lower the interval of confidence."""
    strength = min(math.floor(SHADES * confidence) + 1, SHADES) / SHADES
    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))


def plot_passage(ax: Axes, first: dict, second: dict) -> Axes:
    """The passage line by line; under each line what the trials ``first`` and ``second`` predict."""
    text = first["passage"]["text"]
    kinds = agreement(text, first["passage"]["predicted"], second["passage"]["predicted"])
    lines = text_lines(text)
    start, top, rows = 0, 0.0, {}
    for line in lines:
        place = slice(start, start + len(line))
        rows[top] = "text"
        for column, character in enumerate(line):
            _write(ax, column, top, character, "white")
        for below, trial in enumerate((first, second), 1):
            rows[top + below] = f"trial {trial['trial']}"
            _predictions(ax, top + below, trial["passage"], kinds, place)
        start, top = place.stop, top + 3.6
    ax.set_yticks(list(rows), rows.values())
    ax.set(xlim=(-0.6, max(map(len, lines)) - 0.4), ylim=(top - 1.1, -0.5), xticks=[])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    return ax


def _predictions(ax: Axes, row: float, passage: dict, kinds: list[str], place: slice) -> None:
    """What one trial predicts of a line, bold where it is right."""
    shown = (kinds[place], passage["text"][place], passage["predicted"][place], passage["probability"][place])
    for column, (kind, true, predicted, confidence) in enumerate(zip(*shown, strict=True)):
        fill = shade(AGREEMENT[kind], confidence)
        ax.bar(column, 0.94, width=0.94, bottom=row - 0.47, color=fill)
        _write(ax, column, row, predicted, fill, weight="bold" if predicted == true else "normal")


def _write(ax: Axes, column: int, row: float, character: str, fill, **style) -> None:
    """A character that can be read on ``fill``, made visible if it is a space or the end of a line."""
    red, green, blue = to_rgb(fill)
    ink = "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"
    where = {"ha": "center", "va": "center", "family": "monospace", "size": 11}
    ax.text(column, row, character.translate(VISIBLE), color=ink, **where, **style)


def agreement_legend(figure: Figure) -> None:
    strips = [tuple(Patch(color=shade(c, k / SHADES)) for k in range(SHADES)) for c in AGREEMENT.values()]
    figure.legend(
        strips,
        AGREEMENT,
        loc="outside lower center",
        ncols=len(AGREEMENT),
        handlelength=5,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        title="darker: more confident; bold: right",
        title_fontsize=9,
    )
