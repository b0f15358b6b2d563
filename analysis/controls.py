"""Who causes the differences: PD where only some random streams differ between trials, as rows of a table.

Pure functions from the measured cells of a study (``measure.measure_study``), which carry their controls: found by
their settings, not by the names of their studies.
"""

import itertools

from analysis.measure import measure, varied
from analysis.report_tables import ACTIVATION, MISMATCHES, MODEL, PD, N
from analysis.table import Column, Table, number
from config import STREAMS
from labels import counted

VARIES = Column("Differs between trials", ("varies",), str, numeric=False)
EVERYTHING, NOTHING, CONTEXTS = "everything", "nothing (same seed)", "everything, contexts too"


def streams_text(streams: tuple[str, ...]) -> str:
    """Such as "everything", "only order" or "init and order"."""
    if streams == STREAMS:
        return EVERYTHING
    if len(streams) == 1:
        return f"only {streams[0]}"
    return " and ".join(streams) or NOTHING


SUBSETS = [streams for size in (3, 2, 1, 0) for streams in itertools.combinations(STREAMS, size)]
KINDS = [*map(streams_text, SUBSETS), CONTEXTS]  # what can differ, in the order shown


def control_rows(measured: list[dict]) -> list[dict]:
    """Rows for each cell that has controls: itself, its controls, and its pairs scored on other contexts."""
    return [row for cell in measured if cell["controls"] for row in rows_of(cell)]


def rows_of(cell: dict) -> list[dict]:
    family = {varied(cell): cell, **cell["controls"]}
    kinds = {streams_text(streams): family[streams] for streams in SUBSETS if streams in family}
    if EVERYTHING in kinds:
        kinds[CONTEXTS] = on_different_contexts(kinds[EVERYTHING])
    whole = kinds.get(EVERYTHING, {}).get("mean_relative_pd")
    return [{**kind, "varies": name, "share": _share(kind, whole)} for name, kind in kinds.items()]


def _share(cell: dict, whole: float | None) -> float | None:
    mean = cell["mean_relative_pd"]
    return 100 * mean / whole if whole and mean is not None else None


def on_different_contexts(cell: dict) -> dict:
    """The cell, measured with each model of a pair scored on other contexts than its twin."""
    known = [pair for pair in cell["pairs"] if "different_contexts" in pair]
    return measure({**cell, "pairs": [pair | pair["different_contexts"] for pair in known]})


def controls(measured: list[dict]) -> list[Table]:
    columns = (
        *(MODEL, ACTIVATION, VARIES, PD),
        Column("of everything's (%)", ("share",), number("{:.1f}")),
        *(MISMATCHES, N),
        Column("Study", ("study",), str, numeric=False),
    )
    having = sum(bool(cell["controls"]) for cell in measured)
    rows = control_rows(measured)
    same = [row["pairs"] for row in rows if row["varies"] == NOTHING and row["pairs"]]
    exact = sum(all(pair["relative_pd"] == 0 for pair in pairs) for pairs in same)
    notes = [
        f"{having} of {len(measured)} cells have controls: results with the same settings of which other streams "
        "differ between trials. run_all_experiments.py --controls makes them."
    ]
    if rows:
        notes += [
            "The streams that do not differ are those of the first seed. Shares need not add up to 100 %: each "
            "source alone may already bring out what all together do. NanoTransformer has no dropout.",
            "Contexts too: the second model of each pair is scored on other contexts than the first, the report's "
            "mistake. That measures how contexts differ, and is a ceiling.",
        ]
    if same:
        notes.append(
            f"Where nothing differs, PD is exactly 0 in {exact} of {counted(len(same), 'cell')}; it must be, or the "
            "machine is not deterministic."
        )
    return [Table("Controls: what causes the differences", columns, rows, tuple(notes))]


TABLES = {"controls": controls}
