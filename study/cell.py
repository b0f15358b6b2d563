"""A cell: its finished trials and the pairs they make, brought together in one file."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from metrics import TRIAL_METRICS
from study.files import Damaged, UserError, move_damaged
from study.locks import exclusive
from study.pairs import compare_trials
from study.plan import Study
from study.store import Cell, check_identity, fingerprint, read_cells, study_names

# What is measured of a trial that completed, and null of one that diverged.
MEASURED = tuple(name for name in TRIAL_METRICS if name != "training_time")

# What the cell file repeats of a trial's record.
TRIAL_KEYS = (
    "trial",
    "seed",
    "status",
    *MEASURED,
    "training_time",
    "evaluation_time",
    "finished",
    "history",
    "texts",
    "passage",
    "predictions_sha256",
    "environment",
    "begun_elsewhere",
)

Report = Callable[[dict], None]


def ignore(progress: dict) -> None:
    pass


def finished_record(study: Study, cell: Cell, number: int, report: Report) -> dict | None:
    """The record of a trial that is done; None if there is none, or if it was damaged and is now out of the way.

    So is one whose predictions are gone: beside the predictions of the trial that is trained anew it would say that
    this is done before it is.
    """
    store = study.store
    if number not in store.recorded_trials(cell):
        return None
    try:
        record = store.read_record(cell, number)
        # Before its predictions: a record of other settings is never replaced, whatever else is gone.
        check_identity(store.record_path(cell, number), record, study.identity(cell))
        if number not in store.done_trials(cell):
            raise Damaged(f"{store.predictions_path(cell, number)} is gone")
        store.predictions_of(cell, number, record)
    except Damaged as error:
        move_damaged(store.record_path(cell, number))
        move_damaged(store.predictions_path(cell, number))
        report({"step": 0, "note": f"{error}; the trial's files moved to *.damaged, retraining"})
        return None
    store.settle_weights(cell, number)  # where the run that trained it was killed just before this
    return record


def check_cell(study: Study, cell: Cell) -> None:
    """Damaged if the cell file is; OtherSettings if it or, without one, a trial was made with other settings, even
    one whose predictions are gone."""
    store = study.store
    previous = store.read_cell(cell)
    if previous is not None:
        check_identity(store.cell_path(cell), previous, study.identity(cell))
        return
    for number in sorted(store.recorded_trials(cell)):
        with suppress(Damaged):  # retrained when the trial is next asked for
            check_identity(store.record_path(cell, number), store.read_record(cell, number), study.identity(cell))
            return  # the others, if they differ, are refused when they are next asked for


def taken_over(study: Study, cell: Cell, name: str) -> dict | None:
    """The content of the cell's file as study ``name`` has it; None unless that has all trials, with equal settings.

    None too where the cell has trials or a file of its own. "taken_from" names the study it was copied from.
    """
    store, own = study.store, study.store.read_cell(cell)
    there = store.read_cell(replace(cell, study=name))
    if there is None or there["fingerprint"] != fingerprint(study.identity(cell)):
        return None
    if store.done_trials(cell) or (own is not None and own.get("taken_from") != name):
        return None
    if not set(range(1, study.config.n_trials + 1)) <= {trial["trial"] for trial in there["trials"]}:
        return None
    whole = {"study": cell.study, "status": "completed", "planned_trials": len(there["trials"])}
    return there | whole | {"taken_from": name}


def update_cell(study: Study, cell: Cell, report: Report = ignore) -> None:
    """Bring the cell file up to date with the trials that have finished.

    Cell files are committed and predictions are not, so the file may hold trials whose predictions are not here.
    They are kept, with their pairs, as long as the trials that are here came out as the file says, to the bit. On a
    machine with different floating-point rounding they do not: then that file is moved into the folder of the cell's
    trials, and a new one is written from the trials that are here.
    """
    store = study.store
    with exclusive(store.lock_path(cell, "cell"), wait=True):
        previous = store.read_cell(cell)
        done = {n: finished_record(study, cell, n, report) for n in sorted(store.done_trials(cell))}
        records = {number: record for number, record in done.items() if record is not None}
        if not records:
            return
        if previous is not None and not agree(records, previous):
            path, kept = store.cell_path(cell), store.earlier_cell_path(cell)
            path.replace(kept)
            note = (
                f"{path} is from a machine with different floating-point rounding; moved to {kept}, writing a new one"
            )
            report({"step": 0, "note": note})
            previous = None
        store.write_cell(cell, build_cell(study, cell, records, previous))


def build_cell(study: Study, cell: Cell, records: dict[int, dict], previous: dict | None) -> dict:
    """The cell file's content from the records of its trials and from what it held before."""
    trials = {trial["trial"]: trial for trial in previous["trials"]} if previous else {}
    trials |= {
        number: {key: record[key] for key in TRIAL_KEYS if key in record} for number, record in records.items()
    }
    trials = dict(sorted(trials.items()))
    completed = [trial for trial in trials.values() if trial["status"] == "completed"]
    pairs = compare_trials(study, cell, [t["trial"] for t in completed], records, previous)
    planned = max(len(trials), study.config.n_trials)
    newest = max(trials.values(), key=lambda trial: trial["finished"])

    def mean(values: Iterable[float]) -> float | None:
        values = list(values)
        return float(np.mean(values)) if values else None

    return {
        "model": cell.model,
        "activation": cell.activation,
        "study": cell.study,
        "status": "completed" if len(trials) == planned else "partial",
        "planned_trials": planned,
        "n_parameters": next(iter(records.values()))["n_parameters"],
        "mean_val_loss": mean(trial["val_loss"] for trial in completed),
        "std_val_loss": float(np.std([t["val_loss"] for t in completed])) if len(completed) > 1 else None,
        "mean_val_accuracy": mean(trial["val_accuracy"] for trial in completed),
        "mean_relative_pd": mean(pair["relative_pd"] for pair in pairs),
        "mean_top1_mismatches": mean(pair["top1_mismatches"] for pair in pairs),
        "mean_training_time": mean(trial["training_time"] for trial in completed),
        "config": study.identity(cell),
        "fingerprint": fingerprint(study.identity(cell)),
        "environment": newest["environment"],
        "trials": list(trials.values()),
        "pairs": pairs,
    }


def agree(records: dict[int, dict], previous: dict) -> bool:
    """Whether the trials in ``records`` that the cell file holds too have the same predictions there."""
    there = {trial["trial"]: trial["predictions_sha256"] for trial in previous["trials"]}
    return all(
        record["predictions_sha256"] == there.get(number, record["predictions_sha256"])
        for number, record in records.items()
    )


def cells_to_reuse(study: Study, cells: Iterable[Cell], name: str) -> dict[Cell, dict]:
    """The content of those of ``cells`` that study ``name`` can give; UserError if there is no such study."""
    known = study_names(read_cells(study.store.results))
    if name not in known or name == study.config.study:
        others = ", ".join(other for other in known if other != study.config.study)
        raise UserError(f"--reuse: no other study {name!r} in {study.store.results} (there: {others or 'none'})")
    found = {cell: taken_over(study, cell, name) for cell in cells}
    return {cell: content for cell, content in found.items() if content is not None}
