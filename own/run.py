"""Train what is pending of a task's trials, in worker processes."""

import sys
from collections.abc import Callable, Sequence

from own.trial import Job, Setting, train_own
from runner.workers import Event, run_jobs
from study import cli
from study.files import Busy, UserError, check_writable
from study.locks import exclusive, warn_without_locks


def train_pending(
    setting: Setting,
    workers: int,
    pending: Sequence[Job],
    on_event: Callable[[Event], None],
    begin: Callable[[], None] = lambda: None,
) -> int | None:
    """Call ``begin`` once nothing else trains in the folder, then train; returns the signal that stopped it, if one
    did. UserError for a trial that failed, as all would."""
    check_writable(setting.folder)
    warn_without_locks(setting.folder)
    failed: list[Event] = []

    def hear(event: Event) -> None:
        if event.kind == "failed":
            failed.append(event)
        on_event(event)

    try:
        with exclusive(setting.folder / ".lock"), cli.stop_signals() as received:
            begin()
            run_jobs(setting, workers, pending, hear, lambda: bool(received or failed), train_own)
    except Busy:
        raise UserError(f"another run is training in {setting.folder}") from None
    if failed:
        name, seed = failed[0].job
        *trace, last = failed[0].detail.strip().splitlines()
        print("\n".join(trace), end="\n" if trace else "", file=sys.stderr)
        raise UserError(f"{name} seed {seed} failed: {last}")
    return received[0] if received else None
