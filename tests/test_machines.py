"""Machines unlike ours: no git, no locks, few letters, a container's quota, other instructions, numbers too large."""

import ast
import errno
import fcntl
import io
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import made_study
import pytest
from runs import run_jobs_here
from synthetic_cells import random_cell, write_cells
from test_sensitivity import PLAIN, in_this_process

import analyze_results
import compare
import cores
import run_all_experiments
import sensitivity
import train
from analysis.account import differing_machines
from own import run
from own.run import train_pending
from own.trial import Setting
from runner import study_run, verify, workers
from study import cli, environment, locks
from study.files import ROOT, Busy, write_json
from study.locks import exclusive
from study.options import CONFIGS
from study.plan import Job
from training.dataset import whole_split
from training.seeding import deterministic

# ---------------------------------------------------------------- what a record says


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with a module, which is taken for ours."""
    root = (tmp_path / "repository").resolve()
    root.mkdir()
    (root / "train.py").write_text("import model\n")
    (root / "model.py").write_text("X = 1\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(environment, "ROOT", root)
    return root


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_no_fact_costs_a_trial(monkeypatch):
    def fails(*_) -> None:
        raise RuntimeError("this machine is unlike ours")

    monkeypatch.setattr(environment, "code_facts", environment.code_facts.__wrapped__)
    for name in ("commit", "code_digest", "processor", "built_with", "onednn_rounding", "blas_rounding"):
        monkeypatch.setattr(environment, name, fails)
    facts = environment.environment.__wrapped__("cpu")
    assert facts["commit"] is facts["code_sha256"] is facts["processor"] is facts["mkl"] is None
    assert facts["torch"] and json.dumps(facts)


def test_the_commit_is_that_of_this_folder_s_own_repository(repository, tmp_path, monkeypatch):
    head = git(repository, "rev-parse", "--short=12", "HEAD")
    assert environment.commit() == head
    (repository / "extra.py").write_text("")
    assert environment.commit() == f"{head}-dirty"
    (repository / "extra.py").unlink()
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert environment.commit() == head
    unpacked = repository / "unpacked"
    unpacked.mkdir()
    monkeypatch.setattr(environment, "ROOT", unpacked)
    assert environment.commit() is None


def test_the_code_s_digest_changes_with_what_makes_numbers_and_with_nothing_else(repository):
    before = environment.code_digest(repository)
    (repository / "unrelated.py").write_text("import nothing\n")
    assert environment.code_digest(repository) == before
    (repository / "model.py").write_bytes(b"X = 1\r\n")  # as a clone with other line ends has it
    assert environment.code_digest(repository) == before
    (repository / "parts").mkdir()
    (repository / "parts" / "extra.py").write_text("Y = 2\n")  # untracked
    (repository / "model.py").write_text("from parts.extra import Y\n")
    with_extra = environment.code_digest(repository)
    (repository / "parts" / "extra.py").write_text("Y = 3\n")
    assert len({before, with_extra, environment.code_digest(repository)}) == 3


TWO_WORKERS = """
from pathlib import Path
from runner.workers import start_context


def say():
    from study.environment import code_facts

    print(code_facts()["code_sha256"], flush=True)


if __name__ == "__main__":
    context, model = start_context("cpu"), Path("model.py")
    for _ in range(2):
        worker = context.Process(target=say)
        worker.start()
        worker.join()
        model.write_text(model.read_text() + "# changed while workers run")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are no forks")
def test_a_worker_that_starts_after_a_change_of_the_code_names_the_code_that_it_runs(tmp_path):
    for path in ROOT.rglob("*.py"):
        if path.parts[len(ROOT.parts)] in ("study", "runner", "training") or path.parent == ROOT:
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
    before = environment.code_digest(tmp_path)
    (tmp_path / "two_workers.py").write_text(TWO_WORKERS)
    shown = subprocess.run(
        [sys.executable, "two_workers.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown == [before, before] and environment.code_digest(tmp_path) != before


def test_the_code_s_digest_covers_every_module_that_a_trial_loads():
    reached, waiting = set(), [ROOT / "train.py"]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += environment.imported_files(path, path.read_bytes(), ROOT)
    named = {"model.py", "activations.py", "config.py", "metrics.py", "study/pairs.py", "study/store.py"}
    training = {f"training/{path.name}" for path in (ROOT / "training").glob("[!_]*.py")} - {"training/landscape.py"}
    assert named | training <= {path.relative_to(ROOT).as_posix() for path in reached}
    assert not [path for path in reached if path.name in ("plot_utils.py", "analyze_results.py")]


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\n",
            "AMD EPYC (25.1.1)",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU revision\t: 1\n", "ARM 0x41 0xd0c 1"),
        ("", None),
    ],
)
def test_the_processor_has_a_name(text, model):
    assert environment.processor_in(text) == model


SHOW_ROUNDING = """
import json
from study.environment import environment
print(json.dumps(environment("cpu")))
"""


def facts_with(**variables: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ROUNDING], cwd=ROOT, env=os.environ | variables, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def test_other_instructions_are_seen_in_what_is_recorded():
    with deterministic("cpu"):
        usual = environment.environment.__wrapped__("cpu")
    other = facts_with(ONEDNN_MAX_CPU_ISA="SSE41", ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="1")
    if usual["machine"] != "x86_64":
        pytest.skip("these variables are of x86")
    differ, unknown = environment.differing(usual, other)
    expected = {"ONEDNN_MAX_CPU_ISA", "onednn_rounding", "ATEN_CPU_CAPABILITY", "torch_rounding"}
    assert expected <= set(differ) and not unknown and "blas_rounding" not in differ


@pytest.mark.parametrize(
    "name",
    [
        "ONEDNN_MAX_CPU_ISA",
        "DNNL_MAX_CPU_ISA",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "MKL_CBWR",
        "ATEN_CPU_CAPABILITY",
    ],
)
def test_a_variable_that_changes_bits_is_recorded_and_named(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    usual = environment.environment.__wrapped__("cpu")
    monkeypatch.setenv(name, "COMPATIBLE")
    other = environment.environment.__wrapped__("cpu")
    assert (usual[name], other[name]) == (None, "COMPATIBLE")
    assert name in environment.differing(usual, other)[0]


def test_where_bits_differ_the_causes_are_named():
    there = {"torch": "2.13.0", "processor": "A", "commit": "x"}
    words = verify.possible_causes(there, {**environment.environment("cpu"), "torch": "2.13.0", "processor": "B"})
    assert words.startswith("what bits depend on and differs: processor; not recorded there: numpy, ")
    assert "commit" not in words


def test_a_trial_continued_elsewhere_says_where_it_began(tiny_study, monkeypatch):
    cell, here = tiny_study.cell("charlm", "gelu"), environment.environment("cpu")
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: islice(whole_split(tokens, config), 1))
    monkeypatch.setattr(train, "text_noise", lambda config: [])
    for steps, processor in ((1, "A"), (2, "A"), (1, "B")):
        monkeypatch.setattr(train, "environment", lambda device, name=processor: here | {"processor": name})
        countdown = iter([False] * steps + [True])
        with pytest.raises(train.Interrupted):
            train.run_trial(tiny_study, cell, 1, should_stop=lambda countdown=countdown: next(countdown))
    monkeypatch.setattr(train, "environment", lambda device: here)
    record = train.run_trial(tiny_study, cell, 1)
    parts = [(part["step"], part["environment"]["processor"]) for part in record["begun_elsewhere"]]
    assert parts == [(3, "A"), (4, "B")] and record["environment"] == here
    assert tiny_study.store.read_cell(cell)["trials"][0]["begun_elsewhere"] == record["begun_elsewhere"]
    assert verify.causes(record, here).splitlines()[1:] == [
        "its steps up to 3: what bits depend on and differs: processor",
        "its steps up to 4: what bits depend on and differs: processor",
    ]


def test_facts_that_older_records_lack_are_no_other_machine(monkeypatch):
    found = {"processor": ["A", None], "onednn_rounding": ["1", "2", None], "device": "cpu"}
    monkeypatch.setattr("analysis.account.shared_environment", lambda contents: found)
    assert differing_machines([]) == ["onednn_rounding (1 or 2)"]


# ---------------------------------------------------------------- locks


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that answers as NFS without its lock service does."""

    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="nothing says when a process was started")


def holder(**changes) -> str:
    return json.dumps(json.loads(locks._holder()) | changes)


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_without_locks_a_file_excludes_others(tmp_path, no_locks):
    lock = tmp_path / "a.lock"
    with exclusive(lock):
        assert json.loads((tmp_path / "a.lock.held").read_text())["pid"] == os.getpid()
        with pytest.raises(Busy, match=rf"a\.lock\.held is held by process {os.getpid()} of "), exclusive(lock):
            pass
        with exclusive(tmp_path / "b.lock"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "b.lock"]


def test_without_locks_a_lock_can_be_waited_for(tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    taken = []
    with exclusive(tmp_path / "a.lock"):
        waiting = threading.Thread(target=lambda: taken.append(wait_for(tmp_path / "a.lock")))
        waiting.start()
        time.sleep(0.05)
        assert not taken
    waiting.join(10)
    assert taken == [True]


def test_whoever_waits_for_a_lock_file_is_told_which_and_once(tmp_path, no_locks, monkeypatch, capsys):
    held, polls = tmp_path / "a.lock.held", itertools.count()
    held.write_text(holder(host="another", pid=12))

    def pass_a_second(seconds: float) -> None:
        if next(polls) == 4:
            held.unlink()

    clock = SimpleNamespace(monotonic=itertools.count().__next__, sleep=pass_a_second, time=time.time)
    monkeypatch.setattr(locks, "time", clock)
    monkeypatch.setattr(locks, "SAY_AFTER", 2)
    assert wait_for(tmp_path / "a.lock")
    said = f"waiting for {held}, held by process 12 of another; if that has ended, remove the file\n"
    assert capsys.readouterr().err == said


def wait_for(path: Path) -> bool:
    with exclusive(path, wait=True):
        return True


@pytest.mark.parametrize(
    ("content", "age", "left_behind"),
    [
        (lambda: holder(pid=ended_process()), 0, True),
        (lambda: holder(boot="another"), 0, True),
        (lambda: holder(), 0, False),
        (lambda: holder(host="another", boot="another", pid=ended_process()), 0, False),
        pytest.param(lambda: holder(started=1), 0, True, marks=LINUX),  # by one that had this process's number before
        (lambda: holder(started=None), 0, False),
        (lambda: holder(namespace="pid:[1]", pid=ended_process()), 0, False),  # that lives in another container
        (lambda: holder(namespace="pid:[1]", boot="another"), 0, True),
        (lambda: "", 0, False),  # being written
        (lambda: "", 3600, True),
        (lambda: "[]", 3600, True),
    ],
)
def test_a_lock_file_that_was_left_behind_is_recognised(tmp_path, no_locks, content, age, left_behind):
    held, written = tmp_path / "a.lock.held", content()
    held.write_text(written)
    os.utime(held, (time.time() - age,) * 2)
    if not left_behind:
        with pytest.raises(Busy), exclusive(tmp_path / "a.lock"):
            pass
        assert held.read_text() == written
        return
    with exclusive(tmp_path / "a.lock"):
        assert json.loads(held.read_text())["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


@pytest.mark.parametrize("taken_meanwhile", [False, True])
def test_a_lock_that_is_held_after_all_is_put_back_and_replaces_no_other(tmp_path, monkeypatch, taken_meanwhile):
    held, other, looks = tmp_path / "a.lock.held", holder(host="another"), iter([True, False])
    held.write_text(holder())

    def look(path: Path) -> bool:
        if path != held and taken_meanwhile:
            held.write_text(other)
        return next(looks)

    monkeypatch.setattr(locks, "_left_behind", look)
    locks._remove_left_behind(held)
    assert held.read_text() == (other if taken_meanwhile else holder())
    assert list(tmp_path.iterdir()) == [held]


def test_the_lock_of_another_is_not_given_back(tmp_path, no_locks):
    held = tmp_path / "a.lock.held"
    with exclusive(tmp_path / "a.lock"):
        held.write_text(holder(host="another"))
    assert held.read_text() == holder(host="another")


def test_a_folder_of_a_user_s_own_trials_without_locks_is_warned_of_too(tmp_path, no_locks, capsys):
    setting = Setting(tmp_path / "task.py", tmp_path, 1, "cpu")
    assert train_pending(setting, 1, [], lambda event: None) is None
    assert "has no locks: two runners must not share it" in capsys.readouterr().err


def test_another_fault_of_a_lock_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    def fail(*_) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), exclusive(tmp_path / "a.lock"):
        pass


# ---------------------------------------------------------------- both together


def test_without_git_and_without_locks_a_cell_is_trained(tiny_study, no_locks, monkeypatch, capsys):
    found_out, made = [], []
    find, advance = train.environment.__wrapped__, train.TrialRun.advance
    monkeypatch.setattr(environment, "code_facts", environment.code_facts.__wrapped__)
    monkeypatch.setattr(train, "environment", lambda device: found_out.append(len(made)) or find(device))
    monkeypatch.setattr(train.TrialRun, "advance", lambda run: made.append(run.step) or advance(run))
    monkeypatch.setitem(CONFIGS, "cpu", tiny_study.config)
    monkeypatch.setenv("PATH", "")
    places = ("--results-dir", str(tiny_study.store.results), "--checkpoints-dir", str(tiny_study.store.checkpoints))
    asked = ("--model", "nanotransformer", "--activation", "relu", "--iterations", "1", "--trials", "1")
    assert train.main([*asked, "--config", "cpu", *places]) == 0
    assert found_out == [0] and made == [0]  # once, before the first step
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "has no locks: two runners must not share it" in said.err
    record = json.loads(next(tiny_study.store.results.rglob("trial_1.json")).read_text())
    assert record["status"] == "completed" and record["environment"]["commit"] is None
    assert not list(tiny_study.store.results.rglob("*.held"))


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


# ---------------------------------------------------------------- cores


@pytest.mark.parametrize(
    ("text", "cores_allowed"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("200000", 2),
        ("", None),
        ("x y", None),
    ],
)
def test_a_quota_of_version_2(text, cores_allowed):
    assert cores.quota_v2(text) == cores_allowed


@pytest.mark.parametrize(
    ("quota", "period", "cores_allowed"),
    [("-1\n", "100000\n", None), ("400000\n", "100000\n", 4), ("100", "0", None)],
)
def test_a_quota_of_version_1(quota, period, cores_allowed):
    assert cores.quota_v1(quota, period) == cores_allowed


def test_the_smallest_quota_of_all_groups_counts(tmp_path, monkeypatch):
    membership, mount = tmp_path / "cgroup", tmp_path / "mount"
    membership.write_text("9:name=systemd:/\n4:cpuacct,cpu:/docker/1\n3:cpuset:/other\n0::/outer/inner\n")
    for name, text in [
        ("outer/inner/cpu.max", "max 100000"),
        ("outer/cpu.max", "700000 100000"),
        ("cpu/cpu.cfs_quota_us", "300000"),
        ("cpu/cpu.cfs_period_us", "100000"),
        ("cpuset/cpu.max", "1 100000"),
    ]:
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    assert cores.cpu_quota(membership, mount) == 3
    (mount / "outer" / "cpu.max").write_text("150000 100000")
    assert cores.cpu_quota(membership, mount) == 1.5
    assert cores.cpu_quota(tmp_path / "absent", mount) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    for quota, usable in [(None, 8), (1.5, 2), (0.2, 1), (40, 8)]:
        monkeypatch.setattr(cores, "cpu_quota", lambda quota=quota: quota)
        assert cores.usable_cores() == usable


def test_there_is_one_count_of_cores():
    """Any other one would not know the quota."""
    asked = re.compile(r"sched_getaffinity|cpu_count")
    files = [path for pattern in ("*.py", "*/*.py", "*.sh") for path in ROOT.glob(pattern)]
    counting = {path.name for path in files if path.parent.name != "tests" and asked.search(path.read_text())}
    assert counting == {"cores.py"}


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
