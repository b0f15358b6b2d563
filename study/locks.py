"""Locks of files that several processes write: the system's where there are any, otherwise a file that says who.

The system frees its lock when the process ends, however it ends. Some network file systems have none; there a lock is
a file that only one process can create, with the machine and the process that hold it. One that was left behind is
recognised on the machine it is of, by its process being gone, whoever has its number now, or by a restart of the
machine since; that of another machine or container is named to whoever waits for it.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from study.files import Busy

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)  # what file systems without locks answer
POLL_SECONDS = 0.1
BEING_WRITTEN = 60  # seconds after which a lock file without a holder counts as left behind
SAY_AFTER = 60  # seconds of waiting for a lock file until it is named


@contextmanager
def exclusive(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``.

    Raises Busy if another process holds it and ``wait`` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(f"{path} is held by another process") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        else:
            yield
            return
    held = path.with_name(f"{path.name}.held")
    _take(held, wait)
    try:
        yield
    finally:
        with suppress(OSError):
            if held.read_text() == _holder():  # and not that of another, who took ours for one left behind
                held.unlink()


def has_locks(folder: Path) -> bool:
    """Whether the file system of ``folder``, which must be writable, has locks of its own."""
    probe = folder / f".lock_test_{uuid.uuid4().hex}"
    try:
        with probe.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_LOCKS
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


def warn_without_locks(folder: Path) -> None:
    """Say on stderr what a file system without locks means; a command does so once, before its work."""
    if not has_locks(folder):
        print(
            f"warning: the file system of {folder} has no locks: two runners must not share it. Files *.held "
            "stand in for locks; one that another machine has left behind is to be removed by hand",
            file=sys.stderr,
        )


# ---------------------------------------------------------------- where the system has no locks


def _take(held: Path, wait: bool) -> None:
    """Create the lock file ``held``, once no other process has it if ``wait`` is set; Busy otherwise."""
    start, said = time.monotonic(), False
    while not _create(held):
        if not wait:
            raise Busy(f"{held} is held by {_owner(held)}; if that has ended, remove the file", by_file=True)
        if not said and time.monotonic() - start >= SAY_AFTER:
            said = True
            print(f"waiting for {held}, held by {_owner(held)}; if that has ended, remove the file", file=sys.stderr)
        time.sleep(POLL_SECONDS)


def _create(held: Path) -> bool:
    """Create the lock file ``held``, unless another process that may be alive has it."""
    try:
        descriptor = os.open(held, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        _remove_left_behind(held)
        return False if held.exists() else _create(held)
    with os.fdopen(descriptor, "w") as file:
        file.write(_holder())
    return True


def _holder() -> str:
    """What the lock files of this process hold."""
    pid = os.getpid()
    place = {"host": socket.gethostname(), "boot": _boot(), "namespace": _namespace()}
    return json.dumps({**place, "pid": pid, "started": _started(pid)})


def _owner(held: Path) -> str:
    """In words, who holds the lock file ``held``."""
    try:
        holder = json.loads(held.read_text())
        return f"process {holder['pid']} of {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _remove_left_behind(held: Path) -> None:
    """Remove ``held`` if it was left behind by a process of this machine that has ended.

    It is renamed first and looked at again, so that one which another process has just created in its place is not
    lost but put back.
    """
    if not _left_behind(held):
        return
    taken = held.with_name(f"{held.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        held.rename(taken)
        if not _left_behind(taken):
            _put_back(taken, held)
        taken.unlink()


def _put_back(taken: Path, held: Path) -> None:
    """Give the lock file ``taken`` its name ``held`` again, unless another process has taken the lock meanwhile."""
    content = taken.read_text()
    with suppress(FileExistsError), held.open("x") as file:
        file.write(content)


def _left_behind(held: Path) -> bool:
    try:
        holder = json.loads(held.read_text())
        host, boot, pid = holder["host"], holder["boot"], int(holder["pid"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):  # not written yet, or cut off by the end of its process
        with suppress(OSError):
            return time.time() - held.stat().st_mtime > BEING_WRITTEN
        return False
    if host != socket.gethostname():
        return False
    if boot != _boot():
        return True
    if holder.get("namespace", _namespace()) != _namespace():
        return False  # of another container, where processes have other numbers
    return not _is_alive(pid, holder.get("started"))


@cache
def _boot() -> str | None:
    """What changes when the machine is restarted; None where the system does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


@cache
def _namespace() -> str | None:
    """Whose process numbers this process sees; None where the system does not say."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return None


def _started(pid: int) -> int | None:
    """When a process was started, by the system's clock; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def _is_alive(pid: int, started: int | None) -> bool:
    """Whether the process ``pid`` that was ``started`` then lives, and not another that has its number now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return _started(pid) in (started, None) or started is None
