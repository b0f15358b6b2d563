"""Trials on a dask.distributed cluster: real scheduler and workers, one of them killed; the same bits as here."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from patience import wait_until
from runs import ACTIVATIONS, GRID, TESTS, LiveRun, differing
from test_trust import dask_lines

import run_all_experiments
from runner.workers import Event
from study.files import UserError
from training.step import RecordingError

distributed = pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")
dask = pytest.importorskip("dask")
psutil = pytest.importorskip("psutil")


class Witness(distributed.WorkerPlugin):
    """Writes down what each worker process does with each task."""

    def __init__(self, log: Path):
        self.log = log

    def transition(self, key: str, start: str, finish: str, **_) -> None:
        if finish in ("executing", "memory"):
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {key} {finish}\n")

    def seen(self, state: str) -> list[tuple[int, str]]:
        """(process, task) for every time that a task came into ``state``."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(pid), key) for pid, key, finish in map(str.split, lines) if finish == state]


@pytest.fixture
def scheduler_file(tmp_path):
    """A scheduler and two workers on this machine, each a process of its own, started in another folder."""
    file = tmp_path / "scheduler.json"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    processes = []

    def launch(name: str, *options: str) -> None:
        with (tmp_path / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.{name}", "--scheduler-file", str(file), *options]
            processes.append(subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=log, stderr=log))

    launch("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    options = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--no-nanny", "--preload", "conftest")
    for _ in range(2):
        launch("dask_worker", *options, "--local-directory", str(tmp_path / "dask"))
    yield file
    for process in processes:
        process.kill()
        process.wait()


def test_a_worker_is_killed_and_the_bits_are_those_of_a_local_run(undisturbed, scheduler_file, tmp_path):
    assert wait_until(scheduler_file.exists)
    witness = Witness(tmp_path / "witness")
    with distributed.Client(scheduler_file=str(scheduler_file)) as client:
        client.register_plugin(witness)
        part = ("--models", "charlm", *GRID[3:])
        live = LiveRun(tmp_path, tmp_path / "log", *part, "--scheduler", str(scheduler_file))

        def running() -> set[tuple[int, str]]:
            return set(witness.seen("executing")) - set(witness.seen("memory"))

        frozen: list[tuple[int, str]] = []

        def freeze_one() -> bool:
            """Stop a worker in the middle of a trial."""
            for pid, key in running():
                os.kill(pid, signal.SIGSTOP)
                if (pid, key) not in witness.seen("memory"):
                    frozen.append((pid, key))
                    return True
                os.kill(pid, signal.SIGCONT)  # it has just come to the trial's end
            return False

        assert wait_until(freeze_one)
        ((pid, key),) = frozen
        assert wait_until(lambda: len(witness.seen("memory")) >= 3)
        os.kill(pid, signal.SIGKILL)
        finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/trials/*/trial_*.json")}
        assert live.reaches(lambda: not live.alive)
    assert live.process.returncode == 0, live.text()
    assert (pid, key) not in witness.seen("memory")
    assert len(finished) >= 3 and all(path.stat().st_mtime_ns == then for path, then in finished.items())
    executions = Counter(key for _, key in witness.seen("executing"))
    assert executions.pop(key) == 2 and len(executions) == len(ACTIVATIONS) * 3 - 1
    # A result that the killed worker held and that was not fetched yet is asked for again, and returned at once.
    unfetched = {again for again, count in executions.items() if count > 1}
    assert unfetched <= {done for worker, done in witness.seen("memory") if worker == pid}
    assert not [name for name in differing(undisturbed, tmp_path) if "charlm" in name]


def test_threads_of_a_worker_train_one_at_a_time(tiny_study, monkeypatch):
    from runner import cluster

    inside, most = [], []

    def train(*_, **__) -> dict:
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return {"status": "completed"}

    monkeypatch.setattr(cluster, "run_trial", train)
    job = (tiny_study.cell("charlm", "relu"), 1)
    with ThreadPoolExecutor(4) as threads:
        events = list(threads.map(lambda _: cluster.cluster_trial(tiny_study, job), range(8)))
    assert events == [Event(job, "done", "completed")] * 8 and most == [1] * 8


def test_what_cannot_be_recorded_is_not_tried_again(tiny_study, monkeypatch):
    from runner import cluster

    def fail(*_, **__):
        raise RecordingError("leave out --cuda-graphs")

    monkeypatch.setattr(cluster, "run_trial", fail)
    job = (tiny_study.cell("charlm", "relu"), 1)
    assert cluster.cluster_trial(tiny_study, job) == Event(job, "failed", "leave out --cuda-graphs")


@pytest.fixture
def ports() -> Iterator[dict[str, str]]:
    """Addresses here without a scheduler: one refuses connections, one takes them and never answers, and one greets
    as ssh does."""
    with socket.socket() as closed, socket.socket() as mute, socket.socket() as ssh:
        named = {"closed": closed, "mute": mute, "ssh": ssh}
        for each in named.values():
            each.bind(("127.0.0.1", 0))
        mute.listen()
        ssh.listen()

        def greet() -> None:
            connection, _ = ssh.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield {name: f"tcp://127.0.0.1:{each.getsockname()[1]}" for name, each in named.items()}


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path, monkeypatch, capsys, ports):
    from runner import cluster

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    damaged, foreign = tmp_path / "damaged.json", tmp_path / "foreign.json"
    damaged.write_text('{"address": "tcp:')
    foreign.write_text("{}")
    for address, reason in [
        (ports["closed"], "no scheduler answers"),
        (ports["mute"], "(no answer in 0.5 s)"),
        (ports["ssh"], "no scheduler answers"),
        ("ucx://127.0.0.1:1", "no scheduler answers"),
        ("tcp://", "no scheduler answers at tcp://"),
        ("tls://", "no scheduler answers at tls://"),
        ("absent.json", "there is no scheduler file absent.json; an address has a port"),
        (str(damaged), "is damaged"),
        (str(foreign), "is no scheduler file"),
    ]:
        places = ["--results-dir", f"{tmp_path / 'results'}", "--checkpoints-dir", f"{tmp_path / 'checkpoints'}"]
        code = run_all_experiments.main(["--config", "cpu", *places, "--scheduler", address])
        captured = capsys.readouterr()
        assert code == 2 and captured.err.count("\n") == 1 and reason in captured.err, captured.err


def test_a_scheduler_with_tls_is_reached_with_the_files_and_not_without(tmp_path):
    from runner.cluster import connect

    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=here")
    make = ["openssl", "req", "-x509", *curve, "-keyout", key, "-out", certificate]
    subprocess.run(make, capture_output=True, check=True)
    of = {
        f"tls_{role}_{what}": path
        for role in ("scheduler", "worker", "client")
        for what, path in (("cert", certificate), ("key", key))
    }
    security = distributed.Security(require_encryption=True, tls_ca_file=certificate, **of)
    options = {"n_workers": 0, "processes": False, "dashboard_address": None, "host": "127.0.0.1"}
    files = {"tls_ca_file": certificate, "tls_client_cert": certificate, "tls_client_key": key}
    with distributed.LocalCluster(protocol="tls://", security=security, **options) as cluster:
        address = cluster.scheduler_address
        with connect(address, files) as client:
            assert client.scheduler_info()["address"] == address and address.startswith("tls://")
        threads = set(threading.enumerate())
        with pytest.raises(UserError, match="uses TLS: give --tls-ca-file, --tls-cert and --tls-key, or set them"):
            connect(address, {})
        assert threads == set(threading.enumerate()), "a client that was refused is left running"
        with dask.config.set(
            {
                f"distributed.comm.tls.{name}": value
                for name, value in (("ca-file", certificate), ("client.cert", certificate), ("client.key", key))
            }
        ):
            connect(address, {}).close()
        with pytest.raises(UserError, match="there is no file"):
            connect(address, files | {"tls_client_key": str(tmp_path / "absent")})
        with pytest.raises(UserError, match="does not use TLS"):
            connect("tcp://127.0.0.1:1", files)


def test_the_docs_scheduler_and_worker_are_reached_by_the_addresses_they_are_given_alone(tmp_path):
    """By the sockets on which they listen; here by those of this machine alone."""
    scheduler, worker = (
        next(line for line in dask_lines() if line.startswith(f"dask {role}")) for role in ("scheduler", "worker")
    )
    local = next(name for name, known in psutil.net_if_addrs().items() if "127.0.0.1" in {at.address for at in known})
    processes = []
    try:
        for line in (scheduler.replace("10.0.0.5", "127.0.0.1 --port 0"), worker.replace("eth0", local)):
            command, *options = shlex.split(line.replace("--nworkers 8", "--nworkers 1"), comments=True)[1:]
            program = [sys.executable, "-m", f"distributed.cli.dask_{command}", *options]
            process = subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.append(psutil.Process(process.pid))
        assert wait_until((tmp_path / "scheduler.json").exists)
        with distributed.Client(scheduler_file=str(tmp_path / "scheduler.json")) as client:
            client.wait_for_workers(1)
            listening = [
                socket.laddr.ip
                for process in (*processes, *processes[1].children(recursive=True))
                for socket in process.net_connections("inet")
                if socket.status == psutil.CONN_LISTEN
            ]
        assert len(listening) >= 5 and set(listening) == {"127.0.0.1"}
    finally:
        for process in processes:
            for child in process.children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


@pytest.mark.parametrize("options", [("--tls-key", "a"), ("--tls-ca-file", "a", "--tls-cert", "b", "--tls-key", "c")])
def test_tls_files_are_for_a_scheduler_and_come_together(capsys, options):
    with pytest.raises(SystemExit):
        run_all_experiments.main([*options])
    assert "are given together, and with --scheduler" in capsys.readouterr().err
