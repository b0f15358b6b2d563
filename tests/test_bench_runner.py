"""The runner's benchmark: what it takes for a study whose every trial is done is one."""

import json

import pytest

from benchmarks import bench_runner, growth, start
from benchmarks.growth import command_cost


def test_what_is_made_as_done_is_taken_for_done(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_runner, "PLANNED", 72)
    study = bench_runner.study_in(str(tmp_path), bench_runner.planning_config())
    bench_runner.make_done(study)
    cost, said = command_cost(study)
    assert "72 of 72 trials done" in said
    assert 0 < cost["seconds"] < 60 and cost["megabytes"] > 10


def test_a_growing_cell_and_planning_are_measured(monkeypatch):
    small = growth.replace(growth.config_cpu.CONFIG, probe_contexts=20)
    monkeypatch.setattr(growth.config_cpu, "CONFIG", small)
    found = growth.growing_cell(3)
    assert [each["trial"] for each in found["after_trial"]] == [3]
    assert found["after_trial"][0]["cpu_seconds"] > 0 < found["cell_file_megabytes"] < 0.1
    said = growth.describe_growth({"growing_cell": found, "planning": {"trials": 600, "cpu_seconds": 0.5}})
    assert "after trial 3 of a cell" in said and "600 trials done" in said


@pytest.mark.parametrize("seconds, outside", [(9.0, 0.2), (12.0, 0.4)])  # of a run that waits for 2 s, all is outside
def test_what_a_run_waits_counts_as_outside_of_training(monkeypatch, seconds, outside):
    def run(folder, *options):
        (folder / "results").mkdir()
        trials = [{"training_time": 3.0, "evaluation_time": 1.0}] * 2
        (folder / "results" / "charlm_gelu_cpu.json").write_text(json.dumps({"trials": trials}))
        return {"seconds": seconds, "cpu_seconds": 10.0}

    monkeypatch.setattr(start, "run", run)
    assert start.small_cell()["outside_share"] == pytest.approx(outside)
