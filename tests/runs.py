"""Real runs of the tests' small study in processes of their own, and the comparison of what they leave."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from conftest import TINY
from patience import living_processes, wait_until

from runner.workers import Event, run_job
from study.plan import Job, Study, planned_jobs
from study.store import Store

TESTS = Path(__file__).resolve().parent
COMMAND = (sys.executable, str(TESTS / "tiny_runner.py"))
MODELS, ACTIVATIONS = ["charlm", "tinylstm"], ["gelu", "swiglu"]
CONFIG = replace(TINY, n_trials=3, iterations=30, eval_interval=10)
GRID = (
    "--models",
    *MODELS,
    "--activations",
    *ACTIVATIONS,
    "--trials",
    str(CONFIG.n_trials),
    "--iterations",
    str(CONFIG.iterations),
    "--eval-interval",
    str(CONFIG.eval_interval),
)

# What may differ between two runs of the same trials.
TIMES = {"training_time", "evaluation_time", "mean_training_time", "finished", "environment", "checksum"}


def study_in(folder: Path) -> Study:
    """The study that GRID asks for, with its results in ``folder``."""
    return Study(CONFIG, "cpu", "cpu", Store(folder / "results", folder / "checkpoints"))


def grid_jobs(study: Study) -> list[Job]:
    return planned_jobs(study, MODELS, ACTIVATIONS)


def command(folder: Path, *options: str) -> list[str]:
    places = ("--results-dir", f"{folder / 'results'}", "--checkpoints-dir", f"{folder / 'checkpoints'}")
    return [*COMMAND, *places, *options]


def run(folder: Path, *options: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run the runner to its end."""
    return run_to_its_end(command(folder, *options), cwd=cwd, env=os.environ | environment)


def run_to_its_end(arguments: list[str], **how) -> subprocess.CompletedProcess:
    """As ``subprocess.run`` with its output captured, with no limit but that of ``Patience``; TimeoutError beyond."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(arguments, stdout=out, stderr=complaints, start_new_session=True, **how)
        try:
            ended = wait_until(lambda: process.poll() is not None, lambda: living_processes(session=process.pid))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        texts = []
        for file in (out, complaints):
            file.seek(0)
            texts.append(file.read())
    if not ended:
        raise TimeoutError(f"{arguments} gets no further: {texts}")
    return subprocess.CompletedProcess(arguments, process.returncode, *texts)


def run_jobs_here(
    study: Study, n_workers: int, jobs: list[Job], on_event: Callable[[Event], None], should_stop
) -> None:
    """As ``workers.run_jobs``, one after another in this process."""
    for job in jobs:
        on_event(run_job(study, job, on_event, should_stop))


class LiveRun:
    """The runner as a process that can be disturbed, in a process group of its own; its output goes to ``log``.

    ``how`` is for ``subprocess.Popen``.
    """

    def __init__(self, folder: Path, log: Path, *options: str, prefix: tuple[str, ...] = (), **how):
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, *command(folder, *options)], stdout=file, stderr=file, start_new_session=True, **how
            )

    def reaches(self, condition: Callable[[], object]) -> bool:
        """Whether ``condition`` comes true while the run gets on."""
        return wait_until(condition, self.processes)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def concluded(self) -> bool:
        """Whether it has come to its own end and said so."""
        return " diverged, in " in self.text()

    def text(self) -> str:
        return self.log.read_text()

    def server(self) -> int | None:
        """Process id of the fork server, which its workers come from (Linux only)."""
        children = living_processes(parent=self.process.pid)
        return next((pid for pid in children if b"multiprocessing.forkserver" in command_line(pid)), None)

    def workers(self) -> list[int]:
        """Process ids of its living worker processes (Linux only)."""
        server = self.server()
        return [] if server is None else living_processes(parent=server)

    def processes(self) -> list[int]:
        """All that live of it: runner, workers and their helpers, orphans too (Linux only)."""
        return living_processes(session=self.process.pid)


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def contents(folder: Path) -> dict[str, object]:
    """What each result and checkpoint in ``folder`` holds, but for times: bytes, or for JSON its value."""
    paths = [*folder.glob("results/**/*.json"), *folder.glob("results/**/*.npz"), *folder.glob("checkpoints/*/*.pt")]
    return {
        str(path.relative_to(folder)): timeless(json.loads(path.read_text()))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in paths
    }


def timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def differing(first: Path, second: Path) -> list[str]:
    """Names of the files that are not the same to the bit, but for times, in two folders."""
    ours, theirs = contents(first), contents(second)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
