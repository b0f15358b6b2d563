"""A study: its configuration, device and folders; which of its trials are done and which are pending.

PyTorch takes seconds to load, so what needs it imports it where it is used: a plan is made without.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from config import Config
from labels import counted
from study import cli
from study.corpus import read_corpus
from study.files import ResultError
from study.own_code import OwnCode
from study.own_text import OwnText
from study.store import Cell, Store, continues, fingerprint, identity, published_studies

if TYPE_CHECKING:
    from training.dataset import Corpus

Job = tuple[Cell, int]  # one trial: its cell and its number

PRECISIONS = ("float32", "bfloat16")  # of products in training
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
SAVE_EVERY = 60  # seconds of training after which the state of a running trial is saved


@dataclass(frozen=True)
class Study:
    """A configuration, the device it runs on, and where its results lie.

    ``config.study`` is the study's name, ``scale`` that of the configuration it was made from (cpu, cuda or trained).
    With ``cuda_graphs`` training steps are replayed (``step.RecordedStep``), which changes no number. ``own`` are the
    user's models and activations, ``text`` the user's text, if it is not on Tiny Shakespeare. ``asked_precision`` is
    that of the products in training, where it is not the device's own.
    """

    config: Config
    scale: str
    device: str
    store: Store
    cuda_graphs: bool = False
    own: OwnCode = OwnCode()
    text: OwnText | None = None
    asked_precision: str | None = None

    @property
    def precision(self) -> str:
        return self.asked_precision or default_precision(self.device)

    def cell(self, model: str, activation: str) -> Cell:
        return Cell(model, activation, self.config.study)

    def identity(self, cell: Cell) -> dict:
        """All that can change the numbers of a cell's trials."""
        facts = identity(self.config, cell.model, cell.activation, self.device, self.precision)
        if self.text:
            facts["corpus"] = self.text.sha256
        return facts | self.own.identity(cell.model, cell.activation)


def default_precision(device: str) -> str:
    return "bfloat16" if device == "cuda" else "float32"


def has_cuda() -> bool:
    """Whether PyTorch finds a CUDA device."""
    if version("torch").endswith("+cpu"):  # built without
        return False
    import torch

    return torch.cuda.is_available()


def device_here() -> str:
    """ "cuda" where there is a GPU, else "cpu". Where there is one that PyTorch cannot use, a line says so."""
    if has_cuda():
        return "cuda"
    if NVIDIA_DRIVER.exists():
        cli.say(
            f"an NVIDIA driver is here, but PyTorch {version('torch')} finds no GPU through it; "
            "it may be built without CUDA, or for a newer driver"
        )
    return "cpu"


@cache
def load_corpus(device: str, text: OwnText | None = None) -> "Corpus":
    """Tiny Shakespeare, or the user's ``text``, as tokens on ``device``; UserError if it is missing or altered."""
    from training.dataset import Corpus

    return Corpus.from_text(text.read() if text else read_corpus(), device)


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Plan:
    """What a run has before it.

    jobs     the trials that belong to the run, cell by cell
    pending  those of them that are to be trained
    reused   cells that are copied from another study instead, and what their files are to hold
    carried  cells whose trials have fewer steps than are asked for, and go on
    """

    jobs: list[Job]
    pending: list[Job]
    reused: dict[Cell, dict]
    carried: tuple[Cell, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        return list(dict.fromkeys([*(cell for cell, _ in self.jobs), *self.reused]))


def planned_jobs(study: Study, models: Sequence[str], activations: Sequence[str]) -> list[Job]:
    """Every trial of the study, cell by cell, so that cells complete early."""
    return [
        (study.cell(model, activation), number)
        for model in models
        for activation in activations
        for number in range(1, study.config.n_trials + 1)
    ]


def finished_trials(study: Study, cell: Cell) -> set[int]:
    """Numbers of the cell's trials that need no training.

    Where trials of the cell were trained in this results folder, their records decide. Where none was, as in a fresh
    clone, which has cell files only, the trials of a cell file that holds every trial of the study count as done.
    A trial with fewer steps than the study asks for is not done.
    """
    if earlier_steps(study, cell) is not None:
        return set()
    if study.store.has_trial_files(cell):
        return study.store.done_trials(cell)
    with suppress(ResultError):  # reported where the cell file itself is checked
        found = study.store.read_cell(cell)
        if found is not None and found["fingerprint"] == fingerprint(study.identity(cell)):
            numbers = {trial["trial"] for trial in found["trials"]}
            if numbers.issuperset(range(1, study.config.n_trials + 1)):
                return numbers
    return set()


def earlier_steps(study: Study, cell: Cell) -> int | None:
    """How many steps the cell's trials have, if they are the beginning of what the study asks for.

    Never of a published study, whose results stay what they are.
    """
    if study.config.study in published_studies(study.store.results):
        return None
    found = first_settings(study.store, cell)
    return found["iterations"] if found and continues(found, study.identity(cell)) else None


def first_settings(store: Store, cell: Cell) -> dict | None:
    """The settings of the first of the cell's trials whose record can be used, or of the cell file without one."""
    records = (partial(store.read_record, cell, number) for number in sorted(store.done_trials(cell)))
    readers: list[Callable[[], dict | None]] = [*records, partial(store.read_cell, cell)]
    for read in readers:
        with suppress(ResultError):  # reported where the cell is checked
            if found := read():
                return found["config"]
    return None


def without_pilot(study: Study, jobs: Sequence[Job]) -> str | None:
    """A line about cells that have no learning rate of their own in a configuration that has them for others."""
    config = study.config
    lacking: dict[str, list[str]] = {}
    for cell in dict.fromkeys(cell for cell, _ in jobs):
        if config.rates and (cell.model, cell.activation) not in config.rates:
            lacking.setdefault(cell.model, []).append(cell.activation)
    if not lacking:
        return None
    names = ", ".join(" ".join([model, *activations]) for model, activations in lacking.items())
    return f"no pilot: {names}; learning rate {config.learning_rate:g}"


def without_landscape(study: Study, jobs: Sequence[Job]) -> str | None:
    """A line about those of the finished ``jobs`` that have no landscape, as far as cell files know of them."""
    known: set[Job] = set()
    for cell in dict.fromkeys(cell for cell, _ in jobs):
        with suppress(ResultError):  # reported where the cell is checked
            trials = (study.store.read_cell(cell) or {"trials": []})["trials"]
            known |= {
                (cell, trial["trial"])
                for trial in trials
                if trial["status"] == "completed" and "curvature" not in trial
            }
    lacking = len(known.intersection(jobs))
    if not lacking:
        return None
    have = "has" if lacking == 1 else "have"
    return (
        f"{counted(lacking, 'finished trial')} {have} no landscape, which is measured when a trial ends and not "
        "later; to have it, train the study anew under another name with --study NAME"
    )


def pending_jobs(study: Study, jobs: list[Job]) -> list[Job]:
    """Those of ``jobs`` that are still to be trained, in the same order."""
    finished = {cell: finished_trials(study, cell) for cell in dict.fromkeys(cell for cell, _ in jobs)}
    return [(cell, number) for cell, number in jobs if number not in finished[cell]]


def describe_plan(plan: Plan) -> str:
    """One line a cell: which of its trials are done and which pending."""
    waiting = set(plan.pending)
    numbers: dict[Cell, dict[bool, list[int]]] = {}
    for cell, number in plan.jobs:
        numbers.setdefault(cell, {False: [], True: []})[(cell, number) in waiting].append(number)
    width = max((len(cell.name) for cell in numbers), default=0)
    return "\n".join(
        f"{cell.name:{width}}  done: {listed(split[False])}  pending: {listed(split[True])}"
        for cell, split in numbers.items()
    )


def listed(numbers: list[int]) -> str:
    return " ".join(map(str, numbers)) or "-"
