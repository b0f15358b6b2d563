"""How a run goes: a bar in a terminal, a line per evaluation in a log."""

import sys
import time
from datetime import timedelta

from tqdm import tqdm

from runner.workers import Event
from study import cli
from study.plan import Job, Study

# ---------------------------------------------------------------- progress


class Progress:
    """Tells how a run goes: a bar in a terminal, a line per evaluation in a log."""

    def __init__(self, study: Study, jobs: list[Job], pending: list[Job]):
        self.config = study.config
        self.n_jobs, self.n_steps = len(jobs), len(pending) * study.config.iterations
        self.done = set(jobs) - set(pending)
        self.outcomes: dict[Job, Event] = {}
        self.steps: dict[Job, int] = {}  # where each trial of this run stands
        self.resumed: dict[Job, int] = {}  # where it stood when this run took it up
        self.start = time.monotonic()
        in_terminal = sys.stdout.isatty()
        self.bar = tqdm(total=self.n_steps, unit="step", disable=not in_terminal, file=sys.stdout, smoothing=0.02)

    def hear(self, event: Event) -> None:
        if event.kind == "progress":
            self._advance(event.job, event.detail["step"], resumed="note" in event.detail)
            self._tell(event.job, event.detail)
            return
        self.outcomes[event.job] = event
        if event.kind == "done":
            self._advance(event.job, self.config.iterations)
            self.done.add(event.job)
            self._say(event.job, event.detail)
        elif event.kind == "failed":
            self._say(event.job, f"FAILED: {event.detail.strip().splitlines()[-1]}")

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.outcomes.values() if event.kind == kind]

    def _advance(self, job: Job, step: int, resumed: bool = False) -> None:
        self.bar.update(step - self.steps.get(job, 0))
        self.steps[job] = step
        if resumed:
            self.resumed[job] = step

    def _tell(self, job: Job, progress: dict) -> None:
        if "note" in progress:
            self._say(job, progress["note"])
        elif "val_loss" in progress and self.bar.disable:
            losses = "train loss {train_loss:.4f}  val loss {val_loss:.4f}".format(**progress)
            self._say(job, f"step {progress['step']}/{self.config.iterations}  {losses}")

    def _say(self, job: Job, text: str) -> None:
        cell, number = job
        text = f"{cell.model} {cell.activation} trial {number}/{self.config.n_trials}  {text}"
        if not self.bar.disable:
            self.bar.write(text)
            return
        state = f"{len(self.done)} of {self.n_jobs} trials done, {self._left()}"
        cli.say(f"[{clock(time.monotonic() - self.start)}]  {text}  |  {state}")

    def _left(self) -> str:
        taken = sum(self.steps.values())
        ran = taken - sum(self.resumed.values())
        if not ran:
            return "time left unknown yet"
        return f"about {clock((time.monotonic() - self.start) / ran * (self.n_steps - taken))} left"


def clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0, seconds))))
