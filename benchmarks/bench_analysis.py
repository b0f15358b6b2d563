"""What looking at the committed studies costs: CPU seconds of each command, with all its processes, and its time.

  python -m benchmarks.bench_analysis

Copies the published cell files into a temporary folder and looks at the study that is shown by default: the answer,
all tables, all figures, the same figures again (none is drawn), one page with figures and without, and the audit.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

from study import cli
from study.environment import environment
from study.files import PUBLISHED_NAME, RESULTS_DIR, ROOT, write_json
from study.store import published_studies, read_cells

STEPS = {
    "answer and default tables": ["--no-plots"],
    "all tables": ["--no-plots", "--tables", "all"],
    "all figures": ["--all-figures"],
    "all figures again": ["--all-figures"],
    "page": ["--html"],
    "page without figures": ["--html", "--no-plots"],
    "audit": ["--audit"],
    "everything": ["--all-figures", "--tables", "all"],  # in another folder; the page of it is added
}
GOALS = {"answer and default tables": 6, "everything": 40}  # CPU seconds


def measure(folder: Path, options: list[str], plots: str = "plots") -> dict[str, float]:
    """CPU seconds (with those of its own processes) and wall seconds of one command on the results in ``folder``."""
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / plots)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "analyze_results.py"), *places, *options]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_seconds": used, "seconds": time.perf_counter() - begin}


def copy_published(folder: Path) -> int:
    """Copy the published cell files into ``folder``; returns how many."""
    published = published_studies(RESULTS_DIR)
    cells = [cell for cell in read_cells(RESULTS_DIR) if cell["study"] in published]
    (folder / "results").mkdir()
    for cell in cells:
        shutil.copy(RESULTS_DIR / f"{cell['model']}_{cell['activation']}_{cell['study']}.json", folder / "results")
    shutil.copy(RESULTS_DIR / PUBLISHED_NAME, folder / "results")
    return len(cells)


def bench() -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_cells = copy_published(folder)
        steps = {step: measure(folder, options) for step, options in STEPS.items() if step != "everything"}
        n_figures = len(list((folder / "plots").iterdir()))
        parts = [measure(folder, options, "fresh") for options in (STEPS["everything"], STEPS["page"])]
        steps["everything"] = {key: sum(part[key] for part in parts) for key in parts[0]}
    return {"cell_files": n_cells, "figures": n_figures, "steps": steps}


def describe(results: dict) -> str:
    rows = [
        [step, found["cpu_seconds"], GOALS.get(step), found["seconds"]] for step, found in results["steps"].items()
    ]
    table = tabulate(rows, ["step", "CPU seconds", "goal", "seconds"], floatfmt=".1f")
    return f"{results['cell_files']} cell files, {results['figures']} figures\n\n{table}"


def main() -> None:
    parser = cli.Parser(
        prog="bench_analysis", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_analysis.json")
    args = parser.parse_args()
    results = bench()
    print(describe(results))
    write_json(args.output, {"environment": environment("cpu"), "goals": GOALS, **results})
    print(f"\nwritten to {args.output}")


if __name__ == "__main__":
    main()
