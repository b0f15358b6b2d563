"""Whether the files on the disk are what was written, and whether a trial comes out the same again."""

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

import metrics
from labels import counted
from study import cli
from study.agreement import equal_cells
from study.cell import MEASURED, build_cell
from study.compact import compact, expand
from study.environment import possible_causes
from study.files import Damaged, Misplaced, ResultError, UserError
from study.options import MOST_TRIALS, check_names
from study.pair_files import read_pairs
from study.plan import Job, Study, finished_trials
from study.store import Cell, Store, check_identity, check_summary

WRITTEN = ("texts", "passage")  # what of a trial is text and not a number

Finding = tuple[str, str]  # ("missing" | "damaged" | "foreign", what)


class Missing(ResultError):
    """A file that should be there."""


def kind_of(error: ResultError) -> str:
    if isinstance(error, Missing):
        return "missing"
    return "damaged" if isinstance(error, Damaged) and not isinstance(error, Misplaced) else "foreign"


# ---------------------------------------------------------------- verify


def report_verification(study: Study, jobs: list[Job]) -> int:
    """Check every result of ``jobs`` and print what is wrong; returns the exit code."""
    unchecked: list[Path] = []
    found = [*verify(study, jobs, unchecked.append), *verify_summary(study.store)]
    findings = list(dict.fromkeys(found))  # a damaged record is found by itself and on the way to its cell
    for kind, what in findings:
        cli.say(f"{kind:8} {what}")
    for path in unchecked:
        cli.say(f"{path} has no checksum, so that an altered number in its bounds is not noticed")
    counts = [f"{sum(kind == k for kind, _ in findings)} {k}" for k in ("missing", "damaged", "foreign")]
    cli.say(f"study {study.config.study!r}, {counted(len(jobs), 'trial')}: {', '.join(counts)}")
    if any(kind == "damaged" for kind, _ in findings):
        cli.say("remove the record (trial_<i>.json) of what is damaged, or the cell file, and run again to repair it")
    return cli.FAILED if findings else 0


def verify(
    study: Study, jobs: list[Job], on_unchecked: Callable[[Path], None] = lambda path: None
) -> Iterator[Finding]:
    """Check every file of ``jobs`` and their cells against its hash and fingerprint.

    Yields what is missing (a trial without results), damaged (not what was written) or foreign (made with other
    settings). Of a cell of which only the file is here, and complete, that file is all there is to check; where it
    has no checksum either, ``on_unchecked`` is told.
    """
    cells = dict.fromkeys(cell for cell, _ in jobs)
    for cell in cells:
        numbers = {number for of_cell, number in jobs if of_cell == cell}
        done = study.store.done_trials(cell)
        in_cell_file = finished_trials(study, cell) - done
        for number in sorted((done | numbers) - in_cell_file):
            if number in done:
                yield from verify_trial(study, cell, number)
            else:
                yield "missing", f"{cell.name} trial {number}"
                yield from verify_state(study, cell, number)
        yield from verify_cell(study, cell, on_unchecked)


def verify_summary(store: Store) -> Iterator[Finding]:
    """Check that the summary, if there is one, is one."""
    try:
        check_summary(store.results)
    except ResultError as error:
        yield kind_of(error), f"{error}; python analyze_results.py writes it anew"


def verify_trial(study: Study, cell: Cell, number: int) -> Iterator[Finding]:
    """Check a finished trial's record, predictions and weights."""
    store = study.store
    try:
        record = store.read_record(cell, number)
    except ResultError as error:
        yield kind_of(error), str(error)
        return
    mend = f"remove {store.record_path(cell, number)} and run again to make them anew; results do not need them"
    checks: list[Callable[[], object]] = [
        lambda: check_identity(store.record_path(cell, number), record, study.identity(cell)),
        lambda: store.predictions_of(cell, number, record),
        lambda: check_weights(store, cell, record, mend),
    ]
    for check in checks:
        try:
            check()
        except ResultError as error:
            yield kind_of(error), str(error)
    yield from verify_one_state(study, cell, number, store.last_state_path(cell, number))
    if os.path.lexists(store.pairs_path(cell, number)):
        try:
            read_pairs(store, cell, number)
        except ResultError as error:
            yield kind_of(error), f"{error}; the next run computes it again"


def check_weights(store: Store, cell: Cell, record: dict, mend: str) -> None:
    """Missing if a finished trial has no weights, Damaged if they are not those of its ``record``."""
    path = store.checkpoint_path(cell, record["trial"])
    if not os.path.lexists(path):
        raise Missing(f"{path} (weights; {mend})")
    store.read_weights(cell, record["trial"], record["weights_sha256"])


def verify_state(study: Study, cell: Cell, number: int) -> Iterator[Finding]:
    """Check the saved states that an unfinished trial would continue from."""
    for path in (study.store.checkpoint_path(cell, number), study.store.previous_state_path(cell, number)):
        yield from verify_one_state(study, cell, number, path)


def verify_one_state(study: Study, cell: Cell, number: int, path: Path) -> Iterator[Finding]:
    """Check a saved state, if it is there."""
    from study.state import read_state  # here, because only this needs torch

    if os.path.lexists(path):
        try:
            read_state(path, study.identity(cell), number, "cpu")
        except ResultError as error:
            yield kind_of(error), str(error)


def verify_cell(study: Study, cell: Cell, on_unchecked: Callable[[Path], None]) -> Iterator[Finding]:
    """Check that the cell file holds what the records of its trials give."""
    store, path = study.store, study.store.cell_path(cell)
    unchecked: list[Path] = []
    try:
        found = store.read_cell(cell, unchecked.append)
        if found is None:
            if store.done_trials(cell):
                yield "missing", f"{path}"
            return
        check_identity(path, found, study.identity(cell))
        records = {number: store.read_record(cell, number) for number in sorted(store.done_trials(cell))}
        for number, record in records.items():
            check_identity(store.record_path(cell, number), record, study.identity(cell))
        numbers = {trial["trial"] for trial in found["trials"]}
        if lacking := sorted(records.keys() - numbers):
            yield "missing", f"{path} lacks {', '.join(f'trial {number}' for number in lacking)}"
        if records.keys() == numbers:
            rebuilt = build_cell(study, cell, records, previous=None, known={})
            if "pooled" in found:
                rebuilt = expand(path, compact(rebuilt))
            others = {"planned_trials", "status"}  # of the run
            if "pooled" in found:  # its mean is checked when it is read, to the digits that its pairs have
                others.add("mean_relative_pd")
            wrong = [name for name in rebuilt if name not in others and not same(rebuilt[name], found.get(name))]
            if wrong:
                yield "damaged", f"{path} does not agree with its trials ({', '.join(wrong)})"
        elif unchecked:
            on_unchecked(path)
    except ResultError as error:
        yield kind_of(error), str(error)


def same(computed: object, found: object) -> bool:
    """Whether both are the same, but for how sums of floating-point numbers are rounded.

    What was not measured yet when the file was written is only in ``computed``.
    """
    if isinstance(computed, dict) and isinstance(found, dict):
        return computed.keys() >= found.keys() and all(same(computed[key], found[key]) for key in found)
    if isinstance(computed, list) and isinstance(found, list):
        return len(computed) == len(found) and all(map(same, computed, found))
    if isinstance(computed, float) and isinstance(found, float):
        return math.isclose(computed, found, rel_tol=1e-9, abs_tol=1e-12)
    return computed == found


# ---------------------------------------------------------------- reproduce


def report_reproduction(study: Study, model: str, activation: str, trial: str) -> int:
    """Train a trial again and print how it compares with the one on the disk; returns the exit code."""
    check_names(study, [model], [activation])
    try:
        number = cli.up_to(MOST_TRIALS)(trial)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--reproduce: trial {error}") from None
    same_bits, account = reproduce(study, study.cell(model, activation), number, cli.say_progress)
    cli.say(account)
    cli.say("the same bits" if same_bits else "NOT the same bits")
    return 0 if same_bits else cli.FAILED


def reproduce(study: Study, cell: Cell, number: int, report: Callable[[dict], None]) -> tuple[bool, str]:
    """Train a trial again in a temporary folder and compare it with the one on the disk; (same bits, account)."""
    from train import run_trial  # here, because it loads PyTorch

    before = known_trial(study, cell, number)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Store(Path(folder, "results"), Path(folder, "checkpoints"))
        after = run_trial(replace(study, store=temporary, cuda_graphs=False), cell, number, report)
        again = temporary.read_predictions(cell, number, after["predictions_sha256"])
    rows: list[list] = [
        [name, before.get(name), after[name], difference(before.get(name), after[name])]
        for name in MEASURED
        if name in after
    ]
    same_predictions = before.get("predictions_sha256") == after["predictions_sha256"]
    compared = [name for name in (*MEASURED, *WRITTEN) if name in before and name in after]
    same_bits = same_predictions and all(before[name] == after[name] for name in compared)
    if "weights_sha256" in before:
        same_weights = before["weights_sha256"] == after["weights_sha256"]
        same_bits = same_bits and same_weights
        rows.append(["weights", *verdict(same_weights)])
    rows.append(["predictions", *verdict(same_predictions)])
    rows.extend([name, *verdict(before.get(name) == after[name])] for name in WRITTEN)
    account = tabulate(rows, ["", "there", "again", "difference"])
    both_completed = before["status"] == after["status"] == "completed"
    if not same_predictions and both_completed and number in study.store.done_trials(cell):
        account += "\n\n" + compare_predictions(study, cell, number, before, again)
    account += "\n\n" + compare_environments(before["environment"], after["environment"])
    return same_bits, account if same_bits else f"{account}\n\n{causes(before, after['environment'])}"


def known_trial(study: Study, cell: Cell, number: int) -> dict:
    """The trial's record or, where only the cell file is here, its entry there; UserError if there is neither."""
    store = study.store
    if number in store.done_trials(cell):
        record = store.read_record(cell, number)
        check_identity(store.record_path(cell, number), record, study.identity(cell))
        return record
    found = store.read_cell(cell)
    if found is not None:
        check_identity(store.cell_path(cell), found, study.identity(cell))
        for trial in found["trials"]:
            if trial["trial"] == number:
                return trial
    others = [
        other["study"]
        for other in equal_cells(study, [cell]).get(cell, [])
        if number in {trial["trial"] for trial in other["trials"]}
    ]
    hint = f"; with --study {' or '.join(others)} there is one of the same settings" if others else ""
    raise UserError(f"there is no trial {number} of {cell.name} to compare with{hint}")


def difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else abs(before - after)


def verdict(same: bool) -> tuple[str, str, str]:
    return "", "", "the same" if same else "not the same"


def compare_predictions(study: Study, cell: Cell, number: int, before: dict, again: np.ndarray) -> str:
    """By how much the final predictions differ, in the study's own measures."""
    p, q = study.store.predictions_of(cell, number, before)[-1], again[-1]
    return (
        f"final predictions: relative PD (all classes) {metrics.relative_pd(p, q):.6g}, "
        f"{metrics.top1_mismatches(p, q)} top-1 mismatches of {len(p)}, largest difference {np.abs(p - q).max():.3g}"
    )


def compare_environments(before: dict, here: dict) -> str:
    """Both environments, side by side, and which entries differ."""
    rows = [
        [name, before.get(name), here.get(name), "" if before.get(name) == here.get(name) else "differs"]
        for name in here
    ]
    return tabulate(rows, ["environment", "there", "here", ""])


def causes(trial: dict, here: dict) -> str:
    """The possible causes of other bits in a ``trial``: of where it ended and of where its steps before were made."""
    lines = [possible_causes(trial["environment"], here)]
    for part in trial.get("begun_elsewhere", []):
        lines.append(f"its steps up to {part['step']}: {possible_causes(part['environment'], here)}")
    return "\n".join(lines)
