"""What the learning rate alone does: the same architecture and activation at two rates, all else the same.

Pure functions of measured cells, which carry those at other rates: found by their settings, not by the names of their
studies.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis import stats, stats_many
from analysis.differences import SEED, Difference, difference_of_pairs, difference_of_trials, shared_distances
from analysis.measure import MeasuredCell
from analysis.stats import FEWEST, FEWEST_JUDGED
from analysis.table import Row


@dataclass(frozen=True)
class RateEffect:
    """PD and mismatches (of pairs) and the loss of a cell at the rate ``high`` minus those at ``low``.

    ``relative_pd.p`` is that of sign flips of whole seeds, by Holm's method over all effects of the study.
    ``processors_differ`` where the trials at one rate ran on other processors than those at the other, so that they
    differ in rounding too.
    """

    low: float
    high: float
    relative_pd: Difference
    top1_mismatches: Difference
    val_loss: Difference
    processors_differ: bool

    def row(self) -> Row:
        return self.relative_pd.row() | {
            "low": self.low,
            "high": self.high,
            "at_low": self.relative_pd.second,
            "at_high": self.relative_pd.first,
            "difference_of_mismatches": self.top1_mismatches.estimate,
            "difference_of_loss": self.val_loss.estimate,
        }


def rate_effects(measured: list[MeasuredCell]) -> list[RateEffect]:
    """One for every cell and each other rate that it was trained at, from ``FEWEST`` shared seeds on."""
    found = [
        effect for cell in measured for other in cell.at_other_rates if (effect := _effect(*_by_rate(cell, other)))
    ]
    family = stats.holm_family([each.relative_pd.p for each in found])
    return [
        replace(each, relative_pd=replace(each.relative_pd, p=p, n_tests=n_tests))
        for each, (p, n_tests) in zip(found, family, strict=True)
    ]


def _by_rate(cell: MeasuredCell, other: MeasuredCell) -> list[MeasuredCell]:
    return sorted((cell, other), key=lambda each: each.config["learning_rate"])


def _effect(low: MeasuredCell, high: MeasuredCell) -> RateEffect | None:
    seeds, distances = shared_distances([high, low], "relative_pd")
    if len(seeds) < FEWEST:
        return None
    p = math.nan
    if len(seeds) >= FEWEST_JUDGED:
        p = float(stats_many.sign_flip_max_t(distances, np.random.default_rng(SEED))[0])
    return RateEffect(
        low.config["learning_rate"],
        high.config["learning_rate"],
        replace(difference_of_pairs(high, low), p=p),
        difference_of_pairs(high, low, "top1_mismatches"),
        difference_of_trials(high, low, "val_loss"),
        high.processors != low.processors,
    )
