"""A study: its configuration, device and folders; which of its trials are done and which pending."""

import platform
import subprocess
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from config import Config
from study.corpus import read_corpus
from study.files import ROOT
from study.store import Cell, Store, identity
from training.dataset import Corpus

Job = tuple[Cell, int]  # one trial: its cell and its number


@dataclass(frozen=True)
class Study:
    """A configuration, the device it runs on, and where its results lie.

    ``config.study`` is the study's name, ``scale`` that of the configuration it was made from (cpu or cuda).
    With ``cuda_graphs`` training steps are replayed (``step.RecordedStep``), which changes no number.
    """

    config: Config
    scale: str
    device: str
    store: Store
    cuda_graphs: bool = False

    @property
    def precision(self) -> str:
        return "bfloat16" if self.device == "cuda" else "float32"

    def cell(self, model: str, activation: str) -> Cell:
        return Cell(model, activation, self.config.study)

    def identity(self, cell: Cell) -> dict:
        """All that can change the numbers of a cell's trials."""
        return identity(self.config, cell.model, cell.activation, self.device, self.precision)


@cache
def environment(device: str) -> dict:
    """What numbers are made with and on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": 1 if device == "cpu" else torch.get_num_threads(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the code, "-dirty" if its modules were changed since; "unknown" outside a repository."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    found = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", "*.py").returncode
    return found + "-dirty" * bool(changed) if found else "unknown"


@cache
def load_corpus(device: str) -> Corpus:
    """Tiny Shakespeare as tokens on ``device``; UserError if it is missing or altered."""
    return Corpus.from_text(read_corpus(), device)


# ---------------------------------------------------------------- the plan


def planned_jobs(study: Study, models: list[str], activations: list[str]) -> list[Job]:
    """Every trial of the study, cell by cell, so that cells complete early."""
    return [
        (study.cell(model, activation), number)
        for model in models
        for activation in activations
        for number in range(1, study.config.n_trials + 1)
    ]


def pending_jobs(study: Study, jobs: list[Job]) -> list[Job]:
    """Those of ``jobs`` without a finished trial on the disk, in the same order."""
    done = {cell: study.store.done_trials(cell) for cell in dict.fromkeys(cell for cell, _ in jobs)}
    return [(cell, number) for cell, number in jobs if number not in done[cell]]


def without_complete_cells(study: Study, jobs: list[Job]) -> list[Job]:
    """``jobs`` but for those of cells whose file holds every trial of the study."""
    wanted = set(range(1, study.config.n_trials + 1))
    found = {cell: study.store.read_cell(cell) for cell in dict.fromkeys(cell for cell, _ in jobs)}
    complete = {cell for cell, file in found.items() if file and wanted <= {t["trial"] for t in file["trials"]}}
    return [job for job in jobs if job[0] not in complete]


def failed_jobs(study: Study, jobs: list[Job]) -> list[Job]:
    """Those of ``jobs`` whose last run failed."""
    return [job for job in jobs if study.store.error_path(*job).exists()]


def describe_plan(study: Study, jobs: list[Job], pending: list[Job]) -> str:
    """One line a cell: which of its trials are done and which pending."""
    waiting = set(pending)
    numbers: dict[Cell, dict[bool, list[int]]] = {}
    for cell, number in jobs:
        numbers.setdefault(cell, {False: [], True: []})[(cell, number) in waiting].append(number)
    width = max((len(cell.name) for cell in numbers), default=0)
    return "\n".join(
        f"{cell.name:{width}}  done: {listed(split[False])}  pending: {listed(split[True])}"
        for cell, split in numbers.items()
    )


def listed(numbers: list[int]) -> str:
    return " ".join(map(str, numbers)) or "-"


Job = tuple[Cell, int]
