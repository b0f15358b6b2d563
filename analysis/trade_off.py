"""Loss against PD: Pareto fronts, and the curve along SmeLU's beta. Pure functions of measured cells."""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.differences import Difference, against
from analysis.measure import MeasuredCell, by_model
from config import SMELU_BETAS

RELU = "relu"
FEWEST_BETAS = 3  # without which a curve says nothing


def pareto_front(cells: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells than which none is at least as low in both mean loss and mean PD, and lower in one.

    Cells without a PD take no part.
    """
    known = [cell for cell in cells if cell.estimate("relative_pd").known]
    points = [(cell.mean("val_loss"), cell.mean("relative_pd")) for cell in known]
    return [
        cell
        for cell, (loss, pd) in zip(known, points, strict=True)
        if not any(x <= loss and y <= pd and (x, y) != (loss, pd) for x, y in points)
    ]


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """A cell with ReLU (beta 0) or SmeLU, and its PD minus that with ReLU, where both are there."""

    beta: float
    cell: MeasuredCell
    against_relu: Difference | None


def smelu_sweeps(measured: list[MeasuredCell], differences: Iterable[Difference]) -> dict[str, list[SweepPoint]]:
    """The cells with ReLU and SmeLU of each architecture that has ``FEWEST_BETAS`` of them, by beta.

    ``differences`` are those of PD between every two activations.
    """
    to_relu = {(each.model, each.activation): each for each in against(RELU, differences)}
    sweeps = {}
    for model, cells in by_model(measured).items():
        swept = sorted((cell for cell in cells if cell.activation in SMELU_BETAS), key=_beta)
        if len(swept) >= FEWEST_BETAS:
            sweeps[model] = [SweepPoint(_beta(cell), cell, to_relu.get((model, cell.activation))) for cell in swept]
    return sweeps


def _beta(cell: MeasuredCell) -> float:
    return SMELU_BETAS[cell.activation]
