"""The report's numbers, one by one: what they follow from, whether they can be, and what we measure. Pure functions.

``report`` is the content of ``data/report.json``: the report's tables, their numbers as the text that was printed.
``Values`` are the numbers of one architecture, activation -> quantity -> number, in this project's units: losses in
nats per character, times in seconds, all else as fractions. ``Quantity.scale`` leads to the report's units, such as
percent. What is unknown is NaN.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from analysis import stats
from analysis.contexts import on_contexts
from analysis.differences import between
from analysis.findings import Findings
from analysis.measure import MeasuredCell
from analysis.stats import UNKNOWN, Estimate
from analysis.table import Row
from audit.measures import paired_differences
from audit.ours import Ours, where
from labels import label

Values = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Quantity:
    """What a number of the report is a number of.

    label   its name with the report's unit
    scale   the report's number is this times ours
    excess_of   it says by what fraction this quantity is above that of the section's baseline
    over_activations   it sums up the relative PDs (K,) of a section's K activations
    """

    label: str
    scale: float = 1
    excess_of: str | None = None
    over_activations: Callable[[np.ndarray], float] | None = None

    @property
    def derived(self) -> bool:
        return self.excess_of is not None or self.over_activations is not None


QUANTITIES = {
    "train_loss": Quantity("Train loss (nats/char)"),
    "val_loss": Quantity("Val loss (nats/char)"),
    "std_val_loss": Quantity("Std of val loss"),
    "excess_val_loss": Quantity("Val loss, excess (%)", 100, excess_of="val_loss"),
    "train_accuracy": Quantity("Train accuracy (%)", 100),
    "val_accuracy": Quantity("Val accuracy (%)", 100),
    "std_val_accuracy": Quantity("Std of val accuracy (%)", 100),
    "relative_pd": Quantity("Relative PD"),
    "excess_relative_pd": Quantity("Relative PD, excess (%)", 100, excess_of="relative_pd"),
    "top1_mismatches": Quantity("Top-1 mismatches of 1000", 1000),
    "mismatch_percent": Quantity("Top-1 mismatches (%)", 100),
    "training_time": Quantity("Training time (s)"),
    "excess_training_time": Quantity("Training time, excess (%)", 100, excess_of="training_time"),
    "mean_over_activations": Quantity("Relative PD, mean over activations", over_activations=np.mean),
    "std_over_activations": Quantity("Relative PD, std over activations", over_activations=np.std),
    "cv_over_activations": Quantity(
        "Relative PD, CV over activations (%)", 100, over_activations=stats.coefficient_of_variation
    ),
}
PLACE = ("model", "activation", "trial", "source")  # what says where a number is; the rest of a row is numbers
MEAN = "mean"  # in the place of a trial's number
FOUR_DIGITS = 4
NO_INTERVAL = (math.nan, math.nan)


# ---------------------------------------------------------------- what is printed


@dataclass(frozen=True)
class PrintedNumber:
    """A number as it was ``printed``, where it is, and the section that it follows from, if any."""

    section: str
    model: str
    activation: str | None
    trial: str | None
    quantity: str
    printed: str
    source: str | None

    @property
    def of_single_trial(self) -> bool:
        return self.trial not in (None, MEAN)


def find_section(report: dict, number: str) -> dict:
    """The section with this number; LookupError if there is none."""
    for section in report["sections"]:
        if section["section"] == number:
            return section
    raise LookupError(f"the report has no section {number}")


def quantities(row: dict) -> list[str]:
    return [name for name in row if name not in PLACE]


def printed_numbers(report: dict) -> Iterator[PrintedNumber]:
    """Every number of the report."""
    for section in report["sections"]:
        for row in section["rows"]:
            for quantity in quantities(row):
                yield PrintedNumber(
                    section["section"],
                    row.get("model") or section["model"],
                    row.get("activation"),
                    row.get("trial"),
                    quantity,
                    row[quantity],
                    _source(section, row, quantity),
                )


def _source(section: dict, row: dict, quantity: str) -> str | None:
    """The section that a number follows from: what it compares or sums up, or what it repeats."""
    if QUANTITIES[quantity].derived or row.get("trial") == MEAN:
        return row.get("source", section["section"])
    return row.get("source") or section.get("source")


def activations_of(section: dict) -> list[str]:
    return list(dict.fromkeys(row["activation"] for row in section["rows"] if "activation" in row))


def printed_values(section: dict) -> Values:
    """The section's numbers; where it prints single trials their mean, and their std (ddof=0)."""
    return {activation: _printed_of(section, activation) for activation in activations_of(section)}


def _printed_of(section: dict, activation: str) -> dict[str, float]:
    rows = [row for row in section["rows"] if row.get("activation") == activation]
    values: dict[str, float] = {}
    for row in rows:
        if "trial" not in row:
            values |= {name: _parsed(row, name) for name in quantities(row)}
    single = [row for row in rows if row.get("trial", MEAN) != MEAN]
    for name in quantities(single[0]) if single else ():
        trials = [_parsed(row, name) for row in single]
        values |= {name: float(np.mean(trials)), f"std_{name}": float(np.std(trials))}
    if "top1_mismatches" in values:
        values["mismatch_percent"] = values["top1_mismatches"]
    return values


def _parsed(row: dict, quantity: str) -> float:
    return float(row[quantity]) / QUANTITIES[quantity].scale


# ---------------------------------------------------------------- what we measure


def measured_values(cells: list[MeasuredCell]) -> Values:
    """Our cells of one architecture, in the report's quantities."""
    return {cell.activation: _measured_of(cell) for cell in cells}


def _measured_of(cell: MeasuredCell) -> dict[str, float]:
    means = {name: estimate.mean for name, estimate in cell.estimates.items()}
    spreads = {f"std_{name}": estimate.std for name, estimate in cell.estimates.items()}
    return means | spreads | _mismatches(cell, cell.mean("top1_mismatches"))


def rebuilt_values(cells: list[MeasuredCell], formula: str) -> Values:
    """PD and mismatches of our cells with the report's mistake: different contexts, PD by ``formula``."""
    values = {}
    for cell in cells:
        apart = on_contexts(cell)
        count, distance = (apart[f"different_{name}"] for name in ("top1_mismatches", formula))
        values[cell.activation] = _mismatches(cell, _or_nan(count)) | {"relative_pd": _or_nan(distance)}
    return values


def _mismatches(cell: MeasuredCell, count: float) -> dict[str, float]:
    share = count / cell.n_predictions if cell.n_predictions else math.nan
    return {"top1_mismatches": share, "mismatch_percent": share}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


# ---------------------------------------------------------------- one number


def evaluate(report: dict, number: PrintedNumber, values: Values) -> float:
    """What the printed ``number`` would be if these were the values that it follows from."""
    quantity = QUANTITIES[number.quantity]

    def value_of(activation: str | None, name: str) -> float:
        return values.get(activation or "", {}).get(name, math.nan)

    if quantity.over_activations is not None and number.source is not None:
        compared = activations_of(find_section(report, number.source))
        return float(quantity.over_activations(np.array([value_of(name, "relative_pd") for name in compared])))
    if quantity.excess_of is not None:
        baseline = value_of(find_section(report, number.section)["baseline"], quantity.excess_of)
        return value_of(number.activation, quantity.excess_of) / baseline - 1 if baseline else math.nan
    return value_of(number.activation, number.quantity)


def decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def agrees(printed: str, value: float, scale: float = 1) -> bool:
    """Within one unit of the last digit printed: both were rounded, ``value`` in what it was computed from.

    ``scale`` leads from the value's unit to the printed one, such as 100 from a fraction to percent.
    """
    return abs(float(printed) - scale * value) < 1.001 * 10 ** -decimals(printed)


def most_mismatches(n: int, first: float, second: float) -> float:
    """Top-1 mismatches that two accuracies allow on the same ``n`` samples: n min(1, 2 - a1 - a2).

    Both are right on at least n (a1 + a2 - 1) samples, and there they agree. For means over pairs of trials the mean
    accuracies bound the mean count, because the bound is concave.
    """
    return n * min(1.0, 2 - first - second)


def mismatch_bound(section: dict, activation: str | None) -> int | None:
    """The most mismatches that the section's printed accuracies, as low as they may be rounded from, allow."""
    rows = [row for row in section["rows"] if row.get("activation") == activation and "val_accuracy" in row]
    printed = [row["val_accuracy"] for row in rows if row.get("trial") != MEAN]
    if not printed:
        return None
    first, second = ((float(text) - 0.5 * 10 ** -decimals(text)) / 100 for text in (printed * 2)[:2])
    return math.floor(most_mismatches(section["n_predictions"], first, second) + stats.ROUNDING)


def repeated_under(section: dict, number: PrintedNumber) -> tuple[str, ...]:
    """Other activations for which the section prints the same loss or PD, to at least 4 digits."""
    digits = len(number.printed.replace(".", "").lstrip("0"))
    if number.quantity not in ("val_loss", "relative_pd") or number.trial or digits < FOUR_DIGITS:
        return ()
    rows = [row for row in section["rows"] if row.get(number.quantity) == number.printed and "trial" not in row]
    return tuple(row["activation"] for row in rows if row["activation"] != number.activation)


class Judgement(StrEnum):
    """Whether a printed number can be: the first of these that applies."""

    IMPOSSIBLE = "not possible"
    REPEATED = "same as"
    AGREES = "agrees"
    DIFFERS = "differs"
    POSSIBLE = "possible"


@dataclass(frozen=True)
class AuditedNumber:
    """A printed number beside what it follows from and what we measure.

    recomputed   from the report's other numbers
    at_most   how many samples can mismatch, of a number of mismatches
    same_as   the activations under which the same loss or PD is printed
    ours   of the study nearest in steps, with an interval where there is one
    rebuilt   ours, with the report's mistake
    where   study and steps of ours; None where there is no counterpart
    """

    number: PrintedNumber
    recomputed: float
    at_most: int | None
    same_as: tuple[str, ...]
    ours: Estimate = UNKNOWN
    rebuilt: float = math.nan
    where: str | None = None

    @property
    def follows(self) -> bool:
        """Whether the number can be computed from others of the report."""
        return not math.isnan(self.recomputed)

    @property
    def judgement(self) -> Judgement | None:
        """None where nothing can be said."""
        printed, scale = self.number.printed, QUANTITIES[self.number.quantity].scale
        if self.at_most is not None and float(printed) > self.at_most:
            return Judgement.IMPOSSIBLE
        if self.same_as:
            return Judgement.REPEATED
        if self.follows:
            return Judgement.AGREES if agrees(printed, self.recomputed, scale) else Judgement.DIFFERS
        return None if self.at_most is None else Judgement.POSSIBLE

    def row(self) -> Row:
        """As a row of a table, in the report's units."""
        scale = QUANTITIES[self.number.quantity].scale
        return {
            "section": self.number.section,
            "model": self.number.model,
            "activation": self.number.activation,
            "trial": self.number.trial,
            "quantity": self.number.quantity,
            "printed": self.number.printed,
            "recomputed": scale * self.recomputed,
            "at_most": self.at_most,
            "judgement": self.judgement,
            "same_as": ", ".join(map(label, self.same_as)) or None,
            "ours": replace(
                self.ours, mean=scale * self.ours.mean, low=scale * self.ours.low, high=scale * self.ours.high
            ),
            "rebuilt": scale * self.rebuilt,
            "where": self.where,
        }


# ---------------------------------------------------------------- all numbers


def audited_numbers(report: dict, ours: Ours | None) -> list[AuditedNumber]:
    """Every printed number, judged, with its counterparts in our nearest study: properly, and with the report's
    mistake."""
    printed = {section["section"]: printed_values(section) for section in report["sections"]}
    found = []
    for number in printed_numbers(report):
        audited = judged(report, number, printed)
        section = find_section(report, number.source or number.section)
        findings = ours.beside(section) if ours else None
        # ours are means over trials: a single trial of the report has no counterpart
        if ours and findings and number.model in findings.models and not number.of_single_trial:
            audited = beside_ours(report, audited, ours, findings)
        found.append(audited)
    return found


def judged(report: dict, number: PrintedNumber, printed: dict[str, Values]) -> AuditedNumber:
    """The number against the ``printed`` values of every section."""
    section = find_section(report, number.section)
    source = find_section(report, number.source or number.section)
    recomputed = evaluate(report, number, printed[number.source]) if number.source else math.nan
    bound = mismatch_bound(source, number.activation) if number.quantity == "top1_mismatches" else None
    return AuditedNumber(number, recomputed, bound, repeated_under(section, number))


def beside_ours(report: dict, audited: AuditedNumber, ours: Ours, findings: Findings) -> AuditedNumber:
    """The number with its counterparts in a study of ours."""
    number = audited.number
    mean = evaluate(report, number, ours.once(measured_values, findings, number.model))
    mistaken = ours.once(rebuilt_values, findings, number.model, find_section(report, number.section)["formula"])
    low, high = _interval(report, number, ours, findings)
    estimate = UNKNOWN if math.isnan(mean) else replace(UNKNOWN, mean=mean, low=low, high=high)
    rebuilt = evaluate(report, number, mistaken)
    known = estimate.known or not math.isnan(rebuilt)
    return replace(audited, ours=estimate, rebuilt=rebuilt, where=where(findings) if known else None)


def _interval(report: dict, number: PrintedNumber, ours: Ours, findings: Findings) -> tuple[float, float]:
    """Of our counterpart: that of the cell, of the paired difference over the baseline's mean, or of the CV without
    noise; NaN where there is none."""
    quantity, model = QUANTITIES[number.quantity], number.model
    if quantity.over_activations is stats.coefficient_of_variation:
        compared = activations_of(find_section(report, number.source or number.section))
        estimate = ours.cv(findings, model, compared)
        return estimate.low, estimate.high
    if quantity.excess_of is not None:
        known = paired_differences(findings, quantity.excess_of)
        baseline = find_section(report, number.section)["baseline"]
        one = between(known, model, number.activation or "", baseline)
        return (one.estimate.low / one.second, one.estimate.high / one.second) if one and one.second else NO_INTERVAL
    cell = next((each for each in findings.models[model] if each.activation == number.activation), None)
    if cell is None or quantity.over_activations is not None:
        return NO_INTERVAL
    metric = "top1_mismatches" if number.quantity == "mismatch_percent" else number.quantity
    estimate = cell.estimate(metric)
    per = cell.n_predictions or 1 if metric == "top1_mismatches" else 1
    return estimate.low / per, estimate.high / per
