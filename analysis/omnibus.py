"""All activations of an architecture at once: how sensitive it is, the rule for verdicts, and the planner.

Pure functions of measured cells. The CV over activations is a fraction here; tables show it in percent.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis import stats, stats_many
from analysis.differences import ALPHA, SEED, SharedSeeds, shared_distances, shared_seeds
from analysis.measure import UNKNOWN, MeasuredCell, by_model
from analysis.stats import Estimate, Significance
from analysis.stats_many import Verdict
from analysis.table import Row

PLANNED_DIFFERENCES = (0.05, 0.10, 0.20, 0.30)
RULES = {
    Verdict.SENSITIVE: "p, adjusted by Holm's method over the study's architectures, is at most 0.05",
    Verdict.NOT_SHOWN: (
        "it is not, and the interval of the CV ends below 10 %, the least that the report calls sensitive"
    ),
    Verdict.TOO_FEW: "neither, or fewer than 3 trials",
}


@dataclass(frozen=True)
class Sensitivity:
    """How much a metric's mean depends on the activation in one architecture (``stats_many.activation_cv``).

    ``cv.mean`` is the CV observed over the activations, ``cv.low`` and ``cv.high`` bound the one that would be left
    without noise, and ``from_noise`` is the one that noise alone would give. ``p_holm`` is adjusted over the
    architectures judged together. ``shuffled`` is the second opinion, where it was asked for.
    """

    model: str
    metric: str
    n_activations: int
    n_cells: int
    seeds: SharedSeeds
    cv: Estimate = UNKNOWN
    from_noise: float = math.nan
    p: float = math.nan
    shuffled: Significance | None = None
    p_holm: float = math.nan
    verdict: Verdict = Verdict.TOO_FEW

    @property
    def tested(self) -> bool:
        return not math.isnan(self.p)

    def row(self) -> Row:
        return {
            "model": self.model,
            "metric": self.metric,
            "n_activations": self.n_activations,
            "n_cells": self.n_cells,
            "cv": self.cv,
            "cv_from_noise": self.from_noise,
            "p": self.p,
            "p_holm": self.p_holm,
            "verdict": self.verdict,
            "p_shuffled": self.shuffled.p if self.shuffled else None,
            "error_p_shuffled": self.shuffled.standard_error if self.shuffled else None,
            "smallest_p": self.shuffled.smallest_p if self.shuffled else None,
            **vars(self.seeds),
        }


def with_enough_trials(cells: list[MeasuredCell], metric: str) -> list[MeasuredCell]:
    return [cell for cell in cells if len(shared_distances([cell], metric)[0]) >= stats.FEWEST]


def sensitivities(measured: list[MeasuredCell], metric: str, shuffle: bool = False) -> list[Sensitivity]:
    """One for each architecture, over its activations with at least ``stats.FEWEST`` trials; ``shuffle`` also for
    the second opinion."""
    found = [_sensitivity(cells, metric, shuffle) for cells in by_model(measured).values()]
    adjusted = stats.holm([each.p for each in found])
    return [
        replace(each, p_holm=float(p), verdict=stats_many.verdict(each.cv, float(p), ALPHA))
        for each, p in zip(found, adjusted, strict=True)
    ]


def _sensitivity(cells: list[MeasuredCell], metric: str, shuffle: bool) -> Sensitivity:
    compared = with_enough_trials(cells, metric)
    seeds, distances = shared_distances(compared, metric)
    nothing = Sensitivity(cells[0].model, metric, len(compared), len(cells), shared_seeds(cells, seeds))
    if len(compared) < 2:
        return nothing
    result = stats_many.activation_cv(distances, np.random.default_rng(SEED) if shuffle else None)
    return replace(
        nothing,
        cv=result.cv,
        from_noise=result.from_noise,
        p=result.significance.p,
        shuffled=result.shuffled,
    )


# ---------------------------------------------------------------- how many trials


@dataclass(frozen=True)
class Plan:
    """Trials for each cell that would show a difference of PD, by the difference (a fraction of the mean)."""

    model: str
    n_activations: int
    n_cells: int
    comparisons: int
    cv_between_trials: float
    correlation: float
    trials: dict[float, int | None]
    seeds: SharedSeeds

    def row(self) -> Row:
        return {
            "model": self.model,
            "n_activations": self.n_activations,
            "n_cells": self.n_cells,
            "comparisons": self.comparisons,
            "cv_between_trials": self.cv_between_trials,
            "correlation": self.correlation,
            **{f"trials_for_{100 * x:.0f}_percent": n for x, n in self.trials.items()},
            **vars(self.seeds),
        }


def plans(measured: list[MeasuredCell], metric: str = "relative_pd") -> list[Plan]:
    """For one comparison chosen beforehand, and for the first step of Holm's method over all of an architecture's."""
    found = []
    for model, cells in by_model(measured).items():
        pilot = with_enough_trials(cells, metric)
        seeds, distances = shared_distances(pilot, metric)
        spread, correlation = math.nan, math.nan
        if len(seeds) >= stats.FEWEST:
            spread, correlation = stats.spread_and_correlation(distances)
        counts = shared_seeds(cells, seeds)
        for comparisons in sorted({1, math.comb(len(cells), 2) or 1}):
            trials = {x: _trials(x, spread, correlation, comparisons) for x in PLANNED_DIFFERENCES}
            found.append(Plan(model, len(pilot), len(cells), comparisons, spread, correlation, trials, counts))
    return found


def _trials(difference: float, spread: float, correlation: float, comparisons: int) -> int | None:
    if math.isnan(spread) or spread == 0:
        return None
    return stats.trials_needed(difference, spread, correlation, alpha=ALPHA / comparisons)
