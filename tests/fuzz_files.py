"""Files whose contents are wrong, given to every reader and command: none may end in a traceback.

Of a small study that is whole, one file is altered in one place: a value is replaced, dropped, or given another type.
Its checksum, seal and fingerprint are made to fit, so that only what the file says is wrong. Whatever reads it either
takes it or says in words what is wrong. The short form is ``test_fuzz.py``; the long one, which writes its figures:

    python tests/fuzz_files.py --examples 20000
"""

import argparse
import copy
import io
import json
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import made_study  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from made_study import OPTIONS, make_study, places  # noqa: E402

import analyze_results  # noqa: E402
import run_all_experiments  # noqa: E402
from runner import pilots  # noqa: E402
from runner.verify import known_trial, verify  # noqa: E402
from study import options, store  # noqa: E402
from study.cell import finished_record, update_cell  # noqa: E402
from study.files import (  # noqa: E402
    ROOT,
    SUMMARY_NAME,
    UserError,
    read_checked,
    write_checked,
    write_json,
    write_sealed,
)
from study.pair_files import read_pairs, write_pairs  # noqa: E402
from study.plan import Study  # noqa: E402
from study.state import read_state  # noqa: E402
from study.store import Cell, fingerprint, read_cells  # noqa: E402
from train import TrialRun  # noqa: E402

FIGURES = ROOT / "benchmarks" / "results" / "fuzz_files.json"
PART = 1_000  # files after which the figures are written, so that a run can be ended at any time
SHOWN = (  # in turns, as each takes most of a second; figures take more
    *2 * [["--no-plots"], ["--no-plots", "--tables", "all"], ["--no-plots", "--html"], ["--audit"]],
    ["--all-figures"],
)
CONFIG = replace(made_study.CONFIG, n_trials=6)  # of so many trials differences are judged
ACTIVATIONS = ("gelu", "relu")
UNFINISHED = CONFIG.n_trials + 1  # the trial that has a state only
KINDS = ("cell", "record", "pairs", "state", "pilots", "summary", "report")
Path_ = tuple[str | int, ...]  # keys and indices that lead to a value

# ---------------------------------------------------------------- one change

VALUES = (
    st.sampled_from(
        [None, True, "", "x", "gelu", -1, 0, 1, 2, 10**9, 10**30, -0.5, 0.5, 1e38, 1e300, [], {}, [[]], [None]]
    )
    | st.integers(-3, 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "replace": lambda old, new: new,
    "as text": lambda old, new: str(old),
    "in a list": lambda old, new: [old],
    "shorten": lambda old, new: old[:-1] if isinstance(old, str | list) else None,
    "repeat": lambda old, new: (
        old + old if isinstance(old, str | list) else -old if isinstance(old, int | float) else {}
    ),
    "reverse": lambda old, new: old[::-1] if isinstance(old, str | list) else new,
}


def paths_of(value: Any, so_far: Path_ = ()) -> Iterator[Path_]:
    """Every place in a JSON value, but of the entries of a long list only the first and the last."""
    if so_far:
        yield so_far
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if isinstance(value, list) and len(entries) > 3:
        entries = [entries[0], entries[-1]]
    for key, item in entries:
        yield from paths_of(item, (*so_far, key))


def altered(content: dict, path: Path_, change: str, value: Any) -> dict:
    content = copy.deepcopy(content)
    place = content
    for key in path[:-1]:
        place = place[key]
    if change == "drop":
        del place[path[-1]]
    else:
        place[path[-1]] = CHANGES[change](place[path[-1]], value)
    return content


# ---------------------------------------------------------------- readers and commands


@dataclass
class Fuzz:
    """A study in ``folder``, the contents of its files, and what became of altered ones."""

    folder: Path
    study: Study = field(init=False)
    cell: Cell = field(init=False)
    contents: dict[str, dict] = field(init=False)
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self):
        self.study, self.cell = make_study(self.folder, CONFIG, ACTIVATIONS)
        self.run_of_state = TrialRun(self.study, self.cell, UNFINISHED)
        self.run_of_state.evaluate()
        self.run_of_state.save()
        state_path = self.study.store.checkpoint_path(self.cell, UNFINISHED)
        self.state = read_state(state_path, self.study.identity(self.cell), UNFINISHED, "cpu")
        state_path.unlink()
        self.command(analyze_results.main, *self.results(), "--no-plots")
        self.contents = {
            "cell": self.study.store.read_cell(self.cell),
            "record": self.study.store.read_record(self.cell, 1),
            "pairs": self.make_pairs(),
            "pilots": self.make_pilots(),
            "state": {name: value for name, value in self.state.items() if name not in ("model", "optimizer")},
            "summary": json.loads((self.folder / "results" / SUMMARY_NAME).read_text()),
            "report": json.loads(analyze_results.REPORT_PATH.read_text()),
        }
        self.places = {kind: list(paths_of(content)) for kind, content in self.contents.items()}

    def make_pairs(self) -> dict:
        """The file of trial 2's pairs, of which there is one."""
        store, records = self.study.store, {n: self.study.store.read_record(self.cell, n) for n in (1, 2)}
        hashes = {number: record["predictions_sha256"] for number, record in records.items()}
        pairs = [pair for pair in store.read_cell(self.cell)["pairs"] if pair["trials"] == [1, 2]]
        write_pairs(store, self.cell, 2, hashes, pairs)
        return read_pairs(store, self.cell, 2)

    def make_pilots(self) -> dict:
        self.pilots = self.folder / "pilots.json"
        grid = pilots.Grid((0.002, 0.004), (9000,), CONFIG.iterations)
        jobs = [(self.cell, 1)]
        pilots.write_pilots(
            self.pilots,
            grid,
            [each for rate in grid.rates for each in pilots.finished_pilots(self.study, jobs, rate)],
        )
        return read_checked(self.pilots)

    def results(self) -> tuple[str, ...]:
        return ("--results-dir", str(self.folder / "results"), "--plots-dir", str(self.folder / "plots"))

    def try_one(self, kind: str, path: Path_, change: str, value: Any) -> None:
        content = altered(self.contents[kind], path, change, value)
        if kind == "cell" and path[0] in ("trials", "pairs"):  # whose means would not fit; a file need not have them
            content = {name: of for name, of in content.items() if not name.startswith(("mean_", "std_"))}
        self.give(kind, content)

    def give(self, kind: str, content: dict) -> None:
        """Write such a file, give it to all that reads it, and put the whole one back."""
        if kind in ("cell", "record") and isinstance(content.get("config"), dict):
            content["fingerprint"] = fingerprint(content["config"])
        getattr(self, f"try_{kind}")(content)

    def count(self, kind: str, refused: bool) -> None:
        self.outcomes[f"{kind}, {'refused' if refused else 'taken'}"] += 1

    def try_cell(self, content: dict) -> None:
        target = self.study.store.cell_path(self.cell)
        with kept(target):
            write_checked(target, content)
            refused = self.attempt(lambda: store.read_cell_file(target))
            self.count("cell", refused)
            read_cells(target.parent, on_fault=lambda error: None)
            self.attempt(lambda: known_trial(self.study, self.cell, UNFINISHED))
            self.update()
            write_checked(target, content)
            self.command(run_all_experiments.main, *OPTIONS, *places(self.folder), "--dry-run")
            self.attempt(lambda: list(verify(self.study, [(self.cell, 1)])))
            if not refused:  # refused ones all look alike from here on
                taken = self.outcomes["cell, taken"]
                self.command(analyze_results.main, *self.results(), *SHOWN[taken % len(SHOWN)])

    def try_record(self, content: dict) -> None:
        target = self.study.store.record_path(self.cell, 1)
        with kept(target, self.study.store.predictions_path(self.cell, 1), self.study.store.cell_path(self.cell)):
            write_checked(target, content)
            self.count("record", self.attempt(lambda: self.study.store.read_record(self.cell, 1)))
            self.attempt(lambda: known_trial(self.study, self.cell, 1))
            self.attempt(lambda: list(verify(self.study, [(self.cell, 1)])))
            self.command(run_all_experiments.main, *OPTIONS, *places(self.folder), "--dry-run")
            self.attempt(lambda: finished_record(self.study, self.cell, 1, lambda progress: None))
            self.update()

    def try_pairs(self, content: dict) -> None:
        target, cell_file = self.study.store.pairs_path(self.cell, 2), self.study.store.cell_path(self.cell)
        with kept(target, cell_file):
            cell_file.unlink()
            write_sealed(target, json.dumps(content).encode())
            self.count("pairs", self.attempt(lambda: read_pairs(self.study.store, self.cell, 2)))
            self.update()

    def try_pilots(self, content: dict) -> None:
        write_checked(self.pilots, content)

        def read() -> None:
            grid, found = pilots.read_pilots(self.pilots)
            assert grid is not None
            pilots.describe(grid, found)

        self.count("pilots", self.attempt(read))

    def try_state(self, content: dict) -> None:
        target = self.study.store.checkpoint_path(self.cell, UNFINISHED)
        with kept(target):
            buffer = io.BytesIO()
            torch.save({"model": self.state["model"], "optimizer": self.state["optimizer"], **content}, buffer)
            write_sealed(target, buffer.getvalue())
            self.count(
                "state", self.attempt(lambda: self.run_of_state.take_over(target, self.run_of_state.read(target)))
            )
            self.attempt(lambda: list(verify(self.study, [(self.cell, UNFINISHED)])))

    def try_summary(self, content: dict) -> None:
        target = self.folder / "results" / SUMMARY_NAME
        with kept(target):
            write_json(target, content)
            self.count("summary", self.attempt(lambda: store.check_summary(target.parent)))
            read_cells(target.parent, on_fault=lambda error: None)

    def try_report(self, content: dict) -> None:
        target = self.folder / "report.json"
        write_json(target, content)
        with mock.patch.object(analyze_results, "REPORT_PATH", target):
            refused = self.attempt(analyze_results.read_report)
            self.count("report", refused)
            if not refused:
                self.command(analyze_results.main, *self.results(), "--audit")

    def update(self) -> None:
        """Bring the cell file up to date; what is written then can be read."""
        if not self.attempt(lambda: update_cell(self.study, self.cell)):
            store.read_cell_file(self.study.store.cell_path(self.cell))

    def attempt(self, read: Callable[[], object]) -> bool:
        """Whether a reader refuses the file, in words; whatever else it raises is a fault of ours."""
        try:
            read()
        except UserError as error:
            assert "Traceback" not in str(error)
            return True
        return False

    def command(self, main: Callable[[list[str]], int], *arguments: str) -> None:
        complaints = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(complaints):
            code = main(list(arguments))
        assert code in (0, 1, 2)
        assert (code == 0) or complaints.getvalue().count("\n") >= 1 or "--verify" in arguments


class kept:
    """Inside, files may be changed; afterwards they are as before, and what was made beside them is gone."""

    def __init__(self, *paths: Path):
        self.paths = paths

    def __enter__(self) -> None:
        self.before = {path: path.read_bytes() if path.exists() else None for path in self.paths}

    def __exit__(self, *_: object) -> None:
        for path, content in self.before.items():
            for beside in path.parent.glob(f"{path.name}.damaged*"):
                beside.unlink()
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)


def fuzz(folder: Path, examples: int, kinds: tuple[str, ...] = KINDS, derandomize: bool = True) -> Counter[str]:
    """Alter ``examples`` files; returns how many were refused and taken, by kind. Whatever is no answer is raised."""
    with mock.patch.dict(options.CONFIGS, {"cpu": CONFIG}):
        target = Fuzz(folder)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def alter_one(data: st.DataObject) -> None:
            kind = data.draw(st.sampled_from(kinds))
            path = data.draw(st.sampled_from(target.places[kind]))
            change = data.draw(st.sampled_from(["drop", *CHANGES]))
            target.try_one(kind, path, change, data.draw(VALUES))

        alter_one()
        return target.outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000, metavar="N", help="files to alter (default: 20000)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    begin, outcomes = time.process_time(), Counter[str]()
    tracebacks = 0
    for done in range(0, args.examples, PART):
        with tempfile.TemporaryDirectory(prefix="fuzz_files_") as folder:
            try:
                outcomes += fuzz(Path(folder), min(PART, args.examples - done), tuple(args.kinds), derandomize=False)
            except Exception:
                traceback.print_exc()  # which ends with the change that made it
                tracebacks += 1
        figures = {
            "examples": sum(outcomes.values()),
            "cpu_seconds": round(time.process_time() - begin),
            "tracebacks": tracebacks,
            "outcomes": dict(sorted(outcomes.items())),
        }
        write_json(FIGURES, figures)
        print(f"{figures['examples']:,} altered files, {figures['cpu_seconds']} CPU seconds", flush=True)
    print(json.dumps(figures["outcomes"], indent=1))
    return 1 if tracebacks else 0


if __name__ == "__main__":
    sys.exit(main())
