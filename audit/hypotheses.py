"""The report's hypotheses, answered in a sentence each from our findings. Pure functions.

``findings`` are those of the study that was made for a hypothesis or, where there is none, of the study that
``Ours.beside(None)`` chooses: the longest of those with the most architectures. PD is relative PD over all classes. A
difference is "shown" or not by the findings' own test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.answer import ALIKE
from analysis.differences import Difference, against, between
from analysis.findings import Findings
from analysis.omnibus import Sensitivity
from analysis.table import ABSENT, Row, interval, with_interval
from audit.measures import Measurement, measured
from audit.ours import Ours, where
from labels import counted, label

RELU, SWIGLU, NARROW, WIDE = "relu", "swiglu", "smelu_05", "smelu_1"
LSTM = "tinylstm"
SMOOTH = (NARROW, WIDE, "gelu", "swish", SWIGLU)  # which the report calls so, in 8.2
PERCENT = 100


@dataclass(frozen=True)
class Hypothesis:
    """What the report claims (with the sections that do), and what our findings, of ``study`` if it is there, say of
    it."""

    sections: str
    words: str
    answer: Callable[[Findings], str]
    study: str = ""


@dataclass(frozen=True)
class AnsweredHypothesis:
    hypothesis: Hypothesis
    answer: str
    where: str

    def row(self) -> Row:
        return {
            "section": self.hypothesis.sections,
            "words": self.hypothesis.words,
            "ours": self.answer,
            "where": self.where,
        }


def answered(ours: Ours | None) -> list[AnsweredHypothesis]:
    """Every hypothesis with what our study says; a dash where nothing has been measured."""
    answers, longest = [], ours.beside(None) if ours else None
    for each in HYPOTHESES:
        findings = (ours.named(each.study) if ours else None) or longest
        said = (each.answer(findings), where(findings)) if findings else (ABSENT, ABSENT)
        answers.append(AnsweredHypothesis(each, *said))
    return answers


# ---------------------------------------------------------------- parts of sentences


def _tally(differences: list[Difference], metric: str = "PD") -> str:
    """How many differences are shown, in which direction, and the extremes with their intervals; ends a sentence."""
    differences = [each for each in differences if each.estimate.known]
    if not differences:
        return "not compared in this study."
    lower = [each for each in differences if each.shown and each.estimate.mean < 0]
    higher = [each for each in differences if each.shown and each.estimate.mean > 0]
    ordered = sorted(differences, key=lambda each: each.relative)
    extremes = dict.fromkeys((ordered[0], ordered[-1]))
    shown = f"{metric} is shown lower in {len(lower)} and higher in {len(higher)}"
    if all(each.shown is None for each in differences):
        shown = "none could be tested with so few trials"
    return (
        f"of {counted(len(differences), 'difference')}, {shown}; from "
        f"{' to '.join(_percent(each) for each in extremes)}."
    )


def _percent(difference: Difference) -> str:
    """Such as "-3.1 % [-6.0, -0.2] (CharLM, GELU minus ReLU)"."""
    if not difference.second:
        return ABSENT
    scale = PERCENT / difference.second
    shown = f"{scale * difference.estimate.mean:+.1f} %"
    place = f"{label(difference.model)}, {label(difference.activation)} minus {label(difference.other)}"
    return f"{shown} {interval(1, scale)(difference.estimate)} ({place})"


def _cvs(found: Iterable[Sensitivity]) -> str:
    texts = [f"{label(each.model)} {with_interval(1, PERCENT)(each.cv)} %, {each.verdict}" for each in found]
    return "; ".join(texts)


def _texts(found: list[Measurement]) -> str:
    return "; ".join(each.text() for each in found) or "not measured in this study"


# ---------------------------------------------------------------- the answers


def smooth_is_lower(findings: Findings) -> str:
    smooth = [each for each in against(RELU, findings.differences()) if each.activation in SMOOTH]
    return f"A smooth activation minus ReLU: {_tally(smooth)}"


def by_mismatches(findings: Findings) -> str:
    known = against(RELU, findings.differences("top1_mismatches"))
    smooth = [each for each in known if each.activation in SMOOTH]
    return f"The same by top-1 mismatches: {_tally(smooth, 'the count')}"


def swiglu_is_lowest(findings: Findings) -> str:
    return f"SwiGLU minus each other activation: {_tally(against_of(findings, SWIGLU))}"


def against_of(findings: Findings, activation: str) -> list[Difference]:
    """PD with an activation minus that with every other, where both were trained."""
    return [each.reversed for each in against(activation, findings.differences())]


def wider_bend_is_lower(findings: Findings) -> str:
    found = [between(findings.differences(), model, WIDE, NARROW) for model in findings.models]
    return f"SmeLU of β=1 minus that of β=0.5: {_tally([each for each in found if each is not None])}"


def loss_against_pd(findings: Findings) -> str:
    asked = {"measure": "correlation", "metrics": ["val_loss", "relative_pd"]}
    within = _texts(measured(findings, asked))
    return (
        f"Loss and PD over activations, within architectures: {within}. A trade-off makes it negative; a positive "
        "one says that the activation with the better loss has the lower PD too."
    )


def activation_matters(findings: Findings) -> str:
    return f"CV of PD over activations, with the interval of that without noise: {_cvs(findings.sensitivities())}."


def recurrent_is_most_reproducible(findings: Findings) -> str:
    cells = {cell.model: cell for cell in findings.measured if cell.activation == RELU}
    lstm = cells.pop(LSTM, None)
    if lstm is None or not lstm.mean("relative_pd") > 0:
        return "Not measured in this study."
    times = [
        f"{label(model)} {cell.mean('relative_pd') / lstm.mean('relative_pd'):.2f}"
        for model, cell in cells.items()
        if cell.estimate("relative_pd").known
    ]
    losses = sorted(cell.mean("val_loss") for cell in cells.values() if cell.estimate("val_loss").known)
    theirs = f"; the others' losses are {losses[0]:.2f} to {losses[-1]:.2f}" if losses else ""
    return (
        f"PD with ReLU, as a multiple of {label(LSTM)}'s: {', '.join(times) or ABSENT}. {label(LSTM)}'s is "
        f"{with_interval(3)(lstm.estimate('relative_pd'))}, at a loss of {lstm.mean('val_loss'):.2f}{theirs}."
    )


def formula_matters(findings: Findings) -> str:
    ratios = measured(findings, {"measure": "metric_ratio", "metrics": ["relative_pd", "global_pd"]})
    found = findings.sensitivities("global_pd")
    if not ratios:
        return "Not measured in this study."
    least, most = min(each.estimate.mean for each in ratios), max(each.to for each in ratios)
    times = f"Element-wise PD is {least:.1f} to {most:.1f} times that by the old formula, on the same contexts."
    return f"{times} CV by the old: {_cvs(found)}."


def early_test(findings: Findings) -> str:
    found = _texts(measured(findings, {"measure": "early_verdicts"}))
    return f"By the rule for verdicts: {found}. What the last step says of longer training is not measured here."


def steady_loss(findings: Findings) -> str:
    """Std of the loss over trials, by activation, against PD."""
    ranks = []
    for model, found in findings.models.items():
        cells = [cell for cell in found if cell.estimate("relative_pd").known]
        if not cells:
            continue
        spreads = sorted(cells, key=lambda cell: cell.estimate("val_loss").std)
        lowest = min(cells, key=lambda cell: cell.mean("relative_pd"))
        ranks.append(f"{label(model)} {label(lowest.activation)} {spreads.index(lowest) + 1} of {len(cells)}")
    return (
        "Rank of the activation with the lowest PD by the standard deviation of its loss, 1 being the steadiest: "
        f"{'; '.join(ranks) or 'not measured in this study'}. Standard deviations of so few trials are uncertain by "
        "a factor of two or more."
    )


def part_makes_sensitive(findings: Findings) -> str:
    if not findings.part_effects:
        return "Not measured in this study. See docs/parts.md."
    return f"CV of PD over activations, of architectures and variants of them: {_cvs(findings.sensitivities())}."


def size_matters(findings: Findings) -> str:
    if trends := measured(findings, {"measure": "size_trend"}):
        return f"{_texts(trends)}. See docs/parts.md."
    counts = [cell.n_parameters for cell in findings.measured]
    if max(counts) >= ALIKE * min(counts):
        return f"The study has {min(counts):,} to {max(counts):,} parameters: --tables sizes."
    return f"Not measured: the study has one size, {min(counts):,} to {max(counts):,} parameters. See docs/parts.md."


HYPOTHESES = (
    Hypothesis("1.1, 4.1, 8.2", "Smooth activations make predictions more reproducible than ReLU", smooth_is_lower),
    Hypothesis("4.1, B", "... also by the number of mismatches", by_mismatches),
    Hypothesis("3.5.2, 8.1, 8.4", "SwiGLU is the most reproducible (45 % better)", swiglu_is_lowest),
    Hypothesis("4.4", "A larger β of SmeLU improves reproducibility", wider_bend_is_lower),
    Hypothesis("4.2, 7.5", "Loss and reproducibility are a trade-off", loss_against_pd),
    Hypothesis("4.6", "Agreement of predictions is not steadiness of the loss", steady_loss),
    Hypothesis("8.1, 8.4, 8.6", "The choice matters; transformers > CNNs > hybrids > LSTMs", activation_matters),
    Hypothesis(
        "3.5.6, 8.2", "An LSTM is 10-30 times as reproducible as a transformer", recurrent_is_most_reproducible
    ),
    Hypothesis(
        "3.5.7, 6.2, 8.1", "The element-wise formula shows what the old one hides, at 1.6-1.8 times", formula_matters
    ),
    Hypothesis("7.1, 7.8", "100 to 500 steps tell whether the choice will matter", early_test),
    Hypothesis("7.2", "One part, such as recurrence, makes a model sensitive", part_makes_sensitive, "parts"),
    Hypothesis("7.3, 8.1, 8.4", "Sensitivity falls (7.3) or grows (8.4) with size", size_matters, "sizes"),
)
