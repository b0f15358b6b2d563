"""How a run goes: a bar in a terminal, a line per evaluation in a log."""

import sys
import time
from datetime import timedelta

from tqdm import tqdm

from labels import counted
from runner.workers import Event
from study import cli
from study.plan import Job, Plan, Study


class Progress:
    """Keeps account of a run's trials, and reports on each event."""

    def __init__(self, study: Study, plan: Plan):
        self.config = study.config
        self.n_jobs, self.n_steps = len(plan.jobs), len(plan.pending) * study.config.iterations
        self.done = set(plan.jobs) - set(plan.pending)
        self.outcomes: dict[Job, Event] = {}
        self.steps: dict[Job, int] = {}  # the last step that each trial of this run has reported
        self.resumed: dict[Job, int] = {}  # the step from which this run continued it
        self.start = time.monotonic()
        in_terminal = sys.stdout.isatty()
        self.bar = tqdm(total=self.n_steps, unit="step", disable=not in_terminal, file=sys.stdout, smoothing=0.02)

    def on_event(self, event: Event) -> None:
        """Record and report what a worker says about its job."""
        if event.kind == "progress":
            self.outcomes.pop(event.job, None)  # another run had it, and left it
            self._advance(event.job, event.progress["step"], event.progress.get("resumed", False))
            self._report_progress(event.job, event.progress)
            return
        self.outcomes[event.job] = event
        if event.kind == "done":
            self._advance(event.job, self.config.iterations, resumed=False)
            self.done.add(event.job)
            self._say(event.job, event.detail)
        elif event.kind == "failed":
            self._say(event.job, f"FAILED: {event.detail.strip().splitlines()[-1]}")

    def of_kind(self, kind: str) -> list[Event]:
        """The outcomes of one kind, such as "failed"."""
        return [event for event in self.outcomes.values() if event.kind == kind]

    def _advance(self, job: Job, step: int, resumed: bool) -> None:
        self.bar.update(step - self.steps.get(job, 0))
        self.steps[job] = step
        if resumed:
            self.resumed[job] = step

    def _report_progress(self, job: Job, progress: dict) -> None:
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
        state = f"{len(self.done)} of {counted(self.n_jobs, 'trial')} done, {self._left()}"
        cli.say(f"[{clock(time.monotonic() - self.start)}]  {text}  |  {state}")

    def _left(self) -> str:
        """The time left, at the pace of the steps that this run has made itself; unknown while these are few, as
        starting up would weigh too much in it."""
        taken = sum(self.steps.values())
        ran = taken - sum(self.resumed.values())
        if ran < self.config.iterations / 20:
            return "time left unknown yet"
        to_make = self.n_steps - self.config.iterations * len(self.of_kind("busy"))  # those another run makes
        return f"about {clock((time.monotonic() - self.start) / ran * (to_make - taken))} left"


def clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0, seconds))))
