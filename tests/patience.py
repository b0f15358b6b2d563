"""How long tests wait for other processes: as long as those get on, however slow a busy machine makes them.

Imports nothing of this repository.
"""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

SPENT = 2.0  # seconds of the processors in ``still`` seconds that are too few for processes that get on


class Patience:
    """Processes hang if within ``still`` seconds they use the processors, or wait for one to be free, for less than
    ``SPENT`` seconds, and are in a loop once they have used ``most``. Where nothing says so (not on Linux), ``still``
    is the limit.
    """

    def __init__(self, processes: Callable[[], Collection[int]], still: float = 300, most: float = 1_800):
        self.processes, self.still, self.most = processes, still, most
        self.used: dict[int, float] = {}
        self.waited: dict[int, float] = {}
        self.look()
        self.before, self.noted = self.total_used(), self.total()
        self.since = time.monotonic()

    def look(self) -> None:
        """Note what they have used and waited by now; that of those which have ended since stays."""
        for pid in self.processes():
            self.used[pid] = max(self.used.get(pid, 0.0), processor_time(pid))
            self.waited[pid] = max(self.waited.get(pid, 0.0), waiting_time(pid))

    def total_used(self) -> float:
        return sum(self.used.values())

    def total(self) -> float:
        return self.total_used() + sum(self.waited.values())

    def is_over(self) -> bool:
        self.look()
        total, now = self.total(), time.monotonic()
        if total - self.noted >= SPENT:
            self.noted, self.since = total, now
        return self.total_used() - self.before > self.most or now - self.since > self.still


def wait_until(condition: Callable[[], object], processes: Callable[[], Collection[int]] = tuple) -> bool:
    """Whether ``condition`` comes true while these processes, on which it depends, get on."""
    patience = Patience(processes)
    while not condition():
        if patience.is_over():
            return False
        time.sleep(0.05)
    return True


def living_processes(**wanted: int) -> list[int]:
    """Process ids of those with this parent or session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        state = process_state(int(path.name))
        if state["state"] != "Z" and wanted.items() <= state.items():
            found.append(int(path.name))
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Process ids of its children that live, of theirs, and so on."""
    states = {int(path.name): process_state(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for parent in found:  # grows meanwhile
        found += [child for child, state in states.items() if state["state"] != "Z" and state["parent"] == parent]
    return found[1:]


def process_state(pid: int) -> dict[str, str | int]:
    """State letter, parent and session of a process; state "Z" (it has ended) if there is none."""
    try:
        state, parent, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return {"state": "Z"}
    return {"state": state, "parent": int(parent), "session": int(session)}


def processor_time(pid: int) -> float:
    """Seconds of the processors that a process has used, in all; 0 if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waiting_time(pid: int) -> float:
    """Seconds that a process, its first thread, was ready to run and no processor was free; 0 if nothing says so."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
