"""A small study whose runs are disturbed: started, watched, brought to an end; compared with one that was not."""

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from runs import GRID, LiveRun, differing, grid_jobs, run, study_in

from runner.verify import verify
from study import cli
from study.files import Damaged
from study.plan import Job, pending_jobs

ATTEMPTS = 5  # undisturbed starts within which a disturbed study must become complete
LONGEST_PAUSE = 1.5  # seconds before a fault: an undisturbed run takes two or more


class Failure(Exception):
    """The runner did not behave as it should."""


class Disturbed:
    """The study in ``folder``, its runs, and what became of it; ``undisturbed`` is the folder to compare with."""

    def __init__(self, folder: Path, undisturbed: Path, logs: Path, seed: int, early: float):
        self.folder, self.undisturbed, self.logs = folder, undisturbed, logs
        self.random = random.Random(seed)
        self.early = early  # share of the faults that may come before a run's training begins
        self.study = study_in(folder)
        self.jobs = grid_jobs(self.study)
        self.current: LiveRun | None = None
        self.started: list[LiveRun] = []  # that have not been seen to end
        self.n_runs = self.n_rounds = 0
        self.injected, self.survived = Counter[str](), Counter[str]()
        self.in_round = Counter[str]()
        self.finished: set[Job] = set()  # trials seen with a sound record
        self.harmed: set[Job] = set()  # trials whose files were damaged on purpose
        self.lost: list[str] = []
        self.differing: list[str] = []

    # ------------------------------------------------ runs

    def start(self, *options: str, **how) -> LiveRun:
        # Root may write anywhere, unless it gives that up.
        prefix = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 and shutil.which("setpriv") else ()
        self.n_runs += 1
        log = self.logs / f"run_{self.n_runs:03}.log"
        options = (*GRID, "--workers", "2", "--started-file", str(begun(log)), *options)
        live = LiveRun(self.folder, log, *options, prefix=prefix, **how)
        self.started.append(live)
        return live

    def live(self) -> LiveRun | None:
        """A run with workers, at a random moment; None if it has come to its end by then."""
        live = self.current = self.current or self.start()
        self.reach_workers(live)
        if self.random.random() >= self.early:
            self.reach(live, lambda: is_reported(live, "  step "), "no step")
        self.pause(live, LONGEST_PAUSE)
        if live.workers() and not live.concluded:
            return live
        self.settle()
        return None

    def strike(self, number: signal.Signals) -> tuple[LiveRun, int] | None:
        """Send a signal to a worker of a run, at a random moment; None if there is none by then."""
        live = self.live()
        workers = live.workers() if live else []
        if not live or not workers:
            return None
        victim = self.random.choice(workers)
        try:
            os.kill(victim, number)
        except ProcessLookupError:
            return None
        return live, victim

    def pause(self, live: LiveRun, most: float) -> None:
        """Let up to ``most`` seconds go by, less if the run ends."""
        end = time.monotonic() + self.random.uniform(0, most)
        while live.alive and time.monotonic() < end:
            time.sleep(0.02)

    def reach(self, live: LiveRun, condition: Callable[[], object], otherwise: str) -> None:
        if not live.reaches(condition):
            raise Failure(f"{otherwise}, though it no longer gets on: see {live.log}")

    def reach_workers(self, live: LiveRun) -> None:
        """Wait for workers that train; those before the run begins only try a step of each cell."""
        self.reach(live, lambda: (begun(live.log).exists() and live.workers()) or not live.alive, "no worker")

    def settle(self) -> None:
        """Let the run that is going on, if there is one, come to its end."""
        if self.current is not None:
            self.conclude(self.current)
            self.current = None
            self.take_stock()

    def conclude(self, live: LiveRun) -> None:
        """Wait for the end of a run that nothing stops; its exit code must be that of what it says."""
        code = self.ended(live)
        unfinished = re.search("^failed: |^lost: |not finished, because", live.text(), re.MULTILINE)
        gave_up = "a worker process ends as soon as it is started" in live.text()  # each new one was killed at once
        if code != (cli.MISTAKE if gave_up else int(bool(unfinished))):
            raise Failure(f"exit code {code} though {unfinished and unfinished[0]!r}, see {live.log}")

    def ended(self, live: LiveRun) -> int:
        """Wait for the end of a run; returns its exit code."""
        self.reach(live, lambda: not live.processes(), "there are processes still")
        if "Traceback" in live.text():
            raise Failure(f"a traceback, see {live.log}")
        if re.search("worker process (was killed by SIGTERM|ended by itself)", live.text()):
            raise Failure(f"a worker that was asked to stop failed its trial, see {live.log}")
        self.started.remove(live)
        return live.process.wait()

    def take_stock(self) -> None:
        """Note which trials are finished, and whether any that were before are no more."""
        sound = {job for job in self.jobs if self.is_sound(job)}
        for cell, number in self.finished - sound - self.harmed:
            self.lost.append(f"{cell.name} trial {number}")
        self.finished = sound

    def is_sound(self, job: Job) -> bool:
        cell, number = job
        if number not in self.study.store.done_trials(cell):
            return False
        try:
            record = self.study.store.read_record(cell, number)
            self.study.store.read_predictions(cell, number, record["predictions_sha256"])
        except Damaged:
            return False
        return True

    # ------------------------------------------------ rounds

    def findings(self) -> list[tuple[str, str]]:
        return list(verify(self.study, self.jobs))

    def complete(self) -> bool:
        return not pending_jobs(self.study, self.jobs)

    def close_round(self) -> None:
        """Bring the study to its end undisturbed, repair what was damaged, and compare."""
        self.settle()
        for _ in range(ATTEMPTS):
            if not self.complete():
                self.current = self.start()
                self.settle()
            elif damage := [what for kind, what in self.findings() if kind == "damaged"]:
                self.repair(damage)
            else:
                break
        else:
            raise Failure(f"the study is not complete and sound after {ATTEMPTS} more runs: {self.findings()}")
        check = run(self.folder, *GRID, "--verify")
        if check.returncode or check.stderr:
            raise Failure(f"--verify: {check.stdout}{check.stderr}")
        found = differing(self.undisturbed, self.folder)
        self.differing += found
        if not found and not self.lost:
            self.survived += self.in_round
        self.n_rounds += 1
        self.in_round.clear()
        self.finished, self.harmed = set(), set()
        for part in ("results", "checkpoints"):
            shutil.rmtree(self.folder / part)

    def repair(self, damage: list[str]) -> None:
        """Remove the records of the trials whose damage --verify names, so that they are trained again."""
        store = self.study.store
        for job in self.harmed:
            paths = [store.record_path(*job), store.predictions_path(*job), store.checkpoint_path(*job)]
            if any(str(path) in what for path in paths for what in damage):
                store.record_path(*job).unlink(missing_ok=True)

    def end(self) -> None:
        """Leave no process behind."""
        for live in self.started:
            if live.processes():
                os.killpg(live.process.pid, signal.SIGKILL)


def make_undisturbed(folder: Path) -> Path:
    """The study to compare with; returns ``folder``."""
    done = run(folder, *GRID, "--workers", "2")
    if done.returncode or done.stderr:
        raise Failure(f"the undisturbed run: {done.stdout}{done.stderr}")
    return folder


def begun(log: Path) -> Path:
    """The file that a run writes once it trains."""
    return log.with_suffix(".begun")


def is_reported(live: LiveRun, text: str) -> bool:
    return text in live.text() or not live.alive
