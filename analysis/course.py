"""The verdict over training: the same rule at every evaluation, not only at the end. Pure functions."""

import math
from collections.abc import Container
from dataclasses import dataclass

from analysis import omnibus
from analysis.equal_loss import followed_metrics
from analysis.measure import MeasuredCell, measure
from analysis.omnibus import Sensitivity


@dataclass(frozen=True)
class Moment:
    """What the rule says of every architecture after ``step`` training steps, by primary metric."""

    step: int
    by_metric: dict[str, list[Sensitivity]]

    @property
    def sensitivities(self) -> list[Sensitivity]:
        """Those of relative PD."""
        return self.by_metric["relative_pd"]


def shared_steps(measured: list[MeasuredCell]) -> list[int]:
    """The training steps at which every cell with pairs was evaluated."""
    seen = [set(cell.pairs[0]["history"]["step"]) for cell in measured if cell.pairs]
    return sorted(set.intersection(*seen)) if seen else []


def cells_at(measured: list[MeasuredCell], step: int) -> list[MeasuredCell]:
    """The cells with only the followed metrics of their pairs, as they were at ``step``."""
    metrics = followed_metrics(measured)
    return [_cell_at(cell, step, metrics) for cell in measured]


def _cell_at(cell: MeasuredCell, step: int, metrics: list[str]) -> MeasuredCell:
    pairs = []
    for pair in cell.pairs:
        place = pair["history"]["step"].index(step)
        values = {name: pair["history"][name][place] for name in metrics}
        pairs.append({"trials": pair["trials"], "n_predictions": pair["n_predictions"], **values})
    return measure(cell.content | {"pairs": pairs})


def course(
    measured: list[MeasuredCell], at_end: dict[str, list[Sensitivity]], incomplete: Container[str] = ()
) -> list[Moment]:
    """The rule at every shared evaluation; p is adjusted over the family at that step alone.

    ``at_end`` is what it says at the end of training, which is not computed again; ``incomplete`` architectures get
    no verdict.
    """
    ends = {cell.pairs[0]["history"]["step"][-1] for cell in measured if cell.pairs}
    metrics = tuple(name for name in at_end if name in followed_metrics(measured))
    return [
        Moment(
            step, at_end if ends == {step} else omnibus.sensitivities(cells_at(measured, step), metrics, incomplete)
        )
        for step in shared_steps(measured)
    ]


def loss_at(cells: list[MeasuredCell], step: int) -> float:
    """The mean over the trials of ``cells`` of the loss on the fixed validation windows; NaN where all diverged."""
    histories = [trial["history"] for cell in cells for trial in cell.completed]
    losses = [history["val_loss"][history["step"].index(step)] for history in histories]
    return sum(losses) / len(losses) if losses else math.nan
