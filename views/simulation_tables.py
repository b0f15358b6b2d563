"""What ``benchmarks.coverage`` found, as tables: goals kept and missed, power, and verdicts.

Pure functions of its record: ``repetitions``, ``goals``, ``planned`` and ``rows``, of which each has ``what`` was
counted, ``scenario``, ``n`` trials, ``shares`` by true CV, and the true CVs at which its goal is ``missed``.
"""

from collections.abc import Iterable

from analysis.stats import FEWEST_JUDGED
from analysis.table import ABSENT, Column, Table, number, plain

MADE_UP = ("one wide", "skewed", "outlier", "wide predictions")  # scenarios worse than what was measured
POWER_AT = ("0.03", "0.1")
NO_EFFECT = "0"


def _asked(row: dict) -> list[float]:
    """The shares of a row that have a goal."""
    if row["what"].startswith("coverage"):
        return list(row["shares"].values())
    return [row["shares"][NO_EFFECT]] if row["what"].startswith("rejections") else []


def _goal(record: dict, what: str) -> tuple[float, float]:
    """The least and the most that is asked for."""
    least, most = record["goals"][what]
    return least, most


def _span(values: Iterable[float]) -> str:
    known = sorted(100 * value for value in values)
    return f"{known[0]:.1f} to {known[-1]:.1f}" if known else ABSENT


def goals(record: dict) -> Table:
    """For each interval its coverage, for each test its false positives: the range over scenarios, by N."""
    rows_of = {what: [row for row in record["rows"] if row["what"] == what] for what in _whats(record)}
    trials = sorted({row["n"] for row in record["rows"]})
    lines = []
    for what, rows in rows_of.items():
        for kind, chosen in (("as measured", False), ("worse", True)):
            own = [row for row in rows if (row["scenario"] in MADE_UP) is chosen and _asked(row)]
            if not own:
                continue
            spans = {f"n{n}": _span(share for row in own if row["n"] == n for share in _asked(row)) for n in trials}
            missed, asked = sum(len(row["missed"]) for row in own), sum(len(_asked(row)) for row in own)
            (least, most), text = _goal(record, "coverage"), f"{missed} of {asked}"
            goal = f"{100 * least:.0f} to {100 * most:.0f}"
            if not what.startswith("coverage"):
                _, level = _goal(record, "false positives")
                within = sum(share > level for row in own for share in _asked(row)) - missed
                goal, text = f"at most {100 * level:.0f}", f"{text}, and nearly in {within}" if within else text
            lines.append({"what": what, "kind": kind, "goal": goal, "missed": text, **spans})
    columns = (
        Column("In % of simulated studies", ("what",), plain, numeric=False),
        Column("Trials", ("kind",), plain, numeric=False),
        Column("Goal", ("goal",), plain, numeric=False),
        *(Column(f"N = {n}", (f"n{n}",), plain, numeric=False) for n in trials),
        Column("Goal missed", ("missed",), plain, numeric=False),
    )
    notes = (
        f"From {record['repetitions']:,} simulated studies of six activations for every number. As measured: trials "
        "equal, unequal like each architecture's of the reference study, or simulated predictions of unequal trials; "
        "worse: one activation far wider, exponentially skewed trials, outliers, or predictions of which one "
        "activation's are far more skewed. The range is over these and over true CVs of 0, 3, 10 and 20 % (false "
        "positives: at 0). Missed: by more than two standard errors; nearly: by less. Covering more often than the "
        "goal counts as missed too, but for the CV where there is none.",
    )
    return Table("Coverage and level", columns, lines, notes)


def _whats(record: dict) -> list[str]:
    return list(dict.fromkeys(row["what"] for row in record["rows"]))


def missed(record: dict) -> Table:
    """Every goal that is missed, with what there is instead."""
    lines = [
        {"what": row["what"], "scenario": row["scenario"], "n": row["n"], "cv": float(cv), "share": row["shares"][cv]}
        for row in record["rows"]
        for cv in row["missed"]
    ]
    columns = (
        Column("Missed", ("what",), plain, numeric=False),
        Column("Scenario", ("scenario",), plain, numeric=False),
        Column("N", ("n",), plain),
        Column("True CV (%)", ("cv",), number("{:.0f}", 100)),
        Column("Simulated (%)", ("share",), number("{:.1f}", 100)),
    )
    return Table("Goals that are missed", columns, lines)


def too_often(record: dict) -> str:
    """How often the CV's interval covers where that is more than its goal, trials being as measured: a range in %."""
    rows = [row for row in record["rows"] if row["what"] == "coverage: CV without noise"]
    shares = (row["shares"][cv] for row in rows if row["scenario"] not in MADE_UP for cv in row["missed"])
    _, most = _goal(record, "coverage")
    return _span(share for share in shares if share > most)


def power(record: dict) -> Table:
    """How often each test finds an effect, over the scenarios as measured."""
    lines = [
        {"what": what.removeprefix("rejections: "), "cv": float(cv), **_as_measured(record, what, cv)}
        for what in _whats(record)
        if what.startswith("rejections")
        for cv in POWER_AT
    ]
    note = (
        "In percent, from the lowest to the highest of the scenarios. Two cells: the first activation and the last, "
        "which in some scenarios are nearly equal however large the CV, so that the lowest power is the test's level."
    )
    return Table("Power", (Column("Test", ("what",), plain, numeric=False), _CV, *_by_n(record)), lines, (note,))


def verdicts(record: dict) -> Table:
    """How often the rule gives which verdict, over the scenarios as measured."""
    lines = [
        {"what": what.removeprefix("verdict: "), "cv": float(cv), **_as_measured(record, what, cv)}
        for what in _whats(record)
        if what.startswith("verdict")
        for cv in record["rows"][0]["shares"]
    ]
    note = f"With the p of one test, not adjusted. No verdict is given below {FEWEST_JUDGED} trials."
    columns = (Column("Verdict", ("what",), plain, numeric=False), _CV, *_by_n(record))
    return Table("Verdicts", columns, lines, (note,))


def _as_measured(record: dict, what: str, cv: str) -> dict[str, str]:
    """The range of shares over the scenarios that are no worse than what was measured, by the number of trials."""
    shares: dict[str, list[float]] = {}
    for row in record["rows"]:
        if row["what"] == what and row["scenario"] not in MADE_UP:
            shares.setdefault(f"n{row['n']}", []).append(row["shares"][cv])
    return {n: _span(values) for n, values in shares.items()}


_CV = Column("True CV (%)", ("cv",), number("{:.0f}", 100))


def _by_n(record: dict) -> tuple[Column, ...]:
    trials = sorted({row["n"] for row in record["rows"]})
    return tuple(Column(f"N = {n}", (f"n{n}",), plain, numeric=False) for n in trials)
