"""Which differences between activations are shown: tests of metrics of pairs and of loss, as rows of tables.

Pure functions from the measured cells of a study (``measure.measure_study``). Unless another is asked for, the metric
is relative PD over all classes. Trials are matched by seed, and what is not a number becomes None. Random
permutations start from ``SEED``, so that the same cells give the same rows.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from analysis import stats
from analysis.measure import by_model, completed_trials, finite
from analysis.report_tables import ACTIVATION, MODEL, READ_BESIDE_LOSS
from analysis.table import ABSENT, Column, Table, number, trial_count, with_interval
from labels import in_order, label

SEED = 0
ALPHA = 0.05
FEWEST = 3  # trials without which there is no test
HOLM_WITHIN = (
    "Holm's method adjusts the paired p for all comparisons within one architecture; a difference is shown where it "
    "is then at most 0.05. Nothing is adjusted across architectures."
)
N_SHARED = Column("N shared seeds", ("n_seeds", "n_diverged", "planned_trials"), trial_count)


# ---------------------------------------------------------------- trials with the same seeds


def shared_distances(cells: list[dict], metric: str = "relative_pd") -> tuple[list[int], np.ndarray]:
    """The seeds (N,) of which every one of ``cells`` (K,) has all pairs, and the metric between them (K, N, N)."""
    known = [_known_pairs(cell, metric) for cell in cells]
    pairs = set.intersection(*map(set, known)) if known else set()
    seeds = _whole(pairs)
    distances = np.zeros((len(cells), len(seeds), len(seeds)))
    for (i, first), (j, second) in itertools.permutations(enumerate(seeds), 2):
        distances[:, i, j] = [values[frozenset((first, second))] for values in known]
    return seeds, distances


def _known_pairs(cell: dict, metric: str) -> dict[frozenset[int], float]:
    """The metric by the seeds of the pair."""
    seed = {trial["trial"]: trial["seed"] for trial in cell["trials"]}
    known = [pair for pair in cell["pairs"] if pair.get(metric) is not None]
    return {frozenset(seed[trial] for trial in pair["trials"]): pair[metric] for pair in known}


def _whole(pairs: set[frozenset[int]]) -> list[int]:
    """Seeds all of whose pairs are in ``pairs``: that with the most missing is left out until none is."""
    seeds = sorted(frozenset().union(*pairs))
    while missing := Counter(
        seed for pair in itertools.combinations(seeds, 2) if frozenset(pair) not in pairs for seed in pair
    ):
        seeds.remove(missing.most_common(1)[0][0])
    return seeds


def seed_counts(cells: list[dict], seeds: list[int]) -> dict:
    diverged = {trial["seed"] for cell in cells for trial in cell["trials"] if trial["status"] != "completed"}
    return {
        "n_seeds": len(seeds),
        "n_diverged": len(diverged),
        "planned_trials": max(cell["planned_trials"] for cell in cells),
    }


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """``stats.holm``, where None is a test that could not be made."""
    return [finite(p) for p in stats.holm([math.nan if p is None else p for p in p_values])]


# ---------------------------------------------------------------- two activations


def difference_rows(measured: list[dict], compare: Callable[[dict, dict], dict]) -> list[dict]:
    """One row for every two activations of an architecture; each architecture is a family of its own."""
    rows = []
    for cells in by_model(measured).values():
        family = [compare(*pair) for pair in itertools.combinations(cells, 2)]
        adjusted = holm(row["p_paired"] for row in family)
        rows += [{**row, "p_holm": p, "shown": _shown(p)} for row, p in zip(family, adjusted, strict=True)]
    return rows


def compare_pairs(first: dict, second: dict, metric: str = "relative_pd") -> dict:
    """Mean over pairs of the ``first`` cell minus that of the ``second``, over the seeds that both completed."""
    seeds, (a, b) = shared_distances([first, second], metric)
    return {
        **_compared(first, second, seeds),
        **_difference(stats.paired_difference(a, b), stats.pairwise_estimate(b).mean),
        "p_paired": finite(stats.paired_test(a, b).p),
    }


def compare_loss(first: dict, second: dict) -> dict:
    """Mean val loss of the ``first`` cell minus that of the ``second``, over the seeds that both completed."""
    losses = [{trial["seed"]: trial["val_loss"] for trial in completed_trials(cell)} for cell in (first, second)]
    seeds = sorted(losses[0].keys() & losses[1].keys())
    a, b = (np.array([loss[seed] for seed in seeds]) for loss in losses)
    enough = len(seeds) >= FEWEST
    return {
        **_compared(first, second, seeds),
        **_difference(stats.mean_estimate(a - b), b.mean() if seeds else math.nan),
        "p_paired": finite(stats.paired_t_test(a, b).p) if enough else None,
    }


def _compared(first: dict, second: dict, seeds: list[int]) -> dict:
    names = {"activation": first["activation"], "other_activation": second["activation"]}
    return {"model": first["model"], **names, **seed_counts([first, second], seeds)}


def _difference(estimate: stats.Estimate, reference: float) -> dict:
    return {
        "difference": finite(estimate.mean),
        "low_difference": finite(estimate.low),
        "high_difference": finite(estimate.high),
        "relative_difference": finite(100 * estimate.mean / reference) if reference else None,
    }


def compare_permuted(first: dict, second: dict) -> dict:
    """``compare_pairs`` of PD with a second opinion: the p of permuting trial labels."""
    seeds, (a, b) = shared_distances([first, second])
    result = stats.permutation_test(a, b, np.random.default_rng(SEED)) if seeds else None
    return {
        **compare_pairs(first, second),
        "p_permutation": finite(result.p) if result else None,
        "error_p_permutation": result.standard_error if result else None,
        "smallest_p": result.smallest_p if result else None,
    }


def against_first(measured: list[dict]) -> list[dict]:
    """PD of every cell minus that of its architecture's cell with the study's first activation, such as ReLU.

    Its p_holm is that of the table of differences: adjusted for all comparisons within the architecture.
    """
    first = in_order(cell["activation"] for cell in measured)[0]
    rows = []
    for cells in by_model(measured).values():
        if cells[0]["activation"] == first:
            tested = difference_rows(cells, compare_pairs)  # those with the first cell come first
            rows += [
                {**compare_pairs(cell, cells[0]), "p_holm": test["p_holm"], "shown": test["shown"]}
                for cell, test in zip(cells[1:], tested, strict=False)
            ]
    return rows


def _shown(p: float | None) -> str:
    if p is None:
        return "too few trials"
    return "yes" if p <= ALPHA else "no"


def p_text(p: float | None, error: float | None = None) -> str:
    if p is None:
        return ABSENT
    shown = f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
    return f"{shown} ± {error:.4f}" if error else shown


def differences(measured: list[dict]) -> list[Table]:
    of_pd, of_loss = (difference_rows(measured, compare) for compare in (compare_permuted, compare_loss))
    sizes = " or ".join(map(str, sorted(set(Counter(row["model"] for row in of_pd).values()))))
    holm_note = f"{HOLM_WITHIN} There are {sizes} of them."
    pd_notes = (
        "Mean relative PD (all classes) of the first activation minus that of the second; below 0 the first is more "
        "reproducible. Over the seeds that both completed; interval and p are the jackknife's over seeds, paired.",
        holm_note,
        "Permuting trial labels, unpaired, is a second opinion on other assumptions: that cells do not share what a "
        "seed does, and vary equally. Every labeling is tried, or as many as give p the Monte Carlo error beside it; "
        "it cannot be below the smallest that so few trials allow.",
        READ_BESIDE_LOSS,
    )
    loss_notes = (
        "Mean validation loss of the first activation minus that of the second; below 0 the first is better. Over "
        "the seeds that both completed; interval and p are those of the paired t test.",
        holm_note,
    )
    loss_columns = difference_columns("Difference of val loss (nats/char)")
    return [
        Table("Differences between activations", PD_DIFFERENCES, of_pd, pd_notes),
        Table("Differences of loss between activations", loss_columns, of_loss, loss_notes),
    ]


def difference_columns(header: str, second_opinion: tuple[Column, ...] = (), digits: int = 4) -> tuple[Column, ...]:
    bounds = ("difference", "low_difference", "high_difference")
    return (
        MODEL,
        ACTIVATION,
        Column("minus", ("other_activation",), label, numeric=False),
        Column(f"{header} [95 % interval]", bounds, with_interval(digits)),
        Column("of the second's (%)", ("relative_difference",), number("{:+.2f}")),
        Column("p, paired", ("p_paired",), p_text),
        Column("p, Holm", ("p_holm",), p_text),
        *second_opinion,
        Column("Shown", ("shown",), str, numeric=False),
        N_SHARED,
    )


PD_DIFFERENCES = difference_columns(
    "Difference of relative PD",
    (
        Column("p, labels permuted", ("p_permutation", "error_p_permutation"), p_text),
        Column("Smallest p of permuting", ("smallest_p",), p_text),
    ),
)


TABLES = {"differences": differences}
