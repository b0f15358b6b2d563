"""Trials of the tests' small study, trained here, and what they leave."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import train
from study.plan import Study
from study.store import Store

CELL = ("charlm", "gelu")
TIMES = ("training_time", "evaluation_time", "finished", "environment", "weights_sha256")


def elsewhere(study: Study, name: str) -> Study:
    folder = study.store.results.parent / name
    return replace(study, store=Store(folder / "results", folder / "checkpoints"))


def with_config(study: Study, **changes) -> Study:
    return replace(study, config=replace(study.config, **changes))


def run(study: Study, number: int = 1, names: tuple[str, str] = CELL, **options) -> dict:
    return train.run_trial(study, study.cell(*names), number, **options)


def run_until(study: Study, steps: int, number: int = 1, names: tuple[str, str] = CELL) -> None:
    """Train ``steps`` further steps of a trial, and then tell it to stop, which it does with its state saved."""
    countdown = iter([False] * steps + [True])
    with pytest.raises(train.Interrupted):
        run(study, number, names, should_stop=lambda: next(countdown))


def notes_of_run(study: Study, number: int = 1, names: tuple[str, str] = CELL) -> list[str]:
    """Train a trial to its end; what it says of how it began."""
    notes = []
    run(study, number, names, report=lambda progress: notes.append(progress.get("note")))
    return [note for note in notes if note]


def weights(study: Study, number: int = 1, names: tuple[str, str] = CELL) -> dict[str, torch.Tensor]:
    return torch.load(study.store.checkpoint_path(study.cell(*names), number), weights_only=True)


def predictions(study: Study, record: dict, names: tuple[str, str] = CELL) -> np.ndarray:
    return study.store.read_predictions(study.cell(*names), record["trial"], record["predictions_sha256"])


def assert_same_trial(first: Study, second: Study, names: tuple[str, str] = CELL) -> None:
    """Equal to the bit: record (but for times), predictions and weights."""
    records = [study.store.read_record(study.cell(*names), 1) for study in (first, second)]
    for record in records:
        for name in TIMES:
            del record[name]
    assert records[0] == records[1]
    assert np.array_equal(predictions(first, records[0], names), predictions(second, records[1], names))
    ours, theirs = weights(first, 1, names), weights(second, 1, names)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
