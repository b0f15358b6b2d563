"""The report's claims, each against its own numbers and beside what we measure. Pure functions."""

from dataclasses import dataclass

from analysis.table import ABSENT, Row
from audit.checks import CheckResult, checked
from audit.measures import Measurement, about, measured
from audit.numbers import find_section
from audit.ours import Ours, where


@dataclass(frozen=True)
class OurAnswer:
    """What one of our studies says where the report claims something.

    about   the metrics that were measured
    where   the study and its steps
    """

    about: str
    where: str
    measurements: tuple[Measurement, ...]

    def text(self) -> str:
        found = "; ".join(each.text() for each in self.measurements)
        return f"{self.about}: {found}" if self.about else found


@dataclass(frozen=True)
class AuditedClaim:
    """A line of the audit: where the report says what, in its ``words``, the verdict, and what we measure."""

    section: str
    words: str
    result: CheckResult
    ours: tuple[OurAnswer, ...]

    def ours_in_words(self) -> str:
        """What we measure; which study says what, where there is more than one."""
        studies = {each.where for each in self.ours}
        texts = [each.text() if len(studies) == 1 else f"[{each.where}] {each.text()}" for each in self.ours]
        return ". ".join(texts) or ABSENT

    def row(self) -> Row:
        return {
            "section": self.section,
            "words": self.words,
            "verdict": self.result.verdict,
            "evidence": "; ".join(self.result.evidence),
            "ours": self.ours_in_words(),
            "where": "; ".join(dict.fromkeys(each.where for each in self.ours)) or ABSENT,
        }


def audited_claims(report: dict, ours: Ours | None) -> list[AuditedClaim]:
    """Every claim with its verdict, the numbers behind it, and our measurements."""
    return [
        AuditedClaim(
            claim["section"], claim["words"], checked(report, claim), our_answers(report, claim["ours"], ours)
        )
        for claim in report["claims"]
    ]


def our_answers(report: dict, asked: list[dict], ours: Ours | None) -> tuple[OurAnswer, ...]:
    """What the studies asked for by name, or else those nearest to the sections "like", say, by study and metric;
    nothing where there is none."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    if ours is None:
        return ()
    for each in asked:
        if "study" in each:
            findings = ours.named(each["study"])
        else:
            findings = ours.beside(find_section(report, each["like"]) if each["like"] else None)
        if findings and (measurements := measured(findings, each)):
            found.setdefault((where(findings), about(each)), []).extend(measurements)
    return tuple(OurAnswer(metrics, place, tuple(each)) for (place, metrics), each in found.items())
