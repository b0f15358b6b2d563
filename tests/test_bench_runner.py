"""The runner's benchmark: what it takes for a study whose every trial is done is one."""

from benchmarks import bench_runner
from run_all_experiments import main
from study.options import CONFIGS


def test_what_is_made_as_done_is_taken_for_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_runner, "PLANNED", 72)
    monkeypatch.setitem(CONFIGS, "cpu", bench_runner.planning_config())
    bench_runner.make_done(bench_runner.study_in(str(tmp_path), CONFIGS["cpu"]))
    places = ("--results-dir", f"{tmp_path}/results", "--checkpoints-dir", f"{tmp_path}/checkpoints")
    assert main(["--config", "cpu", *places]) == 0
    assert "72 of 72 trials done" in capsys.readouterr().out
