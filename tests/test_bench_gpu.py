"""The GPU benchmark runs; what it says needs a GPU."""

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from runs import run_jobs_here

from benchmarks import bench_gpu


def test_everything_is_measured(monkeypatch):
    monkeypatch.setattr(bench_gpu, "SETTLED", 1)
    monkeypatch.setattr(bench_gpu, "WORKERS", (1,))
    monkeypatch.setattr(bench_gpu, "apart", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(bench_gpu, "run_jobs", run_jobs_here)
    tiny = replace(TINY, models=("minigpt",))
    found = bench_gpu.measure("cpu", tiny, tiny, count=1)
    assert found["short"]["minigpt"]["same_seed_pd"] == 0
    assert found["full"]["val_loss"] == found["short"]["minigpt"]["val_loss"]
    told = bench_gpu.describe(found)
    assert "PD of the two" in told and f"of {tiny.iterations} iterations" in told


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        bench_gpu.main([])
    assert "no CUDA device" in capsys.readouterr().err
