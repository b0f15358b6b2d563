"""On how many contexts of the probe set each evaluation predicts, and the predictions of several as few arrays.

At the end of training that is all of them; before, the first ``contexts_between`` of them, if that is set.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def contexts_at(facts: Mapping, step: int) -> int:
    """On how many contexts a trial with the settings ``facts`` predicts after ``step`` training steps."""
    between = facts.get("contexts_between")
    return facts["probe_contexts"] if between is None or step == facts["iterations"] else between


def stacked(predictions: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Predictions (samples, V) of each evaluation as arrays (evaluations, samples, V): "probabilities" of those on as
    many contexts as the last one, and "earlier", if there are any, of those on fewer."""
    n = len(predictions[-1])
    parts = {
        "probabilities": [p for p in predictions if len(p) == n],
        "earlier": [p for p in predictions if len(p) != n],
    }
    return {name: np.stack(part) for name, part in parts.items() if part}


def unstacked(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ``stacked`` was given: (samples, V) for each evaluation."""
    return [p for name in ("earlier", "probabilities") if name in arrays for p in arrays[name]]


def stacked_shapes(facts: Mapping, steps: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shapes of what ``stacked`` makes of evaluations after ``steps`` of a trial with the settings ``facts``."""
    counts = [contexts_at(facts, step) for step in steps]
    last, V = counts.count(counts[-1]), facts["vocabulary_size"]
    shapes = {"probabilities": (last, counts[-1], V)}
    return shapes | ({"earlier": (len(counts) - last, counts[0], V)} if last < len(counts) else {})
