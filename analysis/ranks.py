"""Which order of activations recurs over architectures: mean ranks, Kendall's W. Pure functions."""

from collections import Counter

import numpy as np
from scipy.stats import friedmanchisquare, rankdata

from analysis.differences import holm, p_text
from analysis.equal_loss import MATCHED, matched_cells
from analysis.measure import by_model, measure
from analysis.metrics_compared import COMPANIONS, JUDGED, trials_text
from analysis.table import Column, Table, number
from labels import in_order, label

# ---------------------------------------------------------------- over all architectures


def rank_rows(measured: list[dict]) -> list[dict]:
    """The activations' mean ranks over architectures by loss and by every metric; rank 1 is the lowest mean.

    Activations that only one of several architectures has are left out; of the rest, only architectures with a mean
    for every one count. ``p`` is that of Friedman's test (1937, J. Am. Stat. Assoc. 32:675), ``w`` Kendall's
    coefficient of concordance, from 0 to 1; both are None for fewer than two architectures or three activations.
    """
    at_equal_loss = [measure(cell) for cell in matched_cells(measured)]
    rows = [_ranked(measured, metric) | {"when": "the end"} for metric in ("val_loss", *JUDGED)]
    rows += [_ranked(at_equal_loss, metric) | {"when": "equal loss"} for metric in MATCHED]
    return [row | {"p_holm": p} for row, p in zip(rows, holm(row["p"] for row in rows), strict=True)]


def _ranked(measured: list[dict], metric: str) -> dict:
    names = _recurring(measured)
    means = [
        [found.get(name) for name in names]
        for cells in by_model(measured).values()
        for found in [{cell["activation"]: cell[f"mean_{metric}"] for cell in cells}]
    ]
    blocks = [block for block in means if None not in block]
    ranks = rankdata(blocks, axis=1) if blocks else np.empty((0, len(names)))
    row = {"metric": metric, "n_architectures": len(blocks), "w": None, "p": None}
    if len(blocks) > 1 and len(names) > 2 and np.ptp(ranks):
        chi_squared, row["p"] = map(float, friedmanchisquare(*ranks.T))
        row["w"] = chi_squared / (len(blocks) * (len(names) - 1))
    return row | {name: float(ranks[:, place].mean()) if blocks else None for place, name in enumerate(names)}


def _recurring(measured: list[dict]) -> list[str]:
    """The activations that more than one architecture has, if there are several, else all."""
    architectures = Counter(cell["activation"] for cell in measured)
    several = len(by_model(measured)) > 1
    return in_order(name for name, count in architectures.items() if count > several)


def ranks(measured: list[dict]) -> list[Table]:
    columns = (
        Column("Lowest first: by", ("metric",), COMPANIONS.get, numeric=False),
        Column("At", ("when",), str, numeric=False),
        *(Column(label(name), (name,), number("{:.1f}")) for name in _recurring(measured)),
        Column("Kendall's W", ("w",), number("{:.2f}")),
        Column("p, Friedman", ("p",), p_text),
        Column("p, Holm", ("p_holm",), p_text),
        Column("Architectures", ("n_architectures",), number("{}")),
    )
    notes = (
        "Mean rank of each activation over the architectures that have all of them; 1 is the lowest loss, or the "
        "least disagreement. Which order recurs, not how far apart: W is 1 if it is the same in every architecture. "
        f"From {trials_text(*measured)} trials.",
        "p: Friedman's test against no common order, architectures being a sample of all there could be; adjusted "
        "over the lines. With few architectures it finds too little rather than too much.",
    )
    return [Table("Activations over all architectures", columns, rank_rows(measured), notes)]


TABLES = {"ranks": ranks}
