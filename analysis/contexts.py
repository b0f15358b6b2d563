"""The contexts that two models are scored on: shared or different ones, and whether others would have given the same.

Pure functions from the measured cells of a study (``measure.measure_study``); cells whose pairs are not broken down
by stretches of text give no row of the latter.
"""

import numpy as np

from analysis import stats
from analysis.differences import FEWEST, N_SHARED, compare_pairs, shared_distances
from analysis.measure import by_model, mean_known, with_breakdown
from analysis.report_tables import ACTIVATION, MODEL, PD, N
from analysis.table import Column, Table, mismatches, number, with_interval
from labels import label

# ---------------------------------------------------------------- shared and different contexts

ON_CONTEXTS = ("relative_pd", "top1_mismatches", "global_pd")


def context_rows(measured: list[dict]) -> list[dict]:
    """Means over pairs on the shared probe set, and where each model of a pair is scored on other contexts."""
    return [cell | on_contexts(cell) for cell in measured]


def on_contexts(cell: dict) -> dict[str, float | None]:
    apart = [pair.get("different_contexts", {}) for pair in cell["pairs"]]
    shared = {f"shared_{name}": mean_known(pair[name] for pair in cell["pairs"]) for name in ON_CONTEXTS}
    return shared | {f"different_{name}": mean_known(pair.get(name) for pair in apart) for name in ON_CONTEXTS}


def contexts(measured: list[dict]) -> list[Table]:
    four = number("{:.4f}")
    columns = (
        MODEL,
        ACTIVATION,
        Column("Relative PD (all classes), shared contexts", ("shared_relative_pd",), four),
        Column("Relative PD, different contexts", ("different_relative_pd",), four),
        Column("Global formula, shared", ("shared_global_pd",), four),
        Column("Global formula, different", ("different_global_pd",), four),
        Column("Mismatches, shared", ("shared_top1_mismatches", "n_predictions"), mismatches),
        Column("Mismatches, different", ("different_top1_mismatches", "n_predictions"), mismatches),
        N,
    )
    note = (
        "Scoring the two models of a pair on different contexts, as the report's code did, measures how contexts "
        "differ: the same models, the same probe set, in another order for the second."
    )
    return [Table("Shared and different contexts", columns, context_rows(measured), (note,))]


GROUPING = "text_block"


def block_means(cell: dict, seeds: list[int]) -> np.ndarray:
    """Relative PD within each stretch of text (G,), the mean over the pairs of the trials with these ``seeds``."""
    numbers = {trial["trial"] for trial in cell["trials"] if trial["seed"] in seeds}
    pairs = [pair for pair in cell["pairs"] if numbers.issuperset(pair["trials"])]
    return np.mean([pair["breakdown"][GROUPING]["relative_pd"] for pair in pairs], axis=0)


def known_blocks(measured: list[dict]) -> list[dict]:
    """The cells whose pairs are all broken down by stretches of text, none of them empty."""

    def is_known(pair: dict) -> bool:
        blocks = pair["breakdown"].get(GROUPING)
        return blocks is not None and all(blocks["n_predictions"])

    return [cell for cell in with_breakdown(measured) if all(map(is_known, cell["pairs"]))]


def rows_of_cells(measured: list[dict]) -> list[dict]:
    rows = []
    for cell in known_blocks(measured):
        seeds, (distances,) = shared_distances([cell])
        if len(seeds) >= FEWEST:
            both = stats.crossed_estimate(distances, block_means(cell, seeds))
            alone = stats.pairwise_estimate(distances)
            margin = alone.high - alone.mean
            bounds = {"mean_both": both.mean, "low_both": max(both.low, 0.0), "high_both": both.high}
            rows.append({**cell, **bounds, "widening": (both.high - both.mean) / margin if margin else None})
    return rows


def rows_of_differences(measured: list[dict]) -> list[dict]:
    """Every cell minus its architecture's first, over the seeds that both completed."""
    rows = []
    for first, *others in by_model(known_blocks(measured)).values():
        for cell in others:
            seeds, (a, b) = shared_distances([cell, first])
            if len(seeds) >= FEWEST:
                both = stats.crossed_estimate(a - b, block_means(cell, seeds) - block_means(first, seeds))
                rows.append({**compare_pairs(cell, first), "low_both": both.low, "high_both": both.high})
    return rows


def other_contexts(measured: list[dict]) -> list[Table]:
    cells, differences = rows_of_cells(measured), rows_of_differences(measured)
    if not cells:
        return []
    same = Column("Contexts fixed", ("difference", "low_difference", "high_difference"), with_interval(4))
    columns = (
        MODEL,
        ACTIVATION,
        PD,
        Column("Contexts and trials sampled", ("mean_both", "low_both", "high_both"), with_interval(4)),
        Column("Wider by", ("widening",), number("{:.2f}")),
        N,
    )
    n_blocks = len(cells[0]["pairs"][0]["breakdown"][GROUPING]["group"])
    notes = (
        "The second interval allows for other contexts too, by how much PD differs between "
        f"{n_blocks} stretches of the validation text with equally many contexts. It is for other contexts "
        "of this text, not for another text.",
    )
    difference_columns = (
        MODEL,
        ACTIVATION,
        Column("minus", ("other_activation",), label, numeric=False),
        same,
        Column("Contexts and trials sampled", ("difference", "low_both", "high_both"), with_interval(4)),
        N_SHARED,
    )
    tables = [Table("PD if contexts were drawn anew", columns, cells, notes)]
    if differences:
        title = "Differences of PD if contexts were drawn anew"
        tables.append(Table(title, difference_columns, differences, ("Paired by seed and by stretch of text.",)))
    return tables


TABLES = {"contexts": contexts, "other_contexts": other_contexts}
