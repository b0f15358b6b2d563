"""What a worker inherits; how the pool behaves is tested through the runner."""

import errno
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from patience import living_processes, wait_until
from runs import command_line

from runner import workers
from runner.workers import assign_gpus, worker_environment
from study import cli
from study.files import ROOT, UserError

SHOW = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES'))"


def seen_by_child() -> str:
    return subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True).stdout.strip()


def test_workers_take_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert assign_gpus("cuda", 3) == [0, 1, 2]
    assert assign_gpus("cuda", 5) == [0, 1, 2, 0, 1]
    assert assign_gpus("cpu", 2) == [None, None]


@pytest.mark.parametrize(
    ("visible", "gpu", "seen"),
    [(None, 1, "1 1"), ("4,6", 1, "1 6"), ("GPU-abc", 0, "1 GPU-abc"), (None, None, "1 None")],
)
def test_a_worker_sees_only_its_gpu_and_uses_one_thread(monkeypatch, visible, gpu, seen):
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    before = dict(os.environ)
    with worker_environment(gpu):
        assert seen_by_child() == seen
    assert dict(os.environ) == before


@pytest.mark.parametrize("deaths", [0, 2, 3])
def test_a_worker_is_started_again_where_the_fork_server_died_meanwhile(monkeypatch, deaths):
    monkeypatch.setattr(workers.time, "sleep", lambda seconds: None)
    outcomes = iter([*[EOFError] * deaths, None])

    class Process:
        def start(self) -> None:
            if outcome := next(outcomes):
                raise outcome

    if deaths == workers.START_ATTEMPTS:
        with pytest.raises(UserError, match="no worker process could be started"):
            workers.start(Process())
    else:
        workers.start(Process())
        assert not list(outcomes)


def test_workers_that_die_at_once_are_no_success(monkeypatch, tiny_study, capsys):
    class Dying:
        def __init__(self, *_):
            self.job, self.gpu, self.connection, self.process = None, None, io.BytesIO(), threading.Thread()
            self.process.start()

        def successor(self):
            return self

        def give(self, job):
            raise BrokenPipeError

    monkeypatch.setattr(workers, "Worker", Dying)
    jobs = [(tiny_study.cell("charlm", "relu"), 1)]
    assert cli.outcome("run", lambda: workers.run_jobs(tiny_study, 1, jobs, print, lambda: False)) == cli.MISTAKE
    assert capsys.readouterr().err == "run: error: a worker process ends as soon as it is started; why is above\n"


def test_the_job_of_a_worker_that_dies_has_failed(monkeypatch, tiny_study):
    class Mortal:
        """Dies with its first job."""

        def __init__(self, *_):
            self.connection, self.its_end = multiprocessing.Pipe()
            self.process = threading.Thread()
            self.process.start()
            self.setting, self.job = tiny_study, None

        def give(self, job):
            self.job = job
            self.its_end.close()

        def why_dead(self) -> str:
            return "why"

    monkeypatch.setattr(workers, "Worker", Mortal)
    job, events = (tiny_study.cell("charlm", "relu"), 1), []
    workers.run_jobs(tiny_study, 1, [job], events.append, lambda: False)
    assert events == [workers.Event(job, "failed", "why")]


@pytest.mark.parametrize(("device", "done"), [("cpu", ["first", "second"]), ("cuda", ["first"])])
def test_what_failed_on_a_gpu_is_the_last_that_its_worker_does(tiny_study, device, done):
    """An error may have broken the state of CUDA in that process, and a successor has one of its own."""
    ours, theirs = multiprocessing.Pipe()
    before = {number: signal.getsignal(number) for number in workers.STOP_SIGNALS}
    for job in ("first", "second", None):
        ours.send(job)
    tried = []

    def fail(setting, job, send, should_stop) -> workers.Event:
        tried.append(job)
        return workers.Event(job, "failed", "device-side assert")

    try:
        workers.serve(Waiting(theirs), replace(tiny_study, device=device), fail)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert tried == done
    assert [ours.recv().job for _ in done] == done


def test_a_job_after_one_that_failed_on_a_gpu_is_for_another_worker(monkeypatch, tiny_study):
    class Broken:
        """Fails, and ends a little later."""

        def __init__(self, *_):
            self.connection, self.its_end = multiprocessing.Pipe()
            self.process, self.setting, self.job = threading.Thread(), replace(tiny_study, device="cuda"), None
            self.process.start()
            threading.Thread(target=self.fail, daemon=True).start()

        def successor(self):
            return Broken()

        def give(self, job):
            self.connection.send(job)
            self.job = job

        def fail(self):
            job = self.its_end.recv()
            self.its_end.send(workers.Event(job, "failed", "device-side assert"))
            time.sleep(0.2)
            self.its_end.close()

        def why_dead(self) -> str:
            return "ended before its job"

    monkeypatch.setattr(workers, "Worker", Broken)
    monkeypatch.setattr(workers, "assign_gpus", lambda device, n: [0] * n)
    jobs, events = [(tiny_study.cell("charlm", "relu"), number) for number in (1, 2)], []
    workers.run_jobs(replace(tiny_study, device="cuda"), 1, jobs, events.append, lambda: False)
    assert events == [workers.Event(job, "failed", "device-side assert") for job in jobs]


class Waiting:
    """A connection whose jobs wait in it, which does not ask to stop."""

    def __init__(self, connection):
        self.recv, self.send = connection.recv, connection.send

    def poll(self) -> bool:
        return False


def test_only_the_reader_of_the_output_may_end_unnoticed(monkeypatch, capsys):
    def fail() -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert cli.outcome("run", fail) == cli.MISTAKE
    assert capsys.readouterr().err == "run: error: [Errno 32] Broken pipe\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert cli.outcome("run", fail) == 0
    assert capsys.readouterr().err == ""


START_ONE_WORKER = """
import sys
from pathlib import Path
from runner.workers import run_jobs
from runs import grid_jobs, study_in
from study import cli

def run():
    study = study_in(Path(sys.argv[1]))
    with cli.stop_signals() as received:
        run_jobs(study, 1, grid_jobs(study)[:1], print, lambda: bool(received))
    return 0

cli.leave(cli.outcome("run", run))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server")
def test_a_frozen_fork_server_is_left_at_a_second_signal(tmp_path):
    """As when the code is on a file server that is gone: the first worker never comes."""
    code = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    process = subprocess.Popen(
        [sys.executable, "-c", START_ONE_WORKER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": code},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    all_of_it = lambda: living_processes(session=process.pid)  # noqa: E731

    def servers() -> list[int]:
        return [pid for pid in all_of_it() if b"multiprocessing.forkserver" in command_line(pid)]

    try:
        assert wait_until(servers, all_of_it)
        os.kill(servers()[0], signal.SIGSTOP)  # while it still loads PyTorch
        process.send_signal(signal.SIGTERM)
        time.sleep(1.5 * cli.ONE_WISH)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: process.poll() is not None)
    finally:
        for pid in all_of_it():
            os.kill(pid, signal.SIGKILL)
    assert process.communicate()[1] == "run: stopped; the same command can be given again\n"
    assert process.returncode == 128 + signal.SIGINT
