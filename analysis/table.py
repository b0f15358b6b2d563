"""A table: titled columns over rows of plain values, and how a value becomes text.

A row is a dict; a ``Column`` says which of its fields it shows and how. A value is a number, a text, a boolean, an
``Estimate``, or None for what is unknown. CSV gets the numbers themselves: losses in nats per character, shares as
fractions, times in seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.stats import Estimate

ABSENT = "–"

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its header with the unit, the fields of a row that it shows, and their text."""

    header: str
    fields: tuple[str, ...]
    text: Callable[..., str]
    numeric: bool = True

    def show(self, row: Row) -> str:
        """What the column shows of ``row``; a field that the row lacks counts as unknown."""
        return self.text(*(row.get(field) for field in self.fields))


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[Column, ...]
    rows: list[Row]
    notes: tuple[str, ...] = ()

    def texts(self) -> list[list[str]]:
        """What each cell of the table shows, row by row."""
        return [[column.show(row) for column in self.columns] for row in self.rows]


def finite(value: float) -> float | None:
    """The number as JSON has it, which has no NaN."""
    return float(value) if math.isfinite(value) else None


# ---------------------------------------------------------------- values as text


def plain(value: object) -> str:
    return ABSENT if value is None else str(value)


def is_unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def number(form: str, scale: float = 1) -> Callable[[float | None], str]:
    """Of a number, multiplied by ``scale``, such as 100 for a percentage of a fraction."""
    return lambda value: ABSENT if value is None or math.isnan(value) else form.format(scale * value)


def mean_of(form: str, scale: float = 1) -> Callable[[Estimate | None], str]:
    """Of an estimate, its mean alone."""
    shown = number(form, scale)
    return lambda estimate: shown(None if estimate is None else estimate.mean)


def std_of(form: str) -> Callable[[Estimate | None], str]:
    shown = number(form)
    return lambda estimate: shown(None if estimate is None else estimate.std)


def with_std(digits: int, scale: float = 1) -> Callable[[Estimate | None], str]:
    """Of an estimate, such as "2.31 ± 0.02"."""

    def text(estimate: Estimate | None) -> str:
        if estimate is None or not estimate.known:
            return ABSENT
        shown = f"{scale * estimate.mean:.{digits}f}"
        return shown if math.isnan(estimate.std) else f"{shown} ± {scale * estimate.std:.{digits}f}"

    return text


def with_interval(digits: int, scale: float = 1) -> Callable[[Estimate | None], str]:
    """Of an estimate, such as "0.34 [0.32, 0.36]"."""

    def text(estimate: Estimate | None) -> str:
        if estimate is None or not estimate.known:
            return ABSENT
        shown = f"{scale * estimate.mean:.{digits}f}"
        return f"{shown} {interval(digits, scale)(estimate)}" if estimate.has_interval else shown

    return text


def interval(digits: int, scale: float = 1) -> Callable[[Estimate | None], str]:
    """Of an estimate, its interval alone."""

    def text(estimate: Estimate | None) -> str:
        if estimate is None or not estimate.has_interval:
            return ABSENT
        return f"[{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"

    return text


def significant(estimate: Estimate | None) -> str:
    """Of an estimate, with four significant digits."""
    if estimate is None or not estimate.known:
        return ABSENT
    shown = f"{estimate.mean:#.4g}"
    return f"{shown} [{estimate.low:#.4g}, {estimate.high:#.4g}]" if estimate.has_interval else shown


def p_text(p: float | None, error: float | None = None) -> str:
    """A p-value, with its Monte Carlo error where it has one."""
    if p is None or math.isnan(p):
        return ABSENT
    shown = f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
    return f"{shown} ± {error:.4f}" if error else shown


def share_of(count: Estimate | None, total: int | None) -> str:
    """Such as "150 / 1000", of a mean count."""
    return ABSENT if count is None or not count.known else f"{count.mean:.0f} / {total}"


def trial_count(completed: int, diverged: int, planned: int) -> str:
    """Completed trials; diverged ones are named, and how many were planned where some are missing."""
    shown = f"{completed} + {diverged} diverged" if diverged else f"{completed}"
    return f"{shown} of {planned}" if completed + diverged < planned else shown
