"""Which source of randomness causes the differences: PD where only some random streams differ between trials.

Pure functions of measured cells, which carry their controls: found by their settings, not by the names of their
studies.
"""

import itertools
import math
from dataclasses import dataclass

from analysis.measure import MeasuredCell, measure, untrained
from analysis.stats import UNKNOWN
from analysis.table import Row
from config import STREAMS

EVERYTHING, NOTHING, CONTEXTS = "everything", "nothing (same seed)", "everything, contexts too"


def streams_text(streams: tuple[str, ...]) -> str:
    """Such as "everything", "only order" or "init and order"."""
    if streams == STREAMS:
        return EVERYTHING
    if len(streams) == 1:
        return f"only {streams[0]}"
    return " and ".join(streams) or NOTHING


SUBSETS = [streams for size in (3, 2, 1, 0) for streams in itertools.combinations(STREAMS, size)]
KINDS = [*map(streams_text, SUBSETS), CONTEXTS]  # what can differ, in the order shown


@dataclass(frozen=True, eq=False)
class Control:
    """A cell in which ``varies``, one of ``KINDS``, differs between trials; its PD as a ``share`` of that of
    ``EVERYTHING``."""

    varies: str
    cell: MeasuredCell
    share: float

    def row(self) -> Row:
        # On other contexts models are compared at the end alone.
        before = UNKNOWN if self.varies == CONTEXTS else untrained(self.cell)
        return self.cell.row() | {"varies": self.varies, "share": self.share, "untrained": before}


def all_controls(measured: list[MeasuredCell]) -> list[Control]:
    """For each cell that has controls: itself, its controls, and its pairs scored on other contexts."""
    return [control for cell in measured if cell.controls for control in controls_of_cell(cell)]


def controls_of_cell(cell: MeasuredCell) -> list[Control]:
    family = {cell.varied: cell, **cell.controls}
    kinds = {streams_text(streams): family[streams] for streams in SUBSETS if streams in family}
    if EVERYTHING in kinds:
        kinds[CONTEXTS] = on_different_contexts(kinds[EVERYTHING])
    whole = kinds[EVERYTHING].mean("relative_pd") if EVERYTHING in kinds else math.nan
    return [
        Control(name, kind, kind.mean("relative_pd") / whole if whole else math.nan) for name, kind in kinds.items()
    ]


def on_different_contexts(cell: MeasuredCell) -> MeasuredCell:
    """The cell, measured with each model of a pair scored on other contexts than its twin."""
    known = [pair for pair in cell.pairs if "different_contexts" in pair]
    return measure(cell.content | {"pairs": [pair | pair["different_contexts"] for pair in known]})
