"""Does the loss around trained models predict how far they disagree? Rank correlations over cells, with intervals.

Pure functions of measured cells.
"""

from dataclasses import dataclass

import numpy as np

from analysis.measure import MeasuredCell, by_model
from analysis.metrics_compared import spearman_within
from analysis.stats import Estimate

LANDSCAPE = ("barrier", "curvature", "gradient_noise")
PREDICTORS = (*LANDSCAPE, "val_loss")  # the loss, to see whether the others say more than it


@dataclass(frozen=True)
class Prediction:
    """Spearman's correlation of a metric's means with PD's: over all cells, of ranks within architectures, and of
    ranks among the cells of an architecture that have the same learning rate."""

    metric: str
    over_all: Estimate
    within: Estimate
    at_one_rate: Estimate

    @property
    def shown(self) -> bool:
        """Whether the interval within architectures, where size and kind of model are the same, leaves out 0."""
        return self.within.has_interval and not self.within.low <= 0 <= self.within.high


def with_landscape(measured: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells with a PD of which anything of the landscape was measured."""
    return [
        cell
        for cell in measured
        if cell.estimate("relative_pd").known and any(cell.estimate(name).known for name in LANDSCAPE)
    ]


def predictions(measured: list[MeasuredCell]) -> list[Prediction]:
    """One for each of ``PREDICTORS``, over the cells that have a landscape."""
    return [_prediction(with_landscape(measured), metric) for metric in PREDICTORS]


def _prediction(measured: list[MeasuredCell], metric: str) -> Prediction:
    known = [cell for cell in measured if cell.estimate(metric).known]
    by_rate: dict[tuple[str, float | None], list[MeasuredCell]] = {}
    for cell in known:
        by_rate.setdefault((cell.model, cell.config.get("learning_rate")), []).append(cell)
    return Prediction(
        metric,
        _correlation([known], metric),
        _correlation([*by_model(known).values()], metric),
        _correlation([cells for cells in by_rate.values() if len(cells) > 1], metric),
    )


def _correlation(groups: list[list[MeasuredCell]], metric: str) -> Estimate:
    """Of ranks within the groups of cells."""
    values = [np.array([(cell.mean("relative_pd"), cell.mean(metric)) for cell in cells]).T for cells in groups]
    return spearman_within(values)
