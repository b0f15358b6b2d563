"""Two activations of one architecture: how far apart they are, and whether that is shown. Pure functions.

Trials are matched by seed: a difference is taken over the seeds that both cells completed. Random permutations start
from ``SEED``, so that the same cells give the same numbers.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from analysis import stats
from analysis.measure import MeasuredCell, by_model
from analysis.stats import Estimate, Significance
from analysis.table import Row
from labels import in_order

SEED = 0
ALPHA = 0.05


# ---------------------------------------------------------------- trials with the same seeds


@dataclass(frozen=True)
class SharedSeeds:
    """How many seeds the compared cells share, how many seeds diverged in one of them, and how many were planned."""

    n_seeds: int
    n_diverged: int
    planned_trials: int


def shared_seeds(cells: list[MeasuredCell], seeds: list[int]) -> SharedSeeds:
    diverged = {trial["seed"] for cell in cells for trial in cell.trials if trial["status"] != "completed"}
    return SharedSeeds(len(seeds), len(diverged), max(cell.planned_trials for cell in cells))


def shared_distances(cells: list[MeasuredCell], metric: str) -> tuple[list[int], np.ndarray]:
    """The seeds (N,) of which every one of ``cells`` (K,) has all pairs, and the metric between them (K, N, N)."""
    known = [_known_pairs(cell, metric) for cell in cells]
    pairs = set.intersection(*map(set, known)) if known else set()
    seeds = _whole(pairs)
    distances = np.zeros((len(cells), len(seeds), len(seeds)))
    for (i, first), (j, second) in itertools.permutations(enumerate(seeds), 2):
        distances[:, i, j] = [values[frozenset((first, second))] for values in known]
    return seeds, distances


def _known_pairs(cell: MeasuredCell, metric: str) -> dict[frozenset[int], float]:
    """The metric by the seeds of the pair."""
    seed = {trial["trial"]: trial["seed"] for trial in cell.trials}
    known = [pair for pair in cell.pairs if pair.get(metric) is not None]
    return {frozenset(seed[trial] for trial in pair["trials"]): pair[metric] for pair in known}


def _whole(pairs: set[frozenset[int]]) -> list[int]:
    """Seeds all of whose pairs are in ``pairs``: that with the most missing is left out until none is."""
    seeds = sorted(frozenset().union(*pairs))
    while missing := Counter(
        seed for pair in itertools.combinations(seeds, 2) if frozenset(pair) not in pairs for seed in pair
    ):
        seeds.remove(missing.most_common(1)[0][0])
    return seeds


# ---------------------------------------------------------------- one difference


@dataclass(frozen=True)
class Difference:
    """A metric's mean with ``activation`` minus that with ``other``, over their ``seeds``.

    ``first`` and ``second`` are the two means. ``p`` is that of the paired test; ``p_holm`` is adjusted for all
    comparisons of the architecture. NaN where there are too few trials.
    """

    model: str
    activation: str
    other: str
    estimate: Estimate
    first: float
    second: float
    p: float
    seeds: SharedSeeds
    p_holm: float = math.nan

    @property
    def relative(self) -> float:
        """The difference as a fraction of the second mean."""
        return self.estimate.mean / self.second if self.second else math.nan

    @property
    def shown(self) -> bool | None:
        """Whether the adjusted p is at most ``ALPHA``; None where it could not be tested."""
        return None if math.isnan(self.p_holm) else self.p_holm <= ALPHA

    @property
    def reversed(self) -> "Difference":
        """The second activation minus the first."""
        estimate = replace(self.estimate, mean=-self.estimate.mean, low=-self.estimate.high, high=-self.estimate.low)
        return replace(
            self,
            activation=self.other,
            other=self.activation,
            estimate=estimate,
            first=self.second,
            second=self.first,
        )

    def row(self) -> Row:
        return {
            "model": self.model,
            "activation": self.activation,
            "other_activation": self.other,
            "difference": self.estimate,
            "relative_difference": self.relative,
            "p_paired": self.p,
            "p_holm": self.p_holm,
            "shown": self.shown,
            **vars(self.seeds),
        }


def difference_of_pairs(first: MeasuredCell, second: MeasuredCell, metric: str = "relative_pd") -> Difference:
    """Of a metric of pairs: the jackknife over seeds, paired."""
    seeds, (a, b) = shared_distances([first, second], metric)
    return Difference(
        first.model,
        first.activation,
        second.activation,
        stats.paired_difference(a, b),
        stats.pairwise_estimate(a).mean,
        stats.pairwise_estimate(b).mean,
        stats.paired_test(a, b).p,
        shared_seeds([first, second], seeds),
    )


def difference_of_trials(first: MeasuredCell, second: MeasuredCell, metric: str = "val_loss") -> Difference:
    """Of a metric of single trials: Student's t, paired."""
    by_seed = [{trial["seed"]: trial[metric] for trial in cell.completed} for cell in (first, second)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    a, b = (np.array([values[seed] for seed in seeds]) for values in by_seed)
    return Difference(
        first.model,
        first.activation,
        second.activation,
        stats.mean_estimate(a - b),
        float(a.mean()) if seeds else math.nan,
        float(b.mean()) if seeds else math.nan,
        stats.paired_t_test(a, b).p if len(seeds) >= stats.FEWEST else math.nan,
        shared_seeds([first, second], seeds),
    )


def permuted(first: MeasuredCell, second: MeasuredCell, metric: str = "relative_pd") -> Significance | None:
    """A second opinion on a difference of pairs: labels of trials permuted, unpaired; None without shared seeds."""
    seeds, (a, b) = shared_distances([first, second], metric)
    return stats.permutation_test(a, b, np.random.default_rng(SEED)) if seeds else None


# ---------------------------------------------------------------- all differences


Comparison = Callable[[MeasuredCell, MeasuredCell], Difference]


def all_differences(measured: list[MeasuredCell], compare: Comparison) -> list[Difference]:
    """Every two activations of every architecture; Holm's method over those of one architecture."""
    differences = []
    for cells in by_model(measured).values():
        family = [compare(*pair) for pair in itertools.combinations(cells, 2)]
        adjusted = stats.holm([difference.p for difference in family])
        differences += [replace(each, p_holm=float(p)) for each, p in zip(family, adjusted, strict=True)]
    return differences


def against(activation: str, differences: Iterable[Difference]) -> list[Difference]:
    """Those of ``differences`` that have ``activation`` on one side, as differences to it."""
    found = []
    for difference in differences:
        if difference.activation == activation:
            found.append(difference.reversed)
        elif difference.other == activation:
            found.append(difference)
    return found


def first_activation(measured: list[MeasuredCell]) -> str:
    """The study's first activation, in the order of ``labels.LABELS``, such as ReLU."""
    return in_order(cell.activation for cell in measured)[0]
