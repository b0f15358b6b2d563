"""All activations of an architecture at once: the rule, its test and the planner. Pure functions."""

import math

import numpy as np

from analysis import stats
from analysis.differences import ALPHA, FEWEST, N_SHARED, SEED, holm, p_text, seed_counts, shared_distances
from analysis.measure import by_model, finite
from analysis.report_tables import MODEL
from analysis.table import ABSENT, Column, Table, number

PLANNED_DIFFERENCES = (0.05, 0.10, 0.20, 0.30)
RULES = {
    "sensitive": "p, adjusted by Holm's method over the architectures below, is at most 0.05",
    "not shown": "it is not, and the interval of the CV ends below 10 %, the least that the report calls sensitive",
    "too few trials to tell": "neither, or fewer than 3 trials",
}
CORRECTED = (
    "The rule and its limits were fixed before any result was seen. Its test and interval were made more cautious "
    "afterwards; the p that stood there first is now the second opinion, p, shuffled."
)
RULE = Column("When", ("rule",), str, numeric=False)
VERDICT = Column("Verdict", ("verdict",), str, numeric=False)
CV_WITHOUT_NOISE = Column(
    "CV without noise (%), 95 % interval",
    ("low_cv", "high_cv"),
    lambda low, high: ABSENT if low is None else f"[{low:.2f}, {high:.2f}]",
)
N_COMPARED = Column("Activations", ("n_activations", "n_cells"), "{} of {}".format)


# ---------------------------------------------------------------- all activations of an architecture


def with_enough_trials(cells: list[dict], metric: str = "relative_pd") -> list[dict]:
    return [cell for cell in cells if len(shared_distances([cell], metric)[0]) >= FEWEST]


def sensitivity_rows(measured: list[dict], metric: str = "relative_pd") -> list[dict]:
    """One row for each architecture: CV (%) over its activations with at least ``FEWEST`` trials."""
    rows = [_sensitivity(cells, metric) for cells in by_model(measured).values()]
    for row, p in zip(rows, holm(row["p"] for row in rows), strict=True):
        bounds = (math.nan if row[name] is None else row[name] / 100 for name in ("cv", "low_cv", "high_cv"))
        row["p_holm"] = p
        row["verdict"] = stats.verdict(stats.Estimate(*bounds, row["n_seeds"]), math.nan if p is None else p, ALPHA)
    return rows


def _sensitivity(cells: list[dict], metric: str) -> dict:
    compared = with_enough_trials(cells, metric)
    seeds, distances = shared_distances(compared, metric)
    tested = len(compared) > 1
    result = stats.activation_cv(distances, np.random.default_rng(SEED)) if tested else None
    return {
        "model": cells[0]["model"],
        "n_activations": len(compared),
        "n_cells": len(cells),
        "cv": finite(100 * result.cv.mean) if tested else None,
        "low_cv": finite(100 * result.cv.low) if tested else None,
        "high_cv": finite(100 * result.cv.high) if tested else None,
        "cv_from_noise": finite(100 * result.from_noise) if tested else None,
        "p": finite(result.significance.p) if tested else None,
        "p_shuffled": finite(result.shuffled.p) if tested else None,
        "error_p_shuffled": result.shuffled.standard_error if tested else None,
        "smallest_p": result.shuffled.smallest_p if tested else None,
        **seed_counts(cells, seeds),
    }


def sensitivity(measured: list[dict]) -> list[Table]:
    rules = [{"verdict": verdict, "rule": rule} for verdict, rule in RULES.items()]
    columns = (
        MODEL,
        N_COMPARED,
        Column("CV of PD (%)", ("cv",), number("{:.2f}")),
        CV_WITHOUT_NOISE,
        Column("CV from noise alone (%)", ("cv_from_noise",), number("{:.2f}")),
        Column("p", ("p",), p_text),
        Column("p, Holm", ("p_holm",), p_text),
        VERDICT,
        Column("p, shuffled", ("p_shuffled", "error_p_shuffled"), p_text),
        Column("Smallest p of shuffling", ("smallest_p",), p_text),
        N_SHARED,
    )
    notes = (
        "The CV over activations is the report's: std (ddof=0) / mean of their mean PD, over the seeds that all of "
        "them completed. It contains the noise of the trials and is never 0; the interval is of the CV that would be "
        "left without it, and so starts lower and may even end below the CV observed. From noise alone: the CV to "
        "expect if all activations were alike.",
        "p: F test of equal means over activations, paired by seed; Geisser and Greenhouse's correction is in it and "
        "in the interval, because some activations vary more from seed to seed than others. With 3 trials it finds "
        "very little. p, shuffled: activations shuffled within each seed, which tests that they are alike in every "
        "way, in how widely they vary too.",
        CORRECTED,
        "Sensitive says that activations differ, not that one is best, nor that the loss does not explain it. Not "
        "shown does not say that no two differ: with a CV of 10 %, one of six could lie 27 % of the mean away.",
        "Activations with fewer than 3 trials are left out; their CV stands in 3.5.7, without a test.",
    )
    return [
        Table("Sensitivity: the rule, fixed before the numbers", (VERDICT, RULE), rules),
        Table("Sensitivity of PD to the activation", columns, sensitivity_rows(measured), notes),
    ]


# ---------------------------------------------------------------- how many trials


def planner_rows(measured: list[dict]) -> list[dict]:
    """Trials per cell for each of ``PLANNED_DIFFERENCES``: for one comparison, and for the first of Holm's."""
    rows = []
    for cells in by_model(measured).values():
        pilot = with_enough_trials(cells)
        seeds, distances = shared_distances(pilot)
        known = stats.spread_and_correlation(distances) if len(seeds) >= FEWEST else (math.nan, math.nan)
        spread, correlation = map(finite, known)
        for comparisons in sorted({1, math.comb(len(cells), 2) or 1}):
            row = {"model": cells[0]["model"], "n_activations": len(pilot), "n_cells": len(cells)}
            row |= {"comparisons": comparisons, "cv_between_trials": spread, "correlation": correlation}
            row |= {_planned(x): _trials(x, spread, correlation, comparisons) for x in PLANNED_DIFFERENCES}
            rows.append(row | seed_counts(cells, seeds))
    return rows


def _planned(difference: float) -> str:
    return f"trials_for_{100 * difference:.0f}_percent"


def _trials(difference: float, spread: float | None, correlation: float | None, comparisons: int) -> int | None:
    if not spread:
        return None
    return stats.trials_needed(difference, spread, correlation, alpha=ALPHA / comparisons)


def planner(measured: list[dict]) -> list[Table]:
    columns = (
        MODEL,
        N_COMPARED,
        Column("CV between trials (%)", ("cv_between_trials",), number("{:.1f}", 100)),
        Column("Correlation over seeds", ("correlation",), number("{:.2f}")),
        Column("Comparisons", ("comparisons",), number("{}")),
        *(Column(f"N for {x:.0%}", (_planned(x),), number("{}")) for x in PLANNED_DIFFERENCES),
        N_SHARED,
    )
    notes = (
        "Trials per cell with which the paired test finds, at 5 % and with a power of 80 %, that one activation's "
        "mean PD is this much above another's: for one comparison chosen beforehand, and for the first step of "
        "Holm's method over all of an architecture's.",
        "From the pilot's spread over trials and from how far trials with the same seed go together in its cells. "
        f"With 3 trials both are rough guesses, and so is the plan. Never fewer than {stats.FEWEST_PLANNED}.",
    )
    return [Table("Trials needed to show a difference", columns, planner_rows(measured), notes)]


TABLES = {"sensitivity": sensitivity, "planner": planner}
