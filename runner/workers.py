"""A pool of worker processes that outlives the death of any of them.

Each worker has a pipe of its own, so that one killed in the middle of a message cannot block the others. A
standard executor would give up all that is pending when one of its processes is killed.
"""

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

import torch

from study.cli import STOP_SIGNALS
from study.files import Busy, UserError
from study.plan import Job, Study
from train import Interrupted, run_trial
from training.step import RecordingError

PATIENCE = 120  # seconds that a worker gets to finish its step and save when asked to stop

# glibc would give the memory of every training step back to the system and fault it in again at the next.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass(frozen=True)
class Event:
    """What a worker tells about its job.

    kind    "progress" (detail: the report of train.run_trial), or how the job ended: "done" (detail: the record's
            status), "failed" (detail: the error's text), "stopped" or "busy"
    """

    job: Job
    kind: str
    detail: object = None


# ---------------------------------------------------------------- inside a worker


def serve(connection: Connection, study: Study) -> None:
    """Run the jobs that come through ``connection`` until it is closed or the process is asked to stop."""
    stopping = False
    parent = os.getppid()

    def ask_to_stop(*_) -> None:
        nonlocal stopping
        stopping = True

    for number in STOP_SIGNALS:
        signal.signal(number, ask_to_stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def should_stop() -> bool:
        return stopping or os.getppid() != parent

    try:
        while True:
            job = connection.recv()
            event = Event(job, "stopped") if should_stop() else run_job(study, job, connection.send, should_stop)
            connection.send(event)
            if event.kind == "stopped":
                return
    except (EOFError, ConnectionError):
        pass  # the parent is gone


def run_job(study: Study, job: Job, send: Callable[[Event], None], should_stop: Callable[[], bool]) -> Event:
    """Train one trial; whatever it raises becomes the job's outcome."""
    try:
        record = run_trial(study, *job, lambda progress: send(Event(job, "progress", progress)), should_stop)
    except Interrupted:
        return Event(job, "stopped")
    except Busy:
        return Event(job, "busy")
    except (UserError, RecordingError) as error:
        return Event(job, "failed", str(error))
    except ConnectionError:
        raise
    except Exception:
        return Event(job, "failed", traceback.format_exc())
    return Event(job, "done", record["status"])


# ---------------------------------------------------------------- the pool


class Worker:
    """A worker process, its pipe, and the job it has."""

    def __init__(self, study: Study, gpu: int | None):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.gpu = gpu
        self.job: Job | None = None
        self.process = context.Process(target=serve, args=(theirs, study), daemon=True)
        resource_tracker.ensure_running()  # here, because it leaves the signals unblocked
        with worker_environment(gpu):
            # Blocked until the worker can take them: what comes before that is not lost and kills nobody.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            self.process.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        self.connection.send(job)

    def why_dead(self) -> str:
        self.process.join()
        code = self.process.exitcode
        if code < 0:
            return f"the worker process was killed by {signal.Signals(-code).name}: out of memory, or from outside"
        return f"the worker process ended by itself, with exit code {code}; what it said last stands above"


def assign_gpus(device: str, n_workers: int) -> list[int | None]:
    """The GPU of each worker, in turn; with more workers than GPUs, several share one."""
    if device != "cuda":
        return [None] * n_workers
    return [index % torch.cuda.device_count() for index in range(n_workers)]


@contextmanager
def worker_environment(gpu: int | None) -> Iterator[None]:
    """Inside, the environment that a new worker inherits: one thread, memory that it keeps, and one GPU if it has
    one of its own."""
    changes = {"OMP_NUM_THREADS": "1", **KEEP_MEMORY}
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        changes["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run_jobs(
    study: Study,
    n_workers: int,
    jobs: Iterable[Job],
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Run ``jobs`` in order on ``n_workers`` processes: one thread each on the CPU, one GPU each with CUDA.

    ``on_event`` hears everything. A worker that dies fails its job and is replaced. When ``should_stop`` says so,
    workers finish their step, save and stop, and what has not begun stays undone.
    """
    pending = deque(jobs)
    n_workers = min(n_workers, len(pending))
    workers = [Worker(study, gpu) for gpu in assign_gpus(study.device, n_workers)]
    try:
        while pending or any(worker.job for worker in workers):
            if should_stop():
                stop_workers(workers, on_event)
                return
            for index, worker in enumerate(workers):
                if worker.job is None and pending:
                    workers[index] = start_next(worker, pending, study)
            hear(workers, on_event)
    finally:
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.process.join(PATIENCE)


def start_next(worker: Worker, pending: deque[Job], study: Study) -> Worker:
    """Give the next pending job to ``worker``, or to its successor if it has died."""
    try:
        worker.give(pending[0])
    except ConnectionError:
        worker = Worker(study, worker.gpu)
        worker.give(pending[0])
    pending.popleft()
    return worker


def hear(workers: list[Worker], on_event: Callable[[Event], None], timeout: float = 0.5) -> None:
    """Pass on what the busy workers have to say within ``timeout`` seconds."""
    by_connection = {worker.connection: worker for worker in workers if worker.job}
    for connection in wait(list(by_connection), timeout):
        worker = by_connection[connection]
        try:
            event = connection.recv()
        except (EOFError, OSError):
            event = Event(worker.job, "failed", worker.why_dead())
        if event.kind == "stopped":
            worker.process.join()  # it ends with this, so no job is given to it
        if event.kind != "progress":
            worker.job = None
        on_event(event)


def stop_workers(workers: list[Worker], on_event: Callable[[Event], None]) -> None:
    """Ask every worker to finish its step and save, and hear how each ended."""
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
    while any(worker.job for worker in workers):
        hear(workers, on_event)
