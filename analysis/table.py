"""How a table becomes text: any format of tabulate, or CSV.

A row is a dict of plain numbers; a ``Column`` says which of them it shows and how. CSV gets the numbers
themselves: losses in nats per character, accuracies as fractions, times in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """A column: its header with the unit, the numbers of a row that it shows, and their text."""

    header: str
    fields: tuple[str, ...]
    text: Callable[..., str]
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: list[dict]
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- numbers as text


def number(form: str, scale: float = 1) -> Callable[..., str]:
    return lambda value: ABSENT if value is None else form.format(scale * value)


def with_std(digits: int, scale: float = 1) -> Callable[..., str]:
    def text(mean, std):
        if mean is None:
            return ABSENT
        shown = f"{scale * mean:.{digits}f}"
        return shown if std is None else f"{shown} ± {scale * std:.{digits}f}"

    return text


def with_interval(digits: int) -> Callable[..., str]:
    def text(mean, low, high):
        if mean is None:
            return ABSENT
        shown = f"{mean:.{digits}f}"
        return shown if low is None else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"

    return text


def mismatches(count, n_predictions) -> str:
    return ABSENT if count is None else f"{count:.0f} / {n_predictions}"


def trial_count(completed, diverged, planned) -> str:
    """Completed trials; diverged ones are named, and how many were planned where some are missing."""
    shown = f"{completed} + {diverged} diverged" if diverged else f"{completed}"
    return f"{shown} of {planned}" if completed + diverged < planned else shown


def texts(table: Table) -> list[list[str]]:
    """What each cell of the table shows, row by row."""
    return [[column.text(*(row[f] for f in column.fields)) for column in table.columns] for row in table.rows]
