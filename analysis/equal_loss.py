"""PD where all activations of an architecture have come to the same loss, as rows of tables.

Pure functions from the measured cells of a study (``measure.measure_study``); None where there is nothing to compute
a number from.
"""

import math

import numpy as np

from analysis import stats
from analysis.differences import PD_DIFFERENCES, compare_permuted, difference_rows
from analysis.measure import by_model, completed_trials, mean_known, pair_matrix
from analysis.omnibus import sensitivity
from analysis.report_tables import ACTIVATION, LOSS, MODEL, PD, N
from analysis.table import Column, Table, number, with_interval
from labels import label

# ---------------------------------------------------------------- PD at matched loss


MATCHED = ("relative_pd", "top1_mismatches")  # metrics whose course over training is known


def at_loss(losses: list[float], distances: list[float], level: float) -> float | None:
    """``distances`` where ``losses``, of the same evaluations, first come down to ``level``; linear in between."""
    reached = next((place for place, loss in enumerate(losses) if loss <= level), None)
    if reached is None:
        return None
    if reached == 0:
        return float(distances[0])
    before, after = reached - 1, reached
    share = (losses[before] - level) / (losses[before] - losses[after])
    return float(distances[before] + share * (distances[after] - distances[before]))


def pair_losses(cell: dict, pair: dict) -> list[float]:
    """Mean val loss of a pair's two trials at every evaluation."""
    history = {trial["trial"]: trial["history"]["val_loss"] for trial in completed_trials(cell)}
    return np.mean([history[number] for number in pair["trials"]], axis=0).tolist()


def matched_cells(measured: list[dict], every: int = 1) -> list[dict]:
    """The cells with their architecture's matched loss as ``level``, and for each pair ``MATCHED`` at that loss.

    Beside these a pair has ``step``, at which it came down to that loss. Read off every ``every``-th evaluation,
    counted from the end, and the first.
    """
    matched = []
    for cells in by_model(measured).values():
        finals = [pair_losses(cell, pair)[-1] for cell in cells for pair in cell["pairs"]]
        level = max(finals, default=None)
        matched += [
            {**cell, "level": level, "pairs": [_at_loss(cell, pair, level, every) for pair in cell["pairs"]]}
            for cell in cells
        ]
    return matched


def _at_loss(cell: dict, pair: dict, level: float, every: int) -> dict:
    losses, history = pair_losses(cell, pair), pair["history"]
    places = sorted({0, *range(len(losses) - 1, -1, -every)})
    seen = [losses[place] for place in places]
    names = (*MATCHED, "step")
    return pair | {name: at_loss(seen, [history[name][place] for place in places], level) for name in names}


def matched_rows(measured: list[dict]) -> list[dict]:
    """Each cell with its PD at matched loss, mean over pairs with interval; None unless all its pairs reach it."""
    matched, coarse = (map(_matched_estimate, matched_cells(measured, every)) for every in (1, 2))
    return [
        {**cell, **found, "coarse_matched_pd": coarser["matched_pd"]}
        for cell, found, coarser in zip(measured, matched, coarse, strict=True)
    ]


def _matched_estimate(cell: dict) -> dict:
    pairs = cell["pairs"]
    known = pairs and all(pair["relative_pd"] is not None for pair in pairs)
    whole = known and cell["n_trials"] > 2 and len(pairs) == math.comb(cell["n_trials"], 2)
    interval = stats.pairwise_estimate(pair_matrix(pairs, "relative_pd")[1]) if whole else None
    return {
        "level": cell["level"],
        "matched_step": mean_known(pair["step"] for pair in pairs) if known else None,
        "matched_pd": mean_known(pair["relative_pd"] for pair in pairs) if known else None,
        "low_matched_pd": interval.low if interval else None,
        "high_matched_pd": interval.high if interval else None,
    }


def matched_loss(measured: list[dict]) -> list[Table]:
    rows = matched_rows(measured)
    columns = (
        MODEL,
        ACTIVATION,
        LOSS,
        PD,
        Column("Matched loss (nats/char)", ("level",), number("{:.4f}")),
        Column("Reached at step", ("matched_step",), number("{:.0f}")),
        Column(
            "Relative PD at that loss [95 % interval]",
            ("matched_pd", "low_matched_pd", "high_matched_pd"),
            with_interval(4),
        ),
        N,
    )
    notes = (
        "The matched loss of an architecture is the highest that any pair of its trials ended at: the mean of the "
        "two, over the fixed validation windows of the training curves, not the whole split as in the third column. "
        "PD at that loss is read off each pair's own curve, linearly between the evaluations around it. "
        "--tables matched_sensitivity and matched_differences test it.",
        "What learns faster reaches that loss after fewer steps, and more steps by themselves may make models "
        "differ: equal loss is not equal training. The slowest pair sets the loss, which is then taken as fixed.",
        *_cv_lines(rows),
    )
    return [Table("PD at matched loss", columns, rows, notes)]


def _cv_lines(rows: list[dict]) -> list[str]:
    """For each architecture, how much activations differ at the end and at matched loss, and how coarse that is."""
    lines = []
    for model, cells in by_model(rows).items():
        known = [cell for cell in cells if cell["matched_pd"] is not None]
        if len(known) > 1:
            end, matched = (
                100 * stats.coefficient_of_variation([cell[name] for cell in known])
                for name in ("mean_relative_pd", "matched_pd")
            )
            shift = max(abs(cell["coarse_matched_pd"] - cell["matched_pd"]) for cell in known)
            lines.append(
                f"{label(model)}: CV of PD over activations {end:.2f} % at the end, {matched:.2f} % matched. With "
                f"every other evaluation only, PD at that loss would be read up to {shift:.4f} off."
            )
    return lines


OF_MATCHED = "Of PD at matched loss (--tables matched_loss); all else as in the table of PD at the end."


def matched_sensitivity(measured: list[dict]) -> list[Table]:
    _, tested = sensitivity(matched_cells(measured))
    return [Table("Sensitivity of PD at matched loss", tested.columns, tested.rows, (OF_MATCHED,))]


def matched_differences(measured: list[dict]) -> list[Table]:
    rows = difference_rows(matched_cells(measured), compare_permuted)
    return [Table("Differences of PD at matched loss", PD_DIFFERENCES, rows, (OF_MATCHED,))]


TABLES = {
    "matched_loss": matched_loss,
    "matched_sensitivity": matched_sensitivity,
    "matched_differences": matched_differences,
}
