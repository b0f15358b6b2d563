"""Machines unlike ours: no git, other instructions, a container's quota; what a record says of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from tiny_trials import run_until

import cores
import train
from analysis.account import differing_machines
from runner import verify
from study import environment, plan
from study.files import ROOT
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
        run_until(tiny_study, steps)
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


@pytest.mark.parametrize("driver", [True, False])
def test_a_gpu_that_pytorch_cannot_use_is_named(monkeypatch, tmp_path, capsys, driver):
    monkeypatch.setattr(plan, "has_cuda", lambda: False)
    monkeypatch.setattr(plan, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    assert plan.device_here() == "cpu"
    said = capsys.readouterr().out
    assert ("an NVIDIA driver is here, but PyTorch" in said) == driver and said.count("\n") == int(driver)
