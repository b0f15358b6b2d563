"""A user's own task: a Python file with a model, its training batches, and the inputs on which trained models are
compared. ``docs/sensitivity.md`` says what the file may hold.
"""

import hashlib
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from activations import ACTIVATIONS, Activation
from probabilities import ROW_TOLERANCE
from study.files import UserError
from study.own_code import OwnCode, own_code, short_name
from study.users_code import check_is_python, execute, users_code
from training.own_model import logits_of

REQUIRED = {"model": "model(activation)", "batch": "batch(rng)", "probe": "probe, the inputs to predict on"}
OPTIONAL = ("loss", "optimizer", "predict")
PREDICTED_AT_ONCE = 256  # samples


@dataclass(frozen=True, eq=False)
class Task:
    """What the file at ``path`` defines; ``targets`` (samples,) are the true classes or None, the last three
    functions may be None. ``rates`` are learning rates by activation, perhaps none; ``source`` is a hash of the file
    and of the modules beside it that it imports."""

    path: Path
    source: str
    model: Callable[[Activation], nn.Module]
    batch: Callable[[np.random.Generator], tuple[Any, Any]]
    probe: Any
    targets: np.ndarray | None
    rates: Mapping[str, float]
    loss: Callable[[Any, Any], torch.Tensor] | None
    optimizer: Callable[..., torch.optim.Optimizer] | None
    predict: Callable[[nn.Module, Any], Any] | None

    def optimizer_of(self, activation: str, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        """With the activation's learning rate, if it has one. UserError for an optimizer that takes none."""
        if activation not in self.rates:
            return self.optimizer(parameters) if self.optimizer else torch.optim.AdamW(parameters)
        rate = self.rates[activation]
        if self.optimizer is None:
            return torch.optim.AdamW(parameters, lr=rate)
        try:
            inspect.signature(self.optimizer).bind(parameters, rate)
        except TypeError:
            raise UserError(f"{self.path}: with rates it must be optimizer(parameters, rate)") from None
        return self.optimizer(parameters, rate)

    def without_rate(self, activations: Collection[str]) -> list[str]:
        """Those that are trained at the optimizer's own rate though ``rates`` has others. UserError where it has the
        rate of an activation that there is not."""
        known = dict.fromkeys([*ACTIVATIONS, *activations])
        if unknown := next((name for name in self.rates if name not in known), None):
            raise UserError(f"{self.path}: rates has unknown activation {unknown!r}; choose from {', '.join(known)}")
        return [name for name in activations if name not in self.rates] if self.rates else []


# ---------------------------------------------------------------- reading the file


@cache
def load_task(path: Path) -> Task:
    """The task in a file, which is executed once in this process. UserError, in one line, for one that cannot be."""
    check_is_python(path)
    with users_code(path):
        module, source = execute(path.resolve())
    for name, meaning in REQUIRED.items():
        if not hasattr(module, name):
            raise UserError(f"{path} has no {meaning}")
    functions: dict[str, Any] = {name: getattr(module, name, None) for name in ("model", "batch", *OPTIONAL)}
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise UserError(f"{path}: {name} is {type(function).__name__}, not a function")
    if functions["predict"] is None and not (hasattr(module.probe, "shape") and len(module.probe)):
        raise UserError(f"{path}: probe must be an array or a tensor (samples, ...), or define predict(model, probe)")
    targets = check_targets(path, module, functions["predict"])
    return Task(path, source, **functions, probe=module.probe, targets=targets, rates=check_rates(path, module))


def check_targets(path: Path, module: ModuleType, predict: Callable | None) -> np.ndarray | None:
    """The true classes (samples,), of sequences (samples, length) those of their last position."""
    if getattr(module, "targets", None) is None:
        return None
    given = np.asarray(module.targets)
    if given.ndim == 2 and is_one_hot(given):
        raise UserError(f"{path}: targets {given.shape} look one-hot; give the classes, targets.argmax(1)")
    targets = given[:, -1] if given.ndim == 2 else given
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise UserError(f"{path}: targets must be whole numbers (samples,), not {given.dtype} {given.shape}")
    if predict is None and len(targets) != len(module.probe):
        raise UserError(f"{path}: {len(targets)} targets for {len(module.probe)} samples of probe")
    return targets.astype(np.int64)


def is_one_hot(targets: np.ndarray) -> bool:
    """Whether every row is 1 once and 0 elsewhere, as no targets of sequences are but by chance."""
    return targets.shape[1] > 1 and bool(((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all())


def check_rates(path: Path, module: ModuleType) -> dict[str, float]:
    """Learning rates by activation; none where the task leaves them to its optimizer."""
    rates = getattr(module, "rates", {})
    known = isinstance(rates, Mapping) and all(
        isinstance(name, str) and isinstance(rate, int | float) and 0 < rate < math.inf
        for name, rate in rates.items()
    )
    if not known:
        raise UserError(f"{path}: rates must have a learning rate above 0 by the name of its activation")
    return dict(rates)


def chosen_activations(activations: Sequence[str]) -> tuple[tuple[str, ...], OwnCode]:
    """The names of the activations asked for, each once, and which of them are the user's own (``my.py:Snake``)."""
    asked = [name for part in activations for name in part.split(",") if name]
    own = own_code([], asked)
    names = tuple(dict.fromkeys(map(short_name, asked)))
    if unknown := next((name for name in names if name not in ACTIVATIONS and name not in own.activations), None):
        raise UserError(f"unknown activation {unknown!r}; choose from {', '.join(ACTIVATIONS)}")
    return names, own


# ---------------------------------------------------------------- what models return


def to_tensor(value: Any, device: str) -> Any:
    """Arrays as tensors on the device, float64 ones in the default precision; of a tuple or dictionary each part."""
    if isinstance(value, np.ndarray | np.generic):
        tensor = torch.as_tensor(value)
        value = tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
    if isinstance(value, torch.Tensor | nn.Module):
        return value.to(device)
    if isinstance(value, tuple | list):
        parts = [to_tensor(part, device) for part in value]
        named = hasattr(value, "_fields")  # a named tuple, which is made of its parts one by one
        return type(value)(*parts) if named else type(value)(parts)
    if isinstance(value, dict):
        return {name: to_tensor(part, device) for name, part in value.items()}
    return value


def hashed(value: object) -> str:
    """A hash of all tensors, arrays, numbers and texts in a value."""
    found = hashlib.sha256()

    def add(part: object) -> None:
        if isinstance(part, torch.Tensor):
            found.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, Mapping):
            for name in part:
                found.update(str(name).encode())
                add(part[name])
        elif isinstance(part, tuple | list):
            for each in part:
                add(each)
        elif isinstance(part, str | bytes | int | float):
            found.update(repr(part).encode())

    add(to_tensor(value, "cpu"))
    return found.hexdigest()


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over samples. Logits of sequences (B, T, V) are those of every position for y (B, T), and of the last one
    for y (B,)."""
    if logits.ndim == 3 and y.ndim == 2:
        logits, y = logits.flatten(0, 1), y.flatten()
    elif logits.ndim == 3:
        logits = logits[:, -1]
    return F.cross_entropy(logits, y.long() if not y.is_floating_point() else y)


def training_loss(task: Task, model: nn.Module, x: Any, y: Any, with_targets: bool) -> torch.Tensor:
    """The loss of one batch; ``with_targets`` says that the model computes it (``takes_targets``)."""
    if task.loss is not None:
        return task.loss(model(x), y)
    return model(x, y)[1] if with_targets else cross_entropy(logits_of(model(x)), y)


@torch.no_grad()
def predictions(task: Task, model: nn.Module, device: str) -> np.ndarray:
    """Probabilities (samples, classes) on the probe as float32; of sequences, at the last position."""
    model.eval()
    if task.predict is not None:
        found = task.predict(model, to_tensor(task.probe, device))
        values = found.float().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found, np.float32)
    else:
        parts = []
        for start in range(0, len(task.probe), PREDICTED_AT_ONCE):
            inputs = to_tensor(task.probe[start : start + PREDICTED_AT_ONCE], device)
            logits = logits_of(model(inputs))
            parts.append((logits[:, -1] if logits.ndim == 3 else logits).float().softmax(dim=-1).cpu())
        values = torch.cat(parts).numpy()
    if values.ndim != 2 or values.shape[1] < 2:
        raise UserError(f"{task.path}: predictions have shape {values.shape}; needs (samples, classes), 2 or more")
    return values


def are_probabilities(values: np.ndarray) -> bool:
    """Whether values (samples, classes) can be what a model predicts; those of a diverged one are not all finite."""
    if not np.isfinite(values).all():
        return True
    return bool(values.size and values.min() >= 0 and np.abs(values.sum(axis=1) - 1).max() <= ROW_TOLERANCE)
