"""The benchmark of compare.py: what it writes can be compared, and it counts the cost of the command alone."""

import json

import numpy as np

import compare
from benchmarks import bench_compare


def test_what_is_compared_are_models_that_differ(tmp_path):
    paths = bench_compare.write_models(tmp_path, models=3, samples=40, classes=6)
    assert np.load(paths[0]).dtype == np.float32 and np.load(paths[2]).shape == (40, 6)
    found = compare.compare({"models": paths})["groups"][0]
    assert found["n_models"] == 3 and 0 < found["metrics"]["total_variation"]["mean"] < 1


def test_the_cost_of_the_command_is_measured_and_said(tmp_path, capsys):
    out = tmp_path / "bench.json"
    bench_compare.main(["--models", "2", "--samples", "30", "--classes", "4", "--output", str(out)])
    found = json.loads(out.read_text())
    assert (found["models"], found["samples"], found["classes"]) == (2, 30, 4)
    assert found["seconds"] > 0.1 and found["cpu_seconds"] > 0.1 and found["megabytes"] > 10
    assert "2 models of 30 samples and 4 classes" in capsys.readouterr().out
