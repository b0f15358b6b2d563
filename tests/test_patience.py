"""How long tests wait for other processes."""

import ast
import os
import signal
import subprocess
from pathlib import Path

import patience
import pytest
from patience import Patience, descendants, living_processes, process_state, processor_time, waiting_time


class Clock:
    """A clock and one process, whose use of the processors is set by hand."""

    def __init__(self, monkeypatch):
        self.now = self.used = self.waited = 0.0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(patience, "processor_time", lambda pid: self.used)
        monkeypatch.setattr(patience, "waiting_time", lambda pid: self.waited)

    def advance(self, seconds: float, used: float, waited: float = 0.0) -> None:
        self.now += seconds
        self.used += used
        self.waited += waited


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def test_a_slow_process_is_waited_for_as_long_as_it_gets_on(clock):
    waited = Patience(lambda: [1], still=100, most=1_000)
    for _ in range(50):
        clock.advance(90, patience.SPENT)
        assert not waited.is_over()
    clock.advance(99, 0)
    assert not waited.is_over()
    clock.advance(2, patience.SPENT / 2)  # next to nothing
    assert waited.is_over()


def test_a_process_that_gets_no_processor_is_waited_for(clock):
    waited = Patience(lambda: [1], still=100, most=1_000)
    for _ in range(50):
        clock.advance(90, used=0, waited=60)
        assert not waited.is_over()
    clock.advance(101, 0)
    assert waited.is_over()


def test_a_loop_is_not_waited_for(clock):
    clock.used = 500.0  # before the waiting began
    waited = Patience(lambda: [1], still=100, most=1_000)
    clock.advance(1, 999)
    assert not waited.is_over()
    clock.advance(1, 2)
    assert waited.is_over()


def test_what_ended_processes_used_is_not_forgotten(clock):
    alive = [1]
    waited = Patience(lambda: alive, still=100, most=1_000)
    clock.advance(1, 600)
    assert not waited.is_over()
    alive[0], clock.used = 2, 0.0
    clock.advance(1, 600)
    assert waited.is_over()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_processor_time_is_that_of_the_system():
    before = sum(os.times()[:2])
    assert before - 0.1 <= processor_time(os.getpid()) <= sum(os.times()[:2]) + 0.1
    assert processor_time(2**22 + 1) == 0
    assert waiting_time(os.getpid()) >= 0 and waiting_time(2**22 + 1) == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_descendants_are_children_and_theirs():
    program = "sleep 60 & sleep 60 & wait"
    with subprocess.Popen(["sh", "-c", program], start_new_session=True) as shell:
        try:
            assert patience.wait_until(lambda: len(living_processes(parent=shell.pid)) == 2)
            children = living_processes(parent=shell.pid)
            assert sorted(descendants(shell.pid)) == children
            assert {shell.pid, *children} <= set(descendants(os.getpid()))
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    assert not descendants(shell.pid) and process_state(shell.pid) == {"state": "Z"}


def test_no_test_limits_a_process_by_the_clock():
    """A busy machine is no failure; ``runs.run_to_its_end`` and ``wait_until`` wait as long as processes get on."""
    limited = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in (
                "run",
                "wait",
                "communicate",
                "check_output",
            ):
                given = [word.arg for word in call.keywords] + [type(argument) for argument in call.args]
                if "timeout" in given or (call.func.attr == "wait" and ast.Constant in given):
                    limited.append(f"{path.name}, line {call.lineno}")
    assert not limited
