"""Many figures: what each is drawn from, which are there already, and drawing the others on all cores."""

import gc
import hashlib
import json
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

from analysis.findings import Findings
from metrics import TRIAL_METRICS
from plot_utils import activation_colours
from views.drawing import Drawing
from views.figures import drawn_by
from views.save import figure_bytes

DIGITS = 16  # of a digest in a figure
FEWEST = 4  # figures that make another process worth its start

Job = tuple[Drawing, str, dict[str, str]]  # what to draw, in which format, and the texts to store in it


def basis_of(drawing: Drawing, findings: Findings) -> dict[str, str]:
    """What a figure is drawn from, by which an older one is recognised, as texts to store in it.

    That is a digest of what all trials of the study and its controls predict and what else was measured of them, or
    of a cell's figure those of the cell alone, and one of the code that draws.
    """
    colours = activation_colours(cell.activation for cell in findings.measured)
    cells = findings.measured if drawing.cell is None else [drawing.cell]
    shown = [each for cell in cells for each in (cell, *cell.controls.values())]
    trials = [
        (
            cell.model,
            cell.activation,
            colours.get(cell.activation),
            cell.planned_trials,
            [[trial.get(name) for name in ("predictions_sha256", *TRIAL_METRICS)] for trial in cell.trials],
            [pair.get("barrier") for pair in cell.pairs],
        )
        for cell in shown
    ]
    return {"Trials": _digest(json.dumps(trials).encode()), "Code": drawing_code()}


@cache
def drawing_code() -> str:
    """A digest of the modules that figures depend on, not of those for tables and words, and matplotlib's version."""
    sources = [path.read_bytes() for path in drawn_by(Path(__file__).resolve().parents[1])]
    return _digest(b"\0".join([version("matplotlib").encode(), *sources]))


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:DIGITS]


# ---------------------------------------------------------------- drawing


def drawn(jobs: Sequence[Job], n_cores: int) -> Iterator[bytes]:
    """The bytes of each figure, in order, as they are drawn on up to ``n_cores`` processes."""
    gc.freeze()  # otherwise each collection goes through all cells, which takes a tenth of the time
    try:
        yield from _drawn(jobs, n_cores)
    finally:
        gc.unfreeze()


def _drawn(jobs: Sequence[Job], n_cores: int) -> Iterator[bytes]:
    n_processes = min(n_cores, len(jobs) // FEWEST)
    if n_processes < 2:
        yield from map(_bytes_of, jobs)
        return
    # A fork has all that figures are drawn from; where forks are not safe, it is sent once to each process.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    executor = ProcessPoolExecutor(n_processes, context, _take, (jobs,))
    try:
        with ctrl_c_held_back():  # here the processes start, and what is held back stays so in them
            figures = executor.map(_draw, range(len(jobs)))
        yield from figures
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Inside, Ctrl-C waits, and for ever in a process that is started inside: whoever started it answers, once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_jobs: Sequence[Job] = ()  # of a drawing process


def _take(jobs: Sequence[Job]) -> None:
    global _jobs
    _jobs = jobs


def _draw(place: int) -> bytes:
    return _bytes_of(_jobs[place])


def _bytes_of(job: Job) -> bytes:
    drawing, form, texts = job
    return figure_bytes(drawing.draw(), form, texts)
