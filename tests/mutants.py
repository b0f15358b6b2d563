"""Whether the tests notice a fault: one line of the code is changed at a time, and the tests that matter are run.

    python tests/mutants.py [--only PART ...] [--list] [--again | --left] [--out FILE]

Run by hand. The faults are data, in ``tests/faults/*.toml``, a file for each part of the code. They are made in a
temporary copy of the repository. A mutant is killed if a test fails or hangs that passes without the fault. One that
was judged before is not run again, unless its source file, the fault itself or the test that killed it (if none did,
one that should) have changed since, or ``--again`` says so. What was judged before such a change does not count.
Other tests of the same file and comments are no change. Those that were never judged come first.
Exit code 0 if all are judged, at least ``GOAL`` of them are killed and no survivor is without a reason.

One process has the libraries loaded and forks for each mutant, which saves the seconds that PyTorch takes to load; so
it must not import a module of this repository that has a fault itself. Needs Linux.
"""

import argparse
import ast
import compileall
import ctypes
import gc
import hashlib
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from patience import Patience, descendants

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
FAULTS = TESTS / "faults"
FIGURES = ROOT / "benchmarks" / "results" / "mutants.json"
GOAL = 0.95
STILL, MOST = 60.0, 120.0  # a test hangs if it does next to nothing for so long, or computes for so long (seconds)
LIBRARIES = ("torch._dynamo", "scipy.stats", "scipy.optimize", "matplotlib.pyplot", "rapidfuzz.distance", "pytest")
LIBRARIES += ("hypothesis", "msgspec", "tabulate", "xdist.plugin")
KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl.h


@dataclass(frozen=True)
class Mutant:
    """A fault: ``line`` of ``file``, without its indentation, becomes ``becomes``; ``tests`` should notice.

    ``equivalent`` is the reason why nothing can, if there is one.
    """

    part: str
    what: str
    file: str
    line: str
    becomes: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def name(self) -> str:
        return f"{self.part}: {self.what}"

    def places(self, root: Path = ROOT) -> list[int]:
        """Where the line is in the file, counted from 0; a mutant that still fits has exactly one place."""
        lines = (root / self.file).read_text().splitlines()
        return [place for place, line in enumerate(lines) if line.strip() == self.line]

    def mutated(self, root: Path = ROOT) -> str:
        """The file's text with the fault. Raises ValueError unless the line occurs exactly once."""
        places, lines = self.places(root), (root / self.file).read_text().splitlines()
        if len(places) != 1:
            raise ValueError(f"{self.name}: {self.file} has {len(places)} lines {self.line!r}")
        old = lines[places[0]]
        lines[places[0]] = old[: len(old) - len(old.lstrip())] + self.becomes
        return "\n".join(lines) + "\n"

    def digest(self, by: str | None = None, root: Path = ROOT) -> str:
        """What its outcome depends on, as far as that is in its own file and its tests': in that which killed it, if
        one did."""
        tests = [by.partition("[")[0]] if by else self.tests
        texts = [ast.unparse(ast.parse(self.mutated(root))), *(text_of_test(root / "tests", test) for test in tests)]
        return hashlib.sha256("\0".join([*texts, *tests]).encode()).hexdigest()[:16]


@cache
def text_of_test(folder: Path, test: str) -> str:
    """A file of tests, without its comments; of ``FILE::NAME``, without the other tests in it."""
    file, _, name = test.partition("::")
    tree = ast.parse((folder / file).read_text() if (folder / file).exists() else "")
    others = [part for part in tree.body if name and getattr(part, "name", name).startswith("test_")]
    tree.body = [part for part in tree.body if part not in others or getattr(part, "name", name) == name]
    return ast.unparse(tree)


def read_mutants(folder: Path = FAULTS) -> list[Mutant]:
    found = []
    for path in sorted(folder.glob("*.toml")):
        content = tomllib.loads(path.read_text())
        for entry in content["fault"]:
            tests = entry.pop("tests")
            found.append(Mutant(part=path.stem, tests=tuple(tests.split()), **entry))
    return found


# ---------------------------------------------------------------- running tests


class Announcer:
    """A plugin of pytest that writes a line whenever a test begins, its name, and an empty one whenever one ends."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        os.write(self.pipe, f"{nodeid.removeprefix('tests/')}\n".encode())

    def pytest_runtest_logfinish(self) -> None:
        os.write(self.pipe, b"\n")


def run_tests(folder: Path, tests: Iterable[str], log: Path) -> tuple[str, str]:
    """Run ``tests`` in the copy in ``folder``, in processes of their own: KILLED if one fails or hangs. With it, the
    test that began last."""
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        keep(lambda: in_copy(folder, tests, log, writing))
    os.close(writing)
    try:
        last, hung = follow(reading, lambda: descendants(keeper))
    finally:
        os.close(reading)
        os.kill(keeper, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    return KILLED if last and (hung or code == 1) else SURVIVED if code == 0 else BROKEN, last


def keep(run: Callable[[], int]) -> NoReturn:
    """Call ``run`` in a child, and end with its exit code. First, all that it has started ends, in whatever group or
    session and orphaned or not; so, too, if this process is asked to stop, or that above it ends."""
    libc, code = ctypes.CDLL(None), 3

    def end(*_) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while started := descendants(os.getpid()):
            for process in started:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        os._exit(code)

    os.setsid()  # Ctrl-C reaches it through the process above
    signal.signal(signal.SIGTERM, end)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            code = run()
        finally:
            os._exit(code)
    ended = None
    while ended != child:  # orphans come to this process, and end here as they would at process 1
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status) % 256
    end()


def follow(reading: int, processes: Callable[[], Collection[int]]) -> tuple[str, bool]:
    """Until the pipe ends or nothing gets on: the test that began last, and whether it hangs."""
    last = ""
    while True:
        patience = Patience(processes, STILL, MOST)
        while not select.select([reading], [], [], 0.5)[0]:
            if patience.is_over():
                return last, True
        said = os.read(reading, 2**16).decode()
        if not said:
            return last, False
        last = [last, *filter(None, said.splitlines())][-1]


def in_copy(folder: Path, tests: Iterable[str], log: Path, pipe: int) -> int:
    """What the forked process does; returns the exit code of pytest."""
    import pytest

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    sys.dont_write_bytecode = True
    sys.path = [path for path in sys.path if path and Path(path).resolve() not in (ROOT, TESTS)]
    options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    return int(pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[Announcer(pipe)]))


def copy_repository(folder: Path) -> None:
    """What git tracks or would, and the corpus, compiled."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in [*listed.stdout.decode().split("\0"), "data/tinyshakespeare.txt"]:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    compileall.compile_dir(folder, quiet=2)


def try_mutant(mutant: Mutant, folder: Path, log: Path) -> tuple[str, str]:
    """Make the fault in the copy, run its tests, and mend it: the outcome, and the test that ran last."""
    path = folder / mutant.file
    before, times = path.read_bytes(), path.stat()
    path.write_text(mutant.mutated(folder))
    os.utime(path, (1, 1))  # another time than that of the compiled file, whatever the clock
    try:
        return run_tests(folder, mutant.tests, log)
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def judge(mutant: Mutant, folder: Path, log: Path, sound: dict[str, bool]) -> dict[str, str]:
    """What becomes of a mutant, and what kills it: BROKEN if that test fails without a fault, too.

    ``sound`` holds which tests pass without, as far as it is known.
    """
    outcome, test = try_mutant(mutant, folder, log)
    if outcome == KILLED and test not in sound:
        sound[test] = run_tests(folder, [test], log)[0] == SURVIVED
    if outcome == KILLED and sound[test]:
        return {"outcome": KILLED, "by": test}
    return {"outcome": SURVIVED if outcome == SURVIVED else BROKEN}


# ---------------------------------------------------------------- the outcome


def read_outcomes(path: Path) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text())["each"] if path.exists() else {}


def as_now(outcomes: dict[str, dict[str, str]], digests: dict[Mutant, str]) -> dict[str, dict[str, str]]:
    """Those of the mutants in ``digests`` whose file, tests and fault are still the same."""
    names = {mutant.name: digest for mutant, digest in digests.items()}
    return {name: outcome for name, outcome in outcomes.items() if outcome["of"] == names.get(name)}


def counts(mutants: list[Mutant], outcomes: dict[str, dict[str, str]]) -> dict[str, int]:
    judged = [outcomes[mutant.name]["outcome"] for mutant in mutants if mutant.name in outcomes]
    return {"mutants": len(judged), "killed": judged.count(KILLED)}


def left(mutants: list[Mutant], outcomes: dict[str, dict[str, str]]) -> list[Mutant]:
    """Those that were judged and not killed."""
    return [mutant for mutant in mutants if outcomes.get(mutant.name, {"outcome": KILLED})["outcome"] != KILLED]


def write_outcomes(path: Path, digests: dict[Mutant, str], outcomes: dict[str, dict[str, str]]) -> None:
    """What became of the mutants in ``digests``: totals and parts of those judged as they are now, and each outcome,
    an older one too."""
    mutants, now = list(digests), as_now(outcomes, digests)
    parts = dict.fromkeys(mutant.part for mutant in mutants)
    content = {
        "known": len(mutants),
        **counts(mutants, now),
        "survivors": {mutant.name: mutant.equivalent for mutant in left(mutants, now)},
        "parts": {part: counts([m for m in mutants if m.part == part], now) for part in parts},
        "each": {mutant.name: outcomes[mutant.name] for mutant in mutants if mutant.name in outcomes},
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def report(digests: dict[Mutant, str], outcomes: dict[str, dict[str, str]]) -> int:
    """Print the score by part, what was not killed and what was not judged as it is now; returns the exit code."""
    mutants, now = list(digests), as_now(outcomes, digests)
    for part in dict.fromkeys(mutant.part for mutant in mutants):
        found = counts([mutant for mutant in mutants if mutant.part == part], now)
        print(f"{part:12} {found['killed']:3} of {found['mutants']:3} killed")
    total = counts(mutants, now)
    print(f"{'all':12} {total['killed']:3} of {total['mutants']:3} killed, {len(mutants)} known")
    not_killed = left(mutants, now)
    for mutant in not_killed:
        print(f"{now[mutant.name]['outcome']}: {mutant.name} ({mutant.equivalent or 'no reason known'})")
    unjudged = [mutant.name for mutant in mutants if mutant.name not in now]
    if unjudged:
        print(f"{len(unjudged)} not judged as they are now: {', '.join(unjudged)}")
    enough = total["killed"] >= GOAL * total["mutants"]
    return 0 if enough and not unjudged and all(mutant.equivalent for mutant in not_killed) else 1


def main() -> int:
    mutants = read_mutants()
    parts = list(dict.fromkeys(mutant.part for mutant in mutants))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=parts, metavar="PART", default=parts, help=", ".join(parts))
    parser.add_argument("--list", action="store_true", help="print the mutants, and stop")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--again", action="store_true", help="run those that were judged before, too")
    which.add_argument("--left", action="store_true", help="run those that were judged and not killed, and no others")
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="FILE", help=f"default: {FIGURES}")
    args = parser.parse_args()
    chosen = [mutant for mutant in mutants if mutant.part in args.only]
    if args.list:
        for mutant in chosen:
            print(f"{mutant.name}\n    {mutant.file}: {mutant.line}\n    {'':{len(mutant.file)}}  {mutant.becomes}")
        return 0
    outcomes = read_outcomes(args.out)
    try:
        digests = {mutant: mutant.digest(outcomes.get(mutant.name, {}).get("by")) for mutant in mutants}
    except ValueError as stale:
        parser.error(str(stale))
    if args.left:
        pending = left(chosen, outcomes)
    else:
        pending = [m for m in chosen if args.again or outcomes.get(m.name, {}).get("of") != digests[m]]
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the copy is removed
    gc.freeze()  # so that memory stays shared with the processes to come
    folder = Path(tempfile.mkdtemp(prefix="mutants_"))
    log, sound = folder / "tests.log", dict[str, bool]()
    copy_repository(folder / "copy")
    try:
        for mutant in sorted(pending, key=lambda mutant: mutant.name in outcomes):
            before = os.times()
            found = judge(mutant, folder / "copy", log, sound)
            digests[mutant] = mutant.digest(found.get("by"), folder / "copy")
            outcomes[mutant.name] = found | {"of": digests[mutant]}
            write_outcomes(args.out, digests, outcomes)
            spent = sum(os.times()[2:4]) - sum(before[2:4])
            print(f"{found['outcome']:9} {spent:5.1f} s  {mutant.name}", flush=True)
            if found["outcome"] == BROKEN:
                print(log.read_text(), file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    write_outcomes(args.out, digests, outcomes)  # with the reasons as they are now
    return report({mutant: digests[mutant] for mutant in chosen}, outcomes)


if __name__ == "__main__":
    sys.exit(main())
