"""How much of PD is loss and how much activation. Pure functions of measured cells."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.early import rank_correlation
from analysis.equal_loss import AtEqualLoss
from analysis.measure import MeasuredCell, by_model, over_training
from analysis.table import Row


@dataclass(frozen=True)
class LossAlone:
    """How much of PD's variance, over the activations and evaluations of an architecture, is that of a straight line
    in loss and log step (``r_squared``), and with a level for each activation added (``with_activation``).

    ``step_at_equal_loss`` is the rank correlation over activations of the step at which they come to the
    architecture's equal loss and PD there.
    """

    model: str
    n_points: int
    r_squared: float
    with_activation: float
    step_at_equal_loss: float

    def row(self) -> Row:
        return vars(self)


def loss_alone(measured: list[MeasuredCell], at_equal_loss: list[AtEqualLoss]) -> list[LossAlone]:
    """Of every architecture; evaluations before training are left out."""
    found = []
    for model, cells in by_model(measured).items():
        points = [
            (place, point["step"], point["val_loss"].mean, point["relative_pd"].mean)
            for place, cell in enumerate(cells)
            for point in over_training(cell)
            if point["step"] > 0
        ]
        equal = [each for each in at_equal_loss if each.at_end.model == model and math.isfinite(each.step)]
        rho = rank_correlation(
            np.array([each.step for each in equal]), np.array([each.matched.mean("relative_pd") for each in equal])
        )
        found.append(LossAlone(model, len(points), *_explained(points, len(cells)), rho))
    return found


def caveat(found: list[LossAlone]) -> str:
    """What a sentence about equal loss has to say too, as a clause after these words."""
    known = sorted(each.step_at_equal_loss for each in found if not math.isnan(each.step_at_equal_loss))
    if not known:
        return "which is not equal training, for activations take different numbers of steps to get there"
    span = f"{known[0]:+.2f}" if len(known) == 1 else f"{known[0]:+.2f} to {known[-1]:+.2f}"
    return f"which is not equal training (rank correlation of steps taken and PD {span})"


def _explained(points: list[tuple], n_activations: int) -> tuple[float, float]:
    """R^2 of loss and log step, and with a level for each activation; NaN with too few points."""
    if len(points) < n_activations + 4:
        return math.nan, math.nan
    place, step, loss, pd = map(np.array, zip(*points, strict=True))
    alone = np.column_stack([np.ones(len(pd)), loss, np.log(step)])
    levels = (place[:, None] == np.arange(1, n_activations)).astype(float)
    return _r_squared(alone, pd), _r_squared(np.column_stack([alone, levels]), pd)


def explained_by_loss(measured: list[MeasuredCell], metric: str) -> float:
    """R^2 of a straight line in the mean loss, of the metric's means over cells at the end; NaN below three cells."""
    points = [(cell.mean("val_loss"), cell.mean(metric)) for cell in measured if cell.estimate(metric).known]
    if len(points) < 3:
        return math.nan
    loss, values = np.array(points).T
    return _r_squared(np.column_stack([np.ones(len(loss)), loss]), values)


def _r_squared(columns: np.ndarray, values: np.ndarray) -> float:
    total = float(((values - values.mean()) ** 2).sum())
    if total == 0:
        return math.nan
    fitted = columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return 1 - float(((values - fitted) ** 2).sum()) / total
