"""Where two models disagree, drawn: by groups of predictions, and letter by letter on the study's passage."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

import plot_utils as plots
from analysis.measure import MeasuredCell


@dataclass(frozen=True)
class Grouping:
    """A grouping of predictions, as an axis: ``n_ordered`` of its groups are in an order and joined by a line."""

    what: str
    ticks: tuple[str, ...]
    n_ordered: int


GROUPINGS = {
    "character_class": Grouping("character to predict", ("a-z", "A-Z", "space", "newline", "other"), 0),
    "word_position": Grouping(
        "letter of the word to predict", ("1st", "2nd", "3rd", "4th", "5th", "6th+", "none"), 6
    ),
    "confidence": Grouping("confidence, mean of the two models", tuple(f".{k}5" for k in range(10)), 10),
}
METRICS = {"mismatch_share": "Mismatches (fraction)", "relative_pd": "Relative PD, all classes"}
FEWEST = 10  # predictions of a pair in a group, below which the group is left out

# What two predictions of a character can be.
AGREEMENT = {"both right": "#0055AA", "the same, wrong": "#555555", "different": "#FF5500"}
SHADES = 5  # one for each of as many equal intervals of confidence
VISIBLE = str.maketrans({" ": "␣", "\n": "⏎"})
LONGEST_LINE = 58


# ---------------------------------------------------------------- groups


def plot_breakdown(
    ax: Axes, cells: Sequence[MeasuredCell], grouping: str, metric: str, colours: dict[str, str]
) -> Axes:
    """The metric in each group, over all pairs of each cell (``MeasuredCell.pooled``)."""
    about = GROUPINGS[grouping]
    places = np.arange(len(about.ticks))
    for cell in cells:
        pooled, colour = cell.pooled(grouping), colours[cell.activation]
        enough = pooled["n_predictions"] >= FEWEST * len(cell.pairs)
        values = np.where(enough, pooled[metric], math.nan)
        shift = 0 if about.n_ordered else plots.sideways(cell.activation, colours)
        ax.plot(places + shift, values, "o", color=colour, ms=4.5)
        ax.plot(places[: about.n_ordered], values[: about.n_ordered], color=colour, lw=1.2)
    ax.set_xlim(-0.6, len(about.ticks) - 0.4)
    ax.set_xticks(places, about.ticks)
    ax.grid(axis="x", visible=False)
    return ax


def plot_group_shares(ax: Axes, cells: Sequence[MeasuredCell], grouping: str) -> Axes:
    """Which fraction of all predictions is in each group, as grey bars."""
    counts = np.sum([cell.pooled(grouping)["n_predictions"] for cell in cells], axis=0)
    ax.bar(range(len(counts)), counts / counts.sum(), width=0.8, color=plots.LIGHT)
    return ax


# ---------------------------------------------------------------- letter by letter


def two_with_passage(cell: MeasuredCell) -> tuple[dict, dict]:
    """The first two completed trials of a cell that have predicted the passage."""
    first, second, *_ = (trial for trial in cell.completed if "passage" in trial)
    return first, second


def agreement(text: str, first: str, second: str) -> list[str]:
    """For each character of ``text``: which of AGREEMENT two predictions of it are."""
    right, wrong, different = AGREEMENT
    return [
        different if a != b else right if a == character else wrong
        for character, a, b in zip(text, first, second, strict=True)
    ]


def agreement_text(first: dict, second: dict) -> str:
    """How often two trials agree on the passage, in words."""
    kinds = agreement(first["passage"]["text"], first["passage"]["predicted"], second["passage"]["predicted"])
    right, wrong, different = (kinds.count(kind) for kind in AGREEMENT)
    return f"of {len(kinds)} characters {right} both right, {wrong} the same and wrong, {different} different"


def text_lines(text: str) -> list[str]:
    """The text in lines to draw: each speech, which an empty line ends, on its own, and cut where it is too long."""
    return re.findall(rf"(?s).{{1,{LONGEST_LINE - 2}}}?(?:\n\n|\Z)|.{{1,{LONGEST_LINE}}}", text)


def shade(colour: str, confidence: float) -> tuple[float, float, float]:
    """The colour, the paler the lower the interval of confidence."""
    strength = min(math.floor(SHADES * confidence) + 1, SHADES) / SHADES
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return red, green, blue


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
    where: plots.Look = {"ha": "center", "va": "center", "family": "monospace", "size": 11}
    ax.text(column, row, character.translate(VISIBLE), color=ink, **where, **style)


def agreement_legend(figure: Figure) -> None:
    strips = [tuple(Patch(color=shade(c, k / SHADES)) for k in range(SHADES)) for c in AGREEMENT.values()]
    figure.legend(
        handles=strips,
        labels=list(AGREEMENT),
        loc="outside lower center",
        ncols=len(AGREEMENT),
        handlelength=5,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        title="darker: more confident; bold: right",
        title_fontsize=9,
    )
