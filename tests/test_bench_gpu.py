"""The GPU benchmark runs; what it says needs a GPU."""

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from runs import run_jobs_here

from benchmarks import bench_gpu
from runner.workers import Event
from training.step import Step


def test_everything_is_measured(monkeypatch):
    monkeypatch.setattr(bench_gpu, "SETTLED", 1)
    monkeypatch.setattr(bench_gpu, "WORKERS", (1,))
    monkeypatch.setattr(bench_gpu, "apart", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(bench_gpu, "run_jobs", run_jobs_here)
    tiny = replace(TINY, models=("minigpt",))
    kept = []
    found = bench_gpu.measure("cpu", tiny, tiny, 1, lambda found: kept.append(set(found)))
    assert found["short"]["minigpt"]["same_seed_pd"] == 0
    assert found["full"]["val_loss"] == found["short"]["minigpt"]["val_loss"]
    told = bench_gpu.describe(found)
    assert "PD of the two" in told and f"trial: {tiny.iterations} iterations" in told
    assert kept[:2] == [{"full"}, {"full", "short"}]
    assert kept[-1] == {"full", "short", "steps_per_second", "trials_per_hour"}


def test_one_that_fails_does_not_cost_the_others(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(bench_gpu, "full_trial", fail)
    monkeypatch.setattr(bench_gpu, "trials_per_hour", fail)
    monkeypatch.setattr(bench_gpu, "apart", lambda *arguments: 12.5)
    monkeypatch.setattr(
        bench_gpu, "the_same_twice", lambda *_: {"seconds": [1, 2], "val_loss": 1.5, "same_seed_pd": 0.0}
    )
    told = bench_gpu.describe(bench_gpu.measure("cpu", TINY, TINY, count=1))
    assert "full MiniGPT trial: RuntimeError: out of memory" in told and "12.5" in told and "1.5000" in told


def test_trials_that_fail_are_no_throughput(monkeypatch):
    def fail(study, n_workers, jobs, on_event, should_stop):
        for job in jobs:
            on_event(Event(job, "failed", "out of memory"))

    monkeypatch.setattr(bench_gpu, "run_jobs", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        bench_gpu.trials_per_hour(TINY, "cpu", 1)


def test_a_graph_that_was_given_up_is_not_measured_as_one(monkeypatch):
    monkeypatch.setattr(bench_gpu, "SETTLED", 1)
    monkeypatch.setattr(Step, "given_up", True, raising=False)
    with pytest.raises(RuntimeError, match="does not give the bits"):
        bench_gpu.steps_per_second(TINY, "cpu", "minigpt", True, 1)


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        bench_gpu.main([])
    assert "no CUDA device" in capsys.readouterr().err
