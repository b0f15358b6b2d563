"""Groups of models that predict on the same samples: how much the models of a group disagree, and whether one group's
disagree more than another's. From checked predictions to estimates, tests and verdicts; pure functions.

The verdict is on top-1 mismatches, chosen before any data; the other measures are shown beside it, unadjusted. It is
``analysis.stats_many.effect_verdict`` on how many times more the one group's models disagree, with a margin of 10 %.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from analysis.model_files import Pairing
from analysis.predictions import MISMATCHES, OF_PROBABILITIES, Checked, Distances
from analysis.stats import FEWEST, FEWEST_JUDGED, UNKNOWN, Estimate
from analysis.stats_many import ALPHA, EffectVerdict
from analysis.two_groups import distance_difference, distance_ratio, value_difference, welch_test
from metrics import PAIR_METRICS

MARGIN = 0.10  # of the ratio of two means; that of stats_many is of the CV over activations
SEED = 0  # of the sign flips of more than twelve pairs of models
PLANNED_DIFFERENCES = (0.05, 0.10, 0.20)
MOST = {
    MISMATCHES: 1.0,
    **{name: PAIR_METRICS[name].most for name in OF_PROBABILITIES},
}  # mismatches are a share here


@dataclass(frozen=True)
class Group:
    """The models of one kind.

    ``metrics`` has the mean over their pairs and its interval over models (NaN with fewer than three);
    ``over_samples`` that of two models with its interval over samples. ``accuracy`` and ``loss`` are means over
    models, NaN where they are not known.
    """

    name: str
    models: tuple[str, ...]
    n_samples: int
    accuracy: float
    loss: float
    metrics: dict[str, Estimate]
    over_samples: dict[str, Estimate]

    @property
    def n_models(self) -> int:
        return len(self.models)


@dataclass(frozen=True)
class Effect:
    """One measure of two groups: the first mean minus the second, the first over the second, and the test. ``p`` is
    adjusted over all pairs of groups; NaN with fewer than six models in either. The intervals are not adjusted, so a
    verdict that the groups differ, by however much, also needs ``p`` to be at most ``ALPHA``."""

    difference: Estimate
    ratio: Estimate
    p: float
    verdict: EffectVerdict


@dataclass(frozen=True)
class Comparison:
    """Two groups. ``across`` is the mean of a measure over the pairs of one model from each, without those that
    belong together, and ``together`` that of those that do, empty where none does; ``over_samples`` has ``across``
    with its interval over samples, where each group has one model."""

    first: Group
    second: Group
    paired: bool
    effects: dict[str, Effect]
    accuracy: Estimate
    loss: Estimate
    across: dict[str, float]
    together: dict[str, float]
    over_samples: dict[str, Estimate]

    @property
    def verdict(self) -> EffectVerdict:
        return self.effects[MISMATCHES].verdict


@dataclass(frozen=True)
class Compared:
    """``models_needed``: the models of each of two such groups that would show a difference of top-1 mismatches, by
    the difference (a fraction of the mean); None where it cannot be told. ``identical``: the pairs of models that
    predict exactly the same."""

    groups: list[Group]
    comparisons: list[Comparison]
    pairing: Pairing
    models_needed: dict[float, int | None]
    identical: list[tuple[str, str]]
    has_targets: bool

    @property
    def metrics(self) -> list[str]:
        """The measures that there are, the most important ones first."""
        return list(self.groups[0].metrics)


def compare_groups(
    groups: Mapping[str, Sequence[Checked]], distances: Distances, pairing: Pairing, has_targets: bool
) -> Compared:
    """``distances`` are those between all models, in the order of ``groups``."""
    paired = pairing.paired
    sizes = [len(models) for models in groups.values()]
    starts = np.cumsum([0, *sizes])
    places = [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    described = [_group(*named, distances, place) for named, place in zip(groups.items(), places, strict=True)]
    # By metric, the distances within each group, and the p of every two.
    within = {metric: [matrix[place, place] for place in places] for metric, matrix in distances.mean.items()}
    p_values = {metric: _p_values(matrices, paired) for metric, matrices in within.items()}
    models, comparisons = list(groups.values()), []
    for k, (i, j) in enumerate(itertools.combinations(range(len(models)), 2)):
        single = sizes[i] == sizes[j] == 1
        comparisons.append(
            Comparison(
                first=described[i],
                second=described[j],
                paired=paired,
                effects={m: _effect(within[m][i], within[m][j], paired, float(p_values[m][k])) for m in within},
                accuracy=_value_difference("accuracy", models[i], models[j], paired),
                loss=_value_difference("loss", models[i], models[j], paired),
                across={m: _across(matrix[places[i], places[j]], paired) for m, matrix in distances.mean.items()},
                together={
                    m: float(matrix[places[i], places[j]].diagonal().mean()) for m, matrix in distances.mean.items()
                }
                if paired and not single
                else {},
                over_samples=_over_samples(distances, starts[i], starts[j], len(models[i][0].labels))
                if single
                else {},
            )
        )
    names = [model.name for model in itertools.chain(*models)]
    apart = distances.mean["total_variation" if "total_variation" in distances.mean else MISMATCHES]
    identical = [(names[i], names[j]) for i, j in itertools.combinations(range(len(names)), 2) if apart[i, j] == 0]
    needed = _models_needed(within[MISMATCHES], paired, max(1, len(comparisons)))
    return Compared(described, comparisons, pairing, needed, identical, has_targets)


def _group(name: str, models: Sequence[Checked], distances: Distances, place: slice) -> Group:
    n, n_samples = len(models), len(models[0].labels)
    return Group(
        name=name,
        models=tuple(model.name for model in models),
        n_samples=n_samples,
        accuracy=_mean_known([model.accuracy for model in models]),
        loss=_mean_known([model.loss for model in models]),
        metrics={
            metric: _within_bounds(stats.pairwise_estimate(matrix[place, place]), metric)
            for metric, matrix in distances.mean.items()
        },
        over_samples=_over_samples(distances, place.start, place.start + 1, n_samples) if n == 2 else {},
    )


def _mean_known(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _within_bounds(estimate: Estimate, metric: str) -> Estimate:
    """The estimate with its interval cut off where the measure ends."""
    low, high = np.clip([estimate.low, estimate.high], 0, MOST[metric])  # leaves NaN alone
    return Estimate(estimate.mean, float(low), float(high), estimate.n)


def _over_samples(distances: Distances, i: int, j: int, n_samples: int) -> dict[str, Estimate]:
    """Two models, with 95 % intervals over samples that are taken for independent: Wilson's (1927) of a share, and
    that of a mean by the normal distribution."""
    found = {}
    for metric, matrix in distances.mean.items():
        mean = float(matrix[i, j])
        if metric == MISMATCHES:
            interval = scipy_stats.binomtest(round(mean * n_samples), n_samples).proportion_ci(method="wilson")
            found[metric] = Estimate(mean, float(interval.low), float(interval.high), n_samples)
        else:
            variance = max(float(distances.mean_square[metric][i, j]) - mean**2, 0.0)
            margin = float(scipy_stats.norm.ppf(0.975)) * math.sqrt(variance / n_samples)
            found[metric] = _within_bounds(Estimate(mean, mean - margin, mean + margin, n_samples), metric)
    return found


# ---------------------------------------------------------------- two groups


def _p_values(matrices: list[np.ndarray], paired: bool) -> np.ndarray:
    """The p of every two groups, adjusted over all; NaN with fewer than ``FEWEST_JUDGED`` models in either.

    Paired: the signs of the models' differences flipped, by step-down maxima. Unpaired: Welch's test, by Holm.
    """
    if len(matrices) < 2:
        return np.empty(0)
    if paired:
        return stats_many.sign_flip_max_t(np.stack(matrices), np.random.default_rng(SEED))
    enough = [len(matrix) >= FEWEST_JUDGED for matrix in matrices]
    pairs = itertools.combinations(range(len(matrices)), 2)
    return stats.holm(
        [welch_test(matrices[i], matrices[j]) if enough[i] and enough[j] else math.nan for i, j in pairs]
    )


def _effect(a: np.ndarray, b: np.ndarray, paired: bool, p: float) -> Effect:
    ratio = distance_ratio(a, b, paired)
    verdict = stats_many.effect_verdict(excess(ratio), p, min(len(a), len(b)), MARGIN, ALPHA)
    if verdict is EffectVerdict.MATTERS and not p <= ALPHA:
        verdict = EffectVerdict.UNDECIDED
    return Effect(distance_difference(a, b, paired), ratio, p, verdict)


def _across(matrix: np.ndarray, paired: bool) -> float:
    n = len(matrix)
    return float(matrix[~np.eye(n, dtype=bool)].mean() if paired and n > 1 else matrix.mean())


def excess(ratio: Estimate) -> Estimate:
    """By how much one of two groups exceeds the other, whichever it is, from the ratio of the first to the second:
    0.5 for 1.5 and for 1 / 1.5. Its interval starts at 0 where that of the ratio holds 1."""
    if not ratio.known:
        return UNKNOWN
    sizes = [max(bound, 1 / bound) - 1 for bound in (ratio.low, ratio.high)]
    mean = max(ratio.mean, 1 / ratio.mean) - 1
    if not ratio.has_interval:
        return Estimate(mean, math.nan, math.nan, ratio.n)
    return Estimate(mean, 0.0 if ratio.low <= 1 <= ratio.high else min(sizes), max(sizes), ratio.n)


def _value_difference(name: str, first: Sequence[Checked], second: Sequence[Checked], paired: bool) -> Estimate:
    """Of a value that each model has by itself."""
    x, y = ([getattr(model, name) for model in models] for models in (first, second))
    if None in x or None in y:
        return UNKNOWN
    return value_difference(np.array(x), np.array(y), paired)


def _models_needed(matrices: list[np.ndarray], paired: bool, comparisons: int) -> dict[float, int | None]:
    """From the groups with at least three models. The first step of Holm's method over all comparisons."""
    pilots = [matrix for matrix in matrices if len(matrix) >= FEWEST and matrix.any()]
    spread, correlation = math.nan, 0.0
    if paired and len(pilots) == len(matrices):
        spread, correlation = stats.spread_and_correlation(np.stack(pilots))
    elif pilots:
        spread = math.sqrt(np.mean([stats.spread_and_correlation(each[None])[0] ** 2 for each in pilots]))
    if not spread > 0:
        return dict.fromkeys(PLANNED_DIFFERENCES)
    return {x: stats.trials_needed(x, spread, correlation, alpha=ALPHA / comparisons) for x in PLANNED_DIFFERENCES}
