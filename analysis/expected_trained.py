"""What was expected of the study of trained models before it was run: docs/preregistration.md, its eight."""

import math

import numpy as np

from analysis.differences import Difference, between, compared_cells
from analysis.expectation import PD, Expectation, Found, Outcome, in_models, where
from analysis.findings import Findings
from analysis.measure import MeasuredCell, spread_over, untrained_mean
from analysis.stats import coefficient_of_variation
from analysis.stats_many import EffectVerdict
from config_trained import CONFIG
from labels import counted, label, listed

SMOOTH = ("gelu", "swish", "smelu_05", "smelu_1")


def _matters(findings: Findings) -> Found:
    found = findings.sensitivities(PD)
    models = where(found, lambda each: each.verdict is EffectVerdict.MATTERS)
    return f"matters in {in_models(models, len(found))}", Outcome.of(len(models) >= 3)


def _differs(findings: Findings) -> Found:
    found = findings.sensitivities(PD)
    models = where(found, lambda each: each.shown)
    return f"rejected in {in_models(models, len(found))}", Outcome.of(len(models) < 3)


def _one_makes_most(findings: Findings) -> Found:
    models = where(findings.sensitivities(PD), lambda each: each.shown)
    makes_most = {model: _most_different(compared_cells(findings.models[model], PD)) for model in models}
    others = [model for model, activation in makes_most.items() if activation != "swiglu"]
    said = [f"{label(activation)} in {label(model)}" for model, activation in makes_most.items()]
    if not models:
        return "means differ in no architecture", Outcome.UNDECIDED
    return f"the CV is lowest without {listed(said)}", Outcome.of(len(others) > len(models) / 2)


def _most_different(cells: list[MeasuredCell]) -> str:
    """The activation without which the CV is lowest."""
    without = {each.activation: spread_over([cell for cell in cells if cell is not each], PD).cv for each in cells}
    return min(without, key=lambda name: without[name])


def _relu_is_higher(findings: Findings) -> Found:
    asked = [each for each in findings.against_first if each.activation in SMOOTH]
    shown = [each for each in asked if each.shown]
    less = [each for each in shown if each.estimate.mean > 0]
    rates = {(cell.model, cell.activation): cell.config.get("learning_rate", math.nan) for cell in findings.measured}
    slower = sum(rates[each.model, each.other] < rates[each.model, each.activation] for each in less)
    found = f"ReLU has the lower PD in {len(less)} of {counted(len(shown), 'pair')} shown (of {len(asked)})"
    if slower:
        found += f", in {slower} of which it also has the lower learning rate"
    return found, Outcome.of(len(less) >= len(shown) / 2) if shown else Outcome.UNDECIDED


def _smelu_1_stands_out(findings: Findings) -> Found:
    models = [
        model
        for model in findings.models
        if all(_shown_below(findings.differences(PD), model, "smelu_1", other) for other in SMOOTH[:-1])
    ]
    return f"SmeLU 1 is below all three in {in_models(models, len(findings.models))}", Outcome.of(len(models) >= 2)


def _shown_below(differences: list[Difference], model: str, one: str, other: str) -> bool:
    """Whether ``one`` is shown to have less than ``other``."""
    found = between(differences, model, one, other)
    return found is not None and bool(found.shown) and found.estimate.mean < 0


def _mismatches_say_less(findings: Findings) -> Found:
    by_pd, by_mismatches = (
        where(findings.sensitivities(metric), lambda each: each.shown) for metric in (PD, "top1_mismatches")
    )
    found = f"rejected by PD in {len(by_pd)}, by mismatches in {counted(len(by_mismatches), 'architecture')}"
    return found, Outcome.of(len(by_mismatches) > len(by_pd))


def _more_than_untrained(findings: Findings) -> Found:
    means = {model: (spread_over(cells, PD).mean, untrained_mean(cells)) for model, cells in findings.models.items()}
    below = [model for model, (end, start) in means.items() if end < start]
    said = [f"{label(model)} {start:.3f} to {end:.3f}" for model, (end, start) in means.items()]
    return f"from step 0 to the end: {listed(said)}", Outcome.of(bool(below))


def _architecture_matters_more(findings: Findings) -> Found:
    over_activations = {each.model: each.cv.mean for each in findings.sensitivities(PD)}
    largest = max(over_activations, key=lambda model: over_activations[model])
    over_architectures = between_architectures(findings)
    found = (
        f"CV over architectures {100 * over_architectures:.1f} %, largest over activations "
        f"{100 * over_activations[largest]:.1f} % ({label(largest)})"
    )
    return found, Outcome.of(over_architectures < over_activations[largest])


def between_architectures(findings: Findings) -> float:
    """The CV over architectures of PD's mean over activations; 0 for one architecture."""
    return coefficient_of_variation(np.array([spread_over(cells, PD).mean for cells in findings.models.values()]))


EXPECTATIONS = {
    CONFIG.study: (
        Expectation(
            1,
            "The activation does not matter by 10 % in relative PD in most architectures.",
            "Wrong if the verdict is *matters* in three or more of six.",
            _matters,
        ),
        Expectation(
            2,
            "But activations are not all the same.",
            "Wrong if equal means of relative PD are rejected in fewer than three of six.",
            _differs,
        ),
        Expectation(
            3,
            "Where there is an effect, one activation makes most of it, and that is SwiGLU.",
            "Wrong if, in most architectures whose means differ, leaving out another activation lowers the CV of "
            "relative PD more than leaving out SwiGLU does.",
            _one_makes_most,
        ),
        Expectation(
            4,
            "Smooth activations are a little more reproducible than ReLU, as Shamir et al. found in other models.",
            "Wrong if, of ReLU's pairs with GELU, Swish, SmeLU 0.5 and SmeLU 1 that are shown in relative PD, at "
            "least half have ReLU as the one with less.",
            _relu_is_higher,
        ),
        Expectation(
            5,
            "SmeLU 1 does not stand out among the smooth ones.",
            "Wrong if it has less relative PD than GELU, Swish and SmeLU 0.5, each pair shown, in two or more "
            "architectures.",
            _smelu_1_stands_out,
        ),
        Expectation(
            6,
            "Mismatches say less than relative PD.",
            "Wrong if equal means of mismatches are rejected in more architectures than those of relative PD.",
            _mismatches_say_less,
        ),
        Expectation(
            7,
            "Trained models differ more than untrained ones in relative PD.",
            "Wrong if in any architecture the mean over its cells at the end is below that at step 0.",
            _more_than_untrained,
        ),
        Expectation(
            8,
            "Architecture changes relative PD more than activation does.",
            "Wrong if the CV over architectures, of the mean over activations, is below the largest of the six CVs "
            "over activations.",
            _architecture_matters_more,
        ),
    )
}
