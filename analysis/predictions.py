"""Predictions of trained models, from files or arrays: read, checked, and compared pair by pair in blocks of samples.

A file is .npy, memory-mapped, or .npz; it holds probabilities or logits (samples, classes), or labels (samples,). No
pickle is ever read. Each file is read twice: once by ``check``, which looks at every value, and once by
``compare_pairs``, a few samples of all models at a time, so that memory does not grow with the files.
"""

import itertools
import math
import os
import re
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import ArrayLike

import metrics
from cores import usable_cores
from probabilities import probabilities

ENDINGS = (".npy", ".npz")
UNREADABLE = (ValueError, EOFError, OSError, KeyError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error)
BLOCK_VALUES = 2**15  # of one model at a time: 256 KiB, so that two models and what is made of them stay in the cache
TINY = np.finfo(np.float64).tiny
Item = TypeVar("Item")
Result = TypeVar("Result")
MISMATCHES = "top1_mismatches"
OF_PROBABILITIES = ("total_variation", "jensen_shannon", "relative_pd")


class Unfit(ValueError):
    """Predictions that cannot be compared; the message names the file."""


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model predicts: ``values`` are probabilities or logits (samples, classes), or labels (samples,)."""

    name: str
    values: np.ndarray
    logits: bool = False

    @property
    def is_labels(self) -> bool:
        return self.values.ndim == 1

    def probabilities(self, rows: slice) -> np.ndarray:
        """Those of some samples, as float64. Raises Unfit if they are none."""
        block = np.asarray(self.values[rows], dtype=np.float64)
        try:
            return softmax(block, rows.start) if self.logits else probabilities(block, rows.start)
        except ValueError as error:
            raise Unfit(f"{self.name}: {error}") from None


def softmax(logits: np.ndarray, first_row: int = 0) -> np.ndarray:
    """exp(x) / sum exp(x) of each row (samples, classes); a logit of minus infinity gives 0. Raises ValueError where
    the largest of a row is not finite, rows being counted from ``first_row``."""
    largest = logits.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        row = int(np.isfinite(largest[:, 0]).argmin())
        raise ValueError(f"row {first_row + row} has no softmax, its largest logit is {largest[row, 0]}")
    raised = np.exp(logits - largest)
    return raised / raised.sum(axis=1, keepdims=True)


def load(group: str, models: Sequence[str | os.PathLike | ArrayLike], logits: bool = False) -> list[Predictions]:
    """The models of a group: each an array, ``FILE.npy``, ``FILE.npz`` (its only array) or ``FILE.npz:ARRAY``."""
    return [
        predictions(str(model), open_array(str(model)), logits)
        if isinstance(model, str | os.PathLike)
        else predictions(f"{group}[{place}]", model, logits)
        for place, model in enumerate(models)
    ]


def predictions(name: str, values: ArrayLike, logits: bool = False) -> Predictions:
    """Predictions from an array. Raises Unfit for one of another kind or shape; ``check`` looks at the values."""
    try:
        values = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # such as a tensor that needs a gradient
        raise Unfit(f"{name} cannot be made an array: {error}") from None
    if values.dtype.kind not in "biuf":
        raise Unfit(f"{name} holds values of type {values.dtype}; needs numbers")
    shape = f"{name} has shape {values.shape}"
    if values.ndim == 1 and values.dtype.kind == "f":
        raise Unfit(
            f"{shape} and type {values.dtype}; labels must be of a whole type, as by astype(int), and probabilities "
            "(samples, classes), of two classes np.stack([1 - p, p], 1)"
        )
    if values.ndim not in (1, 2):
        raise Unfit(f"{shape}; needs (samples, classes) or labels (samples,)")
    if values.size == 0 or (values.ndim == 2 and values.shape[1] < 2):
        raise Unfit(f"{shape}; needs at least one sample and a column for each of two classes or more")
    if values.ndim == 1 and logits:
        raise Unfit(f"{name} holds labels, not logits")
    return Predictions(name, values, logits)


def open_array(source: str) -> np.ndarray:
    """The array in a file, memory-mapped if it is .npy; what is not a regular file is not opened. Raises Unfit."""
    name, key = file_and_key(source)
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise Unfit(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise Unfit(f"{name} is a folder; name the files in it, such as {path / '*.npy'}")
    if not stat.S_ISREG(mode):
        raise Unfit(f"{name} is not a regular file")
    if path.suffix not in ENDINGS:
        raise Unfit(
            f"{name} does not end in {' or '.join(ENDINGS)}; pickles and other formats are not read, so save it with "
            "np.save"
        )
    try:
        return open_memmap(path, mode="r") if path.suffix == ".npy" else _from_archive(path, key)
    except Unfit:
        raise
    except UNREADABLE as error:
        raise Unfit(f"{name} is not a whole {path.suffix} file of numbers ({error})") from None


def file_and_key(source: str) -> tuple[str, str | None]:
    """The parts of ``FILE.npz:ARRAY``; all of it and None where that is a file's own name."""
    named = re.fullmatch(r"(.*\.npz):([^/]+)", source, re.DOTALL)
    return (named[1], named[2]) if named and not os.path.lexists(source) else (source, None)


def _from_archive(path: Path, key: str | None) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        if key is None and len(archive.files) == 1:
            key = archive.files[0]
        if key not in archive.files:
            known = ", ".join(archive.files) or "none"
            fault = "has no array of that name" if key else "does not hold exactly one array"
            raise Unfit(f"{path}{f':{key}' if key else ''} {fault}; name one as {path}:ARRAY (there: {known})")
        return archive[key]


def check_alike(models: Sequence[Predictions]) -> tuple[int, int | None]:
    """The number of samples and of classes (None of labels) that all models share. Raises Unfit."""
    first = models[0]
    for model in models:
        if model.is_labels != first.is_labels:
            labels, other = (model, first) if model.is_labels else (first, model)
            raise Unfit(
                f"{labels.name} holds labels (samples,), {other.name} (samples, classes); compare like with like"
            )
        if model.values.shape != first.values.shape:
            raise Unfit(f"{model.name} has shape {model.values.shape}, {first.name} has {first.values.shape}")
    return len(first.values), None if first.is_labels else first.values.shape[1]


def read_targets(source: str | os.PathLike | ArrayLike, n_samples: int, n_classes: int | None) -> np.ndarray:
    """The true class of each sample (samples,), from a file or an array. Raises Unfit if they do not fit."""
    from_file = isinstance(source, str | os.PathLike)
    name = str(source) if from_file else "targets"
    targets = open_array(name) if from_file else np.asarray(source)
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise Unfit(f"{name} has shape {targets.shape} and type {targets.dtype}; needs whole numbers (samples,)")
    if len(targets) != n_samples:
        raise Unfit(f"{name} has {len(targets)} targets for {n_samples} samples")
    if n_classes and not 0 <= targets.min() <= targets.max() < n_classes:
        outside = targets[(targets < 0) | (targets >= n_classes)][0]
        raise Unfit(f"{name} holds class {outside}; the {n_classes} classes are 0 to {n_classes - 1}")
    return np.asarray(targets)


# ---------------------------------------------------------------- one model


@dataclass(frozen=True, eq=False)
class Checked:
    """A model whose predictions were looked at, one by one.

    ``labels`` (samples,) are its most probable classes, of equally probable ones the first. ``entropy`` (samples,) is
    that of its probabilities in nats, None of labels. ``accuracy`` is a fraction, ``loss`` the mean cross-entropy in
    nats; None without targets, and of labels.
    """

    predictions: Predictions
    labels: np.ndarray
    entropy: np.ndarray | None
    accuracy: float | None
    loss: float | None

    @property
    def name(self) -> str:
        return self.predictions.name


def check(model: Predictions, targets: np.ndarray | None) -> Checked:
    """Read a model's predictions once. Raises Unfit where they are no probabilities, or no logits."""
    if model.is_labels:
        labels = np.asarray(model.values)
        return Checked(model, labels, None, None if targets is None else float(np.mean(labels == targets)), None)
    labels, entropy = np.empty(len(model.values), dtype=np.int64), np.empty(len(model.values))
    losses = []
    for rows in blocks(*model.values.shape):
        p = model.probabilities(rows)
        labels[rows] = p.argmax(axis=1)
        entropy[rows] = -(p * np.log(np.maximum(p, TINY))).sum(axis=1)
        if targets is not None:
            losses.append(metrics.cross_entropy(p, targets[rows]) * len(p))
    if targets is None:
        return Checked(model, labels, entropy, None, None)
    return Checked(model, labels, entropy, float(np.mean(labels == targets)), sum(losses) / len(labels))


def check_all(
    models: Sequence[Predictions], targets: np.ndarray | None, each: Callable[[], object] = lambda: None
) -> list[Checked]:
    """``check`` of every model; ``each`` is called after each."""
    checked = []
    several_blocks = n_steps(models) > len(models) + 1
    for model in in_threads(lambda model: check(model, targets), models, several_blocks):
        checked.append(model)
        each()
    return checked


def blocks(n_samples: int, n_classes: int) -> list[slice]:
    """All samples, a few at a time."""
    size = max(1, BLOCK_VALUES // n_classes)
    return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


# ---------------------------------------------------------------- two models


@dataclass(frozen=True, eq=False)
class Distances:
    """By metric, the mean over samples between every two models (models, models) and, of the same shape, the mean of
    its square, from which its spread over samples follows."""

    mean: dict[str, np.ndarray]
    mean_square: dict[str, np.ndarray]


def compare_pairs(models: Sequence[Checked], each: Callable[[], object] = lambda: None) -> Distances:
    """Every two models, by the share of samples on which their most probable classes differ and, of probabilities, by
    ``OF_PROBABILITIES``. ``each`` is called after every block of samples.

    The same as the functions of ``metrics.py``, but for rounding, at a fraction of the time.
    """
    n, n_samples = len(models), len(models[0].labels)
    pairs = list(itertools.combinations(range(n), 2))
    differ = [float(np.mean(models[i].labels != models[j].labels)) for i, j in pairs]
    found = {MISMATCHES: np.array([differ, differ])}  # a share is the mean of its square, too
    if not models[0].predictions.is_labels and pairs:
        sums = np.zeros((2, len(OF_PROBABILITIES), len(pairs)))
        every = blocks(*models[0].predictions.values.shape)
        for of_block in in_threads(lambda rows: _block_sums(models, pairs, rows), every, len(every) > 1):
            sums += of_block
            each()
        found |= {name: sums[:, k] / n_samples for k, name in enumerate(OF_PROBABILITIES)}
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    matrices = {}
    for name, values in found.items():
        matrices[name] = np.zeros((2, n, n))
        matrices[name][:, first, second] = matrices[name][:, second, first] = values
    return Distances(*({name: both[k] for name, both in matrices.items()} for k in (0, 1)))


def _block_sums(models: Sequence[Checked], pairs: list[tuple[int, int]], rows: slice) -> np.ndarray:
    """Over some samples, the sums of each metric and of its square (2, metrics, pairs)."""
    p = [model.predictions.probabilities(rows) for model in models]
    entropy = [model.entropy[rows] for model in models if model.entropy is not None]
    sums = [x.sum(axis=1) for x in p]
    out = np.empty((2, len(OF_PROBABILITIES), len(pairs)))
    total, apart, scratch = (np.empty_like(p[0]) for _ in range(3))
    for k, (i, j) in enumerate(pairs):
        np.add(p[i], p[j], out=total)
        np.subtract(p[i], p[j], out=apart)
        np.abs(apart, out=apart)
        variation = apart.sum(axis=1) / 2
        np.maximum(total, TINY, out=total)  # where both are 0 the difference is, too
        np.divide(apart, total, out=scratch)
        relative = 2 * scratch.mean(axis=1)
        # With m = (p + q) / 2, the divergence is the entropy of m less the mean entropy of p and q.
        np.log(total, out=scratch)
        of_middle = np.log(2) * (sums[i] + sums[j]) / 2 - np.einsum("ij,ij->i", total, scratch) / 2
        divergence = np.maximum(of_middle - (entropy[i] + entropy[j]) / 2, 0)
        divergence[variation == 0] = 0  # not a rounding error
        for m, values in enumerate((variation, divergence, relative)):
            out[:, m, k] = values.sum(), (values**2).sum()
    return out


# ---------------------------------------------------------------- all cores, and how long it takes


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], worth_it: bool) -> Iterator[Result]:
    """The results in order, computed on all cores if that is ``worth_it``: other threads run while NumPy computes."""
    if not worth_it:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def n_steps(models: Sequence[Predictions]) -> int:
    """How often ``check_all`` and ``compare_pairs`` together call ``each``."""
    return len(models) + (0 if models[0].is_labels else len(blocks(*models[0].values.shape)))


def seconds_needed(models: Sequence[Predictions]) -> float:
    """About how long ``check_all`` and ``compare_pairs`` take, from a few samples of two models, tried twice."""
    if models[0].is_labels:
        return 0.0
    n, n_blocks = len(models), len(blocks(*models[0].values.shape))
    rows = blocks(*models[0].values.shape)[0]
    few = [Predictions(model.name, model.values[rows], model.logits) for model in models[:2]]
    checking, comparing = math.inf, math.inf  # seconds, of the faster try
    for _ in range(2):
        start = time.perf_counter()
        checked = [check(model, None) for model in few]
        middle = time.perf_counter()
        _block_sums(checked, [(0, 1)], rows)
        checking, comparing = min(checking, middle - start), min(comparing, time.perf_counter() - middle)
    seconds = n * checking / len(few) + math.comb(n, 2) * comparing
    return n_blocks * seconds / usable_cores()
