"""Where results and checkpoints lie, what identifies a trial, and the form of cell files.

A file is written under another name and renamed, so what exists is complete; records carry a checksum and the hashes
of the files they name, so that an altered file is noticed.
"""

import io
import itertools
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from config import RECIPE, Config, size_in
from probabilities import probabilities
from study.compact import compact, expand
from study.corpus import CORPUS_SHA256
from study.evaluations import stacked, stacked_shapes, unstacked
from study.files import (
    CHECKPOINTS_DIR,
    PUBLISHED_NAME,
    RESULTS_DIR,
    SUMMARY_NAME,
    Damaged,
    Misplaced,
    OtherSettings,
    ResultError,
    UserError,
    check_form,
    digest,
    fault_in,
    files_in,
    read_bytes,
    read_checked,
    read_checked_if_it_can_be,
    read_json,
    remove_stale_drafts,
    unused,
    write_bytes,
    write_checked,
)
from study.schema import CellForm, RecordForm, SummaryForm, cell_faults, no_faults, record_faults

# ---------------------------------------------------------------- identity


# Settings that change no number of a trial, or that its cell or its own values stand for.
NO_IDENTITY = ("study", "shapes", "device", "models", "activations", "n_trials", "landscape", "rates")

# Settings that came after the first results: part of an identity only where they are not at their defaults, so that
# earlier results keep their fingerprints.
DECLARED_LATER = (
    "optimizer",
    "betas",
    "weight_decay",
    "schedule",
    "warm_up",
    "floor",
    "clip_norm",
    "muon_rate",
    "contexts_between",
)


RECORD = re.compile(r"trial_([1-9]\d*)\.json")  # the name of a trial's record


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries whose random streams or rounding a trial's numbers depend on."""
    return {name: version(name).split("+")[0] for name in ("torch", "numpy")}


def identity(config: Config, model: str, activation: str, device: str, precision: str) -> dict:
    """All that can change the numbers of a trial, except its seed's index.

    The number of trials is no part of it, nor whether the landscape is computed, which changes no other number.
    """
    settings = config.of_cell(model, activation)
    shared = {
        setting.name: value
        for setting in fields(settings)
        for value in [getattr(settings, setting.name)]
        if setting.name not in NO_IDENTITY and not (setting.name in DECLARED_LATER and value == setting.default)
    }
    facts = {
        "recipe": RECIPE,
        "model": model,
        "activation": activation,
        # a user's own model has none
        **({"shape": asdict(config.shape_of(model))} if model in config.shapes or size_in(model) else {}),
        **shared,
        "device": device,
        "precision": precision,
        "corpus": CORPUS_SHA256,
        **versions(),
    }
    return json.loads(json.dumps(facts))


def fingerprint(facts: dict) -> str:
    return digest(json.dumps(facts, sort_keys=True).encode())


def differences(there: dict, here: dict) -> str:
    """In words, where two identities differ: "iterations 100 there, 50 here; ..."."""
    there, here = (declared_later() | facts for facts in (there, here))

    def said(name: str) -> str:
        if name.endswith("_source"):
            return f"another source of the {name.removesuffix('_source')}"
        return f"{name} {there.get(name)} there, {here.get(name)} here"

    return "; ".join(said(name) for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name))


def declared_later() -> dict:
    """What a trial had whose identity says nothing of the settings that were ``DECLARED_LATER``."""
    defaults = {setting.name: setting.default for setting in fields(Config) if setting.name in DECLARED_LATER}
    return json.loads(json.dumps(defaults))


def check_identity(path: Path, record: dict, facts: dict) -> None:
    """OtherSettings unless the ``record`` read from ``path`` was made with exactly these settings."""
    if record.get("fingerprint") != fingerprint(facts):
        there = record.get("config", {})
        why = f"; {VARIES}" if fewer_steps(there, facts) and not has_constant_rate(facts) else ""
        raise OtherSettings(
            f"{path} was made with other settings ({differences(there, facts)}){why}; "
            "give this run its own name with --study NAME, or move the old results away"
        )


VARIES = (
    "it cannot be carried on, because the learning rate of every step follows from how many steps there are to be"
)


def continues(there: dict, here: dict) -> bool:
    """Whether what was made with the settings ``there`` is the beginning of what those ``here`` ask for: fewer steps
    of the same, none of which depends on how many there are to be."""
    return fewer_steps(there, here) and has_constant_rate(here)


def fewer_steps(there: dict, here: dict) -> bool:
    """Whether two identities differ in the number of steps alone, and ``there`` has fewer."""
    steps = there.get("iterations")
    return (
        isinstance(steps, int) and steps < here["iterations"] and there | {"iterations": here["iterations"]} == here
    )


def has_constant_rate(facts: dict) -> bool:
    return facts.get("schedule", "constant") == "constant"


# ---------------------------------------------------------------- trials and cells


@dataclass(frozen=True)
class Cell:
    """One architecture with one activation in one study."""

    model: str
    activation: str
    study: str

    @property
    def name(self) -> str:
        return f"{self.model}_{self.activation}_{self.study}"


def check_study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(f"study name {name!r} may only have letters, digits, '.', '_' and '-', at most 100")
    return name


def _recorded(names: Iterable[str]) -> set[int]:
    """Numbers of the trials whose record is among the ``names`` of files."""
    return {int(match[1]) for match in map(RECORD.fullmatch, names) if match}


@dataclass(frozen=True)
class Store:
    """The folders of results and checkpoints, and every path in them; trial numbers count from 1."""

    results: Path = RESULTS_DIR
    checkpoints: Path = CHECKPOINTS_DIR

    def cell_path(self, cell: Cell) -> Path:
        return self.results / f"{cell.name}.json"

    def trials_dir(self, cell: Cell) -> Path:
        return self.results / "trials" / cell.name

    def record_path(self, cell: Cell, number: int) -> Path:
        return self.trials_dir(cell) / f"trial_{number}.json"

    def predictions_path(self, cell: Cell, number: int) -> Path:
        return self.trials_dir(cell) / f"trial_{number}.npz"

    def pairs_path(self, cell: Cell, number: int) -> Path:
        """The pairs of a trial with those that ended before it."""
        return self.trials_dir(cell) / f"trial_{number}.pairs"

    def earlier_cell_path(self, cell: Cell) -> Path:
        """Where a cell file with other bits, such as of another machine, is kept: a name that is not taken."""
        return unused(lambda number: self.trials_dir(cell) / f"cell_made_elsewhere{number}.json")

    def checkpoint_path(self, cell: Cell, number: int) -> Path:
        return self.checkpoints / cell.name / f"trial_{number}.pt"

    def previous_state_path(self, cell: Cell, number: int) -> Path:
        """The resume state before the last one, for when that is damaged."""
        return self.checkpoint_path(cell, number).with_suffix(".pt.previous")

    def final_weights_path(self, cell: Cell, number: int) -> Path:
        """Where the weights of a finished trial are until its record is written."""
        return self.checkpoint_path(cell, number).with_suffix(".pt.final")

    def last_state_path(self, cell: Cell, number: int) -> Path:
        """The state of a trial after its last step, from which it goes on if more steps are asked for."""
        return self.checkpoint_path(cell, number).with_suffix(".pt.state")

    def settle_weights(self, cell: Cell, number: int) -> None:
        """Replace the resume states of a trial whose record is written by its final weights.

        Several processes may do so at once.
        """
        self.previous_state_path(cell, number).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.final_weights_path(cell, number).replace(self.checkpoint_path(cell, number))

    def error_path(self, cell: Cell, number: int) -> Path:
        return self.trials_dir(cell) / f"trial_{number}.error.txt"

    def lock_path(self, cell: Cell, what: str) -> Path:
        return self.trials_dir(cell) / f"{what}.lock"

    def recorded_trials(self, cell: Cell) -> set[int]:
        """Numbers of the trials that have a record."""
        return _recorded(self._names_in_trials_dir(cell))

    def done_trials(self, cell: Cell) -> set[int]:
        """Numbers of the trials that have a record and predictions."""
        names = self._names_in_trials_dir(cell)
        return {number for number in _recorded(names) if f"trial_{number}.npz" in names}

    def trials_with_locks(self, cell: Cell) -> set[int]:
        """Numbers of the trials that have a lock file: those that have ever been in work here."""
        found = (re.fullmatch(r"trial_(\d+)\.lock", name) for name in self._names_in_trials_dir(cell))
        return {int(match[1]) for match in found if match}

    def has_trial_files(self, cell: Cell) -> bool:
        """Whether a record or predictions of any trial are here, damaged ones included."""
        return any(re.match(r"trial_\d+\.(json|npz)", name) for name in self._names_in_trials_dir(cell))

    def _names_in_trials_dir(self, cell: Cell) -> set[str]:
        folder = self.trials_dir(cell)
        return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()

    def remove_stale_drafts(self, cells: Iterable[Cell]) -> None:
        """Remove what writers that were killed have left of files of ``cells``."""
        folders = [(self.trials_dir(cell), self.checkpoint_path(cell, 1).parent) for cell in cells]
        for folder in (self.results, *itertools.chain(*folders)):
            remove_stale_drafts(folder)

    def write_record(self, cell: Cell, number: int, record: dict) -> None:
        write_checked(self.record_path(cell, number), record)

    def read_record(self, cell: Cell, number: int) -> dict:
        """The record of a finished trial; Damaged if it is not what was written, Misplaced if another trial's."""
        path = self.record_path(cell, number)
        record = read_checked(path)
        check_form(path, record, RecordForm, record_faults)
        check_fingerprint(path, record)
        names = ("model", "activation", "study", "trial")
        if tuple(map(record.get, names)) != (cell.model, cell.activation, cell.study, number):
            owner = " ".join(f"{name} {record.get(name)}" for name in names)
            raise Misplaced(f"{path} is of another trial ({owner})")
        return record

    def write_predictions(self, cell: Cell, number: int, steps: list[int], predictions: Sequence[np.ndarray]) -> str:
        """Save probe probabilities, a (samples, V) float32 array for each of ``steps``; returns the SHA-256."""
        arrays: dict[str, Any] = stacked([np.asarray(p, dtype=np.float32) for p in predictions])
        buffer = io.BytesIO()
        np.savez(buffer, steps=np.asarray(steps), **arrays)
        write_bytes(self.predictions_path(cell, number), buffer.getvalue())
        return digest(buffer.getvalue())

    def read_predictions(self, cell: Cell, number: int, sha256: str) -> np.ndarray:
        """Probe probabilities (evaluations, samples, V), of the evaluations on as many contexts as the last one;
        Damaged if the file is not the one with this hash."""
        return self.read_stacked(cell, number, sha256)["probabilities"]

    def read_stacked(self, cell: Cell, number: int, sha256: str) -> dict[str, np.ndarray]:
        """Probe probabilities of all evaluations, as ``evaluations.stacked`` has them; Damaged as above."""
        path = self.predictions_path(cell, number)
        payload = read_bytes(path)
        if digest(payload) != sha256:
            raise Damaged(f"{path} does not match the hash in its record")
        try:
            with np.load(io.BytesIO(payload)) as arrays:
                found = {name: arrays[name] for name in arrays if name != "steps"}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            raise Damaged(f"{path} has no predictions") from None
        if "probabilities" not in found:
            raise Damaged(f"{path} has no predictions")
        for array in found.values():
            if array.dtype != np.float32 or array.ndim != 3:
                raise Damaged(f"{path} has no predictions ({array.dtype}, {array.ndim} axes)")
        return found

    def predictions_of(self, cell: Cell, number: int, record: dict) -> list[np.ndarray]:
        """The predictions of a trial with this ``record``, (samples, V) of each evaluation; Damaged unless there are
        some for each and, where it completed, all are probabilities."""
        found = self.read_stacked(cell, number, record["predictions_sha256"])
        wanted = stacked_shapes(record["config"], record["history"]["step"])
        path = self.predictions_path(cell, number)
        for name in dict.fromkeys([*wanted, *found]):
            shapes = [found[name].shape if name in found else "no", wanted.get(name, "no")]
            if shapes[0] != shapes[1]:
                raise Damaged(f"{path} has {shapes[0]} predictions instead of {shapes[1]}")
        predictions = unstacked(found)
        for p in predictions if record["status"] == "completed" else ():
            try:
                probabilities(p)
            except ValueError as error:
                what, *_ = str(error).split(";")
                raise Damaged(f"{path} has predictions that are no probabilities ({what})") from None
        return predictions

    def read_weights(self, cell: Cell, number: int, sha256: str) -> bytes:
        """The final weights of a finished trial; Damaged if the file is missing or not the one of the record."""
        path = self.checkpoint_path(cell, number)
        payload = read_bytes(path)
        if digest(payload) != sha256:
            raise Damaged(f"{path} does not match the hash in its record")
        return payload

    def write_cell(self, cell: Cell, content: dict) -> None:
        """Replace the cell file; UserError, and no file is changed, if the new one could not be read again."""
        path = self.cell_path(cell)
        try:
            kept = compact(content)
            fault = fault_in(expand(path, kept), CellForm, cell_faults)
        except ValueError as error:
            fault = str(error)
        if fault:
            raise UserError(f"{path} is left as it is: what was to be written could not be read again ({fault})")
        write_checked(path, kept, spaces=kept is content)

    def read_cell(self, cell: Cell, on_unchecked: Callable[[Path], None] = lambda path: None) -> dict | None:
        """The cell file, or None if there is none."""
        path = self.cell_path(cell)
        return read_cell_file(path, on_unchecked) if os.path.lexists(path) else None


def read_cell_file(path: Path, on_unchecked: Callable[[Path], None] = lambda path: None) -> dict:
    """The cell in ``path``; Damaged if it is not whole. It is checked to the leaves even where it has no checksum,
    which ``on_unchecked`` is told."""
    content, has_checksum = read_checked_if_it_can_be(path)
    content = expand(path, content)
    check_form(path, content, CellForm, cell_faults)
    check_fingerprint(path, content)
    cell = Cell(content["model"], content["activation"], content["study"])
    if path.stem != cell.name:
        raise Misplaced(f"{path} is the file of another cell ({cell.name})")
    if not has_checksum:
        on_unchecked(path)
    return content


def check_fingerprint(path: Path, content: dict) -> None:
    """Damaged unless the fingerprint is that of the settings beside it."""
    if content["fingerprint"] != fingerprint(content["config"]):
        raise Damaged(f"{path} is damaged (fingerprint: not that of its config)")


def leave_out(error: ResultError) -> None:
    """Say on stderr that a file is not read."""
    print(f"left out: {' '.join(str(error).split())}; restore it or remove it", file=sys.stderr)


def read_cells(
    results_dir: Path,
    on_fault: Callable[[ResultError], None] = leave_out,
    on_unchecked: Callable[[Path], None] = lambda path: None,
) -> list[dict]:
    """Every cell file in ``results_dir``, by name. A file that is none, or cannot be used, goes to ``on_fault`` and
    does not keep the others from being read."""
    cells = []
    for path in files_in(Path(results_dir), ".json"):
        if path.name == SUMMARY_NAME:
            continue
        try:
            cells.append(read_cell_file(path, on_unchecked))
        except ResultError as error:
            on_fault(error)
    return cells


def check_summary(results_dir: Path) -> None:
    """Damaged if there is a summary file that is not one."""
    path = results_dir / SUMMARY_NAME
    if os.path.lexists(path):
        check_form(path, read_json(path), SummaryForm, no_faults)


def study_names(cells: list[dict]) -> list[str]:
    return sorted({cell["study"] for cell in cells})


def published_studies(results_dir: Path) -> set[str]:
    """Names of the studies whose cell files in ``results_dir`` are published; none where it has no ``published.txt``.

    That file has a name a line; what follows a "#" is a comment.
    """
    path = results_dir / PUBLISHED_NAME
    lines = read_bytes(path).decode(errors="replace").splitlines() if path.is_file() else []
    names = (line.partition("#")[0].strip() for line in lines)
    return {name for name in names if name}
