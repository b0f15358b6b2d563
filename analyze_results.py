"""Results to tables, figures and the summary file. Needs nothing but the cell files in ``results/``."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from analysis import (
    contexts,
    controls,
    differences,
    equal_loss,
    metrics_compared,
    omnibus,
    ranks,
    report_tables,
    trade_off,
)
from analysis.measure import by_model, latest_study, measure_study, shared_environment, summarize_study
from audit import tables as audit_tables
from config import ACTIVATIONS, MODELS
from labels import counted, in_order
from plot_utils import activation_colours
from study import cli, files, store
from study.files import UserError
from views import figures, page, png
from views.render import FORMATS, remark, render

TABLES = {
    name: table
    for module in (
        *(report_tables, differences, omnibus, ranks, metrics_compared),
        *(equal_loss, trade_off, contexts, controls),
    )
    for name, table in module.TABLES.items()
}
DEFAULT_STUDIES = ("cpu", "cuda")  # whose figures need no name of a study
OF_STUDY = "shamir_"  # how names of figures of a whole study begin
MACHINE = ("system", "machine", "cpu_capability", "device")  # of an environment
REPORT_PATH = files.ROOT / "data" / "report.json"


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        (audit if arguments.audit else write_page if arguments.html else analyze)(arguments)
    except BrokenPipeError:
        cli.close_output()
    except (UserError, OSError) as error:
        return cli.report_mistake("analyze_results.py", error)
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="analyze_results.py", description=__doc__)
    parser.add_argument(
        "--study", metavar="NAME", help="the study to show (default: cpu or cuda, else the one run last)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="github", metavar="FMT", help=f"of the tables: {', '.join(FORMATS)}"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--tables",
        type=table_names,
        default=list(TABLES),
        metavar="NAME,NAME",
        help=f"which tables (default: all of {', '.join(TABLES)})",
    )
    what.add_argument("--audit", action="store_true", help="the report's numbers and claims, one by one, beside ours")
    what.add_argument(
        "--html", action="store_true", help=f"write tables, audit and figures as one page, {files.PAGE_NAME}"
    )
    parser.add_argument("--results-dir", type=Path, default=files.RESULTS_DIR, metavar="DIR")
    parser.add_argument("--plots-dir", type=Path, default=files.PLOTS_DIR, metavar="DIR")
    parser.add_argument("--no-plots", action="store_true", help="draw no figures")
    return parser.parse_args(argv)


def table_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in TABLES]:
        raise argparse.ArgumentTypeError(f"unknown table {unknown[0]!r}; choose from {', '.join(TABLES)}")
    return names


def analyze(arguments: argparse.Namespace) -> None:
    """Print the tables, then write the summary of every study and the figures of the one shown."""
    cells = read_results(arguments.results_dir)
    measured, lines = shown_study(cells, arguments.study)
    files.check_writable(arguments.results_dir)
    print_lines(lines, arguments.format)
    for name in arguments.tables:
        for table in TABLES[name](measured):
            print(f"\n{render(table, arguments.format)}", flush=True)
    print(remark(f"Summary: {write_summary(cells, arguments.results_dir)}", arguments.format), flush=True)
    if not arguments.no_plots:
        files.check_writable(arguments.plots_dir)
        named = arguments.study is not None or measured[0]["study"] not in DEFAULT_STUDIES
        count = write_figures(study_figures(measured, named), arguments.plots_dir, basis_of(measured))
        print(remark(f"Figures: {count} in {arguments.plots_dir}", arguments.format))


def audit(arguments: argparse.Namespace) -> None:
    """Print the audit of the report, beside the study shown if there are results; writes nothing."""
    report = files.read_json(REPORT_PATH)
    cells = read_results(arguments.results_dir) if arguments.study else store.read_cells(arguments.results_dir)
    measured, lines = shown_study(cells, arguments.study) if cells else ([], [])
    print_lines([*lines, *audit_tables.introduction(measured)], arguments.format)
    for table in audit_tables.tables(report, measured):
        print(f"\n{render(table, arguments.format)}")
    print()
    print_lines(audit_tables.outcome(report, measured), arguments.format)


def write_page(arguments: argparse.Namespace) -> None:
    """Write one page about the study shown: all tables, the audit of the report, and the figures."""
    report = files.read_json(REPORT_PATH)
    measured, lines = shown_study(read_results(arguments.results_dir), arguments.study)
    files.check_writable(arguments.results_dir)
    print_lines(lines, arguments.format)
    shown = {name: make(measured) for name, make in TABLES.items()}
    drawn = () if arguments.no_plots else study_figures(measured, named=False)
    text = page.page(measured, account(measured), shown, report, drawn).encode()
    path = arguments.results_dir / files.PAGE_NAME
    files.write_bytes(path, text)
    print(remark(f"Page: {path} ({len(text) / 1e6:.1f} MB)", arguments.format))


def print_lines(lines: Iterable[str], form: str) -> None:
    for line in lines:
        print(remark(line, form))


# ---------------------------------------------------------------- which results


def read_results(results_dir: Path) -> list[dict]:
    """Every cell; UserError where there is none."""
    cells = store.read_cells(results_dir)
    if not cells:
        raise UserError(f"no results in {results_dir}; run ./run_background.sh first, or choose --results-dir")
    return cells


def choose_study(cells: list[dict], wanted: str | None) -> str:
    if wanted is None:
        return latest_study([cell for cell in cells if cell["study"] in DEFAULT_STUDIES] or cells)
    if wanted not in store.study_names(cells):
        raise UserError(f"no study {wanted!r}; choose --study from {', '.join(store.study_names(cells))}")
    return wanted


def shown_study(cells: list[dict], wanted: str | None) -> tuple[list[dict], list[str]]:
    """The measured cells of the study to show, and the lines that say which it is and what it lacks."""
    study = choose_study(cells, wanted)
    measured = measure_study(cells, study)
    return measured, [*which_study(cells, study, wanted), *account(measured)]


def which_study(cells: list[dict], study: str, wanted: str | None) -> list[str]:
    """A line that says which of several studies is shown, unless it was asked for."""
    others = [name for name in store.study_names(cells) if name != study]
    if wanted is not None or not others:
        return []
    return [f"Showing study {study}; choose another with --study: {', '.join(others)}"]


def account(measured: list[dict]) -> list[str]:
    """What a study has, and what is missing, diverged or not comparable, a line each."""
    models, activations = list(by_model(measured)), in_order({cell["activation"] for cell in measured})
    grid = [(model, activation) for model in models for activation in activations]
    found = {(cell["model"], cell["activation"]) for cell in measured}
    trials = sum(cell["n_trials"] for cell in measured)
    head = (
        f"Study {measured[0]['study']}: {len(found)} of {counted(len(grid), 'cell')} of "
        f"{counted(len(models), 'architecture')} x {counted(len(activations), 'activation')}, "
        f"{counted(trials, 'completed trial')}"
    )
    problems = {
        "Missing cells": [" ".join(place) for place in grid if place not in found],
        "Missing trials": [_missing_trials(cell) for cell in measured if cell["status"] != "completed"],
        "Diverged trials": [f"{_name(cell)} {cell['n_diverged']}" for cell in measured if cell["n_diverged"]],
        "Nothing yet of": [name for name in MODELS + ACTIVATIONS if name not in models + activations],
        "Not comparable, because cells differ in": differing_settings(measured),
        "Comparable but for rounding, because trials differ in": differing_machines(measured),
    }
    return [head, *(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)]


def _name(cell: dict) -> str:
    return f"{cell['model']} {cell['activation']}"


def _missing_trials(cell: dict) -> str:
    missing = cell["planned_trials"] - len(cell["trials"])
    return f"{_name(cell)} {missing} of {cell['planned_trials']}"


def differing_settings(measured: list[dict]) -> list[str]:
    """Settings, other than those of a cell itself, that are not the same in all cells."""
    names = sorted({name for cell in measured for name in cell["config"]} - {"model", "activation", "shape"})
    values = {name: {str(cell["config"].get(name)) for cell in measured} for name in names}
    return [f"{name} ({' or '.join(sorted(seen))})" for name, seen in values.items() if len(seen) > 1]


def differing_machines(measured: list[dict]) -> list[str]:
    """What rounding depends on and is not the same for all trials."""
    found = shared_environment(measured)
    return [f"{name} ({' or '.join(map(str, found[name]))})" for name in MACHINE if isinstance(found.get(name), list)]


# ---------------------------------------------------------------- what is written


def write_summary(cells: list[dict], results_dir: Path) -> Path:
    """Write the summary of every study; returns its path."""
    path = results_dir / files.SUMMARY_NAME
    studies = {name: summarize_study(measure_study(cells, name)) for name in store.study_names(cells)}
    files.write_json(path, {"studies": studies})
    return path


def study_figures(measured: list[dict], named: bool) -> Iterator[tuple[str, Figure]]:
    """The file name and figure of everything that is drawn of a study; ``named`` if its name is part of them all."""
    study = measured[0]["study"]
    ending = f"_{study}.png" if named else ".png"
    colours = activation_colours(cell["activation"] for cell in measured)
    for cell in measured:
        for kind, draw in figures.CELL_FIGURES.items():
            yield f"{cell['model']}_{cell['activation']}_{study}_{kind}.png", draw(cell, colours[cell["activation"]])
    for model, cells in by_model(measured).items():
        for kind, draw in figures.MODEL_FIGURES.items():
            if figure := draw(cells, colours):
                yield f"{model}_{kind}{ending}", figure
    for kind, draw in figures.STUDY_FIGURES.items():
        if figure := draw(measured, colours):
            yield f"{OF_STUDY}{kind}{ending}", figure


def basis_of(measured: list[dict]) -> str:
    """A digest of what all trials of a study and its controls predict, by which figures are seen to be older."""
    shown = [each for cell in measured for each in (cell, *cell["controls"].values())]
    trials = [(_name(cell), [trial.get("predictions_sha256") for trial in cell["trials"]]) for cell in shown]
    return files.digest(json.dumps(trials).encode())


def write_figures(drawn: Iterable[tuple[str, Figure]], plots_dir: Path, basis: str) -> int:
    """Write each figure under its name, those of the whole study with its ``basis``; returns how many."""
    count = 0
    for name, figure in drawn:
        of_study = name.startswith(OF_STUDY)
        files.write_bytes(plots_dir / name, png.png_bytes(figure, basis if of_study else None))
        count += 1
    return count


if __name__ == "__main__":
    sys.exit(main())
