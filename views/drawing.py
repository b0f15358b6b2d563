"""What can be drawn of a study: the name, place and words of a figure, and how to draw it when it is wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from matplotlib.figure import Figure

from analysis.measure import MeasuredCell


class Level(StrEnum):
    """What a figure is about."""

    STUDY = "study"
    ARCHITECTURE = "architecture"
    CELL = "cell"


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn: ``name`` is that of its file without the ending, ``title`` says what it shows.

    ``cell`` is that of a figure which shows nothing else.
    """

    name: str
    kind: str
    level: Level
    model: str | None
    title: str
    draw: Callable[[], Figure]
    cell: MeasuredCell | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of figure: what it shows, whether what it is about gives anything to draw, and how it is drawn.

    ``is_there`` takes what the figure is about (findings, findings and a model, or a cell); ``draw`` takes the same
    and the colour of each activation.
    """

    name: str
    title: str
    is_there: Callable[..., bool]
    draw: Callable[..., Figure]
