"""Disturbs a small study in every way, then compares it with an undisturbed one; run by hand:

    python tests/fault_campaign.py [--faults N] [--seed S] [--keep]

Each round is one study: faults are injected into its runs, and between them, until it is complete; then every result
must be that of the undisturbed study to the bit, but for times. A fault counts only if it is known to have happened.
Needs Linux; filling the disk also needs the right to mount a small tmpfs, and is left out without it.
"""

import argparse
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from runs import GRID, LiveRun, differing, grid_jobs, process_state, run, study_in, wait_until  # noqa: E402

from runner.verify import verify  # noqa: E402
from study.files import Damaged  # noqa: E402
from study.plan import Job, pending_jobs  # noqa: E402

STARTUP = 300  # seconds at most until workers are there
PATIENCE = 300  # seconds at most for a run to end once it has a reason to
ATTEMPTS = 5  # undisturbed starts within which a disturbed study must become complete
TMPFS_SIZE = "24m"
KILLS = 4  # how often each fault that ends a worker or the runner comes while each of the others comes once


class Failure(Exception):
    """The runner did not behave as it should."""


class Campaign:
    """Faults, the study that they are injected into (in ``folder``), and what became of it.

    A fault is a method that returns whether it happened. ``undisturbed`` is the folder to compare with.
    """

    def __init__(
        self,
        folder: Path,
        undisturbed: Path,
        logs: Path,
        seed: int,
        own_disk: bool = False,
        early: float = 0.5,
    ):
        self.folder, self.undisturbed, self.logs = folder, undisturbed, logs
        self.random = random.Random(seed)
        self.early = early  # share of the faults that may come before a run's training begins
        self.study = study_in(folder)
        self.jobs = grid_jobs(self.study)
        self.current: LiveRun | None = None
        self.n_runs = self.n_rounds = 0
        self.injected, self.survived = Counter(), Counter()
        self.in_round: Counter = Counter()
        self.finished: set[Job] = set()  # trials seen with a sound record
        self.harmed: set[Job] = set()  # trials whose files were damaged on purpose
        self.lost: list[str] = []
        self.differing: list[str] = []
        self.faults: dict[str, Callable[[], bool]] = {
            "worker killed (SIGKILL)": lambda: self.end_worker(signal.SIGKILL),
            "worker asked to stop (SIGTERM)": lambda: self.end_worker(signal.SIGTERM),
            "fork server killed (SIGKILL)": self.kill_server,
            "runner killed (SIGKILL)": self.kill_runner,
            "runner asked to stop (SIGTERM)": lambda: self.stop(signal.SIGTERM),
            "all interrupted (SIGINT, as Ctrl-C)": lambda: self.stop(signal.SIGINT),
            "second runner started": self.start_second,
            "record truncated": lambda: self.damage("results/trials/*/*.json", truncate),
            "record: bit flipped": lambda: self.damage("results/trials/*/*.json", flip),
            "predictions truncated": lambda: self.damage("results/trials/*/*.npz", truncate),
            "predictions: bit flipped": lambda: self.damage("results/trials/*/*.npz", flip),
            "checkpoint truncated": lambda: self.damage("checkpoints/*/*.pt", truncate),
            "checkpoint: bit flipped": lambda: self.damage("checkpoints/*/*.pt", flip),
        }
        if os.geteuid() != 0 or shutil.which("setpriv"):
            self.faults["write permission taken away"] = self.forbid_writing
        if own_disk:
            self.faults["disk filled"] = self.fill_disk

    # ------------------------------------------------ runs

    def start(self) -> LiveRun:
        # Root may write anywhere, unless it gives that up.
        prefix = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 and shutil.which("setpriv") else ()
        self.n_runs += 1
        return LiveRun(self.folder, self.logs / f"run_{self.n_runs:03}.log", *GRID, "--workers", "2", prefix=prefix)

    def live(self) -> LiveRun | None:
        """A run with workers, at a random moment; None if it has come to its end by then."""
        live = self.current = self.current or self.start()
        if not wait_until(lambda: live.workers() or not live.alive, STARTUP):
            raise Failure(f"no worker after {STARTUP} s, see {live.log}")
        if self.random.random() >= self.early:
            wait_until(lambda: is_reported(live, "  step "), STARTUP)
        wait_until(lambda: not live.alive, self.random.uniform(0, 3))
        if live.workers() and not live.concluded:
            return live
        self.settle()
        return None

    def settle(self) -> None:
        """Let the run that is going on, if there is one, come to its end."""
        if self.current is not None:
            code = self.ended(self.current)
            unfinished = re.search("^failed: |^lost: |not finished, because", self.current.text(), re.MULTILINE)
            if code != int(bool(unfinished)):
                raise Failure(f"exit code {code} though {unfinished and unfinished[0]!r}, see {self.current.log}")
            self.current = None
            self.take_stock()

    def ended(self, live: LiveRun) -> int:
        """Wait for the end of a run; returns its exit code."""
        if not wait_until(lambda: not live.processes(), PATIENCE):
            raise Failure(f"{live.processes()} still there after {PATIENCE} s, see {live.log}")
        if "Traceback" in live.text():
            raise Failure(f"a traceback, see {live.log}")
        if re.search("worker process (was killed by SIGTERM|ended by itself)", live.text()):
            raise Failure(f"a worker that was asked to stop failed its trial, see {live.log}")
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

    # ------------------------------------------------ faults while a study runs

    def end_worker(self, number: signal.Signals) -> bool:
        live = self.live()
        if live is None:
            return False
        victim = self.random.choice(live.workers())
        os.kill(victim, number)
        if not wait_until(lambda: process_state(victim)["state"] == "Z", PATIENCE):
            raise Failure(f"worker {victim} outlived {number.name}, see {live.log}")
        return True

    def kill_server(self) -> bool:
        live = self.live()
        server = live and live.server()
        if server is None:
            return False
        os.kill(server, signal.SIGKILL)
        if not wait_until(lambda: live.server() != server, PATIENCE):
            raise Failure(f"fork server {server} outlived SIGKILL, see {live.log}")
        return True

    def kill_runner(self) -> bool:
        live = self.live()
        if live is None:
            return False
        live.process.kill()
        if live.process.wait() != -signal.SIGKILL:
            return False
        self.current = None
        if self.random.random() < 0.5:  # the next run meets the workers of this one
            self.current = self.start()
        self.ended(live)
        return True

    def stop(self, number: signal.Signals) -> bool:
        live = self.live()
        if live is None:
            return False
        send = os.killpg if number == signal.SIGINT else os.kill
        send(live.process.pid, number)
        code = self.ended(live)
        self.current = None
        self.take_stock()
        if live.concluded:  # its end came first
            return False
        if code != 128 + number or "the same command goes on from there" not in live.text():
            raise Failure(f"{number.name}: exit code {code}, or no line that says how to continue, see {live.log}")
        return True

    def start_second(self) -> bool:
        first = self.live()
        if first is None:
            return False
        second = self.start()
        together = wait_until(lambda: second.workers() or not second.alive, STARTUP) and first.alive and second.alive
        self.ended(second)
        self.settle()
        return together

    def fill_disk(self) -> bool:
        live = self.live()
        if live is None:
            return False
        filler = self.folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                felt = wait_until(lambda: full(file) and is_reported(live, "No space left on device"), PATIENCE)
        finally:
            filler.unlink()
        return felt and "No space left on device" in live.text()

    def forbid_writing(self) -> bool:
        live = self.live()
        if live is None:
            return False
        folders = [self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        try:
            wait_until(lambda: is_reported(live, "Permission denied"), PATIENCE)
        finally:
            for folder in folders:
                folder.chmod(0o700)
        return "Permission denied" in live.text()

    # ------------------------------------------------ faults between runs

    def damage(self, pattern: str, harm: Callable[[bytes, random.Random], bytes]) -> bool:
        """Harm one of the files; the check of the study must name those that belong to a finished trial."""
        if self.current is not None:
            self.stop(signal.SIGTERM)
        choice = [path for path in sorted(self.folder.glob(pattern)) if self.job_of(path) not in self.harmed]
        if not choice:
            self.live()  # so that there is one the next time
            return False
        path = self.random.choice(choice)
        job = self.job_of(path)
        was_finished = job in self.finished
        sound = path.read_bytes()
        path.write_bytes(harm(sound, self.random))
        self.harmed.add(job)
        if was_finished and not any(kind == "damaged" and str(path) in what for kind, what in self.findings()):
            raise Failure(f"{path} was damaged, and --verify does not say so")
        return True

    def job_of(self, path: Path) -> Job:
        number = int(path.stem.removeprefix("trial_"))
        return next(job for job in self.jobs if job[0].name == path.parent.name and job[1] == number)

    def findings(self) -> list[tuple[str, str]]:
        return list(verify(self.study, self.jobs))

    # ------------------------------------------------ a round

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

    def inject(self, kind: str) -> bool:
        if self.current is None and self.complete():
            self.close_round()
        happened = self.faults[kind]()
        if happened:
            self.injected[kind] += 1
            self.in_round[kind] += 1
        return happened

    def end(self) -> None:
        """Leave no process behind."""
        if self.current is not None and self.current.alive:
            os.killpg(self.current.process.pid, signal.SIGKILL)


def full(file) -> bool:
    """Whether nothing more fits on the disk that ``file`` lies on, which is filled up to there."""
    try:
        while file.write(bytes(2**16)):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return os.statvfs(file.fileno()).f_bavail == 0


def is_reported(live: LiveRun, text: str) -> bool:
    return text in live.text() or not live.alive


def truncate(content: bytes, source: random.Random) -> bytes:
    return content[: source.randrange(len(content))]


def flip(content: bytes, source: random.Random) -> bytes:
    place, bit = source.randrange(len(content)), source.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


# ---------------------------------------------------------------- command


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Inside, ``folder`` is a small disk of its own if that is possible here; yields whether it is."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_SIZE}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_undisturbed(folder: Path) -> Path:
    """The study to compare with; returns ``folder``."""
    done = run(folder, *GRID, "--workers", "2")
    if done.returncode or done.stderr:
        raise Failure(f"the undisturbed run: {done.stdout}{done.stderr}")
    return folder


def is_kill(kind: str) -> bool:
    """Whether this fault ends a worker or the runner by a signal."""
    return "(SIG" in kind


def bag(kinds: Iterable[str], source: random.Random) -> Iterator[str]:
    """All kinds in random order, kills more often than the others, again and again."""
    kinds = [kind for kind in kinds for _ in range(KILLS if is_kill(kind) else 1)]
    while True:
        yield from source.sample(kinds, len(kinds))


def report(campaign: Campaign, seconds: float) -> str:
    width = max(map(len, campaign.faults))
    kills = sum(count for kind, count in campaign.injected.items() if is_kill(kind))
    lines = [f"{kind:{width}}  {campaign.injected[kind]:4}" for kind in campaign.faults]
    return "\n".join(
        [
            *lines,
            f"{campaign.injected.total()} faults injected ({kills} of them kills) in {campaign.n_rounds} studies and "
            f"{campaign.n_runs} runs, "
            f"{campaign.survived.total()} survived; {len(campaign.lost)} records lost, "
            f"{len(campaign.differing)} results differ; {seconds:.0f} s",
            *campaign.lost,
            *campaign.differing,
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=160, metavar="N", help="how many to inject (default: 160)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places (default: 0)")
    parser.add_argument("--keep", action="store_true", help="keep the logs and the undisturbed study")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fault_campaign_"))
    logs = folder / "logs"
    logs.mkdir()
    begin = time.monotonic()
    undisturbed = make_undisturbed(folder / "undisturbed")
    with small_disk(folder / "disturbed") as own_disk:
        campaign = Campaign(folder / "disturbed", undisturbed, logs, args.seed, own_disk)
        if not own_disk:
            print("left out: filling the disk (no tmpfs can be mounted here)")
        try:
            for kind in bag(campaign.faults, campaign.random):
                if campaign.injected.total() >= args.faults:
                    break
                if campaign.inject(kind):
                    print(f"{time.monotonic() - begin:6.0f} s  {campaign.injected.total():4}  {kind}", flush=True)
            campaign.close_round()
            failure = None
        except Failure as error:
            failure = error
        finally:
            campaign.end()
        print(report(campaign, time.monotonic() - begin))
    if failure:
        print(f"FAILURE: {failure}")
    if args.keep or failure:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(failure or campaign.lost or campaign.differing))


if __name__ == "__main__":
    sys.exit(main())
