"""One trial of a user's task: a model trained from one seed with one activation, with exact resume."""

import io
import math
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import Meta, Struct
from torch import nn

from own.task import Task, load_task, predictions, to_tensor, training_loss
from runner.workers import Event, outcome_of
from study.files import (
    Damaged,
    UserError,
    check_form,
    move_damaged,
    read_bytes,
    write_bytes,
    write_sealed,
)
from study.own_code import OwnCode
from study.schema import no_faults
from study.state import read_tensors
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
    """What all trials of a task share; ``folder`` is where their results lie, ``own`` has the
    user's own activations, and ``rate`` is the learning rate of pilots, in place of the task's."""

    path: Path
    folder: Path
    steps: int
    device: str
    own: OwnCode = OwnCode()
    rate: float | None = None

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


class OwnTrial:
    """A model in training. Its initial values, each batch, step and prediction draw from streams of their own, of the
    seed and the step alone, so a resumed trial draws what an uninterrupted one does."""

    def __init__(self, task: Task, job: Job, device: str, own: OwnCode):
        self.task, self.job, self.device = task, job, device
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
        self.seed_generators("batch", step)
        drawn = self.task.batch(numpy_stream(self.job.seed, "batch", step))
        if not isinstance(drawn, tuple | list) or len(drawn) != 2:
            raise UserError(f"{self.task.path}: batch(rng) must return two things, inputs and their classes")
        return to_tensor(tuple(drawn), self.device)

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
        return predictions(self.task, self.model, self.device)

    # ------------------------------------------------ resume

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "early": None if self.early is None else torch.from_numpy(self.early),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_sealed(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Go on from the state in ``path`` if there is one; a damaged one is renamed, and the trial starts anew."""
        if not path.exists():
            return
        try:
            state = read_tensors(path, self.device)
            check_form(path, state, StateForm, no_faults)
        except Damaged:
            move_damaged(path)
            return
        # What does not fit is the work of other code: an error, which the folder's facts prevent.
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], state["losses"]
        self.early = None if state["early"] is None else state["early"].cpu().numpy()


class StateForm(Struct):
    """What a trial is continued from."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    step: Annotated[int, Meta(ge=0)]
    losses: list[float]
    early: Any


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
        trial.resume(setting.state_path(job))
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
    def read(cls, path: Path) -> "Result | None":
        """None where there is none; a damaged one is renamed, so that it is trained again. Unreadable where it cannot
        be read now."""
        if not path.exists():
            return None
        try:
            payload = read_bytes(path)
            with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in ("end", "early", "losses")})
        except (Damaged, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            move_damaged(path)
            return None
