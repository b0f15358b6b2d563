"""Paths of the repository, atomic writes, checked reads, and the errors of all these."""

import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS_DIR = ROOT / "results"
CHECKPOINTS_DIR = ROOT / "checkpoints"
PLOTS_DIR = ROOT / "plots"
SUMMARY_NAME = "all_experiments_summary.json"
PAGE_NAME = "report.html"
PUBLISHED_NAME = "published.txt"


class UserError(Exception):
    """A mistake that one line explains, such as a wrong option; commands print it and exit with code 2."""


class ResultError(UserError):
    """A result that cannot be used."""


class Damaged(ResultError):
    """A file that is not what was written."""


class Misplaced(Damaged):
    """A file that belongs to another trial or cell."""


class OtherSettings(ResultError):
    """A result that was made with other settings."""


class Busy(Exception):
    """Another process holds the lock."""


# ---------------------------------------------------------------- bytes


def write_bytes(path: Path, payload: bytes) -> None:
    """Write the whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_bytes(path: Path) -> bytes:
    """The file's content; Damaged if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None


def write_json(path: Path, record: dict) -> None:
    """Write ``record``, with one line for each object in a list (many pairs are written ten times as fast so)."""

    def text(value: object) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
            return f"[\n  {items}\n ]"
        return json.dumps(value, indent=1, allow_nan=False).replace("\n", "\n ")

    entries = ",\n".join(f" {json.dumps(key)}: {text(value)}" for key, value in record.items())
    write_bytes(path, f"{{\n{entries}\n}}\n".encode())


def read_json(path: Path) -> dict:
    """The object in ``path``; Damaged if it is incomplete."""
    try:
        record = json.loads(read_bytes(path))
    except ValueError as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if not isinstance(record, dict):
        raise Damaged(f"{path} is damaged (not a JSON object)")
    return record


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def write_checked(path: Path, record: dict) -> None:
    """Write ``record`` with a checksum of itself."""
    write_json(path, {**record, "checksum": digest(json.dumps(record).encode())})


def read_checked(path: Path, required: bool = True) -> dict:
    """What ``write_checked`` wrote; Damaged if it was altered, or has no checksum though one is ``required``."""
    record = read_json(path)
    checksum = record.pop("checksum", None)
    if (required or checksum is not None) and checksum != digest(json.dumps(record).encode()):
        raise Damaged(f"{path} does not match its checksum")
    return record


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


def move_damaged(path: Path) -> None:
    """Rename a damaged file to ``<name>.damaged``, so that nothing is lost and nothing trusts it."""
    with suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".damaged"))


def check_writable(folder: Path) -> None:
    """UserError unless files can be written in ``folder``, which is made if it is missing."""
    probe = folder / f".write_test_{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            probe.unlink()


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
