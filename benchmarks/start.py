"""What a run costs beside its trials: one with nothing to do, and a cell of two trials of 100 steps.

CPU seconds are those of all processes of a run, its fork server included. What training and evaluating took is in the
trials' records, in seconds by the clock; what the run waited, for another program or for itself, is taken off them,
so that the share outside is rather too large than too small.
"""

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tabulate import tabulate

from study.files import RESULTS_DIR, ROOT

GOALS = {"nothing_to_do_seconds": 4.0, "outside_share": 0.15}
PR_SET_CHILD_SUBREAPER = 36  # of Linux: processes whose parent has ended become children of this one
CELL = ("charlm", "gelu")


def run(folder: Path, *options: str) -> dict[str, float]:
    """Seconds by the clock, and CPU seconds, of a run of the CPU configuration in ``folder``."""
    places = ("--results-dir", str(folder / "results"), "--checkpoints-dir", str(folder / "checkpoints"))
    command = [sys.executable, "run_all_experiments.py", "--config", "cpu", *places, *options]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, start = children_seconds(), time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as runner:
        code = runner.wait()
    seconds = time.perf_counter() - start
    with suppress(ChildProcessError):  # once no process of the run is left
        while True:
            os.waitpid(-runner.pid, 0)
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")
    return {"seconds": seconds, "cpu_seconds": children_seconds() - before}


def children_seconds() -> float:
    """CPU seconds of the processes that this one has started, and has seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def nothing_to_do() -> dict[str, float]:
    """A default run where every trial of the study is done."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name, "results")
        results.mkdir()
        for path in RESULTS_DIR.glob("*_cpu.json"):
            shutil.copy(path, results)
        return run(Path(name))


def small_cell() -> dict[str, float]:
    """A cell of two trials of 100 steps on one worker."""
    with tempfile.TemporaryDirectory() as name:
        model, activation = CELL
        options = ("--models", model, "--activations", activation, "--trials", "2", "--workers", "1")
        found = run(Path(name), *options)
        trials = json.loads(Path(name, "results", f"{model}_{activation}_cpu.json").read_text())["trials"]
    inside = sum(trial["training_time"] + trial["evaluation_time"] for trial in trials)
    waited = max(0.0, found["seconds"] - found["cpu_seconds"])
    return found | {"outside_share": 1 - (inside - waited) / found["cpu_seconds"]}


def bench_start() -> dict:
    return {"nothing_to_do": nothing_to_do(), "small_cell": small_cell()}


def describe_start(found: dict) -> str:
    idle, cell = found["nothing_to_do"], found["small_cell"]
    rows = [
        ["a run with nothing to do, seconds", idle["seconds"], GOALS["nothing_to_do_seconds"]],
        ["the same, CPU s", idle["cpu_seconds"], None],
        ["2 x 100 steps, CPU s", cell["cpu_seconds"], None],
        ["of them outside training and evaluation, share", cell["outside_share"], GOALS["outside_share"]],
    ]
    return tabulate(rows, ["start", "", "goal"], floatfmt=".2f")
