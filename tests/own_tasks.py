"""A small task of a user's own, the command run on it in this process, and what it says."""

import json
from pathlib import Path

import pytest

import sensitivity
from own.plan import Cost
from own.task import load_task

PLAIN = """
import numpy as np
import torch
from torch import nn

print("what a task prints is not part of the answer")

x = np.random.default_rng(0).standard_normal((300, 6))
y = (x[:, :3].argmax(axis=1)).astype(np.int32)


def model(activation):
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), activation(), nn.Dropout(0.2), nn.Linear(16, 3)
    )


def batch(rng):
    i = rng.integers(0, 200, 16)
    return x[i], y[i]


probe, targets = x[200:], y[200:]
"""


def in_this_process(setting, n_workers, jobs, on_event, should_stop, work):
    for job in jobs:
        if should_stop():
            return
        on_event(work(setting, job, on_event, should_stop))


def write_task(text: str = PLAIN, name: str = "task.py") -> Path:
    Path(name).write_text(text)
    load_task.cache_clear()
    return Path(name)


def found(capsys, *words: str, code: int = 0) -> dict:
    options = ("--workers", "1", "--device", "cpu", "--json")
    assert sensitivity.main(["task.py", "--activations", "relu", "gelu", *words, *options]) == code
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def refusal(capsys, *words: str) -> str:
    """The one line of an error."""
    try:
        code = sensitivity.main(list(words))
    except SystemExit as stopped:
        code = stopped.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


COST = Cost(step={"relu": 0.01, "gelu": 0.02}, trial={"relu": 0.5, "gelu": 0.5})
