"""What was expected of the study of trained models before it was run, docs/preregistration.md, and what came out."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.differences import Difference, compared_cells
from analysis.findings import Findings
from analysis.measure import MeasuredCell, spread_over, untrained
from analysis.omnibus import Sensitivity, is_registered
from analysis.stats import coefficient_of_variation
from analysis.stats_many import EffectVerdict
from analysis.table import Column, Table, plain
from config_trained import CONFIG
from labels import counted, label, listed

PD = "relative_pd"
SMOOTH = ("gelu", "swish", "smelu_05", "smelu_1")


class Outcome(StrEnum):
    NOT_WRONG = "not shown wrong"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    OPEN = "open: the study is not complete"


@dataclass(frozen=True)
class Expectation:
    """One of the registration's, in its words; ``judge`` says what was found and whether it was wrong, None where
    the registration calls that undecided."""

    text: str
    wrong_if: str
    judge: Callable[[Findings], tuple[str, bool | None]]


def complete_models(findings: Findings) -> list[str]:
    """The architectures of which all registered cells have all their trials, completed or diverged."""
    full = {(cell.model, cell.activation) for cell in findings.measured if len(cell.trials) >= CONFIG.n_trials}
    return [model for model in CONFIG.models if all((model, name) in full for name in CONFIG.activations)]


# ---------------------------------------------------------------- the eight


def _where(found: list[Sensitivity], asked: Callable[[Sensitivity], bool]) -> list[str]:
    return [each.model for each in found if asked(each)]


def _in(models: list[str], total: int) -> str:
    names = f" ({listed(map(label, models))})" if models else ""
    return f"{len(models)} of {counted(total, 'architecture')}{names}"


def _matters(findings: Findings) -> tuple[str, bool | None]:
    found = findings.sensitivities(PD)
    models = _where(found, lambda each: each.verdict is EffectVerdict.MATTERS)
    return f"matters in {_in(models, len(found))}", len(models) >= 3


def _differs(findings: Findings) -> tuple[str, bool | None]:
    found = findings.sensitivities(PD)
    models = _where(found, lambda each: each.shown)
    return f"rejected in {_in(models, len(found))}", len(models) < 3


def _one_makes_most(findings: Findings) -> tuple[str, bool | None]:
    models = _where(findings.sensitivities(PD), lambda each: each.shown)
    makes_most = {model: _most_different(compared_cells(findings.models[model], PD)) for model in models}
    others = [model for model, activation in makes_most.items() if activation != "swiglu"]
    said = [f"{label(activation)} in {label(model)}" for model, activation in makes_most.items()]
    if not models:
        return "means differ in no architecture", None
    return f"the CV is lowest without {listed(said)}", len(others) > len(models) / 2


def _most_different(cells: list[MeasuredCell]) -> str:
    """The activation without which the CV is lowest."""
    without = {each.activation: spread_over([cell for cell in cells if cell is not each], PD).cv for each in cells}
    return min(without, key=lambda name: without[name])


def _relu_is_higher(findings: Findings) -> tuple[str, bool | None]:
    shown = [each for each in findings.against_first if each.shown and each.activation in SMOOTH]
    less = [each for each in shown if each.estimate.mean > 0]
    rates = {(cell.model, cell.activation): cell.config.get("learning_rate", math.nan) for cell in findings.measured}
    slower = sum(rates[each.model, each.other] < rates[each.model, each.activation] for each in less)
    found = f"ReLU has the lower PD in {len(less)} of {counted(len(shown), 'pair')} shown"
    if slower:
        found += f", in {slower} of which it also has the lower learning rate"
    return found, len(less) >= len(shown) / 2 if shown else None


def _smelu_1_stands_out(findings: Findings) -> tuple[str, bool | None]:
    models = [
        model
        for model in findings.models
        if all(_shown_below(findings.differences(PD), model, "smelu_1", other) for other in SMOOTH[:-1])
    ]
    return f"SmeLU 1 is below all three in {_in(models, len(findings.models))}", len(models) >= 2


def _shown_below(differences: list[Difference], model: str, one: str, other: str) -> bool:
    """Whether ``one`` is shown to have less than ``other``."""
    for each in differences:
        for way in (each, each.reversed):
            if (way.model, way.activation, way.other) == (model, one, other):
                return bool(way.shown) and way.estimate.mean < 0
    return False


def _mismatches_say_less(findings: Findings) -> tuple[str, bool | None]:
    by_pd, by_mismatches = (
        _where(findings.sensitivities(metric), lambda each: each.shown) for metric in (PD, "top1_mismatches")
    )
    found = f"rejected by PD in {len(by_pd)}, by mismatches in {counted(len(by_mismatches), 'architecture')}"
    return found, len(by_mismatches) > len(by_pd)


def _more_than_untrained(findings: Findings) -> tuple[str, bool | None]:
    means = {
        model: (spread_over(cells, PD).mean, sum(untrained(cell).mean for cell in cells) / len(cells))
        for model, cells in findings.models.items()
    }
    below = [model for model, (end, start) in means.items() if end < start]
    said = [f"{label(model)} {start:.3f} to {end:.3f}" for model, (end, start) in means.items()]
    return f"from step 0 to the end: {listed(said)}", bool(below)


def _architecture_matters_more(findings: Findings) -> tuple[str, bool | None]:
    over_activations = {each.model: each.cv.mean for each in findings.sensitivities(PD)}
    largest = max(over_activations, key=lambda model: over_activations[model])
    over_architectures = between_architectures(findings)
    found = (
        f"CV over architectures {100 * over_architectures:.1f} %, largest over activations "
        f"{100 * over_activations[largest]:.1f} % ({label(largest)})"
    )
    return found, over_architectures < over_activations[largest]


def between_architectures(findings: Findings) -> float:
    """The CV over architectures of PD's mean over activations; 0 for one architecture."""
    return coefficient_of_variation(np.array([spread_over(cells, PD).mean for cells in findings.models.values()]))


EXPECTATIONS = (
    Expectation(
        "The activation does not matter by 10 % in relative PD in most architectures.",
        "Wrong if the verdict is *matters* in three or more of six.",
        _matters,
    ),
    Expectation(
        "But activations are not all the same.",
        "Wrong if equal means of relative PD are rejected in fewer than three of six.",
        _differs,
    ),
    Expectation(
        "Where there is an effect, one activation makes most of it, and that is SwiGLU.",
        "Wrong if, in most architectures whose means differ, leaving out another activation lowers the CV of "
        "relative PD more than leaving out SwiGLU does.",
        _one_makes_most,
    ),
    Expectation(
        "Smooth activations are a little more reproducible than ReLU, as Shamir et al. found in other models.",
        "Wrong if, of ReLU's pairs with GELU, Swish, SmeLU 0.5 and SmeLU 1 that are shown in relative PD, at least "
        "half have ReLU as the one with less.",
        _relu_is_higher,
    ),
    Expectation(
        "SmeLU 1 does not stand out among the smooth ones.",
        "Wrong if it has less relative PD than GELU, Swish and SmeLU 0.5, each pair shown, in two or more "
        "architectures.",
        _smelu_1_stands_out,
    ),
    Expectation(
        "Mismatches say less than relative PD.",
        "Wrong if equal means of mismatches are rejected in more architectures than those of relative PD.",
        _mismatches_say_less,
    ),
    Expectation(
        "Trained models differ more than untrained ones in relative PD.",
        "Wrong if in any architecture the mean over its cells at the end is below that at step 0.",
        _more_than_untrained,
    ),
    Expectation(
        "Architecture changes relative PD more than activation does.",
        "Wrong if the CV over architectures, of the mean over activations, is below the largest of the six CVs over "
        "activations.",
        _architecture_matters_more,
    ),
)


# ---------------------------------------------------------------- the table


def is_complete(findings: Findings) -> bool:
    return len(complete_models(findings)) == len(CONFIG.models)


def judged(findings: Findings) -> list[tuple[int, str, Outcome]]:
    """Of each expectation its number, what was found and the outcome."""
    complete = is_complete(findings)
    said = []
    for number, each in enumerate(EXPECTATIONS, 1):
        found, wrong = each.judge(findings)
        outcome = {True: Outcome.WRONG, False: Outcome.NOT_WRONG, None: Outcome.UNDECIDED}[wrong]
        said.append((number, found, outcome if complete else Outcome.OPEN))
    return said


def registered(findings: Findings) -> list[Table]:
    """Each expectation and its outcome; nothing of a study that was not registered."""
    if not is_registered(findings.measured):
        return []
    complete = is_complete(findings)
    rows = [
        {
            "number": number,
            "expected": each.text,
            "wrong_if": each.wrong_if.removeprefix("Wrong if").lstrip(" ,"),
            "found": found,
            "outcome": outcome,
        }
        for each, (number, found, outcome) in zip(EXPECTATIONS, judged(findings), strict=True)
    ]
    columns = (
        Column("", ("number",), plain),
        Column("Expected", ("expected",), plain, numeric=False),
        Column("Wrong if", ("wrong_if",), plain, numeric=False),
        Column("Found" if complete else "Found so far", ("found",), plain, numeric=False),
        Column("Outcome", ("outcome",), plain, numeric=False),
    )
    note = (
        "Registered before the first trial of this study: docs/preregistration.md. None of these is a test. Cells "
        "differ in learning rate, each having its pilot's, so that 1 to 5 and 8 are of activation and rate together."
    )
    return [Table("What was expected, and what came out", columns, rows, (note,))]


TABLES = {"registered": registered}
