"""What the tests say of one study: each computed once, when first asked for, and handed to whoever shows it.

Tables, page, figures and audit are functions of ``Findings``.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar

from analysis import (
    contexts,
    controls,
    course,
    differences,
    early,
    equal_loss,
    landscape,
    loss_alone,
    metrics_compared,
    omnibus,
    ranks,
    rates,
    registration,
    sizes,
    stats,
    trade_off,
    variants,
)
from analysis.differences import Difference
from analysis.equal_loss import When
from analysis.measure import MeasuredCell, by_model, measure_study
from analysis.omnibus import Sensitivity
from analysis.ranks import Ranking
from analysis.stats import Significance
from metrics import primary

P = ParamSpec("P")
R = TypeVar("R")


def once(method: Callable[P, R]) -> Callable[P, R]:
    """The method computes each answer once and keeps it in its ``Findings``; a default counts as if it were given."""
    signature = inspect.signature(method)

    @wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        findings, *question = bound.args
        answers, key = findings.answers, (method.__name__, *question)
        if key not in answers:
            answers[key] = method(*bound.args, **bound.kwargs)
        return answers[key]

    return call


@dataclass(frozen=True)
class MetricVerdict:
    """The sensitivity of one architecture by one metric, at one point of training, and its differences.

    ``n_shown`` of ``n_differences`` between two activations are shown, ``n_against`` of them with the other sign than
    relative PD's, where that is shown too.
    """

    when: When
    sensitivity: Sensitivity
    n_differences: int
    n_shown: int
    n_against: int


class Findings:
    """All that is computed from the measured cells of one study."""

    def __init__(self, measured: list[MeasuredCell]):
        self.measured = measured
        self.study = measured[0].study
        self.models = by_model(measured)
        self.answers: dict[tuple, Any] = {}  # of the methods that compute each answer ``once``

    @classmethod
    def of_study(cls, contents: list[dict], study: str) -> "Findings":
        """Of the study of that name among the ``contents`` of all cell files, which hold its controls too."""
        return cls(measure_study(registration.planned_trials_only(contents), study))

    # ------------------------------------------------ cells

    @cached_property
    def incomplete(self) -> set[str]:
        """The architectures of a registered study that get no verdict yet."""
        return registration.incomplete_models(self.measured)

    @cached_property
    def at_equal_loss(self) -> list[equal_loss.AtEqualLoss]:
        return equal_loss.at_equal_loss(self.measured)

    def cells(self, when: When = When.END) -> list[MeasuredCell]:
        """The cells as they are compared at that point of training."""
        return self.measured if when is When.END else self._matched

    @cached_property
    def _matched(self) -> list[MeasuredCell]:
        return [each.matched for each in self.at_equal_loss]

    def metrics(self, when: When = When.END) -> tuple[str, ...]:
        """The metrics on which the rule is applied: all judged ones, at equal loss those that were followed."""
        followed = equal_loss.followed_metrics(self.measured)
        return tuple(name for name in metrics_compared.judged() if when is When.END or name in followed)

    # ------------------------------------------------ two activations

    @once
    def differences(self, metric: str = "relative_pd", when: When = When.END) -> list[Difference]:
        """Every two activations of every architecture, by a metric of pairs."""
        return differences.all_differences(self.cells(when), metric)

    @cached_property
    def loss_differences(self) -> list[Difference]:
        return differences.all_differences(self.measured, "val_loss")

    @cached_property
    def against_first(self) -> list[Difference]:
        """PD of every cell minus that of its architecture's cell with the study's first activation, such as ReLU."""
        return differences.against(differences.first_activation(self.measured), self.differences())

    @once
    def second_opinions(self, when: When = When.END) -> list[Significance | None]:
        """For each of ``differences("relative_pd", when)``, the test that permutes labels of trials."""
        cells = {(cell.model, cell.activation): cell for cell in self.cells(when)}
        return [
            differences.permuted(cells[each.model, each.activation], cells[each.model, each.other])
            for each in self.differences("relative_pd", when)
        ]

    # ------------------------------------------------ all activations of an architecture

    @once
    def sensitivities(self, metric: str = "relative_pd", when: When = When.END) -> list[Sensitivity]:
        """One for each architecture. The primary metrics are one family of tests, every other is one by itself."""
        family = primary() if metric in primary() else (metric,)
        return self._family(family, when)[metric]

    @once
    def _family(self, metrics: tuple[str, ...], when: When) -> dict[str, list[Sensitivity]]:
        return omnibus.sensitivities(self.cells(when), metrics, self.incomplete)

    @cached_property
    def metric_verdicts(self) -> list[MetricVerdict]:
        """The rule by each metric, at the end and at equal loss, architecture by architecture."""
        found = [
            self._metric_verdict(sensitivity, when)
            for when in When
            for metric in self.metrics(when)
            for sensitivity in self.sensitivities(metric, when)
        ]
        models = list(self.models)
        return sorted(found, key=lambda each: models.index(each.sensitivity.model))

    def _metric_verdict(self, sensitivity: Sensitivity, when: When) -> MetricVerdict:
        own, of_pd = (
            [each for each in self.differences(metric, when) if each.model == sensitivity.model]
            for metric in (sensitivity.metric, "relative_pd")
        )
        n_shown = sum(bool(each.shown) for each in own)
        against = metrics_compared.contradictions(own, of_pd)
        return MetricVerdict(when, sensitivity, len(own), n_shown, against)

    @cached_property
    def course(self) -> list[course.Moment]:
        """The rule for the primary metrics at every evaluation."""
        return course.course(self.measured, self._family(primary(), When.END), self.incomplete)

    @cached_property
    def without_most_different(self) -> dict[str, list[tuple[str, Sensitivity]]]:
        """By primary metric: of every architecture, its most different activation and what the rule says without."""
        judged = [cell for cell in self.measured if cell.model not in self.incomplete]
        return omnibus.without_most_different(judged, primary())

    @cached_property
    def early_steps(self) -> list[early.EarlyStep]:
        return early.early_steps(self.measured, self.course)

    @cached_property
    def loss_alone(self) -> list[loss_alone.LossAlone]:
        return loss_alone.loss_alone(self.measured, self.at_equal_loss)

    @cached_property
    def plans(self) -> list[omnibus.Plan]:
        return omnibus.plans(self.measured)

    # ------------------------------------------------ all architectures, and the rest

    @cached_property
    def rankings(self) -> list[tuple[When, Ranking, float]]:
        """By loss and by every judged metric, at the end and at equal loss; with p adjusted over all of them."""
        asked = [(When.END, "val_loss"), *((when, metric) for when in When for metric in self.metrics(when))]
        found = [(when, ranks.ranking(self.cells(when), metric)) for when, metric in asked]
        adjusted = stats.holm([each.p for _, each in found])
        return [(when, each, float(p)) for (when, each), p in zip(found, adjusted, strict=True)]

    @cached_property
    def sweeps(self) -> dict[str, list[trade_off.SweepPoint]]:
        return trade_off.smelu_sweeps(self.measured, self.differences())

    @cached_property
    def part_effects(self) -> list[variants.PartEffect]:
        return variants.part_effects(self.measured)

    @cached_property
    def part_effects_by_activation(self) -> list[tuple[str, variants.PartEffect]]:
        return variants.effects_by_activation(self.measured)

    @cached_property
    def part_effects_at_one_rate(self) -> list[variants.PartEffect]:
        return variants.at_one_rate(self.measured)

    @cached_property
    def size_trends(self) -> list[sizes.SizeTrend]:
        return sizes.size_trends(self.measured)

    @cached_property
    def landscape_predictions(self) -> list[landscape.Prediction]:
        return landscape.predictions(self.measured)

    @cached_property
    def rate_effects(self) -> list[rates.RateEffect]:
        return rates.rate_effects(self.measured)

    @cached_property
    def controls(self) -> list[controls.Control]:
        return controls.all_controls(self.measured)

    @cached_property
    def cells_on_other_contexts(self) -> list[contexts.CellOnOtherContexts]:
        return contexts.cells_on_other_contexts(self.measured)

    @cached_property
    def differences_on_other_contexts(self) -> list[contexts.DifferenceOnOtherContexts]:
        return contexts.differences_on_other_contexts(self.measured, self.differences())
