"""Variants against the architectures that have the part they lack. Pure functions of measured cells.

A variant is compared with its parent over the activations that both have, and over the seeds that all these cells
completed; the same seed starts the same batches, and the same initial weights where shapes agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis import jackknifed, stats
from analysis.differences import SharedSeeds, shared_distances, shared_seeds
from analysis.jackknifed import Jackknifed
from analysis.measure import MeasuredCell, by_model
from analysis.metrics_compared import metric_label
from analysis.registration import incomplete_models, registration_of
from analysis.stats import FEWEST, FEWEST_JUDGED, Estimate
from analysis.stats_many import ALPHA
from analysis.table import Row
from config import PARENTS
from labels import in_prose
from metrics import PAIR_METRICS, primary

MEANS = ("val_loss", "relative_pd", "top1_mismatches", "total_variation", "curvature", "barrier")
CV = "CV of "
QUANTITIES = (*MEANS, *(CV + name for name in primary()))


@dataclass(frozen=True)
class PartEffect:
    """A variant's ``quantity``, the mean over activations of a metric's means or their CV, minus its parent's.

    ``p`` is adjusted, by Holm's method, over the variants (of a registered study all that are registered) and the
    primary metrics, means and CVs apart; NaN of other metrics, which are description, and below
    ``stats.FEWEST_JUDGED`` seeds. ``rates`` are the learning rates of variant and parent, NaN where cells differ.
    """

    model: str
    parent: str
    quantity: str
    n_activations: int
    seeds: SharedSeeds
    of_parent: float
    difference: Estimate
    p_alone: float
    rates: tuple[float, float] = (math.nan, math.nan)
    p: float = math.nan
    n_tests: int = 0

    @property
    def percent(self) -> Estimate:
        """The difference in percent of the parent's value, which is taken as known; of a CV in percentage points."""
        unit = 1.0 if is_cv(self.quantity) else abs(self.of_parent) or math.nan
        low, mean, high = (100 * x / unit for x in (self.difference.low, self.difference.mean, self.difference.high))
        return Estimate(mean, low, high, self.difference.n)

    @property
    def change(self) -> str:
        """Such as "+3.1 % [2.0, 4.2]", or of a CV "+0.4 percentage points [0.1, 0.7]"."""
        percent, unit = self.percent, "percentage points" if is_cv(self.quantity) else "%"
        return f"{percent.mean:+.1f} {unit} [{percent.low:.1f}, {percent.high:.1f}]"

    @property
    def size(self) -> str:
        """``change``, with the learning rates where they differ."""
        rates = f", at rate {self.rates[0]:g}, not {self.rates[1]:g}" if self.other_rate else ""
        return self.change + rates

    @property
    def other_rate(self) -> bool:
        """Whether the variant was trained at another learning rate than its parent, as far as each has one."""
        return math.isfinite(sum(self.rates)) and self.rates[0] != self.rates[1]

    @property
    def shown(self) -> bool | None:
        """Whether the adjusted p is at most ``ALPHA``; None where it was not tested."""
        return None if math.isnan(self.p) else self.p <= ALPHA

    def row(self) -> Row:
        return {
            "model": self.model,
            "parent": self.parent,
            "quantity": self.quantity,
            "n_activations": self.n_activations,
            "of_parent": self.of_parent,
            "difference": self.difference,
            "percent": self.percent,
            "p_holm": self.p,
            "n_tests": self.n_tests,
            "shown": self.shown,
            **vars(self.seeds),
        }


def part_effects(measured: list[MeasuredCell]) -> list[PartEffect]:
    """One for each quantity of each variant whose parent is there too, with an activation in common; in a registered
    study of those that are complete."""
    incomplete = incomplete_models(measured)
    groups = by_model([cell for cell in measured if cell.model not in incomplete])
    found = [
        effect
        for model, cells in groups.items()
        if PARENTS.get(model) in groups
        for quantity in QUANTITIES
        if (effect := _effect(cells, groups[PARENTS[model]], quantity))
    ]
    registration = registration_of(measured)
    variants = [name for name in registration.config.models if name in PARENTS] if registration else []
    planned = len(variants) * len(primary())
    return [
        *_adjusted([each for each in found if not is_cv(each.quantity)], planned),
        *_adjusted([each for each in found if is_cv(each.quantity)], planned),
    ]


def effects_by_activation(measured: list[MeasuredCell]) -> list[tuple[str, PartEffect]]:
    """The differences of relative PD of which ``part_effects`` has the mean, with their activations. Description."""
    groups, found = by_model(measured), []
    for model, cells in groups.items():
        parents = {cell.activation: cell for cell in groups.get(PARENTS.get(model, ""), [])}
        for cell in cells:
            parent = parents.get(cell.activation)
            if parent and (effect := _effect([cell], [parent], "relative_pd")):
                found.append((cell.activation, effect))
    return found


def at_one_rate(measured: list[MeasuredCell]) -> list[PartEffect]:
    """As ``part_effects``, of the variants that have another learning rate than their parent, where one of the two
    was trained at the other's rate too, in another study: both at that rate. Description, without a test."""
    groups = by_model(measured)
    found = []
    for model, cells in groups.items():
        parents = groups.get(PARENTS.get(model, ""), [])
        at_the_parents, at_its_own = _at(rate_of(parents), cells), _at(rate_of(cells), parents)
        pair = (at_the_parents, parents) if at_the_parents else (cells, at_its_own)
        if all(pair):
            found += [effect for quantity in QUANTITIES if (effect := _effect(*pair, quantity))]
    return found


def _at(rate: float, cells: list[MeasuredCell]) -> list[MeasuredCell]:
    """What was trained at that rate, in another study, of those ``cells``."""
    return [other for cell in cells for other in cell.at_other_rates if rate_of([other]) == rate]


def is_cv(quantity: str) -> bool:
    return quantity.startswith(CV)


def metric_of(quantity: str) -> str:
    return quantity.removeprefix(CV)


def quantity_label(quantity: str) -> str:
    name = metric_label(metric_of(quantity))
    return f"CV of {in_prose(name)}" if is_cv(quantity) else name


def _adjusted(found: list[PartEffect], planned: int) -> list[PartEffect]:
    tested = [each.p_alone if metric_of(each.quantity) in primary() else math.nan for each in found]
    family = stats.holm_family(tested, planned)
    return [replace(each, p=p, n_tests=n_tests) for each, (p, n_tests) in zip(found, family, strict=True)]


def in_all(groups: Sequence[list[MeasuredCell]]) -> list[list[MeasuredCell]]:
    """Of each of ``groups`` the cells with the activations that all of them have, with enough trials for a verdict
    or, where there is none, for an interval."""
    shared: set[str] = set()
    for least in (FEWEST_JUDGED, FEWEST):
        shared = set.intersection(
            *({cell.activation for cell in cells if cell.n_trials >= least} for cells in groups)
        )
        if shared:
            break
    return [[cell for cell in cells if cell.activation in shared] for cells in groups]


def _effect(cells: list[MeasuredCell], parents: list[MeasuredCell], quantity: str) -> PartEffect | None:
    groups = in_all([cells, parents])
    n_activations = len(groups[0])
    if not n_activations or (is_cv(quantity) and n_activations < 2):
        return None
    both = [cell for group in groups for cell in group]
    seeds, values = seed_values(both, metric_of(quantity))
    if len(seeds) < FEWEST:
        return None
    own, other = (quantity_of(half, quantity) for half in np.split(values, 2))
    difference = own - other
    return PartEffect(
        cells[0].model,
        parents[0].model,
        quantity,
        n_activations,
        shared_seeds(both, seeds),
        other.value,
        difference.estimate,
        difference.p,
        (rate_of(groups[0]), rate_of(groups[1])),
    )


def rate_of(cells: list[MeasuredCell]) -> float:
    """The learning rate of the cells; NaN where they differ or it is not recorded."""
    rates = {cell.config.get("learning_rate", math.nan) for cell in cells}
    return rates.pop() if len(rates) == 1 else math.nan


def quantity_of(values: np.ndarray, quantity: str) -> Jackknifed:
    """Of values (K, N) of K activations."""
    return jackknifed.cv_of(values) if is_cv(quantity) else jackknifed.mean_of(values)


def seed_values(cells: list[MeasuredCell], metric: str) -> tuple[list[int], np.ndarray]:
    """The seeds (N,) of which every one of ``cells`` (K,) has the metric, and (K, N) its values, of pairs their
    pseudo-values; no seeds where there are too few for these."""
    if metric in PAIR_METRICS:
        seeds, distances = shared_distances(cells, metric)
        return (seeds, stats.pseudo_values(distances)) if len(seeds) >= FEWEST else ([], np.zeros((len(cells), 0)))
    known = [
        {trial["seed"]: trial[metric] for trial in cell.completed if trial.get(metric) is not None} for cell in cells
    ]
    seeds = sorted(set.intersection(*map(set, known)))
    return seeds, np.array([[values[seed] for seed in seeds] for values in known], dtype=float)
