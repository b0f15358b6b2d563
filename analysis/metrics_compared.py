"""Do relative PD's companions tell its story? Each metric by itself, ranks and rank correlations, as rows of tables.

Pure functions from the measured cells of a study (``measure.measure_study``); None where there is nothing to compute
a number from.
"""

import itertools
import math
from functools import partial

import numpy as np
from scipy.stats import rankdata

from analysis.differences import HOLM_WITHIN, N_SHARED, compare_pairs, difference_columns, difference_rows, p_text
from analysis.equal_loss import MATCHED, matched_cells
from analysis.measure import CORRELATIONS, PAIR_METRICS, by_model
from analysis.omnibus import CV_WITHOUT_NOISE, VERDICT, sensitivity_rows
from analysis.report_tables import MODEL
from analysis.table import ABSENT, Column, Table, number, trial_count
from labels import counted, label

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
REVERSED = {"top5_agreement", *CORRELATIONS}
JUDGED = ("relative_pd", "true_label_pd", "total_variation", "jensen_shannon", "top1_mismatches")
TRIAL_COUNTS = ("n_trials", "n_diverged", "planned_trials")
SAME, MUCH_THE_SAME = 0.9, 0.7
FEWEST_CELLS = 3


# ---------------------------------------------------------------- each metric by itself


def cell_metrics(measured: list[dict]) -> list[Table]:
    """A table for each architecture: every metric of pairs, for every activation, with its interval."""
    return [_metric_table(model, cells) for model, cells in by_model(measured).items()]


def _metric_table(model: str, cells: list[dict]) -> Table:
    kinds = ("mean", "low", "high")
    rows = [
        {
            "metric": name,
            **{f"{kind}_{cell['activation']}": cell[f"{kind}_{name}"] for cell in cells for kind in kinds},
        }
        for name in PAIR_METRICS
    ]
    columns = (
        Column("Metric, mean over pairs [95 % interval]", ("metric",), COMPANIONS.get, numeric=False),
        *(
            Column(f"{label(cell['activation'])} (N = {trials_text(cell)})", keys, _four_digits)
            for cell in cells
            for keys in [tuple(f"{kind}_{cell['activation']}" for kind in kinds)]
        ),
    )
    note = (
        "Mismatches are counts, of the probe set; divergences are in nats; each metric's formula is in metrics.py. "
        "Intervals are jackknife-t over trials, with the contexts held fixed; they are no test of a difference."
    )
    return Table(f"Metrics: {label(model)}", columns, rows, (note,))


def trials_text(*cells: dict) -> str:
    return trial_count(*(sum(cell[name] for cell in cells) for name in TRIAL_COUNTS))


def _four_digits(mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None:
        return ABSENT
    return f"{mean:#.4g}" if low is None else f"{mean:#.4g} [{low:#.4g}, {high:#.4g}]"


def verdict_rows(measured: list[dict]) -> list[dict]:
    """The sensitivity of every architecture by each metric, at the end and at equal loss.

    ``n_shown`` of ``n_differences`` between two activations are shown, ``n_against`` of them with the other sign
    than relative PD's, where that is shown too.
    """
    rows = []
    for when, cells, metrics in (("the end", measured, JUDGED), ("equal loss", matched_cells(measured), MATCHED)):
        signs = {metric: _shown_signs(cells, metric) for metric in metrics}
        rows += [
            {**row, "when": when, "metric": metric}
            | _compared_with_pd(row["model"], signs[metric], signs["relative_pd"])
            for metric in metrics
            for row in sensitivity_rows(cells, metric)
        ]
    models = list(by_model(measured))
    return sorted(rows, key=lambda row: models.index(row["model"]))


Signs = dict[tuple[str, str, str], float]  # of differences, by architecture and two activations; 0 if not shown


def _shown_signs(measured: list[dict], metric: str) -> Signs:
    signs = {}
    for row in difference_rows(measured, partial(compare_pairs, metric=metric)):
        pair = row["model"], row["activation"], row["other_activation"]
        signs[pair] = math.copysign(1, row["difference"]) if row["shown"] == "yes" else 0
    return signs


def _compared_with_pd(model: str, signs: Signs, of_pd: Signs) -> dict:
    own = {pair: sign for pair, sign in signs.items() if pair[0] == model}
    return {
        "n_differences": len(own),
        "n_shown": sum(sign != 0 for sign in own.values()),
        "n_against": sum(sign * of_pd[pair] < 0 for pair, sign in own.items()),
    }


def metric_differences(measured: list[dict]) -> list[Table]:
    """The differences between activations by total variation and top-1 mismatches, these also at equal loss."""
    mismatches = "top1_mismatches"
    asked = (("total_variation", "the end", measured), (mismatches, "the end", measured))
    return [
        _difference_table(metric, when, cells)
        for metric, when, cells in (*asked, (mismatches, "equal loss", matched_cells(measured)))
    ]


def _difference_table(metric: str, when: str, cells: list[dict]) -> Table:
    name = COMPANIONS[metric].lower()
    columns = difference_columns(f"Difference of {name}", digits=1 if metric == "top1_mismatches" else 4)
    rows = difference_rows(cells, partial(compare_pairs, metric=metric))
    note = "Mean over pairs of the first activation minus that of the second, as --tables differences has it of PD."
    return Table(f"Differences of {name} at {when}", columns, rows, (note, HOLM_WITHIN))


def metrics(measured: list[dict]) -> list[Table]:
    columns = (
        MODEL,
        Column("At", ("when",), str, numeric=False),
        Column("Metric", ("metric",), COMPANIONS.get, numeric=False),
        Column("CV (%)", ("cv",), number("{:.2f}")),
        CV_WITHOUT_NOISE,
        Column("p, Holm", ("p_holm",), p_text),
        VERDICT,
        Column("Differences shown", ("n_shown", "n_differences"), "{} of {}".format),
        Column("against PD's", ("n_against",), number("{}")),
        N_SHARED,
    )
    notes = (
        "What --tables sensitivity and --tables differences say of relative PD, said of other metrics too; p is "
        "adjusted over architectures, differences within them, for each metric by itself.",
        "Against PD's: differences that are shown with one sign where that of relative PD over all classes is shown "
        "with the other. Relative PD over all classes counts each alike, however improbable; divergences weigh them.",
    )
    return [Table("Does the answer depend on the metric?", columns, verdict_rows(measured), notes)]


# ---------------------------------------------------------------- do they tell the same story?


def cell_means(cell: dict) -> dict[str, float | None]:
    """The mean over a cell's pairs of every companion metric, and over its trials of the loss."""
    return {name: cell[f"mean_{name}"] for name in COMPANIONS}


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
    basis = (
        f"Spearman's, of the means of {counted(len(measured), 'cell')} ({trials_text(*measured)} trials). Within "
        "architectures: of ranks among the activations of one architecture, pooled."
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


TABLES = {
    "metrics": metrics,
    "metric_differences": metric_differences,
    "cell_metrics": cell_metrics,
    "companions": companions,
}
