"""What the tests share: a study small enough that a trial takes a tenth of a second, a short text for it, and folders
to begin with. What only some tests need is imported where it is used, not for all."""

import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import config_cpu
from config import Shape
from study import plan
from study.corpus import read_corpus
from study.locks import exclusive
from study.plan import Study
from study.store import Store


def with_small_parts(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """``shapes`` and those of the variants, none of them larger than its parent."""
    charlm, tinylstm = shapes["charlm"], shapes["tinylstm"]
    return config_cpu.with_parts(
        shapes,
        charlm_one_block=replace(charlm, layers=1),
        tinygru=tinylstm,
        tinyrnn=tinylstm,
        lstm_attention=replace(tinylstm, layers=1, heads=charlm.heads),
    )


TINY = replace(
    config_cpu.CONFIG,
    study="tiny",
    shapes=with_small_parts(
        {
            **dict.fromkeys(("charlm", "minigpt", "nanotransformer"), Shape(layers=2, width=32, hidden=48, heads=2)),
            "tinylstm": Shape(layers=2, width=32, hidden=48),
            "convlm": Shape(layers=2, width=32, hidden=0, taps=4, dilations=(1, 4), conv_hidden=48),
            "hybridlm": Shape(layers=1, width=32, hidden=48, heads=2, taps=4, dilations=(1,), conv_hidden=48),
        }
    ),
    context=32,
    batch_size=16,
    iterations=6,
    eval_interval=3,
    eval_windows=4,
    probe_contexts=40,
    texts=2,
    text_length=6,
    passage_length=20,
    n_trials=2,
)


@cache
def short_text() -> str:
    """The beginning of Tiny Shakespeare, then each of its characters once, so that tokens stay what they are."""
    text = read_corpus()
    return text[:40_000] + "".join(sorted(set(text)))


# For every process that imports this file, such as the workers of tiny_runner.py. The whole text: ``read_corpus``.
plan.read_corpus = short_text


# Files with the longest tests. They come first, so that none is left to one process when the other has no more to do.
LONG = ("test_faults", "test_cluster", "test_notebook", "test_runner", "test_runner_files", "test_readme")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a finished run of ``runs.GRID``; only to be read. Test processes side by side share one."""
    from disturbed import make_undisturbed  # here, because it loads this file

    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make_undisturbed(tmp_path_factory.mktemp("undisturbed"))
    shared = tmp_path_factory.getbasetemp().parent
    with exclusive(shared / "undisturbed.lock", wait=True):
        folder = shared / "undisturbed"
        if not folder.exists():
            make_undisturbed(shared / "undisturbed.part").rename(folder)
    return folder


@pytest.fixture
def tiny_study(tmp_path) -> Study:
    return Study(TINY, "cpu", "cpu", Store(tmp_path / "results", tmp_path / "checkpoints"))


@pytest.fixture
def made(tmp_path) -> tuple:
    """A study of one cell whose two trials are made up, and the cell."""
    from made_study import make_study  # here, because it loads this file

    return make_study(tmp_path)


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """The folder of a finished study that a test may change."""
    shutil.copytree(undisturbed, tmp_path / "finished")
    return tmp_path / "finished"


@pytest.fixture
def clone(finished) -> Path:
    """The folder of a finished study of which only the cell files are here, as in a fresh clone."""
    shutil.rmtree(finished / "results" / "trials")
    shutil.rmtree(finished / "checkpoints")
    return finished


@pytest.fixture
def runner_here(monkeypatch) -> None:
    """What ``runner_calls.call`` runs; worker processes are for the tests that start the runner as a process."""
    from runs import CONFIG, run_jobs_here

    from runner import study_run
    from study import options

    monkeypatch.setitem(options.CONFIGS, "cpu", CONFIG)
    monkeypatch.setattr(study_run, "run_jobs", run_jobs_here)


@pytest.fixture
def task_folder(tmp_path, monkeypatch) -> None:
    """The current folder is an empty one, and trials of a task are trained in this process."""
    from own_tasks import in_this_process

    from own import run
    from own.task import load_task

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run_jobs", in_this_process)
    load_task.cache_clear()


@pytest.fixture
def groups_folder(tmp_path, monkeypatch) -> Path:
    """Two groups of seven models in files of the same names, and targets; the current folder."""
    from compared import TARGETS, models

    monkeypatch.chdir(tmp_path)
    for name, scale, seed in (("relu", 0.9, 1), ("gelu", 0.4, 2)):
        Path(name).mkdir()
        for i, p in enumerate(models(7, scale, seed)):
            np.save(f"{name}/seed_{i}.npy", p.astype(np.float32))
    np.save("targets.npy", TARGETS)
    return tmp_path


@pytest.fixture
def ax():
    return Figure().subplots()
