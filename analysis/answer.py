"""The answer in words, the same in the default output, the page, the notebook and the docs. Pure functions."""

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

import config_trained
from analysis.differences import compared_cells
from analysis.findings import Findings
from analysis.measure import SETTLED, MeasuredCell, untrained_mean
from analysis.omnibus import TOLD, Sensitivity
from analysis.stats import FEWEST, FEWEST_JUDGED
from analysis.stats_many import ALPHA, MARGIN, EffectVerdict
from analysis.table import Column, Table, interval, mean_of, number, p_text, plain, trial_count
from config import family_of, size_in
from labels import counted, label, listed
from metrics import METRICS, primary

FEWEST_UNNAMED = 3  # architectures of a study that are not named where the same is true of all
MOST_NAMED = 5  # architectures with the same verdict that are named where others have another
ALIKE = 1.05  # times as large as the smallest model, up to which all count as of one size
NOT_SETTLED = f"Not settled (the last fifth of the steps lowered the loss by over {100 * SETTLED:.0f} %)"
QUESTION = "Does the activation function change how reproducible a language model is?"


# ---------------------------------------------------------------- the whole study


def headline(findings: Findings) -> str:
    """The answer of a study: a sentence for each verdict, what was not trained to the end, and the family of the
    tests."""
    return " ".join([*sentences(findings), *not_settled(findings), *not_good_enough(findings), *family(findings)])


def sentences(findings: Findings) -> list[str]:
    """One sentence for each verdict on PD that an architecture has, the strongest first."""
    answers = architecture_answers(findings)
    groups = [
        [each for each in answers if each.verdict is verdict and each.sensitivity.cv.has_interval is has_interval]
        for verdict in EffectVerdict
        for has_interval in (True, False)
    ]
    return [_sentence(found, len(answers), findings.incomplete) for found in groups if found]


def _sentence(found: list["ArchitectureAnswer"], total: int, incomplete: Container[str]) -> str:
    """Of architectures with the same verdict, all with an interval or all without."""
    verdict, has_interval = found[0].verdict, found[0].sensitivity.cv.has_interval
    names = "" if len(found) == total >= FEWEST_UNNAMED else f" ({_names(found)})"
    where = f"in {len(found)} of {counted(total, 'architecture')}{names}"
    if not has_interval:
        if verdict is EffectVerdict.UNDECIDED:
            return f"Undecided {where}: trials do not vary there, so that the CV has no interval."
        takes = "all activations" if found[0].sensitivity.model in incomplete else "two activations"
        return f"Too few trials to tell {where}: it takes {takes} with at least {FEWEST_JUDGED} trials each."
    sizes = sorted(100 * each.sensitivity.cv.mean for each in found)
    size = f"{sizes[0]:.0f}" if f"{sizes[0]:.0f}" == f"{sizes[-1]:.0f}" else f"{sizes[0]:.0f} to {sizes[-1]:.0f}"
    cv = f"a CV of {size} % over activations"
    if verdict is EffectVerdict.MATTERS:
        return f"Yes {where}: there PD differs by more than the margin of {100 * MARGIN:.0f} %, with {cv}."
    if verdict is EffectVerdict.DIFFERS:
        return f"Yes, but by less than the margin of {100 * MARGIN:.0f} %, {where}: there PD has {cv}."
    if verdict is EffectVerdict.NO_DIFFERENCE:
        ruled_out = f"none is shown, and a CV of {100 * MARGIN:.0f} % is ruled out"
        return f"No difference of PD above the margin {where}: {ruled_out}."
    if verdict is EffectVerdict.UNDECIDED:
        shown = [each for each in found if each.sensitivity.shown]
        some = "" if not shown else " there" if len(shown) == len(found) else f" in {_names(shown)}"
        difference = f"; a difference is shown{some}" if some else ""
        return f"Undecided {where}: PD has {cv}, and the margin is within its interval{difference}."
    needed = sorted(each.needed for each in found if each.needed)
    if not needed:
        return f"Too few trials to tell {where}: it takes at least {FEWEST_JUDGED} of each cell, from the same seeds."
    span = f"{needed[0]}" if needed[0] == needed[-1] else f"{needed[0]} to {needed[-1]}"
    return (
        f"Too few trials to tell {where}: it would take {span} of each cell, from the same seeds, to find "
        f"{100 * TOLD:.0f} % between two activations."
    )


def _names(found: list["ArchitectureAnswer"]) -> str:
    return listed(label(each.model) for each in found)


def family(findings: Findings) -> list[str]:
    """Over how many tests p is adjusted, in a sentence; nothing where there is none."""
    tests = findings.sensitivities()[0].family
    if not tests.n_tests:
        return []
    said = [f"A difference is shown where p, by Holm's method over {tests.text}, is at most {ALPHA:g}."]
    if tests.n_made < tests.n_tests:
        said.append(
            "Tests that are not made yet count as p = 1: what is shown stays shown, what is not may still be."
        )
    return said


def not_settled(findings: Findings) -> list[str]:
    """Which cells had not settled when a schedule ended, in a sentence; nothing where all had or there is none."""
    if not _to_the_end(findings.measured):
        return []
    by_share: dict[str, list[str]] = {}
    for each in architecture_answers(findings):
        if each.unsettled:
            share = f"{each.unsettled} of {counted(len(each.cells), 'cell')}"
            by_share.setdefault(share, []).append(label(each.model))
    if not by_share:
        return []
    where = "; ".join(
        f"{share}{' each' if len(names) > 1 else ''} in {listed(names)}" for share, names in by_share.items()
    )
    return [f"{NOT_SETTLED}: {where}."]


def not_good_enough(findings: Findings, models: Container[str] = ()) -> list[str]:
    """Which cells, of ``models`` or of all, have a loss above what was registered as good enough, in a sentence;
    nothing where none has."""
    said = [
        f"{label(cell.model)} with {label(cell.activation)} (loss {cell.mean('val_loss'):.4f}, registered limit "
        f"{config_trained.GOOD_ENOUGH[cell.model]:.2f})"
        for cell in falling_short(findings.measured)
        if not models or cell.model in models
    ]
    return [f"Not trained as far as intended: {listed(said)}."] if said else []


def falling_short(cells: list[MeasuredCell]) -> list[MeasuredCell]:
    """Those of the cells whose loss is above what was registered as good enough."""
    return [cell for cell in cells if cell.good_enough() is False]


def _to_the_end(measured: list[MeasuredCell]) -> bool:
    """Whether the learning rate follows a schedule in all cells, which ends where they were read."""
    return all(cell.config.get("schedule", "constant") != "constant" for cell in measured)


def other_primary(findings: Findings) -> list[str]:
    """The verdicts by each primary metric but PD, a sentence for each that was tested."""
    said = []
    for metric in primary():
        found = findings.sensitivities(metric)
        if metric != "relative_pd" and any(each.tested for each in found):
            said.append(f"By {METRICS[metric].label.lower()}, of the same family: {verdicts_of(found)}.")
    return said


def verdicts_of(found: list[Sensitivity]) -> str:
    """Such as "undecided in TinyGRU; no difference above the margin in TinyLSTM and TinyRNN". A verdict on more than
    ``MOST_NAMED`` architectures beside others comes last, "in the 8 others"."""
    by_verdict = {
        verdict: [label(each.model) for each in found if each.verdict is verdict] for verdict in EffectVerdict
    }
    where = {verdict: listed(names) for verdict, names in by_verdict.items() if names}
    verdict, names = max(by_verdict.items(), key=lambda each: len(each[1]))
    if len(where) == 1 and len(names) >= FEWEST_UNNAMED:
        where = {verdict: f"all {len(names)} architectures"}
    elif len(where) > 1 and len(names) > MOST_NAMED:
        del where[verdict]
        where[verdict] = f"the {len(names)} others"
    return "; ".join(f"{verdict} in {names}" for verdict, names in where.items())


def scope(findings: Findings) -> str:
    """Of which models the answer is: how many, how large, and for how long they were trained."""
    measured = findings.measured
    trials = sum(cell.n_trials for cell in measured)
    sizes = [cell.n_parameters for cell in measured]
    mean = f"about {sum(sizes) / len(sizes) / 1000:,.0f}"
    parameters = mean if max(sizes) < ALIKE * min(sizes) else f"{min(sizes) / 1000:,.0f} to {max(sizes) / 1000:,.0f}"
    families = {*map(family_of, findings.models)}
    others = [name for name in findings.models if name not in families]
    n_sizes = sum(size_in(name) is not None for name in others)
    counts = {"architecture": len(families), "variant": len(others) - n_sizes, "size": n_sizes}
    architectures = listed(counted(n, what) for what, n in counts.items() if n)
    if others:
        architectures += " of it" if len(families) == 1 else " of them"
    steps = sorted({cell.config["iterations"] for cell in measured})
    return (
        f"From {counted(trials, 'trained model')}: {architectures} with "
        f"{counted(len({cell.activation for cell in measured}), 'activation')}, {trials_span(measured)} from each, "
        f"{parameters} K parameters, read after {' or '.join(map(str, steps))} steps on one "
        f"text{_settled(measured)}"
    )


def _settled(measured: list[MeasuredCell]) -> str:
    """Whether that is the end of training, or a moment of it."""
    if _to_the_end(measured):
        return ", where their schedule ends."
    known = [settled for cell in measured if (settled := cell.settled()) is not None]
    if not known or all(known):
        return "."
    return (
        f": a snapshot of training, not its end. In {known.count(False)} of {counted(len(known), 'cell')} the last "
        f"fifth of the steps lowered the loss by over {100 * SETTLED:.0f} %."
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
    needed: int | None = None  # trials of each cell that would show a difference of ``TOLD`` between two activations

    @property
    def model(self) -> str:
        return self.sensitivity.model

    @property
    def verdict(self) -> EffectVerdict:
        return self.sensitivity.verdict

    @property
    def compared(self) -> bool:
        return len(self.cells) > 1

    @property
    def unsettled(self) -> int:
        """How many of the cells have not settled."""
        return [cell.settled() for cell in self.cells].count(False)

    @property
    def short(self) -> int:
        """How many of the cells have a loss above what was registered as good enough."""
        return len(falling_short(self.cells))

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
        if not found.cv.has_interval:
            enough = found.n_activations > 1 and found.seeds.n_seeds >= FEWEST
            needed = f"it takes two activations with {FEWEST} trials from the same seeds"
            why = "trials do not vary" if enough else needed
            return f"Not tested: {why} ({basis})."
        percent = number("{:.1f}\u00a0%", 100)
        size = (
            f"Over activations, PD varies by {percent(found.cv.mean)} (CV), where noise alone gives "
            f"{percent(found.from_noise)}; without noise it would be {percent(found.cv.low)} to "
            f"{percent(found.cv.high)} (95 % interval)."
        )
        if found.tested:
            test = f"Adjusted p: {p_text(found.p_holm)} ({basis}; Holm over {found.family.text})."
        else:
            test = f"No test: {self.would_tell()} ({basis})."
        return " ".join([f"{size} {test}", *self.reservations()])

    def reservations(self) -> list[str]:
        """What was registered to be said beside the verdict on models that were not trained until good."""
        total = counted(len(self.cells), "cell")
        said = [f"{NOT_SETTLED}: {self.unsettled} of {total}."] if self.unsettled else []
        if self.short:
            said.append(
                f"Not trained as far as intended: in {self.short} of {total} the loss is above "
                f"{config_trained.GOOD_ENOUGH[self.model]:.2f} nats per character."
            )
        return said

    def would_tell(self) -> str:
        """How many trials it takes."""
        if not self.needed:
            return f"it takes {FEWEST_JUDGED} trials that vary"
        return f"{self.needed} trials would find {100 * TOLD:.0f} % between two activations, with a power of 80 %"


def too_few(answer: ArchitectureAnswer) -> bool:
    return answer.verdict is EffectVerdict.TOO_FEW


def architecture_answers(findings: Findings) -> list[ArchitectureAnswer]:
    needed = {plan.model: plan.trials[TOLD] for plan in findings.plans}  # the last of each: over all comparisons
    return [
        ArchitectureAnswer(each, _compared(findings.models[each.model]), needed[each.model])
        for each in findings.sensitivities()
    ]


def _compared(cells: list[MeasuredCell]) -> list[MeasuredCell]:
    """The cells that the verdict rests on or, where nothing is compared, all that have a PD."""
    compared = compared_cells(cells, "relative_pd")
    return compared if len(compared) > 1 else [cell for cell in cells if cell.estimate("relative_pd").known]


def mismatches_of_100(cell: MeasuredCell) -> float:
    """On how many of 100 next characters the most probable one differs between two trials, on average."""
    return 100 * cell.mean("top1_mismatches") / (cell.n_predictions or 1)


# ---------------------------------------------------------------- as short tables


def grid(findings: Findings, metric: str, title: str, digits: int) -> Table:
    """The mean of a metric in every cell: architectures by activations; and of a pair's metric before training."""
    activations = list(dict.fromkeys(cell.activation for cell in findings.measured))
    form = f"{{:.{digits}f}}"
    baselines = {model: untrained_mean(cells, metric) for model, cells in findings.models.items()}
    rows = [
        {"model": model, "untrained": baselines[model]}
        | {f"of_{cell.activation}": cell.estimate(metric) for cell in cells}
        for model, cells in findings.models.items()
    ]
    columns = (
        Column("Architecture", ("model",), label, numeric=False),
        *(Column(label(name), (f"of_{name}",), mean_of(form)) for name in activations),
        *(
            [Column("untrained, mean", ("untrained",), number(form))]
            if any(map(math.isfinite, baselines.values()))
            else []
        ),
    )
    return Table(title, columns, rows)


def verdicts(findings: Findings) -> Table:
    """The verdict on every architecture, with its size in plain numbers."""
    answers = architecture_answers(findings)
    columns = (
        Column("Architecture", ("model",), label, numeric=False),
        Column("Verdict", ("verdict",), plain, numeric=False),
        Column("CV of PD (%)", ("cv",), mean_of("{:.1f}", 100)),
        Column("without noise (%)", ("cv",), interval(1, 100)),
        Column("p, Holm", ("p_holm",), p_text),
        Column("over tests", ("n_tests",), plain),
        Column("PD, lowest to highest", ("pd",), plain, numeric=False),
        Column("Of 100 characters, two trainings disagree on", ("disagreement",), plain, numeric=False),
        *([Column("Not settled", ("unsettled",), plain)] if any(each.unsettled for each in answers) else []),
        Column("N", ("n_seeds", "n_diverged", "planned_trials"), trial_count),
        *([Column("N that would tell", ("needed",), plain)] if any(map(too_few, answers)) else []),
    )
    rows = []
    for answer in answers:
        spans = {"pd": answer.pd(), "disagreement": answer.disagreement()} if answer.compared else {}
        unsettled = f"{answer.unsettled} of {counted(len(answer.cells), 'cell')}"
        rows.append(answer.sensitivity.row() | spans | {"unsettled": unsettled, "needed": answer.needed})
    return Table("Does PD depend on the activation?", columns, rows)


def short_tables(findings: Findings) -> list[Table]:
    """What is shown first of a study."""
    return [
        grid(findings, "relative_pd", "Relative PD between two trainings (0: the same predictions; at most 2)", 3),
        grid(findings, "val_loss", "Validation loss (nats per character)", 3),
        verdicts(findings),
    ]
