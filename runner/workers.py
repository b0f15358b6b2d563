"""A pool of worker processes that outlives the death of any of them.

Each worker has a pipe of its own, so that one killed in the middle of a message cannot block the others. With
``concurrent.futures`` one killed process would break the pool and fail everything that is pending.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Protocol

from study.cli import STOP_SIGNALS, say
from study.files import ROOT, Busy, UserError
from study.plan import Job, Study

PATIENCE = 120  # seconds that a worker gets to finish its step and save when asked to stop
START_ATTEMPTS = 3
POLL_SECONDS = 0.5

# By default glibc returns the memory of a training step to the system, and the next step pays for the page faults.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}


@dataclass(frozen=True)
class Event:
    """What a worker reports of its job.

    job       what it was given: a ``study.plan.Job``, or another unit of work that ``run_jobs`` has the function for
    kind      "progress", or how the job ended: "stopped", "busy" (another run is training it), "done" or "failed"
    detail    "done": the record's status; "failed": the error's text; "busy": who holds the file that stands in for a
              lock, if one does
    progress  "progress": the report of train.run_trial
    result    "done": what the job gave, where that is not on the disk
    """

    job: Any
    kind: Literal["progress", "done", "failed", "stopped", "busy"]
    detail: str = ""
    progress: dict = field(default_factory=dict)
    result: Any = None


class Setting(Protocol):
    """What all jobs of a run share and every worker is given, such as a ``Study``; it is pickled."""

    @property
    def device(self) -> str: ...


# Does one job, a function of a module: of the setting, the job, what to call on each event, and whether to stop.
Work = Callable[[Any, Any, Callable[[Event], None], Callable[[], bool]], Event]


# ---------------------------------------------------------------- inside a worker


def serve(connection: Connection, setting: Setting, work: Work) -> None:
    """Run the jobs that come through ``connection`` until it is closed or the process is asked to stop.

    While a job runs, nothing comes but None, which asks to stop, or the end of the pipe, because the runner is gone.
    """
    stopping = False

    def ask_to_stop(*_) -> None:
        nonlocal stopping
        stopping = True

    for number in STOP_SIGNALS:
        signal.signal(number, ask_to_stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def should_stop() -> bool:
        return stopping or connection.poll()

    try:
        while job := connection.recv():
            event = Event(job, "stopped") if should_stop() else work(setting, job, connection.send, should_stop)
            connection.send(event)
            if is_last(event, setting.device):
                return
    except (EOFError, ConnectionError):
        pass  # the runner is gone


def is_last(event: Event, device: str) -> bool:
    """Whether a worker ends after it: told to stop, or failed on a GPU, after which all that it does may fail."""
    return event.kind == "stopped" or (event.kind == "failed" and device == "cuda")


def run_job(study: Study, job: Job, send: Callable[[Event], None], should_stop: Callable[[], bool]) -> Event:
    """Train one trial of a study; whatever it raises becomes the job's outcome."""
    from train import run_trial  # here, because it loads PyTorch, which the runner does without

    def report(progress: dict) -> None:
        send(Event(job, "progress", progress=progress))

    return outcome_of(job, lambda: run_trial(study, *job, report, should_stop, of_run=True)["status"])


def outcome_of(job: Any, do: Callable[[], str]) -> Event:
    """Do a job; the status that it returns, or whatever it raises, becomes the job's outcome."""
    from train import Interrupted  # here, because they load PyTorch
    from training.step import RecordingError

    try:
        return Event(job, "done", do())
    except Interrupted:
        return Event(job, "stopped")
    except Busy as busy:
        return Event(job, "busy", busy.to_say)
    except (UserError, RecordingError) as error:
        return Event(job, "failed", str(error))
    except ConnectionError:  # the pipe's: the runner is gone
        raise
    except Exception:
        return Event(job, "failed", traceback.format_exc())


# ---------------------------------------------------------------- the pool


class Worker:
    """A worker process, its pipe, and the job it has."""

    def __init__(self, setting: Setting, gpu: int | None, work: Work):
        # A new process is given this one's sys.path and main script, so it finds the code from any folder.
        context = start_context(setting.device)
        self.connection, theirs = context.Pipe()
        self.setting, self.gpu, self.work = setting, gpu, work
        self.job: Any = None
        self.process = context.Process(target=serve, args=(theirs, setting, work), daemon=True)
        resource_tracker.ensure_running()  # before the signals are blocked, because starting it unblocks them
        with worker_environment(gpu):
            start(self.process)
        theirs.close()

    def successor(self) -> "Worker":
        return Worker(self.setting, self.gpu, self.work)

    def give(self, job: Any) -> None:
        self.job = job
        self.connection.send(job)

    def why_dead(self) -> str:
        self.process.join()
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"the worker process was killed by {signal.Signals(-code).name}: out of memory, or from outside"
        return f"the worker process ended by itself, with exit code {code}; its last output is above"


def start(process: BaseProcess) -> None:
    """Start ``process``, again where the fork server dies meanwhile; UserError if it does so every time.

    Stop signals are blocked in it until it has its handlers: one that comes before is kept, and does not kill it. A
    process has that from the one that starts it, so it is the fork server that is started under the block; its answer
    is waited for without, because from one that is frozen none would ever come.
    """
    forks = isinstance(process, ForkServerProcess)
    for attempts_left in reversed(range(START_ATTEMPTS)):
        try:
            with stop_signals_blocked():
                forkserver.ensure_running() if forks else process.start()
            if forks:
                process.start()
            return
        except (EOFError, OSError):
            if not attempts_left:
                raise UserError("no worker process could be started; why is above") from None
            time.sleep(1)  # by then the dead server is known as dead, and a new one is started


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def start_context(device: str) -> SpawnContext | ForkServerContext:
    """How worker processes start: as forks of a server process that has PyTorch loaded, which takes seconds, or anew.

    The server is started by the first worker, has one thread and nothing of a run, and ends once the runner and all
    workers have. A GPU's driver does not survive a fork, nor do some of the libraries of macOS.
    """
    if device != "cpu" or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runner.preload"])
    return context


def assign_gpus(device: str, n_workers: int) -> list[int | None]:
    """The GPU of each worker, in turn; with more workers than GPUs, several share one."""
    if device != "cuda":
        return [None] * n_workers
    import torch  # here, because it takes seconds to load

    return [index % torch.cuda.device_count() for index in range(n_workers)]


@contextmanager
def worker_environment(gpu: int | None) -> Iterator[None]:
    """Inside, the environment that a new worker (or the fork server) inherits: one thread, memory that it keeps, one
    GPU if it has one of its own, and where the code lies (before anything of that name in the working directory)."""
    code = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    changes = {"OMP_NUM_THREADS": "1", **KEEP_MEMORY, "PYTHONPATH": code, "PYTHONSAFEPATH": "1"}
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
    setting: Setting,
    n_workers: int,
    jobs: Iterable[Any],
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
    work: Work = run_job,
) -> None:
    """Run ``jobs`` in order on ``n_workers`` processes: one thread each on the CPU, one GPU each with CUDA.

    ``work`` does one job under the ``setting``: by default, trains a trial of a study.

    ``on_event`` is called with every event. A worker that dies fails its job and is replaced. When ``should_stop``
    says so, workers finish their step, save and stop, and no further job is begun. KeyboardInterrupt, which a second
    signal raises, kills them instead: one that is frozen would never stop.
    """
    pending = deque(jobs)
    n_workers = min(n_workers, len(pending))
    workers: list[Worker] = []
    try:
        for gpu in assign_gpus(setting.device, n_workers):
            workers.append(Worker(setting, gpu, work))
        work_through(workers, pending, on_event, should_stop)
        dismiss(workers)
    except KeyboardInterrupt:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join(1)
        raise
    except Exception:
        dismiss(workers)
        raise


def work_through(
    workers: list[Worker],
    pending: deque[Any],
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Keep ``workers`` at work until nothing is pending, or until they are to stop."""
    while pending or any(worker.job for worker in workers):
        if should_stop():
            stop_workers(workers, on_event)
            return
        for index, worker in enumerate(workers):
            if worker.job is None and pending:
                workers[index] = start_next(worker, pending)
        receive_events(workers, on_event)


def dismiss(workers: list[Worker]) -> None:
    """Let workers end, and wait for that."""
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(PATIENCE)


def start_next(worker: Worker, pending: deque[Any]) -> Worker:
    """Give the next pending job to ``worker``, or to its successor if it has died; UserError if those die too."""
    for attempts_left in reversed(range(START_ATTEMPTS)):
        try:
            worker.give(pending[0])
            break
        except ConnectionError:
            if not attempts_left:  # the error itself would only speak of a broken pipe
                raise UserError("a worker process ends as soon as it is started; why is above") from None
            worker = worker.successor()
    pending.popleft()
    return worker


def receive_events(workers: list[Worker], on_event: Callable[[Event], None]) -> None:
    """Pass on what the busy workers report within ``POLL_SECONDS``; a dead one's job has failed."""
    busy = [(worker, worker.job) for worker in workers if worker.job]
    ready = wait([worker.connection for worker, _ in busy], POLL_SECONDS)
    for worker, job in busy:
        if worker.connection not in ready:
            continue
        try:
            event: Event = worker.connection.recv()
        except (EOFError, OSError):
            event = Event(job, "failed", worker.why_dead())
        if event.kind != "progress":
            worker.job = None
        on_event(event)
        if is_last(event, worker.setting.device):
            wait([worker.connection], PATIENCE)  # a worker ends after this event: whoever gives it a job sees it


def stop_workers(workers: list[Worker], on_event: Callable[[Event], None]) -> None:
    """Ask every worker to finish its step and save, and pass on how each ended."""
    say("stopping when the current step is saved; a second Ctrl-C or kill ends the run at once (what is saved stays)")
    for worker in workers:
        with suppress(ConnectionError):  # it has died
            worker.connection.send(None)
    while any(worker.job for worker in workers):
        receive_events(workers, on_event)
