"""All that the templates of the docs and the README ask for, and the published figures."""

import re
from functools import cached_property

from analysis.findings import Findings
from analysis.table import Table
from audit import tables as audit_tables
from audit.ours import Ours
from views.doc_benchmarks import BenchmarkNumbers
from views.doc_registered import RegisteredNumbers
from views.drawing import Drawing, Level
from views.figures import UNNAMED_STUDIES, drawings, is_published
from views.render import render

GALLERY = (  # the published studies, in order
    "trained",
    "reference",
    "modern",
    "parts",
    "gated",
    "sizes",
    "attention_dropout",
    "cpu",
)


class Numbers(RegisteredNumbers, BenchmarkNumbers):
    """Every answer is a text."""

    @cached_property
    def ours(self) -> Ours:
        return Ours(self.contents, self.findings)

    def audit_outcome(self) -> list[tuple[str, str]]:
        return audit_tables.outcome(self.report, self.ours)

    def audit_numerals(self) -> int:
        return sum(len(each["numerals"]) for each in self.report["numerals"])

    def audit_hypotheses(self) -> str:
        return _in_markdown([audit_tables.hypotheses_table(self.ours)])

    def audit_numbers(self) -> str:
        return _in_markdown(audit_tables.number_tables(self.report, self.ours))

    def audit_claims(self) -> str:
        return _in_markdown(audit_tables.claim_tables(self.report, self.ours))

    def audit_introduction(self) -> list[str]:
        return audit_tables.introduction(self.ours)

    def has_figure(self, study: str, kind: str) -> bool:
        return self.is_there(study) and any(each.kind == kind for each in published_drawings(self.findings(study)))

    def gallery(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Titles and paths of each published study's committed figures, but for those of cells, under a heading."""
        return [
            (
                f"Study {study}",
                [
                    (drawing.title, f"plots/{drawing.name}.png")
                    for drawing in published_drawings(self.findings(study))
                    if drawing.level is not Level.CELL
                ],
            )
            for study in in_gallery(self.contents)
        ]


def in_gallery(contents: list[dict]) -> list[str]:
    """Those of ``GALLERY`` of which there are cells."""
    there = {each["study"] for each in contents}
    return [study for study in GALLERY if study in there]


def published_drawings(findings: Findings) -> list[Drawing]:
    """The figures of a published study that are committed."""
    named = findings.study not in UNNAMED_STUDIES
    return [drawing for drawing in drawings(findings, named) if is_published(drawing, findings.study)]


def _in_markdown(tables: list[Table]) -> str:
    """The tables without the padding of their cells, which would be most of a page with long ones."""
    text = "\n\n".join(render(table, "github").rstrip() for table in tables)
    return re.sub("-{4,}", "---", re.sub(" {2,}", " ", text))
