"""All activations of an architecture at once: how much they differ, the verdict on it, and the planner.

Pure functions of measured cells. The CV over activations is a fraction here; tables show it in percent.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from analysis import stats, stats_many
from analysis.differences import SharedSeeds, compared_cells, shared_distances, shared_seeds
from analysis.measure import MeasuredCell, by_model
from analysis.registration import registration_of
from analysis.stats import FEWEST_JUDGED, UNKNOWN, Estimate
from analysis.stats_many import ALPHA, MARGIN, EffectVerdict
from analysis.table import Row
from labels import counted, in_prose, listed
from metrics import METRICS

PLANNED_DIFFERENCES = (0.05, 0.10, 0.20, 0.30)
TOLD = 0.10  # the difference between two activations that a number of trials "that would tell" is planned for
RULES = {
    EffectVerdict.MATTERS: f"the interval of the CV without noise lies wholly above the margin, {100 * MARGIN:.0f} %",
    EffectVerdict.DIFFERS: (
        f"it lies wholly below, and a difference is shown: p, adjusted over the family, is at most {ALPHA:g}"
    ),
    EffectVerdict.NO_DIFFERENCE: "it lies wholly below, and no difference is shown",
    EffectVerdict.UNDECIDED: "the margin is within the interval, or trials do not vary, so that there is no test",
    EffectVerdict.TOO_FEW: (
        f"fewer than {FEWEST_JUDGED} trials from the same seeds, or not all activations of a registered study; "
        "--tables planner says how many would tell"
    ),
}


@dataclass(frozen=True)
class Family:
    """The tests whose p are adjusted together, by Holm's method: those of ``metrics`` in all architectures with
    enough trials or, of a registered study, in all that are registered. ``n_made`` of the ``n_tests`` were made."""

    metrics: tuple[str, ...]
    n_architectures: int
    n_tests: int
    n_made: int

    @property
    def text(self) -> str:
        """Such as "12 tests (6 architectures by relative PD and top-1 mismatches)"."""
        names = listed(in_prose(METRICS[name].label.split(",")[0]) for name in self.metrics)
        registered = (
            "" if self.n_made == self.n_tests else f", as registered; {counted(self.n_made, 'test')} made so far"
        )
        architectures = counted(self.n_architectures, "architecture")
        return f"{counted(self.n_tests, 'test')} ({architectures} by {names}{registered})"


@dataclass(frozen=True)
class Sensitivity:
    """How much a metric's mean depends on the activation in one architecture.

    ``cv.mean`` is the CV observed over the activations, ``cv.low`` and ``cv.high`` bound the one that would be left
    without noise (``stats_many.cv_without_noise_interval``), and ``from_noise`` is the one that noise alone would
    give. ``p`` is that of equal means, NaN below ``FEWEST_JUDGED`` trials; ``p_holm`` is adjusted over ``family``.
    """

    model: str
    metric: str
    n_activations: int
    n_cells: int
    seeds: SharedSeeds
    family: Family
    cv: Estimate = UNKNOWN
    from_noise: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    verdict: EffectVerdict = EffectVerdict.TOO_FEW

    @property
    def tested(self) -> bool:
        return not math.isnan(self.p)

    @property
    def shown(self) -> bool:
        """Whether there is a difference, however small."""
        return self.p_holm <= ALPHA

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
            "n_tests": self.family.n_tests,
            "verdict": self.verdict,
            **vars(self.seeds),
        }


def sensitivities(
    measured: list[MeasuredCell], metrics: Sequence[str], incomplete: Container[str] = ()
) -> dict[str, list[Sensitivity]]:
    """For each of ``metrics`` one for each architecture; all of them are one family. Those of ``incomplete``
    architectures are too few."""
    asked = [(metric, cells) for metric in metrics for cells in by_model(measured).values()]
    return _judged(asked, incomplete)


def without_most_different(
    measured: list[MeasuredCell], metrics: Sequence[str]
) -> dict[str, list[tuple[str, Sensitivity]]]:
    """As ``sensitivities``, of every architecture without the activation whose mean lies furthest from the others',
    which stands beside it. Architectures with fewer than three are left out."""
    asked, left_out = [], []
    for metric in metrics:
        for cells in by_model(measured).values():
            compared = compared_cells(cells, metric)
            if len(compared) > 2:
                centre = sum(cell.mean(metric) for cell in compared) / len(compared)
                furthest = max(compared, key=lambda cell: abs(cell.mean(metric) - centre))
                asked.append((metric, [cell for cell in cells if cell is not furthest]))
                left_out.append(furthest.activation)
    judged = _judged(asked)
    names = iter(left_out)
    return {metric: [(next(names), each) for each in found] for metric, found in judged.items()}


def _judged(
    asked: list[tuple[str, list[MeasuredCell]]], incomplete: Container[str] = ()
) -> dict[str, list[Sensitivity]]:
    """Of cells of one architecture each, by a metric each: what is found, by metric, all of it one family."""
    metrics = tuple(dict.fromkeys(metric for metric, _ in asked))
    nobody = Family(metrics, 0, 0, 0)
    found = [_sensitivity(cells, metric, nobody, cells[0].model in incomplete) for metric, cells in asked]
    tested = [each for each in found if each.tested]
    models, planned = {each.model for each in tested}, 0
    registration = registration_of([cell for _, cells in asked for cell in cells])
    if tested and registration:
        models, planned = set(registration.config.models), len(registration.config.models) * len(metrics)
    family = Family(metrics, len(models), max(planned, len(tested)), len(tested))
    adjusted = stats.holm([each.p for each in found], planned)
    judged = [
        replace(
            each,
            p_holm=float(p),
            family=family,
            verdict=stats_many.effect_verdict(
                each.cv, float(p), 0 if each.n_activations < 2 or each.model in incomplete else each.seeds.n_seeds
            ),
        )
        for each, p in zip(found, adjusted, strict=True)
    ]
    return {metric: [each for each in judged if each.metric == metric] for metric in metrics}


def _sensitivity(cells: list[MeasuredCell], metric: str, family: Family, incomplete: bool) -> Sensitivity:
    compared = compared_cells(cells, metric)
    seeds, distances = shared_distances(compared, metric)
    shared = shared_seeds(compared or cells, seeds)
    nothing = Sensitivity(cells[0].model, metric, len(compared), len(cells), shared, family)
    if len(compared) < 2 or incomplete:
        return nothing
    bounds = stats_many.cv_without_noise_interval(distances)
    observed = stats.coefficient_of_variation(stats.mean_over_pairs(distances))
    return replace(
        nothing,
        cv=replace(bounds, mean=observed),
        from_noise=stats_many.cv_from_noise(distances),
        p=stats_many.equal_means_test(distances).p if len(seeds) >= FEWEST_JUDGED else math.nan,
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
        pilot = compared_cells(cells, metric)
        seeds, distances = shared_distances(pilot, metric)
        spread, correlation = math.nan, math.nan
        if len(seeds) >= stats.FEWEST:
            spread, correlation = stats.spread_and_correlation(distances)
        counts = shared_seeds(pilot or cells, seeds)
        for comparisons in sorted({1, math.comb(len(cells), 2) or 1}):
            trials = {x: _trials(x, spread, correlation, comparisons) for x in PLANNED_DIFFERENCES}
            found.append(Plan(model, len(pilot), len(cells), comparisons, spread, correlation, trials, counts))
    return found


def _trials(difference: float, spread: float, correlation: float, comparisons: int) -> int | None:
    if math.isnan(spread) or spread == 0:
        return None
    return stats.trials_needed(difference, spread, correlation, alpha=ALPHA / comparisons)
