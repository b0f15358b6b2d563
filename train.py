"""One trial and one cell: training, evaluation, exact resume, and what a trial leaves behind.

As a command it trains the trials of one cell, one after another, and prints their results.
"""

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

import metrics
from activations import ACTIVATIONS
from config import STREAMS
from labels import counted
from model import ARCHITECTURES, count_parameters
from study import cli, plan
from study.agreement import describe_agreement
from study.carry_on import carry_on, continuation_of
from study.cell import (
    MEASURED,
    Report,
    check_begun,
    check_cell,
    finished_record,
    ignore,
    is_up_to_date,
    keep_pairs,
    update_cell,
)
from study.environment import differing, environment
from study.evaluations import contexts_at
from study.files import (
    Busy,
    Damaged,
    OtherSettings,
    Stale,
    UserError,
    check_writable,
    digest,
    finite_or_none,
    move_damaged,
    write_bytes,
    write_sealed,
)
from study.first_step import first_step
from study.landscape import barriers_to_finished, landscape_of
from study.locks import exclusive, warn_without_locks
from study.options import add_study_options, check_names, study_from
from study.own_checks import check_precision
from study.own_code import short_name
from study.plan import Study, finished_trials, load_corpus, pending_jobs, planned_jobs, without_landscape
from study.state import kept_predictions, load_into, predictions_to_keep, read_state
from study.store import Cell, fingerprint, has_constant_rate
from training.dataset import evaluation_windows, probe_set, text_noise, training_batch, whole_split
from training.evaluation import evaluate, predict, predict_passage, write_texts
from training.optimizers import make_optimizer, rate_factor, set_rate
from training.seeding import deterministic, float32_products, seed_everything
from training.step import RecordedStep, RecordingError, Step


class Interrupted(Exception):
    """The trial was asked to stop; its state is saved."""


# ---------------------------------------------------------------- one trial


class TrialRun:
    """A trial while it runs: the model, its optimizer, the steps made and the evaluations so far."""

    def __init__(self, study: Study, cell: Cell, number: int):
        self.study, self.cell, self.number = study, cell, number
        self.config = study.config.of_cell(cell.model, cell.activation)
        self.facts = study.identity(cell)
        self.seed = self.config.seed_base + number - 1
        # In a control, streams that do not vary are those of the first trial.
        self.seeds = {name: self.seed if name in self.config.vary else self.config.seed_base for name in STREAMS}
        self.environment = environment(study.device)  # before the work, so that nothing about it can fail after it
        self.begun_elsewhere: list[dict] = []  # steps up to which another environment trained it, and that
        self.corpus = load_corpus(study.device, study.text)
        self.probe = probe_set(self.corpus, self.config)
        seed_everything(self.seed)
        self.model = study.own.build(cell.model, cell.activation, self.config, self.seeds["init"]).to(study.device)
        check_precision(study, self.model)
        self.optimizer = make_optimizer(self.model, self.config, study.device)
        self.peak_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        step = RecordedStep if study.cuda_graphs else Step
        self.train_on = step(self.model, self.optimizer, study.device, study.precision, self.config.clip_norm)
        self.step = 0
        self.history: dict[str, list] = {"step": [], "train_loss": [], "val_loss": []}
        self.train_accuracy = math.nan
        self.predictions: list[np.ndarray] = []  # one (samples, V) array of probabilities for each evaluation
        self.training_time = self.evaluation_time = 0.0

    @property
    def finished(self) -> bool:
        return self.step == self.config.iterations

    @property
    def due_for_evaluation(self) -> bool:
        seen = self.history["step"]
        return self.evaluates_at(self.step) and (not seen or seen[-1] != self.step)

    def evaluates_at(self, step: int) -> bool:
        return step == self.config.iterations or step % self.config.eval_interval == 0

    @property
    def diverged(self) -> bool:
        """Whether a loss or a probability that is not finite was seen up to the last evaluation."""
        seen = [self.history[name][-1] for name in ("train_loss", "val_loss")]
        finite = bool(self.train_on.finite) and all(map(math.isfinite, seen))
        return not (finite and np.isfinite(self.predictions[-1]).all())

    def advance(self) -> None:
        """One training step. Whether its loss is finite is looked up at the next evaluation, not here, because that
        would make Python wait for a GPU at every step."""
        start = time.perf_counter()
        self.model.train()
        self.model.masks.restart(self.seeds["dropout"], self.step)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            set_rate(group, peak * rate_factor(self.config, self.step))
        inputs, targets = training_batch(self.corpus, self.config, self.seeds["order"], self.step)
        self.train_on(inputs, targets)
        self.step += 1
        self.training_time += time.perf_counter() - start

    def wait_for_device(self) -> None:
        """Wait for the steps that are still queued on a GPU, and count that as training time."""
        if self.study.device == "cuda":
            start = time.perf_counter()
            torch.cuda.synchronize()
            self.training_time += time.perf_counter() - start

    def evaluate(self) -> None:
        """Follow the losses on the study's fixed windows, and predict on the probe set; always in float32."""
        self.wait_for_device()
        start = time.perf_counter()
        self.model.eval()
        (train_loss, self.train_accuracy), (val_loss, _) = (
            evaluate(self.model, [evaluation_windows(self.corpus, self.config, split)])
            for split in ("train", "validation")
        )
        contexts = self.probe.contexts[: contexts_at(self.facts, self.step)]
        self.predictions.append(predict(self.model, contexts, self.config.batch_size))
        for name, value in (("step", self.step), ("train_loss", train_loss), ("val_loss", val_loss)):
            self.history[name].append(value)
        self.evaluation_time += time.perf_counter() - start

    # ------------------------------------------------ resume

    @property
    def checkpoint_path(self) -> Path:
        return self.study.store.checkpoint_path(self.cell, self.number)

    def save(self) -> None:
        """Save all that an exact resume needs: weights, the optimizer's moments, the step and the evaluations so far.

        No state of a random generator: batch and dropout masks of step k are drawn from streams that are derived
        from (seed, k) alone, so a resumed trial draws what an uninterrupted one does. Saved before a step, never
        within one. The state before the last is kept, in case this one is damaged. That of a finished trial has a
        place of its own, where it stays; there is none where a longer trial could not go on from it.
        """
        if self.finished and not has_constant_rate(self.facts):
            return
        self.wait_for_device()
        state = {
            "config": self.facts,
            "fingerprint": fingerprint(self.facts),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "trial": self.number,
            "step": self.step,
            "finite": self.train_on.finite,
            "history": self.history,
            "train_accuracy": self.train_accuracy,
            **predictions_to_keep(self.predictions),
            "times": [self.training_time, self.evaluation_time],
            "environment": self.environment,
            "begun_elsewhere": self.begun_elsewhere,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        if self.finished:
            write_sealed(self.study.store.last_state_path(self.cell, self.number), buffer.getvalue())
            return
        with suppress(FileNotFoundError):
            self.checkpoint_path.replace(self.study.store.previous_state_path(self.cell, self.number))
        write_sealed(self.checkpoint_path, buffer.getvalue())

    def resume(self) -> str | None:
        """Continue from the last undamaged state, if there is one; otherwise from the start.

        Returns what a user should know about it, or None. OtherSettings if it belongs to other settings.
        """
        notes: list[str] = []
        store = self.study.store
        kept = store.last_state_path(self.cell, self.number)  # of when the trial was finished, with fewer steps
        for path in (self.checkpoint_path, store.previous_state_path(self.cell, self.number), kept):
            if os.path.lexists(path):
                try:
                    state = self.read(path)
                    if path == kept and state["step"] == self.config.iterations:
                        continue  # its results were removed, to be made anew, perhaps by other code
                    self.take_over(path, state)
                    return "; ".join([*notes, f"continued at step {self.step}"])
                except Damaged as error:
                    ending = "stale" if isinstance(error, Stale) else "damaged"
                    notes.append(f"{error}; moved to {move_damaged(path, ending).name}")
                except OtherSettings:
                    if path != kept:
                        raise
        return "; ".join([*notes, "training from the start"]) if notes else None

    def read(self, path: Path) -> dict:
        """The saved state in ``path``; Damaged if it is not one, or another trial's."""
        return read_state(path, self.facts, self.number, self.study.device)

    def take_over(self, path: Path, state: dict) -> None:
        """Continue from the ``state`` read from ``path``; Damaged if its weights are not those of this trial."""
        load_into(path, state, self.model, self.optimizer)
        self.train_on.finite.copy_(state["finite"])
        self.step = state["step"]
        self.train_accuracy = state["train_accuracy"]
        # An evaluation at the end of fewer steps may be one that a longer trial does not make, or makes on fewer
        # contexts; the latter is made again.
        predictions = kept_predictions(state)
        evaluations = [
            i
            for i, step in enumerate(state["history"]["step"])
            if self.evaluates_at(step) and len(predictions[i]) == contexts_at(self.facts, step)
        ]
        self.history = {name: [values[i] for i in evaluations] for name, values in state["history"].items()}
        self.predictions = [predictions[i] for i in evaluations]
        self.training_time, self.evaluation_time = state["times"]
        self.begun_elsewhere = state.get("begun_elsewhere", [])
        there = state.get("environment", self.environment)
        if differing(there, self.environment)[0]:
            self.begun_elsewhere = [*self.begun_elsewhere, {"step": self.step, "environment": there}]

    # ------------------------------------------------ the end

    def finish(self, report: Report = ignore) -> dict:
        """Write predictions, weights and, last of all, the record; returns the record."""
        store = self.study.store
        predictions_sha256 = store.write_predictions(self.cell, self.number, self.history["step"], self.predictions)
        outcome = (None if self.diverged else self._completed_outcome()) or self._diverged_outcome()
        buffer = io.BytesIO()
        torch.save(self.model.state_dict(), buffer)
        record = {
            "model": self.cell.model,
            "activation": self.cell.activation,
            "study": self.cell.study,
            "trial": self.number,
            "seed": self.seed,
            **outcome,
            "training_time": round(self.training_time, 3),
            "evaluation_time": round(self.evaluation_time, 3),
            "history": {name: list(map(finite_or_none, values)) for name, values in self.history.items()},
            "n_parameters": count_parameters(self.model),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "predictions_sha256": predictions_sha256,
            "weights_sha256": digest(buffer.getvalue()),
            "config": self.facts,
            "fingerprint": fingerprint(self.facts),
            "environment": self.environment,
        }
        if self.begun_elsewhere:
            record["begun_elsewhere"] = self.begun_elsewhere
        if self.config.landscape and record["status"] == "completed":
            self._settle_with_barriers(record, buffer.getvalue(), report)
        else:
            self._settle(record, buffer.getvalue())
        return record

    def _settle(self, record: dict, weights: bytes) -> None:
        """The weights replace the resume state only once the record exists: until then it is needed."""
        store = self.study.store
        write_bytes(store.final_weights_path(self.cell, self.number), weights)
        store.write_record(self.cell, self.number, record)
        store.settle_weights(self.cell, self.number)

    def _settle_with_barriers(self, record: dict, weights: bytes, report: Report) -> None:
        """The same, with the barriers to the trials that have a record already.

        The second look is for those that ended during the first. It is under a lock, so that of two trials that end
        at once the later one sees the other's record.
        """
        start = time.perf_counter()
        barriers = record["barriers"] = {}
        look = partial(barriers_to_finished, self.study, self.cell, self.model, barriers, report)
        barriers |= look()
        with exclusive(self.study.store.lock_path(self.cell, "barriers"), wait=True):
            barriers |= look()
            record["evaluation_time"] = round(self.evaluation_time + time.perf_counter() - start, 3)
            self._settle(record, weights)

    def _completed_outcome(self) -> dict | None:
        """What is measured at the end; None if the loss over the whole split, seen only now, is not finite."""
        start = time.perf_counter()
        self.model.eval()  # which a trial that was continued after its last evaluation is not yet
        val_loss, val_accuracy = evaluate(self.model, whole_split(self.corpus.validation, self.config))
        if not math.isfinite(val_loss):
            self.evaluation_time += time.perf_counter() - start
            return None
        written = write_texts(self.model, self.probe.contexts[: self.config.texts], text_noise(self.config))
        letter_by_letter = predict_passage(self.model, self.corpus, self.config)
        landscape = landscape_of(self.study, self.model) if self.config.landscape else {}
        self.evaluation_time += time.perf_counter() - start
        return {
            "status": "completed",
            "train_loss": self.history["train_loss"][-1],
            "val_loss": val_loss,
            "train_accuracy": self.train_accuracy,
            "val_accuracy": val_accuracy,
            **metrics.describe(self.predictions[-1], self.probe.targets.cpu().numpy()),
            "texts": [self.corpus.decode(tokens) for tokens in written],
            "passage": letter_by_letter,
            **landscape,
        }

    def _diverged_outcome(self) -> dict:
        unknown = dict.fromkeys((*MEASURED, "texts", "passage"))
        return {"status": "diverged", **unknown, "divergence_seen_at_step": self.step}


def never() -> bool:
    return False


def run_trial(
    study: Study,
    cell: Cell,
    number: int,
    report: Report = ignore,
    should_stop: Callable[[], bool] = never,
    of_run: bool = False,
) -> dict:
    """Train trial ``number`` of ``cell``, unless its record is already there, and bring the cell file up to date; a
    trial ``of_run``, a run of many, does so only where it completes the cell.

    Idempotent and safe to run twice. ``report`` is called with {"step", ...} after every evaluation (with its
    losses), about once a second between, and with a "note" for the user ("resumed" where it is of a saved state).
    When ``should_stop`` says so, the current step is finished, the state saved, and Interrupted raised. Busy if
    another process is training this trial; OtherSettings if its results were made with other settings. Returns the
    trial's record.
    """
    check_cell(study, cell)
    with exclusive(study.store.lock_path(cell, f"trial_{number}")), deterministic(study.device):
        record = finished_record(study, cell, number, report)
        if record is None:
            run = TrialRun(study, cell, number)
            with float32_products():
                if note := run.resume():
                    report({"step": run.step, "note": note, "resumed": True})
                train(run, report, should_stop)
                record = run.finish(report)
        keep_pairs(study, cell, number, report)
        if not of_run:
            update_cell(study, cell, report)
    return record


def train(run: TrialRun, report: Report, should_stop: Callable[[], bool]) -> None:
    """Training from the step that ``run`` is at to its end, or until it has diverged.

    Its state is saved every ``plan.SAVE_EVERY`` seconds; what a trial that is killed did since is done again.
    """
    reported = saved = time.monotonic()
    while True:
        if run.due_for_evaluation:
            run.evaluate()
            report({name: values[-1] for name, values in run.history.items()})
            if run.diverged:
                return
        if run.finished:
            run.save()
            return
        if should_stop():
            run.save()
            raise Interrupted
        if time.monotonic() - saved >= plan.SAVE_EVERY:
            run.save()
            saved = time.monotonic()
        run.advance()
        if time.monotonic() - reported > 1:
            reported = time.monotonic()
            report({"step": run.step})


def train_cell(args: argparse.Namespace, should_stop: Callable[[], bool]) -> None:
    """Train what is pending of one cell, reporting how it goes, and print what came out."""
    study = study_from(args)
    model, activation = short_name(args.model), short_name(args.activation)
    check_names(study, [model], [activation])
    cell = study.cell(model, activation)
    for folder in (study.store.results, study.store.checkpoints):
        check_writable(folder)
    warn_without_locks(study.store.results)
    config = study.config
    cli.say(
        f"{cell.name} on {study.device}: {counted(config.n_trials, 'trial')} of "
        f"{counted(config.iterations, 'iteration')}, "
        f"{config.batch_size} x {config.context} characters a step"
    )
    if continuation := continuation_of(study, cell):
        for line in continuation.describe(study):
            cli.say(line)
        carry_on(study, cell, cli.say_progress)
    check_cell(study, cell)
    check_begun(study, cell)
    jobs = planned_jobs(study, [model], [activation])
    if args.landscape and (said := without_landscape(study, jobs)):
        cli.say(said)
    if study.own and pending_jobs(study, jobs) and (warning := first_step(study, cell, TrialRun).warning):
        cli.say(f"warning: {warning}")
    in_cell_file = finished_trials(study, cell) - study.store.done_trials(cell)
    try:
        for number in range(1, config.n_trials + 1):
            done = number in in_cell_file or number in study.store.done_trials(cell)
            state = ": already done" if done else ""
            cli.say(f"trial {number}/{config.n_trials}, seed {config.seed_base + number - 1}{state}")
            if number not in in_cell_file:
                run_trial(study, cell, number, cli.say_progress, should_stop, of_run=True)
            study.store.error_path(cell, number).unlink(missing_ok=True)  # of a run in which the trial failed
    finally:
        if not is_up_to_date(study, cell):
            update_cell(study, cell, cli.say_progress)
    content = study.store.read_cell(cell)
    if content is None:
        raise UserError(f"{study.store.cell_path(cell)} was removed while it was in use")
    cli.say(describe_cell(content))
    cli.say(f"written to {study.store.cell_path(cell)}")
    for line in describe_agreement(study, [cell]):
        cli.say(line)


def describe_cell(cell: dict) -> str:
    """A cell's trials and pairs as two small tables."""
    names = ("trial", "seed", "status", "train_loss", "val_loss", "val_accuracy", "training_time")
    trials = [[trial[name] for name in names] for trial in cell["trials"]]
    trial_headers = ["trial", "seed", "status", "train loss", "val loss", "val accuracy", "seconds"]
    pairs = [
        [
            f"{pair['trials'][0]}, {pair['trials'][1]}",
            pair["relative_pd"],
            f"{pair['top1_mismatches']}/{pair['n_predictions']}",
        ]
        for pair in cell["pairs"]
    ]
    tables = [tabulate(trials, trial_headers, floatfmt=".4f")]
    if pairs:
        tables.append(tabulate(pairs, ["pair", "relative PD (all classes)", "top-1 mismatches"], floatfmt=".4f"))
    return "\n\n".join(["", *tables, ""])


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(prog="train.py", description="Train the trials of one cell, one after another.")
    parser.add_argument(
        "--model", required=True, metavar="NAME", help=f"{', '.join(ARCHITECTURES)}, or yours, such as my.py:GRULM"
    )
    parser.add_argument(
        "--activation", required=True, metavar="NAME", help=f"{', '.join(ACTIVATIONS)}, or yours, such as my.py:Snake"
    )
    add_study_options(parser)
    args = parser.parse_args(argv)

    def action() -> int:
        with cli.stop_signals() as received:
            try:
                train_cell(args, lambda: bool(received))
            except (RecordingError, Busy) as error:
                raise UserError(str(error)) from None
            except Interrupted:
                cli.say(cli.STOPPED)
                return 128 + received[0]
        return 0

    return cli.outcome(parser.prog, action)


if __name__ == "__main__":
    sys.exit(main())
