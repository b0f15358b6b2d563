"""One trial of a user's task: a model trained from one seed with one activation, with exact resume."""

import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import UNSET, Meta, Struct, UnsetType
from torch import nn

from own.task import Task, are_probabilities, load_task, predictions, to_tensor, training_loss
from runner.workers import Event, outcome_of
from study.files import (
    Damaged,
    Unreadable,
    UserError,
    check_form,
    move_damaged,
    read_bytes,
    write_bytes,
    write_sealed,
)
from study.own_code import OwnCode
from study.state import load_if, read_tensors
from study.users_code import users_code
from train import Interrupted
from training.own_model import takes_targets
from training.seeding import deterministic, numpy_stream, seed_everything, stream_seed

EARLY = 0.8  # the share of the steps at which predictions are kept, to see whether they have settled
SAVE_SECONDS = 30
REPORT_SECONDS = 1


class Job(NamedTuple):
    activation: str
    seed: int


@dataclass(frozen=True)
class Setting:
    """What all trials of a task share; ``folder`` is where their results lie, ``own`` has the user's own activations,
    ``rate`` is the learning rate of pilots, in place of the task's, and ``shape`` that of predictions, if known."""

    path: Path
    folder: Path
    steps: int
    device: str
    own: OwnCode = OwnCode()
    rate: float | None = None
    shape: tuple[int, ...] | None = None

    def begun(self, job: Job) -> "OwnTrial":
        task = load_task(self.path)
        if self.rate is not None:
            task = replace(task, rates={job.activation: self.rate})
        return OwnTrial(task, job, self.device, self.own)

    @property
    def early_step(self) -> int:
        return max(1, round(EARLY * self.steps))

    def result_path(self, job: Job) -> Path:
        return self.folder / self.folder_name(job.activation) / f"seed_{job.seed}.npz"

    def folder_name(self, activation: str) -> str:
        """The activation's; of a user's own with a digest of its source, so that an edited one is trained anew."""
        part = self.own.activations.get(activation)
        return f"{activation}-{part.source}" if part else activation

    def state_path(self, job: Job) -> Path:
        return self.result_path(job).with_suffix(".pt")

    def result(self, job: Job) -> "Result | None":
        """What the trial left, as ``Result.read``; one that none of this setting can have left is damaged, too."""
        return Result.read(self.result_path(job), self.could_be_left)

    def could_be_left(self, result: "Result") -> bool:
        whole = len(result.losses) == self.steps or (len(result.losses) < self.steps and result.diverged)
        return whole and result.early.shape == result.end.shape == (self.shape or result.end.shape)


def drawn_batch(task: Task, seed: int, step: int) -> tuple:
    """Inputs and their classes, drawn from streams of ``seed`` and ``step`` alone."""
    seed_everything(stream_seed(seed, "batch", step))
    drawn = task.batch(numpy_stream(seed, "batch", step))
    if not isinstance(drawn, tuple | list) or len(drawn) != 2:
        raise UserError(f"{task.path}: batch(rng) must return two things, inputs and their classes")
    return tuple(drawn)


class OwnTrial:
    """A model in training. Its initial values, each batch, step and prediction draw from streams of their own, of the
    seed and the step alone, so a resumed trial draws what an uninterrupted one does."""

    def __init__(self, task: Task, job: Job, device: str, own: OwnCode):
        self.task, self.job, self.device, self.own = task, job, device, own
        activation = own.activation(job.activation)
        self.seed_generators("init")
        model = task.model(activation)
        if not isinstance(model, nn.Module):
            raise UserError(f"{task.path}: model(activation) returned {type(model).__name__}, not a torch.nn.Module")
        self.model = model.to(device)
        self.optimizer = task.optimizer_of(job.activation, self.model.parameters())
        self.step = 0
        self.losses: list[float] = []
        self.early: np.ndarray | None = None
        self._computes_loss: bool | None = None

    def seed_generators(self, stream: str, step: int = 0) -> None:
        """Seed PyTorch's, NumPy's and Python's generators."""
        seed_everything(stream_seed(self.job.seed, stream, step))

    def batch(self, step: int) -> tuple:
        return to_tensor(drawn_batch(self.task, self.job.seed, step), self.device)

    def loss(self, x: object, y: object) -> torch.Tensor:
        loss = training_loss(self.task, self.model, x, y, self.computes_loss(x))
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise UserError(f"{self.task.path}: the loss is no single number; reduce it, such as by mean()")
        return loss

    def computes_loss(self, x: object) -> bool:
        """Whether the model computes its own loss from targets; tried once, without training."""
        if self._computes_loss is None:
            training = self.model.training
            with torch.no_grad():
                self._computes_loss = self.task.loss is None and takes_targets(self.model.eval()(x))
            self.model.train(training)
        return self._computes_loss

    def advance(self, x: object, y: object) -> None:
        """One training step on a batch."""
        self.computes_loss(x)  # before the generators are seeded, because a resumed trial tries it anew
        self.model.train()
        self.seed_generators("step", self.step)
        loss = self.loss(x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.losses.append(float(loss.detach()))
        self.step += 1

    def predict(self) -> np.ndarray:
        self.seed_generators("predict", self.step)
        values = predictions(self.task, self.model, self.device)
        if not are_probabilities(values):
            said = f"with {self.job.activation} they are none"
            raise UserError(f"{self.task.path}: predict(model, probe) must return probabilities; {said}")
        return values

    # ------------------------------------------------ resume

    def save(self, path: Path) -> None:
        state = {
            "trial": self.facts,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "early": None if self.early is None else torch.from_numpy(self.early),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_sealed(path, buffer.getvalue())

    @property
    def facts(self) -> str:
        """Whose state it is that this trial saves; the folder has only those of one task."""
        part = self.own.activations.get(self.job.activation)
        return f"{self.job} {part.source if part else ''} {self.task.rates.get(self.job.activation)}"

    def resume(self, path: Path, setting: Setting) -> None:
        """Go on from the state in ``path`` if there is one; one that is damaged, or of another trial, is renamed, and
        the trial starts anew."""
        if not path.exists():
            return
        try:
            state = read_tensors(path, self.device)
            check_form(path, state, StateForm, lambda form: state_faults(form, self, setting))
            load_if(lambda: True, path, state, self.model, self.optimizer)
        except Damaged:
            move_damaged(path)
            return
        self.step, self.losses = state["step"], state["losses"]
        self.early = None if state["early"] is None else state["early"].cpu().numpy()


class StateForm(Struct):
    """What a trial is continued from."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    step: Annotated[int, Meta(ge=0)]
    losses: list[float]
    early: torch.Tensor | None
    trial: str | UnsetType = UNSET


def state_faults(state: StateForm, trial: OwnTrial, setting: Setting) -> Iterator[str]:
    if state.trial not in (UNSET, trial.facts):
        yield f"trial: {state.trial}"
    if not state.step == len(state.losses) <= setting.steps:
        yield f"step: {state.step} with {len(state.losses)} losses"
    early = state.early
    if (early is None) != (state.step < setting.early_step):
        yield f"early: {'none' if early is None else 'some'} at step {state.step}"
    if early is not None and not (
        early.dtype == torch.float32 and fit_predictions(early.cpu().numpy(), setting.shape)
    ):
        yield "early: no predictions"


# ---------------------------------------------------------------- a trial's way


def train_own(setting: Setting, job: Job, send: Callable[[Event], None], should_stop: Callable[[], bool]) -> Event:
    """The ``runner.workers.Work`` of this part: train one trial to its end, from where it was stopped.

    What the task prints goes to stderr, so that nothing mixes with a command's output.
    """

    def report(step: int) -> None:
        send(Event(job, "progress", progress={"step": step}))

    with redirect_stdout(sys.stderr):
        return outcome_of(job, lambda: run_own_trial(setting, job, report, should_stop))


def run_own_trial(setting: Setting, job: Job, report: Callable[[int], None], should_stop: Callable[[], bool]) -> str:
    """Train, and write the result, whose existence means that the trial is done. Returns "completed" or "diverged".

    When ``should_stop`` says so, saves after the current step and raises Interrupted.
    """
    with deterministic(setting.device):
        with users_code(setting.path):
            trial = setting.begun(job)
        trial.resume(setting.state_path(job), setting)
        saved = reported = time.monotonic()
        while trial.step < setting.steps and (not trial.losses or math.isfinite(trial.losses[-1])):
            if should_stop():
                trial.save(setting.state_path(job))
                raise Interrupted
            with users_code(setting.path):
                trial.advance(*trial.batch(trial.step))
                if trial.step == setting.early_step:
                    trial.early = trial.predict()
            if time.monotonic() - saved > SAVE_SECONDS:
                trial.save(setting.state_path(job))
                saved = time.monotonic()
            if time.monotonic() - reported > REPORT_SECONDS:
                report(trial.step)
                reported = time.monotonic()
        with users_code(setting.path):
            result = Result.of(trial)
    if not setting.could_be_left(result):
        other = setting.shape or result.early.shape
        raise UserError(f"{setting.path}: predictions have shape {result.end.shape}, elsewhere {other}")
    result.write(setting.result_path(job))
    setting.state_path(job).unlink(missing_ok=True)
    return "diverged" if result.diverged else "completed"


@dataclass(frozen=True, eq=False)
class Result:
    """What a trial leaves: probabilities (samples, classes) at the end and at ``EARLY`` of the steps, and the loss of
    every training step (steps,)."""

    end: np.ndarray
    early: np.ndarray
    losses: np.ndarray

    @classmethod
    def of(cls, trial: OwnTrial) -> "Result":
        end = trial.predict()
        return cls(end, end if trial.early is None else trial.early, np.array(trial.losses))

    @property
    def diverged(self) -> bool:
        return not all(np.isfinite(values).all() for values in (self.end, self.early, self.losses))

    def write(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, end=self.end, early=self.early, losses=self.losses)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, fits: Callable[["Result"], bool] = lambda result: True) -> "Result | None":
        """None where there is none; a damaged one, or one that is none or does not fit, is renamed, so that it is
        trained again. Unreadable where it cannot be read now."""
        if not path.exists():
            return None
        try:
            payload = read_bytes(path)
            with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
                result = cls(**{name: arrays[name] for name in ("end", "early", "losses")})
            if result.has_its_form() and fits(result):
                return result
        except Unreadable:
            raise
        except Exception:  # of many kinds, after what the loader happens to meet
            pass
        move_damaged(path)
        return None

    def has_its_form(self) -> bool:
        losses = self.losses
        return (
            all(fit_predictions(values, self.end.shape) for values in (self.end, self.early))
            and (losses.dtype.kind, losses.ndim) == ("f", 1)
            and len(losses) > 0
            and bool(np.isfinite(losses[:-1]).all())
        )


def fit_predictions(values: np.ndarray, shape: tuple[int, ...] | None) -> bool:
    """Whether values can be what a model predicts, of this ``shape`` if it is known."""
    return (
        (values.dtype.kind, values.ndim) == ("f", 2)
        and values.shape[1] >= 2
        and shape in (None, values.shape)
        and are_probabilities(values)
    )
