"""The tables that the report has too, under its section numbers. Pure functions of ``Findings``."""

import math

from analysis.findings import Findings
from analysis.measure import MeasuredCell, spread_over, trial_counts, untrained
from analysis.stats import Estimate
from analysis.table import (
    Column,
    Row,
    Table,
    is_unknown,
    mean_of,
    number,
    plain,
    share_of,
    std_of,
    trial_count,
    with_interval,
    with_std,
)
from labels import label
from metrics import METRICS, TRIAL_METRICS

# ---------------------------------------------------------------- columns

MODEL = Column("Architecture", ("model",), label, numeric=False)
ACTIVATION = Column("Activation", ("activation",), label, numeric=False)
RANK = Column("Rank", ("rank",), plain)
N = Column("N trials", ("n_trials", "n_diverged", "planned_trials"), trial_count)
LOSS = Column("Val loss (nats/char) ± std", ("val_loss",), with_std(4))
LOSS_INTERVAL = Column("Val loss (nats/char) [95 % interval]", ("val_loss",), with_interval(4))
ACCURACY = Column("Val accuracy (%) ± std", ("val_accuracy",), with_std(2, 100))
PD = Column("Relative PD, all classes [95 % interval]", ("relative_pd",), with_interval(4))
PLAIN_PD = Column("Relative PD, all classes", ("relative_pd",), mean_of("{:.4f}"))
TRUE_LABEL_PD = Column("Relative PD, true label", ("true_label_pd",), mean_of("{:.4f}"))
TOTAL_VARIATION = Column("Total variation", ("total_variation",), mean_of("{:.4f}"))
JENSEN_SHANNON = Column("Jensen-Shannon (nats)", ("jensen_shannon",), mean_of("{:.4f}"))
MISMATCHES = Column("Top-1 mismatches", ("top1_mismatches", "n_predictions"), share_of)
TIME = Column("Training time (s) ± std", ("training_time",), with_std(1))
EXCESS = Column("vs lowest (%)", ("excess",), number("{:+.2f}", 100))
AGAINST_LOWEST = Column("95 % interval", ("against_lowest",), plain, numeric=False)

UNTRAINED = Column("Relative PD, untrained (step 0)", ("untrained",), mean_of("{:.4f}"))

READ_BESIDE_LOSS = (
    "Read PD beside the loss, and beside that of untrained models where it is shown: a model that has learned only "
    "how frequent each character is agrees with its twin. Lower is better for both."
)
INTERVALS = (
    "95 % intervals: PD's is a jackknife over trials, because pairs share trials, and needs three; the loss's is "
    "Student's t. Both hold the contexts fixed. They are no test of a difference: for that see --tables differences."
)
LOWEST_IS_CHOSEN = (
    "The lowest was picked after the fact, so even an interval apart from its own is a hint, not a test."
)


def rows_of(cells: list[MeasuredCell]) -> list[Row]:
    return [row_of(cell) for cell in cells]


def row_of(cell: MeasuredCell) -> Row:
    """The cell as a row, with its PD before any training and its learning rate."""
    return cell.row() | {"untrained": untrained(cell), "learning_rate": cell.config.get("learning_rate")}


def untrained_column(cells: list[MeasuredCell]) -> tuple[Column, ...]:
    """The baseline beside PD, where any of the cells was evaluated before training."""
    return (UNTRAINED,) if any(untrained(cell).known for cell in cells) else ()


def rate_column(cells: list[MeasuredCell]) -> tuple[Column, ...]:
    """The learning rate, where it is not the same in all cells."""
    rates = {cell.config.get("learning_rate") for cell in cells}
    return (Column("Learning rate", ("learning_rate",), plain),) if len(rates) > 1 else ()


# ---------------------------------------------------------------- the tables


def results(findings: Findings) -> list[Table]:
    rate, baseline = rate_column(findings.measured), untrained_column(findings.measured)
    columns = (MODEL, ACTIVATION, *rate, LOSS, PD, *baseline, ACCURACY, MISMATCHES, N)
    return [Table("Results", columns, rows_of(findings.measured), (READ_BESIDE_LOSS, INTERVALS))]


def overview(findings: Findings) -> list[Table]:
    columns = (ACTIVATION, LOSS, PD, *untrained_column(findings.measured), ACCURACY, TIME, N)
    return [
        Table(
            f"3.1 Overview: {label(model)} ({_parameters(cells)})",
            columns,
            rows_of(cells),
            (READ_BESIDE_LOSS,),
        )
        for model, cells in findings.models.items()
    ]


def _parameters(cells: list[MeasuredCell]) -> str:
    counts = [cell.n_parameters for cell in cells]
    least, most = min(counts), max(counts)
    return f"{least:,} parameters" if least == most else f"{least:,} to {most:,} parameters"


def rank(findings: Findings, metric: str) -> list[Row]:
    """Cells of each architecture from the lowest mean up, with their distance to the lowest as a fraction of it.

    Cells without a value come last, unranked.
    """
    rows = []
    for cells in findings.models.values():
        known = sorted((cell for cell in cells if cell.estimate(metric).known), key=lambda cell: cell.mean(metric))
        for place, cell in enumerate(known, 1):
            lowest = known[0].estimate(metric)
            excess = cell.mean(metric) / lowest.mean - 1 if lowest.mean else None
            beside = "lowest" if place == 1 else _beside(cell.estimate(metric), lowest)
            rows.append(row_of(cell) | {"rank": place, "excess": excess, "against_lowest": beside})
        rows += [row_of(cell) for cell in cells if not cell.estimate(metric).known]
    return rows


def _beside(estimate: Estimate, lowest: Estimate) -> str:
    if not (estimate.has_interval and lowest.has_interval):
        return "unknown"
    return "overlaps the lowest's" if estimate.low <= lowest.high else "apart from the lowest's"


def reproducibility(findings: Findings) -> list[Table]:
    baseline = untrained_column(findings.measured)
    columns = (MODEL, RANK, ACTIVATION, PD, EXCESS, AGAINST_LOWEST, *baseline, MISMATCHES, LOSS, N)
    notes = (READ_BESIDE_LOSS, INTERVALS, LOWEST_IS_CHOSEN)
    return [Table("3.2 Reproducibility ranking", columns, rank(findings, "relative_pd"), notes)]


def accuracy(findings: Findings) -> list[Table]:
    columns = (MODEL, RANK, ACTIVATION, LOSS_INTERVAL, EXCESS, AGAINST_LOWEST, ACCURACY, N)
    notes = (INTERVALS, LOWEST_IS_CHOSEN)
    return [Table("3.3 Accuracy ranking, by loss", columns, rank(findings, "val_loss"), notes)]


def trials(findings: Findings) -> list[Table]:
    loss, percent = number("{:.4f}"), number("{:.2f}", 100)
    columns = (
        MODEL,
        ACTIVATION,
        Column("Trial", ("trial",), plain),
        Column("Seed", ("seed",), plain),
        Column("Status", ("status",), plain, numeric=False),
        Column("Train loss (nats/char)", ("train_loss",), loss),
        Column("Val loss (nats/char)", ("val_loss",), loss),
        Column("Train accuracy (%)", ("train_accuracy",), percent),
        Column("Val accuracy (%)", ("val_accuracy",), percent),
        Column("Entropy (nats)", ("probe_entropy",), loss),
        Column("Calibration error", ("calibration_error",), loss),
        Column("Training time (s)", ("training_time",), number("{:.1f}")),
    )
    rows = [row for cell in findings.measured for row in _trial_rows(cell)]
    notes = (
        "Validation numbers are over the whole validation split, training ones over fixed windows of theirs.",
        "On the probe set: mean entropy of the predictions; expected calibration error, the mean distance between "
        "the probability of what is predicted and how often it is right.",
        "Means are over the completed trials.",
    )
    return [Table("3.4 Trial details", columns, rows, notes)]


def _trial_rows(cell: MeasuredCell) -> list[Row]:
    place = {"model": cell.model, "activation": cell.activation}
    rows = [{**place, **trial} for trial in cell.trials]
    count = trial_count(cell.n_trials, cell.n_diverged, cell.planned_trials)
    means = {name: cell.mean(name) for name in TRIAL_METRICS}
    return [*rows, {**place, "trial": "mean", "status": f"N = {count}", **means}]


def architectures(findings: Findings) -> list[Table]:
    baseline = untrained_column(findings.measured)
    metrics = (PD, *baseline, TRUE_LABEL_PD, TOTAL_VARIATION, JENSEN_SHANNON, MISMATCHES)
    columns = (ACTIVATION, *metrics, LOSS, ACCURACY, N)
    return [
        Table(f"3.5 {label(model)}", columns, rows_of(cells), (*_spread_lines(cells), READ_BESIDE_LOSS))
        for model, cells in findings.models.items()
    ]


def _spread_lines(cells: list[MeasuredCell]) -> list[str]:
    lines = []
    for metric, name in (("relative_pd", "relative PD (all classes)"), ("val_loss", "val loss (nats/char)")):
        spread = spread_over(cells, metric)
        if spread.n > 1:
            cv = number("{:.2f}", 100)(spread.cv)
            lines.append(
                f"Over {spread.n} activations, {name}: mean {spread.mean:.4f}, std {spread.std:.4f}, CV {cv} %."
            )
    return lines


def cross_model(findings: Findings) -> list[Table]:
    columns = (
        MODEL,
        Column("Activations", ("n_relative_pd",), plain),
        Column("Relative PD, all classes: mean ± std", ("relative_pd",), with_std(4)),
        Column("CV of PD (%)", ("cv_relative_pd",), number("{:.2f}", 100)),
        Column("Val loss (nats/char): mean ± std", ("val_loss",), with_std(4)),
        Column("CV of loss (%)", ("cv_val_loss",), number("{:.2f}", 100)),
        N,
    )
    notes = (
        "Mean, std and CV are over activations. A CV also contains the noise of the estimates; --tables sensitivity "
        "says how much that alone would give.",
        READ_BESIDE_LOSS,
    )
    rows = [_compared_row(model, cells) for model, cells in findings.models.items()]
    return [Table("3.5.7 Cross-model summary", columns, rows, notes)]


def _compared_row(model: str, cells: list[MeasuredCell]) -> Row:
    row = {"model": model, **trial_counts(cells)}
    for metric in METRICS:
        spread = spread_over(cells, metric)
        over = Estimate(spread.mean, math.nan, math.nan, spread.n, spread.std)
        row |= {f"n_{metric}": spread.n, metric: over, f"cv_{metric}": spread.cv}
    return row


def speed(findings: Findings) -> list[Table]:
    rows = rank(findings, "training_time")
    steps = {(cell.model, cell.activation): cell.config["iterations"] for cell in findings.measured}
    for row in rows:
        row["seconds_per_step"] = row["training_time"].mean / steps[row["model"], row["activation"]]
    columns = (
        MODEL,
        RANK,
        ACTIVATION,
        TIME,
        EXCESS,
        Column("Per step (ms)", ("seconds_per_step",), number("{:.1f}", 1000)),
        N,
    )
    note = (
        "Training steps only, without evaluation. Times depend on the machine and on what else it did meanwhile, "
        "which may have been the same for all trials of a cell, and is then not seen in their std."
    )
    return [Table("3.6 Training speed ranking, per trial", columns, rows, (note,))]


def variance(findings: Findings) -> list[Table]:
    rows = []
    for cells in findings.models.values():
        known = [cell for cell in cells if not is_unknown(cell.estimate("val_loss").std)]
        rows += rows_of(sorted(known, key=lambda cell: cell.estimate("val_loss").std))
        rows += rows_of([cell for cell in cells if cell not in known])
    columns = (
        MODEL,
        ACTIVATION,
        Column("Std of val loss (nats/char)", ("val_loss",), std_of("{:.4f}")),
        Column("Val loss (nats/char)", ("val_loss",), mean_of("{:.4f}")),
        PLAIN_PD,
        N,
    )
    note = (
        "Over trials, ddof=0. A standard deviation of few values is itself uncertain: of three, its 95 % interval "
        "reaches from 0.6 to 8 times the value shown. Equal losses do not mean equal predictions: see PD."
    )
    return [Table("4.6 Variance of the validation loss", columns, rows, (note,))]


def time(findings: Findings) -> list[Table]:
    seconds = number("{:.1f}")
    columns = (
        MODEL,
        ACTIVATION,
        Column("Training (s)", ("training_seconds",), seconds),
        Column("Evaluation (s)", ("evaluation_seconds",), seconds),
        Column("Total (s)", ("total_seconds",), seconds),
        Column("Share (%)", ("share",), number("{:.1f}", 100)),
        N,
    )
    note = "Summed over trials, diverged ones too; trials that ran side by side took less time on the clock."
    return [Table("Appendix C. Time", columns, _time_rows(findings.measured), (note,))]


def _time_rows(measured: list[MeasuredCell]) -> list[Row]:
    training = sum(cell.training_seconds for cell in measured)
    evaluation = sum(cell.evaluation_seconds for cell in measured)
    whole = training + evaluation
    rows = [_spent(cell.row(), cell.training_seconds, cell.evaluation_seconds, whole) for cell in measured]
    total = {"model": "total", "activation": "", **trial_counts(measured)}
    return [*rows, _spent(total, training, evaluation, whole)]


def _spent(row: Row, training: float, evaluation: float, whole: float) -> Row:
    spent = training + evaluation
    share = spent / whole if whole else None
    return row | {
        "training_seconds": training,
        "evaluation_seconds": evaluation,
        "total_seconds": spent,
        "share": share,
    }


TABLES = {
    "results": results,
    "overview": overview,
    "reproducibility": reproducibility,
    "accuracy": accuracy,
    "trials": trials,
    "architectures": architectures,
    "cross_model": cross_model,
    "speed": speed,
    "variance": variance,
    "time": time,
}
