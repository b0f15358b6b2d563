"""The tables that say what the tests find: differences, sensitivity, the planner, ranks.

Pure functions of ``Findings``, which has computed what they show.
"""

from collections import Counter

from analysis.differences import Difference
from analysis.equal_loss import When
from analysis.findings import Findings
from analysis.loss_alone import caveat
from analysis.measure import MeasuredCell, trial_counts
from analysis.metrics_compared import metric_label
from analysis.omnibus import PLANNED_DIFFERENCES, RULES, Sensitivity
from analysis.ranks import recurring
from analysis.report_tables import (
    ACTIVATION,
    MODEL,
    READ_BESIDE_LOSS,
)
from analysis.stats import FEWEST_JUDGED, FEWEST_PLANNED
from analysis.stats_many import ALPHA
from analysis.table import (
    Column,
    Row,
    Table,
    interval,
    mean_of,
    number,
    p_text,
    plain,
    trial_count,
    with_interval,
)
from labels import label, listed
from metrics import METRICS, primary

OTHER_ACTIVATION = Column("minus", ("other_activation",), label, numeric=False)
N_SHARED = Column("N shared seeds", ("n_seeds", "n_diverged", "planned_trials"), trial_count)
N_COMPARED = Column("Activations", ("n_activations", "n_cells"), "{} of {}".format)
METRIC = Column("Metric", ("metric",), metric_label, numeric=False)
AT = Column("At", ("when",), plain, numeric=False)
VERDICT = Column("Verdict", ("verdict",), plain, numeric=False)
CV_WITHOUT_NOISE = Column("CV without noise (%), 95 % interval", ("cv",), interval(2, 100))
P = Column("p", ("p",), p_text)
P_HOLM = Column("p, Holm", ("p_holm",), p_text)
N_TESTS = Column("over tests", ("n_tests",), plain)

FAMILY = (
    "p, Holm: adjusted over the family, which is every architecture of the study by every primary metric "
    f"({listed(METRICS[name].label for name in primary())}); for another metric, the architectures by it alone. How "
    "many tests that makes stands beside it."
)
WITHIN = (
    "p: sign flips of whole seeds, step-down (Westfall and Young), which adjusts for all comparisons of one "
    "architecture by this metric, over the seeds that its activations share; from "
    f"{FEWEST_JUDGED} trials on. A difference is shown where it is at most {ALPHA:g}. Nothing is adjusted across "
    "architectures or metrics."
)
FIXED = (
    "The margin is the least CV that the report calls sensitive. Margin, test and interval were fixed before the "
    "study of trained models, but after the older studies had been read: of those the verdicts are a description, "
    "not a confirmation."
)
SNAPSHOT = "Of one moment of training: --tables course has the others."


# ---------------------------------------------------------------- two activations


def shown_text(shown: bool | None) -> str:
    if shown is None:
        return "too few trials"
    return "yes" if shown else "no"


def difference_columns(header: str, digits: int = 4, second_opinion: tuple[Column, ...] = ()) -> tuple[Column, ...]:
    return (
        MODEL,
        ACTIVATION,
        OTHER_ACTIVATION,
        Column(f"{header} [95 % interval]", ("difference",), with_interval(digits)),
        Column("of the second's (%)", ("relative_difference",), number("{:+.2f}", 100)),
        Column("p, adjusted", ("p_adjusted",), p_text),
        Column("over comparisons", ("n_tests",), plain),
        *second_opinion,
        Column("Shown", ("shown",), shown_text, numeric=False),
        N_SHARED,
    )


SECOND_OPINION = (
    Column("p, labels permuted", ("p_permutation", "error_p_permutation"), p_text),
    Column("Smallest p of permuting", ("smallest_p",), p_text),
)
PD_DIFFERENCES = difference_columns("Difference of relative PD", second_opinion=SECOND_OPINION)


def pd_difference_rows(findings: Findings, when: When) -> list[Row]:
    """The differences of PD, each with its second opinion."""
    rows = []
    compared = zip(findings.differences("relative_pd", when), findings.second_opinions(when), strict=True)
    for difference, permuted in compared:
        second = {}
        if permuted is not None:
            second = {
                "p_permutation": permuted.p,
                "error_p_permutation": permuted.standard_error,
                "smallest_p": permuted.smallest_p,
            }
        rows.append(difference.row() | second)
    return rows


def differences(findings: Findings) -> list[Table]:
    of_pd = pd_difference_rows(findings, When.END)
    sizes = " or ".join(map(str, sorted(set(Counter(row["model"] for row in of_pd).values()))))
    within = f"{WITHIN} Comparisons: {sizes or 'none'}."
    pd_notes = (
        "Mean relative PD (all classes) of the first activation minus that of the second; below 0 the first is more "
        "reproducible. The interval is of this comparison alone: the jackknife's over the seeds that both completed, "
        "paired.",
        within,
        "Permuting trial labels, unpaired, is a second opinion on other assumptions: that cells do not share what a "
        "seed does, and vary equally. Every labeling is tried, or as many as give p the Monte Carlo error beside it; "
        "it cannot be below the smallest that so few trials allow.",
        READ_BESIDE_LOSS,
    )
    loss_notes = (
        "Mean validation loss of the first activation minus that of the second; below 0 the first is better. Over "
        "the seeds that both completed; the interval is Student's t, paired.",
        within,
    )
    loss_columns = difference_columns("Difference of val loss (nats/char)")
    loss_rows = [difference.row() for difference in findings.loss_differences]
    return [
        Table("Differences between activations", PD_DIFFERENCES, of_pd, pd_notes),
        Table("Differences of loss between activations", loss_columns, loss_rows, loss_notes),
    ]


def metric_differences(findings: Findings) -> list[Table]:
    """The differences between activations by each judged metric but PD; also at equal loss, where every cell has the
    metric over training."""
    return [
        _difference_table(findings.differences(metric, when), metric, when, caveat(findings.loss_alone))
        for when in When
        for metric in findings.metrics(when)
        if metric != "relative_pd"
    ]


def _difference_table(found: list[Difference], metric: str, when: When, about_equal_loss: str) -> Table:
    name = METRICS[metric].label.lower()
    columns = difference_columns(f"Difference of {name}", METRICS[metric].digits)
    note = "Mean over pairs of the first activation minus that of the second, as --tables differences has it of PD."
    notes = (note, WITHIN, *([f"At equal loss, {about_equal_loss}."] if when is When.EQUAL_LOSS else []))
    rows = [difference.row() for difference in found]
    return Table(f"Differences of {name} at {when}", columns, rows, notes)


# ---------------------------------------------------------------- all activations of an architecture


def sensitivity_table(title: str, found: list[Sensitivity], notes: tuple[str, ...] = ()) -> Table:
    """Of one metric; the title says which."""
    columns = (
        MODEL,
        N_COMPARED,
        Column("CV (%)", ("cv",), mean_of("{:.2f}", 100)),
        CV_WITHOUT_NOISE,
        Column("CV from noise alone (%)", ("cv_from_noise",), number("{:.2f}", 100)),
        P,
        P_HOLM,
        N_TESTS,
        VERDICT,
        N_SHARED,
    )
    return Table(title, columns, [each.row() for each in found], notes)


def sensitivity(findings: Findings) -> list[Table]:
    rules = [{"verdict": verdict, "rule": rule} for verdict, rule in RULES.items()]
    rule_columns = (VERDICT, Column("When", ("rule",), plain, numeric=False))
    notes = (
        "The CV over activations is the report's: std (ddof=0) / mean of their mean PD, over the seeds that all of "
        "them completed. It contains the noise of the trials and is never 0; the interval is of the CV that would be "
        "left without it, and so starts lower and may even end below the CV observed. From noise alone: the CV to "
        "expect if all activations were alike. An interval is of its architecture alone and not adjusted, so that it "
        "may leave out 0 where no difference is shown.",
        "p: F test of equal means over activations, paired by seed, with Huynh and Feldt's correction for "
        "activations that vary unequally from seed to seed (Geisser and Greenhouse's where that is below 0.3).",
        FAMILY,
        FIXED,
        "A verdict says that activations differ, and by how much, not that one is best, nor that the loss does not "
        "explain it. With a CV of 10 %, one of six activations could lie 27 % of the mean apart from the others.",
        SNAPSHOT,
        "Activations with fewer than 3 trials are left out, below 6 too where others have more; their CV is in "
        "--tables cross_model, without a test.",
    )
    return [
        Table("Sensitivity: the rule", rule_columns, rules),
        sensitivity_table("Sensitivity of PD to the activation", findings.sensitivities(), notes),
        *(
            sensitivity_table(f"Sensitivity of {METRICS[name].label.lower()}, of the same family", found)
            for name in primary()
            for found in [findings.sensitivities(name)]
            if name != "relative_pd" and any(each.tested for each in found)
        ),
    ]


def metrics(findings: Findings) -> list[Table]:
    columns = (
        MODEL,
        AT,
        METRIC,
        Column("Registered as", ("registered",), plain, numeric=False),
        Column("CV (%)", ("cv",), mean_of("{:.2f}", 100)),
        CV_WITHOUT_NOISE,
        P_HOLM,
        N_TESTS,
        VERDICT,
        Column("Differences shown", ("n_shown", "n_differences"), "{} of {}".format),
        Column("against PD's", ("n_against",), plain),
        N_SHARED,
    )
    rows = [
        {
            **each.sensitivity.row(),
            "when": each.when,
            "registered": METRICS[each.sensitivity.metric].registered or "exploratory",
            "n_differences": each.n_differences,
            "n_shown": each.n_shown,
            "n_against": each.n_against,
        }
        for each in findings.metric_verdicts
    ]
    notes = (
        "What --tables sensitivity and --tables differences say of relative PD, said of other metrics too. Primary "
        f"are {listed(METRICS[name].label for name in primary())}; the others are secondary or exploratory.",
        f"At equal loss, {caveat(findings.loss_alone)}.",
        FAMILY,
        "Against PD's: differences that are shown with one sign where that of relative PD over all classes is shown "
        "with the other. Relative PD over all classes counts each alike, however improbable; divergences weigh them.",
    )
    return [Table("Does the answer depend on the metric?", columns, rows, notes)]


def planner(findings: Findings) -> list[Table]:
    columns = (
        MODEL,
        N_COMPARED,
        Column("CV between trials (%)", ("cv_between_trials",), number("{:.1f}", 100)),
        Column("Correlation over seeds", ("correlation",), number("{:.2f}")),
        Column("Comparisons", ("comparisons",), plain),
        *(Column(f"N for {x:.0%}", (f"trials_for_{100 * x:.0f}_percent",), plain) for x in PLANNED_DIFFERENCES),
        N_SHARED,
    )
    notes = (
        "Trials per cell with which the paired test finds, at 5 % and with a power of 80 %, that one activation's "
        "mean PD is this much above another's: for one comparison chosen beforehand, and for the first step of "
        "Holm's method over all of an architecture's.",
        "From the pilot's spread over trials and from how far trials with the same seed go together in its cells. "
        f"With 3 trials both are rough guesses, and so is the plan. Never fewer than {FEWEST_PLANNED}.",
    )
    return [Table("Trials needed to show a difference", columns, [plan.row() for plan in findings.plans], notes)]


def ranks(findings: Findings) -> list[Table]:
    columns = (
        Column("Lowest first: by", ("metric",), metric_label, numeric=False),
        AT,
        *(Column(label(name), (f"rank_{name}",), number("{:.1f}")) for name in recurring(findings.measured)),
        Column("Kendall's W", ("w",), number("{:.2f}")),
        Column("p, Friedman", ("p",), p_text),
        P_HOLM,
        Column("Architectures", ("n_architectures",), plain),
    )
    rows = [
        {
            "metric": ranking.metric,
            "when": when,
            "w": ranking.w,
            "p": ranking.p,
            "p_holm": p_holm,
            "n_architectures": ranking.n_architectures,
            **{f"rank_{name}": rank for name, rank in ranking.ranks.items()},
        }
        for when, ranking, p_holm in findings.rankings
    ]
    notes = (
        "Mean rank of each activation over the architectures that have all of them; 1 is the lowest loss, or the "
        "least disagreement. Which order recurs, not how far apart: W is 1 if it is the same in every architecture. "
        f"From {trials_text(findings.measured)} trials. At equal loss, {caveat(findings.loss_alone)}.",
        "p: Friedman's test against no common order, architectures being a sample of all there could be; adjusted "
        "by Holm's method over the lines of this table. With few architectures it finds too little, not too much.",
    )
    return [Table("Activations over all architectures", columns, rows, notes)]


def trials_text(cells: list[MeasuredCell]) -> str:
    counts = trial_counts(cells)
    return trial_count(counts["n_trials"], counts["n_diverged"], counts["planned_trials"])


TABLES = {
    "sensitivity": sensitivity,
    "differences": differences,
    "ranks": ranks,
    "metrics": metrics,
    "metric_differences": metric_differences,
    "planner": planner,
}
