"""Every command: on any system and terminal, with numbers too large, folders closed to it, and signals."""

import ast
import errno
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import made_study
import pytest
from own_tasks import PLAIN, in_this_process
from runs import run_jobs_here
from synthetic_cells import random_cell, write_cells

import analyze_results
import compare
import run_all_experiments
import sensitivity
import train
from own import run
from runner import study_run, workers
from study import cli
from study.files import ROOT, write_json
from study.options import CONFIGS
from study.plan import Job

# ---------------------------------------------------------------- systems, terminals


def test_windows_is_told_in_one_line_what_is_supported():
    code = "import sys; sys.modules['fcntl'] = None; import study"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert all(name in done.stderr for name in ("Linux", "macOS", "WSL"))


def test_scripts_keep_their_line_ends_everywhere():
    asked = ["git", "check-attr", "eol", "setup.sh", "train.py", "README.md", "data/report.json", "x.png"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs the repository")
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == ["lf"] * 4 + ["unspecified"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_everything_can_be_printed_on_every_terminal(monkeypatch, encoding):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    cli.Parser(prog="any command")
    print("SmeLU β=0.5: 2.31 ± 0.02 – 3 × 4, √2 é ┌─┐ /a/\udcff.json 你")
    terminal.flush()
    said = terminal.buffer.getvalue().decode(encoding)
    plain = "SmeLU beta=0.5: 2.31 +/- 0.02 - 3 x 4, ?2 e +-+ /a/?.json ?\n"
    assert said == (plain if encoding == "ascii" else said)
    assert "\\u" not in said and "/a/?.json" in said and "beta" in said or encoding == "utf-8"


def test_every_command_uses_that_parser():
    paths = [path for pattern in ("*.py", "*/*.py") for path in ROOT.glob(pattern) if path.parent.name != "tests"]
    assert {"own", "benchmarks", "runner"} <= {path.parent.name for path in paths}
    for path in paths:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "ArgumentParser" not in [ast.unparse(call).rpartition(".")[2] for call in calls], path


def test_tables_are_shown_on_a_terminal_with_few_letters(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    write_cells(tmp_path, [random_cell("charlm", "smelu_05")])
    assert analyze_results.main(["--no-plots", "--tables", "results", "--results-dir", str(tmp_path)]) == 0
    terminal.flush()
    said = terminal.buffer.getvalue().decode()
    assert "+/-" in said and "Summary: " in said


CPU = ("--config", "cpu", "--checkpoints-dir", "checkpoints")
OF_THE_RUNNER = (*CPU, "--models", "charlm", "--activations", "gelu")
OF_TRAIN = (*CPU, "--model", "charlm", "--activation", "gelu")
COMMANDS = {
    "analyze": (analyze_results.main, ("--results-dir", "ODD")),
    "compare": (compare.main, ("ODD/a.npy", "ODD/b.npy")),
    "page": (compare.main, ("a.npy", "b.npy", "--html", "ODD/page.html")),
    "dry run": (run_all_experiments.main, (*OF_THE_RUNNER, "--results-dir", "ODD", "--dry-run")),
    "verify": (run_all_experiments.main, (*OF_THE_RUNNER, "--results-dir", "ODD", "--verify")),
    "reproduce": (run_all_experiments.main, (*CPU, "--results-dir", "ODD", "--reproduce", "charlm", "gelu", "1")),
    "corpus": (run_all_experiments.main, (*OF_THE_RUNNER, "--results-dir", "r", "--dry-run", "--corpus", "ODD")),
    "sensitivity": (sensitivity.main, ("ODD.py", "--activations", "relu", "gelu", "--budget", "1min")),
    "train": (
        train.main,
        (*CPU, "--model", "charlm", "--activation", "gelu", "--corpus", "ODD", "--results-dir", "r"),
    ),
}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_that_is_not_utf_8_is_an_answer_of_every_command(tmp_path, monkeypatch, command, encoding):
    monkeypatch.chdir(tmp_path)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    main, options = COMMANDS[command]
    try:
        code = main([option.replace("ODD", f"{tmp_path}/\udcff") for option in options])
    except SystemExit as end:
        code = end.code
    terminal.flush()
    assert code in (0, 1, 2) and b"Traceback" not in terminal.buffer.getvalue() != b""


@pytest.fixture
def odd(tmp_path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    return folder


def have_few_letters(monkeypatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "ascii"))


def test_results_lie_in_a_folder_whose_name_is_not_utf_8(odd, monkeypatch):
    """They are trained into it, verified, shown and written about."""
    have_few_letters(monkeypatch)
    monkeypatch.setitem(CONFIGS, "cpu", made_study.CONFIG)
    monkeypatch.setattr(study_run, "run_jobs", run_jobs_here)
    asked = [*made_study.OPTIONS, "--trials", "2", *made_study.places(odd)]
    assert run_all_experiments.main(asked) == 0
    assert run_all_experiments.main([*asked, "--verify"]) == 0
    assert run_all_experiments.main([*asked, "--dry-run"]) == 0
    shown = ["--results-dir", str(odd / "results"), "--plots-dir", str(odd / "plots"), "--no-plots"]
    assert analyze_results.main([*shown, "--html"]) == analyze_results.main([*shown, "--tables", "results"]) == 0
    assert (odd / "results" / "all_experiments_summary.json").exists() and list(odd.glob("*/report.html"))


def test_a_task_and_its_trials_lie_in_a_folder_whose_name_is_not_utf_8(odd, monkeypatch):
    have_few_letters(monkeypatch)
    monkeypatch.setattr(run, "run_jobs", in_this_process)
    task, page = odd / "task.py", odd / "page.html"
    task.write_text(PLAIN)
    asked = ["--activations", "relu", "gelu", "--seeds", "6", "--steps", "20", "--device", "cpu", "--workers", "1"]
    for _ in range(2):
        assert sensitivity.main([str(task), *asked, "--results-dir", str(odd / "r"), "--html", str(page)]) == 0
    files = [str(path) for path in sorted((odd / "r" / "relu").glob("*.npz"))]
    assert len(files) == 6 and "relu seed 42" in page.read_text()
    assert compare.main([f"{file}:end" for file in files] + ["--html", str(page), "--csv", str(odd / "c.csv")]) == 0


def test_a_path_that_is_not_utf_8_can_be_written_about(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    write_json(tmp_path / "a.json", {"path": str(odd)})
    assert json.loads((tmp_path / "a.json").read_bytes().decode())["path"] == str(odd)


# ---------------------------------------------------------------- numbers, folders, signals


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--trials", "9" * 20), "--trials: .* is more than 1,000"),
        (("--iterations", "9" * 120), "--iterations: .* is more than 10,000,000"),
        (("--eval-interval", "9" * 20), "--eval-interval: .* is more than 10,000,000"),
        (("--workers", "9999999"), "--workers: .* is more than 1,000"),
        (("--shard", "1/" + "9" * 5000), "is not I/N"),
        (("--iterations", "9" * 5000), "--iterations: .* is not a whole number"),
        (("--seed-base", str(2**32 - 1)), "the seed of trial 3 would be above 4294967295"),
        (("--reproduce", "charlm", "gelu", "9" * 20), "--reproduce: trial .* is more than 1,000"),
    ],
)
def test_numbers_have_a_limit_that_is_said(tmp_path, capsys, options, reason):
    places = ["--results-dir", f"{tmp_path / 'r'}", "--checkpoints-dir", f"{tmp_path / 'c'}", "--config", "cpu"]
    try:
        code = run_all_experiments.main([*places, *options])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and re.search(reason, said), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["forbidden", "too long"])
@pytest.mark.parametrize(
    ("main", "options"),
    [
        *((run_all_experiments.main, (*OF_THE_RUNNER, *mode)) for mode in [("--dry-run",), ("--verify",), ()]),
        (run_all_experiments.main, (*CPU, "--reproduce", "charlm", "gelu", "1")),
        (train.main, OF_TRAIN),
        (analyze_results.main, ()),
    ],
)
def test_a_folder_that_cannot_be_looked_into_is_one_line(tmp_path, monkeypatch, capsys, main, options, fault):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("a" * 300 if fault == "too long" else "forbidden")
    if fault == "forbidden":
        (folder / "trials" / "charlm_gelu_cpu").mkdir(parents=True)

        def forbid(path, *_) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", forbid)  # the tests may run as root, who is forbidden nothing
    assert main([*options, "--results-dir", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("Permission denied" if fault == "forbidden" else "File name too long") in said


def test_ctrl_c_in_an_analysis_is_one_line(monkeypatch, capsys):
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(analyze_results, "read_results", interrupt)
    assert analyze_results.main([]) == 130
    said = capsys.readouterr()
    assert said.err == "analyze_results.py: stopped; the same command can be given again\n" and not said.out


class Frozen:
    """A worker process that does not react to anything, as when its files are on a server that is gone."""

    def __init__(self, *_):
        context = multiprocessing.get_context("fork")
        self.connection, self.theirs = context.Pipe()
        self.process = context.Process(target=time.sleep, args=(60,), daemon=True)
        self.process.start()
        os.kill(self.process.pid, signal.SIGSTOP)
        self.job = None
        FROZEN.append(self)

    def give(self, job: Job) -> None:
        self.job = job
        signal.raise_signal(signal.SIGTERM)  # the first signal


FROZEN: list[Frozen] = []


def test_a_frozen_worker_is_ended_by_a_second_signal(tiny_study, monkeypatch):
    monkeypatch.setattr(workers, "Worker", Frozen)
    monkeypatch.setattr(cli, "ONE_WISH", 0.05)
    job = (tiny_study.cell("charlm", "relu"), 1)
    said = []

    def say(line: str) -> None:
        """The second signal comes while the first is obeyed."""
        said.append(line)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()

    monkeypatch.setattr(workers, "say", say)
    with cli.stop_signals() as received, pytest.raises(KeyboardInterrupt):
        workers.run_jobs(tiny_study, 1, [job], lambda event: None, lambda: bool(received))
    (line,) = said
    assert "a second Ctrl-C or kill ends the run at once" in line
    (frozen,) = FROZEN
    assert frozen.process.exitcode == -signal.SIGKILL


def test_a_child_that_cannot_be_killed_is_not_waited_for(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(multiprocessing, "active_children", lambda: ["stuck"])
    with pytest.raises(SystemExit):
        cli.leave(130)
    assert ended == [130]


def test_a_second_signal_ends_what_the_first_could_not(monkeypatch):
    monkeypatch.setattr(cli, "ONE_WISH", 0.05)
    before = [signal.getsignal(number) for number in cli.STOP_SIGNALS]
    with pytest.raises(KeyboardInterrupt), cli.stop_signals() as received:
        for _ in range(2):  # one wish, passed on twice
            signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM] * 2
        time.sleep(0.06)
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in cli.STOP_SIGNALS] == before
