"""The benchmark of the analysis: its commands are ones that there are, and what it counts is the CPU time of all."""

from synthetic_cells import random_cell, write_cells

from analyze_results import parse_arguments
from benchmarks import bench_analysis


def test_every_step_is_a_command_that_there_is():
    for options in bench_analysis.STEPS.values():
        assert parse_arguments(options)
    assert bench_analysis.GOALS.keys() <= bench_analysis.STEPS.keys()


def test_a_command_s_time_is_measured_and_said(tmp_path):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    found = bench_analysis.measure(tmp_path, ["--no-plots", "--tables", "results"])
    assert found["cpu_seconds"] > 0.1 and found["seconds"] > 0
    said = bench_analysis.describe({"cell_files": 1, "figures": 0, "steps": {"everything": found}})
    assert said.splitlines()[-1].split()[:3] == ["everything", f"{found['cpu_seconds']:.1f}", "40"]
