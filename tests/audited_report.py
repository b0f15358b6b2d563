"""The transcription of the report, and its numbers by place."""

from audit.numbers import AuditedNumber
from study import files

REPORT = files.read_json(files.ROOT / "data" / "report.json")


def numbers_at(numbers: list[AuditedNumber], section: str, quantity: str, **place) -> list[AuditedNumber]:
    wanted = {"section": section, "quantity": quantity, **place}
    return [each for each in numbers if wanted.items() <= vars(each.number).items()]
