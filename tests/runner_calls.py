"""The runner called in this process on a folder of a small study."""

import re
from pathlib import Path

from runs import CONFIG, command

from run_all_experiments import main

CELL = (
    "--models",
    "charlm",
    "--activations",
    "gelu",
    "--iterations",
    str(CONFIG.iterations),
    "--eval-interval",
    str(CONFIG.eval_interval),
)


def call(folder: Path, *options: str) -> int:
    """The runner in this process; returns the exit code."""
    _, _, *arguments = command(folder, *options, "--config", "cpu")
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_refused(folder: Path, capsys, options: tuple[str, ...], reason: str) -> None:
    """Exit code 2, one line on stderr with ``reason``, and nothing changed in ``folder``."""
    before = snapshot(folder)
    capsys.readouterr()
    code = call(folder, *options)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1 and re.search(reason, captured.err), captured.err
    assert snapshot(folder) == before
