"""Runs a study: finds which of its trials are pending and trains them on a pool of worker processes.

Running again continues: what is done is kept, what is missing or was cut off is run.
"""

import argparse
import os
import signal
import sys
import time
from datetime import timedelta

import torch
from tqdm import tqdm

import cli
from activations import ACTIVATIONS
from model import ARCHITECTURES
from storage import Cell, UserError, check_writable, read_corpus, write_bytes
from study import Study, add_study_options, study_from
from train import check_cell, check_names
from workers import Event, Job, run_jobs

FAILED, MISTAKE = 1, 2


# ---------------------------------------------------------------- the plan


def planned_jobs(study: Study, models: list[str], activations: list[str]) -> list[Job]:
    """Every trial of the study, cell by cell, so that cells complete early."""
    return [
        (study.cell(model, activation), number)
        for model in models
        for activation in activations
        for number in range(1, study.config.n_trials + 1)
    ]


def pending_jobs(study: Study, jobs: list[Job]) -> list[Job]:
    """Those of ``jobs`` without a finished trial on the disk, in the same order."""
    done = {cell: study.store.done_trials(cell) for cell in dict.fromkeys(cell for cell, _ in jobs)}
    return [(cell, number) for cell, number in jobs if number not in done[cell]]


def describe_plan(study: Study, jobs: list[Job], pending: list[Job]) -> str:
    """One line a cell: which of its trials are done and which pending."""
    waiting = set(pending)
    numbers: dict[Cell, dict[bool, list[int]]] = {}
    for cell, number in jobs:
        numbers.setdefault(cell, {False: [], True: []})[(cell, number) in waiting].append(number)
    width = max(len(cell.name) for cell in numbers)
    return "\n".join(
        f"{cell.name:{width}}  done: {listed(split[False])}  pending: {listed(split[True])}"
        for cell, split in numbers.items()
    )


def listed(numbers: list[int]) -> str:
    return " ".join(map(str, numbers)) or "-"


# ---------------------------------------------------------------- progress


class Progress:
    """Tells how a run goes: a bar in a terminal, a line per evaluation in a log."""

    def __init__(self, study: Study, n_jobs: int, n_done: int):
        self.config = study.config
        self.n_jobs, self.n_done, self.n_kept = n_jobs, n_done, n_done
        self.outcomes: dict[Job, Event] = {}
        self.steps: dict[Job, int] = {}
        self.steps_before: dict[Job, int] = {}
        self.start = time.monotonic()
        remaining = (n_jobs - n_done) * self.config.iterations
        self.bar = tqdm(
            total=remaining, unit="step", disable=not sys.stdout.isatty(), file=sys.stdout, smoothing=0.02
        )

    def hear(self, event: Event) -> None:
        if event.kind == "progress":
            self._step(event)
        else:
            self.outcomes[event.job] = event
            self.n_done += event.kind == "done"
            if event.kind == "failed":
                self.say(f"{self._name(event.job)}  FAILED: {event.detail.strip().splitlines()[-1]}")

    def _step(self, event: Event) -> None:
        progress = event.detail
        if event.job not in self.steps:
            self.steps_before[event.job] = self.steps[event.job] = 0
        if "note" in progress:
            self.steps_before[event.job] = progress["step"]
            self.say(f"{self._name(event.job)}  {progress['note']}")
        self.bar.update(progress["step"] - self.steps[event.job])
        self.steps[event.job] = progress["step"]
        if "val_loss" in progress:
            losses = "train loss {train_loss:.4f}  val loss {val_loss:.4f}".format(**progress)
            step = f"step {progress['step']}/{self.config.iterations}"
            self.say(f"{self._name(event.job)}  {step}  {losses}", bar=False)

    def _name(self, job: Job) -> str:
        cell, number = job
        return f"{cell.model} {cell.activation} trial {number}/{self.config.n_trials}"

    def say(self, text: str, bar: bool = True) -> None:
        """Print a line; with ``bar`` False only where there is no progress bar to show the same."""
        if not self.bar.disable:
            if bar:
                self.bar.write(text)
            return
        done = f"{self.n_done} of {self.n_jobs} trials done"
        print(f"[{clock(time.monotonic() - self.start)}]  {text}  |  {done}, {self._left()}", flush=True)

    def _left(self) -> str:
        ran = sum(self.steps.values()) - sum(self.steps_before.values())
        if not ran:
            return "time left unknown yet"
        remaining = (self.n_jobs - self.n_kept) * self.config.iterations - sum(self.steps.values())
        return f"about {clock((time.monotonic() - self.start) / ran * remaining)} left"

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.outcomes.values() if event.kind == kind]


def clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0, seconds))))


# ---------------------------------------------------------------- the run


def run_study(study: Study, jobs: list[Job], pending: list[Job], n_workers: int) -> int:
    """Train ``pending``, tell how it goes and how it ended; returns the exit code."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received_number, _: received.append(received_number))
    progress = Progress(study, len(jobs), len(jobs) - len(pending))

    def hear(event: Event) -> None:
        progress.hear(event)
        keep_error(study, event)

    run_jobs(study, pending, n_workers, hear, lambda: bool(received))
    progress.bar.close()
    if received:
        print("stopped; what was trained is saved, and the same command goes on from there")
        return 128 + received[0]
    return conclude(study, progress)


def keep_error(study: Study, event: Event) -> None:
    """Keep the text of a failed trial's error beside its record; take it away once the trial is done."""
    path = study.store.error_path(*event.job)
    if event.kind == "failed":
        try:
            write_bytes(path, event.detail.encode())
        except OSError as error:
            print(f"cannot keep the error in {path}: {error.strerror}", file=sys.stderr)
    elif event.kind == "done":
        path.unlink(missing_ok=True)


def conclude(study: Study, progress: Progress) -> int:
    """Say how the run ended; returns the exit code."""
    failed, busy = progress.of_kind("failed"), progress.of_kind("busy")
    diverged = sum(event.detail == "diverged" for event in progress.of_kind("done"))
    print(
        f"{progress.n_done} of {progress.n_jobs} trials done, {diverged} of them diverged now, "
        f"{len(failed)} failed, in {clock(time.monotonic() - progress.start)}"
    )
    if busy:
        print(f"{len(busy)} trials were left to another run that has them in work")
    for event in failed:
        cell, number = event.job
        print(f"failed: {cell.name} trial {number}, see {study.store.error_path(cell, number)}")
    return FAILED if failed else 0


# ---------------------------------------------------------------- command


def names_from(chosen: list[str], default: tuple[str, ...]) -> list[str]:
    """The names asked for, separated by spaces or commas; "all" stands for those of the study."""
    names = [name for part in chosen for name in part.split(",") if name]
    return list(dict.fromkeys(n for name in names for n in (default if name == "all" else [name])))


def workers_for(device: str) -> int:
    """One worker for each core on the CPU, for each GPU with CUDA."""
    if device == "cuda":
        return torch.cuda.device_count()
    if device == "mps":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog="run_all_experiments.py",
        description="Train every pending trial of a study. Running again continues where it stopped.",
    )
    all_models = f"all, or some of: {', '.join(ARCHITECTURES)}"
    all_activations = f"all (those of the study), or some of: {', '.join(ACTIVATIONS)}"
    parser.add_argument("--models", nargs="+", default=["all"], metavar="NAME", help=all_models)
    parser.add_argument("--activations", nargs="+", default=["all"], metavar="NAME", help=all_activations)
    add_study_options(parser)
    parser.add_argument(
        "--workers", type=cli.positive_int, metavar="W", help="processes (default: one per core, or one per GPU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what is done and what is pending, and stop")
    parser.add_argument("--analyze", action="store_true", help="print the tables and draw the figures at the end")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    study = study_from(args)
    models = names_from(args.models, study.config.models)
    activations = names_from(args.activations, study.config.activations)
    check_names(models, activations)
    jobs = planned_jobs(study, models, activations)
    for cell in dict.fromkeys(cell for cell, _ in jobs):
        check_cell(study, cell)
    pending = pending_jobs(study, jobs)
    n_workers = args.workers or workers_for(study.device)
    print(announce(study, len(jobs), len(pending), n_workers, args.config), flush=True)
    if args.dry_run:
        print(describe_plan(study, jobs, pending))
        return 0
    read_corpus()
    for folder in (study.store.results, study.store.checkpoints):
        check_writable(folder)
    code = run_study(study, jobs, pending, n_workers)
    if args.analyze and code in (0, FAILED):
        import analyze_results  # here, because it loads the plotting library

        options = ["--study", study.config.study, "--results-dir", str(study.store.results)]
        code = analyze_results.main(options) or code
    return code


def announce(study: Study, n_jobs: int, n_pending: int, n_workers: int, choice: str) -> str:
    """What is about to run, and why this configuration."""
    config = study.config
    found = "a CUDA device is here" if torch.cuda.is_available() else "no CUDA device is here"
    why = found if choice == "auto" else "as asked"
    return (
        f"study {config.study!r}: the {study.scale.upper()} configuration ({why}), "
        f"on {study.device}, {n_workers} worker{'s' * (n_workers > 1)}\n"
        f"{n_jobs} trials of {config.iterations} iterations: {n_jobs - n_pending} done, {n_pending} pending"
    )


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        return run(args)
    except UserError as error:
        return cli.report_mistake("run_all_experiments.py", error)


if __name__ == "__main__":
    sys.exit(main())
