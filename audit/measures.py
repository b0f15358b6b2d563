"""What we measure where the report claims something: estimates with their intervals. Pure functions of findings.

A claim of ``data/report.json`` names the measure and what it is of. ``models`` are the architectures, all where none
are named; what a study lacks is left out.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from analysis import stats
from analysis.differences import Difference, between
from analysis.early import over_architectures
from analysis.findings import Findings
from analysis.measure import MeasuredCell, over_training
from analysis.metrics_compared import metric_label, spearman_within
from analysis.stats import UNKNOWN, Estimate
from analysis.table import ABSENT, number, with_interval
from labels import label
from metrics import PAIR_METRICS

PERCENT = 100


@dataclass(frozen=True)
class Measurement:
    """An estimate of ours: what it is of, in which unit it is shown, and what the tests say of it.

    ``to`` is where a range ends that begins at the estimate.
    """

    what: str
    estimate: Estimate
    unit: str = ""
    scale: float = 1
    digits: int = 3
    verdict: str | None = None
    to: float = math.nan

    def text(self) -> str:
        shown = with_interval(self.digits, self.scale)(self.estimate)
        end = number(f"{{:.{self.digits}f}}", self.scale)(self.to)
        if end not in (ABSENT, shown):
            shown += f" to {end}"
        return " ".join(filter(None, [self.what, shown, self.unit])) + (f", {self.verdict}" if self.verdict else "")


def about(asked: dict) -> str:
    """Of which metrics the measurements are; "" where they are of none."""
    names = [asked["metric"]] if "metric" in asked else asked.get("metrics", [])
    joint = " over " if asked["measure"] == "metric_ratio" else " and "
    return joint.join("PD" if name == "relative_pd" else metric_label(name) for name in names)


def measured(findings: Findings, asked: dict) -> list[Measurement]:
    """What our study says where the report claims something; nothing where it has not measured it."""
    found = MEASURES[asked["measure"]](findings, asked)
    return [each for each in found if each.estimate.known]


def _models(findings: Findings, asked: dict) -> Iterator[tuple[str, list[MeasuredCell]]]:
    for model, cells in findings.models.items():
        if model in asked.get("models", findings.models):
            yield model, cells


def _without_interval(value: float) -> Estimate:
    return replace(UNKNOWN, mean=float(value))


def _range(what: str, values: list, unit: str = "", scale: float = 1, digits: int = 3) -> Measurement:
    """From the least to the most of ``values``, which are at least one."""
    return Measurement(what, _without_interval(min(values)), unit, scale, digits, to=float(max(values)))


# ---------------------------------------------------------------- cells


def setting(findings: Findings, asked: dict) -> list[Measurement]:
    """A setting of our cells' configuration, such as ("shape", "layers"), where all have the same."""
    values = {_setting(cell.config, asked["key"]) for _, own in _models(findings, asked) for cell in own}
    (value,) = values if len(values) == 1 else [None]
    if value is None:
        return []
    return [Measurement("", _without_interval(value), asked.get("unit", ""), digits=asked.get("digits", 0))]


def _setting(config: dict, keys: list[str]) -> float | None:
    """The value below the keys, None where one of them is missing."""
    *outer, last = keys
    return reduce(lambda settings, key: settings.get(key, {}), outer, config).get(last)


def parameters(findings: Findings, asked: dict) -> list[Measurement]:
    """Parameters of the smallest and the largest model of each architecture, in thousands."""
    return [
        _range(label(model), [cell.n_parameters for cell in own], "K", 1e-3, 0)
        for model, own in _models(findings, asked)
    ]


def trials(findings: Findings, asked: dict) -> list[Measurement]:
    """Trials of each cell."""
    counts = {cell.n_trials for _, cells in _models(findings, asked) for cell in cells}
    return [Measurement("", _without_interval(count), "trials", digits=0) for count in sorted(counts)]


def experiments(findings: Findings, asked: dict) -> list[Measurement]:
    """Trained models of the study."""
    return [Measurement("", _without_interval(sum(cell.n_trials for cell in findings.measured)), "trials", digits=0)]


def cells(findings: Findings, asked: dict) -> list[Measurement]:
    """A metric of each cell asked for, activation by activation."""
    return [
        _of_cell(cell, asked)
        for _, found in _models(findings, asked)
        for cell in found
        if cell.activation in asked.get("activations", [cell.activation])
    ]


def span(findings: Findings, asked: dict) -> list[Measurement]:
    """The lowest and the highest mean of a metric over an architecture's activations."""
    found = []
    for _, own in _models(findings, asked):
        known = sorted(
            (cell for cell in own if cell.estimate(asked["metric"]).known),
            key=lambda cell: cell.mean(asked["metric"]),
        )
        found += [_of_cell(cell, asked) for cell in dict.fromkeys(known[:1] + known[-1:])]
    return found


def _of_cell(cell: MeasuredCell, asked: dict) -> Measurement:
    estimate, n = cell.estimate(asked["metric"]), cell.n_predictions
    scale, digits, unit = 1.0, asked.get("digits", 3), asked.get("unit", "")
    if asked.get("of_1000") and n:
        scale, digits, unit = 1000 / n, 0, "of 1000"
    return Measurement(f"{label(cell.model)} {label(cell.activation)}", estimate, unit, scale, digits)


def rank(findings: Findings, asked: dict) -> list[Measurement]:
    """Where an activation's mean stands among those of its architecture, 1 being the lowest."""
    found = []
    for model, own in _models(findings, asked):
        means = {cell.activation: cell.mean(asked["metric"]) for cell in own if cell.estimate(asked["metric"]).known}
        if asked["activation"] in means:
            place = sorted(means.values()).index(means[asked["activation"]]) + 1
            found.append(Measurement(f"{label(model)} rank", _without_interval(place), f"of {len(means)}", digits=0))
    return found


def initial_loss(findings: Findings, asked: dict) -> list[Measurement]:
    """The validation loss before the first step."""
    found = []
    for model, own in _models(findings, asked):
        points = [over_training(cell)[0] for cell in own if over_training(cell)]
        losses = np.array([point["val_loss"].mean for point in points if point["step"] == 0])
        found += [_range(label(model), list(losses), "nats")] if len(losses) else []
    return found


# ---------------------------------------------------------------- comparisons


def difference(findings: Findings, asked: dict) -> list[Measurement]:
    """By how many percent the metric is higher with "activation" than with "other", paired by seed.

    The interval is that of the difference, over the mean with the other.
    """
    known = paired_differences(findings, asked["metric"])
    found = []
    for model, _ in _models(findings, asked):
        for other in asked["others"]:
            one = between(known, model, asked["activation"], other)
            if one is not None and one.second:
                name = f"{label(model)} {label(asked['activation'])} over {label(other)}"
                found.append(
                    Measurement(name, one.estimate, "%", PERCENT / one.second, asked.get("digits", 1), _shown(one))
                )
    return found


def paired_differences(findings: Findings, metric: str) -> list[Difference]:
    """Every two activations of every architecture, by a metric of pairs or by the loss; none by other metrics."""
    if metric in PAIR_METRICS:
        return findings.differences(metric)
    return findings.loss_differences if metric == "val_loss" else []


def _shown(one: Difference) -> str:
    return {True: "shown", False: "not shown", None: "not tested"}[one.shown]


def activation_cv(findings: Findings, asked: dict) -> list[Measurement]:
    """The CV over activations of a metric, the interval of that without noise, and the verdict."""
    found = findings.sensitivities(asked.get("metric", "relative_pd"))
    return [
        Measurement(f"{label(each.model)} CV", each.cv, "%", PERCENT, 1, str(each.verdict))
        for each in found
        if each.model in asked.get("models", findings.models)
    ]


def size_trend(findings: Findings, asked: dict) -> list[Measurement]:
    """What the CV of PD, of which the report has a trend, changes by for a tenfold size of each architecture, and
    whether that is shown."""
    return [
        Measurement(
            f"change of {label(each.base)}'s CV for a tenfold size",
            each.slope,
            "percentage points",
            PERCENT,
            1,
            "shown" if each.shown else "not shown",
        )
        for each in findings.size_trends
        if each.reported
    ]


def early_verdicts(findings: Findings, asked: dict) -> list[Measurement]:
    """In how many architectures the rule says at the first evaluation after the start what it says at the last."""
    summed = [each for each in over_architectures(findings.early_steps) if each.step > 0]
    if not summed or not summed[0].n:
        return []
    first, last = summed[0], findings.course[-1].step
    what = f"the verdict at step {first.step} is that at step {last} in"
    return [Measurement(what, _without_interval(first.same_verdict), f"of {first.n} architectures", digits=0)]


def correlation(findings: Findings, asked: dict) -> list[Measurement]:
    """Spearman's rank correlation over activations of the means of two metrics, within architectures.

    The noise of the means is not in the interval.
    """
    first, second = asked["metrics"]
    groups = []
    for _, own in _models(findings, asked):
        points = np.array([(cell.mean(first), cell.mean(second)) for cell in own])
        points = points[~np.isnan(points).any(axis=1)]
        if len(points) > 1:
            groups.append(points.T)
    rho = spearman_within(groups)
    return [Measurement("rank correlation", rho, digits=2)] if rho.known else []


def metric_ratio(findings: Findings, asked: dict) -> list[Measurement]:
    """How many times one metric's mean is another's, the least and the most over an architecture's activations."""
    first, second = asked["metrics"]
    found = []
    for model, own in _models(findings, asked):
        ratios = [cell.mean(first) / cell.mean(second) for cell in own if cell.mean(second) > 0]
        found += [_range(label(model), ratios, digits=2)] if ratios else []
    return found


# ---------------------------------------------------------------- time


def first_trial_overhead(findings: Findings, asked: dict) -> list[Measurement]:
    """By how many percent a cell's first trial took longer than the mean of its others, over cells."""
    times = [cell.values("training_time") for _, own in _models(findings, asked) for cell in own]
    overheads = np.array([t[0] / np.mean(t[1:]) - 1 for t in times if len(t) > 1])
    return [Measurement("first trial", stats.mean_estimate(overheads), "% longer", PERCENT, 1)] if len(times) else []


def seconds_a_step(findings: Findings, asked: dict) -> list[Measurement]:
    """Training time over steps: the fastest and the slowest activation."""
    found = []
    for _, own in _models(findings, asked):
        ordered = sorted(own, key=lambda cell: cell.mean("training_time"))
        for cell in dict.fromkeys(ordered[:1] + ordered[-1:]):
            name = f"{label(cell.model)} {label(cell.activation)}"
            scale = 1 / cell.config["iterations"]
            found.append(Measurement(name, cell.estimate("training_time"), "s a step", scale))
    return found


def total_time(findings: Findings, asked: dict) -> list[Measurement]:
    """Training and evaluation of the activations asked for, all trials one after the other."""
    found = []
    for model, own in _models(findings, asked):
        spent = [
            cell.training_seconds + cell.evaluation_seconds
            for cell in own
            if cell.activation in asked.get("activations", [cell.activation])
        ]
        n = sum(cell.n_trials for cell in own if cell.activation in asked.get("activations", [cell.activation]))
        if spent:
            found.append(Measurement(label(model), _without_interval(sum(spent)), f"s for {n} trials", digits=0))
    return found


MEASURES: dict[str, Callable[[Findings, dict], list[Measurement]]] = {
    measure.__name__: measure
    for measure in (
        setting,
        parameters,
        trials,
        experiments,
        cells,
        span,
        rank,
        initial_loss,
        difference,
        activation_cv,
        size_trend,
        early_verdicts,
        correlation,
        metric_ratio,
        first_trial_overhead,
        seconds_a_step,
        total_time,
    )
}
