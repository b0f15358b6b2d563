"""The report's tables, as pure functions from the measured cells of a study (``measure.measure_study``) to rows."""

from analysis.measure import TRIAL_METRICS, by_model, compare_activations
from analysis.table import ABSENT, Column, Table, mismatches, number, trial_count, with_interval, with_std
from labels import label

# ---------------------------------------------------------------- columns

MODEL = Column("Architecture", ("model",), label, numeric=False)
ACTIVATION = Column("Activation", ("activation",), label, numeric=False)
RANK = Column("Rank", ("rank",), number("{}"))
N = Column("N trials", ("n_trials", "n_diverged", "planned_trials"), trial_count)
LOSS = Column("Val loss (nats/char) ± std", ("mean_val_loss", "std_val_loss"), with_std(4))
LOSS_INTERVAL = Column(
    "Val loss (nats/char) [95 % interval]",
    ("mean_val_loss", "low_val_loss", "high_val_loss"),
    with_interval(4),
)
ACCURACY = Column("Val accuracy (%) ± std", ("mean_val_accuracy", "std_val_accuracy"), with_std(2, 100))
PD = Column(
    "Relative PD, all classes [95 % interval]",
    ("mean_relative_pd", "low_relative_pd", "high_relative_pd"),
    with_interval(4),
)
PLAIN_PD = Column("Relative PD, all classes", ("mean_relative_pd",), number("{:.4f}"))
TRUE_LABEL_PD = Column("Relative PD, true label", ("mean_true_label_pd",), number("{:.4f}"))
TOTAL_VARIATION = Column("Total variation", ("mean_total_variation",), number("{:.4f}"))
MISMATCHES = Column("Top-1 mismatches", ("mean_top1_mismatches", "n_predictions"), mismatches)
TIME = Column("Training time (s) ± std", ("mean_training_time", "std_training_time"), with_std(1))
EXCESS = Column("vs lowest (%)", ("excess",), number("{:+.2f}"))
AGAINST_LOWEST = Column("95 % interval", ("against_lowest",), str, numeric=False)

READ_BESIDE_LOSS = (
    "Read PD beside the loss: a model that has learned only how frequent each character is agrees with its twin. "
    "Lower is better for both."
)
INTERVALS = (
    "95 % intervals: PD's is a jackknife over trials, because pairs share trials, and needs three; the loss's is "
    "Student's t. Both hold the contexts fixed. They are no test of a difference: for that see --tables differences."
)
LOWEST_IS_CHOSEN = (
    "The lowest was picked after the fact, so even an interval apart from its own is a hint, not a test."
)


# ---------------------------------------------------------------- the tables


def results(measured: list[dict]) -> list[Table]:
    columns = (MODEL, ACTIVATION, LOSS, PD, ACCURACY, MISMATCHES, N)
    return [Table("Results", columns, measured, (READ_BESIDE_LOSS, INTERVALS))]


def overview(measured: list[dict]) -> list[Table]:
    columns = (ACTIVATION, LOSS, PD, ACCURACY, TIME, N)
    return [
        Table(f"3.1 Overview: {label(model)} ({_parameters(cells)})", columns, cells, (READ_BESIDE_LOSS,))
        for model, cells in by_model(measured).items()
    ]


def _parameters(cells: list[dict]) -> str:
    counts = [cell["n_parameters"] for cell in cells]
    least, most = min(counts), max(counts)
    return f"{least:,} parameters" if least == most else f"{least:,} to {most:,} parameters"


def rank(measured: list[dict], metric: str) -> list[dict]:
    """Cells of each architecture from the lowest mean up, with their distance to the lowest in %.

    Cells without a value come last, unranked.
    """
    rows = []
    for cells in by_model(measured).values():
        known = [cell for cell in cells if cell[f"mean_{metric}"] is not None]
        known.sort(key=lambda cell: cell[f"mean_{metric}"])
        rows += [
            {
                **cell,
                "rank": place,
                "excess": _excess(cell[f"mean_{metric}"], known[0][f"mean_{metric}"]),
                "against_lowest": "lowest" if place == 1 else _against(cell, known[0], metric),
            }
            for place, cell in enumerate(known, 1)
        ]
        unknown = {"rank": None, "excess": None, "against_lowest": ABSENT}
        rows += [{**cell, **unknown} for cell in cells if cell[f"mean_{metric}"] is None]
    return rows


def _excess(value: float, lowest: float) -> float | None:
    return 100 * (value / lowest - 1) if lowest else None


def _against(cell: dict, lowest: dict, metric: str) -> str:
    if cell[f"low_{metric}"] is None or lowest[f"high_{metric}"] is None:
        return "unknown"
    overlaps = cell[f"low_{metric}"] <= lowest[f"high_{metric}"]
    return "overlaps the lowest's" if overlaps else "apart from the lowest's"


def reproducibility(measured: list[dict]) -> list[Table]:
    columns = (MODEL, RANK, ACTIVATION, PD, EXCESS, AGAINST_LOWEST, MISMATCHES, LOSS, N)
    notes = (READ_BESIDE_LOSS, INTERVALS, LOWEST_IS_CHOSEN)
    return [Table("3.2 Reproducibility ranking", columns, rank(measured, "relative_pd"), notes)]


def accuracy(measured: list[dict]) -> list[Table]:
    columns = (MODEL, RANK, ACTIVATION, LOSS_INTERVAL, EXCESS, AGAINST_LOWEST, ACCURACY, N)
    return [
        Table("3.3 Accuracy ranking, by loss", columns, rank(measured, "val_loss"), (INTERVALS, LOWEST_IS_CHOSEN))
    ]


def trials(measured: list[dict]) -> list[Table]:
    loss, percent = number("{:.4f}"), number("{:.2f}", 100)
    columns = (
        MODEL,
        ACTIVATION,
        Column("Trial", ("trial",), str),
        Column("Seed", ("seed",), number("{}")),
        Column("Status", ("status",), str, numeric=False),
        Column("Train loss (nats/char)", ("train_loss",), loss),
        Column("Val loss (nats/char)", ("val_loss",), loss),
        Column("Train accuracy (%)", ("train_accuracy",), percent),
        Column("Val accuracy (%)", ("val_accuracy",), percent),
        Column("Entropy (nats)", ("probe_entropy",), loss),
        Column("Calibration error", ("calibration_error",), loss),
        Column("Training time (s)", ("training_time",), number("{:.1f}")),
    )
    rows = [row for cell in measured for row in _trial_rows(cell)]
    notes = (
        "Validation numbers are over the whole validation split, training ones over fixed windows of theirs.",
        "On the probe set: mean entropy of the predictions; expected calibration error, the mean distance between "
        "the probability of what is predicted and how often it is right.",
        "Means are over the completed trials.",
    )
    return [Table("3.4 Trial details", columns, rows, notes)]


def _trial_rows(cell: dict) -> list[dict]:
    place = {"model": cell["model"], "activation": cell["activation"]}
    rows = [{**place, **trial} for trial in cell["trials"]]
    count = trial_count(cell["n_trials"], cell["n_diverged"], cell["planned_trials"])
    means = {name: cell[f"mean_{name}"] for name in TRIAL_METRICS}
    return [*rows, {**place, "trial": "mean", "seed": None, "status": f"N = {count}", **means}]


def architectures(measured: list[dict]) -> list[Table]:
    columns = (
        ACTIVATION,
        PD,
        TRUE_LABEL_PD,
        TOTAL_VARIATION,
        Column("Jensen-Shannon (nats)", ("mean_jensen_shannon",), number("{:.4f}")),
        MISMATCHES,
        LOSS,
        ACCURACY,
        N,
    )
    return [
        Table(
            f"3.5 {label(model)}",
            columns,
            cells,
            (*_statistics_lines(compare_activations(cells)), READ_BESIDE_LOSS),
        )
        for model, cells in by_model(measured).items()
    ]


def _statistics_lines(compared: dict) -> list[str]:
    lines = []
    for metric, name in (("relative_pd", "relative PD (all classes)"), ("val_loss", "val loss (nats/char)")):
        count = compared[f"n_activations_{metric}"]
        if count > 1:
            lines.append(
                f"Over {count} activations, {name}: mean {compared[f'mean_{metric}']:.4f}, "
                f"std {compared[f'std_{metric}']:.4f}, CV {number('{:.2f}')(compared[f'cv_{metric}'])} %."
            )
    return lines


def cross_model(measured: list[dict]) -> list[Table]:
    columns = (
        MODEL,
        Column("Activations", ("n_activations_relative_pd",), number("{}")),
        Column("Relative PD, all classes: mean ± std", ("mean_relative_pd", "std_relative_pd"), with_std(4)),
        Column("CV of PD (%)", ("cv_relative_pd",), number("{:.2f}")),
        Column("Val loss (nats/char): mean ± std", ("mean_val_loss", "std_val_loss"), with_std(4)),
        Column("CV of loss (%)", ("cv_val_loss",), number("{:.2f}")),
        N,
    )
    rows = [compare_activations(cells) for cells in by_model(measured).values()]
    notes = (
        "Mean, std and CV are over activations. A CV also contains the noise of the estimates; --tables sensitivity "
        "says how much that alone would give.",
        READ_BESIDE_LOSS,
    )
    return [Table("3.5.7 Cross-model summary", columns, rows, notes)]


def speed(measured: list[dict]) -> list[Table]:
    rows = rank(measured, "training_time")
    for row in rows:
        row["seconds_per_step"] = _per_step(row)
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


def _per_step(cell: dict) -> float | None:
    mean = cell["mean_training_time"]
    return None if mean is None else mean / cell["config"]["iterations"]


def variance(measured: list[dict]) -> list[Table]:
    rows = []
    for cells in by_model(measured).values():
        known = [cell for cell in cells if cell["std_val_loss"] is not None]
        rows += sorted(known, key=lambda cell: cell["std_val_loss"])
        rows += [cell for cell in cells if cell["std_val_loss"] is None]
    columns = (
        MODEL,
        ACTIVATION,
        Column("Std of val loss (nats/char)", ("std_val_loss",), number("{:.4f}")),
        Column("Val loss (nats/char)", ("mean_val_loss",), number("{:.4f}")),
        PLAIN_PD,
        N,
    )
    note = (
        "Over trials, ddof=0. A standard deviation of few values is itself uncertain: of three, its 95 % interval "
        "reaches from 0.6 to 8 times the value shown. Equal losses do not mean equal predictions: see PD."
    )
    return [Table("4.6 Variance of the validation loss", columns, rows, (note,))]


def time(measured: list[dict]) -> list[Table]:
    seconds = number("{:.1f}")
    columns = (
        MODEL,
        ACTIVATION,
        Column("Training (s)", ("total_training_time",), seconds),
        Column("Evaluation (s)", ("total_evaluation_time",), seconds),
        Column("Total (s)", ("total_time",), seconds),
        Column("Share (%)", ("share",), number("{:.1f}")),
        N,
    )
    note = "Summed over trials, diverged ones too; trials that ran side by side took less time on the clock."
    return [Table("Appendix C. Time", columns, _time_rows(measured), (note,))]


def _time_rows(measured: list[dict]) -> list[dict]:
    summed = ("total_training_time", "total_evaluation_time", "n_trials", "n_diverged", "planned_trials")
    total = {
        "model": "total",
        "activation": "",
        **{name: sum(cell[name] for cell in measured) for name in summed},
    }
    whole = total["total_training_time"] + total["total_evaluation_time"]
    return [
        {**row, "total_time": spent, "share": 100 * spent / whole if whole else None}
        for row in [*measured, total]
        for spent in [row["total_training_time"] + row["total_evaluation_time"]]
    ]


TABLES = {
    "results": results,
    "overview": overview,
    "reproducibility": reproducibility,
    "accuracy": accuracy,
    "trials": trials,
    "architectures": architectures,
    "cross-model": cross_model,
    "speed": speed,
    "variance": variance,
    "time": time,
}
