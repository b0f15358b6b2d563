"""Measured cells with distances between trials that a test chooses."""

import itertools

import numpy as np
from synthetic_cells import make_cell, make_pair, make_trial

from analysis import measure
from analysis.measure import MeasuredCell


def cell_of(distances, activation="relu", model="charlm", numbers=None, **pair_changes) -> MeasuredCell:
    """A measured cell whose trials have these relative PDs (N, N); ``numbers`` (N,) are theirs, from 1 on."""
    numbers = numbers or range(1, len(distances) + 1)
    places = list(enumerate(numbers))
    pairs = [make_pair(a, b, distances[i][j], **pair_changes) for (i, a), (j, b) in itertools.combinations(places, 2)]
    trials = [make_trial(number) for number in numbers]
    return measure.measure(make_cell(model, activation, trials=trials, pairs=pairs, planned=len(trials)))


def additive(effects, mean: float) -> np.ndarray:
    """Distances mean + a_i + a_j: their pseudo-values are linear in the effects a, with twice the spread."""
    effects = np.asarray(effects) - np.mean(effects)
    return (mean + effects[:, None] + effects) * (1 - np.eye(len(effects)))


def symmetric(first: float, second: float, third: float) -> list[list[float]]:
    """Three trials with these distances between 1 and 2, 1 and 3, 2 and 3."""
    return [[0, first, second], [first, 0, third], [second, third, 0]]


def three_activations(model: str, seed: int, shifts=(0.0, 0.0, 0.0), n: int = 7) -> list[MeasuredCell]:
    rng = np.random.default_rng(seed)
    names = ("relu", "gelu", "swish")
    noise = [rng.normal(0, 0.01, n) for _ in names]
    return [
        cell_of(additive(x, 0.3 + shift), name, model) for name, x, shift in zip(names, noise, shifts, strict=True)
    ]


FIRST, SECOND, THIRD = symmetric(0.3, 0.5, 0.7), symmetric(0.2, 0.3, 0.4), symmetric(0.2, 0.25, 0.15)


def on_a_curve(activation: str, losses: list[float]) -> MeasuredCell:
    """A cell whose pairs have a PD that the loss alone decides: 5 - loss."""
    history = {"step": list(range(len(losses))), "train_loss": losses, "val_loss": losses}
    trials = [make_trial(number, losses[-1], history=history) for number in range(1, 8)]
    curve = {"step": history["step"], "relative_pd": [5 - x for x in losses], "top1_mismatches": [0] * len(losses)}
    pairs = [make_pair(a, b, 5 - losses[-1], history=curve) for a, b in itertools.combinations(range(1, 8), 2)]
    return measure.measure(make_cell(activation=activation, trials=trials, pairs=pairs, planned=7))
