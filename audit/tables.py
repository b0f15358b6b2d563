"""The audit of the report as tables, and its outcome in ten sentences. Pure functions.

``ours`` are our studies, of which the nearest is beside each part of the report; None where nothing was measured yet.
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
from analysis.table import ABSENT, Column, Row, Table, is_unknown, plain, with_interval
from audit.checks import VERDICTS, ClaimVerdict
from audit.claims import AuditedClaim, audited_claims
from audit.hypotheses import answered
from audit.numbers import (
    QUANTITIES,
    AuditedNumber,
    Judgement,
    audited_numbers,
    decimals,
    find_section,
    printed_values,
)
from audit.ours import ALIKE, Ours, where
from labels import counted, label

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
    Column("Our study", ("where",), plain, numeric=False),
)
WRITTEN_OUT = str.maketrans({"×": "x", "→": "->", "Σ": "sum ", "≥": ">=", "≠": "is not"})  # not every format has them
WORDS = Column("The report says", ("words",), lambda words: words.translate(WRITTEN_OUT), numeric=False)
CLAIM_COLUMNS = (
    SECTION,
    WORDS,
    Column("By its own numbers", ("verdict",), str, numeric=False),
    Column("Why", ("evidence",), str, numeric=False),
    Column("We measure [95 % interval]", ("ours",), str, numeric=False),
    Column("Our study", ("where",), str, numeric=False),
)
HYPOTHESIS_COLUMNS = (
    SECTION,
    Column("Hypothesis", ("words",), str, numeric=False),
    Column("Our data say [95 % intervals]", ("ours",), str, numeric=False),
    Column("Our study", ("where",), str, numeric=False),
)
LEGEND = (
    "From its other numbers: what a number repeats, averages or compares, computed again; it agrees within one unit "
    "of its last digit. At most: the mismatches that the printed accuracies allow on one set of samples. Same as: "
    "the same loss or PD, to 4 digits or more, under another activation.",
    "Ours: means over trials, PD element-wise (all classes) on contexts that all models share; an excess has the "
    "interval of the paired difference over the baseline's mean, a CV that of the CV without noise. Its mistake "
    "rebuilt: the same trials, but each model of a pair scored on different contexts, and PD by the formula that the "
    "report used there: the global one in 3.1 to 3.4 and 4.4, the element-wise one in 3.5. Single trials have none.",
)
CLAIM_NOTES = (
    "Verdicts are on the report against itself: "
    + "; ".join(f"{verdict}: {words}" for verdict, words in VERDICTS.items())
    + ". Of a claim with several parts the gravest counts.",
    "We measure: a dash where nothing of ours is a counterpart. Percentages of one activation over another are "
    "differences paired by seed, with 95 % intervals; shown: by the test of the differences table.",
)


HYPOTHESIS_NOTE = (
    "Differences are paired by seed, in percent of the second activation's mean; shown: by the test of the table of "
    "differences. What is not shown may still be there: the interval says how large."
)


def introduction(ours: Ours | None) -> list[str]:
    """Which of our results are beside the report's, and how to read the tables."""
    return [ours_in_words(ours) if ours else f"Ours: {NOT_MEASURED}.", *LEGEND]


def ours_in_words(ours: Ours) -> str:
    return (
        "Ours: beside each section the study whose steps are nearest, if steps and parameters differ by a factor of "
        f"at most {ALIKE}; where the report does not say how many steps it trained, our longest with the most "
        f"architectures{_longest(ours)}. A dash: no counterpart, as for its runs of 5000 iterations with 10.8 M "
        "parameters where no study of ours is as long and as large."
    )


def _longest(ours: Ours) -> str:
    findings = ours.beside(None)
    if findings is None:
        return ""
    parameters = [cell.n_parameters for cell in findings.measured]
    return f" ({where(findings)}, {min(parameters):,} to {max(parameters):,} parameters)"


def tables(report: dict, ours: Ours | None) -> list[Table]:
    """Our answers to the report's hypotheses, a table for each section with results, then the claims by chapter."""
    return [hypotheses_table(ours), *number_tables(report, ours), *claim_tables(report, ours)]


def number_tables(report: dict, ours: Ours | None) -> list[Table]:
    numbers = audited_numbers(report, ours)
    return [_section_table(section, numbers) for section in report["sections"]]


def _section_table(section: dict, numbers: list[AuditedNumber]) -> Table:
    rows = [each.row() for each in numbers if each.number.section == section["section"]]
    columns = tuple(column for column in COLUMNS if column is not TRIAL or any(row["trial"] for row in rows))
    return Table(f"{section['section']} {section['title']} (report: {section['trained']})", columns, rows)


def hypotheses_table(ours: Ours | None) -> Table:
    title = "The report's hypotheses, answered from our data"
    return Table(title, HYPOTHESIS_COLUMNS, [each.row() for each in answered(ours)], (HYPOTHESIS_NOTE,))


def claim_tables(report: dict, ours: Ours | None) -> list[Table]:
    """One for each chapter of the report, in its order; the first says how to read them."""
    chapters: dict[str, list[Row]] = {}
    for claim in audited_claims(report, ours):
        section = claim.section
        chapter = section[0] if section[0].isdigit() else section
        chapters.setdefault(chapter, []).append(claim.row())
    titles = [f"Claims: {f'section {each}' if each[0].isdigit() else _appendix(each)}" for each in chapters]
    notes = [CLAIM_NOTES, *[()] * (len(titles) - 1)]
    return [
        Table(*parts) for parts in zip(titles, [CLAIM_COLUMNS] * len(titles), chapters.values(), notes, strict=True)
    ]


def _appendix(chapter: str) -> str:
    return f"appendix {chapter}" if len(chapter) == 1 else chapter.lower()


# ---------------------------------------------------------------- the outcome


@dataclass(frozen=True)
class Audit:
    """What the sentences of the outcome speak of."""

    report: dict
    ours: Ours | None
    numbers: list[AuditedNumber]
    claims: list[AuditedClaim]

    @property
    def small_study(self) -> dict:
        return find_section(self.report, SMALL_STUDY)

    @property
    def longest(self) -> Findings | None:
        return self.ours.beside(None) if self.ours else None

    def cells_like(self, section: dict) -> list[MeasuredCell]:
        """Our cells of the architecture that a section of the report is about, from the study nearest to it."""
        findings = self.ours.beside(section) if self.ours else None
        return findings.models.get(section["model"], []) if findings else []


def outcome(report: dict, ours: Ours | None) -> list[tuple[str, str]]:
    """Ten topics, each with a sentence."""
    audit = Audit(report, ours, audited_numbers(report, ours), audited_claims(report, ours))
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
    n = {verdict: verdicts.count(verdict) for verdict in ClaimVerdict}
    results = len(verdicts) - n[ClaimVerdict.SETTING] - n[ClaimVerdict.PROPOSAL]
    return (
        f"Of {len(verdicts)} claims in words, {results} are results. Against the report's own numbers and words "
        f"{n[ClaimVerdict.HOLDS]} of these hold, {n[ClaimVerdict.ROUNDED]} hold but for rounding, "
        f"{n[ClaimVerdict.FAILS]} are contradicted, {n[ClaimVerdict.SAYS_NOTHING]} say nothing, and "
        f"{n[ClaimVerdict.UNCHECKABLE]} cannot be checked. {_counterparts(audit)}"
    )


def _counterparts(audit: Audit) -> str:
    return f"For {counted(sum(bool(claim.ours) for claim in audit.claims), 'claim')} we have measured a counterpart."


def trained_alike(audit: Audit) -> str:
    spans: dict[str, float] = {}
    for section in audit.report["sections"]:
        losses = [value["val_loss"] for value in printed_values(section).values() if "val_loss" in value]
        if len(losses) > 1 and "source" not in section:
            spans[section["section"]] = max(losses) - min(losses)
    widest = max(spans, key=lambda section: spans[section])
    beside = audit.ours.beside(find_section(audit.report, widest)) if audit.ours else None
    models = beside.models.values() if beside else ()
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
    found = audit.longest.sensitivities() if audit.longest else []
    verdicts = [
        f"{label(each.model)} {each.verdict} ({with_interval(1, 100)(each.cv)} %)" for each in found if each.cv.known
    ]
    study = f" ({where(audit.longest)})" if audit.longest else ""
    return f"CV of PD over activations, ours{study}: {'; '.join(verdicts) or NOT_MEASURED}."


def design(audit: Audit) -> str:
    two, three = stats.smallest_p(2, 2), stats.smallest_p(3, 3)
    ours = max((cell.n_trials for cell in audit.longest.measured), default=0) if audit.longest else 0
    here = f"; flipping the signs of our {ours} differences none below {2 / 2**ours:.2g}" if ours else ""
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
