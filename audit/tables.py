"""The audit of the report as tables, and its outcome in ten sentences. Pure functions.

``findings`` are those of our study that is put beside the report, or None where nothing has been measured yet.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from analysis import stats
from analysis.contexts import on_contexts
from analysis.findings import Findings
from analysis.measure import MeasuredCell
from analysis.report_tables import MODEL
from analysis.stats import Estimate
from analysis.table import ABSENT, Column, Table, is_unknown, plain
from audit.claims import AuditedClaim, ClaimVerdict, audited_claims
from audit.numbers import (
    QUANTITIES,
    AuditedNumber,
    Judgement,
    audited_numbers,
    decimals,
    find_section,
    printed_values,
)
from labels import label

SMALL_STUDY = "3.4"  # where the numbers of sections 3.1 to 3.4, 3.6, 4 and B come from
NOT_MEASURED = "not measured yet"


# ---------------------------------------------------------------- numbers as text


def _like_printed(value: float | None, printed: str) -> str:
    """With the digits, and the sign, of what was printed."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:{'+' if printed[0] in '+-' else ''}.{decimals(printed)}f}"


def _recomputed_text(recomputed: float | None, at_most: int | None, printed: str) -> str:
    shown = [] if is_unknown(recomputed) else [_like_printed(recomputed, printed)]
    return ", ".join(shown + ([] if at_most is None else [f"at most {at_most}"])) or ABSENT


def _judgement_text(judgement: Judgement | None, same_as: str | None) -> str:
    return f"{judgement} {same_as}" if judgement is Judgement.REPEATED else plain(judgement)


def _ours_text(ours: Estimate, printed: str) -> str:
    shown = _like_printed(ours.mean, printed)
    if not ours.has_interval:
        return shown
    return f"{shown} [{_like_printed(ours.low, printed)}, {_like_printed(ours.high, printed)}]"


# ---------------------------------------------------------------- the tables

SECTION = Column("Section", ("section",), str, numeric=False)
TRIAL = Column("Trial", ("trial",), plain)
COLUMNS = (
    SECTION,
    MODEL,
    Column("Activation", ("activation",), lambda name: label(name) if name else "all", numeric=False),
    TRIAL,
    Column("Number", ("quantity",), lambda name: QUANTITIES[name].label, numeric=False),
    Column("The report", ("printed",), str),
    Column("From its other numbers", ("recomputed", "at_most", "printed"), _recomputed_text),
    Column("Can it be?", ("judgement", "same_as"), _judgement_text, numeric=False),
    Column("Ours [95 % interval]", ("ours", "printed"), _ours_text),
    Column("Ours, its mistake rebuilt", ("rebuilt", "printed"), _like_printed),
)
CLAIM_COLUMNS = (
    SECTION,
    Column("Claim", ("words",), lambda words: words.replace("×", "x"), numeric=False),
    Column("Its own tables say", ("evidence",), str, numeric=False),
    Column("Verdict", ("verdict",), str, numeric=False),
)
LEGEND = (
    "From its other numbers: what a number repeats, averages or compares, computed again; it agrees within one unit "
    "of its last digit. At most: the mismatches that the printed accuracies allow on one set of samples. Same as: "
    "the same loss or PD, to 4 digits or more, under another activation.",
    "Ours: means over trials, PD element-wise (all classes) on contexts that all models share. Its mistake rebuilt: "
    "the same trials, but each model of a pair scored on different contexts, and PD by the formula that the report "
    "used there: the global one in 3.1 to 3.4 and 4.4, the element-wise one in 3.5. Single trials have none.",
)


def introduction(findings: Findings | None) -> list[str]:
    """Which of our results are beside the report's, and how to read the tables."""
    if findings is None:
        return [f"Ours: {NOT_MEASURED}.", *LEGEND]
    parameters = [cell.n_parameters for cell in findings.measured]
    iterations = sorted({cell.config["iterations"] for cell in findings.measured})
    ours = (
        f"Ours: study {findings.study}, {' or '.join(map(str, iterations))} iterations, {min(parameters):,} to "
        f"{max(parameters):,} parameters. The titles say how the report's models were trained: where that differs, "
        "compare the kind of number, not the number."
    )
    return [ours, *LEGEND]


def tables(report: dict, findings: Findings | None) -> list[Table]:
    """A table for each section with results, then the claims in words."""
    numbers = audited_numbers(report, findings)
    return [*(_section_table(section, numbers) for section in report["sections"]), _claims_table(report)]


def _section_table(section: dict, numbers: list[AuditedNumber]) -> Table:
    rows = [each.row() for each in numbers if each.number.section == section["section"]]
    columns = tuple(column for column in COLUMNS if column is not TRIAL or any(row["trial"] for row in rows))
    return Table(f"{section['section']} {section['title']} (report: {section['trained']})", columns, rows)


def _claims_table(report: dict) -> Table:
    notes = (
        "Each claim against the numbers printed in the report's own tables, within one unit of its last digit. "
        "Section 7 may speak of results that the report does not print.",
    )
    return Table("Claims in words", CLAIM_COLUMNS, [claim.row() for claim in audited_claims(report)], notes)


# ---------------------------------------------------------------- the outcome


@dataclass(frozen=True)
class Audit:
    """What the sentences of the outcome speak of."""

    report: dict
    findings: Findings | None
    numbers: list[AuditedNumber]
    claims: list[AuditedClaim]

    @property
    def small_study(self) -> dict:
        return find_section(self.report, SMALL_STUDY)

    def cells_like(self, section: dict) -> list[MeasuredCell]:
        """Our cells of the architecture that a section of the report is about."""
        return self.findings.models.get(section["model"], []) if self.findings else []


def outcome(report: dict, findings: Findings | None) -> list[tuple[str, str]]:
    """Ten topics, each with a sentence."""
    audit = Audit(report, findings, audited_numbers(report, findings), audited_claims(report))
    return [(topic, sentence(audit)) for topic, sentence in OUTCOME.items()]


def consistency(audit: Audit) -> str:
    follow = [each for each in audit.numbers if each.follows]
    differ = [each for each in follow if each.judgement is Judgement.DIFFERS]
    return (
        f"Of {len(audit.numbers)} printed numbers, {len(follow)} follow from others, and {len(differ)} of these "
        f"differ from them{_in_sections(differ, ' (in {})')}; CVs included."
    )


def impossible(audit: Audit) -> str:
    counts = [each for each in audit.numbers if each.at_most is not None]
    found = [each for each in counts if each.judgement is Judgement.IMPOSSIBLE]
    shown = ", ".join(f"{each.number.printed} ({label(each.number.activation or '')})" for each in found)
    bound = f": {shown}, at most {max(each.at_most or 0 for each in found)}" if found else ""
    return (
        f"{len(found)} of {len(counts)} printed counts are more than the accuracies beside them allow on one set of "
        f"samples{_in_sections(found, ' (section {})')}{bound}."
    )


def _in_sections(numbers: Iterable[AuditedNumber], form: str) -> str:
    sections = list(dict.fromkeys(each.number.section for each in numbers))
    return form.format(", ".join(sections)) if sections else ""


def repeated(audit: Audit) -> str:
    same: dict[tuple[str, str, str], list[str]] = {}
    for each in audit.numbers:
        if each.judgement is Judgement.REPEATED:
            place = each.number.section, QUANTITIES[each.number.quantity].label, each.number.printed
            same.setdefault(place, []).append(label(each.number.activation or ""))
    shown = [f"{' '.join(place)}: {', '.join(names)}" for place, names in same.items()]
    return f"The same loss or PD to 4 digits under different activations: {'; '.join(shown) or 'none'}."


def claims(audit: Audit) -> str:
    verdicts = [claim.result.verdict for claim in audit.claims]
    return (
        f"Of {len(verdicts)} claims in words, {verdicts.count(ClaimVerdict.HOLDS)} hold against the report's own "
        f"tables, {verdicts.count(ClaimVerdict.FAILS)} do not, and {verdicts.count(ClaimVerdict.SAYS_NOTHING)} rest "
        "on numbers that say nothing."
    )


def trained_alike(audit: Audit) -> str:
    spans: dict[str, float] = {}
    for section in audit.report["sections"]:
        losses = [value["val_loss"] for value in printed_values(section).values() if "val_loss" in value]
        if len(losses) > 1 and "source" not in section:
            spans[section["section"]] = max(losses) - min(losses)
    widest = max(spans, key=lambda section: spans[section])
    models = audit.findings.models.values() if audit.findings else ()
    known = [[cell.mean("val_loss") for cell in cells if cell.estimate("val_loss").known] for cells in models]
    ours = [np.ptp(losses) for losses in known if len(losses) > 1]
    return (
        f"Within one table of the report they lie up to {spans[widest]:.2f} nats apart ({widest}); ours, trained "
        f"alike, {f'at most {max(ours):.2f}' if ours else NOT_MEASURED}."
    )


def mismatches_rebuilt(audit: Audit) -> str:
    counts = [1000 * value["top1_mismatches"] for value in printed_values(audit.small_study).values()]
    return _beside(audit, "top1_mismatches", counts, "{:.0f}")


def pd_rebuilt(audit: Audit) -> str:
    distances = [value["relative_pd"] for value in printed_values(audit.small_study).values()]
    return _beside(audit, "global_pd", distances, "{:.2f}")


def _beside(audit: Audit, name: str, printed: list[float], form: str) -> str:
    """The ranges over activations of the report, ours, and ours with its mistake."""
    cells = [on_contexts(cell) for cell in audit.cells_like(audit.small_study)]
    shared, apart = (
        _range([value for cell in cells if (value := cell[f"{kind}_{name}"]) is not None], form)
        for kind in ("shared", "different")
    )
    return (
        f"The report {_range(printed, form)}; ours on shared contexts {shared}, with each model scored on different "
        f"contexts {apart}."
    )


def _range(values: list[float], form: str) -> str:
    if not values:
        return NOT_MEASURED
    return f"{form.format(min(values))} to {form.format(max(values))}"


def losses_agree(audit: Audit) -> str:
    printed = {name: value["val_loss"] for name, value in printed_values(audit.small_study).items()}
    ours = {cell.activation: cell.estimate("val_loss") for cell in audit.cells_like(audit.small_study)}
    apart = [abs(ours[name].mean - loss) for name, loss in printed.items() if name in ours and ours[name].known]
    shown = f"ours differ from it by at most {max(apart):.3f} nats" if apart else f"ours are {NOT_MEASURED}"
    return f"CharLM's val loss by activation, {_range(list(printed.values()), '{:.3f}')}; {shown}."


def sensitivity(audit: Audit) -> str:
    found = audit.findings.sensitivities() if audit.findings else []
    verdicts = [
        f"{label(each.model)} {each.verdict} ({100 * each.cv.mean:.1f} %, from noise alone "
        f"{100 * each.from_noise:.1f} %)"
        for each in found
        if not math.isnan(each.from_noise)
    ]
    return f"CV of PD over activations, ours: {'; '.join(verdicts) or NOT_MEASURED}."


def design(audit: Audit) -> str:
    two, three = stats.smallest_p(2, 2), stats.smallest_p(3, 3)
    ours = max((cell.n_trials for cell in audit.findings.measured), default=0) if audit.findings else 0
    here = f", our {ours} v {ours} none below {stats.smallest_p(ours, ours):.2g}" if ours else ""
    return (
        f"Permuting 2 v 2 trials gives no p below {two:.2f}, 3 v 3 none below {three:.2f}{here}; the report has no "
        "intervals either, so that nothing shows its rankings to be more than noise."
    )


OUTCOME: dict[str, Callable[[Audit], str]] = {
    "Arithmetic": consistency,
    "Mismatches": impossible,
    "Repeats": repeated,
    "Losses": trained_alike,
    "Claims": claims,
    "Top-1 mismatches of 1,000, CharLM": mismatches_rebuilt,
    "PD, CharLM, by the report's global formula": pd_rebuilt,
    "What was measured well": losses_agree,
    "Sensitivity to the activation": sensitivity,
    "Design": design,
}
