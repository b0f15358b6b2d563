"""A run of a study: trains what is pending, keeps the errors of what failed, and says how the run ended."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from cores import usable_cores
from labels import counted
from runner.progress import Progress, clock
from runner.workers import Event, run_jobs
from study import cli
from study.agreement import describe_agreement
from study.carry_on import carry_on
from study.cell import is_up_to_date, update_cell
from study.files import UserError, check_may_be_written, check_writable, write_bytes
from study.locks import warn_without_locks
from study.plan import Job, Plan, Study, pending_jobs
from study.store import Cell

# Where trials are trained: takes the jobs, what to call on each event, and whether to stop.
Backend = Callable[[list[Job], Callable[[Event], None], Callable[[], bool]], None]


def choose_backend(study: Study, n_workers: int, scheduler: str | None, tls: Mapping[str, str]) -> Backend:
    """Worker processes of this machine or, with a ``scheduler``, a cluster, reached with the ``tls`` files if any;
    UserError if that does not answer."""
    if scheduler is None:
        return partial(run_jobs, study, n_workers)
    from runner import cluster  # here, because only this needs dask

    cluster.connect(scheduler, tls).close()
    return partial(cluster.run_on_cluster, study, scheduler, tls)


def check_places(study: Study) -> None:
    """UserError if it can be seen without writing that the folders of results and checkpoints cannot be used."""
    for folder in (study.store.results, study.store.checkpoints):
        check_may_be_written(folder)


def workers_for(device: str) -> int:
    """One worker for each core that may be used on the CPU, for each GPU with CUDA."""
    if device == "cuda":
        import torch  # here, because it takes seconds to load

        return torch.cuda.device_count()
    if device == "mps":
        return 1
    return usable_cores()


def run_study(study: Study, plan: Plan, backend: Backend, started_file: Path | None = None) -> int:
    """Train what is pending and report how it goes and how it ended; returns the exit code.

    ``started_file`` is written once all that a run needs has been found usable.
    """
    prepare(study, plan)
    if started_file is not None:
        write_bytes(started_file, f"{os.getpid()}\n".encode())
    progress = Progress(study, plan)

    def on_event(event: Event) -> None:
        progress.on_event(event)
        keep_error(study, event)

    with cli.stop_signals() as received:
        try:
            backend(plan.pending, on_event, lambda: bool(received))
            # A second pass: meanwhile results that counted as done may have turned out to be damaged, a worker may
            # have been asked to stop, and what another run was training may have been left unfinished by it.
            settled = {event.job for event in progress.of_kind("done") + progress.of_kind("failed")}
            again = [job for job in pending_jobs(study, plan.jobs) if job not in settled]
            if again and not received:
                progress.done -= set(again)
                backend(again, on_event, lambda: bool(received))
        except Exception:
            update_after_run(study, progress)
            raise
        else:
            written = update_after_run(study, progress)
    progress.bar.close()
    if received:
        cli.say(cli.STOPPED)
        return 128 + received[0]
    return conclude(study, plan, progress) or (0 if written else cli.FAILED)


def update_after_run(study: Study, progress: Progress) -> bool:
    """Bring the cell files up to date with the trials of a run; says so and returns False where one cannot be."""
    written = True
    for cell in dict.fromkeys(cell for cell, _ in progress.outcomes):
        try:
            if not is_up_to_date(study, cell):
                update_cell(study, cell, cli.say_progress)
        except (OSError, UserError) as error:
            written = False
            print(f"cannot bring {study.store.cell_path(cell)} up to date: {error}", file=sys.stderr)
    return written


def prepare(study: Study, plan: Plan) -> None:
    """Bring the results folder up to date with what is done; UserError if it cannot be written to."""
    for folder in (study.store.results, study.store.checkpoints):
        check_writable(folder)
    warn_without_locks(study.store.results)
    try:
        study.store.remove_stale_drafts(plan.cells)
        for cell in plan.carried:
            carry_on(study, cell, cli.say_progress)
        for cell, content in plan.reused.items():
            study.store.write_cell(cell, content)
        update_cells(study, plan.cells)
        for job in set(plan.jobs) - set(plan.pending):
            study.store.error_path(*job).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {study.store.results}: {error.strerror}") from None


def update_cells(study: Study, cells: Iterable[Cell]) -> None:
    """Bring cell files up to date that lack a finished trial, as after a run that was killed just before."""
    for cell in cells:
        done, found = study.store.done_trials(cell), study.store.read_cell(cell)
        if done and (found is None or not done <= {trial["trial"] for trial in found["trials"]}):
            update_cell(study, cell, report=cli.say_progress)


def keep_error(study: Study, event: Event) -> None:
    """Write the text of a failed trial's error beside its record; remove it once the trial is done."""
    path = study.store.error_path(*event.job)
    try:
        if event.kind == "failed":
            write_bytes(path, event.detail.encode(errors="backslashreplace"))  # of paths that are not UTF-8
        elif event.kind == "done":
            path.unlink(missing_ok=True)
    except OSError as error:
        print(f"cannot bring {path} up to date: {error.strerror}", file=sys.stderr)


def conclude(study: Study, plan: Plan, progress: Progress) -> int:
    """Say how the run ended, and how its trials agree with those of other studies; returns the exit code."""
    failed, busy = progress.of_kind("failed"), progress.of_kind("busy")
    diverged = sum(event.detail == "diverged" for event in progress.of_kind("done"))
    pending = set(pending_jobs(study, plan.jobs))
    lost = progress.done & pending
    elsewhere = {event.job for event in busy} - pending  # finished by the run that had them, meanwhile
    busy = [event for event in busy if event.job in pending]
    progress.done = progress.done - lost | elsewhere
    stopped = progress.n_jobs - len(progress.done) - len(failed) - len(busy) - len(lost)
    cli.say(
        f"{len(progress.done)} of {counted(progress.n_jobs, 'trial')} done, "
        f"{len(failed)} failed, {diverged} diverged, in {clock(time.monotonic() - progress.start)}"
    )
    if elsewhere:
        cli.say(f"{counted(len(elsewhere), 'trial')} done by another run meanwhile")
    if busy:
        them = "it" if len(busy) == 1 else "them"
        cli.say(f"{counted(len(busy), 'trial')} left to another run, which is training {them}")
    for event in busy:
        if event.detail:  # who holds a file that stands in for a lock
            cli.say(f"left: {event.detail}")
    if stopped:
        cli.say(f"{counted(stopped, 'trial')} not finished, because workers were asked to stop; run again to go on")
    for cell, number in sorted(lost, key=plan.jobs.index):
        cli.say(f"lost: {cell.name} trial {number}, whose results were removed while the run went on; run again")
    made = {cell for cell, _ in progress.done} | plan.reused.keys()
    removed = [cell for cell in plan.cells if cell in made and not study.store.cell_path(cell).exists()]
    for cell in removed:
        cli.say(f"lost: {study.store.cell_path(cell)}, which was removed while the run went on; run again")
    for event in failed:
        (cell, number), path = event.job, study.store.error_path(*event.job)
        if not path.exists():
            keep_error(study, event)  # perhaps the disk was full when it failed
        where = f"see {path}" if path.exists() else "whose error could not be written"
        cli.say(f"failed: {cell.name} trial {number}, {where}")
    for line in describe_agreement(study, plan.cells):
        cli.say(line)
    return cli.FAILED if failed or stopped or lost or removed else 0
