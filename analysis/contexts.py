"""The contexts that models are scored on: shared or different ones, and whether others would have given the same.

Pure functions of measured cells. Everything else in ``analysis`` holds the probe set fixed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import stats
from analysis.differences import Difference, against, shared_distances
from analysis.measure import MeasuredCell, by_model, with_breakdown
from analysis.stats import Estimate
from metrics import PAIR_METRICS

GROUPING = "text_block"


def on_contexts(cell: MeasuredCell) -> dict[str, float | None]:
    """Means over pairs of every metric on the shared probe set, and where each model of a pair is scored on other
    contexts; None where a cell file does not say."""
    apart = [pair.get("different_contexts", {}) for pair in cell.pairs]
    shared = {f"shared_{name}": _mean([pair.get(name) for pair in cell.pairs]) for name in PAIR_METRICS}
    return shared | {f"different_{name}": _mean([pair.get(name) for pair in apart]) for name in PAIR_METRICS}


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# ---------------------------------------------------------------- had the contexts been drawn anew


@dataclass(frozen=True, eq=False)
class CellOnOtherContexts:
    """A cell's PD with an interval for other trials and other contexts, and how much wider it is than for trials."""

    cell: MeasuredCell
    both: Estimate
    widening: float | None


@dataclass(frozen=True)
class DifferenceOnOtherContexts:
    difference: Difference
    both: Estimate


def block_means(cell: MeasuredCell, seeds: list[int]) -> np.ndarray:
    """Relative PD within each stretch of text (G,), the mean over the pairs of the trials with these ``seeds``."""
    numbers = {trial["trial"] for trial in cell.trials if trial["seed"] in seeds}
    pairs = [pair for pair in cell.pairs if numbers.issuperset(pair["trials"])]
    return np.mean([pair["breakdown"][GROUPING]["relative_pd"] for pair in pairs], axis=0)


def known_blocks(measured: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells whose pairs are all broken down by stretches of text, none of them empty."""

    def is_known(pair: dict) -> bool:
        blocks = pair["breakdown"].get(GROUPING)
        return blocks is not None and all(blocks["n_predictions"])

    return [cell for cell in with_breakdown(measured) if all(map(is_known, cell.pairs))]


def n_blocks(measured: list[MeasuredCell]) -> int:
    """Into how many stretches the text of the probe set is divided; 0 if no cell says."""
    known = known_blocks(measured)
    return len(known[0].pairs[0]["breakdown"][GROUPING]["group"]) if known else 0


def cells_on_other_contexts(measured: list[MeasuredCell]) -> list[CellOnOtherContexts]:
    found = []
    for cell in known_blocks(measured):
        seeds, (distances,) = shared_distances([cell], "relative_pd")
        if len(seeds) >= stats.FEWEST:
            both = stats.crossed_estimate(distances, block_means(cell, seeds))
            margin = stats.pairwise_estimate(distances).high - both.mean
            widening = (both.high - both.mean) / margin if margin else None
            bounded = Estimate(both.mean, max(both.low, 0.0), both.high, both.n)
            found.append(CellOnOtherContexts(cell, bounded, widening))
    return found


def differences_on_other_contexts(
    measured: list[MeasuredCell], differences: Iterable[Difference]
) -> list[DifferenceOnOtherContexts]:
    """Every cell minus its architecture's first, over the seeds that both completed.

    ``differences`` are those of PD between every two activations, with contexts held fixed.
    """
    fixed = list(differences)
    found = []
    for first, *others in by_model(known_blocks(measured)).values():
        to_first = {each.activation: each for each in against(first.activation, fixed) if each.model == first.model}
        for cell in others:
            seeds, (a, b) = shared_distances([cell, first], "relative_pd")
            if len(seeds) >= stats.FEWEST:
                both = stats.crossed_estimate(a - b, block_means(cell, seeds) - block_means(first, seeds))
                found.append(DifferenceOnOtherContexts(to_first[cell.activation], both))
    return found
