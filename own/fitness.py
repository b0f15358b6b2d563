"""Is a user's task fit to be asked? A few steps of every activation, twice, before anything is spent; they also tell
what a step costs.

The steps are all on the first batch, whose loss must then fall.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from own.plan import Cost
from own.task import Task, hashed
from own.trial import Job, OwnTrial
from runner.first_step import alike, size_warnings
from study.files import UserError
from study.own_code import OwnCode, explaining_gates
from study.users_code import users_code

STEPS, FEWEST_STEPS = 8, 3
ENOUGH_SECONDS = 2  # after which fewer than ``STEPS`` are enough


@dataclass(frozen=True, eq=False)
class Look:
    """What a few steps showed. ``initial`` and ``batch`` are hashes; ``before`` and ``after`` the loss of the batch,
    without dropout; times in seconds."""

    n_parameters: int
    initial: str
    batch: str
    losses: tuple[float, ...]
    predictions: np.ndarray
    before: float
    after: float
    building: float
    step: float
    predicting: float


def look(task: Task, job: Job, device: str, own: OwnCode, steps: int | None) -> Look:
    """Train a few ``steps``, or as many as ``ENOUGH_SECONDS`` allow; everything is done as in a trial."""
    with explaining_gates(own.activation(job.activation)), users_code(task.path):
        start = time.perf_counter()
        trial = OwnTrial(task, job, device, own)
        building = time.perf_counter() - start
        initial, n_parameters = hashed(trial.model.state_dict()), sum(p.numel() for p in trial.model.parameters())
        batch_hash = hashed(trial.batch(0))
        before = batch_loss(trial)
        times: list[float] = []
        while len(times) < (steps or STEPS):
            start = time.perf_counter()
            trial.advance(*trial.batch(0))
            times.append(time.perf_counter() - start)
            if steps is None and len(times) >= FEWEST_STEPS and sum(times) > ENOUGH_SECONDS:
                break
        after = batch_loss(trial)
        start = time.perf_counter()
        predicted = trial.predict()
        predicting = time.perf_counter() - start
    step = statistics.median(times[1:])  # the first one also prepares
    losses = tuple(trial.losses)
    return Look(n_parameters, initial, batch_hash, losses, predicted, before, after, building, step, predicting)


@torch.no_grad()
def batch_loss(trial: OwnTrial) -> float:
    trial.model.eval()
    return float(trial.loss(*trial.batch(0)))


# ---------------------------------------------------------------- what is checked


def examine(
    task: Task, activations: tuple[str, ...], seed: int, device: str, own: OwnCode
) -> tuple[Cost, tuple[int, ...], list[str]]:
    """What training costs, the shape of predictions, and warnings. UserError for a task that is not fit."""
    looks = {}
    for name in activations:
        first = look(task, Job(name, seed), device, own, None)
        check_predictions(task, first)
        again = look(task, Job(name, seed), device, own, len(first.losses))
        if fault := not_deterministic(first, again):
            raise UserError(f"{task.path}: with {name} the same seed twice does not give the same: {fault}")
        looks[name] = first
    shape, *others = dict.fromkeys(each.predictions.shape for each in looks.values())
    if others:
        raise UserError(f"{task.path}: predictions have shape {shape}, with another activation {others[0]}")
    if same := alike({name: (each.initial, each.predictions.tobytes()) for name, each in looks.items()}):
        raise UserError(
            f"{task.path}: {same[0]} and {same[1]} give the same predictions after "
            f"{len(looks[same[0]].losses)} steps from equal weights; does model(activation) use its activation?"
        )
    cost = Cost(
        step={name: each.step for name, each in looks.items()},
        trial={name: each.building + 2 * each.predicting for name, each in looks.items()},
    )
    sizes = {name: each.n_parameters for name, each in looks.items()}
    return cost, shape, [*size_warnings(sizes), *loss_warnings(looks)]


def check_predictions(task: Task, found: Look) -> None:
    shape = found.predictions.shape
    if not np.isfinite(found.losses[0]):
        raise UserError(f"{task.path}: the loss of the first batch is {found.losses[0]} before any training")
    finite = np.isfinite(found.predictions).all(axis=1)
    if np.isfinite(found.losses).all() and not finite.all():
        sample = int(finite.argmin())
        raise UserError(f"{task.path}: predictions of sample {sample} of probe are not finite, though losses are")
    if task.targets is not None and (len(task.targets) != shape[0] or not task.targets.min() >= 0):
        raise UserError(f"{task.path}: {len(task.targets)} targets from 0 on are needed for {shape[0]} predictions")
    if task.targets is not None and task.targets.max() >= shape[1]:
        raise UserError(f"{task.path}: targets holds class {task.targets.max()}, predictions have {shape[1]} classes")


def not_deterministic(first: Look, again: Look) -> str | None:
    """What differs between two runs of one seed, the earliest of what can be told apart; None if nothing does."""
    if first.initial != again.initial:
        return "initial values (is randomness in model(activation) drawn from PyTorch's, NumPy's or Python's own?)"
    if first.batch != again.batch:
        return "batches (does batch(rng) draw all its randomness from rng, and keep no state?)"
    if not np.array_equal(first.losses, again.losses, equal_nan=True):
        return "losses from equal weights and batches (in the forward pass, the loss or the optimizer)"
    if not np.array_equal(first.predictions, again.predictions, equal_nan=True):
        return "predictions after equal losses (in the optimizer, predict or the forward pass of eval mode)"
    return None


def loss_warnings(looks: Mapping[str, Look]) -> list[str]:
    return [
        f"{name}: the loss of one batch does not fall when trained on it ({each.before:.4g}, after "
        f"{len(each.losses)} steps {each.after:.4g}); look at the learning rate and the loss"
        for name, each in looks.items()
        if not each.after < each.before
    ]
