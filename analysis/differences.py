"""Two activations of one architecture: how far apart they are, and whether that is shown. Pure functions.

Trials are matched by seed. A difference is estimated over the seeds that both cells completed, and tested together
with all others of its architecture, over the seeds that all its cells completed. What is random starts from ``SEED``,
so that the same cells give the same numbers.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from analysis import stats, stats_many
from analysis.measure import MeasuredCell, by_model
from analysis.stats import FEWEST, FEWEST_JUDGED, Estimate, Significance
from analysis.stats_many import ALPHA
from analysis.table import Row
from labels import in_order
from metrics import PAIR_METRICS

SEED = 0


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


def shared_values(cells: list[MeasuredCell], metric: str) -> tuple[list[int], np.ndarray]:
    """The seeds (N,) that every one of ``cells`` (K,) completed, and a metric of their trials (K, N)."""
    by_seed = [{trial["seed"]: trial[metric] for trial in cell.completed} for cell in cells]
    seeds = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    return seeds, np.array([[values[seed] for seed in seeds] for values in by_seed])


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


def compared_cells(cells: list[MeasuredCell], metric: str) -> list[MeasuredCell]:
    """Those of an architecture that are compared with each other: the ones with enough trials for a verdict or, where
    that leaves fewer than two, for an interval."""
    trials = {cell.activation: len(shared_distances([cell], metric)[0]) for cell in cells}
    for least in (FEWEST_JUDGED, FEWEST):
        enough = [cell for cell in cells if trials[cell.activation] >= least]
        if len(enough) > 1:
            break
    return enough


# ---------------------------------------------------------------- one difference


@dataclass(frozen=True)
class Difference:
    """A metric's mean with ``activation`` minus that with ``other``, over their ``seeds``.

    ``first`` and ``second`` are the two means. ``p`` is adjusted for all comparisons of the architecture by this
    metric, ``n_tests`` of them; NaN where fewer than ``FEWEST_JUDGED`` seeds are shared by its cells.
    """

    model: str
    activation: str
    other: str
    estimate: Estimate
    first: float
    second: float
    seeds: SharedSeeds
    p: float = math.nan
    n_tests: int = 0

    @property
    def relative(self) -> float:
        """The difference as a fraction of the second mean."""
        return self.estimate.mean / self.second if self.second else math.nan

    @property
    def shown(self) -> bool | None:
        """Whether the adjusted p is at most ``ALPHA``; None where it could not be tested."""
        return None if math.isnan(self.p) else self.p <= ALPHA

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
            "p_adjusted": self.p,
            "n_tests": self.n_tests,
            "shown": self.shown,
            **vars(self.seeds),
        }


def between(known: Iterable[Difference], model: str, activation: str, other: str) -> Difference | None:
    """That of one activation to another, whichever comes first in ``known``."""
    for each in known:
        if (each.model, each.activation, each.other) == (model, activation, other):
            return each
        if (each.model, each.activation, each.other) == (model, other, activation):
            return each.reversed
    return None


def difference_of_pairs(first: MeasuredCell, second: MeasuredCell, metric: str = "relative_pd") -> Difference:
    """Of a metric of pairs: the jackknife over seeds, paired. Without its p."""
    seeds, (a, b) = shared_distances([first, second], metric)
    return Difference(
        first.model,
        first.activation,
        second.activation,
        stats.paired_difference(a, b),
        stats.pairwise_estimate(a).mean,
        stats.pairwise_estimate(b).mean,
        shared_seeds([first, second], seeds),
    )


def difference_of_trials(first: MeasuredCell, second: MeasuredCell, metric: str = "val_loss") -> Difference:
    """Of a metric of single trials: Student's t, paired. Without its p."""
    seeds, (a, b) = shared_values([first, second], metric)
    return Difference(
        first.model,
        first.activation,
        second.activation,
        stats.mean_estimate(a - b),
        float(a.mean()) if seeds else math.nan,
        float(b.mean()) if seeds else math.nan,
        shared_seeds([first, second], seeds),
    )


def permuted(first: MeasuredCell, second: MeasuredCell) -> Significance | None:
    """A second opinion on a difference of PD: labels of trials permuted, unpaired; None with too few seeds."""
    seeds, (a, b) = shared_distances([first, second], "relative_pd")
    return stats.permutation_test(a, b, np.random.default_rng(SEED)) if len(seeds) >= FEWEST_JUDGED else None


# ---------------------------------------------------------------- all differences


def all_differences(measured: list[MeasuredCell], metric: str) -> list[Difference]:
    """Every two activations of every architecture, by a metric of pairs or of trials."""
    of_pairs = metric in PAIR_METRICS
    compare = difference_of_pairs if of_pairs else difference_of_trials
    differences = []
    for cells in by_model(measured).values():
        p_values = _p_of_pairs(cells, metric) if of_pairs else _p_of_trials(cells, metric)
        for first, second in itertools.combinations(cells, 2):
            p = p_values.get((first.activation, second.activation), math.nan)
            n_tests = sum(not math.isnan(p) for p in p_values.values())
            differences.append(replace(compare(first, second, metric), p=p, n_tests=n_tests))
    return differences


def _p_of_pairs(cells: list[MeasuredCell], metric: str) -> dict[tuple[str, str], float]:
    """The adjusted p of every two activations of an architecture that can be tested together."""
    compared = compared_cells(cells, metric)
    seeds, distances = shared_distances(compared, metric)
    if len(compared) < 2 or len(seeds) < FEWEST_JUDGED:
        return {}
    return _named(compared, stats_many.sign_flip_max_t(distances, np.random.default_rng(SEED)))


def _p_of_trials(cells: list[MeasuredCell], metric: str) -> dict[tuple[str, str], float]:
    compared = [cell for cell in cells if cell.n_trials >= FEWEST_JUDGED]
    seeds, values = shared_values(compared, metric)
    if len(compared) < 2 or len(seeds) < FEWEST_JUDGED:
        return {}
    return _named(compared, stats_many.sign_flips_of_values(values, np.random.default_rng(SEED)))


def _named(cells: list[MeasuredCell], p_values: np.ndarray) -> dict[tuple[str, str], float]:
    pairs = itertools.combinations((cell.activation for cell in cells), 2)
    return dict(zip(pairs, map(float, p_values), strict=True))


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
