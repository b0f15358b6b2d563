"""Paths of the repository, atomic writes, checked reads, and the errors of all these."""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

ROOT = Path(__file__).resolve().parents[1]
RESULTS_DIR = ROOT / "results"
CHECKPOINTS_DIR = ROOT / "checkpoints"
PLOTS_DIR = ROOT / "plots"
SUMMARY_NAME = "all_experiments_summary.json"
PAGE_NAME = "report.html"
PUBLISHED_NAME = "published.txt"
LARGEST_JSON = 2**28  # bytes, hundreds of times those of the largest cell file
STALE_AFTER = 3600  # seconds; a draft is being written for moments
DRAFT = re.compile(r"\.\d+-[0-9a-f]{8}\.part\Z")  # how the names of drafts end
# What says that a path leads to no file. Any other error may pass, as that of a server that is gone: the file may be
# whole, and must not be taken for a damaged one, which is replaced.
NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

Form = TypeVar("Form")


class UserError(Exception):
    """A mistake that one line explains, such as a wrong option; commands print it and exit with code 2."""


class ResultError(UserError):
    """A result that cannot be used."""


class Unreadable(ResultError):
    """A file that cannot be read now, such as for want of rights, and may be whole."""


class Damaged(ResultError):
    """A file that is not what was written."""


class Misplaced(Damaged):
    """A file that belongs to another trial or cell."""


class Stale(Misplaced):
    """A file of results that are gone."""


class OtherSettings(ResultError):
    """A result that was made with other settings."""


class ReadOnly(UserError):
    """A folder in which nothing may be written."""


class Busy(Exception):
    """Another process holds the lock.

    by_file  whether a file stands in for the lock, which nothing releases if its process ended on another machine
    """

    def __init__(self, said: str, by_file: bool = False):
        super().__init__(said)
        self.by_file = by_file

    @property
    def to_say(self) -> str:
        """What a run that goes on without tells its user: who holds a file that may have to be removed by hand."""
        return str(self) if self.by_file else ""


# ---------------------------------------------------------------- bytes


def write_bytes(path: Path, payload: bytes) -> None:
    """Write the whole file or nothing. The draft has a name of its own, so that of several writers at once the last
    one's file stands, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with draft.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def files_in(folder: Path, ending: str) -> list[Path]:
    """Files in ``folder`` whose names end so, by name; none where there is no such folder. OSError where it may not
    be looked into, which ``Path.glob`` takes for an empty one."""
    if not folder.is_dir():
        return []
    return sorted(folder / entry.name for entry in os.scandir(folder) if entry.name.endswith(ending))


def remove_stale_drafts(folder: Path) -> None:
    """Remove the drafts in ``folder`` whose writers were killed: those that nobody has written to for an hour."""
    for draft in folder.glob("*.part"):
        with suppress(OSError):
            if DRAFT.search(draft.name) and time.time() - draft.stat().st_mtime > STALE_AFTER:
                draft.unlink()


def read_bytes(path: Path, largest: float = math.inf) -> bytes:
    """The file's content, of at most ``largest`` bytes; Damaged or Unreadable if it cannot be read.

    What is no regular file (a FIFO, a folder, a device) is refused without being opened, because opening may wait
    for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Damaged(f"{path} is not a regular file")
        # Not to wait if the file is replaced by a FIFO just now; on a regular file the flag has no effect.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise Damaged(f"{path} is too large to be a result ({size} bytes)")
            return file.read()
    except OSError as error:
        kind = Damaged if error.errno in NO_FILE else Unreadable
        raise kind(f"{path} cannot be read: {error.strerror}") from None


def write_json(path: Path, record: dict, spaces: bool = True) -> None:
    """Write ``record``, with one line for each object in a list (many pairs are written ten times as fast so), and in
    such a line with or without ``spaces``."""
    separators = None if spaces else (",", ":")

    def text(value: object) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n  ".join(json.dumps(item, allow_nan=False, separators=separators) for item in value)
            return f"[\n  {items}\n ]"
        return json.dumps(value, indent=1, allow_nan=False).replace("\n", "\n ")

    entries = ",\n".join(f" {json.dumps(key)}: {text(value)}" for key, value in record.items())
    write_bytes(path, f"{{\n{entries}\n}}\n".encode())


def read_json(path: Path) -> dict:
    """The object in ``path``; Damaged if it is incomplete, nested too deeply, or has a number that JSON has not."""
    payload = read_bytes(path, LARGEST_JSON)
    try:
        record = msgspec.json.decode(payload)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if not isinstance(record, dict):
        raise Damaged(f"{path} is damaged (not a JSON object)")
    return record


def check_form(path: Path, content: object, form: type[Form], faults: Callable[[Form], Iterable[str]]) -> None:
    """Damaged, with the place, unless the ``content`` read from ``path`` has this ``form`` and no ``faults``."""
    if found := fault_in(content, form, faults):
        raise Damaged(f"{path} is damaged ({found})")


def fault_in(content: object, form: type[Form], faults: Callable[[Form], Iterable[str]]) -> str | None:
    """The first place where ``content`` is not of this ``form``, and what is wrong there, in words.

    ``form`` is a msgspec type, that is the declared schema; ``faults`` yields, in words, what a schema cannot say.
    """
    try:
        return next(iter(faults(msgspec.convert(content, form))), None)
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        what, _, place = str(error).partition(" - at `$")
        place = place.strip(".`")
        return f"{place}: {what}" if place else what


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def write_checked(path: Path, record: dict, spaces: bool = True) -> None:
    """Write ``record`` with a checksum of itself, as ``write_json``."""
    write_json(path, {**record, "checksum": digest(json.dumps(record).encode())}, spaces)


def read_checked(path: Path) -> dict:
    """What ``write_checked`` wrote; Damaged if it was altered or has no checksum."""
    record, has_checksum = read_checked_if_it_can_be(path)
    if not has_checksum:
        raise Damaged(f"{path} does not match its checksum")
    return record


def read_checked_if_it_can_be(path: Path) -> tuple[dict, bool]:
    """The object in ``path``, and whether it has a checksum; Damaged if that is not its own."""
    record = read_json(path)
    if "checksum" not in record:
        return record, False
    checksum = record.pop("checksum")
    try:
        computed = digest(json.dumps(record).encode())
    except RecursionError as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if checksum != computed:
        raise Damaged(f"{path} does not match its checksum")
    return record, True


def write_sealed(path: Path, payload: bytes) -> None:
    """Write ``payload`` after its own SHA-256, for a file whose hash is recorded nowhere else."""
    write_bytes(path, hashlib.sha256(payload).digest() + payload)


def read_sealed(path: Path) -> bytes:
    """What ``write_sealed`` wrote; Damaged if it was truncated or altered."""
    content = read_bytes(path)
    seal, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != seal:
        raise Damaged(f"{path} does not match its hash")
    return payload


def move_damaged(path: Path, ending: str = "damaged") -> Path:
    """Rename a damaged file to ``<name>.damaged``, or .damaged2, ... where that name is taken, so that nothing is
    lost and nothing trusts it; returns the new path."""
    moved = unused(lambda number: path.with_name(f"{path.name}.{ending}{number}"))
    with suppress(FileNotFoundError):
        path.replace(moved)
    return moved


def unused(named: Callable[[str], Path]) -> Path:
    """The path ``named`` without a number or, where that is taken, with the first from 2 on that is not."""
    number, path = 1, named("")
    while os.path.lexists(path):
        number += 1
        path = named(str(number))
    return path


def check_writable(folder: Path) -> None:
    """UserError unless files can be written in ``folder``, which is made if it is missing; ReadOnly where nothing may
    be written there."""
    probe = folder / f".write_test_{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
    except OSError as error:
        kind = ReadOnly if error.errno in READ_ONLY else UserError
        raise kind(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            probe.unlink()


def check_may_be_written(folder: Path) -> None:
    """UserError if it is known without writing that ``folder`` cannot be written to, or not be made."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if not there.is_dir():
        raise UserError(f"cannot write to {folder}: {os.strerror(errno.ENOTDIR)}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {folder}: {there} may not be written to")


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
