"""A user's own task: a Python file with a model, its training batches, and the inputs on which trained models are
compared. ``docs/sensitivity.md`` says what the file may hold.
"""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from activations import ACTIVATIONS
from study.files import ROOT, UserError

REQUIRED = {"model": "model(activation)", "batch": "batch(rng)", "probe": "probe, the inputs to predict on"}
OPTIONAL = ("loss", "optimizer", "predict")
PREDICTED_AT_ONCE = 256  # samples


@dataclass(frozen=True)
class Activation:
    """What ``model(activation)`` is given: called without arguments it makes the module, as a class does. ``gated``
    says that the module takes twice as many features as it returns."""

    name: str
    gated: bool

    def __call__(self) -> nn.Module:
        return ACTIVATIONS[self.name]()


def activation_named(name: str) -> Activation:
    return Activation(name, gated=getattr(ACTIVATIONS[name](), "gated", False))


@dataclass(frozen=True, eq=False)
class Task:
    """What the file at ``path`` defines; ``targets`` (samples,) are the true classes or None, the last three
    functions may be None. ``source`` is a hash of the file and of the modules beside it that it imports."""

    path: Path
    source: str
    model: Callable[[Activation], nn.Module]
    batch: Callable[[np.random.Generator], tuple[Any, Any]]
    probe: Any
    targets: np.ndarray | None
    loss: Callable[[Any, Any], torch.Tensor] | None
    optimizer: Callable[[Any], torch.optim.Optimizer] | None
    predict: Callable[[nn.Module, Any], Any] | None


# ---------------------------------------------------------------- reading the file


@cache
def load_task(path: Path) -> Task:
    """The task in a file, which is executed once in this process. UserError, in one line, for one that cannot be."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix != ".py":
        raise UserError(f"{path} is not a .py file")
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
    return Task(
        path, source, **functions, probe=module.probe, targets=check_targets(path, module, functions["predict"])
    )


def check_targets(path: Path, module: ModuleType, predict: Callable | None) -> np.ndarray | None:
    """The true classes (samples,), of sequences those of their last position."""
    if getattr(module, "targets", None) is None:
        return None
    targets = np.asarray(module.targets)
    targets = targets[:, -1] if targets.ndim == 2 else targets
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise UserError(f"{path}: targets must be whole numbers (samples,), not {targets.dtype} {targets.shape}")
    if predict is None and len(targets) != len(module.probe):
        raise UserError(f"{path}: {len(targets)} targets for {len(module.probe)} samples of probe")
    return targets.astype(np.int64)


def execute(path: Path) -> tuple[ModuleType, str]:
    """The module in a file, and a hash of its source and of what it imports from its folder."""
    spec = importlib.util.spec_from_file_location(f"own_task_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with names_in(path.parent) as imported:
        spec.loader.exec_module(module)
        files = {path, *(file for file in imported() if is_users(file, path))}
    source = hashlib.sha256()
    for file in sorted(files):
        source.update(f"{file.relative_to(path.parent)}\n".encode() + file.read_bytes())
    return module, source.hexdigest()


@contextmanager
def names_in(folder: Path) -> Iterator[Callable[[], set[Path]]]:
    """Inside, modules in ``folder`` are found first, also where this repository has one of that name (nanoGPT, too,
    has a model.py). Yields a function that lists the files imported since."""
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    hidden = {}
    if folder != ROOT:
        for name, module in list(sys.modules.items()):
            top, file = name.partition(".")[0], getattr(module, "__file__", None)
            if top in names and file and Path(file).parent in (ROOT, ROOT / top):
                hidden[name] = sys.modules.pop(name)
    before = set(sys.modules)

    def imported() -> set[Path]:
        files = [getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before]
        return {Path(file).resolve() for file in files if file}

    sys.path.insert(0, str(folder))
    try:
        yield imported
    finally:
        sys.path.remove(str(folder))
        sys.path.append(str(folder))  # for imports within functions
        sys.modules.update(hidden)


@contextmanager
def users_code(path: Path) -> Iterator[None]:
    """Whatever a user's code raises inside becomes a UserError that says where, in one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{place_of(error, path.resolve())}: {type(error).__name__}: {said}") from error


def place_of(error: BaseException, path: Path) -> str:
    """The innermost line of the user's own code on the way to the error, such as "my_task.py, line 7, in model"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if is_users(Path(frame.filename).resolve(), path)
    ]
    if not frames:
        return path.name
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name}"


def is_users(file: Path, task: Path) -> bool:
    """Whether a file is the task's, or stands in its folder without being of this repository or an installed one."""
    beside = file.is_relative_to(task.parent) and not (task.parent == ROOT or "site-packages" in file.parts)
    return file == task or (beside and file.suffix == ".py")


# ---------------------------------------------------------------- what models return


def to_tensor(value: Any, device: str) -> Any:
    """Arrays as tensors on the device, float64 ones in the default precision; of a tuple or dictionary each part."""
    if isinstance(value, np.ndarray | np.generic):
        tensor = torch.as_tensor(value)
        value = tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
    if isinstance(value, torch.Tensor | nn.Module):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(to_tensor(part, device) for part in value)
    if isinstance(value, dict):
        return {name: to_tensor(part, device) for name, part in value.items()}
    return value


def logits_of(output: Any) -> torch.Tensor:
    """The logits in what a model returns: itself, the first of a tuple such as nanoGPT's (logits, loss) or (logits,
    state) of a recurrent network, or its attribute ``logits``."""
    first = output[0] if isinstance(output, tuple | list) else output
    return getattr(first, "logits", first)


def takes_targets(output: Any) -> bool:
    """Whether a model that was called without targets follows nanoGPT's convention: model(x, y) -> (logits, loss),
    and model(x) -> (logits, None)."""
    return isinstance(output, tuple) and len(output) == 2 and output[1] is None


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
