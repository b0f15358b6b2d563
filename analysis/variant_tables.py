"""The tables of variants and of sizes: which part moves what, and whether size does.

Pure functions of ``Findings``, which has computed what they show.
"""

import math

from analysis.answer import falling_short
from analysis.finding_tables import CV_WITHOUT_NOISE, N_SHARED, N_TESTS, P_HOLM, VERDICT, shown_text
from analysis.findings import Findings
from analysis.measure import MeasuredCell
from analysis.report_tables import ACTIVATION, MODEL
from analysis.sizes import REPORTED, REPORTED_SLOPE, SizeTrend
from analysis.stats import Estimate
from analysis.table import (
    ABSENT,
    Column,
    Row,
    Table,
    mean_of,
    number,
    plain,
    significant,
    trial_count,
    with_interval,
)
from analysis.variants import is_cv, metric_of, quantity_label
from config import PARENTS, base_name, size_in
from labels import in_prose, label, listed
from metrics import METRICS, primary

PARENT = Column("Parent", ("parent",), label, numeric=False)
CV_OF_PD = Column("CV of PD (%)", ("cv",), mean_of("{:.2f}", 100))
VERDICT_BY_MISMATCHES = Column("Verdict by mismatches", ("by_mismatches",), plain, numeric=False)
SHORT = "; not trained as far as intended"  # registered to stand beside the verdict
BOTH_AS_REGISTERED = "The rule, its interval and its family are those of --tables sensitivity."
RATES_OF_SIZES = (
    "Where sizes have different learning rates, what changes is the effect of both: PD tends to rise with the rate. "
    "Between sizes of one rate it is not the rate that differs, but loss does, and how well the rate suits them."
)

LEARNING_RATE = Column("Learning rate", ("learning_rate",), plain)
QUANTITY = Column("What", ("quantity",), quantity_label, numeric=False)


def parts(findings: Findings) -> list[Table]:
    """Each variant against its parent: verdicts, what is tested, what is not, each activation by itself, and at one
    learning rate where they have two. None of a study without variants."""
    if not findings.models.keys() & PARENTS.keys():
        return []
    tables = [_part_verdicts(findings), *_part_effects(findings)]
    at_one_rate = [each.row() | {"learning_rate": each.rates[0]} for each in findings.part_effects_at_one_rate]
    if at_one_rate:
        note = "One of the two was trained at the other's learning rate too, in another study. Nothing is tested."
        columns = (*EFFECT, LEARNING_RATE, N_SHARED)
        tables.append(Table("Variant and parent at one learning rate", columns, at_one_rate, (note,)))
    return tables


def _part_verdicts(findings: Findings) -> Table:
    related = {*PARENTS, *PARENTS.values()}
    columns = (
        MODEL,
        PARENT,
        Column("Verdict by PD", ("verdict",), plain, numeric=False),
        CV_OF_PD,
        CV_WITHOUT_NOISE,
        P_HOLM,
        N_TESTS,
        VERDICT_BY_MISMATCHES,
        LEARNING_RATE,
        Column("Val loss, mean over activations (nats/char)", ("val_loss",), number("{:.4f}")),
        Column("Parameters", ("n_parameters",), number("{:,.0f}")),
        N_SHARED,
    )
    rows = [
        row | {"parent": PARENTS.get(row["model"], "")} for row in verdict_rows(findings) if row["model"] in related
    ]
    notes = (
        BOTH_AS_REGISTERED,
        "Two verdicts that differ are no difference that is shown: whether a variant's CV differs from its parent's "
        "is tested in the next table. Intervals are of one architecture each and not adjusted, so that one may leave "
        "out 0 where p is above 0.05.",
    )
    return Table("Variants: does PD depend on the activation?", columns, rows, notes)


def _parent_text(quantity: str, value: float) -> str:
    return f"{100 * value:.2f} %" if is_cv(quantity) else f"{value:#.4g}"


def _difference_text(quantity: str, difference: Estimate) -> str:
    return f"{with_interval(2, 100)(difference)} points" if is_cv(quantity) else significant(difference)


def _percent_text(quantity: str, percent: Estimate) -> str:
    return ABSENT if is_cv(quantity) else mean_of("{:+.1f}")(percent)


EFFECT = (
    MODEL,
    QUANTITY,
    Column("Parent's", ("quantity", "of_parent"), _parent_text),
    Column("Difference [95 % interval]", ("quantity", "difference"), _difference_text),
    Column("in % of the parent's", ("quantity", "percent"), _percent_text),
)


def _part_effects(findings: Findings) -> list[Table]:
    tested = [each.row() for each in findings.part_effects if metric_of(each.quantity) in primary()]
    described = [each.row() for each in findings.part_effects if metric_of(each.quantity) not in primary()]
    by_activation = [each.row() | {"activation": name} for name, each in findings.part_effects_by_activation]
    shown = Column(
        "Shown", ("shown",), lambda shown: "not tested" if shown is None else shown_text(shown), numeric=False
    )
    counts = (Column("Activations", ("n_activations",), plain), N_SHARED)
    names = listed(in_prose(METRICS[name].label) for name in primary())
    notes = (
        "The variant's value minus its parent's, over the activations and the seeds that both have: of a metric its "
        "mean over activations, and of its CV the one observed, which contains the noise of the trials, so that a "
        "variant whose seeds vary more has a higher one. The parent's value is taken as known in percent.",
        f"p, Holm: jackknife-t over seeds, of {names}, adjusted over all variants by both metrics, means and CVs "
        "each a family. Intervals are of one comparison each, and not adjusted. Shown is said of the mean over these "
        "activations, over seeds: text, contexts, activations and learning rates are fixed.",
        "A variant has its parent's size, and so another width or hidden layer where the part took room. Where it "
        "has another learning rate, the difference is that of both.",
    )
    return [
        Table("Variants against their parents", (*EFFECT, P_HOLM, N_TESTS, shown, *counts), tested, notes),
        Table("... by what is not tested", (*EFFECT, *counts), described),
        Table(
            "... by relative PD with each activation, not tested",
            (EFFECT[0], ACTIVATION, *EFFECT[2:], N_SHARED),
            by_activation,
        ),
    ]


def verdict_rows(findings: Findings) -> list[Row]:
    """Of each architecture its verdicts by both primary metrics, mean loss and size."""
    by_mismatches = {each.model: each.verdict for each in findings.sensitivities("top1_mismatches")}
    return [
        each.row()
        | {
            "verdict": f"{each.verdict}{SHORT if falling_short(findings.models[each.model]) else ''}",
            "by_mismatches": by_mismatches[each.model],
            "val_loss": _mean([cell.mean("val_loss") for cell in findings.models[each.model]]),
            "n_parameters": _mean([cell.n_parameters for cell in findings.models[each.model]]),
            "learning_rate": _rates(findings.models[each.model]),
        }
        for each in findings.sensitivities()
    ]


def _rates(cells: list[MeasuredCell]) -> str:
    """The learning rate of the cells, or that they have several."""
    rates = sorted({cell.config["learning_rate"] for cell in cells if "learning_rate" in cell.config})
    return "" if not rates else f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def sizes(findings: Findings) -> list[Table]:
    """Each size and, once an architecture has all that were asked for, how PD and its CV go with them. None of a
    study without sizes."""
    bases = {base_name(model) for model in findings.models if size_in(model)}
    if not bases:
        return []
    columns = (
        MODEL,
        Column("Parameters", ("n_parameters",), number("{:,.0f}")),
        LEARNING_RATE,
        Column("Val loss (nats/char)", ("val_loss",), number("{:.4f}")),
        Column("Relative PD, mean over activations", ("pd",), number("{:.4f}")),
        CV_OF_PD,
        CV_WITHOUT_NOISE,
        P_HOLM,
        N_TESTS,
        VERDICT,
        VERDICT_BY_MISMATCHES,
        N_SHARED,
    )
    rows = [
        row | {"pd": _mean_pd(findings.models[row["model"]])}
        for row in verdict_rows(findings)
        if base_name(row["model"]) in bases
    ]
    notes = [BOTH_AS_REGISTERED]
    if len({row["learning_rate"] for row in rows}) > 1:
        notes.append(RATES_OF_SIZES)
    trends = [trend_table(findings.size_trends)] if findings.size_trends else []
    return [Table("Sizes: does PD depend on the activation?", columns, rows, tuple(notes)), *trends]


def _mean_pd(cells: list[MeasuredCell]) -> float:
    return _mean([cell.mean("relative_pd") for cell in cells])


def trend_table(trends: list[SizeTrend]) -> Table:
    columns = (
        Column("Architecture", ("base",), label, numeric=False),
        QUANTITY,
        Column("At", ("when",), plain, numeric=False),
        Column("Loss there (nats/char)", ("level",), number("{:.4f}")),
        Column("Change for a tenfold size [95 % interval]", ("slope",), significant),
        P_HOLM,
        N_TESTS,
        Column("A trend of the report's size", ("reported",), plain, numeric=False),
        Column("N to show one", ("needed",), plain),
        Column("Sizes", ("n_sizes",), plain),
        Column("Activations", ("n_activations",), plain),
        Column("N shared seeds", ("n_seeds", "n_diverged", "planned_trials"), trial_count),
    )
    (small, cv_small), (large, cv_large) = REPORTED.items()
    notes = (
        "The slope of a straight line over log10 of the number of parameters, through the sizes, all weighted alike: "
        "of a metric's mean over activations, and of its CV as observed (a fraction), which contains the noise of "
        "the trials. Jackknife over the seeds that all sizes share; each interval is of its line alone.",
        "p, Holm: of PD and its CV at the end, adjusted over both and the architectures; all else is description.",
        f"The report's: from {100 * cv_small:.2f} % at {small:,} parameters (CharLM) to {100 * cv_large:.2f} % at "
        f"{large:,} (MiniGPT), {100 * REPORTED_SLOPE:.1f} percentage points for a tenfold size. Shown: a positive "
        "trend is shown, and the interval includes the report's. Ruled out: the interval ends below it. N: seeds of "
        "each cell with which these sizes would show that slope, in the first step of Holm's method, with a power of "
        "80 %, if seeds vary as here.",
        "At equal loss: the highest at which any pair of trials of any of the sizes ended. Larger models come to it "
        "after fewer steps, so equal loss is not equal training.",
    )
    return Table("How PD goes with size", columns, [each.row() for each in trends], notes)


TABLES = {"parts": parts, "sizes": sizes}
