"""One page about a study: words, tables, audit and pictures in one HTML file that needs no other and no network.

The words are in ``page.html``, the look is in ``page.css``. This module turns findings and tables into what the
template loops over. Jinja2 escapes every text, so that no name can be taken for markup.
"""

import base64
import itertools
import struct
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from analysis.answer import QUESTION, architecture_answers, other_primary, scope
from analysis.differences import Difference
from analysis.equal_loss import When
from analysis.finding_tables import FAMILY, FIXED
from analysis.findings import Findings
from analysis.measure import MeasuredCell, shared_environment
from analysis.metrics_compared import metric_label
from analysis.omnibus import RULES
from analysis.report_tables import READ_BESIDE_LOSS
from analysis.table import ABSENT, Table
from labels import counted, in_order, label
from views.drawing import Level

LONGEST_OPEN = 12  # rows of the tables under one heading; with more they are folded
FEWEST_GROUPED = 2.5  # rows under each name, on average, for which the name becomes a line of its own
OF_ITS_OWN = ("model", "activation", "shape")  # settings of a cell that are not the study's


# ---------------------------------------------------------------- what the caller gives


@dataclass(frozen=True)
class Picture:
    """A drawn figure: ``title`` says what it shows, ``png`` holds the bytes of the PNG file.

    One with a ``model`` is put under the name of that architecture.
    """

    title: str
    level: Level
    png: bytes
    model: str | None = None

    @property
    def source(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the file's header has them."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


@dataclass(frozen=True)
class AuditSection:
    """The audit of the implemented report: ``outcome`` has a topic and a sentence for each finding."""

    introduction: list[str]
    outcome: list[tuple[str, str]]
    tables: list[Table]


# ---------------------------------------------------------------- tables as the template shows them


@dataclass(frozen=True)
class Group:
    """Rows of texts under the names that they share: pairs of a column's header and a text."""

    names: list[tuple[str, str]]
    rows: list[list[str]]


@dataclass(frozen=True)
class ShownTable:
    """A table in groups of rows; ``columns`` are those that the names of the groups do not replace.

    Each of ``columns`` is a header and "number" or "text". The first ``n_headers`` cells of a row say what it is
    about.
    """

    title: str
    columns: list[tuple[str, str]]
    n_headers: int
    groups: list[Group]
    notes: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        return sum(len(group.rows) for group in self.groups)

    @property
    def ranked(self) -> bool:
        """Whether a row begins with its place, such as a rank, before its name."""
        return self.n_headers == 2 and self.columns[0][1] == "number"


@dataclass(frozen=True)
class TableGroup:
    """The tables under one heading; ``name`` is theirs on the command line, where they have one."""

    heading: str
    name: str
    tables: list[ShownTable]

    @property
    def n_rows(self) -> int:
        return sum(table.n_rows for table in self.tables)

    @property
    def beside(self) -> str:
        """A few words for beside the heading."""
        rows = counted(self.n_rows, "row")
        return f"{rows}, --tables {self.name}" if self.name else rows

    @property
    def opened(self) -> bool:
        return self.n_rows <= LONGEST_OPEN


def shown_table(table: Table) -> ShownTable:
    """The table with leading columns of names turned into lines of their own, where a name repeats often enough."""
    texts = table.texts()
    leading = sum(1 for _ in itertools.takewhile(lambda column: not column.numeric, table.columns))
    if leading == len(table.columns):  # nothing but words: the first column says what a row is about
        leading, taken = 1, 0
    else:
        taken = _columns_to_lines(texts, leading)
    headers = [column.header for column in table.columns]
    columns = [(column.header, "number" if column.numeric else "text") for column in table.columns[taken:]]
    ranked = leading == taken and [kind for _, kind in columns[:2]] == ["number", "text"]
    groups = [
        Group(list(zip(headers[:taken], names, strict=True)), [row[taken:] for row in rows])
        for names, rows in itertools.groupby(texts, key=lambda row: row[:taken])
    ]
    return ShownTable(table.title, columns, 2 if ranked else max(leading - taken, 1), groups, table.notes)


def _columns_to_lines(texts: list[list[str]], leading: int) -> int:
    """How many of the ``leading`` columns, as many as possible, leave enough rows under each of their names."""
    for taken in range(leading, 0, -1):
        n_groups = len({tuple(row[:taken]) for row in texts})
        if n_groups and len(texts) / n_groups >= FEWEST_GROUPED:
            return taken
    return 0


def table_group(tables: list[Table], name: str = "") -> TableGroup:
    """Under the title of its table; of several, under their name on the command line."""
    heading = tables[0].title if len(tables) == 1 else name.replace("_", " ").capitalize()
    return TableGroup(heading, name, [shown_table(table) for table in tables])


# ---------------------------------------------------------------- the answer


def verdicts_by_metric(findings: Findings) -> ShownTable | None:
    """The verdict by every metric on every architecture, at the end and at equal loss; None where none is tested."""
    models = list(findings.models)
    groups = []
    for when in When:
        judged = [each.sensitivity for each in findings.metric_verdicts if each.when is when]
        tested = {(each.metric, each.model): str(each.verdict) for each in judged if each.tested}
        rows = [
            [metric_label(metric), *(tested.get((metric, model), ABSENT) for model in models)]
            for metric in findings.metrics(when)
            if any((metric, model) in tested for model in models)
        ]
        if rows:
            groups.append(Group([("At", str(when))], rows))
    columns = [("Metric", "text"), *((label(model), "text") for model in models)]
    return ShownTable("The same rule by other metrics", columns, 1, groups) if groups else None


@dataclass(frozen=True)
class TwoByTwo:
    """How many differences of PD between two activations are shown, of how many, and how many are untested."""

    total: int
    shown: int
    untested: int


def two_by_two(differences: list[Difference]) -> TwoByTwo:
    shown = [each.shown for each in differences]
    return TwoByTwo(len(shown), shown.count(True), shown.count(None))


# ---------------------------------------------------------------- settings


def settings(measured: list[MeasuredCell]) -> dict[str, str]:
    """What all cells were trained with; where they differ, every value."""
    names = dict.fromkeys(name for cell in measured for name in cell.config if name not in OF_ITS_OWN)
    return {name: " or ".join(dict.fromkeys(_setting(cell.config.get(name)) for cell in measured)) for name in names}


def _setting(value: object) -> str:
    if value is None:
        return ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def machine(measured: list[MeasuredCell]) -> dict[str, str]:
    """Software and machine; where trials differ, every value."""
    facts = shared_environment(cell.content for cell in measured)
    return {
        name: " or ".join(map(_setting, value)) if isinstance(value, list) else _setting(value)
        for name, value in facts.items()
    }


# ---------------------------------------------------------------- the page


def page(
    findings: Findings,
    headline: str,
    account: list[str],
    tables: dict[str, list[Table]],
    audit: AuditSection | None,
    pictures: list[Picture],
    command: str,
    more_figures: str,
    more_figures_link: str = "",
) -> str:
    """The whole page; the same arguments give the same text.

    ``account`` says what the study has and lacks, a line each. ``tables`` are its tables by name on the command
    line. The first of ``pictures`` is shown with the answer, the others as figures. ``command`` makes the page.
    ``more_figures`` says where the rest is; ``more_figures_link`` is its address, as seen from the page.
    """
    measured = findings.measured
    return template("page.html").render(
        question=QUESTION,
        study=findings.study,
        headline=headline,
        scope=scope(findings),
        activations=in_order(cell.activation for cell in measured),
        account=account,
        answers=architecture_answers(findings),
        by_metric=verdicts_by_metric(findings),
        two_by_two=two_by_two(findings.differences()),
        read_beside_loss=READ_BESIDE_LOSS,
        rules=RULES,
        about_the_rule=(FAMILY, FIXED),
        by_other_primary=other_primary(findings),
        pictures=pictures,
        command=command,
        more_figures=more_figures,
        more_figures_link=more_figures_link,
        table_groups=[table_group(shown, name) for name, shown in tables.items() if shown],
        audit=audit,
        audit_groups=[table_group([table]) for table in audit.tables] if audit else [],
        facts={"Settings": settings(measured), "Software and machine": machine(measured)},
    )


def template(name: str) -> Template:
    """A page of this folder with ``page.css`` in it, from wherever the command was started."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["label"] = label
    environment.filters["counted"] = counted
    return environment.get_template(name)
