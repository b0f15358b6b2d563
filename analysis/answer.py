"""The answer in words, the same in the default output, the page, the notebook and the docs. Pure functions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.findings import Findings
from analysis.measure import MeasuredCell
from analysis.omnibus import Sensitivity, with_enough_trials
from analysis.stats_many import Verdict
from analysis.table import Column, Table, interval, mean_of, number, p_text, plain, trial_count
from labels import counted, label

QUESTION = "Does the activation function change how reproducible a language model is?"


def listed(names: Iterable[str]) -> str:
    """Such as "CharLM, ConvLM and HybridLM"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


# ---------------------------------------------------------------- the whole study


def headline(findings: Findings) -> str:
    """The answer of a study in at most three sentences."""
    return " ".join(sentences(findings))


def sentences(findings: Findings) -> list[str]:
    """One sentence for each verdict that an architecture has, the strongest first."""
    verdicts: dict[Verdict, list[Sensitivity]] = {verdict: [] for verdict in Verdict}
    for each in findings.sensitivities():
        verdicts[each.verdict].append(each)
    return [_sentence(verdict, found, len(findings.models)) for verdict, found in verdicts.items() if found]


def _sentence(verdict: Verdict, found: list[Sensitivity], total: int) -> str:
    where = f"in {len(found)} of {counted(total, 'architecture')} ({listed(label(each.model) for each in found)})"
    if verdict is Verdict.SENSITIVE:
        sizes = sorted(100 * each.cv.mean for each in found)
        size = f"{sizes[0]:.0f}" if len(sizes) == 1 else f"{sizes[0]:.0f} to {sizes[-1]:.0f}"
        return f"Yes {where}: PD depends on the activation, with a CV of {size} % over activations."
    if verdict is Verdict.NOT_SHOWN:
        return f"No effect on PD is shown, and a CV of 10 % is ruled out, {where}."
    return f"Too few trials to tell {where}."


def scope(findings: Findings) -> str:
    """Of which models the answer is: how many, how large, and for how long they were trained."""
    measured = findings.measured
    trials = sum(cell.n_trials for cell in measured)
    parameters = round(sum(cell.n_parameters for cell in measured) / len(measured) / 1000)
    steps = sorted({cell.config["iterations"] for cell in measured})
    return (
        f"From {counted(trials, 'trained model')}: {counted(len(findings.models), 'architecture')} with "
        f"{counted(len({cell.activation for cell in measured}), 'activation')}, {trials_span(measured)} from each, "
        f"about {parameters:,} K parameters, read after {' or '.join(map(str, steps))} steps on one text: a snapshot "
        "of training, not its end."
    )


def trials_span(measured: list[MeasuredCell]) -> str:
    """Such as "8 trials" or "2 to 3 trials"."""
    counts = sorted({cell.n_trials for cell in measured})
    return counted(counts[0], "trial") if len(counts) == 1 else f"{counts[0]} to {counted(counts[-1], 'trial')}"


# ---------------------------------------------------------------- one architecture


@dataclass(frozen=True, eq=False)
class ArchitectureAnswer:
    """The verdict on one architecture, and the cells that it compares."""

    sensitivity: Sensitivity
    cells: list[MeasuredCell]

    @property
    def model(self) -> str:
        return self.sensitivity.model

    @property
    def verdict(self) -> Verdict:
        return self.sensitivity.verdict

    @property
    def compared(self) -> bool:
        return len(self.cells) > 1

    def disagreement(self) -> str:
        """On how many of 100 next characters two trainings disagree, such as "14 (SmeLU β=1) to 25 (SwiGLU)"."""
        return self._span("top1_mismatches", lambda cell: f"{mismatches_of_100(cell):.0f}")

    def pd(self) -> str:
        """Such as "0.300 (SmeLU β=1) to 0.405 (SwiGLU)"."""
        return self._span("relative_pd", lambda cell: f"{cell.mean('relative_pd'):.3f}")

    def _span(self, metric: str, text: Callable[[MeasuredCell], str]) -> str:
        """From the cell with the lowest mean to that with the highest."""
        ascending = sorted(self.cells, key=lambda cell: cell.mean(metric))
        lowest, highest = ascending[0], ascending[-1]
        return f"{text(lowest)} ({label(lowest.activation)}) to {text(highest)} ({label(highest.activation)})"

    def in_words(self) -> str:
        """The size of the effect, in characters on which two trainings disagree."""
        if not self.compared:
            return "Not compared: it takes two activations with two trials each."
        return f"Of 100 next characters, two trainings disagree on {self.disagreement()}. PD is {self.pd()}."

    def evidence(self) -> str:
        """The CV over activations, its interval, and the test."""
        found = self.sensitivity
        shared = trial_count(found.seeds.n_seeds, found.seeds.n_diverged, found.seeds.planned_trials)
        activations = f"{found.n_activations}\u00a0of\u00a0{counted(found.n_cells, 'activation')}"
        basis = f"{activations}, N\u00a0=\u00a0{shared} shared seeds"
        if not found.tested:
            return f"Not tested: it takes two activations with 3 trials from the same seeds ({basis})."
        percent = number("{:.1f}\u00a0%", 100)
        return (
            f"Over activations, PD varies by {percent(found.cv.mean)} (CV), where noise alone gives "
            f"{percent(found.from_noise)}; without noise it would be {percent(found.cv.low)} to "
            f"{percent(found.cv.high)} (95 % interval). Adjusted p: {p_text(found.p_holm)} ({basis})."
        )


def architecture_answers(findings: Findings) -> list[ArchitectureAnswer]:
    return [ArchitectureAnswer(each, _compared(findings.models[each.model])) for each in findings.sensitivities()]


def _compared(cells: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells that the verdict rests on or, where there is no test, all that have a PD."""
    tested = with_enough_trials(cells, "relative_pd")
    return tested if len(tested) > 1 else [cell for cell in cells if cell.estimate("relative_pd").known]


def mismatches_of_100(cell: MeasuredCell) -> float:
    """On how many of 100 next characters the most probable one differs between two trials, on average."""
    return 100 * cell.mean("top1_mismatches") / (cell.n_predictions or 1)


# ---------------------------------------------------------------- as short tables


def grid(findings: Findings, metric: str, title: str, digits: int) -> Table:
    """The mean of a metric in every cell: architectures by activations."""
    activations = list(dict.fromkeys(cell.activation for cell in findings.measured))
    columns = (
        Column("Architecture", ("model",), label, numeric=False),
        *(Column(label(name), (name,), mean_of(f"{{:.{digits}f}}")) for name in activations),
    )
    rows = [
        {"model": model, **{cell.activation: cell.estimate(metric) for cell in cells}}
        for model, cells in findings.models.items()
    ]
    return Table(title, columns, rows)


def verdicts(findings: Findings) -> Table:
    """The verdict on every architecture, with its size in plain numbers."""
    columns = (
        Column("Architecture", ("model",), label, numeric=False),
        Column("Verdict", ("verdict",), plain, numeric=False),
        Column("CV of PD (%)", ("cv",), mean_of("{:.1f}", 100)),
        Column("without noise (%)", ("cv",), interval(1, 100)),
        Column("p, Holm", ("p_holm",), p_text),
        Column("PD, lowest to highest", ("pd",), plain, numeric=False),
        Column("Of 100 characters, two trainings disagree on", ("disagreement",), plain, numeric=False),
        Column("N", ("n_seeds", "n_diverged", "planned_trials"), trial_count),
    )
    rows = []
    for answer in architecture_answers(findings):
        spans = {"pd": answer.pd(), "disagreement": answer.disagreement()} if answer.compared else {}
        rows.append(answer.sensitivity.row() | spans)
    return Table("Does PD depend on the activation?", columns, rows)


def short_tables(findings: Findings) -> list[Table]:
    """What is shown first of a study."""
    return [
        grid(findings, "relative_pd", "Relative PD between two trainings (0: the same predictions; at most 2)", 3),
        grid(findings, "val_loss", "Validation loss (nats per character)", 3),
        verdicts(findings),
    ]
