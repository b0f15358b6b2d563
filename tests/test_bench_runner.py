"""The runner's benchmark: what it takes for a study whose every trial is done is one."""

from benchmarks import bench_runner
from benchmarks.growth import command_cost


def test_what_is_made_as_done_is_taken_for_done(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_runner, "PLANNED", 72)
    study = bench_runner.study_in(str(tmp_path), bench_runner.planning_config())
    bench_runner.make_done(study)
    cost, said = command_cost(study)
    assert "72 of 72 trials done" in said
    assert 0 < cost["seconds"] < 60 and cost["megabytes"] > 10
