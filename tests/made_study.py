"""A study on the disk whose records and predictions are made up, not trained: real files in a tenth of a second."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import TINY

import metrics
from config import Config
from study.cell import update_cell
from study.environment import environment
from study.plan import Study
from study.store import Cell, Store, fingerprint

CONFIG = replace(TINY, n_trials=2)
OPTIONS = ("--config", "cpu", "--models", "charlm", "--activations", "gelu")
STEPS = [0, 3, 6]


def places(folder: Path) -> tuple[str, ...]:
    return ("--results-dir", str(folder / "results"), "--checkpoints-dir", str(folder / "checkpoints"))


def study_in(folder: Path, config: Config = CONFIG) -> Study:
    return Study(config, "cpu", "cpu", Store(folder / "results", folder / "checkpoints"))


def make_study(folder: Path, config: Config = CONFIG, activations: Sequence[str] = ("gelu",)) -> tuple[Study, Cell]:
    """Cells in ``folder`` with records, predictions and the cell file, but without weights; returns the first one."""
    study = study_in(folder, config)
    cells = [study.cell("charlm", activation) for activation in activations]
    for cell in cells:
        for number in range(1, config.n_trials + 1):
            write_trial(study, cell, number)
        update_cell(study, cell)
    return study, cells[0]


def write_trial(study: Study, cell: Cell, number: int) -> None:
    config, facts = study.config, study.identity(cell)
    rng = np.random.default_rng(number)
    shape = (len(STEPS), config.probe_contexts, config.vocabulary_size)
    probabilities = rng.dirichlet(np.ones(config.vocabulary_size), shape[:2]).astype(np.float32)
    sha256 = study.store.write_predictions(cell, number, STEPS, probabilities)
    targets = rng.integers(0, config.vocabulary_size, config.probe_contexts)
    record = {
        "model": cell.model,
        "activation": cell.activation,
        "study": cell.study,
        "trial": number,
        "seed": config.seed_base + number - 1,
        "status": "completed",
        "train_loss": 3.0,
        "val_loss": 3.1,
        "train_accuracy": 0.2,
        "val_accuracy": 0.2,
        **metrics.describe(probabilities[-1], targets),
        "texts": ["to be ", "or not"],
        "passage": {"text": "to be", "predicted": "to bo", "probability": [0.5] * 5},
        "training_time": 1.0,
        "evaluation_time": 0.1,
        "history": {"step": STEPS, "train_loss": [4.0, 3.5, 3.0], "val_loss": [4.0, 3.6, 3.1]},
        "n_parameters": 1000,
        "finished": f"2026-01-02T03:04:0{number}+00:00",
        "predictions_sha256": sha256,
        "weights_sha256": "0" * 64,
        "config": facts,
        "fingerprint": fingerprint(facts),
        "environment": environment("cpu"),
    }
    study.store.write_record(cell, number, record)
