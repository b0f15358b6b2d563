"""The tables of what the answer depends on: when one looks, the loss, one activation alone.

Pure functions of ``Findings``, which has computed what they show.
"""

import math
from itertools import takewhile

from analysis.course import loss_at, shared_steps
from analysis.early import over_architectures
from analysis.finding_tables import (
    CV_WITHOUT_NOISE,
    METRIC,
    N_SHARED,
    N_TESTS,
    P_HOLM,
    VERDICT,
)
from analysis.findings import Findings
from analysis.loss_alone import explained_by_loss
from analysis.measure import trial_counts, untrained
from analysis.omnibus import Sensitivity
from analysis.report_tables import ACTIVATION, MODEL, N, untrained_column
from analysis.stats_many import ALPHA
from analysis.table import Column, Row, Table, mean_of, number, plain, with_interval
from labels import counted, label, listed
from metrics import METRICS, primary

RHO = with_interval(2)
PROMISED = 500  # steps by which the report's 7.1 hopes to judge an architecture


def course(findings: Findings) -> list[Table]:
    """The verdict on PD at every evaluation: whether the answer depends on when one looks."""
    columns = (
        MODEL,
        Column("Step", ("step",), plain),
        Column("Val loss (nats/char), mean over trials", ("val_loss",), number("{:.3f}")),
        Column("CV of PD (%)", ("cv",), mean_of("{:.2f}", 100)),
        CV_WITHOUT_NOISE,
        P_HOLM,
        N_TESTS,
        VERDICT,
        N_SHARED,
    )
    rows = [
        each.row() | {"step": moment.step, "val_loss": loss_at(findings.models[each.model], moment.step)}
        for moment in findings.course
        for each in moment.sensitivities
    ]
    models = list(findings.models)
    rows.sort(key=lambda row: models.index(row["model"]))
    note = (
        "The rule of --tables sensitivity at every evaluation, each adjusted over the family at that step only: none "
        "of these is a test of the whole course. Step 0 is before any training."
    )
    return [Table("The verdict over training", columns, rows, (note,))]


def early(findings: Findings) -> list[Table]:
    """Whether an early look would have told what the end says: the report's 7.1."""
    found = findings.early_steps
    columns = (
        MODEL,
        Column("Step", ("step",), plain),
        Column("Verdict then", ("verdict_then", "shown_then"), _verdict, numeric=False),
        Column("Verdict at the end", ("verdict", "shown"), _verdict, numeric=False),
        Column("CV then (%)", ("cv_then",), with_interval(1, 100)),
        Column("CV at the end (%)", ("cv",), with_interval(1, 100)),
        Column("Order: PD then and PD at the end", ("pd_to_pd",), RHO),
        Column("Loss then and PD at the end", ("loss_to_pd",), RHO),
        Column("Loss then and at the end", ("loss_to_loss",), RHO),
        N_SHARED,
    )
    notes = (
        "Orders: Spearman's rank correlation over the activations of the architecture, with the 95 % interval of "
        "resampled seeds (percentile bootstrap, too narrow for few seeds). CVs: as observed, with the interval of "
        "what is left without noise.",
        "Each verdict is adjusted over the family at its step only.",
    )
    summed = over_architectures(found)
    summary = (
        Column("Step", ("step",), plain),
        Column("CV then and at the end, rank correlation over architectures", ("cv_to_cv",), RHO),
        Column("Same verdict", ("same_verdict", "n"), "{} of {}".format),
        Column("Same verdict, and order told", ("predicts", "n"), "{} of {}".format),
    )
    conclusion = (
        f"{saving(findings)} Intervals over architectures: Bonett and Wright's. Order told: the interval of PD's "
        f"rank correlation lies above 0, which is far from the same order. The report's 7.1 would judge an "
        f"architecture by 100 to {PROMISED} steps only. Where the learning rate is lowered on a schedule, a step is "
        "not the end of a shorter training."
    )
    rows: list[Row] = [each._asdict() for each in summed]
    return [
        Table("Does an early look tell the end?", columns, [each.row() for each in found], notes),
        Table("Does an early look tell the end? Over architectures", summary, rows, (conclusion,)),
    ]


def _verdict(verdict: str, shown: bool) -> str:
    return f"{verdict}; a difference is shown" if verdict == "undecided" and shown else verdict


def saving(findings: Findings) -> str:
    """Whether stopping early, which the report promises, is supported, in a sentence."""
    summed = [each for each in over_architectures(findings.early_steps) if each.step > 0]
    if not summed:
        return "There is no earlier step to judge by."
    if not any(each.n for each in summed):
        return "No architecture has a verdict at the end that an earlier step could tell."
    told = list(takewhile(lambda each: each.predicts == each.n, reversed(summed)))
    supported = bool(told) and told[-1].step <= PROMISED
    by_share: dict[str, list[str]] = {}
    for each in summed:
        if each.step <= PROMISED:
            by_share.setdefault(f"{each.predicts} of {counted(each.n, 'architecture')}", []).append(
                f"{each.step:.0f}"
            )
    shares = [f"in {share} after {listed(steps)} steps" for share, steps in by_share.items()]
    if told and not supported:
        shares.append(f"in all from step {told[-1].step:.0f} on")
    finding = f"That {PROMISED} steps tell enough, as the report hopes, is {'' if supported else 'not '}supported"
    if shared_steps(findings.measured)[-1] <= PROMISED:
        finding = f"Whether {PROMISED} steps tell enough, a study that ends there cannot say"
    return (
        f"{finding}: the verdict of the end and something of its order (a rank correlation, interval above 0) "
        f"are told {', '.join(shares) or 'at no step before the end'}."
    )


def loss_alone(findings: Findings) -> list[Table]:
    r_squared = number("{:.3f}")
    columns = (
        MODEL,
        Column("Cells x evaluations", ("n_points",), plain),
        Column("R squared of loss and log step", ("r_squared",), r_squared),
        Column("and a level for each activation", ("with_activation",), r_squared),
        Column("Rank correlation of step and PD, at equal loss", ("step_at_equal_loss",), number("{:+.2f}")),
        N,
    )
    notes = (
        "How much of PD's variance a straight line in the loss and the logarithm of the step describes, over all "
        "activations and evaluations of an architecture after the start; and how much more when each activation may "
        "lie higher or lower. The first has what goes with how far training has come, faster learning with some "
        "activations included; the second adds what an activation does beside that. "
        "Points along one curve are not independent, so that this describes and tests nothing.",
        "At equal loss activations have trained for different numbers of steps. Where the last column is near 1, "
        "those that took longer to get there disagree more, so that equal loss is not equal training.",
        *_over_cells(findings),
    )
    rows = [each.row() | trial_counts(findings.models[each.model]) for each in findings.loss_alone]
    return [Table("What is loss, and what is activation?", columns, rows, notes)]


def _over_cells(findings: Findings) -> list[str]:
    """What the loss alone says of the cells at the end, in a sentence; nothing for too few of them."""
    explained = {metric: explained_by_loss(findings.measured, metric) for metric in primary()}
    shares = [
        f"{r:.2f} of the variance of {METRICS[name].label}" for name, r in explained.items() if math.isfinite(r)
    ]
    return [f"Over all cells at the end, a straight line in the loss describes {listed(shares)}."] if shares else []


def left_out(findings: Findings) -> list[Table]:
    """The verdict with and without the activation that is most different."""
    columns = (
        MODEL,
        METRIC,
        Column("Verdict with all", ("verdict_with",), plain, numeric=False),
        Column("CV with all (%), without noise", ("cv_with",), with_interval(1, 100)),
        Column("Left out", ("left_out",), label, numeric=False),
        Column("Verdict without it", ("verdict",), plain, numeric=False),
        Column("CV without it (%), without noise", ("cv",), with_interval(1, 100)),
        P_HOLM,
        N_TESTS,
        N_SHARED,
    )
    rows = []
    for metric, found in findings.without_most_different.items():
        whole: dict[str, Sensitivity] = {each.model: each for each in findings.sensitivities(metric)}
        for name, without in found:
            with_all = whole[without.model]
            rows.append(without.row() | {"left_out": name, "verdict_with": with_all.verdict, "cv_with": with_all.cv})
    note = (
        "Left out: the activation whose mean lies furthest from the others'. It was chosen after looking, so that "
        "the verdict without it says whether the effect is one activation's, and is no test of its own. p: as in "
        "--tables sensitivity, over the family of all architectures and primary metrics, each without its own."
    )
    return [Table("With and without the most different activation", columns, rows, (note,))]


def rates(findings: Findings) -> list[Table]:
    """What the learning rate alone does; nothing where no cell was trained at two rates."""
    columns = (
        MODEL,
        ACTIVATION,
        Column("Rates", ("low", "high"), "{:g} and {:g}".format),
        Column("PD at the lower", ("at_low",), number("{:.4f}")),
        Column("at the higher", ("at_high",), number("{:.4f}")),
        Column("Difference [95 % interval]", ("difference",), with_interval(4)),
        Column("in %", ("relative_difference",), number("{:+.1f}", 100)),
        P_HOLM,
        N_TESTS,
        Column("Difference of mismatches", ("difference_of_mismatches",), with_interval(1)),
        Column("Difference of val loss (nats/char)", ("difference_of_loss",), with_interval(4)),
        *untrained_column(findings.measured),
        N_SHARED,
    )
    elsewhere = [
        f"{label(each.relative_pd.model)} with {label(each.relative_pd.activation)}"
        for each in findings.rate_effects
        if each.processors_differ
    ]
    least = [each.relative_pd.n_tests * 2 / 2**each.relative_pd.seeds.n_seeds for each in findings.rate_effects]
    floor = (
        f" With so many rows and seeds p cannot be below {min(least):.2g}, so that none can be shown: read intervals."
        if least and min(least) > ALPHA
        else ""
    )
    notes = (
        "The same architecture, activation and seeds at two learning rates; all other settings are the same. "
        "Differences are the higher rate's minus the lower's. p: sign flips of whole seeds, by Holm's method "
        f"over the rows.{floor}",
        *([f"The two rates were trained on different processors: {listed(elsewhere)}."] if elsewhere else []),
    )
    baselines = {(cell.model, cell.activation): untrained(cell) for cell in findings.measured}
    rows = [
        each.row()
        | {"p_holm": each.relative_pd.p, "untrained": baselines[each.relative_pd.model, each.relative_pd.activation]}
        for each in findings.rate_effects
    ]
    return [Table("What the learning rate does", columns, rows, notes)] if rows else []


TABLES = {
    "course": course,
    "early": early,
    "loss_alone": loss_alone,
    "left_out": left_out,
    "rates": rates,
}
