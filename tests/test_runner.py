"""The runner: the plan, what is never done twice, mistakes, failures, shards and stopping."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from patience import wait_until
from runner_calls import CELL, assert_refused, call, snapshot
from runs import ACTIVATIONS, CONFIG, GRID, MODELS, LiveRun, command, differing, grid_jobs, run, study_in
from tiny_trials import run_until

import config
import model
import run_all_experiments
from config import STREAMS
from runner import pilots, study_run
from study import files, options, store
from study.plan import Study, pending_jobs

pytestmark = pytest.mark.usefixtures("runner_here")

LONG = ("--iterations", "1000")  # so that a trial lasts until it is disturbed


# ---------------------------------------------------------------- the plan


def test_the_plan_goes_cell_by_cell(tmp_path):
    jobs = grid_jobs(study_in(tmp_path))
    expected = [(m, a, number) for m in MODELS for a in ACTIVATIONS for number in (1, 2, 3)]
    assert [(cell.model, cell.activation, number) for cell, number in jobs] == expected


@pytest.mark.parametrize(
    ("asked", "planned"),
    [
        (["all"], config.ACTIVATIONS),
        (["smelu"], ("relu", "smelu_01", "smelu_025", "smelu_05", "smelu_1", "smelu_2")),
        (["modern"], config.ACTIVATION_GROUPS["modern"]),
        (["gelu,smelu_05", "smelu"], ("gelu", "smelu_05", "relu", "smelu_01", "smelu_025", "smelu_1", "smelu_2")),
    ],
)
def test_the_name_of_a_group_means_its_activations_each_once(tmp_path, capsys, asked, planned):
    assert call(tmp_path, "--models", "charlm", "--activations", *asked, "--dry-run") == 0
    assert tuple(re.findall(r"charlm_(\w+)_tiny ", capsys.readouterr().out)) == planned


@pytest.mark.parametrize(
    ("asked", "planned"),
    [
        (["charlm@0.02M", "minigpt"], ["charlm@0.02M", "minigpt"]),
        (["attention_dropout"], ["charlm", "charlm_no_attention_dropout"]),
        (["parts"], list(config.MODEL_GROUPS["parts"])),
    ],
)
def test_lists_of_models_and_sizes_are_asked_for_by_name(tmp_path, capsys, asked, planned):
    assert call(tmp_path, "--models", *asked, "--activations", "relu", "--trials", "1", "--dry-run") == 0
    assert re.findall(r"^(\S+)_relu_tiny ", capsys.readouterr().out, re.MULTILINE) == planned


def test_cells_without_a_learning_rate_of_their_own_are_named(tmp_path, capsys, monkeypatch):
    one_piloted = replace(CONFIG, rates={("charlm", "gelu"): 0.1}, learning_rate=0.01)
    monkeypatch.setitem(options.CONFIGS, "cpu", one_piloted)
    models = ("--models", "charlm", "charlm_one_head", "--activations", "relu", "gelu", "--dry-run")
    said = []
    for asked in ((), ("--learning-rate", "0.02"), ("--models", "charlm", "--activations", "gelu")):
        assert call(tmp_path, *models, *asked) == 0
        said.append([line for line in capsys.readouterr().out.splitlines() if "no pilot" in line])
    assert said == [["no pilot: charlm relu, charlm_one_head relu gelu; learning rate 0.01"], [], []]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--models", "charlm@250K"],
            r"'charlm@250K' is no size; write millions of parameters, such as charlm@0.25M",
        ),
        (["--models", "charlm@1.0M"], "'charlm@1.0M' is no size"),
        (["--models", "charlm@0.001M"], "charlm cannot have 1,000 parameters in this configuration"),
        (["--models", "convlm@1M"], "convlm is not made in sizes; charlm and minigpt are"),
        (
            ["--models", "attention_dropout", "--dropout", "0"],
            "without dropout charlm_no_attention_dropout is charlm",
        ),
        (["--dropout", "1"], "argument --dropout: '1' is not a share from 0 to 0.9"),
        (["--dropout", "nan"], "argument --dropout: 'nan' is not a share from 0 to 0.9"),
    ],
)
def test_sizes_and_variants_that_cannot_be_are_refused(tmp_path, capsys, options, reason):
    assert_refused(tmp_path, capsys, tuple(options), reason)


def test_a_size_and_a_variant_are_trained_under_their_names(tmp_path, capsys):
    models = ("--models", "charlm@0.02M", "minigpt@0.02M", "charlm_rms_norm", "--activations", "apl", "swiglu")
    steps = ("--trials", "2", "--iterations", "4", "--eval-interval", "2", "--dropout", "0.1")
    assert call(tmp_path, *models, *steps) == 0
    assert "fewer parameters" not in capsys.readouterr().err
    cells = {
        path.stem: json.loads(path.read_text()) for path in (tmp_path / "results").glob("*_tiny_dropout_0.1.json")
    }
    assert len(cells) == 6 and all(cell["status"] == "completed" for cell in cells.values())
    for name, cell in cells.items():
        assert cell["config"]["dropout"] == 0.1
        assert "@" not in name or cell["n_parameters"] == pytest.approx(20_000, rel=0.02)
        assert all(0 < pair["relative_pd"] < 2 for pair in cell["pairs"])


def test_dry_run_shows_what_is_done_and_pending_and_touches_nothing(finished, capsys):
    before = snapshot(finished)
    assert call(finished, *GRID, "--trials", "5", "--activations", "gelu", "relu", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "20 trials of 30 iterations: 6 done, 14 pending" in out
    assert re.search(r"charlm_gelu_tiny +done: 1 2 3  pending: 4 5\n", out)
    assert re.search(r"tinylstm_relu_tiny +done: -  pending: 1 2 3 4 5\n", out)
    assert snapshot(finished) == before
    assert call(finished / "nowhere", "--dry-run") == 0
    assert not (finished / "nowhere").exists()


def test_dry_run_says_what_more_iterations_mean(finished, capsys):
    (finished / "checkpoints" / "charlm_gelu_tiny" / "trial_2.pt.state").unlink()
    before = snapshot(finished)
    assert call(finished, *CELL, "--trials", "3", "--iterations", "40", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "charlm_gelu_tiny is carried on from step 30: trials 1 3\ncharlm_gelu_tiny trial 2 from the start, " in out
    assert "3 trials of 40 iterations: 0 done, 3 pending" in out
    assert snapshot(finished) == before


def test_finished_trials_are_never_run_again(finished, capsys):
    before = snapshot(finished)
    assert call(finished, *GRID) == 0
    assert "12 of 12 trials done" in capsys.readouterr().out
    assert snapshot(finished) == before


def test_more_trials_are_added_to_what_is_there(finished):
    before = snapshot(finished)
    assert call(finished, *CELL, "--trials", "4") == 0
    after = snapshot(finished)
    changed = {path.name for path, content in before.items() if after[path] != content}
    added = {path.name for path in after.keys() - before.keys()}
    assert {name for name in changed if not name.endswith(".lock")} == {"charlm_gelu_tiny.json"}
    assert added == {"trial_4.json", "trial_4.npz", "trial_4.pairs", "trial_4.pt", "trial_4.pt.state", "trial_4.lock"}
    cell = json.loads((finished / "results" / "charlm_gelu_tiny.json").read_text())
    assert len(cell["trials"]) == 4 and len(cell["pairs"]) == 6 and cell["status"] == "completed"


def test_controls_are_run_after_their_study(tmp_path, monkeypatch):
    started = {}

    def note(study: Study, n_workers: int, jobs: list, *_) -> None:
        started[study.config.study] = (study.config.vary, [number for _, number in jobs])

    monkeypatch.setattr(study_run, "run_jobs", note)
    call(tmp_path, *CELL, "--trials", "2", "--controls")
    assert list(started.items()) == [
        ("tiny", (STREAMS, [1, 2])),
        ("tiny_none", ((), [1, 2])),
        ("tiny_init", (("init",), [1, 2])),
        ("tiny_order", (("order",), [1, 2])),
        ("tiny_dropout", (("dropout",), [1, 2])),
    ]


def test_a_run_that_is_stopped_starts_no_further_control(tmp_path, monkeypatch):
    started = []

    def stop(study: Study, *_) -> int:
        started.append(study.config.study)
        return 128 + signal.SIGTERM

    monkeypatch.setattr(run_all_experiments, "run_study", stop)
    assert call(tmp_path, *CELL, "--controls") == 128 + signal.SIGTERM
    assert started == ["tiny"]


def test_controls_choose_what_varies(tmp_path, capsys):
    assert_refused(tmp_path, capsys, ("--controls", "--vary", "init"), "leave --vary out")


def test_shards_partition_the_plan(tmp_path, monkeypatch):
    started = []

    def note(study: Study, n_workers: int, jobs: list, *_) -> None:
        started.append(jobs)

    monkeypatch.setattr(study_run, "run_jobs", note)
    for index in (1, 2, 3, 4, 5):
        call(tmp_path, *GRID, "--shard", f"{index}/5")
    first_pass = started[::2]  # the second takes up what the first, here, has left undone
    assert sorted(sum(first_pass, []), key=str) == sorted(grid_jobs(study_in(tmp_path)), key=str)
    assert [len(part) for part in first_pass] == [3, 3, 2, 2, 2]


def test_shards_at_once_leave_what_one_run_does(undisturbed, tmp_path):
    part = ("--models", "charlm", *GRID[3:])
    shards = [
        LiveRun(tmp_path, tmp_path / f"log {index}", *part, "--workers", "1", "--shard", f"{index}/2")
        for index in (1, 2)
    ]
    for shard in shards:
        assert shard.reaches(lambda shard=shard: not shard.alive) and shard.process.returncode == 0, shard.text()
    assert not [name for name in differing(undisturbed, tmp_path) if "charlm" in name]


# ---------------------------------------------------------------- published results


def test_a_study_without_a_name_never_goes_by_that_of_a_published_one(finished, capsys):
    (finished / "results" / "published.txt").write_text("# studies\nother\ntiny  # the small one\n")
    before = snapshot(finished)
    for asked, name in [((), "tiny_here"), (("--study", "tiny"), "tiny"), (("--device", "mps"), "tiny_on_mps")]:
        assert call(finished, *GRID, *asked, "--dry-run") == 0
        assert f"study {name!r}: " in capsys.readouterr().out
    assert call(finished, *CELL, "--trials", "1") == 0
    assert (finished / "results" / "charlm_gelu_tiny_here.json").exists()
    assert snapshot(finished).items() >= before.items()


def test_a_first_run_leaves_the_working_tree_clean():
    made = [
        "results/charlm_gelu_cpu_here.json",
        f"results/{files.SUMMARY_NAME}",
        "plots/shamir_controls_cpu_here.png",
    ]
    ignored = subprocess.run(["git", "check-ignore", *made], cwd=files.ROOT, capture_output=True, text=True)
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=files.ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("needs the repository")
    assert ignored.stdout.split() == made
    of_pilots = pilots.FILE.parent.relative_to(files.ROOT)
    published_json = [Path(path) for path in tracked.stdout.split() if path.endswith(".json")]
    names = {path.stem for path in published_json if path.parent != of_pilots}
    published = store.published_studies(files.RESULTS_DIR)
    assert names and all(any(name.endswith(f"_{study}") for study in published) for name in names)


# ---------------------------------------------------------------- any working directory


def test_workers_find_the_code_and_results_their_place_from_any_folder_without_dask(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train.py").write_text("raise SystemExit('not ours')")
    small = ("--models", "charlm", "--activations", "relu", "--trials", "1", "--iterations", "1")
    done = run(tmp_path, *small, "--results-dir", "mine", cwd=elsewhere, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "mine" / "charlm_relu_tiny.json").exists()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}
    assert "torch" in imported
    assert not {name for name in imported if name.partition(".")[0] in ("dask", "distributed")}


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--models", "nope"), "unknown model 'nope'; choose from charlm, "),
        (("--activations", "gelu", "nope"), "unknown activation 'nope'; choose from relu, "),
        (("--models", ","), "empty"),
        (("--trials", "0"), "--trials: '0' is not a whole number above 0"),
        (("--trials", "-3"), "--trials: '-3' is not a whole number above 0"),
        (("--seed-base", "-1"), "--seed-base: '-1' is not a whole number from 0 to 4294967295"),
        (("--iterations", "0"), "--iterations: '0' is not a whole number above 0"),
        (("--iterations", "many"), "--iterations: 'many' is not a whole number above 0"),
        (("--workers", "0"), "--workers: '0' is not a whole number above 0"),
        (("--shard", "0/2"), "'0/2' is not I/N with 1 <= I <= N"),
        (("--shard", "3/2"), "'3/2' is not I/N with 1 <= I <= N"),
        (("--shard", "half"), "'half' is not I/N with 1 <= I <= N"),
        (("--study", "../elsewhere"), r"study name '\.\./elsewhere' may only have letters"),
        (("--study", ""), "study name '' may only have letters"),
        (("--study", "a" * 98, "--controls"), "study name 'a{98}_none' may only have letters"),
        (("--vary", "none", "init"), "--vary none says that nothing differs between trials"),
        (("--dry",), "unrecognized arguments: --dry"),
        (("--device", "tpu"), "--device: invalid choice: 'tpu'"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
        (("--reproduce", "charlm", "relu", "1"), "there is no trial 1 of charlm_relu_tiny"),
        (("--reuse", ""), "--reuse: the value is empty"),
        (("--scheduler", ""), "--scheduler: the value is empty"),
        (("--scheduler", "s.json", "--workers", "2"), "--workers: not allowed with argument --scheduler"),
        (("--dry-run", "--verify"), "--verify: not allowed with argument --dry-run"),
        (("--reproduce", "charlm", "gelu", "1", "--dry-run"), "--dry-run: not allowed with argument --reproduce"),
        (("--verify", "--analyze"), "--analyze: not allowed with argument --verify"),
        (("--shard", ""), "'' is not I/N"),
        (("--reuse", "nope"), r"--reuse: no other study 'nope' in .* \(there: none\)"),
        (("--study", "mine", "--reuse", "nope"), r"--reuse: no other study 'nope' in .* \(there: tiny\)"),
        ((*GRID, "--iterations", "29"), r"made with other settings \(iterations 30 there, 29 here\).*--study NAME"),
    ],
)
def test_a_mistake_gets_one_line_and_changes_nothing(finished, capsys, options, reason):
    assert_refused(finished, capsys, options, reason)


def test_a_trial_begun_with_other_settings_is_refused_before_others_are_trained(tmp_path, capsys, runner_here):
    study = study_in(tmp_path)
    run_until(study, 1, names=("charlm", "relu"))
    options = ("--models", "charlm", "--activations", "relu", "--iterations", "29")
    assert call(tmp_path, *options) == 2
    assert "trial_1.pt was made with other settings (iterations 30 there, 29 here)" in capsys.readouterr().err
    assert not study.store.recorded_trials(study.cell("charlm", "relu"))


def test_a_model_that_has_no_shape_is_not_unknown(finished, capsys, monkeypatch):
    monkeypatch.setitem(model.ARCHITECTURES, "grulm", model.CharLM)
    assert_refused(finished, capsys, ("--models", "grulm"), "model 'grulm' has no shape in this configuration; docs/")


# ---------------------------------------------------------------- failure and stopping


def test_an_error_that_no_longer_holds_is_taken_away(finished):
    error = finished / "results" / "trials" / "charlm_gelu_tiny" / "trial_1.error.txt"
    error.write_text("earlier")
    assert call(finished, *GRID) == 0
    assert not error.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_loses_no_result(undisturbed, tmp_path):
    live = LiveRun(tmp_path, Path("/dev/full"), *CELL, "--trials", "3", "--workers", "1")
    assert live.reaches(lambda: not live.alive)
    assert not [name for name in differing(undisturbed, tmp_path) if "charlm_gelu" in name]


def test_a_reader_that_has_seen_enough_is_no_mistake(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--dry-run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert wait_until(lambda: process.poll() is not None, lambda: [process.pid])
    assert (process.stderr.read(), process.returncode) == ("", 0)


def test_a_failure_is_contained_kept_and_retried_alone(tmp_path):
    grid = ("--models", "charlm", "--activations", "faulty", "exploding", "relu")
    done = run(tmp_path, *grid, "--trials", "1", FAULTY="1")
    trials = tmp_path / "results" / "trials"
    error = trials / "charlm_faulty_tiny" / "trial_1.error.txt"
    assert done.returncode == 1 and not done.stderr
    assert "\n2 of 3 trials done, 1 failed, 1 diverged" in done.stdout
    assert f"failed: charlm_faulty_tiny trial 1, see {error}" in done.stdout
    assert "FAILED: RuntimeError: this activation is faulty" in done.stdout and "Traceback" not in done.stdout
    text = error.read_text()
    assert text.startswith("Traceback") and "in forward" in text and "this activation is faulty" in text
    assert json.loads((trials / "charlm_exploding_tiny" / "trial_1.json").read_text())["status"] == "diverged"
    progress = (
        r"\[\d:\d\d:\d\d\]  charlm relu trial 1/1  step 3/6  train loss \d\.\d{4}  val loss \d\.\d{4}  "
        r"\|  \d of 3 trials done, about 0:\d\d:\d\d left\n"
    )
    assert re.search(progress, done.stdout)

    again = run(tmp_path, *grid, "--trials", "1")  # only what failed is pending
    assert again.returncode == 0 and "\n3 trials of 6 iterations: 2 done, 1 pending\n" in again.stdout
    assert "3 of 3 trials done, 0 failed, 0 diverged" in again.stdout
    assert not error.exists() and error.with_name("trial_1.json").exists()
    assert sorted(path.name for path in trials.glob("*/*.json")) == ["trial_1.json"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_workers_are_forked_with_torch_loaded_by_a_server_with_one_thread(tmp_path):
    live = LiveRun(tmp_path, tmp_path / "log", *CELL, *LONG, "--trials", "2", "--workers", "2")
    assert live.reaches(lambda: len(live.workers()) == 2)
    runner, server = (Path(f"/proc/{pid}") for pid in (live.process.pid, live.server()))
    assert "libtorch" in (server / "maps").read_text() and "libtorch" not in (runner / "maps").read_text()
    assert len(list((server / "task").iterdir())) == 1
    os.kill(live.process.pid, signal.SIGKILL)
    assert live.reaches(lambda: not live.processes())


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_workers_may_die_and_the_runner_stops_when_asked_to(tmp_path):
    live = LiveRun(tmp_path, tmp_path / "log", *CELL, *LONG, "--trials", "99", "--workers", "2")
    assert live.reaches(lambda: "trial 1/99  step 10/" in live.text() and "trial 2/99  step 10/" in live.text())
    first, second = live.workers()
    os.kill(first, signal.SIGKILL)
    assert live.reaches(lambda: "FAILED: the worker process was killed by SIGKILL" in live.text())
    server = live.server()
    os.kill(server, signal.SIGKILL)
    os.kill(second, signal.SIGTERM)
    assert live.reaches(lambda: live.server() != server and live.workers())
    live.process.send_signal(signal.SIGTERM)
    assert live.reaches(lambda: not live.alive) and live.process.returncode == 143
    text = live.text()
    assert text.endswith("stopped; what was trained is saved, and the same command goes on from there\n")
    assert text.count("FAILED") == 1 and "Traceback" not in text
    (error,) = (tmp_path / "results").rglob("*.error.txt")
    assert "killed by SIGKILL: out of memory, or from outside" in error.read_text()
    assert live.reaches(lambda: not live.processes())
    there = study_in(tmp_path)
    there = replace(there, config=replace(there.config, iterations=int(LONG[-1])))
    assert pending_jobs(there, grid_jobs(there)[:3])
