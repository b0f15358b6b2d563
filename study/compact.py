"""A cell of many trials takes a fifth of the room: beside what outside scripts rely on, its file has columns.

A pair's file entry is an object, and so it stays for the keys of ``CORE``. With 60 trials there are 1,770 of them;
names and all digits of everything else would make 5 MB. There it is kept by columns, with fewer digits, and where
pairs disagree is pooled over all of them, but for stretches of text, which are resampled pair by pair. What reads a
cell file gets objects in either case.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from study.files import Damaged, check_form

MOST_WHOLE_PAIRS = 190  # of 20 trials; files of so many pairs have everything in full
CORE_DIGITS, DIGITS, GROUP_DIGITS = (
    6,
    5,
    3,
)  # significant ones, of what stays in a pair, of columns, of groups in them
BY_PAIR = "text_block"  # the grouping that is kept for each pair
CORE = {
    "pairs": {
        ("trials",),
        ("relative_pd",),
        ("top1_mismatches",),
        ("n_predictions",),
        ("history", "step"),
        ("history", "relative_pd"),
        ("history", "top1_mismatches"),
    },
    "trials": {
        ("trial",),
        ("seed",),
        ("status",),
        ("train_loss",),
        ("val_loss",),
        ("train_accuracy",),
        ("val_accuracy",),
        ("training_time",),
        *(("history", name) for name in ("step", "train_loss", "val_loss")),
    },
}
ENVIRONMENT = ("environment",)  # of a trial: taken as a whole, not by its facts
Path_ = tuple[str, ...]


class Column(msgspec.Struct, omit_defaults=True):
    """A value of each pair, or one that all pairs or trials share; ``of`` is its path, such as history, step."""

    table: str
    of: list[str]
    values: list[Any] | None = None
    shared: Any = None


class CompactForm(msgspec.Struct):
    trials: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    columns: list[Column]


# ---------------------------------------------------------------- writing


def compact(content: dict) -> dict:
    """The ``content`` of a cell as its file has it; as it is where the cell has few pairs, or unlike ones."""
    pairs = content["pairs"]
    if len(pairs) <= MOST_WHOLE_PAIRS or not all("breakdown" in pair for pair in pairs):
        return content
    if "pooled" not in content and any(pair["breakdown"].keys() != pairs[0]["breakdown"].keys() for pair in pairs):
        return content
    pooled = pool_breakdowns(pairs, content.get("pooled", {}))
    columns: list[dict] = []
    found = {"trials": take_columns("trials", [dict(leaves(trial)) for trial in content["trials"]], columns)}
    flat = [dict(leaves(without_pooled(pair))) for pair in pairs]
    found["pairs"] = take_columns(
        "pairs", [{path: rounded(value, digits_of(path)) for path, value in pair.items()} for pair in flat], columns
    )
    mean = float(np.mean([pair["relative_pd"] for pair in found["pairs"]]))  # of what the file has, grown or not
    return content | found | {"mean_relative_pd": mean, "pooled": pooled, "columns": columns}


def take_columns(table: str, flat: list[dict[Path_, Any]], columns: list[dict]) -> list[dict]:
    """The rows without what goes into ``columns``: of trials what they share, of pairs all but the core."""
    for path in [path for path in flat[0] if path not in CORE[table]]:
        if not all(path in row for row in flat):
            continue
        values = [row[path] for row in flat]
        if all(value == values[0] for value in values):
            columns.append({"table": table, "of": list(path), "shared": values[0]})
        elif table == "pairs":
            columns.append({"table": table, "of": list(path), "values": values})
        else:
            continue
        for row in flat:
            del row[path]
    return [nested(row) for row in flat]


def leaves(value: dict, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every value in nested objects that is none itself, with its path."""
    for name, item in value.items():
        here = (*path, name)
        if isinstance(item, dict) and item and here != ENVIRONMENT:
            yield from leaves(item, here)
        else:
            yield here, item


def nested(flat: dict[Path_, Any]) -> dict:
    """The objects that have these ``leaves``."""
    found: dict = {}
    for path, value in flat.items():
        put(found, path, value)
    return found


def put(into: dict, path: Path_, value: Any) -> None:
    """Set what is at ``path``; ValueError where that leads through something that is no object."""
    *folders, name = path
    for folder in folders:
        into = into.setdefault(folder, {})
        if not isinstance(into, dict):
            raise ValueError(f"{folder} is no object")
    into[name] = value


def digits_of(path: Path_) -> int:
    return CORE_DIGITS if path in CORE["pairs"] else GROUP_DIGITS if path[0] == "breakdown" else DIGITS


def rounded(value: Any, digits: int) -> Any:
    """``value`` with so many significant ``digits``, or those in a list."""
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) and math.isfinite(value) else value


# ---------------------------------------------------------------- where pairs disagree


def without_pooled(pair: dict) -> dict:
    """A pair with what is kept of its breakdown for itself."""
    kept = pair["breakdown"].get(BY_PAIR)
    names = ("group", "n_predictions", "relative_pd")
    return pair | {"breakdown": {BY_PAIR: {name: kept[name] for name in names}} if kept else {}}


def pool_breakdowns(pairs: list[dict], before: dict[str, dict]) -> dict[str, dict]:
    """The breakdowns of all ``pairs`` together: those that have one are added to those ``before``, of the others."""
    pooled = dict(before)
    for pair in pairs:
        for grouping, groups in pair["breakdown"].items():
            if "top1_mismatches" in groups:
                pooled[grouping] = add_groups(pooled.get(grouping), groups)
    return pooled


def add_groups(total: dict | None, groups: dict) -> dict:
    """Two entries of a breakdown together: counts added, relative PD the mean over all predictions. ValueError where
    they are of different groups."""
    if total is None:
        return groups
    if total["group"] != groups["group"]:
        raise ValueError(f"pooled groups {total['group']}, of a pair {groups['group']}")
    counts = [a + b for a, b in zip(total["n_predictions"], groups["n_predictions"], strict=True)]
    sums = [
        sum(n * pd for n, pd in ((a, x), (b, y)) if n)
        for a, x, b, y in zip(
            total["n_predictions"],
            total["relative_pd"],
            groups["n_predictions"],
            groups["relative_pd"],
            strict=True,
        )
    ]
    return {
        "group": total["group"],
        "n_predictions": counts,
        "relative_pd": [value / count if count else None for value, count in zip(sums, counts, strict=True)],
        "top1_mismatches": [a + b for a, b in zip(total["top1_mismatches"], groups["top1_mismatches"], strict=True)],
    }


# ---------------------------------------------------------------- reading


def expand(path: Path, content: dict) -> dict:
    """What ``compact`` was given, from the file ``path``, but for rounding and what is pooled; Damaged if it is not
    that."""
    if "columns" not in content:
        return content
    check_form(path, content, CompactForm, compact_faults)
    tables = {name: [nested(dict(leaves(row))) for row in content[name]] for name in ("trials", "pairs")}  # copies
    try:
        for column in content["columns"]:
            rows = tables[column["table"]]
            values = column.get("values") or [column.get("shared")] * len(rows)
            for row, value in zip(rows, values, strict=True):
                put(row, column["of"], value)
    except ValueError as error:
        raise Damaged(f"{path} is damaged (columns: {error})") from None
    return {name: value for name, value in content.items() if name != "columns"} | tables


def compact_faults(content: CompactForm) -> Iterator[str]:
    for place, column in enumerate(content.columns):
        if column.table not in CORE or not column.of:
            yield f"columns[{place}]: of no table"
        elif column.values is not None and len(column.values) != len(getattr(content, column.table)):
            yield f"columns[{place}].values: {len(column.values)} for {len(getattr(content, column.table))} rows"
