"""Locks, and what stands in for them on a file server without any."""

import errno
import fcntl
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import train
from own.run import train_pending
from own.trial import Setting
from runner import study_run
from runner.progress import Progress
from runner.workers import run_job
from study import environment, locks
from study.files import Busy
from study.locks import exclusive
from study.options import CONFIGS
from study.plan import Plan


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that answers as NFS without its lock service does."""

    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="nothing says when a process was started")


def holder(**changes) -> str:
    return json.dumps(json.loads(locks._holder()) | changes)


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_without_locks_a_file_excludes_others(tmp_path, no_locks):
    lock = tmp_path / "a.lock"
    with exclusive(lock):
        assert json.loads((tmp_path / "a.lock.held").read_text())["pid"] == os.getpid()
        with pytest.raises(Busy, match=rf"a\.lock\.held is held by process {os.getpid()} of "), exclusive(lock):
            pass
        with exclusive(tmp_path / "b.lock"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "b.lock"]


def test_without_locks_a_lock_can_be_waited_for(tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    taken = []
    with exclusive(tmp_path / "a.lock"):
        waiting = threading.Thread(target=lambda: taken.append(wait_for(tmp_path / "a.lock")))
        waiting.start()
        time.sleep(0.05)
        assert not taken
    waiting.join(10)
    assert taken == [True]


def test_whoever_waits_for_a_lock_file_is_told_which_and_once(tmp_path, no_locks, monkeypatch, capsys):
    held, polls = tmp_path / "a.lock.held", itertools.count()
    held.write_text(holder(host="another", pid=12))

    def pass_a_second(seconds: float) -> None:
        if next(polls) == 4:
            held.unlink()

    clock = SimpleNamespace(monotonic=itertools.count().__next__, sleep=pass_a_second, time=time.time)
    monkeypatch.setattr(locks, "time", clock)
    monkeypatch.setattr(locks, "SAY_AFTER", 2)
    assert wait_for(tmp_path / "a.lock")
    said = f"waiting for {held}, held by process 12 of another; if that has ended, remove the file\n"
    assert capsys.readouterr().err == said


def wait_for(path: Path) -> bool:
    with exclusive(path, wait=True):
        return True


@pytest.mark.parametrize(
    ("content", "age", "left_behind"),
    [
        (lambda: holder(pid=ended_process()), 0, True),
        (lambda: holder(boot="another"), 0, True),
        (lambda: holder(), 0, False),
        (lambda: holder(host="another", boot="another", pid=ended_process()), 0, False),
        pytest.param(lambda: holder(started=1), 0, True, marks=LINUX),  # by one that had this process's number before
        (lambda: holder(started=None), 0, False),
        (lambda: holder(namespace="pid:[1]", pid=ended_process()), 0, False),  # that lives in another container
        (lambda: holder(namespace="pid:[1]", boot="another"), 0, True),
        (lambda: "", 0, False),  # being written
        (lambda: "", 3600, True),
        (lambda: "[]", 3600, True),
    ],
)
def test_a_lock_file_that_was_left_behind_is_recognised(tmp_path, no_locks, content, age, left_behind):
    held, written = tmp_path / "a.lock.held", content()
    held.write_text(written)
    os.utime(held, (time.time() - age,) * 2)
    if not left_behind:
        with pytest.raises(Busy), exclusive(tmp_path / "a.lock"):
            pass
        assert held.read_text() == written
        return
    with exclusive(tmp_path / "a.lock"):
        assert json.loads(held.read_text())["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


@pytest.mark.parametrize("taken_meanwhile", [False, True])
def test_a_lock_that_is_held_after_all_is_put_back_and_replaces_no_other(tmp_path, monkeypatch, taken_meanwhile):
    held, other, looks = tmp_path / "a.lock.held", holder(host="another"), iter([True, False])
    held.write_text(holder())

    def look(path: Path) -> bool:
        if path != held and taken_meanwhile:
            held.write_text(other)
        return next(looks)

    monkeypatch.setattr(locks, "_left_behind", look)
    locks._remove_left_behind(held)
    assert held.read_text() == (other if taken_meanwhile else holder())
    assert list(tmp_path.iterdir()) == [held]


def test_the_lock_of_another_is_not_given_back(tmp_path, no_locks):
    held = tmp_path / "a.lock.held"
    with exclusive(tmp_path / "a.lock"):
        held.write_text(holder(host="another"))
    assert held.read_text() == holder(host="another")


def test_a_folder_of_a_user_s_own_trials_without_locks_is_warned_of_too(tmp_path, no_locks, capsys):
    setting = Setting(tmp_path / "task.py", tmp_path, 1, "cpu")
    assert train_pending(setting, 1, [], lambda event: None) is None
    assert "has no locks: two runners must not share it" in capsys.readouterr().err


def test_a_run_names_the_file_that_keeps_a_trial_from_it(tiny_study, no_locks, capsys):
    cell = tiny_study.cell("charlm", "relu")
    plan = Plan([(cell, 1)], [(cell, 1)], {})
    with exclusive(tiny_study.store.lock_path(cell, "trial_1")):
        (event,) = [run_job(tiny_study, job, lambda event: None, lambda: False) for job in plan.jobs]
    progress = Progress(tiny_study, plan)
    progress.on_event(event)
    assert study_run.conclude(tiny_study, plan, progress) == 0
    said = capsys.readouterr().out
    assert "1 trial left to another run, which is training it" in said
    assert re.search(
        rf"\nleft: .*\.held is held by process {os.getpid()} of .*; if that has ended, remove the file\n", said
    )


def test_another_fault_of_a_lock_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    def fail(*_) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), exclusive(tmp_path / "a.lock"):
        pass


# ---------------------------------------------------------------- neither locks nor git


def test_without_git_and_without_locks_a_cell_is_trained(tiny_study, no_locks, monkeypatch, capsys):
    found_out, made = [], []
    find, advance = train.environment.__wrapped__, train.TrialRun.advance
    monkeypatch.setattr(environment, "code_facts", environment.code_facts.__wrapped__)
    monkeypatch.setattr(train, "environment", lambda device: found_out.append(len(made)) or find(device))
    monkeypatch.setattr(train.TrialRun, "advance", lambda run: made.append(run.step) or advance(run))
    monkeypatch.setitem(CONFIGS, "cpu", tiny_study.config)
    monkeypatch.setenv("PATH", "")
    places = ("--results-dir", str(tiny_study.store.results), "--checkpoints-dir", str(tiny_study.store.checkpoints))
    asked = ("--model", "nanotransformer", "--activation", "relu", "--iterations", "1", "--trials", "1")
    assert train.main([*asked, "--config", "cpu", *places]) == 0
    assert found_out == [0] and made == [0]  # once, before the first step
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "has no locks: two runners must not share it" in said.err
    record = json.loads(next(tiny_study.store.results.rglob("trial_1.json")).read_text())
    assert record["status"] == "completed" and record["environment"]["commit"] is None
    assert not list(tiny_study.store.results.rglob("*.held"))
