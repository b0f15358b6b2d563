"""Set-up and background runs, without network: scripts run in a copy, in a folder with a space."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from patience import wait_until
from runs import run_to_its_end

from study import corpus

ROOT = Path(__file__).resolve().parent.parent
TEXT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"


# --- setup.sh ---------------------------------------------------------------------------------------------

# Stands in for a Python with a fast `-m venv` and `-m pip`; it notes what it was asked for in calls.txt.
FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-m venv") echo venv >> "{calls}"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") echo pip >> "{calls}"; [ ! -e "{calls}.fail" ] ;;
    *) exec "{python}" "$@" ;;
esac
"""


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def repository(tmp_path) -> Path:
    """A copy of the scripts with a small corpus and without venv/, in a folder with a space."""
    copy = tmp_path / "my repository"
    (copy / "data").mkdir(parents=True)
    for name in ("setup.sh", "run_background.sh"):
        shutil.copy(ROOT / name, copy)
    (copy / "study").mkdir()
    for name in ("__init__.py", "corpus.py", "downloads.py", "cli.py", "files.py"):
        shutil.copy(ROOT / "study" / name, copy / "study")
    fetching = copy / "study" / "corpus.py"
    fetching.write_text(fetching.read_text().replace(corpus.CORPUS_SHA256, hashlib.sha256(TEXT).hexdigest()))
    (copy / "requirements.txt").write_text("torch==2.13.0\n")
    (copy / "data" / "tinyshakespeare.txt").write_bytes(TEXT)
    return copy


def bash(script: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """The script's run from another folder than its own."""
    command = ["bash", str(script), *options]
    return run_to_its_end(command, cwd="/", env=os.environ | environment)


@pytest.fixture
def set_up(repository, tmp_path):
    """Runs setup.sh with the stand-in Python and returns what that Python was asked for."""
    calls = tmp_path / "calls.txt"
    python = write_script(tmp_path / "python", FAKE_PYTHON.format(calls=calls, python=sys.executable))

    def run(*options: str, folder: Path = repository, fails: bool = False) -> list[str]:
        calls.write_text("")
        failing = calls.with_name(calls.name + ".fail")
        if fails:
            failing.touch()
        else:
            failing.unlink(missing_ok=True)
        run.result = bash(folder / "setup.sh", *options, PYTHON=str(python))
        assert run.result.returncode == (2 if fails else 0), run.result.stderr
        return calls.read_text().split()

    return run


def test_setup_installs_once_and_again_when_requirements_change(repository, set_up):
    assert set_up() == ["venv", "pip"]
    assert "./run_background.sh" in set_up.result.stdout
    assert set_up() == []
    assert set_up("--quiet") == []
    assert set_up.result.stdout + set_up.result.stderr == ""
    (repository / "requirements.txt").write_text("torch==2.13.0\nnumpy==2.4.6\n")
    assert set_up("--quiet") == ["pip"]
    assert set_up() == []


def test_setup_that_was_interrupted_starts_again(repository, set_up):
    assert set_up(fails=True) == ["venv", "pip"]
    assert "pip could not install" in set_up.result.stderr
    (repository / "venv" / "half_a_package").touch()
    assert set_up() == ["venv", "pip"]
    assert not (repository / "venv" / "half_a_package").exists()
    (repository / "venv" / "bin" / "python").unlink()
    assert set_up() == ["venv", "pip"]
    assert set_up() == []


def test_setup_makes_a_new_venv_in_a_moved_folder(repository, set_up):
    assert set_up() == ["venv", "pip"]
    moved = repository.rename(repository.with_name("moved repository"))
    assert set_up(folder=moved) == ["venv", "pip"]
    assert set_up(folder=moved) == []


def test_setup_is_not_done_without_the_corpus(repository, set_up):
    assert set_up() == ["venv", "pip"]
    failing = "import sys\nprint('no corpus', file=sys.stderr)\nsys.exit(2)\n"
    (repository / "study" / "corpus.py").write_text(failing)
    result = bash(repository / "setup.sh")
    assert result.returncode == 2
    assert result.stderr == "no corpus\n"
    assert "Ready" not in result.stdout


def python_that_claims(path: Path, version: tuple[int, int], missing: str = "") -> Path:
    """A Python that runs code as if it were another version, or as if a module were missing."""
    pretend = f"import sys; sys.version_info = ({version[0]}, {version[1]}, 0)"
    pretend += f"; sys.modules[{missing!r}] = None; exec(sys.argv[1])"
    text = f'#!/bin/sh\nif [ "$1" = --version ]; then echo Python {version[0]}.{version[1]}.0; exit; fi\n'
    return write_script(path, text + f'exec "{sys.executable}" -c "{pretend}" "$2"\n')


@pytest.mark.parametrize(
    ("version", "missing", "complaint"),
    [
        ((3, 10), "", "Python 3.11 or newer is needed"),
        ((3, 11), "ensurepip", "has no venv module"),
        ((3, 13), "venv", "has no venv module"),
    ],
)
def test_setup_refuses_a_python_that_will_not_do(repository, tmp_path, version, missing, complaint):
    python = python_that_claims(tmp_path / "python", version, missing)
    result = bash(repository / "setup.sh", PYTHON=str(python))
    assert result.returncode == 2
    assert complaint in result.stderr
    assert str(python) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (repository / "venv").exists()


def test_setup_takes_the_newest_python_that_will_do(repository, tmp_path):
    """python3.13 is broken, python3.12 lacks venv: python3.11 it is, though a python3 is there, too."""
    tools = tmp_path / "tools"
    write_script(tools / "python3.13", "#!/bin/sh\nexit 1\n")
    python_that_claims(tools / "python3.12", (3, 12), "venv")
    calls = tmp_path / "calls.txt"
    write_script(tools / "python3.11", FAKE_PYTHON.format(calls=calls, python=sys.executable))
    python_that_claims(tools / "python3", (3, 9))
    result = bash(repository / "setup.sh", PATH=f"{tools}:{os.environ['PATH']}", PYTHON="")
    assert result.returncode == 0, result.stderr
    assert calls.read_text().split() == ["venv", "pip"]


def test_setup_refuses_unknown_options(repository):
    result = bash(repository / "setup.sh", "--fast")
    assert result.returncode == 2
    assert "--fast" in result.stderr


# --- run_background.sh ------------------------------------------------------------------------------------

STAND_IN_RUNNER = """
import os, signal, sys, time
options = sys.argv[1:]
if "--help" in options:
    print("the runner's help")
elif "--wrong" in options:
    print("no such option: --wrong", file=sys.stderr)
    sys.exit(2)
elif "--dry-run" in options:
    print("the plan")
elif "--fail" in options:
    time.sleep(1.5)  # as long as imports take
    print("something broke")
    sys.exit(3)
elif "--finish" not in options:
    def stop(*_):
        print("saved")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print("training with", *options)
    started = options[-options[::-1].index("--started-file")]
    with open(started + ".part", "w") as file:
        print(os.getpid(), file=file)
    os.rename(started + ".part", started)
    time.sleep(60)
"""


class Background:
    """run_background.sh in a copy that is set up, with a stand-in for the runner."""

    def __init__(self, repository: Path):
        self.repository = repository
        self.pid_file = repository / "experiments.pid"
        self.script = repository / "run_background.sh"
        (repository / "run_all_experiments.py").write_text(STAND_IN_RUNNER)
        write_script(repository / "venv" / "bin" / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        stamp = f"{repository.resolve()}\n" + (repository / "requirements.txt").read_text()
        (repository / "venv" / "installed.txt").write_text(stamp)

    def start(self, *options: str, **environment: str) -> subprocess.CompletedProcess:
        return bash(self.script, *options, **environment)

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def logs(self) -> list[Path]:
        return sorted(self.repository.glob("experiments_*.log"))


@pytest.fixture
def background(repository):
    background = Background(repository)
    yield background
    if background.pid_file.exists() and background.pid() != os.getpid():
        os.kill(background.pid(), signal.SIGKILL)


def path_without_setsid(folder: Path) -> str:
    """A PATH as on macOS, which has no setsid (and no flock)."""
    folder.mkdir()
    for tool in ("bash", "cat", "cmp", "date", "dirname", "head", "nohup", "rm", "sh", "sleep"):
        (folder / tool).symlink_to(shutil.which(tool))
    return str(folder)


@pytest.mark.parametrize("has_setsid", [True, False])
def test_a_run_starts_refuses_a_second_and_stops(background, tmp_path, has_setsid):
    if has_setsid and not shutil.which("setsid"):
        pytest.skip("no setsid here")
    environment = {} if has_setsid else {"PATH": path_without_setsid(tmp_path / "tools")}
    started = background.start("--started-file", "elsewhere", **environment)
    assert started.returncode == 0, started.stderr
    pid = background.pid()
    (log,) = background.logs()
    assert f"kill {pid}" in started.stdout
    assert log.name in started.stdout
    started_file = background.repository / "experiments.started"
    assert f"training with --started-file elsewhere --analyze --started-file {started_file}\n" in log.read_text()
    if has_setsid:
        assert os.getsid(pid) != os.getsid(0)

    second = background.start(**environment)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"already running (process {pid})" in second.stderr
    assert background.pid() == pid

    os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: not background.pid_file.exists() and not started_file.exists())
    assert log.read_text().endswith("saved\n")


def test_of_simultaneous_starts_one_wins(background):
    with ThreadPoolExecutor(3) as together:
        starts = list(together.map(lambda _: background.start(), range(3)))
    assert sorted(start.returncode for start in starts) == [0, 2, 2]
    assert len(background.logs()) == 1


def test_neither_a_killed_run_nor_a_stale_pid_file_blocks_the_next(background):
    assert background.start().returncode == 0
    os.kill(background.pid(), signal.SIGKILL)
    assert wait_until(lambda: not background.pid_file.exists())
    background.pid_file.write_text(f"{os.getpid()}\n")  # a number that lives, but is no run of ours
    started = background.start()
    assert started.returncode == 0, started.stderr
    assert background.pid() != os.getpid()


def test_a_wrong_option_is_reported_in_the_foreground(background):
    result = background.start("--wrong")
    assert result.returncode == 2
    assert result.stderr == "no such option: --wrong\n"
    assert result.stdout == ""
    assert not background.logs()
    assert not background.pid_file.exists()


def test_a_run_that_dies_at_once_shows_its_log(background):
    result = background.start("--fail")
    assert result.returncode == 3
    assert "something broke" in result.stderr
    assert not background.pid_file.exists()


def test_a_run_with_nothing_to_do_says_so(background):
    result = background.start("--finish")
    assert result.returncode == 0, result.stderr
    assert "ended already" in result.stdout
    assert not background.pid_file.exists()


def test_dry_run_and_help_start_nothing(background):
    assert background.start("--dry-run").stdout == "the plan\n"
    helped = background.start("--help").stdout
    assert helped.startswith("usage: ./run_background.sh")
    assert "the runner's help" in helped
    shutil.rmtree(background.repository / "venv")
    assert "setup.sh" in background.start("--help").stdout
    assert not (background.repository / "venv").exists()
    assert not background.logs()


@pytest.mark.parametrize("script", ["setup.sh", "run_tests.sh"])
def test_scripts_explain_themselves_and_set_nothing_up(tmp_path, script):
    shutil.copy(ROOT / script, tmp_path)
    helped = subprocess.run(["bash", tmp_path / script, "--help"], capture_output=True, text=True, check=True)
    assert f"./{script} " in helped.stdout and not helped.stderr
    assert [path.name for path in tmp_path.iterdir()] == [script]


@pytest.mark.parametrize("script", ["setup.sh", "run_background.sh", "run_tests.sh", ".ci/run"])
def test_scripts_parse_and_may_be_executed(script):
    assert os.access(ROOT / script, os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0
