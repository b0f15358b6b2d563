"""The same trials on a dask.distributed cluster over a shared folder (needs requirements-cluster.txt).

Trials are independent, idempotent and backed by files, so the cluster is a queue and no more: a task returns a
small status, results stay in the shared folder, and a task whose trial is done already returns at once. Tasks are
pickled by reference, so workers must find this repository's modules: PYTHONPATH must have its absolute path.
"""

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from runner.workers import Event
from study import cli
from study.files import Busy, UserError, read_json
from study.plan import Job, Study
from train import run_trial
from training.step import RecordingError

try:
    from distributed import CancelledError, Client, Future, Security, as_completed, comm
except ImportError:
    raise UserError("--scheduler needs dask.distributed: pip install -r requirements-cluster.txt") from None

RETRIES = 2
POLL_SECONDS = 0.1
CONNECT_SECONDS = 10
# A trial switches what holds for its whole process, such as libraries and random states. So the threads of a worker,
# where it has several, train one at a time.
ALONE = threading.Lock()


def cluster_trial(study: Study, job: Job) -> Event:
    """One task: train the trial on the worker that was given it, and return how it ended.

    What is no mistake of the user's, and may go well elsewhere, is raised, so that the scheduler tries again, perhaps
    on another machine.
    """
    try:
        with ALONE:
            return Event(job, "done", run_trial(study, *job, of_run=True)["status"])
    except Busy as busy:
        return Event(job, "busy", busy.to_say)
    except (UserError, RecordingError) as error:
        return Event(job, "failed", str(error))


def connect(address: str, tls: Mapping[str, str]) -> Client:
    """A client of the scheduler at ``address``, or of the one that a scheduler file names.

    ``tls`` has the client's files by ``Security``'s names for them; without any, dask's configuration counts.
    """
    for path in tls.values():
        if not Path(path).is_file():
            raise UserError(f"there is no file {path}, which --scheduler needs for TLS")
    if Path(address).is_file():
        found = read_json(Path(address)).get("address")
        if not (isinstance(found, str) and found):
            raise UserError(f"{address} is no scheduler file (it has no address)")
        address = found
    elif ":" not in address:
        raise UserError(f"there is no scheduler file {address}; an address has a port, as in tcp://10.0.0.5:8786")
    if tls and not address.startswith("tls://"):
        raise UserError(f"the scheduler at {address} does not use TLS (its address does not begin with tls://)")
    try:
        security = Security(require_encryption=True, **tls) if tls else Security()
        asyncio.run(greet(address, security))
        return Client(address, security=security, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError, MemoryError) as error:  # a greeting of another kind is read as a length
        if isinstance(error, TypeError) and address.startswith("tls://"):
            raise UserError(
                f"the scheduler at {address} uses TLS: give --tls-ca-file, --tls-cert and --tls-key, or set them in "
                "dask's configuration"
            ) from None
        reason = str(error) or f"no answer in {CONNECT_SECONDS} s"
        raise UserError(f"no scheduler answers at {address} ({reason})") from None


async def greet(address: str, security: Security) -> None:
    """Connect, and hang up again. A ``Client`` that fails is left running, and may lock the start of the next one;
    and it would wait without end for what accepts connections and is no part of dask."""
    connection = comm.connect(address, timeout=CONNECT_SECONDS, **security.get_connection_args("client"))
    (await asyncio.wait_for(connection, CONNECT_SECONDS)).abort()


def run_on_cluster(
    study: Study,
    address: str,
    tls: Mapping[str, str],
    jobs: Iterable[Job],
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> None:
    """Run ``jobs`` on the cluster; as ``workers.run_jobs``, but with an event only when a trial ends.

    When ``should_stop`` says so, what has not begun is cancelled; running trials go on to their end.
    """
    with connect(address, tls) as client:
        resources = {"GPU": 1} if study.device == "cuda" else None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if any(worker["nthreads"] > 1 for worker in workers):
            cli.say("a worker has more than one thread, and trains one trial at a time all the same: --nthreads 1")
        if not any(fits(worker, resources) for worker in workers):
            needed = "no worker with --resources GPU=1" if resources else "no worker"
            cli.say(f"{needed} is at {address} yet; waiting for one")
        submitted = {
            client.submit(
                cluster_trial, study, job, pure=False, retries=RETRIES, resources=resources, priority=-order
            ): job
            for order, job in enumerate(jobs)
        }
        finished = as_completed(submitted)
        while submitted:
            if should_stop():
                client.cancel(list(submitted))
                cli.say("trials that are running on the cluster go on to their end; the others are cancelled")
                return
            for future in finished.next_batch(block=False):
                try:
                    event = event_of(future, submitted.pop(future))
                except (CancelledError, OSError):  # cancelled by somebody else, or the connection is lost
                    raise UserError(f"the scheduler at {address} is gone; the same command goes on") from None
                on_event(event)
                future.release()
            time.sleep(POLL_SECONDS)


def fits(worker: dict, resources: dict[str, int] | None) -> bool:
    """Whether a worker, as the scheduler describes it, has the ``resources`` that a task needs."""
    return all(worker["resources"].get(name, 0) >= amount for name, amount in (resources or {}).items())


def event_of(future: Future, job: Job) -> Event:
    """How a task ended, its error's traceback included."""
    if future.status == "error":
        return Event(job, "failed", "".join(traceback.format_exception(future.exception())))
    return future.result()
