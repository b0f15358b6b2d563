"""A model's probabilities on samples: checked once, and what is computed of them kept while models are compared.

The metrics of ``metrics.py`` are functions of such arrays. Of plain ones they compute all that they need each time. A
model that is compared with many others (``to_compare``) keeps what is computed of it alone, and two that are compared
by many metrics (``together``) what is computed of both. The bits are the same.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

ROW_TOLERANCE = 5e-3  # of a row's sum: rounding to float16 moves it by up to 5e-4, to bfloat16 by up to 2e-3

Function = TypeVar("Function", bound=Callable)
Kept = TypeVar("Kept")


def probabilities(p: ArrayLike, first_row: int = 0) -> np.ndarray:
    """``p`` as float64, once it is known to be probabilities (samples, classes), at least one of each.

    Raises ValueError that says what is wrong, and where, rows being counted from ``first_row``.
    """
    if isinstance(p, Compared) and p.alone is not None:
        return p
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 2 or p.size == 0:
        raise ValueError(f"needs probabilities of shape (samples, classes), got {p.shape}")
    sums = p.sum(axis=1)
    if p.min() >= 0 and np.abs(sums - 1).max() <= ROW_TOLERANCE:  # NaN fails both
        return p
    if not np.isfinite(p).all():
        row, column = np.argwhere(~np.isfinite(p))[0]
        raise ValueError(f"row {first_row + row}, class {column} is {p[row, column]}, not a probability")
    off = np.abs(sums - 1) > ROW_TOLERANCE
    if off.any():
        row = int(off.argmax())
        found = f"row {first_row + row} sums to {sums[row]:.4g}, not to 1"
        raise ValueError(f"{found}; logits need a softmax first (compare.py: --logits)")
    row, column = np.argwhere(p < 0)[0]
    raise ValueError(f"row {first_row + row}, class {column} is negative ({p[row, column]:.4g}), not a probability")


class Compared(np.ndarray):
    """Probabilities of a model that is compared with others: they keep what is computed of them ``alone`` and, as one
    of two that are compared ``together``, of ``both``.

    Made by ``to_compare`` and ``together``; what numpy derives from such an array, a view or a sum, keeps nothing.
    """

    alone: dict[str, tuple[object, Any]] | None = None
    both: dict[tuple[str, int, int], np.ndarray] | None = None


def to_compare(model: ArrayLike) -> Compared:
    """A model's probabilities, which are checked, in the form that is the faster the more they are compared with."""
    if isinstance(model, Compared) and model.alone is not None:
        return model
    p = probabilities(model).view(Compared)
    p.flags.writeable = False
    p.alone = {}
    return p


def together(model: ArrayLike, other: ArrayLike) -> tuple[Compared, Compared]:
    """Two models' probabilities in the form in which metrics share what they compute of both, while it exists."""
    kept: dict[tuple[str, int, int], np.ndarray] = {}

    def one(model: ArrayLike) -> Compared:
        known = to_compare(model)
        p = known.view(Compared)
        p.alone, p.both = known.alone, kept
        return p

    return one(model), one(other)


def alone(model: np.ndarray, what: str, compute: Callable[[np.ndarray], Kept], of: object = None) -> Kept:
    """``compute(model)``, from what the model keeps if it has been computed before, with the same ``of``."""
    if not isinstance(model, Compared) or model.alone is None:
        return compute(model)
    kept = model.alone.get(what)
    if kept is None or kept[0] is not of:
        kept = model.alone[what] = of, compute(np.asarray(model))
    return kept[1]


def both(
    model: np.ndarray, other: np.ndarray, what: str, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """``compute(model, other)``, from what the two keep if they are compared together and it has been computed
    before."""
    kept = model.both if isinstance(model, Compared) else None
    if kept is None or not isinstance(other, Compared) or other.both is not kept:
        return compute(np.asarray(model), np.asarray(other))
    key = what, id(model), id(other)
    if key not in kept:
        kept[key] = compute(np.asarray(model), np.asarray(other))
    return kept[key]


def reordered(model: Compared, order: np.ndarray) -> Compared:
    """The probabilities of ``model`` with its samples in this ``order``, which it keeps."""
    return alone(model, "reordered", lambda p: to_compare(p[order]), order)


# ---------------------------------------------------------------- functions that check


def two_of(model: ArrayLike, other: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of two models on the same samples; ValueError if they are not."""
    if np.shape(model) != np.shape(other):
        raise ValueError(f"needs two equal (samples, classes) arrays, got {np.shape(model)} and {np.shape(other)}")
    return probabilities(model), probabilities(other)


def of_one(kernel: Function) -> Function:
    """The public form of a function of one model's probabilities, which checks them. ``metrics.describe`` and
    ``compare`` check once for all metrics and call the function inside, which ``functools.wraps`` keeps."""

    @wraps(kernel)
    def checked(p, *args, **kwargs):
        return kernel(probabilities(p), *args, **kwargs)

    return cast(Function, checked)


def of_two(kernel: Function) -> Function:
    """The public form of a function of two models' probabilities, as ``of_one``."""

    @wraps(kernel)
    def checked(p, q, *args, **kwargs):
        return kernel(*two_of(p, q), *args, **kwargs)

    return cast(Function, checked)
