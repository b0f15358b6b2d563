"""The transcription of the report, and its numbers and claims by place."""

from audit import checks as audit_checks
from audit.checks import ClaimVerdict
from audit.numbers import AuditedNumber
from study import files

REPORT = files.read_json(files.ROOT / "data" / "report.json")


def numbers_at(numbers: list[AuditedNumber], section: str, quantity: str, **place) -> list[AuditedNumber]:
    wanted = {"section": section, "quantity": quantity, **place}
    return [each for each in numbers if wanted.items() <= vars(each.number).items()]


def verdict(report: dict, section: str, start: str) -> ClaimVerdict:
    here = (claim for claim in report["claims"] if claim["section"] == section)
    return audit_checks.checked(report, next(claim for claim in here if claim["words"].startswith(start))).verdict
