"""What models predict: arrays of probabilities (samples, classes), checked, and what is kept of those that are
compared with many.

A trial is compared with every other one of its cell. Its probabilities keep what metrics compute of them alone, such
as their logarithms, and two that are compared share what several metrics need of both, such as |p - q|.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

ROW_TOLERANCE = 5e-3  # of a row's sum: rounding to float16 moves it by up to 5e-4, to bfloat16 by up to 2e-3

Value = TypeVar("Value")


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
        logits = "logits need a softmax first (compare.py: --logits)"
        why = logits if p.min() < 0 else f"{logits}, percentages and counts a division"
        raise ValueError(f"row {first_row + row} sums to {sums[row]:.4g}, not to 1; {why}")
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
    both: dict[tuple[str, int, int], np.ndarray] = {}

    def one(model: ArrayLike) -> Compared:
        known = to_compare(model)
        p = known.view(Compared)
        p.alone, p.both = known.alone, both
        return p

    return one(model), one(other)


def kept(p: np.ndarray, what: str, compute: Callable[[np.ndarray], Value], of: object = None) -> Value:
    """``compute(p)``, from what ``p`` keeps if it has been computed before, with the same ``of``."""
    if not isinstance(p, Compared) or p.alone is None:
        return compute(p)
    found = p.alone.get(what)
    if found is None or found[0] is not of:
        found = p.alone[what] = of, compute(np.asarray(p))
    return found[1]


def shared(
    p: np.ndarray, q: np.ndarray, what: str, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """``compute(p, q)``, from what the two keep if they are compared together and it has been computed before."""
    both = p.both if isinstance(p, Compared) else None
    if both is None or not isinstance(q, Compared) or q.both is not both:
        return compute(np.asarray(p), np.asarray(q))
    key = what, id(p), id(q)
    if key not in both:
        both[key] = compute(np.asarray(p), np.asarray(q))
    return both[key]


def reordered(model: Compared, order: np.ndarray) -> Compared:
    """The probabilities of ``model`` with its samples in this ``order``, which it keeps."""
    return kept(model, "reordered", lambda p: to_compare(p[order]), order)
