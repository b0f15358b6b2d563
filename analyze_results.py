"""Results to the answer, tables, figures, one page and the docs. Needs nothing but the cell files in ``results/``."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from tqdm import tqdm

from analysis import answer
from analysis.account import Studies, account, which_study
from analysis.findings import Findings
from analysis.measure import strongest_study, summarize_study
from analysis.table import Table
from analysis.tables import TABLES
from audit import tables as audit_tables
from audit.ours import Ours
from audit.report import ReportForm, report_faults
from cores import usable_cores
from labels import counted
from study import cli
from study.files import (
    PAGE_NAME,
    PLOTS_DIR,
    RESULTS_DIR,
    ROOT,
    SUMMARY_NAME,
    ReadOnly,
    ResultError,
    UserError,
    check_form,
    check_writable,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)
from study.store import leave_out, published_studies, read_cells
from views import doc_numbers, docs, page
from views.drawing import Drawing, Level
from views.figures import UNNAMED_STUDIES, drawings, is_published
from views.many import Job, basis_of, drawn
from views.render import FORMATS, remark, render
from views.save import FIGURE_FORMATS, png_texts

ALL = "all"
PICTURES_OF_A_PAGE = 10
MORE = "python analyze_results.py --all-figures draws every figure of the study, each cell's too, into plots/"
REPORT_PATH = ROOT / "data" / "report.json"

T = TypeVar("T")


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    return cli.outcome("analyze_results.py", lambda: arguments.action(arguments))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog="analyze_results.py",
        description="Show what a study says: by default the answer in at most 60 lines, and its figures.",
    )
    parser.add_argument("--study", metavar="NAME", help="the study to show (default: the strongest evidence here)")
    parser.add_argument("--format", choices=FORMATS, metavar="FMT", help=f"of the tables: {', '.join(FORMATS)}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--tables",
        nargs="+",
        metavar="NAME",
        help=f"these tables instead of the answer: {ALL}, or some of {', '.join(TABLES)}",
    )
    actions = {
        "--audit": (print_audit, "the report's numbers and claims, one by one, beside our studies nearest in steps"),
        "--html": (write_page, f"write answer, figures, tables and audit as one page, {PAGE_NAME}"),
        "--docs": (write_docs, "write README.md, the pages of docs/ that hold numbers, and the committed figures"),
    }
    for option, (action, words) in actions.items():
        what.add_argument(option, dest="action", action="store_const", const=action, help=words)
    parser.set_defaults(action=analyze)
    parser.add_argument("--results-dir", type=cli.path, default=RESULTS_DIR, metavar="DIR")
    parser.add_argument(
        "--plots-dir",
        type=cli.path,
        metavar="DIR",
        help="default: plots/; of results in another folder, plots/ in that, so that no committed figure is replaced",
    )
    parser.add_argument("--figure-format", choices=FIGURE_FORMATS, metavar="FMT", help=", ".join(FIGURE_FORMATS))
    figures = parser.add_mutually_exclusive_group()
    figures.add_argument("--no-plots", action="store_true", help="draw no figures")
    figures.add_argument(
        "--all-figures",
        action="store_true",
        help="draw every figure, also of a published study, whose most important ones come with it",
    )
    arguments = parser.parse_args(argv)
    refuse_without_effect(parser, arguments)
    arguments.tables = arguments.tables and table_names(parser, arguments.tables)
    of_results = PLOTS_DIR if are_here(arguments) else arguments.results_dir / "plots"
    arguments.plots_dir = arguments.plots_dir or of_results
    arguments.format = arguments.format or "github"
    arguments.figure_format = arguments.figure_format or "png"
    return arguments


def are_here(arguments: argparse.Namespace) -> bool:
    """Whether the results are those in this repository's folder for them."""
    return arguments.results_dir.resolve() == RESULTS_DIR.resolve()


def refuse_without_effect(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """An option that changes nothing of what was asked for is a mistake."""
    of_figures = ["--all-figures", "--figure-format"]
    unused = {
        "--audit": (print_audit, ["--no-plots", *of_figures]),
        "--html": (write_page, ["--format", *of_figures]),
        "--docs": (write_docs, ["--study", "--format", "--no-plots", *of_figures]),
    }
    for name, (action, options) in unused.items():
        for option in options:
            if arguments.action is action and getattr(arguments, option.removeprefix("--").replace("-", "_")):
                parser.error(f"{option} has no effect with {name}; leave it out")


def table_names(parser: argparse.ArgumentParser, asked: list[str]) -> list[str]:
    """The tables asked for by names that are separated by spaces or commas."""
    names = [name for part in asked for name in part.split(",")]
    if unknown := [name for name in names if name not in (ALL, *TABLES)]:
        parser.error(f"unknown table {unknown[0]!r}; choose from {ALL}, {', '.join(TABLES)}")
    return list(TABLES) if ALL in names else names


# ---------------------------------------------------------------- what is printed


def analyze(arguments: argparse.Namespace) -> int:
    """Print the answer or the tables asked for, then write the summary of every study and the figures of this one,
    where something may be written; returns the exit code, as every action does."""
    results = read_results(arguments.results_dir)
    studies = Studies(results.contents)
    findings = chosen_findings(studies, arguments.study)
    print_lines([*introduction(studies, findings, arguments), *results.remarks()], arguments.format)
    if arguments.tables is None:
        print_answer(findings, arguments)
    else:
        for name in arguments.tables:
            tables = TABLES[name](findings)
            if not tables:
                print(remark(f"Study {findings.study} has nothing for table {name}.", arguments.format))
            print_tables(tables, arguments.format)
    print(remark(f"Summary: {write_summary(studies, arguments.results_dir)}", arguments.format), flush=True)
    if not arguments.no_plots:
        print(remark(f"Figures: {write_figures(findings, arguments)}", arguments.format))
    return results.code


def introduction(studies: Studies, findings: Findings, arguments: argparse.Namespace) -> list[str]:
    """Which study is shown and why, and what it has and lacks."""
    return [*account(findings.measured), *which_study(studies, findings.study, arguments.study is not None)]


def from_folder(arguments: argparse.Namespace) -> str:
    """The option that names the results' folder, and a space, where it is another than this repository's."""
    return "" if are_here(arguments) else f"--results-dir {shlex.quote(str(arguments.results_dir))} "


def print_answer(findings: Findings, arguments: argparse.Namespace) -> None:
    """The answer in words, the cells and the verdicts, and where there is more."""
    form, options = arguments.format, f"--study {findings.study} " if arguments.study else ""
    options += from_folder(arguments)
    print()
    words = [answer.headline(findings), *answer.other_primary(findings), answer.scope(findings)]
    print_lines([answer.QUESTION, *words], form)
    print_tables(answer.short_tables(findings), form)
    more = [
        f"More: python analyze_results.py {options}--tables {ALL}, or some of {', '.join(TABLES)}",
        f"      python analyze_results.py {options}--html    (one page with tables, figures and the audit)",
    ]
    print_lines(more, form)


def print_tables(tables: Iterable[Table], form: str) -> None:
    for table in tables:
        print(f"\n{render(table, form)}", flush=True)


def print_lines(lines: Iterable[str], form: str) -> None:
    for line in lines:
        print(remark(line, form))


def print_audit(arguments: argparse.Namespace) -> int:
    """Print the audit of the report, beside those of our studies that are nearest to it; writes nothing."""
    report = read_report()
    results = read_results(arguments.results_dir, needed=arguments.study is not None)
    contents = results.contents
    studies = Studies(contents)
    findings = chosen_findings(studies, arguments.study) if contents else None
    ours = Ours.beginning_with(findings, contents) if findings else None
    print_lines([*results.remarks(), *audit_tables.introduction(ours)], arguments.format)
    print_tables(audit_tables.tables(report, ours), arguments.format)
    print()
    lines = enumerate(audit_tables.outcome(report, ours), 1)
    print_lines([f"{place}. {topic}: {words}" for place, (topic, words) in lines], arguments.format)
    return results.code


# ---------------------------------------------------------------- which results


@dataclass(frozen=True)
class Results:
    """The content of every cell file that can be used, how many files cannot, and how many have no checksum."""

    contents: list[dict]
    n_left_out: int
    n_unchecked: int

    @property
    def code(self) -> int:
        """The exit code of a command that has shown them."""
        return cli.FAILED if self.n_left_out else 0

    def remarks(self) -> list[str]:
        if not self.n_unchecked:
            return []
        of = f"{self.n_unchecked} of {counted(len(self.contents), 'cell file')}"
        return [f"Without a checksum, so that an altered number in its bounds is not noticed: {of}"]


def read_results(results_dir: Path, needed: bool = True) -> Results:
    """Every cell; files that cannot be used are named. Where there is no cell, UserError if some are ``needed``."""
    faults: list[ResultError] = []
    unchecked: list[Path] = []
    contents = read_cells(results_dir, on_fault=faults.append, on_unchecked=unchecked.append)
    if not contents and len(faults) == 1:
        raise faults[0]
    for fault in faults:
        leave_out(fault)
    if needed and not contents:
        raise UserError(f"no results in {results_dir}; run ./run_background.sh first, or choose --results-dir")
    return Results(contents, len(faults), len(unchecked))


def read_report() -> dict:
    """The implemented report; Damaged if it is not what it should be."""
    report = read_json(REPORT_PATH)
    check_form(REPORT_PATH, report, ReportForm, lambda _: report_faults(report))
    return report


def refuse(error: ResultError) -> None:
    """What is published is not made without a file that cannot be used."""
    raise error


def chosen_findings(studies: Studies, wanted: str | None) -> Findings:
    """Of the study ``wanted`` or, without a wish, of that with the strongest evidence."""
    if wanted is not None and wanted not in studies.names:
        raise UserError(f"no study {wanted!r}; choose --study from {', '.join(studies.names)}")
    return studies[wanted or strongest_study(studies.contents)]


# ---------------------------------------------------------------- what is written


def write_summary(studies: Studies, results_dir: Path) -> str:
    """Write the summary of every study; returns its path, or why it was not written, in words."""
    path = results_dir / SUMMARY_NAME
    try:
        check_writable(results_dir)
    except ReadOnly as error:
        return f"not written ({error})"
    write_json(path, {"studies": {name: summarize_study(studies[name].measured) for name in studies.names}})
    return str(path)


def write_figures(findings: Findings, arguments: argparse.Namespace) -> str:
    """Draw the figures of a study that are not there yet or show other results; returns how many, in words."""
    folder = arguments.plots_dir
    try:
        check_writable(folder)
    except ReadOnly as error:
        return f"not drawn ({error})"
    published = findings.study in published_studies(arguments.results_dir)
    wanted = [
        drawing
        for drawing in drawings(findings, is_named(findings, arguments))
        if arguments.all_figures or not published or is_published(drawing, findings.study)
    ]
    n_drawn = draw_stale(findings, wanted, folder, arguments.figure_format)
    return f"{n_drawn} drawn, {len(wanted) - n_drawn} up to date, in {folder}"


def is_named(findings: Findings, arguments: argparse.Namespace) -> bool:
    """Whether the study's name is in those of its figures."""
    return arguments.study is not None or findings.study not in UNNAMED_STUDIES


def draw_stale(findings: Findings, wanted: list[Drawing], folder: Path, form: str = "png") -> int:
    """Draw those of the ``wanted`` figures that are not up to date in ``folder``; returns how many."""
    n_drawn = 0
    for job, payload in drawn_anew(findings, wanted, folder, form):
        write_bytes(path_of(job, folder), payload)
        n_drawn += 1
    return n_drawn


def drawn_anew(
    findings: Findings, wanted: list[Drawing], folder: Path, form: str = "png"
) -> Iterator[tuple[Job, bytes]]:
    """Those of the ``wanted`` figures that are not up to date in ``folder``, and their bytes."""
    jobs = [(drawing, form, basis_of(drawing, findings)) for drawing in wanted]
    stale = [job for job in jobs if not is_current(path_of(job, folder), job[2])]
    return zip(stale, progress(drawn(stale, usable_cores()), "figures", len(stale)), strict=True)


def path_of(job: Job, folder: Path) -> Path:
    drawing, form, _ = job
    return folder / f"{drawing.name}.{form}"


def is_current(path: Path, texts: dict[str, str]) -> bool:
    """Whether the figure at ``path`` is a PNG that was drawn from these results by this code."""
    return path.suffix == ".png" and path.is_file() and png_texts(read_bytes(path)) == texts


def progress(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """The items, with a bar in a terminal once they take longer than two seconds."""
    return tqdm(items, what, total, leave=False, delay=2, disable=not sys.stderr.isatty())


def write_page(arguments: argparse.Namespace) -> int:
    """Write one page about the study shown: the answer, its figures, all tables and the audit of the report."""
    report = read_report()
    results = read_results(arguments.results_dir)
    studies = Studies(results.contents)
    findings = chosen_findings(studies, arguments.study)
    check_writable(arguments.results_dir)
    known = [*introduction(studies, findings, arguments), *results.remarks()]
    print_lines(known, arguments.format)
    shown = {name: make(findings) for name, make in progress(TABLES.items(), "tables", len(TABLES))}
    ours = Ours.beginning_with(findings, studies.contents)
    audit = page.AuditSection(
        audit_tables.introduction(ours), audit_tables.outcome(report, ours), audit_tables.tables(report, ours)
    )
    path = arguments.results_dir / PAGE_NAME
    text = page.page(
        findings,
        answer.headline(findings),
        known,
        shown,
        audit,
        pictures(findings, arguments),
        f"python analyze_results.py --study {findings.study} {from_folder(arguments)}--html",
        MORE,
        quote(os.fsencode(os.path.relpath(arguments.plots_dir, path.parent))),
    )
    write_bytes(path, text.encode(errors="replace"))
    print(remark(f"Page: {path} ({len(text) / 1e6:.1f} MB)", arguments.format))
    return results.code


def pictures(findings: Findings, arguments: argparse.Namespace) -> list[page.Picture]:
    """The page's figures: those of the study, then of its architectures; as they are in the folder of figures, where
    they are up to date there."""
    if arguments.no_plots:
        return []
    wanted = [
        drawing for drawing in drawings(findings, is_named(findings, arguments)) if drawing.level is not Level.CELL
    ]
    wanted, folder = wanted[:PICTURES_OF_A_PAGE], arguments.plots_dir
    anew = {drawing.name: payload for (drawing, *_), payload in drawn_anew(findings, wanted, folder)}
    return [
        page.Picture(
            drawing.title,
            drawing.level,
            anew.get(drawing.name) or read_bytes(folder / f"{drawing.name}.png"),
            drawing.model,
        )
        for drawing in wanted
    ]


def write_docs(arguments: argparse.Namespace) -> int:
    """Write what holds numbers in docs/ and README.md, and the committed figures, from the published studies."""
    if not are_here(arguments):
        raise UserError("--docs writes the docs of the published results of this repository; leave --results-dir out")
    published = published_studies(RESULTS_DIR)
    contents = [cell for cell in read_cells(RESULTS_DIR, on_fault=refuse) if cell["study"] in published]
    for path, text in docs.pages(contents, read_report(), ROOT, parameter_table(), complete_pilots()).items():
        write_bytes(ROOT / path, text.encode())
        print(f"wrote {path}")
    for study in doc_numbers.in_gallery(contents):
        findings = Findings.of_study(contents, study)
        n_drawn = draw_stale(findings, doc_numbers.published_drawings(findings), PLOTS_DIR)
        print(f"drew {n_drawn} figures of study {study} that were missing or older")
    return 0


def parameter_table() -> str:
    """The parameters of every architecture, in Markdown."""
    import model  # here, because nothing else of this command needs torch

    return model.parameter_table()


def complete_pilots() -> dict[str, docs.Pilots]:
    """What the pilots of each study chose, in the cells for which all of them were run."""
    from runner.pilots import FILE, choose, read_pilots  # here, because it brings the runner

    found: dict[str, docs.Pilots] = {}
    for path in sorted(FILE.parent.glob("*.json")):
        grid, pilots = read_pilots(path)
        assert grid is not None
        found[path.stem] = {cell: choice for cell, choice in choose(grid, pilots).items() if choice.complete}
    return found


if __name__ == "__main__":
    sys.exit(main())
