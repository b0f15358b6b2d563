"""The form of ``data/report.json``: the report's tables as printed, and its claims with the check that tests each."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from audit import tables
from audit.checks import CHECKS, checked
from audit.measures import MEASURES
from audit.numbers import PLACE, QUANTITIES, find_section, printed_numbers
from metrics import METRICS

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=10**13)]
MetricName = Literal[tuple(METRICS)]  # type: ignore[valid-type]
# What a measure cannot do without.
NEEDED = {
    "setting": ("key",),
    "cells": ("metric",),
    "span": ("metric",),
    "rank": ("activation", "metric"),
    "difference": ("activation", "others", "metric"),
    "correlation": ("metrics",),
    "metric_ratio": ("metrics",),
}


class Section(Struct):
    """A table; its rows have places (``numbers.PLACE``) and numbers (``numbers.QUANTITIES``), all as text."""

    section: Text
    title: Text
    trained: Text
    n_predictions: Count
    parameters: Count
    iterations: Count | None
    formula: Literal["global_pd", "relative_pd"]
    rows: Annotated[list[dict[Literal[(*PLACE, *QUANTITIES)], Text]], Meta(min_length=1)]  # type: ignore[valid-type]
    model: Text | UnsetType = UNSET
    source: Text | UnsetType = UNSET
    baseline: Text | UnsetType = UNSET


class Check(Struct):
    """What tests a claim; what the check needs stands beside its name."""

    check: Literal[tuple(CHECKS)]  # type: ignore[valid-type]


class Asked(Struct):
    """Which of our measurements a claim is set beside: of what, and of ``study`` or, without that, of the study
    nearest to the section ``like``."""

    measure: Literal[tuple(MEASURES)]  # type: ignore[valid-type]
    like: Text | None
    study: Text | UnsetType = UNSET
    metric: MetricName | UnsetType = UNSET  # type: ignore[valid-type]
    metrics: tuple[MetricName, MetricName] | UnsetType = UNSET  # type: ignore[valid-type]
    models: list[Text] | UnsetType = UNSET
    activation: Text | UnsetType = UNSET
    activations: list[Text] | UnsetType = UNSET
    others: list[Text] | UnsetType = UNSET
    key: Annotated[list[Text], Meta(min_length=1)] | UnsetType = UNSET
    digits: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    of_1000: bool | UnsetType = UNSET


class Claim(Struct):
    section: Text
    words: Text
    checks: Annotated[list[Check], Meta(min_length=1)]
    ours: list[Asked]


class NoClaim(Struct):
    section: Text
    words: Text
    why: Text


class Numerals(Struct):
    section: Text
    numerals: list[Text]


class ReportForm(Struct):
    title: Text
    date: Text
    note: Text
    sections: Annotated[list[Section], Meta(min_length=1)]
    claims: list[Claim]
    no_claims: list[NoClaim]
    numerals: list[Numerals]


CANNOT_BE_FOLLOWED = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, StopIteration)


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
            checked(report, claim)
            for asked in claim["ours"]:
                if asked["like"] is not None:
                    find_section(report, asked["like"])
        except CANNOT_BE_FOLLOWED as error:
            yield f"claims[{place}]: cannot be followed: {error!r}"
        for asked in claim["ours"]:
            if lacking := [name for name in NEEDED.get(asked["measure"], ()) if name not in asked]:
                yield f"claims[{place}].ours: {asked['measure']} without {', '.join(lacking)}"
    try:
        tables.outcome(report, None)
        tables.tables(report, None)
    except CANNOT_BE_FOLLOWED as error:
        yield f"sections: the audit cannot be made: {error!r}"
