"""What the cells of a study say: an estimate of every metric for each cell, statistics for each architecture.

Pure functions. They start from the content of cell files (dicts) and end in ``MeasuredCell``; only
``summarize_study`` goes back to plain keys, for the summary file.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import config_trained
from analysis import stats
from analysis.stats import UNKNOWN, Estimate
from analysis.table import Row, finite
from config import STREAMS, base_name, family_of, size_in
from labels import in_order
from metrics import METRICS, PAIR_METRICS, TRIAL_METRICS

SETTLED = 0.02  # the share of its loss that a cell may still lose in the last fifth of training


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """One architecture with one activation: its trials, their pairs, and what is estimated from them.

    ``content`` is that of the cell file. ``estimates`` has one for every metric of ``metrics.METRICS``: the mean over
    completed trials, or over their pairs, with a 95 % interval and the std (ddof=0); NaN where there is nothing to
    compute it from. ``controls`` are the cells of other studies that differ from this one in nothing but the random
    streams that vary between trials, by those streams; ``at_other_rates`` those that differ in nothing but the
    learning rate.
    """

    content: dict[str, Any]
    estimates: dict[str, Estimate]
    controls: dict[tuple[str, ...], "MeasuredCell"] = field(default_factory=dict)
    at_other_rates: list["MeasuredCell"] = field(default_factory=list)

    @property
    def model(self) -> str:
        return self.content["model"]

    @property
    def activation(self) -> str:
        return self.content["activation"]

    @property
    def study(self) -> str:
        return self.content["study"]

    @property
    def config(self) -> dict[str, Any]:
        return self.content["config"]

    @property
    def trials(self) -> list[dict]:
        return self.content["trials"]

    @property
    def pairs(self) -> list[dict]:
        """The pairs of the completed trials."""
        return self.content["pairs"]

    @property
    def planned_trials(self) -> int:
        return self.content["planned_trials"]

    @property
    def n_parameters(self) -> int:
        return self.content["n_parameters"]

    @cached_property
    def completed(self) -> list[dict]:
        """The trials that completed; diverged ones count, but take part in no estimate."""
        return [trial for trial in self.trials if trial["status"] == "completed"]

    @property
    def n_trials(self) -> int:
        return len(self.completed)

    @property
    def n_diverged(self) -> int:
        return len(self.trials) - len(self.completed)

    @property
    def n_predictions(self) -> int | None:
        """Contexts of the probe set; None without a pair."""
        return self.pairs[0]["n_predictions"] if self.pairs else None

    @property
    def training_seconds(self) -> float:
        return math.fsum(trial["training_time"] for trial in self.trials)

    @property
    def evaluation_seconds(self) -> float:
        return math.fsum(trial["evaluation_time"] for trial in self.trials)

    @property
    def varied(self) -> tuple[str, ...]:
        """The random streams that differ between the trials."""
        return varied(self.content)

    def estimate(self, metric: str) -> Estimate:
        return self.estimates.get(metric, UNKNOWN)

    def mean(self, metric: str) -> float:
        return self.estimate(metric).mean

    def values(self, metric: str) -> list[float]:
        """The metric of each completed trial, or of each pair if it is one of pairs; without unknown ones."""
        items = self.pairs if metric in PAIR_METRICS else self.completed
        return [item[metric] for item in items if item.get(metric) is not None]

    def pooled(self, grouping: str) -> dict[str, np.ndarray]:
        """All pairs together by the groups of their breakdown, as ``pool``."""
        pooled = self.content.get("pooled")
        return pool([{"breakdown": pooled}] if pooled else self.pairs, grouping)

    @property
    def processors(self) -> set[str]:
        """Those that its trials ran on, as far as it was recorded."""
        return {str(trial["environment"].get("processor")) for trial in self.trials}

    def settled(self) -> bool | None:
        """Whether the mean loss on the fixed windows fell by at most ``SETTLED`` in the last fifth of the steps; None
        without a completed trial."""
        if not self.completed:
            return None
        steps = self.completed[0]["history"]["step"]
        losses = np.mean([trial["history"]["val_loss"] for trial in self.completed], axis=0)
        return bool(losses[-1] >= (1 - SETTLED) * np.interp(0.8 * steps[-1], steps, losses))

    def good_enough(self) -> bool | None:
        """Whether the mean loss on the validation split is at most ``config_trained.GOOD_ENOUGH``; None for cells of
        other sizes, schedules or texts, for which no loss was set, and without a completed trial."""
        intended = config_trained.CONFIG
        shape = intended.shapes.get(self.model)
        same = shape and self.config.get("shape") == asdict(shape) | {"dilations": [*shape.dilations]}
        if self.config.get("corpus", config_trained.GOOD_ENOUGH_ON) != config_trained.GOOD_ENOUGH_ON:
            return None
        recipe = all(self.config.get(key) == getattr(intended, key) for key in ("schedule", "dropout"))
        if not same or not recipe or not self.completed:
            return None
        return self.mean("val_loss") <= config_trained.GOOD_ENOUGH[self.model]

    def row(self) -> Row:
        """The cell as a row of a table: its names and counts, and its estimates by metric."""
        return {
            "model": self.model,
            "activation": self.activation,
            "study": self.study,
            "status": self.content["status"],
            "n_parameters": self.n_parameters,
            "planned_trials": self.planned_trials,
            "n_trials": self.n_trials,
            "n_diverged": self.n_diverged,
            "n_predictions": self.n_predictions,
            **self.estimates,
        }


# ---------------------------------------------------------------- one cell


def measure(content: dict, others: Iterable[dict] = ()) -> MeasuredCell:
    """The cell whose file has ``content``, with its estimates, and what it can be compared with among ``others``."""
    cell = MeasuredCell(content, {})
    of_trials = {metric: _of_values(cell.values(metric), metric) for metric in TRIAL_METRICS}
    of_pairs = {metric: _of_pairs(cell.pairs, metric, cell.n_trials) for metric in PAIR_METRICS}
    others = list(others)
    return replace(
        cell,
        estimates=of_trials | of_pairs,
        controls=controls_of(content, others),
        at_other_rates=at_other_rates(content, others),
    )


def over_training(cell: MeasuredCell, metric: str = "relative_pd") -> list[Row]:
    """For every evaluation its ``step``, and the estimates of ``val_loss`` (on the fixed windows) and ``metric``.

    Empty where the cell has no pairs, or was written before the metric was followed.
    """
    pairs = cell.pairs
    if not pairs or any(metric not in pair["history"] for pair in pairs):
        return []
    points = []
    for place, step in enumerate(pairs[0]["history"]["step"]):
        losses = [trial["history"]["val_loss"][place] for trial in cell.completed]
        then = [pair | {metric: pair["history"][metric][place]} for pair in pairs]
        of_pairs = _of_pairs(then, metric, cell.n_trials)
        points.append({"step": step, "val_loss": _of_values(losses, "val_loss"), metric: of_pairs})
    return points


def untrained(cell: MeasuredCell, metric: str = "relative_pd") -> Estimate:
    """The metric before the first step; unknown where the cell was not evaluated there."""
    followed = bool(cell.pairs) and all(metric in pair["history"] for pair in cell.pairs)
    if not followed or cell.pairs[0]["history"]["step"][0] != 0:
        return UNKNOWN
    return _of_pairs([pair | {metric: pair["history"][metric][0]} for pair in cell.pairs], metric, cell.n_trials)


def untrained_mean(cells: list[MeasuredCell], metric: str = "relative_pd") -> float:
    """``untrained`` as a mean over those of ``cells`` of which it is known; NaN if of none."""
    known = [before.mean for cell in cells if (before := untrained(cell, metric)).known]
    return sum(known) / len(known) if known else math.nan


def _of_values(values: list[float], metric: str) -> Estimate:
    """The estimate from one value for each trial. The interval is cut off as in ``_of_pairs``."""
    return _cut_off(stats.mean_estimate(np.array(values)), metric, _std(values)) if values else UNKNOWN


def _of_pairs(pairs: list[dict], metric: str, n_trials: int) -> Estimate:
    """The estimate from one value for each pair; with an interval only if every pair of the trials has one.

    The interval is cut off at the metric's bounds, such as at 0, below which no distance can be.
    """
    values = [pair[metric] for pair in pairs if pair.get(metric) is not None]
    if not values:
        return UNKNOWN
    bounds = UNKNOWN
    if len(values) == math.comb(n_trials, 2):
        bounds = stats.pairwise_estimate(pair_matrix(pairs, metric)[1])
    return _cut_off(replace(bounds, mean=float(np.mean(values)), n=n_trials), metric, _std(values))


def _cut_off(found: Estimate, metric: str, std: float) -> Estimate:
    low, high = np.clip([found.low, found.high], METRICS[metric].least, METRICS[metric].most)
    return replace(found, low=float(low), high=float(high), std=std)


def _std(values: list[float]) -> float:
    return float(np.std(values)) if len(values) > 1 else math.nan


def pair_matrix(pairs: list[dict], metric: str) -> tuple[list[int], np.ndarray]:
    """The trials that take part in pairs (N,) and the metric between them (N, N); nan where it is unknown."""
    numbers = sorted({number for pair in pairs for number in pair["trials"]})
    place = {number: index for index, number in enumerate(numbers)}
    matrix = np.full((len(numbers), len(numbers)), math.nan)
    np.fill_diagonal(matrix, 0)
    for pair in pairs:
        i, j = (place[number] for number in pair["trials"])
        matrix[i, j] = matrix[j, i] = math.nan if pair.get(metric) is None else pair[metric]
    return numbers, matrix


def pool(pairs: list[dict], grouping: str) -> dict[str, np.ndarray]:
    """All ``pairs`` together: predictions, relative PD and share of mismatches (groups,); nan of an empty group."""
    groups = [pair["breakdown"][grouping] for pair in pairs]
    count, distance, mismatches = (
        np.array([group[name] for group in groups], dtype=float)
        for name in ("n_predictions", "relative_pd", "top1_mismatches")
    )
    total = count.sum(axis=0)

    def share(values: np.ndarray) -> np.ndarray:
        return np.divide(np.nansum(values, axis=0), total, out=np.full_like(total, np.nan), where=total > 0)

    return {"n_predictions": total, "relative_pd": share(count * distance), "mismatch_share": share(mismatches)}


# ---------------------------------------------------------------- the same but for one setting


def varied(content: dict) -> tuple[str, ...]:
    """The random streams that differ between a cell's trials."""
    return tuple(name for name in STREAMS if name in content["config"]["vary"])


def controls_of(content: dict, others: Iterable[dict]) -> dict[tuple[str, ...], MeasuredCell]:
    """Those of ``others`` with all settings of the cell but other streams varied: measured, by these streams.

    Of several with the same streams that with the most completed trials, of equals the first.
    """
    found: dict[tuple[str, ...], list[MeasuredCell]] = {}
    for other in others:
        if varied(other) != varied(content) and _same_but("vary", content, other):
            found.setdefault(varied(other), []).append(measure(other))
    return {streams: max(cells, key=lambda cell: cell.n_trials) for streams, cells in found.items()}


def at_other_rates(content: dict, others: Iterable[dict]) -> list[MeasuredCell]:
    """Those of ``others`` with all settings of the cell but the learning rate, measured, one for each rate.

    Of several with the same rate that with the most completed trials, of equals the first.
    """
    found: dict[float, list[MeasuredCell]] = {}
    for other in others:
        rate = other["config"].get("learning_rate")
        if rate not in (None, content["config"].get("learning_rate")) and _same_but("learning_rate", content, other):
            found.setdefault(rate, []).append(measure(other))
    return [max(found[rate], key=lambda cell: cell.n_trials) for rate in sorted(found)]


def _same_but(setting: str, content: dict, other: dict) -> bool:
    return content["config"] | {setting: None} == other["config"] | {setting: None}


# ---------------------------------------------------------------- a study


def measure_study(contents: list[dict], study: str) -> list[MeasuredCell]:
    """The measured cells of a study, in the order of ``labels.LABELS``, sizes of an architecture by their parameters;
    ``contents`` are those of all studies."""
    found = {(cell["model"], cell["activation"]): cell for cell in contents if cell["study"] == study}
    models = _by_size({model: cell["n_parameters"] for (model, _), cell in found.items()})
    activations = in_order(activation for _, activation in found)
    grid = [(model, activation) for model in models for activation in activations]
    return [measure(found[place], contents) for place in grid if place in found]


def _by_size(n_parameters: dict[str, int]) -> list[str]:
    """The architectures ``in_order``, but one that is there in other sizes too stands among them."""
    bases = in_order(map(base_name, n_parameters))
    in_sizes = {base_name(model) for model in n_parameters if size_in(model)}

    def place(model: str) -> tuple[int, int]:
        base = base_name(model)
        return bases.index(base), n_parameters[model] if base in in_sizes else 0

    return sorted(n_parameters, key=place)


def by_model(measured: list[MeasuredCell]) -> dict[str, list[MeasuredCell]]:
    """Measured cells by architecture, in the order given."""
    groups: dict[str, list[MeasuredCell]] = {}
    for cell in measured:
        groups.setdefault(cell.model, []).append(cell)
    return groups


def with_breakdown(measured: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells that have pairs and say where these disagree; cells of earlier versions do not."""
    return [cell for cell in measured if cell.pairs and all("breakdown" in pair for pair in cell.pairs)]


def with_passages(measured: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells that have what two trials or more predict on the study's passage."""
    return [cell for cell in measured if sum("passage" in trial for trial in cell.completed) > 1]


@dataclass(frozen=True)
class Spread:
    """Over the activations of one architecture: how many have a mean, and mean, std (ddof=0) and CV of these.

    The CV is a fraction. It contains the noise of the cells' own estimates; ``omnibus`` says what that alone gives.
    """

    n: int
    mean: float
    std: float
    cv: float


def spread_over(cells: list[MeasuredCell], metric: str) -> Spread:
    means = [cell.mean(metric) for cell in cells if cell.estimate(metric).known]
    if not means:
        return Spread(0, math.nan, math.nan, math.nan)
    cv = stats.coefficient_of_variation(np.array(means)) if len(means) > 1 else math.nan
    return Spread(len(means), float(np.mean(means)), _std(means), cv)


def trial_counts(cells: list[MeasuredCell]) -> Row:
    """Completed, diverged and planned trials of several cells together."""
    return {
        "n_trials": sum(cell.n_trials for cell in cells),
        "n_diverged": sum(cell.n_diverged for cell in cells),
        "planned_trials": sum(cell.planned_trials for cell in cells),
    }


# ---------------------------------------------------------------- all studies


def strongest_study(contents: list[dict]) -> str:
    """The study with the strongest evidence: most architectures with three trials in each of two activations or
    more, then most such cells, most trials in the least of them, most steps.

    Of equals the one with the newest trial; controls only where there is nothing else.
    """
    own = [cell for cell in contents if varied(cell) == STREAMS] or contents
    studies: dict[str, list[dict]] = {}
    for cell in own:
        studies.setdefault(cell["study"], []).append(cell)
    return max(sorted(studies), key=lambda name: evidence(studies[name]))


def evidence(contents: list[dict]) -> tuple[int, int, int, int, str]:
    """What ``strongest_study`` compares: architectures, cells, trials in the least of these, steps, newest trial.

    Variants and sizes of an architecture are no further architectures.
    """
    trials: dict[str, list[int]] = {}
    for cell in contents:
        completed = sum(trial["status"] == "completed" for trial in cell["trials"])
        trials.setdefault(cell["model"], []).append(completed)
    enough = {model: [n for n in counts if n >= stats.FEWEST] for model, counts in trials.items()}
    several = {model: counts for model, counts in enough.items() if len(counts) > 1}
    compared = [n for counts in several.values() for n in counts]
    newest = max((trial["finished"] for cell in contents for trial in cell["trials"]), default="")
    steps = max(cell["config"]["iterations"] for cell in contents)
    return len({*map(family_of, several)}), len(compared), min(compared, default=0), steps, newest


def shared_environment(contents: Iterable[dict]) -> dict:
    """Each fact of the trials' environments: its value where all agree, else the list of its values."""
    environments = [trial["environment"] for cell in contents for trial in cell["trials"]]
    names = sorted({name for environment in environments for name in environment})
    return {name: _agreed([environment.get(name) for environment in environments]) for name in names}


def _agreed(values: list):
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    return distinct[0] if len(distinct) == 1 else sorted(distinct, key=str)


# ---------------------------------------------------------------- the summary file


def summarize_study(measured: list[MeasuredCell]) -> dict:
    """What the summary file keeps of one study, under plain keys; the same cells give the same record."""
    return {
        "cells": [_flat(cell) for cell in measured],
        "architectures": [_compared(model, cells) for model, cells in by_model(measured).items()],
        "environment": shared_environment(cell.content for cell in measured),
        "total_time_seconds": math.fsum(cell.training_seconds + cell.evaluation_seconds for cell in measured),
    }


def _flat(cell: MeasuredCell) -> dict:
    plain = {name: value for name, value in cell.row().items() if not isinstance(value, Estimate) and name != "study"}
    for metric, estimate in cell.estimates.items():
        plain |= {f"{kind}_{metric}": finite(getattr(estimate, kind)) for kind in ("mean", "std", "low", "high")}
    return plain


def _compared(model: str, cells: list[MeasuredCell]) -> dict:
    compared = {"model": model, **trial_counts(cells)}
    for metric in METRICS:
        spread = spread_over(cells, metric)
        compared |= {
            f"n_activations_{metric}": spread.n,
            f"mean_{metric}": finite(spread.mean),
            f"std_{metric}": finite(spread.std),
            f"cv_{metric}": finite(100 * spread.cv),  # in percent, as the report has it
        }
    return compared
