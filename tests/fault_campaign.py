"""Disturbs a small study in every way, then compares it with an undisturbed one; run by hand:

    python tests/fault_campaign.py [--faults N] [--seed S] [--out FILE] [--keep]

Each round is one study: faults are injected into its runs, and between them, until it is complete; then every result
must be that of the undisturbed study to the bit, but for times. A fault counts only if it is known to have happened.
Needs Linux; filling the disk also needs the right to mount a small tmpfs, and is left out without it.
"""

import argparse
import errno
import os
import random
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

from disturbed import Disturbed, Failure, is_reported, make_undisturbed  # noqa: E402
from patience import process_state  # noqa: E402

from study import cli  # noqa: E402
from study.files import ROOT, write_json  # noqa: E402
from study.plan import Job  # noqa: E402

FIGURES = ROOT / "benchmarks" / "results" / "faults.json"
TMPFS_SIZE = "24m"
LEFT_ON_DISK = (0, 2**14, 2**18)  # bytes that still fit on a disk when it is filled
NO_SPACE = "No space left on device"
KILLED_IN_BOTH = 6  # workers killed while two runners are on one study
KILLS = 4  # how often each fault that ends a worker or the runner comes while each of the others comes once


class Campaign(Disturbed):
    """The faults: methods that return whether what they are named for happened."""

    def __init__(
        self, folder: Path, undisturbed: Path, logs: Path, seed: int, own_disk: bool = False, early: float = 0.5
    ):
        super().__init__(folder, undisturbed, logs, seed, early)
        self.faults: dict[str, Callable[[], bool]] = {
            "worker killed (SIGKILL)": lambda: self.end_worker(signal.SIGKILL),
            "worker asked to stop (SIGTERM)": lambda: self.end_worker(signal.SIGTERM),
            "fork server killed (SIGKILL)": self.kill_server,
            "runner killed (SIGKILL)": self.kill_runner,
            "two runners, workers of both killed again and again": self.kill_in_both,
            "runner asked to stop (SIGTERM)": lambda: self.stop(signal.SIGTERM),
            "all interrupted (SIGINT, as Ctrl-C)": lambda: self.stop(signal.SIGINT),
            "worker frozen for a while": self.freeze_worker,
            "worker frozen, runner asked to stop twice": self.stop_frozen,
            "second runner started": self.start_second,
            "four shards at once": self.run_shards,
            "other clock, hash seed, threads and folder": self.run_elsewhere,
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

    def inject(self, kind: str) -> bool:
        if self.current is None and self.complete():
            self.close_round()
        happened = self.faults[kind]()
        if happened:
            self.injected[kind] += 1
            self.in_round[kind] += 1
        return happened

    # ------------------------------------------------ faults while a study runs

    def end_worker(self, number: signal.Signals) -> bool:
        struck = self.strike(number)
        if struck is None:
            return False
        live, victim = struck
        self.reach(live, lambda: has_ended(victim), f"worker {victim} outlived {number.name}")
        return True

    def freeze_worker(self) -> bool:
        """As where a file server does not answer for a while: nothing is lost, and nothing fails."""
        struck = self.strike(signal.SIGSTOP)
        if struck is None:
            return False
        live, victim = struck
        self.pause(live, 3)
        os.kill(victim, signal.SIGCONT)
        return True

    def stop_frozen(self) -> bool:
        """As where a file server is gone: the first signal waits for the frozen worker, the second does not."""
        struck = self.strike(signal.SIGSTOP)
        if struck is None:
            return False
        live, _ = struck
        live.process.send_signal(signal.SIGTERM)
        self.reach(
            live, lambda: is_reported(live, "a second Ctrl-C or kill ends the run at once"), "no answer to SIGTERM"
        )
        time.sleep(1.2 * cli.ONE_WISH)
        if not live.alive:
            raise Failure(f"the run ended though a worker of it was frozen, see {live.log}")
        live.process.send_signal(signal.SIGTERM)
        code = self.ended(live)
        self.current = None
        self.take_stock()
        if code != 128 + signal.SIGINT:
            raise Failure(f"exit code {code} after a second SIGTERM, see {live.log}")
        return True

    def kill_server(self) -> bool:
        live = self.live()
        server = live and live.server()
        if server is None:
            return False
        os.kill(server, signal.SIGKILL)
        self.reach(live, lambda: has_ended(server), f"fork server {server} outlived SIGKILL")
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

    def interrupt(self) -> None:
        """Let no run be going on."""
        if self.current is not None:
            self.stop(signal.SIGTERM)

    def start_second(self) -> bool:
        first = self.live()
        if first is None:
            return False
        second = self.start()
        self.reach_workers(second)
        together = first.alive and second.alive
        self.ended(second)
        self.settle()
        return together

    def kill_in_both(self) -> bool:
        """Two runners on one study, and again and again a worker of one of them is killed."""
        first = self.live()
        if first is None:
            return False
        second, killed = self.start(), Counter[int]()
        self.reach_workers(second)
        while killed.total() < KILLED_IN_BOTH and first.alive and second.alive:
            which = self.random.choice((first, second))
            if victims := which.workers():
                os.kill(self.random.choice(victims), signal.SIGKILL)
                killed[which.process.pid] += 1
            self.pause(which, 1)
        self.conclude(second)
        self.settle()
        return len(killed) == 2

    def run_shards(self) -> bool:
        """The study in four parts at once."""
        self.interrupt()
        shards = [self.start("--shard", f"{index}/4") for index in range(1, 5)]
        for live in shards:
            self.reach_workers(live)
        together = sum(bool(live.workers()) for live in shards)
        for live in shards:
            self.conclude(live)
        self.take_stock()
        return together > 1

    def run_elsewhere(self) -> bool:
        """A part of the study under another clock, hash seed and number of threads, in another folder."""
        self.interrupt()
        changes = {
            "TEST_CLOCK": self.random.choice(("ten years back", "backwards")),
            "PYTHONHASHSEED": str(self.random.randrange(1, 1000)),
            "OMP_NUM_THREADS": str(self.random.randrange(2, 9)),
            "MKL_NUM_THREADS": str(self.random.randrange(2, 9)),
        }
        live = self.current = self.start(env=os.environ | changes, cwd=self.logs)
        self.reach(live, lambda: is_reported(live, "  step "), "no step")
        happened = "  step " in live.text()
        self.pause(live, 3)
        if live.alive and self.random.random() < 0.5:
            self.stop(signal.SIGTERM)
        else:
            self.settle()
        return happened

    def fill_disk(self) -> bool:
        live = self.live()
        if live is None:
            return False
        filler, left = self.folder / "filler", self.random.choice(LEFT_ON_DISK)
        try:
            with filler.open("wb", buffering=0) as file:
                fill(file)
                file.truncate(max(0, file.tell() - left))
                self.reach(
                    live, lambda: is_reported(live, NO_SPACE) or (not left and fill(file)), "a full disk is not said"
                )
        finally:
            filler.unlink()
        return NO_SPACE in live.text()

    def forbid_writing(self) -> bool:
        live = self.live()
        if live is None:
            return False
        folders = [self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        try:
            self.reach(live, lambda: is_reported(live, "Permission denied"), "nothing forbidden is said")
        finally:
            for folder in folders:
                folder.chmod(0o700)
        return "Permission denied" in live.text()

    # ------------------------------------------------ faults between runs

    def damage(self, pattern: str, harm: Callable[[bytes, random.Random], bytes]) -> bool:
        """Harm one of the files; the check of the study must name those that belong to a finished trial."""
        self.interrupt()
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


def fill(file) -> None:
    """Write zeros until nothing more fits on the disk."""
    try:
        while file.write(bytes(2**12)):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def has_ended(pid: int) -> bool:
    return process_state(pid)["state"] == "Z"


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


def is_kill(kind: str) -> bool:
    """Whether this fault ends a worker or the runner by a signal."""
    return "(SIG" in kind


def bag(kinds: Iterable[str], source: random.Random) -> Iterator[str]:
    """All kinds in random order, kills more often than the others, again and again."""
    kinds = [kind for kind in kinds for _ in range(KILLS if is_kill(kind) else 1)]
    while True:
        yield from source.sample(kinds, len(kinds))


def figures(campaign: Campaign, failure: Failure | None) -> dict:
    """What became of the faults of the studies that were brought to their end."""
    injected = campaign.injected - campaign.in_round
    return {
        "faults": injected.total(),
        "kills": sum(count for kind, count in injected.items() if is_kill(kind)),
        "studies": campaign.n_rounds,
        "runs": campaign.n_runs,
        "survived": campaign.survived.total(),
        "lost": campaign.lost,
        "differing": campaign.differing,
        "failure": failure and str(failure).replace(f"{campaign.folder.parent}/", ""),
        "kinds": {kind: injected[kind] for kind in campaign.faults},
    }


def report(found: dict) -> str:
    width = max(map(len, found["kinds"]))
    return "\n".join(
        [
            *(f"{kind:{width}}  {count:4}" for kind, count in found["kinds"].items()),
            f"{found['faults']} faults injected ({found['kills']} of them kills) in {found['studies']} studies and "
            f"{found['runs']} runs, {found['survived']} survived; {len(found['lost'])} records lost, "
            f"{len(found['differing'])} results differ",
            *found["lost"],
            *found["differing"],
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=160, metavar="N", help="how many to inject (default: 160)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places (default: 0)")
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="FILE", help=f"default: {FIGURES}")
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
                    write_json(args.out, figures(campaign, None))
                    print(f"{time.monotonic() - begin:6.0f} s  {campaign.injected.total():4}  {kind}", flush=True)
            campaign.close_round()
            failure = None
        except Failure as error:
            failure = error
        finally:
            campaign.end()
        write_json(args.out, figures(campaign, failure))
        print(report(figures(campaign, failure)))
    if failure:
        print(f"FAILURE: {failure}")
    if args.keep or failure:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(failure or campaign.lost or campaign.differing))


if __name__ == "__main__":
    sys.exit(main())
