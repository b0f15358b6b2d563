"""Do the trials of a study have the same bits as those that another study has of the same settings and seeds?"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from labels import counted
from study.environment import differing
from study.files import ResultError, files_in
from study.plan import Study
from study.store import Cell, fingerprint, published_studies, read_cell_file


@dataclass
class Agreement:
    """Of the trials that two studies both have, each from a training of its own: what was copied (--reuse), over
    however many studies, is one training.

    n_shared          trials that both have
    n_same            those of them whose predictions are the same to the bit
    loss_differences  of each trial's validation loss, in nats per character
    pd_differences    of each cell's mean PD over the pairs that both have
    causes            names of what bits depend on and differs where predictions do
    unrecorded        whether the other study's records lack some of that, as those of earlier versions do
    """

    n_shared: int = 0
    n_same: int = 0
    loss_differences: list[float] = field(default_factory=list)
    pd_differences: list[float] = field(default_factory=list)
    causes: set[str] = field(default_factory=set)
    unrecorded: bool = False

    def add(self, ours: dict, theirs: dict) -> None:
        """Count the trials of two cell files with the same fingerprint."""
        there = {trial["trial"]: trial for trial in theirs["trials"]}
        compared = set()
        for trial in ours["trials"]:
            other = there.get(trial["trial"])
            if other is None or one_training(trial, other):
                continue
            compared.add(trial["trial"])
            self.n_shared += 1
            if trial["predictions_sha256"] == other["predictions_sha256"]:
                self.n_same += 1
            else:
                differ, unknown = differing(other["environment"], trial["environment"])
                self.causes.update(differ)
                self.unrecorded |= bool(unknown)
            if trial["val_loss"] is not None and other["val_loss"] is not None:
                self.loss_differences.append(abs(trial["val_loss"] - other["val_loss"]))
        pds = {tuple(pair["trials"]): pair["relative_pd"] for pair in theirs["pairs"]}
        shared = [
            (pair["relative_pd"], pds[tuple(pair["trials"])])
            for pair in ours["pairs"]
            if tuple(pair["trials"]) in pds and not compared.isdisjoint(pair["trials"])
        ]
        if shared:
            self.pd_differences.append(abs(mean(pd for pd, _ in shared) - mean(pd for _, pd in shared)))

    def describe(self, whose: str) -> str:
        verb = "has" if self.n_shared == 1 else "have"
        line = f"{self.n_same} of {counted(self.n_shared, 'trial')} {verb} the same bits as {whose}"
        if self.n_same == self.n_shared:
            return line
        sizes = []
        if self.loss_differences:
            sizes.append(f"of validation loss {max(self.loss_differences):.2g} nats")
        if self.pd_differences:
            sizes.append(f"of a cell's mean PD {max(self.pd_differences):.2g}")
        line += f"; {self._why()}"
        return f"{line}. Largest difference {', '.join(sizes)}" if sizes else line

    def _why(self) -> str:
        if self.causes:
            return f"what bits depend on and differs: {', '.join(sorted(self.causes))}"
        if self.unrecorded:
            return "they may come from another machine or other code, of which not all was recorded there"
        return "nothing differs of what bits depend on and is recorded"


def describe_agreement(study: Study, cells: Iterable[Cell]) -> list[str]:
    """A line for each other study in the results folder that has trials of ``cells`` with the same settings."""
    agreements: dict[str, Agreement] = {}
    for cell, others in equal_cells(study, cells).items():
        ours = study.store.read_cell(cell)
        for theirs in others:
            if ours is not None:
                agreements.setdefault(theirs["study"], Agreement()).add(ours, theirs)
    published = published_studies(study.store.results)
    return [
        agreement.describe(f"the published study {name}" if name in published else f"study {name}")
        for name, agreement in sorted(agreements.items())
        if agreement.n_shared
    ]


def equal_cells(study: Study, cells: Iterable[Cell]) -> dict[Cell, list[dict]]:
    """For those of ``cells`` that other studies have too, with the same settings, what the files there hold."""
    by_fingerprint = {fingerprint(study.identity(cell)): cell for cell in cells}
    found: dict[Cell, list[dict]] = {}
    for path in files_of_other_studies(study, by_fingerprint.values()):
        with suppress(ResultError):
            other = read_cell_file(path)
            if cell := by_fingerprint.get(other["fingerprint"]):
                found.setdefault(cell, []).append(other)
    return found


def files_of_other_studies(study: Study, cells: Iterable[Cell]) -> list[Path]:
    """Cell files of the models and activations of ``cells`` in other studies, chosen by file name."""
    cells = list(cells)
    beginnings = tuple(f"{cell.model}_{cell.activation}_" for cell in cells)
    own = {study.store.cell_path(cell) for cell in cells}
    return [
        path
        for path in files_in(study.store.results, ".json")
        if path.stem.startswith(beginnings) and path not in own
    ]


def one_training(first: dict, second: dict) -> bool:
    """Whether two trials of a number are one training: they ended at one moment, after equally many milliseconds."""
    return all(first[name] == second[name] for name in ("finished", "training_time"))
