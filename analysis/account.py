"""Which studies there are, which of them is shown and why, and what a study lacks: in words, a line each."""

import math

import config_trained
from analysis.answer import headline
from analysis.findings import Findings
from analysis.measure import MeasuredCell, by_model, evidence, shared_environment, strongest_study
from analysis.registration import REGISTERED, registration_of
from config import ACTIVATIONS, MODELS
from labels import counted, in_order, listed

# Of an environment, what tells machines apart that may round differently; libraries show in the three roundings.
MACHINE = (
    "system",
    "machine",
    "processor",
    "cpu_capability",
    "device",
    "onednn_rounding",
    "blas_rounding",
    "torch_rounding",
)
SOURCES = {"model_source": "model", "activation_source": "activation"}  # of a user's own, and whose they are


class Studies:
    """The findings of each study among ``contents``, measured once, when first asked for."""

    def __init__(self, contents: list[dict]):
        self.contents = contents
        self.names = study_names(contents)
        self._found: dict[str, Findings] = {}

    def __getitem__(self, name: str) -> Findings:
        if name not in self._found:
            self._found[name] = Findings.of_study(self.contents, name)
        return self._found[name]


def study_names(contents: list[dict]) -> list[str]:
    return sorted({cell["study"] for cell in contents})


def in_short(contents: list[dict], study: str) -> str:
    """Such as "reference (6 architectures, 8 trials a cell, 500 steps)"."""
    architectures, _, trials, steps, _ = evidence(cells_of(contents, study))
    size = [counted(architectures, "architecture"), f"{counted(trials, 'trial')} a cell", counted(steps, "step")]
    return f"{study} ({', '.join(size)})"


def cells_of(contents: list[dict], study: str) -> list[dict]:
    return [cell for cell in contents if cell["study"] == study]


def which_study(studies: Studies, study: str, chosen: bool) -> list[str]:
    """Why this study is shown, and what else there is that compares activations.

    If it was ``chosen`` and is not the strongest, what the strongest one says.
    """
    contents = studies.contents
    strongest = strongest_study(contents)
    if chosen and study != strongest and evidence(cells_of(contents, strongest))[0]:
        there = headline(studies[strongest])
        return [f"The strongest evidence here is study {in_short(contents, strongest)}: {there}"]
    others = [name for name in studies.names if name != study and evidence(cells_of(contents, name))[0]]
    if chosen or not others:
        return []
    return [
        f"Chosen because it is the strongest evidence here: {in_short(contents, study)}. Also here: "
        f"{listed(in_short(contents, name) for name in others)}; choose one with --study NAME."
    ]


def account(measured: list[MeasuredCell]) -> list[str]:
    """What a study has, and what is missing, diverged or not comparable, a line each."""
    models, activations = [*by_model(measured)], in_order(cell.activation for cell in measured)
    grid = [(model, activation) for model in models for activation in activations]
    found = {(cell.model, cell.activation) for cell in measured}
    trials = sum(cell.n_trials for cell in measured)
    registration = REGISTERED.get(measured[0].study)
    study = registration.config if registration else None
    expected = (*study.models, *study.activations) if study else MODELS + ACTIVATIONS
    foreign = [_name(cell) for cell in registration.foreign(measured)] if registration else []
    head = (
        f"Study {measured[0].study}: {len(found)} of {counted(len(grid), 'cell')} of "
        f"{counted(len(models), 'architecture')} x {counted(len(activations), 'activation')}, "
        f"{counted(trials, 'completed trial')}"
    )
    problems = {
        "Missing cells": [" ".join(place) for place in grid if place not in found],
        "Missing trials": [_missing_trials(cell) for cell in measured if cell.content["status"] != "completed"],
        "Diverged trials": [f"{_name(cell)} {cell.n_diverged}" for cell in measured if cell.n_diverged],
        "Nothing yet of": [name for name in expected if name not in models + activations],
        "Not of the registered study of this name": foreign,
        "Each cell at the learning rate that its pilots chose": piloted_rates(measured),
        "Not comparable, because cells differ in": differing_settings(measured),
        "Comparable but for rounding, because trials differ in": differing_machines(measured),
    }
    return [head, *(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)]


def _name(cell: MeasuredCell) -> str:
    return f"{cell.model} {cell.activation}"


def _missing_trials(cell: MeasuredCell) -> str:
    missing = cell.planned_trials - len(cell.trials)
    return f"{_name(cell)} {missing} of {cell.planned_trials}"


def piloted_rates(measured: list[MeasuredCell]) -> list[str]:
    """The learning rates of all cells, where each is the one that was chosen for it and not all are the same."""
    rates = {(cell.model, cell.activation): cell.config.get("learning_rate", math.nan) for cell in measured}
    chosen = len(set(rates.values())) > 1 and rates.items() <= config_trained.RATES.items()
    return [" or ".join(f"{rate:g}" for rate in sorted(set(rates.values())))] if chosen else []


def differing_settings(measured: list[MeasuredCell]) -> list[str]:
    """Settings, other than those of a cell itself, that are not the same in all cells; also the source of a user's
    own model or activation where it was edited between its cells. Learning rates are no such setting where each cell
    has its pilot's, or its architecture's in a study that is registered so."""
    registration = registration_of(measured)
    as_meant = piloted_rates(measured) or (registration and registration.one_rate)
    own = {"model", "activation", "shape", *(["learning_rate"] if as_meant else [])}
    values: dict[str, set[str]] = {}
    for name in sorted({name for cell in measured for name in cell.config} - own - {*SOURCES}):
        values[name] = {str(cell.config.get(name)) for cell in measured}
    for source, kind in SOURCES.items():
        for cell in measured:
            if source in cell.config:
                values.setdefault(f"source of {cell.config[kind]}", set()).add(str(cell.config[source]))
    return [f"{name} ({' or '.join(sorted(seen))})" for name, seen in values.items() if len(seen) > 1]


def differing_machines(measured: list[MeasuredCell]) -> list[str]:
    """What rounding depends on and is not the same for all trials, as far as it was recorded."""
    found = shared_environment(cell.content for cell in measured)
    values = {
        name: [value for value in found[name] if value is not None] for name in MACHINE if _differs(found, name)
    }
    return [f"{name} ({' or '.join(map(str, known))})" for name, known in values.items() if len(known) > 1]


def _differs(found: dict, name: str) -> bool:
    return isinstance(found.get(name), list)
