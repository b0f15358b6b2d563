"""What was expected of a registered study before it was run, and what came out."""

from analysis import expected_parts, expected_trained
from analysis.expectation import NOTHING, Expectation, Outcome
from analysis.findings import Findings
from analysis.registration import OF_PARTS, OF_TRAINED, REGISTERED, complete_models, registration_of
from analysis.table import Column, Table, plain

EXPECTATIONS = expected_trained.EXPECTATIONS | expected_parts.EXPECTATIONS
OF_RATES = {
    OF_TRAINED: "Cells differ in learning rate, each having its pilot's, so that 1 to 5 and 8 are of activation and "
    "rate together.",
    OF_PARTS: "All activations of an architecture have one learning rate, the one with the lowest mean loss of its "
    "pilots.",
}


def judged(findings: Findings) -> list[tuple[Expectation, str, Outcome]]:
    """Each expectation of the study, what was found and the outcome; none of a study that was not registered."""
    registration = registration_of(findings.measured)
    if not registration:
        return []
    complete, said = complete_models(findings.measured), []
    for each in EXPECTATIONS[findings.study]:
        ready = complete.issuperset(each.needs or registration.config.models)
        said.append((each, *(each.judge(findings) if ready else NOTHING)))
    return said


def registered(findings: Findings) -> list[Table]:
    """Each expectation and its outcome; nothing of a study that was not registered."""
    outcomes = judged(findings)
    if not outcomes:
        return []
    rows = [
        {
            "number": each.number,
            "expected": each.text,
            "wrong_if": each.wrong_if.removeprefix("Wrong if").lstrip(" ,"),
            "found": found,
            "outcome": outcome,
        }
        for each, found, outcome in outcomes
    ]
    so_far = any(outcome is Outcome.OPEN for _, _, outcome in outcomes)
    columns = (
        Column("", ("number",), plain),
        Column("Expected", ("expected",), plain, numeric=False),
        Column("Wrong if", ("wrong_if",), plain, numeric=False),
        Column("Found so far" if so_far else "Found", ("found",), plain, numeric=False),
        Column("Outcome", ("outcome",), plain, numeric=False),
    )
    document = REGISTERED[findings.study].document
    note = (
        f'Registered before the first trial of this study: {document}. An outcome follows from "Wrong if" alone; '
        "outcomes are not adjusted for one another. "
        f"{OF_RATES[document]}"
    )
    return [Table("What was expected, and what came out", columns, rows, (note,))]


TABLES = {"registered": registered}
