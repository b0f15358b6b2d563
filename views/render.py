"""Tables as text: any format of tabulate, or CSV."""

import csv
import html
import io
from collections.abc import Callable

from tabulate import LATEX_ESCAPE_RULES, tabulate, tabulate_formats

from analysis.stats import Estimate
from analysis.table import Row, Table

CSV = "csv"
FORMATS = (*tabulate_formats, CSV)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
PARTS = ("mean", "std", "low", "high")  # of an estimate, as columns of CSV


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


def csv_text(table: Table) -> str:
    """One line for each row, under the names of the numbers; an empty field where there is none.

    Rows of cells say of which architecture they are, though a table of one says so in its title. An estimate has a
    column for each of its ``PARTS``. A text that a spreadsheet would take for a formula, such as a name that begins
    with =, gets an apostrophe in front.
    """
    shown = [field for column in table.columns for field in column.fields]
    named = ["model"] if table.rows and "model" in table.rows[0] else []
    fields = list(dict.fromkeys([*named, *shown]))
    estimates = {field for field in fields if any(isinstance(row.get(field), Estimate) for row in table.rows)}
    header = [name for field in fields for name in (_parts_of(field) if field in estimates else [field])]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        flat = _flat(row, fields)
        writer.writerow([_harmless(flat.get(name)) for name in header])
    return buffer.getvalue()


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A carriage return would begin a new line, which csv.writer does not know before Python 3.13.
    return (f"'{value}" if value.startswith(FORMULA) else value).replace("\r", " ")


def _parts_of(field: str) -> list[str]:
    return [f"{part}_{field}" for part in PARTS]


def _flat(row: Row, fields: list[str]) -> Row:
    """The row with an entry for each part of its estimates, and None for what is not a number."""
    flat: Row = {}
    for field in fields:
        value = row.get(field)
        if isinstance(value, Estimate):
            flat |= {f"{part}_{field}": getattr(value, part) for part in PARTS}
        else:
            flat[field] = value
    return {name: None if value != value else value for name, value in flat.items()}


def tabulated(table: Table, form: str) -> str:
    escape = _escape(form)
    return tabulate(
        [[escape(text) for text in row] for row in table.texts()],
        headers=[escape(column.header) for column in table.columns],
        tablefmt=form,
        colalign=["right" if column.numeric else "left" for column in table.columns],
        disable_numparse=True,
    )


def _escape(form: str) -> Callable[[str], str]:
    """What LaTeX does not know is written out; tabulate escapes the rest, except in latex_raw."""
    rules: dict[str, str | int | None] = {"β": "beta ", "±": "+/-", "–": "--"} if form.startswith("latex") else {}
    if form == "latex_raw":
        rules |= LATEX_ESCAPE_RULES
    return lambda text: text.translate(str.maketrans(rules))
