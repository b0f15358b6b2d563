"""Does size matter? What an architecture's sizes have in common, and how it goes with the number of parameters.

Pure functions of measured cells. An architecture's sizes are compared over the activations that all of them have, and
over the seeds that all these cells completed.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain

from analysis import stats
from analysis.differences import SharedSeeds, shared_seeds
from analysis.equal_loss import When, at_equal_loss, followed_metrics
from analysis.jackknifed import Jackknifed, slope_of
from analysis.measure import MeasuredCell, by_model
from analysis.registration import incomplete_models, registration_of
from analysis.stats import FEWEST, Estimate
from analysis.stats_many import ALPHA
from analysis.table import Row
from analysis.variants import CV, in_all, is_cv, metric_of, quantity_of, rate_of, seed_values
from config import base_name, size_in

FEWEST_SIZES = 3
# The report's sizes and CVs over activations of relative PD: CharLM's in its 3.5.2, MiniGPT's in its 3.5.1.
REPORTED = {430_000: 0.2189, 10_800_000: 0.2694}
REPORTED_SLOPE = (REPORTED[10_800_000] - REPORTED[430_000]) / math.log10(10_800_000 / 430_000)
TESTED = (f"{CV}relative_pd", "relative_pd")
QUANTITIES = (*TESTED, f"{CV}top1_mismatches", "top1_mismatches", "total_variation", "val_loss")


@dataclass(frozen=True)
class SizePoint:
    """One size: its parameters, a quantity over its activations, and their learning rate, NaN where they differ."""

    model: str
    n_parameters: int
    estimate: Estimate
    rate: float


@dataclass(frozen=True, eq=False)
class SizeTrend:
    """The slope of a quantity on the logarithm (base 10) of the number of parameters: its change for a tenfold size.

    ``level`` is the loss at which all are compared, NaN at the end of training. ``p`` is adjusted, by Holm's method,
    over the architectures and ``TESTED`` quantities at the end; NaN of others. ``spread`` is the standard deviation
    (ddof=1) over seeds, the standard error times the root of their number.
    """

    base: str
    quantity: str
    when: When
    n_activations: int
    seeds: SharedSeeds
    points: list[SizePoint]
    slope: Estimate
    p_alone: float
    spread: float
    level: float = math.nan
    p: float = math.nan
    n_tests: int = 0

    @property
    def size(self) -> str:
        """Such as "+0.012 [-0.003, +0.027]"; of a CV in percentage points, of mismatches in whole ones."""
        form, scale = ("{:+.1f}", 100) if is_cv(self.quantity) else ("{:+.3f}", 1)
        if self.quantity == "top1_mismatches":
            form = "{:+.0f}"
        low, mean, high = (form.format(scale * x) for x in (self.slope.low, self.slope.mean, self.slope.high))
        return f"{mean} [{low}, {high}]"

    @property
    def shown(self) -> bool:
        """Whether a change with size is shown."""
        return self.p <= ALPHA

    @property
    def rises(self) -> bool:
        """Whether it is shown that the quantity grows with size."""
        return self.shown and self.slope.mean > 0

    @property
    def rules_out_reported(self) -> bool:
        """Whether the interval ends below the slope that the report's numbers make."""
        return self.slope.high < REPORTED_SLOPE

    @property
    def reported(self) -> str | None:
        """What is said here of a trend of the report's size, of the quantity of which it has one."""
        if self.quantity != TESTED[0] or self.when is not When.END:
            return None
        return "ruled out" if self.rules_out_reported else "shown" if self.rises else "within the interval"

    @property
    def needed(self) -> int | None:
        """Seeds with which a slope as large as the report's is shown, in the first step of Holm's method, with a
        power of 80 % if they vary as these do; None where it has none, or nothing varies or was tested."""
        if self.reported is None or not self.spread or not self.n_tests:
            return None
        return stats.trials_to_show(REPORTED_SLOPE / self.spread, alpha=ALPHA / self.n_tests)

    def row(self) -> Row:
        return {
            "base": self.base,
            "quantity": self.quantity,
            "when": self.when,
            "n_sizes": len(self.points),
            "n_activations": self.n_activations,
            "slope": self.slope,
            "p_holm": self.p,
            "n_tests": self.n_tests,
            "level": self.level,
            "reported": self.reported,
            "needed": self.needed,
            **vars(self.seeds),
        }


def sized(measured: list[MeasuredCell]) -> dict[str, list[list[MeasuredCell]]]:
    """The sizes of each architecture that has ``FEWEST_SIZES`` of them or, in a registered study, all that are
    registered and complete, the smallest first: of each, the cells with the activations that all sizes have. The
    architecture without a size in its name is one of its own size, unless none of its activations is shared."""
    found = {}
    registration, incomplete = registration_of(measured), incomplete_models(measured)
    planned = Counter(map(base_name, registration.config.models)) if registration else Counter()
    measured = [cell for cell in measured if cell.model not in incomplete]
    for base in dict.fromkeys(base_name(cell.model) for cell in measured if size_in(cell.model)):
        groups = list(by_model([cell for cell in measured if base_name(cell.model) == base]).values())
        groups.sort(key=lambda cells: min(cell.n_parameters for cell in cells))
        with_sizes = [cells for cells in groups if size_in(cells[0].model)]
        chosen = groups if any(in_all(groups)) else with_sizes
        if len(chosen) >= (planned[base] or FEWEST_SIZES) and any(in_all(chosen)):
            found[base] = in_all(chosen)
    return found


def size_trends(measured: list[MeasuredCell]) -> list[SizeTrend]:
    """Of each architecture and quantity at the end; of those that were followed over training at equal loss too."""
    found = []
    for base, groups in sized(measured).items():
        cells = list(chain(*groups))
        followed = followed_metrics(cells)
        equal = at_equal_loss(cells, [cells])
        matched = iter(each.matched for each in equal)
        at_loss = [[next(matched) for _ in group] for group in groups]
        for quantity in QUANTITIES:
            found.append(_trend(base, groups, quantity, When.END, math.nan))
            if metric_of(quantity) in followed:
                found.append(_trend(base, at_loss, quantity, When.EQUAL_LOSS, equal[0].level))
    return _adjusted([each for each in found if each])


def _adjusted(found: list[SizeTrend]) -> list[SizeTrend]:
    tested = [each.p_alone if each.quantity in TESTED and each.when is When.END else math.nan for each in found]
    family = stats.holm_family(tested)
    return [replace(each, p=p, n_tests=n_tests) for each, (p, n_tests) in zip(found, family, strict=True)]


def _trend(base: str, groups: list[list[MeasuredCell]], quantity: str, when: When, level: float) -> SizeTrend | None:
    if is_cv(quantity) and len(groups[0]) < 2:
        return None
    cells = list(chain(*groups))
    seeds, values = seed_values(cells, metric_of(quantity))
    if len(seeds) < FEWEST:
        return None
    parts = values.reshape(len(groups), len(groups[0]), len(seeds))
    items: list[Jackknifed] = [quantity_of(part, quantity) for part in parts]
    sizes = [sum(cell.n_parameters for cell in group) / len(group) for group in groups]
    slope = slope_of([math.log10(size) for size in sizes], items)
    points = [
        SizePoint(group[0].model, round(size), item.estimate, rate_of(group))
        for group, size, item in zip(groups, sizes, items, strict=True)
    ]
    return SizeTrend(
        base,
        quantity,
        when,
        len(groups[0]),
        shared_seeds(cells, seeds),
        points,
        slope.estimate,
        slope.p,
        slope.spread,
        level,
    )
