"""How a table becomes text: any format of tabulate, or CSV.

A row is a dict of plain numbers; a ``Column`` says which of them it shows and how. CSV gets the numbers
themselves: losses in nats per character, accuracies as fractions, times in seconds.
"""

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass

from tabulate import LATEX_ESCAPE_RULES, tabulate, tabulate_formats

ABSENT = "–"
CSV = "csv"
FORMATS = (*tabulate_formats, CSV)


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


# ---------------------------------------------------------------- tables as text


def remark(line: str, form: str) -> str:
    """A line beside the tables, such that a program that reads the format skips it where it can."""
    if form == CSV:
        return f"# {line}"
    if form.startswith("latex"):
        return f"% {line}"
    if form.endswith("html"):
        return f"<p>{html.escape(line)}</p>"
    return line


def render(table: Table, form: str) -> str:
    """The table with its title and notes; ``form`` is one of ``FORMATS``."""
    title = f"### {table.title}" if form in ("github", "pipe") else remark(table.title, form)
    notes = [remark(note, form) for note in table.notes]
    if form == CSV:
        return "\n".join([title, *notes, csv_text(table)])
    return "\n".join([title, "", tabulated(table, form), "", *notes])


def texts(table: Table) -> list[list[str]]:
    """What each cell of the table shows, row by row."""
    return [[column.text(*(row[f] for f in column.fields)) for column in table.columns] for row in table.rows]


def csv_text(table: Table) -> str:
    """One line for each row, under the names of the numbers; an empty field where there is none.

    Rows of cells say of which architecture they are, though a table of one says so in its title.
    """
    shown = [field for column in table.columns for field in column.fields]
    named = ["model"] if table.rows and "model" in table.rows[0] else []
    fields = list(dict.fromkeys([*named, *shown]))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([row[field] for field in fields] for row in table.rows)
    return buffer.getvalue()


def tabulated(table: Table, form: str) -> str:
    escape = _escape(form)
    return tabulate(
        [[escape(text) for text in row] for row in texts(table)],
        headers=[escape(column.header) for column in table.columns],
        tablefmt=form,
        colalign=["right" if column.numeric else "left" for column in table.columns],
        disable_numparse=True,
    )


def _escape(form: str) -> Callable[[str], str]:
    """What LaTeX does not know is written out; tabulate escapes the rest, except in latex_raw."""
    rules = {"β": "beta ", "±": "+/-", "–": "--"} if form.startswith("latex") else {}
    if form == "latex_raw":
        rules |= LATEX_ESCAPE_RULES
    return lambda text: text.translate(str.maketrans(rules))
