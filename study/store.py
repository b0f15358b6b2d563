"""Where results and checkpoints lie, what identifies a trial, and the form of cell files.

A file is written under another name and renamed, so what exists is complete; records carry a checksum and the hashes
of the files they name, so that an altered file is noticed.
"""

import io
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from config import RECIPE, Config
from metrics import PAIR_METRICS, TRIAL_METRICS
from study.corpus import CORPUS_SHA256
from study.files import (
    CHECKPOINTS_DIR,
    PUBLISHED_NAME,
    RESULTS_DIR,
    SUMMARY_NAME,
    Damaged,
    Misplaced,
    OtherSettings,
    UserError,
    digest,
    read_bytes,
    read_checked,
    write_bytes,
    write_checked,
)

# ---------------------------------------------------------------- identity


# Settings that came after the first results: part of an identity only where they are not at their defaults, so that
# earlier results keep their fingerprints.
DECLARED_LATER = ("optimizer", "betas", "weight_decay", "schedule", "warm_up", "floor", "muon_rate")


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries whose random streams or rounding a trial's numbers depend on."""
    return {name: version(name).split("+")[0] for name in ("torch", "numpy")}


def identity(config: Config, model: str, activation: str, device: str, precision: str) -> dict:
    """All that can change the numbers of a trial, except its seed's index.

    The number of trials is no part of it, nor whether the landscape is computed, which changes no other number.
    """
    shared = asdict(config.of_cell(model, activation))
    shapes = shared.pop("shapes")
    for name in ("study", "device", "models", "activations", "n_trials", "landscape", "rates"):
        del shared[name]
    for setting in fields(config):
        if setting.name in DECLARED_LATER and shared[setting.name] == setting.default:
            del shared[setting.name]
    facts = {
        "recipe": RECIPE,
        "model": model,
        "activation": activation,
        "shape": shapes[model],
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
    names = sorted(there.keys() | here.keys())
    return "; ".join(
        f"{name} {there.get(name)} there, {here.get(name)} here"
        for name in names
        if there.get(name) != here.get(name)
    )


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

    def earlier_cell_path(self, cell: Cell) -> Path:
        """Where a cell file from a machine with different floating-point rounding is kept."""
        return self.trials_dir(cell) / "cell_made_elsewhere.json"

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

    def done_trials(self, cell: Cell) -> set[int]:
        """Numbers of the trials that have a record and predictions."""
        names = self._names_in_trials_dir(cell)
        matches = (re.fullmatch(r"trial_([1-9]\d*)\.json", name) for name in names)
        return {int(match[1]) for match in matches if match and f"trial_{match[1]}.npz" in names}

    def has_trial_files(self, cell: Cell) -> bool:
        """Whether a record or predictions of any trial are here, damaged ones included."""
        return any(re.match(r"trial_\d+\.(json|npz)", name) for name in self._names_in_trials_dir(cell))

    def _names_in_trials_dir(self, cell: Cell) -> set[str]:
        folder = self.trials_dir(cell)
        return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()

    def write_record(self, cell: Cell, number: int, record: dict) -> None:
        write_checked(self.record_path(cell, number), record)

    def read_record(self, cell: Cell, number: int) -> dict:
        """The record of a finished trial; Damaged if it is not what was written, Misplaced if another trial's."""
        path = self.record_path(cell, number)
        record = read_checked(path)
        names = ("model", "activation", "study", "trial")
        if tuple(map(record.get, names)) != (cell.model, cell.activation, cell.study, number):
            owner = " ".join(f"{name} {record.get(name)}" for name in names)
            raise Misplaced(f"{path} is of another trial ({owner})")
        return record

    def write_predictions(self, cell: Cell, number: int, steps: list[int], probabilities: np.ndarray) -> str:
        """Save probe probabilities, a (samples, V) float32 array for each of ``steps``; returns the SHA-256."""
        buffer = io.BytesIO()
        np.savez(buffer, steps=np.asarray(steps), probabilities=np.asarray(probabilities, dtype=np.float32))
        write_bytes(self.predictions_path(cell, number), buffer.getvalue())
        return digest(buffer.getvalue())

    def read_predictions(self, cell: Cell, number: int, sha256: str) -> np.ndarray:
        """Probe probabilities (evaluations, samples, V); Damaged if the file is not the one of the record."""
        path = self.predictions_path(cell, number)
        payload = read_bytes(path)
        if digest(payload) != sha256:
            raise Damaged(f"{path} does not match the hash in its record")
        with np.load(io.BytesIO(payload)) as arrays:
            return arrays["probabilities"]

    def read_weights(self, cell: Cell, number: int, sha256: str) -> bytes:
        """The final weights of a finished trial; Damaged if the file is missing or not the one of the record."""
        path = self.checkpoint_path(cell, number)
        payload = read_bytes(path)
        if digest(payload) != sha256:
            raise Damaged(f"{path} does not match the hash in its record")
        return payload

    def write_cell(self, cell: Cell, content: dict) -> None:
        write_checked(self.cell_path(cell), content)

    def read_cell(self, cell: Cell) -> dict | None:
        """The cell file, or None if there is none."""
        path = self.cell_path(cell)
        return read_cell_file(path) if path.exists() else None


# What every cell file, trial and pair has. A metric that a file lacks was declared after it was written.
TRIAL_REQUIRED = {
    "trial",
    "seed",
    "status",
    "finished",
    "history",
    "environment",
    "train_loss",
    "val_loss",
    "train_accuracy",
    "val_accuracy",
    "training_time",
    "evaluation_time",
}
PAIR_REQUIRED = {"trials", "history", "relative_pd", "top1_mismatches", "n_predictions"}
CELL_REQUIRED = {
    "model",
    "activation",
    "study",
    "status",
    "planned_trials",
    "n_parameters",
    "config",
    "fingerprint",
    "environment",
    "trials",
    "pairs",
}
CONFIG_REQUIRED = {"iterations", "vary"}
# What is a number or null.
TRIAL_NUMBERS = {"trial", "seed", "evaluation_time", *TRIAL_METRICS}
PAIR_NUMBERS = {"n_predictions", *PAIR_METRICS}


def faults_of(cell: dict) -> list[str]:
    """In words, what ``cell`` lacks of what a cell file has, or has in another form."""
    faults = [f"no {key}" for key in sorted(CELL_REQUIRED - cell.keys())]
    config = cell.get("config", {})
    if not isinstance(config, dict) or (config and CONFIG_REQUIRED - config.keys()):
        faults.append(f"config without {' and '.join(sorted(CONFIG_REQUIRED))}")
    for name, keys, numbers in (("trials", TRIAL_REQUIRED, TRIAL_NUMBERS), ("pairs", PAIR_REQUIRED, PAIR_NUMBERS)):
        entries = cell.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            faults.append(f"{name} is no list of objects")
            continue
        faults += [f"no {key}" for key in sorted({key for entry in entries for key in keys - entry.keys()})]
        odd = {key for entry in entries for key in numbers if not isinstance(entry.get(key), int | float | None)}
        faults += [f"{key} is no number" for key in sorted(odd)]
    return faults


def read_cell_file(path: Path) -> dict:
    """The cell in ``path``; Damaged if it is not whole. One without a checksum is taken as it is."""
    cell = read_checked(path, required=False)
    if faults := faults_of(cell):
        raise Damaged(f"{path} is no cell file ({', '.join(faults)})")
    cell_of = Cell(cell["model"], cell["activation"], cell["study"])
    if path.stem != cell_of.name:
        raise Misplaced(f"{path} is the file of another cell ({cell_of.name})")
    return cell


def read_cells(results_dir: Path, study: str | None = None) -> list[dict]:
    """Every cell file in ``results_dir``, or those of one study, by name; Damaged if one is damaged."""
    cells = []
    for path in sorted(Path(results_dir).glob("*.json")):
        if path.name == SUMMARY_NAME:
            continue
        cell = read_cell_file(path)
        if study is None or cell["study"] == study:
            cells.append(cell)
    return cells


def study_names(cells: list[dict]) -> list[str]:
    return sorted({cell["study"] for cell in cells})


def published_studies(results_dir: Path) -> set[str]:
    """Names of the studies whose cell files in ``results_dir`` are published; none where it has no ``published.txt``.

    That file has a name a line; what follows a "#" is a comment.
    """
    path = results_dir / PUBLISHED_NAME
    lines = path.read_text().splitlines() if path.is_file() else []
    names = (line.partition("#")[0].strip() for line in lines)
    return {name for name in names if name}
