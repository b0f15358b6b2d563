"""The audit of the report as tables, and its outcome in ten lines. Pure functions of what ``audit`` describes."""

from collections.abc import Callable

import numpy as np

from analysis import stats
from analysis.contexts import on_contexts
from analysis.measure import by_model
from analysis.omnibus import sensitivity_rows
from analysis.report_tables import MODEL
from analysis.table import ABSENT, Column, Table
from audit.claims import FAILS, HOLDS, claim_rows
from audit.numbers import QUANTITIES, decimals, find_section, number_rows, printed_values
from labels import label

SMALL_STUDY = "3.4"  # where the numbers of sections 3.1 to 3.4, 3.6, 4 and B come from
NOT_MEASURED = "not measured yet"


# ---------------------------------------------------------------- numbers as text


def _like_printed(value: float | None, printed: str) -> str:
    """With the digits, and the sign, of what was printed."""
    if value is None:
        return ABSENT
    return f"{value:{'+' if printed[0] in '+-' else ''}.{decimals(printed)}f}"


def _recomputed_text(recomputed: float | None, at_most: float | None, printed: str) -> str:
    shown = [] if recomputed is None else [_like_printed(recomputed, printed)]
    return ", ".join(shown + ([] if at_most is None else [f"at most {at_most:.0f}"])) or ABSENT


def _ours_text(value: float | None, low: float | None, high: float | None, printed: str) -> str:
    shown = _like_printed(value, printed)
    return shown if low is None else f"{shown} [{_like_printed(low, printed)}, {_like_printed(high, printed)}]"


# ---------------------------------------------------------------- the tables

TRIAL = Column("Trial", ("trial",), lambda trial: trial or ABSENT)
COLUMNS = (
    Column("Section", ("section",), str, numeric=False),
    MODEL,
    Column("Activation", ("activation",), lambda name: label(name) if name else "all", numeric=False),
    TRIAL,
    Column("Number", ("quantity",), QUANTITIES.get, numeric=False),
    Column("The report", ("printed",), str),
    Column("From its other numbers", ("recomputed", "at_most", "printed"), _recomputed_text),
    Column("Can it be?", ("verdict",), str, numeric=False),
    Column("Ours [95 % interval]", ("ours", "low_ours", "high_ours", "printed"), _ours_text),
    Column("Ours, its mistake rebuilt", ("rebuilt", "printed"), _like_printed),
)
LEGEND = (
    "From its other numbers: what a number repeats, averages or compares, computed again; it agrees within one unit "
    "of its last digit. At most: the mismatches that the printed accuracies allow on one set of samples. Same as: "
    "the same loss or PD, to 4 digits or more, under another activation.",
    "Ours: means over trials, PD element-wise (all classes) on contexts that all models share. Its mistake rebuilt: "
    "the same trials, but each model of a pair scored on different contexts, and PD by the formula that the report "
    "used there: the global one in 3.1 to 3.4 and 4.4, the element-wise one in 3.5. Single trials have none.",
)


def introduction(measured: list[dict]) -> list[str]:
    """What is set beside the report, and how to read the tables."""
    if not measured:
        return [f"Ours: {NOT_MEASURED}.", *LEGEND]
    parameters = [cell["n_parameters"] for cell in measured]
    iterations = sorted({cell["config"]["iterations"] for cell in measured})
    ours = (
        f"Ours: study {measured[0]['study']}, {' or '.join(map(str, iterations))} iterations, {min(parameters):,} to "
        f"{max(parameters):,} parameters. The titles say how the report's models were trained: where that differs, "
        "compare the kind of number, not the number."
    )
    return [ours, *LEGEND]


def tables(report: dict, measured: list[dict]) -> list[Table]:
    """A table for each section with results, then the claims in words."""
    rows = number_rows(report, measured)
    return [*(_section_table(section, rows) for section in report["sections"]), _claims_table(report)]


def _section_table(section: dict, rows: list[dict]) -> Table:
    own = [row for row in rows if row["section"] == section["section"]]
    columns = [column for column in COLUMNS if column is not TRIAL or any(row["trial"] for row in own)]
    return Table(f"{section['section']} {section['title']} (report: {section['trained']})", tuple(columns), own)


def _claims_table(report: dict) -> Table:
    columns = (
        COLUMNS[0],
        Column("Claim", ("words",), lambda words: words.replace("×", "x"), numeric=False),
        Column("Its own tables say", ("evidence",), str, numeric=False),
        Column("Verdict", ("verdict",), str, numeric=False),
    )
    notes = (
        "Each claim against the numbers printed in the report's own tables, within one unit of its last digit. "
        "Section 7 may speak of results that the report does not print.",
    )
    return Table("Claims in words", columns, claim_rows(report), notes)


# ---------------------------------------------------------------- the outcome


def outcome(report: dict, measured: list[dict]) -> list[str]:
    """Ten lines."""
    return [f"{place}. {line(report, measured)}" for place, line in enumerate(OUTCOME, 1)]


def consistency(report: dict, measured: list[dict]) -> str:
    rows = number_rows(report, [])
    follow = [row for row in rows if row["recomputed"] is not None]
    differ = [row for row in follow if row["verdict"] == "differs"]
    where = f" (in {', '.join(dict.fromkeys(row['section'] for row in differ))})" if differ else ""
    return (
        f"Arithmetic: of {len(rows)} printed numbers, {len(follow)} follow from others, and {len(differ)} of these "
        f"differ from them{where}; CVs included."
    )


def impossible(report: dict, measured: list[dict]) -> str:
    counts = [row for row in number_rows(report, []) if row["at_most"] is not None]
    found = [row for row in counts if row["verdict"] == "not possible"]
    shown = ", ".join(f"{row['printed']} ({label(row['activation'])})" for row in found)
    bound = f": {shown}, at most {max(row['at_most'] for row in found):.0f}" if found else ""
    where = ", ".join(dict.fromkeys(row["section"] for row in found))
    return (
        f"Mismatches: {len(found)} of {len(counts)} printed counts are more than the accuracies beside them allow on "
        f"one set of samples{f' (section {where})' if found else ''}{bound}."
    )


def repeated(report: dict, measured: list[dict]) -> str:
    same: dict[tuple, list[str]] = {}
    for row in number_rows(report, []):
        if row["verdict"].startswith("same as"):
            same.setdefault((row["section"], row["quantity"], row["printed"]), []).append(label(row["activation"]))
    shown = [f"{section} {QUANTITIES[name]} {text}: {', '.join(who)}" for (section, name, text), who in same.items()]
    return f"Repeats: the same loss or PD to 4 digits under different activations: {'; '.join(shown) or 'none'}."


def claims(report: dict, measured: list[dict]) -> str:
    verdicts = [row["verdict"] for row in claim_rows(report)]
    holds, fails = verdicts.count(HOLDS), verdicts.count(FAILS)
    return (
        f"Claims: of {len(verdicts)} claims in words, {holds} hold against the report's own tables, {fails} do not, "
        f"and {len(verdicts) - holds - fails} rest on numbers that say nothing."
    )


def trained_alike(report: dict, measured: list[dict]) -> str:
    spans = {}
    for section in report["sections"]:
        losses = [value["val_loss"] for value in printed_values(section).values() if "val_loss" in value]
        if len(losses) > 1 and "source" not in section:
            spans[section["section"]] = max(losses) - min(losses)
    ours = [
        np.ptp(known) for cells in by_model(measured).values() if len(known := _means(cells, "mean_val_loss")) > 1
    ]
    widest = max(spans, key=spans.get)
    return (
        f"Losses: within one table of the report they lie up to {spans[widest]:.2f} nats apart ({widest}); ours, "
        f"trained alike, {f'at most {max(ours):.2f}' if ours else NOT_MEASURED}."
    )


def mismatches_rebuilt(report: dict, measured: list[dict]) -> str:
    return "Top-1 mismatches of 1,000, CharLM: " + _beside(report, measured, "top1_mismatches", "{:.0f}")


def pd_rebuilt(report: dict, measured: list[dict]) -> str:
    return "PD, CharLM, by the report's global formula: " + _beside(report, measured, "global_pd", "{:.2f}")


def _beside(report: dict, measured: list[dict], name: str, form: str) -> str:
    """The ranges over activations of the report, ours, and ours with its mistake."""
    section = find_section(report, SMALL_STUDY)
    quantity = "relative_pd" if name == "global_pd" else name
    printed = [value[quantity] for value in printed_values(section).values()]
    cells = [on_contexts(cell) for cell in measured if cell["model"] == section["model"]]
    shared, apart = (_range(_means(cells, f"{kind}_{name}"), form) for kind in ("shared", "different"))
    return (
        f"the report {_range(printed, form)}; ours on shared contexts {shared}, with each model scored on different "
        f"contexts {apart}."
    )


def _means(cells: list[dict], name: str) -> list[float]:
    return [cell[name] for cell in cells if cell[name] is not None]


def _range(values: list[float], form: str) -> str:
    if not values:
        return NOT_MEASURED
    return f"{form.format(min(values))} to {form.format(max(values))}"


def sensitivity(report: dict, measured: list[dict]) -> str:
    rows = sensitivity_rows(measured)
    verdicts = [
        f"{label(row['model'])} {row['verdict']} ({row['cv']:.1f} %, from noise alone {row['cv_from_noise']:.1f} %)"
        for row in rows
        if row["cv_from_noise"] is not None
    ]
    return f"Sensitivity to the activation, CV of PD, ours: {'; '.join(verdicts) or NOT_MEASURED}."


def losses_agree(report: dict, measured: list[dict]) -> str:
    section = find_section(report, SMALL_STUDY)
    printed = {name: value["val_loss"] for name, value in printed_values(section).items()}
    ours = {cell["activation"]: cell["mean_val_loss"] for cell in measured if cell["model"] == section["model"]}
    apart = [abs(ours[name] - loss) for name, loss in printed.items() if ours.get(name) is not None]
    shown = f"ours differ from it by at most {max(apart):.3f} nats" if apart else f"ours are {NOT_MEASURED}"
    losses = _range(list(printed.values()), "{:.3f}")
    return f"What was measured well: CharLM's val loss by activation, {losses}; {shown}."


def design(report: dict, measured: list[dict]) -> str:
    two, three = stats.smallest_p(2, 2), stats.smallest_p(3, 3)
    ours = max((cell["n_trials"] for cell in measured), default=0)
    here = f", our {ours} v {ours} none below {stats.smallest_p(ours, ours):.2g}" if ours else ""
    return (
        f"Design: permuting 2 v 2 trials gives no p below {two:.2f}, 3 v 3 none below {three:.2f}{here}; the report "
        "has no intervals either, so that nothing shows its rankings to be more than noise."
    )


OUTCOME: tuple[Callable[[dict, list[dict]], str], ...] = (
    *(consistency, impossible, repeated, trained_alike, claims),
    *(mismatches_rebuilt, pd_rebuilt, losses_agree, sensitivity, design),
)
