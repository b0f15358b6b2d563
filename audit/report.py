"""The form of ``data/report.json``: the report's tables as printed, and its claims with the check that tests each."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audit import tables
from audit.claims import CHECKS
from audit.numbers import PLACE, QUANTITIES, printed_numbers

Text = Annotated[str, Meta(min_length=1)]


class Section(Struct):
    """A table; its rows have places (``numbers.PLACE``) and numbers (``numbers.QUANTITIES``), all as text."""

    section: Text
    title: Text
    trained: Text
    n_predictions: Annotated[int, Meta(ge=1, le=10**9)]
    formula: Literal["global_pd", "relative_pd"]
    rows: Annotated[list[dict[Literal[(*PLACE, *QUANTITIES)], Text]], Meta(min_length=1)]  # type: ignore[valid-type]
    model: Text | UnsetType = UNSET
    source: Text | UnsetType = UNSET
    baseline: Text | UnsetType = UNSET


class Claim(Struct):
    """A sentence, where it stands and what tests it; what the check needs stands beside its name."""

    section: Text
    words: Text
    check: Literal[tuple(CHECKS)]  # type: ignore[valid-type]


class ReportForm(Struct):
    title: Text
    date: Text
    note: Text
    sections: Annotated[list[Section], Meta(min_length=1)]
    claims: list[Claim]


CANNOT_BE_FOLLOWED = (LookupError, ValueError, TypeError, ArithmeticError, StopIteration)


def report_faults(report: dict[str, Any]) -> Iterator[str]:
    """What in a report of this form cannot be followed, found by following it: numbers that are none, and sources,
    sections and activations that are not there."""
    try:
        for number in printed_numbers(report):
            if not math.isfinite(float(number.printed)):
                yield f"section {number.section}: {number.quantity} is {number.printed}"
    except CANNOT_BE_FOLLOWED as error:
        yield f"sections: {error!r}"
    for place, claim in enumerate(report["claims"]):
        try:
            CHECKS[claim["check"]](report, claim)
        except CANNOT_BE_FOLLOWED as error:
            yield f"claims[{place}]: {claim['check']} cannot be checked: {error!r}"
    try:
        tables.outcome(report, None)
    except CANNOT_BE_FOLLOWED as error:
        yield f"sections: the audit cannot be made: {error!r}"
