"""What goes along with relative PD: the loss, also along SmeLU's beta, and the contexts, as rows of tables.

Pure functions from the measured cells of a study (``summary.measure_study``); None where there is nothing to compute
a number from.
"""

import math
from collections.abc import Iterable
from operator import itemgetter

import numpy as np

import stats
from config import SMELU_BETAS
from inference import PD_DIFFERENCES, compare_pairs, compare_permuted, difference_rows, sensitivity
from labels import label
from summary import by_model, completed_trials, pair_matrix
from table_format import ABSENT, Column, Table, mismatches, number, with_interval
from tables import ACTIVATION, INTERVALS, LOSS, LOSS_INTERVAL, MODEL, PD, READ_BESIDE_LOSS, N


def mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


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


# ---------------------------------------------------------------- loss against PD


def pareto_front(cells: list[dict]) -> list[dict]:
    """The cells than which none is at least as low in both mean loss and mean PD, and lower in one."""
    points = [(cell["mean_val_loss"], cell["mean_relative_pd"]) for cell in cells]
    return [
        cell
        for cell, (loss, pd) in zip(cells, points, strict=True)
        if not any(x <= loss and y <= pd and (x, y) != (loss, pd) for x, y in points)
    ]


def pareto_rows(measured: list[dict]) -> list[dict]:
    known = [cell for cell in measured if cell["mean_relative_pd"] is not None]
    overall = pareto_front(known)
    own = [cell for cells in by_model(known).values() for cell in pareto_front(cells)]
    return [{**cell, "front": _front(cell, known, own, overall)} for cell in measured]


def _front(cell: dict, known: list[dict], own: list[dict], overall: list[dict]) -> str:
    if cell not in known:
        return ABSENT
    if cell in overall:
        return "of all cells"
    return "of its architecture" if cell in own else "no"


def pareto(measured: list[dict]) -> list[Table]:
    columns = (MODEL, ACTIVATION, LOSS, PD, Column("On the front", ("front",), str, numeric=False), N)
    notes = (
        "On the front: no other cell (of its architecture, or of all) has both a lower loss and a lower PD. By "
        "the means alone: where intervals overlap, another set of trials could put other cells there.",
        READ_BESIDE_LOSS,
    )
    return [Table("Pareto front of loss against PD", columns, pareto_rows(measured), notes)]


# ---------------------------------------------------------------- loss and PD along the bend of SmeLU

DIFFERENCE = ("difference", "low_difference", "high_difference")
FEWEST_BETAS = 3  # without which a curve says nothing


def smelu_sweeps(measured: list[dict]) -> dict[str, list[dict]]:
    """The cells with ReLU and SmeLU of each architecture that has enough of them, by ``beta``, which is added."""
    swept = [{**cell, "beta": SMELU_BETAS.get(cell["activation"])} for cell in measured]
    groups = by_model([cell for cell in swept if cell["beta"] is not None])
    enough = {model: cells for model, cells in groups.items() if len(cells) >= FEWEST_BETAS}
    return {model: sorted(cells, key=itemgetter("beta")) for model, cells in enough.items()}


def smelu_rows(measured: list[dict]) -> list[dict]:
    rows = []
    for cells in smelu_sweeps(measured).values():
        relu = cells[0] if cells[0]["beta"] == 0 else None
        for cell in cells:
            compared = {} if relu is None or cell is relu else compare_pairs(cell, relu)
            rows.append({**cell, **{name: compared.get(name) for name in DIFFERENCE}})
    return rows


def smelu(measured: list[dict]) -> list[Table]:
    rows = smelu_rows(measured)
    columns = (
        MODEL,
        Column("β", ("beta",), number("{:g}")),
        LOSS_INTERVAL,
        PD,
        Column("PD minus ReLU's [95 % interval]", DIFFERENCE, with_interval(4)),
        N,
    )
    notes = (
        "β is the half-width of SmeLU's bend; β = 0 is ReLU. Lower is better for both, so a wider bend is a gain "
        "where PD comes down and the loss does not go up.",
        "The difference is paired by seed, over the trials that both completed. Its interval is of one comparison: "
        "--tables differences adjusts for how many there are.",
        INTERVALS,
    )
    return [Table("SmeLU sweep", columns, rows, notes)] if rows else []


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


TABLES = {
    "matched_loss": matched_loss,
    "matched_sensitivity": matched_sensitivity,
    "matched_differences": matched_differences,
    "pareto": pareto,
    "smelu": smelu,
    "contexts": contexts,
}
