"""A cell: its finished trials and the pairs they make, brought together in one file."""

import itertools
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from metrics import TRIAL_METRICS
from study.compact import leaves
from study.environment import possible_causes
from study.files import Damaged, UserError, move_damaged
from study.known import Known, check_predictions, known_record
from study.locks import exclusive
from study.pair_files import Key, kept_pairs, write_pairs
from study.pairs import compare_trials, with_barrier
from study.plan import Study
from study.store import Cell, Store, check_identity, fingerprint, read_cells, study_names

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


def finished_record(study: Study, cell: Cell, number: int, report: Report, from_memory: bool = False) -> dict | None:
    """The record of a trial that is done; None if there is none, or if it was damaged and is now out of the way.

    So is one whose predictions are gone: beside the predictions of the trial that is trained anew it would say that
    this is done before it is. ``from_memory``: files that this process has read, and that have not changed since, are
    not read again.
    """
    store = study.store
    if not os.path.lexists(store.record_path(cell, number)):
        return None
    try:
        record = known_record(store, cell, number) if from_memory else store.read_record(cell, number)
        # Before its predictions: a record of other settings is never replaced, whatever else is gone.
        check_identity(store.record_path(cell, number), record, study.identity(cell))
        if not os.path.lexists(store.predictions_path(cell, number)):
            raise Damaged(f"{store.predictions_path(cell, number)} is gone")
        if from_memory:
            check_predictions(store, cell, number, record)
        else:
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
    path = store.cell_path(cell)
    if os.path.lexists(path):
        check_identity(path, CELL_FILES.get(path, lambda: identity_in(store, cell)), study.identity(cell))
        return
    for number in sorted(store.recorded_trials(cell)):
        with suppress(Damaged):  # retrained when the trial is next asked for
            check_identity(store.record_path(cell, number), known_record(store, cell, number), study.identity(cell))
            return  # the others, if they differ, are refused when they are next asked for


def check_begun(study: Study, cell: Cell) -> None:
    """OtherSettings if the first of the cell's trials that was begun, and not ended, was made with other settings;
    before any other trial is trained, so that the study never holds both."""
    store = study.store
    ended, trials = store.recorded_trials(cell), range(1, study.config.n_trials + 1)
    begun = [number for number in trials if number not in ended and store.checkpoint_path(cell, number).exists()]
    if begun:
        from study.state import read_state  # here, because it loads PyTorch

        with suppress(Damaged):  # said and mended when the trial is trained
            read_state(store.checkpoint_path(cell, begun[0]), study.identity(cell), begun[0], "cpu")


CELL_FILES = Known()  # what identifies the cell files that this process has found whole


def identity_in(store: Store, cell: Cell) -> dict:
    content = store.read_cell(cell) or {}
    return {name: content[name] for name in ("config", "fingerprint") if name in content}


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


def keep_pairs(study: Study, cell: Cell, number: int, report: Report = ignore) -> None:
    """Compare a trial that has finished with those that had before, and update the cell file if the cell is complete.

    Otherwise that waits for the end of the run, so that a trial costs no more the more there are. The pairs that are
    in a file of the trial already are left.
    """
    store = study.store
    with exclusive(store.lock_path(cell, "cell"), wait=True):
        records = finished_records(study, cell, report)
        own = records.get(number)
        if own is not None and own["status"] == "completed" and not kept_pairs(store, cell, number, records):
            others = sorted(n for n, record in records.items() if record["status"] == "completed" and n != number)
            pairs = compare_trials(study, cell, records, [(min(n, number), max(n, number)) for n in others])
            hashes = {n: records[n]["predictions_sha256"] for n in (*others, number)}
            if pairs:
                write_pairs(store, cell, number, hashes, pairs)
    if records.keys() >= set(range(1, study.config.n_trials + 1)):
        update_cell(study, cell, report)


def finished_records(study: Study, cell: Cell, report: Report) -> dict[int, dict]:
    """The records of the trials that are done, by number; what is damaged is out of the way then."""
    numbers = sorted(study.store.done_trials(cell))
    done = {number: finished_record(study, cell, number, report, from_memory=True) for number in numbers}
    return {number: record for number, record in done.items() if record is not None}


def update_cell(study: Study, cell: Cell, report: Report = ignore) -> None:
    """Bring the cell file up to date with the trials that have finished; it is not written if it is.

    Cell files are committed and predictions are not, so the file may hold trials whose predictions are not here.
    They are kept, with their pairs, as long as the trials that are here came out as the file says, to the bit. On
    another machine, or with other code, they may not: then that file is moved into the folder of the cell's trials,
    and a new one is written from the trials that are here.
    """
    store = study.store
    with exclusive(store.lock_path(cell, "cell"), wait=True):
        previous = store.read_cell(cell)
        records = finished_records(study, cell, report)
        if not records:
            return
        if previous is not None and (other := other_bits(records, previous)):
            path, kept = store.cell_path(cell), store.earlier_cell_path(cell)
            path.replace(kept)
            why = possible_causes(other["environment"], records[other["trial"]]["environment"])
            report({"step": 0, "note": f"{path} has other bits ({why}); moved to {kept}, writing a new one"})
            previous = None
        content = build_cell(study, cell, records, previous, known_pairs(study, cell, records, previous))
        if content != previous:
            store.write_cell(cell, content)


def known_pairs(study: Study, cell: Cell, records: dict[int, dict], previous: dict | None) -> dict[Key, dict]:
    """The pairs that the cell file held before and, where it lacks some, those in files of the trials' own."""
    known = {(i, j): pair for pair in previous["pairs"] for i, j in [pair["trials"]]} if previous else {}
    lacking = [key for key in itertools.combinations(sorted(records), 2) if key not in known]
    for number in sorted({number for key in lacking for number in key}):
        known = kept_pairs(study.store, cell, number, records) | known
    return known


def is_up_to_date(study: Study, cell: Cell) -> bool:
    """Whether the cell file has every trial that is done as its record is, and all their pairs."""
    store = study.store
    done, content = store.done_trials(cell), store.read_cell(cell)
    if content is None:
        return not done
    trials = {trial["trial"]: trial for trial in content["trials"]}
    with suppress(Damaged):
        records = {number: known_record(store, cell, number) for number in done}
        completed = [number for number, trial in trials.items() if trial["status"] == "completed"]
        n_pairs = len(completed) * (len(completed) - 1) // 2
        return len(content["pairs"]) == n_pairs and all(trials.get(n) == entry(r) for n, r in records.items())
    return False


def entry(record: dict) -> dict:
    """What the cell file repeats of a trial's record."""
    return {key: record[key] for key in TRIAL_KEYS if key in record}


def build_cell(
    study: Study, cell: Cell, records: dict[int, dict], previous: dict | None, known: dict[Key, dict]
) -> dict:
    """The cell file's content from the records of its trials, from what it held before, and from the pairs that are
    ``known``; the others are computed."""
    trials = {trial["trial"]: trial for trial in previous["trials"]} if previous else {}
    trials |= {number: entry(record) for number, record in records.items()}
    trials = dict(sorted(trials.items()))
    completed = [trial for trial in trials.values() if trial["status"] == "completed"]
    keys = list(itertools.combinations([trial["trial"] for trial in completed], 2))
    lacking = [key for key in keys if key not in known and records.keys() >= set(key)]
    known = known | dict(zip(lacking, compare_trials(study, cell, records, lacking), strict=True))
    known = {key: known[key] for key in keys if key in known}
    known |= pairs_anew(study, cell, records, known, pooled="pooled" in (previous or {}))
    pairs = [with_barrier(pair, records) for pair in known.values()]
    planned = max(len(trials), study.config.n_trials)
    pooled = {"pooled": previous["pooled"]} if previous and "pooled" in previous else {}
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
        **pooled,
    }


def pairs_anew(
    study: Study, cell: Cell, records: dict[int, dict], pairs: dict[Key, dict], pooled: bool
) -> dict[Key, dict]:
    """Those of the ``pairs`` that lack what others have, as files of an earlier version do, computed again where the
    predictions of both trials are here. Their breakdown stays where it is in what is ``pooled``."""

    def parts(pair: dict) -> set[tuple[str, ...]]:
        return {path for path, _ in leaves(pair) if path[0] not in kept}

    kept = ("barrier", "breakdown") if pooled else ("barrier",)
    there = {key: parts(pair) for key, pair in pairs.items()}
    everything = set().union(*there.values())
    lacking = [key for key in pairs if there[key] != everything and records.keys() >= set(key)]
    anew = compare_trials(study, cell, records, lacking)
    return {
        key: pairs[key] | {name: value for name, value in pair.items() if name not in kept}
        for key, pair in zip(lacking, anew, strict=True)
    }


def other_bits(records: dict[int, dict], previous: dict) -> dict | None:
    """The first trial of the cell file that has other predictions there than in ``records``, if one has."""
    for trial in previous["trials"]:
        record = records.get(trial["trial"])
        if record is not None and record["predictions_sha256"] != trial["predictions_sha256"]:
            return trial
    return None


def cells_to_reuse(study: Study, cells: Iterable[Cell], name: str) -> dict[Cell, dict]:
    """The content of those of ``cells`` that study ``name`` can give; UserError if there is no such study."""
    known = study_names(read_cells(study.store.results))
    if name not in known or name == study.config.study:
        others = ", ".join(other for other in known if other != study.config.study)
        raise UserError(f"--reuse: no other study {name!r} in {study.store.results} (there: {others or 'none'})")
    found = {cell: taken_over(study, cell, name) for cell in cells}
    return {cell: content for cell, content in found.items() if content is not None}
