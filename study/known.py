"""What a process has read of a cell's finished trials: each file once, and again when it has changed.

A worker that trains the 60th trial of a cell has the other 59 in memory, and what comparing keeps of each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probabilities import Compared, to_compare
from study.store import Cell, Store

LARGEST_MEMORY = 256 * 2**20  # bytes of predictions that a process keeps; what exceeds them is read again


@dataclass
class Known:
    """Of one cell at a time: what its files hold, each with the state of the file when it was read."""

    folder: Path | None = None
    contents: dict[Path, tuple[tuple, Any]] = field(default_factory=dict)
    n_bytes: int = 0

    def get(self, path: Path, read: Callable[[], Any], size: Callable[[Any], int] = lambda content: 0) -> Any:
        """What ``read`` gives, from memory if the file has not changed since; ``size`` says what that takes."""
        if path.parent != self.folder:
            self.folder, self.contents, self.n_bytes = path.parent, {}, 0
        now = state_of(path)
        kept = self.contents.get(path)
        if kept is not None and kept[0] == now:
            return kept[1]
        content = read()
        added = size(content) - (size(kept[1]) if kept else 0)
        if now is not None and self.n_bytes + added <= LARGEST_MEMORY:
            self.contents[path] = now, content
            self.n_bytes += added
        return content


KNOWN = Known()


def state_of(path: Path) -> tuple | None:
    """What changes whenever a file is written; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def known_record(store: Store, cell: Cell, number: int) -> dict:
    """As ``store.read_record``; only to be read."""
    return KNOWN.get(store.record_path(cell, number), lambda: store.read_record(cell, number))


class Predictions:
    """A trial's predictions (samples, V) of each evaluation, and in the form in which they are compared with many."""

    def __init__(self, probabilities: list[np.ndarray], sha256: str):
        self._probabilities, self.sha256 = probabilities, sha256
        self.n_bytes = 8 * sum(p.size for p in probabilities)  # once compared, in float64
        self.n_bytes += 4 * 8 * probabilities[-1].size  # what metrics of the last evaluation keep

    @cached_property
    def compared(self) -> list[Compared]:
        """Those of a trial that completed."""
        compared = [to_compare(p) for p in self._probabilities]
        self._probabilities = []
        return compared


def known_predictions(store: Store, cell: Cell, number: int, record: dict) -> Predictions:
    """As ``store.predictions_of`` the trial with this ``record``."""
    path, sha256 = store.predictions_path(cell, number), record["predictions_sha256"]

    def read() -> Predictions:
        return Predictions(store.predictions_of(cell, number, record), sha256)

    found = KNOWN.get(path, read, lambda predictions: predictions.n_bytes)
    return found if found.sha256 == sha256 else read()


CHECKED = Known()  # the hashes of files of predictions that this process has read, kept where they themselves are not


def check_predictions(store: Store, cell: Cell, number: int, record: dict) -> None:
    """Damaged unless the predictions are those of the trial with this ``record``."""

    def check() -> str:
        return known_predictions(store, cell, number, record).sha256

    if CHECKED.get(store.predictions_path(cell, number), check) != record["predictions_sha256"]:
        check()
