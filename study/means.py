"""Whether the means in a cell file, for whoever reads nothing else of it, are those of its trials and pairs."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

OF_TRIALS = ("val_loss", "val_accuracy", "training_time")
OF_PAIRS = ("relative_pd", "top1_mismatches")
TOLERANCE = 1e-5  # relative; the file of a cell of many has six digits of what a pair says


def mean_faults(cell: Any) -> Iterator[str]:
    """Means of the ``cell`` (a ``schema.CellForm``) that are not those of its completed trials and of its pairs."""
    completed = [trial for trial in cell.trials if trial.status == "completed"]
    values = {f"mean_{name}": [getattr(each, name) for each in completed] for name in OF_TRIALS}
    values |= {f"mean_{name}": [getattr(each, name) for each in cell.pairs] for name in OF_PAIRS}
    means = {name: math.fsum(each) / len(each) if each else None for name, each in values.items()}
    if len(completed) > 1:  # of one, earlier files say 0
        means["std_val_loss"] = statistics.pstdev(values["mean_val_loss"])
    for name, right in means.items():
        found = getattr(cell, name)
        if found is UNSET or found == right:
            continue
        if found is None or right is None or not math.isclose(found, right, rel_tol=TOLERANCE, abs_tol=1e-9):
            yield f"{name}: {found} instead of {right}"
