"""Which metrics tell the same story: rank correlations of relative PD's companions with it, as rows of tables.

Pure functions from the measured cells of a study (``summary.measure_study``); None where there is nothing to compute
a number from.
"""

import itertools

import numpy as np
from scipy.stats import rankdata

from confounds import mean_known
from labels import counted
from summary import by_model
from table_format import ABSENT, Column, Table, number, trial_count

COMPANIONS = {
    "relative_pd": "Relative PD, all classes",
    "true_label_pd": "Relative PD, true label",
    "global_pd": "PD by the global formula",
    "total_variation": "Total variation",
    "jensen_shannon": "Jensen-Shannon",
    "symmetric_kl": "Symmetric KL",
    "hellinger": "Hellinger",
    "top1_mismatches": "Top-1 mismatches",
    "one_right": "Mismatches, one right",
    "both_wrong": "Mismatches, both wrong",
    "normalized_mismatch": "Normalized mismatch",
    "top5_agreement": "Top-5 agreement",
    "loss_correlation": "Correlation of losses",
    "perplexity_correlation": "Correlation of perplexities",
    "ensemble_gain": "Ensemble gain",
    "text_distance": "Edit distance of texts",
    "val_loss": "Val loss",
}
REVERSED = {"top5_agreement", "loss_correlation", "perplexity_correlation"}
TRIAL_COUNTS = ("n_trials", "n_diverged", "planned_trials")
SAME, MUCH_THE_SAME = 0.9, 0.7
FEWEST_CELLS = 3


def cell_means(cell: dict) -> dict[str, float | None]:
    """The mean over a cell's pairs of every companion metric, and over its trials of the loss."""
    means = {name: mean_known(pair.get(name) for pair in cell["pairs"]) for name in COMPANIONS}
    return means | {"val_loss": cell["mean_val_loss"]}


def rank_correlation(groups: list[np.ndarray]) -> float | None:
    """Spearman's rank correlation of two quantities, (2, cells) for each group; ranked within the groups.

    Ranks of each group are taken from their mean and pooled, so that differences between groups do not count.
    None for fewer than ``FEWEST_CELLS`` cells in all, or a quantity that does not vary.
    """
    ranks = [rankdata(group, axis=1) for group in groups]
    pooled = np.concatenate([rank - rank.mean(axis=1, keepdims=True) for rank in ranks], axis=1)
    if pooled.shape[1] < FEWEST_CELLS or not pooled.any(axis=1).all():
        return None
    return float(np.corrcoef(pooled)[0, 1])


Means = list[list[dict]]  # of the cells, by architecture


def means_by_model(measured: list[dict]) -> Means:
    return [[cell_means(cell) for cell in cells] for cells in by_model(measured).values()]


def correlations(means: Means, first: str, second: str) -> tuple[float | None, float | None]:
    """Rank correlation of two metrics over all cells, and within architectures."""
    known = [[(m[first], m[second]) for m in group if None not in (m[first], m[second])] for group in means]
    groups = [np.transpose(group) for group in known if group]
    if not groups:
        return None, None
    return rank_correlation([np.concatenate(groups, axis=1)]), rank_correlation(groups)


def companion_rows(measured: list[dict]) -> list[dict]:
    means, rows = means_by_model(measured), []
    for name in [name for name in COMPANIONS if name != "relative_pd"]:
        both = correlations(means, "relative_pd", name)
        rows.append({"metric": name, "rho": both[0], "rho_within": both[1], "story": story(*both, name in REVERSED)})
    return rows


def story(over_all: float | None, within: float | None, reversed_sign: bool = False) -> str:
    """In words, by the weaker of two rank correlations; ``reversed_sign`` for agreements, which fall as PD rises."""
    if over_all is None or within is None:
        return ABSENT
    least, most = sorted(-rho if reversed_sign else rho for rho in (over_all, within))
    if least >= SAME:
        return "the same"
    if least >= MUCH_THE_SAME:
        return "much the same"
    return "the opposite" if most <= -MUCH_THE_SAME else "another"


def matrix_rows(measured: list[dict]) -> list[dict]:
    """Rank correlations of all metrics: below the diagonal over all cells, above it within architectures."""
    means = means_by_model(measured)
    rows = {name: {"metric": name, name: 1.0} for name in COMPANIONS}
    for first, second in itertools.combinations(COMPANIONS, 2):
        rows[second][first], rows[first][second] = correlations(means, first, second)
    return list(rows.values())


def companions(measured: list[dict]) -> list[Table]:
    rho = number("{:+.2f}")
    numbers = {name: place for place, name in enumerate(COMPANIONS, 1)}
    columns = (
        Column("Metric", ("metric",), COMPANIONS.get, numeric=False),
        Column("Rank correlation with PD, over all cells", ("rho",), rho),
        Column("within architectures", ("rho_within",), rho),
        Column("Story", ("story",), str, numeric=False),
    )
    matrix = (
        Column("Metric", ("metric",), lambda name: f"{numbers[name]} {COMPANIONS[name]}", numeric=False),
        *(Column(str(place), (name,), rho) for name, place in numbers.items()),
    )
    trials = trial_count(*(sum(cell[name] for cell in measured) for name in TRIAL_COUNTS))
    basis = (
        f"Spearman's, of the means of {counted(len(measured), 'cell')} ({trials} trials). Within architectures: of "
        "ranks among the activations of one architecture, pooled."
    )
    rule = (
        f"The same story as PD: both correlations are at least {SAME}; much the same: {MUCH_THE_SAME}; of agreements "
        "and of correlations, which fall as PD rises, with the sign turned round. Few cells make strong correlations "
        "by chance."
    )
    below_and_above = "Below the diagonal over all cells, above it within architectures."
    return [
        Table("Companion metrics: do they tell PD's story?", columns, companion_rows(measured), (basis, rule)),
        Table("Rank correlations of all metrics", matrix, matrix_rows(measured), (below_and_above, basis)),
    ]


TABLES = {"companions": companions}
