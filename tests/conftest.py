"""What the tests share: a study small enough that a trial takes a fraction of a second."""

from dataclasses import replace

import pytest

import config_cpu
from storage import Store
from study import Study

TINY = replace(
    config_cpu.CONFIG,
    study="tiny",
    context=32,
    batch_size=4,
    iterations=6,
    eval_interval=3,
    eval_windows=4,
    probe_contexts=40,
    n_trials=2,
)


@pytest.fixture
def tiny_study(tmp_path) -> Study:
    return Study(TINY, "cpu", "cpu", Store(tmp_path / "results", tmp_path / "checkpoints"))
