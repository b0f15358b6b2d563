"""Loss against PD: Pareto fronts, and the curve along SmeLU's beta. Pure functions."""

from operator import itemgetter

from analysis.differences import compare_pairs
from analysis.measure import by_model
from analysis.report_tables import ACTIVATION, INTERVALS, LOSS, LOSS_INTERVAL, MODEL, PD, READ_BESIDE_LOSS, N
from analysis.table import ABSENT, Column, Table, number, with_interval
from config import SMELU_BETAS

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


TABLES = {"pareto": pareto, "smelu": smelu}
