"""What early steps of training say of its end. Pure functions of measured cells.

Activations are few, so that a rank correlation over them needs an interval: here the percentile bootstrap over seeds,
the activations being given. (Ranks jump, so that the jackknife does not work for them; of few seeds the bootstrap is
too narrow rather than too wide.) Over architectures it is Bonett and Wright's (2000, Psychometrika 65:23).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from analysis import metrics_compared, stats
from analysis.course import Moment, cells_at
from analysis.differences import SEED, compared_cells, shared_distances
from analysis.measure import MeasuredCell, by_model
from analysis.metrics_compared import spearman_estimate
from analysis.omnibus import Sensitivity
from analysis.stats import Estimate
from analysis.table import Row

RESAMPLES = 999


# ---------------------------------------------------------------- rank correlations with intervals


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, of two quantities (K,); NaN for fewer than three values or ones that do not differ."""
    rho = metrics_compared.rank_correlation([np.stack([first, second])]) if len(first) else None
    return math.nan if rho is None else rho


def bootstrapped(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Rank correlation over K activations of two quantities (K, N), averaged over N seeds, with the interval of
    resampled seeds; NaN where there are too few of either."""
    n = first.shape[1]
    rho = rank_correlation(first.mean(axis=1), second.mean(axis=1)) if n else math.nan
    if n < stats.FEWEST or math.isnan(rho):
        return Estimate(rho, math.nan, math.nan, n)
    drawn = np.random.default_rng(SEED).integers(n, size=(RESAMPLES, n))
    ranks = [rankdata(values[:, drawn].mean(axis=-1), axis=0) for values in (first, second)]
    a, b = (each - each.mean(axis=0) for each in ranks)
    spread = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    known = spread > 0  # not all activations tie
    low, high = np.quantile((a * b).sum(axis=0)[known] / spread[known], [0.025, 0.975])
    return Estimate(rho, float(low), float(high), n)


def over_few(first: list[float], second: list[float]) -> Estimate:
    """Rank correlation over independent things, such as architectures, with Bonett and Wright's interval."""
    rho = rank_correlation(np.array(first), np.array(second))
    return spearman_estimate(None if math.isnan(rho) else rho, len(first))


# ---------------------------------------------------------------- early steps


@dataclass(frozen=True)
class EarlyStep:
    """What ``step`` says of the end in one architecture: its sensitivity then and at the end, and rank correlations
    over its activations, of PD and of loss at the step with PD and with loss at the end."""

    step: int
    then: Sensitivity
    at_end: Sensitivity
    pd_to_pd: Estimate
    loss_to_pd: Estimate
    loss_to_loss: Estimate

    @property
    def same_verdict(self) -> bool:
        return self.then.verdict == self.at_end.verdict and self.then.shown == self.at_end.shown

    @property
    def predicts(self) -> bool:
        """Whether to stop here would have given the verdict of the end and, as far as that can be told, its order."""
        return self.same_verdict and (self.pd_to_pd.low > 0 or not self.pd_to_pd.known)

    def row(self) -> Row:
        return {
            "model": self.at_end.model,
            "step": self.step,
            "verdict_then": self.then.verdict,
            "verdict": self.at_end.verdict,
            "shown_then": self.then.shown,
            "shown": self.at_end.shown,
            "cv_then": self.then.cv,
            "cv": self.at_end.cv,
            "pd_to_pd": self.pd_to_pd,
            "loss_to_pd": self.loss_to_pd,
            "loss_to_loss": self.loss_to_loss,
            **vars(self.at_end.seeds),
        }


class OverArchitectures(NamedTuple):
    """At one step: rank correlation of CV then and at the end, in how many architectures the verdict and the order
    are those of the end, and of how many that have a verdict there."""

    step: int
    cv_to_cv: Estimate
    same_verdict: int
    predicts: int
    n: int


def early_steps(measured: list[MeasuredCell], course: list[Moment]) -> list[EarlyStep]:
    """Every evaluation but the last, in every architecture."""
    if not course:
        return []
    *earlier, end = course
    models = by_model(measured)
    of_model = {each.model: each for each in end.sensitivities}
    ends = {model: _by_seed(cells, end.step) for model, cells in models.items()}
    found = []
    for moment in earlier:
        for then in moment.sensitivities:
            pd, loss = _by_seed(models[then.model], moment.step)
            late_pd, late_loss = ends[then.model]
            found.append(
                EarlyStep(
                    moment.step,
                    then,
                    of_model[then.model],
                    bootstrapped(pd, late_pd),
                    bootstrapped(loss, late_pd),
                    bootstrapped(loss, late_loss),
                )
            )
    return sorted(found, key=lambda each: list(models).index(each.at_end.model))


def _by_seed(cells: list[MeasuredCell], step: int) -> tuple[np.ndarray, np.ndarray]:
    """At ``step``, of the activations that are compared: pseudo-values of PD, and losses on the fixed windows, both
    (K, N); (K, 0) where there are too few."""
    at_step = cells_at(cells, step)
    compared = compared_cells(at_step, "relative_pd")
    seeds, distances = shared_distances(compared, "relative_pd")
    if len(seeds) < stats.FEWEST:
        nothing = np.zeros((0, 0))
        return nothing, nothing
    losses = [
        [
            trial["history"]["val_loss"][trial["history"]["step"].index(step)]
            for seed in seeds
            for trial in cell.completed
            if trial["seed"] == seed
        ]
        for cell in compared
    ]
    return stats.pseudo_values(distances), np.array(losses)


def over_architectures(found: list[EarlyStep]) -> list[OverArchitectures]:
    summed = []
    for step in dict.fromkeys(each.step for each in sorted(found, key=lambda each: each.step)):
        own = [each for each in found if each.step == step]
        known = [each for each in own if each.then.cv.known and each.at_end.cv.known]
        rho = over_few([each.then.cv.mean for each in known], [each.at_end.cv.mean for each in known])
        judged = [each for each in own if each.at_end.tested]
        same, predicts = sum(each.same_verdict for each in judged), sum(each.predicts for each in judged)
        summed.append(OverArchitectures(step, rho, same, predicts, len(judged)))
    return summed
