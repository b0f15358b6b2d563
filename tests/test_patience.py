"""How long tests wait for other processes."""

import os
from pathlib import Path

import patience
import pytest
from patience import Patience, processor_time


class Clock:
    """A clock and one process, whose use of the processors is set by hand."""

    def __init__(self, monkeypatch):
        self.now = self.used = 0.0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(patience, "processor_time", lambda pid: self.used)

    def advance(self, seconds: float, used: float) -> None:
        self.now += seconds
        self.used += used


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
