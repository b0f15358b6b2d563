"""The tables of what goes along with PD: other metrics, the loss, the contexts, the controls.

Pure functions of ``Findings``, which has computed what they show.
"""

from dataclasses import replace

from analysis import contexts, metrics_compared
from analysis.controls import NOTHING
from analysis.equal_loss import When
from analysis.finding_tables import (
    METRIC,
    N_SHARED,
    OTHER_ACTIVATION,
    PD_DIFFERENCES,
    pd_difference_rows,
    sensitivity_table,
    trials_text,
)
from analysis.findings import Findings
from analysis.landscape import LANDSCAPE, Prediction, with_landscape
from analysis.loss_alone import caveat
from analysis.measure import MeasuredCell, spread_over
from analysis.metrics_compared import metric_label
from analysis.report_tables import (
    ACTIVATION,
    INTERVALS,
    LOSS,
    LOSS_INTERVAL,
    MISMATCHES,
    MODEL,
    PD,
    READ_BESIDE_LOSS,
    N,
    rate_column,
    row_of,
    rows_of,
    untrained_column,
)
from analysis.table import (
    ABSENT,
    Column,
    Table,
    mean_of,
    number,
    plain,
    significant,
    with_interval,
)
from analysis.trade_off import pareto_front
from labels import counted, label, listed
from metrics import METRICS, PAIR_METRICS

# ---------------------------------------------------------------- every metric


def cell_metrics(findings: Findings) -> list[Table]:
    """A table for each architecture: every metric of pairs, for every activation, with its interval."""
    return [_metric_table(model, cells) for model, cells in findings.models.items()]


def _metric_table(model: str, cells: list[MeasuredCell]) -> Table:
    rows = [
        {"metric": name} | {f"of_{cell.activation}": cell.estimate(name) for cell in cells} for name in PAIR_METRICS
    ]
    columns = (
        Column("Metric, mean over pairs [95 % interval]", ("metric",), metric_label, numeric=False),
        *(
            Column(f"{label(cell.activation)} (N = {trials_text([cell])})", (f"of_{cell.activation}",), significant)
            for cell in cells
        ),
    )
    note = (
        "Mismatches are counts, of the probe set; divergences are in nats; each metric's formula is in metrics.py. "
        "Intervals are jackknife-t over trials, with the contexts held fixed; they are no test of a difference."
    )
    return Table(f"Metrics: {label(model)}", columns, rows, (note,))


def companions(findings: Findings) -> list[Table]:
    rho = number("{:+.2f}")
    columns = (
        METRIC,
        Column("Rank correlation with PD, over all cells", ("rho",), rho),
        Column("within architectures", ("rho_within",), rho),
        Column("Same order as PD", ("agreement",), plain, numeric=False),
    )
    rows = []
    for name in metrics_compared.companions():
        over_all, within = metrics_compared.correlations(findings.measured, "relative_pd", name)
        agreement = metrics_compared.agreement_with_pd(over_all, within, METRICS[name].agreement)
        rows.append({"metric": name, "rho": over_all, "rho_within": within, "agreement": agreement})
    cells = counted(len(findings.measured), "cell")
    basis = (
        f"Spearman's, of the means of {cells} ({trials_text(findings.measured)} trials). Within "
        "architectures: of ranks among the activations of one architecture, pooled."
    )
    rule = (
        f"The same order as PD: both correlations are at least {metrics_compared.SAME}; much the same: "
        f"{metrics_compared.MUCH_THE_SAME}; of agreements and of correlations, which fall as PD rises, with the sign "
        "turned round. Few cells make strong correlations by chance."
    )
    return [Table("Companion metrics: do they give PD's order?", columns, rows, (basis, rule))]


# ---------------------------------------------------------------- at equal loss


def _of_equal_loss(findings: Findings) -> str:
    return (
        f"Of PD at equal loss (--tables matched_loss), {caveat(findings.loss_alone)}; all else as in the table of PD "
        "at the end."
    )


def matched_loss(findings: Findings) -> list[Table]:
    columns = (
        MODEL,
        ACTIVATION,
        LOSS,
        PD,
        *untrained_column(findings.measured),
        Column("Equal loss (nats/char)", ("level",), number("{:.4f}")),
        Column("Reached at step", ("step",), number("{:.0f}")),
        Column("Relative PD at that loss [95 % interval]", ("matched_pd",), with_interval(4)),
        N,
    )
    rows = [
        {
            **row_of(each.at_end),
            "level": each.level,
            "step": each.step,
            "matched_pd": each.matched.estimate("relative_pd"),
        }
        for each in findings.at_equal_loss
    ]
    notes = (
        "The equal loss of an architecture is the highest that any pair of its trials ended at: the mean of the "
        "two, over the fixed validation windows of the training curves, not the whole split as in the third column. "
        "PD at that loss is read off each pair's own curve, linearly between the evaluations around it. "
        "--tables matched_sensitivity and matched_differences test it.",
        "What learns faster reaches that loss after fewer steps, and more steps by themselves may make models "
        "differ: equal loss is not equal training. The slowest pair sets the loss, which is then taken as fixed.",
        *_cv_lines(findings),
    )
    return [Table("PD at equal loss", columns, rows, notes)]


def _cv_lines(findings: Findings) -> list[str]:
    """For each architecture, how much activations differ at the end and at equal loss, and how coarse that is."""
    lines, percent = [], number("{:.2f}", 100)
    for model in findings.models:
        known = [
            each
            for each in findings.at_equal_loss
            if each.at_end.model == model and each.matched.estimate("relative_pd").known
        ]
        if len(known) > 1:
            end = spread_over([each.at_end for each in known], "relative_pd").cv
            matched = spread_over([each.matched for each in known], "relative_pd").cv
            shift = max(abs(each.coarse_pd - each.matched.mean("relative_pd")) for each in known)
            lines.append(
                f"{label(model)}: CV of PD over activations {percent(end)} % at the end, {percent(matched)} % "
                f"at equal loss. With every other evaluation only, PD there would be read up to {shift:.4f} off."
            )
    return lines


def matched_sensitivity(findings: Findings) -> list[Table]:
    found = findings.sensitivities("relative_pd", When.EQUAL_LOSS)
    return [sensitivity_table("Sensitivity of PD at equal loss", found, (_of_equal_loss(findings),))]


def matched_differences(findings: Findings) -> list[Table]:
    rows = pd_difference_rows(findings, When.EQUAL_LOSS)
    return [Table("Differences of PD at equal loss", PD_DIFFERENCES, rows, (_of_equal_loss(findings),))]


# ---------------------------------------------------------------- loss against PD


def pareto(findings: Findings) -> list[Table]:
    front = Column("On the front", ("front",), plain, numeric=False)
    columns = (MODEL, ACTIVATION, LOSS, PD, *untrained_column(findings.measured), front, N)
    overall = pareto_front(findings.measured)
    rows = []
    for cells in findings.models.values():
        own = pareto_front(cells)
        for cell in cells:
            place = "of all cells" if cell in overall else "of its architecture" if cell in own else "no"
            rows.append(row_of(cell) | {"front": place if cell.estimate("relative_pd").known else None})
    notes = (
        "On the front: no other cell (of its architecture, or of all) has both a lower loss and a lower PD. By "
        "the means alone: where intervals overlap, another set of trials could put other cells there.",
        READ_BESIDE_LOSS,
    )
    return [Table("Pareto front of loss against PD", columns, rows, notes)]


def smelu(findings: Findings) -> list[Table]:
    rows = [
        {
            **row_of(point.cell),
            "beta": point.beta,
            "difference": point.against_relu.estimate if point.against_relu else None,
        }
        for sweep in findings.sweeps.values()
        for point in sweep
    ]
    columns = (
        MODEL,
        Column("β", ("beta",), number("{:g}")),
        LOSS_INTERVAL,
        PD,
        *untrained_column(findings.measured),
        Column("PD minus ReLU's [95 % interval]", ("difference",), with_interval(4)),
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


# ---------------------------------------------------------------- the landscape


def landscape_tables(findings: Findings) -> list[Table]:
    columns = (
        MODEL,
        ACTIVATION,
        *rate_column(findings.measured),
        *(Column(f"{METRICS[name].axis} [95 % interval]", (name,), significant) for name in LANDSCAPE),
        PD,
        *untrained_column(findings.measured),
        LOSS,
        N,
    )
    notes = (
        "Loss barrier: how far the loss on the straight line between the weights of two trials rises above that of "
        "its ends. Top Hessian eigenvalue: of the training loss by all weights, larger is sharper. Gradient noise "
        "scale: the minibatch, in windows of text, whose noise is as large as the gradient. training/landscape.py "
        "has the definitions and their sources, and says when the search for the eigenvalue ends: what it has found "
        "then is a lower bound.",
        "Measured at the end of training, without dropout, on the same windows of the training split for every "
        "trial. The interval of the barrier is a jackknife over trials, the other two are Student's t.",
        *(["All three depend on the learning rate, too."] if rate_column(findings.measured) else []),
    )
    cells = with_landscape(findings.measured)
    table = Table("Landscape: what lies around the trained weights", columns, rows_of(findings.measured), notes)
    if not cells:
        note = (
            "Measured in no cell of this study: run_all_experiments.py --landscape does it for trials yet to be run."
        )
        return [replace(table, notes=(*notes, note))]
    return [table, _prediction_table(findings, cells)]


def _prediction_table(findings: Findings, cells: list[MeasuredCell]) -> Table:
    columns = (
        METRIC,
        Column("Rank correlation with PD, over all cells [95 % interval]", ("over_all",), with_interval(2)),
        Column("within architectures [95 % interval]", ("within",), with_interval(2)),
        *(
            [Column("and at one learning rate [95 % interval]", ("at_one_rate",), with_interval(2))]
            if rate_column(cells)
            else []
        ),
        Column("Predicts PD within architectures", ("predicts",), plain, numeric=False),
    )
    rows = [
        {
            "metric": each.metric,
            "over_all": each.over_all,
            "within": each.within,
            "at_one_rate": each.at_one_rate,
            "predicts": _direction(each) if each.within.has_interval else None,
        }
        for each in findings.landscape_predictions
    ]
    notes = (
        f"Spearman's, of the means of {counted(len(cells), 'cell')} ({trials_text(cells)} trials). Within "
        "architectures: of ranks among the activations of one architecture, pooled; and at one learning rate: among "
        "those of them with the same rate. Intervals by Bonett & Wright (2000) take cells as independent, "
        f"though those of an architecture share seeds, and are not adjusted for there being {len(rows)} of them.",
        "It predicts PD where the interval within architectures leaves out 0. The loss is there for comparison: what "
        "predicts no better than it may say no more than how far training has come. A correlation is no cause.",
    )
    return Table("Landscape: does it predict PD?", columns, rows, notes)


def _direction(prediction: Prediction) -> str:
    if not prediction.shown:
        return "not shown"
    return "PD rises with it" if prediction.within.mean > 0 else "PD falls with it"


# ---------------------------------------------------------------- contexts


def context_table(findings: Findings) -> list[Table]:
    four = number("{:.4f}")
    columns = (
        MODEL,
        ACTIVATION,
        Column("Relative PD (all classes), shared contexts", ("shared_relative_pd",), four),
        Column("Relative PD, different contexts", ("different_relative_pd",), four),
        Column("Global formula, shared", ("shared_global_pd",), four),
        Column("Global formula, different", ("different_global_pd",), four),
        Column("Mismatches, shared", ("shared_top1_mismatches", "n_predictions"), _count_of),
        Column("Mismatches, different", ("different_top1_mismatches", "n_predictions"), _count_of),
        N,
    )
    note = (
        "Scoring the two models of a pair on different contexts, as the report's code did, measures how contexts "
        "differ: the same models, the same probe set, in another order for the second."
    )
    rows = [cell.row() | contexts.on_contexts(cell) for cell in findings.measured]
    return [Table("Shared and different contexts", columns, rows, (note,))]


def _count_of(count: float | None, total: int) -> str:
    return ABSENT if count is None else f"{count:.0f} / {total}"


def other_contexts(findings: Findings) -> list[Table]:
    cells = [
        row_of(each.cell) | {"both": each.both, "widening": each.widening}
        for each in findings.cells_on_other_contexts
    ]
    if not cells:
        return []
    both = Column("Contexts and trials sampled", ("both",), with_interval(4))
    baseline = untrained_column(findings.measured)
    columns = (MODEL, ACTIVATION, PD, both, Column("Wider by", ("widening",), number("{:.2f}")), *baseline, N)
    notes = (
        "The second interval allows for other contexts too, by how much PD differs between "
        f"{contexts.n_blocks(findings.measured)} stretches of the validation text with equally many contexts. It is "
        "for other contexts of this text, not for another text.",
    )
    tables = [Table("PD if contexts were drawn anew", columns, cells, notes)]
    differing = [each.difference.row() | {"both": each.both} for each in findings.differences_on_other_contexts]
    if differing:
        fixed = Column("Contexts fixed", ("difference",), with_interval(4))
        difference_columns = (MODEL, ACTIVATION, OTHER_ACTIVATION, fixed, both, N_SHARED)
        note = "Paired by seed and by stretch of text."
        title = "Differences of PD if contexts were drawn anew"
        tables.append(Table(title, difference_columns, differing, (note,)))
    return tables


# ---------------------------------------------------------------- controls


def controls(findings: Findings) -> list[Table]:
    has_barrier = any(each.cell.estimate("barrier").known for each in findings.controls)
    columns = (
        MODEL,
        ACTIVATION,
        Column("Differs between trials", ("varies",), plain, numeric=False),
        PD,
        Column("of everything's (%)", ("share",), number("{:.1f}", 100)),
        *untrained_column([each.cell for each in findings.controls]),
        MISMATCHES,
        *([Column(METRICS["barrier"].axis, ("barrier",), mean_of("{:.3f}"))] if has_barrier else []),
        N,
        Column("Study", ("study",), plain, numeric=False),
    )
    having = sum(bool(cell.controls) for cell in findings.measured)
    same = [each.cell.pairs for each in findings.controls if each.varies == NOTHING and each.cell.pairs]
    exact = sum(all(pair["relative_pd"] == 0 for pair in pairs) for pairs in same)
    notes = [
        f"{having} of {len(findings.measured)} cells have controls: results with the same settings of which other "
        "streams differ between trials. run_all_experiments.py --controls makes them."
    ]
    if findings.controls:
        of_dropout = any("dropout" in each.varies for each in findings.controls)
        notes += [
            "The streams that do not differ are those of the first seed. Shares need not add up to 100 %: each "
            "source alone may already bring out what all together do.",
            *(["NanoTransformer has no dropout."] if of_dropout else []),
            "Contexts too: the second model of each pair is scored on other contexts than the first, the report's "
            "mistake. That measures how contexts differ, and is a ceiling.",
        ]
    if same:
        notes.append(
            f"Where nothing differs, PD is exactly 0 in {exact} of {counted(len(same), 'cell')}; it must be, or the "
            "machine is not deterministic."
        )
    elsewhere = [
        f"{label(cell.model)} with {label(cell.activation)}"
        for cell in findings.measured
        if any(control.processors != cell.processors for control in cell.controls.values())
    ]
    if elsewhere:
        notes.append(f"Trained on other processors than the cell itself: controls of {listed(elsewhere)}.")
    rows = [each.row() for each in findings.controls]
    return [Table("Controls: what causes the differences", columns, rows, tuple(notes))]


TABLES = {
    "cell_metrics": cell_metrics,
    "companions": companions,
    "matched_loss": matched_loss,
    "matched_sensitivity": matched_sensitivity,
    "matched_differences": matched_differences,
    "pareto": pareto,
    "smelu": smelu,
    "landscape": landscape_tables,
    "contexts": context_table,
    "other_contexts": other_contexts,
    "controls": controls,
}
