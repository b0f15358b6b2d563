"""The report's numbers, one by one: what they follow from, whether they can be, and what we measure. Pure functions.

``report`` is the content of ``data/report.json``: the report's tables, their numbers as the text that was printed.
``Values`` are the numbers of one architecture, activation -> quantity -> number, in the report's units: losses in
nats per character, accuracies in %, times in seconds, mismatches of 1,000 predictions.
"""

import math
from collections.abc import Iterator

import numpy as np

from analysis import stats
from analysis.contexts import on_contexts
from analysis.measure import by_model
from analysis.table import ABSENT
from labels import label

Values = dict[str, dict[str, float]]

QUANTITIES = {
    "train_loss": "Train loss (nats/char)",
    "val_loss": "Val loss (nats/char)",
    "std_val_loss": "Std of val loss",
    "excess_val_loss": "Val loss, excess (%)",
    "train_accuracy": "Train accuracy (%)",
    "val_accuracy": "Val accuracy (%)",
    "std_val_accuracy": "Std of val accuracy (%)",
    "relative_pd": "Relative PD",
    "excess_relative_pd": "Relative PD, excess (%)",
    "top1_mismatches": "Top-1 mismatches of 1000",
    "mismatch_percent": "Top-1 mismatches (%)",
    "training_time": "Training time (s)",
    "excess_training_time": "Training time, excess (%)",
    "mean_over_activations": "Relative PD, mean over activations",
    "std_over_activations": "Relative PD, std over activations",
    "cv_over_activations": "Relative PD, CV over activations (%)",
}
OVER_ACTIVATIONS = {
    "mean_over_activations": np.mean,
    "std_over_activations": np.std,
    "cv_over_activations": lambda values: 100 * stats.coefficient_of_variation(values),
}
EXCESS = "excess_"
PLACE = ("model", "activation", "trial", "source")  # what says where a number stands; the rest of a row is numbers
FOUR_DIGITS = 4


# ---------------------------------------------------------------- what is printed


def find_section(report: dict, number: str) -> dict:
    return next(section for section in report["sections"] if section["section"] == number)


def quantities(row: dict) -> list[str]:
    return [name for name in row if name not in PLACE]


def printed_numbers(report: dict) -> Iterator[dict]:
    """Every number of the report: where it stands, as it was printed, and the section it follows from, if any."""
    for section in report["sections"]:
        for row in section["rows"]:
            for quantity in quantities(row):
                yield {
                    "section": section["section"],
                    "model": row.get("model") or section["model"],
                    "activation": row.get("activation"),
                    "trial": row.get("trial"),
                    "quantity": quantity,
                    "printed": row[quantity],
                    "source": _source(section, row, quantity),
                }


def _source(section: dict, row: dict, quantity: str) -> str | None:
    """The section that a number follows from: what it compares or sums up, or what it repeats."""
    derived = quantity in OVER_ACTIVATIONS or quantity.startswith(EXCESS) or row.get("trial") == "mean"
    if derived:
        return row.get("source", section["section"])
    return row.get("source") or section.get("source")


def activations_of(section: dict) -> list[str]:
    return list(dict.fromkeys(row["activation"] for row in section["rows"] if "activation" in row))


def printed_values(section: dict) -> Values:
    """The section's numbers; where it prints single trials their mean, and their std (ddof=0)."""
    return {activation: _printed_of(section, activation) for activation in activations_of(section)}


def _printed_of(section: dict, activation: str) -> dict[str, float]:
    rows = [row for row in section["rows"] if row.get("activation") == activation]
    values = {}
    for row in rows:
        if "trial" not in row:
            values |= {quantity: float(row[quantity]) for quantity in quantities(row)}
    for quantity in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "training_time"):
        trials = [float(row[quantity]) for row in rows if row.get("trial", "mean") != "mean"]
        if trials:
            values |= {quantity: float(np.mean(trials)), f"std_{quantity}": float(np.std(trials))}
    if "top1_mismatches" in values:
        values["mismatch_percent"] = 100 * values["top1_mismatches"] / section["n_predictions"]
    return values


# ---------------------------------------------------------------- what we measure


def measured_values(cells: list[dict]) -> Values:
    """Our cells of one architecture, in the report's quantities and units; what is unknown is left out."""
    return {cell["activation"]: _present(_measured_of(cell)) for cell in cells}


def _measured_of(cell: dict) -> dict[str, float | None]:
    losses = {name: cell[f"mean_{name}"] for name in ("train_loss", "val_loss", "training_time", "relative_pd")}
    accuracies = {name: _times(cell[f"mean_{name}"], 100) for name in ("train_accuracy", "val_accuracy")}
    spreads = {"std_val_loss": cell["std_val_loss"], "std_val_accuracy": _times(cell["std_val_accuracy"], 100)}
    return losses | accuracies | spreads | _mismatches(cell["mean_top1_mismatches"], cell["n_predictions"])


def rebuilt_values(cells: list[dict], formula: str) -> Values:
    """PD and mismatches of our cells with the report's mistake: different contexts, PD by ``formula``."""
    values = {}
    for cell in cells:
        apart = on_contexts(cell)
        found = _mismatches(apart["different_top1_mismatches"], cell["n_predictions"])
        values[cell["activation"]] = _present(found | {"relative_pd": apart[f"different_{formula}"]})
    return values


def _mismatches(count: float | None, of: int | None) -> dict[str, float | None]:
    share = None if count is None else count / of
    return {"top1_mismatches": _times(share, 1000), "mismatch_percent": _times(share, 100)}


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _present(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


# ---------------------------------------------------------------- one number


def evaluate(report: dict, number: dict, values: Values) -> float | None:
    """What the printed ``number`` would be if these were the values that it follows from; None if they do not say."""
    quantity, activation = number["quantity"], number["activation"]
    try:
        if quantity in OVER_ACTIVATIONS:
            compared = activations_of(find_section(report, number["source"]))
            return float(OVER_ACTIVATIONS[quantity]([values[name]["relative_pd"] for name in compared]))
        if quantity.startswith(EXCESS):
            of, baseline = quantity.removeprefix(EXCESS), find_section(report, number["section"])["baseline"]
            return 100 * (values[activation][of] / values[baseline][of] - 1)
        return values[activation][quantity]
    except KeyError:
        return None


def decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def agrees(printed: str, value: float) -> bool:
    """Within one unit of the last digit printed: both were rounded, ``value`` in what it was computed from."""
    return abs(float(printed) - value) < 1.001 * 10 ** -decimals(printed)


def most_mismatches(n: int, first: float, second: float) -> float:
    """Top-1 mismatches that two accuracies allow on the same ``n`` samples: n min(1, 2 - a1 - a2).

    Both are right on at least n (a1 + a2 - 1) samples, and there they agree. For means over pairs of trials the mean
    accuracies bound the mean count, because the bound is concave.
    """
    return n * min(1.0, 2 - first - second)


def mismatch_bound(section: dict, activation: str) -> float | None:
    """The most mismatches that the section's printed accuracies, as low as they may be rounded from, allow."""
    rows = [row for row in section["rows"] if row.get("activation") == activation and "val_accuracy" in row]
    printed = [row["val_accuracy"] for row in rows if row.get("trial") != "mean"]
    if not printed:
        return None
    first, second = ((float(text) - 0.5 * 10 ** -decimals(text)) / 100 for text in (printed * 2)[:2])
    return math.floor(most_mismatches(section["n_predictions"], first, second) + stats.ROUNDING)


def repeated_under(section: dict, number: dict) -> list[str]:
    """Other activations for which the section prints the same loss or PD, to at least 4 digits."""
    quantity, printed = number["quantity"], number["printed"]
    digits = len(printed.replace(".", "").lstrip("0"))
    if quantity not in ("val_loss", "relative_pd") or number["trial"] or digits < FOUR_DIGITS:
        return []
    same = [row["activation"] for row in section["rows"] if row.get(quantity) == printed and "trial" not in row]
    return [activation for activation in same if activation != number["activation"]]


def judge(report: dict, number: dict) -> dict:
    """What a number follows from, the most it can be, and in words whether it is that."""
    section = find_section(report, number["section"])
    source = find_section(report, number["source"] or number["section"])
    recomputed = evaluate(report, number, printed_values(source)) if number["source"] else None
    counts = number["quantity"] == "top1_mismatches"
    at_most = mismatch_bound(source, number["activation"]) if counts else None
    verdict = _verdict(number["printed"], recomputed, at_most, repeated_under(section, number))
    return {"recomputed": recomputed, "at_most": at_most, "verdict": verdict}


def _verdict(printed: str, recomputed: float | None, at_most: float | None, repeated: list[str]) -> str:
    if at_most is not None and float(printed) > at_most:
        return "not possible"
    if repeated:
        return f"same as {', '.join(label(activation) for activation in repeated)}"
    if recomputed is not None:
        return "agrees" if agrees(printed, recomputed) else "differs"
    return "possible" if at_most is not None else ABSENT


# ---------------------------------------------------------------- all numbers


def number_rows(report: dict, measured: list[dict]) -> list[dict]:
    """Every printed number with its judgement, and its counterparts in our study, properly and with the mistake."""
    groups = by_model(measured)
    return [
        {**number, **judge(report, number), **counterparts(report, number, groups.get(number["model"], []))}
        for number in printed_numbers(report)
    ]


def counterparts(report: dict, number: dict, cells: list[dict]) -> dict:
    """What we measure in place of a number. Ours are means over trials: a single trial of the report has none."""
    if number["trial"] not in (None, "mean"):
        cells = []
    formula = find_section(report, number["section"])["formula"]
    return {
        "ours": evaluate(report, number, measured_values(cells)),
        "rebuilt": evaluate(report, number, rebuilt_values(cells, formula)),
        **_interval(number, cells),
    }


def _interval(number: dict, cells: list[dict]) -> dict[str, float | None]:
    """Bounds of the 95 % interval of our losses and PD."""
    quantity = number["quantity"]
    own = [cell for cell in cells if cell["activation"] == number["activation"]]
    known = own and quantity in ("val_loss", "relative_pd")
    return {f"{bound}_ours": own[0][f"{bound}_{quantity}"] if known else None for bound in ("low", "high")}
