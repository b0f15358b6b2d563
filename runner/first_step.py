"""One step of every planned cell before the first trial is trained, so that a model that does not work is found now,
and models of unlike sizes are said."""

import math
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from statistics import median

from config import size_in
from runner.workers import Event, outcome_of, run_jobs
from study import cli
from study.files import UserError
from study.first_step import FirstStep, first_step
from study.plan import Study, has_cuda
from study.store import Cell

LARGEST_SIZE_DIFFERENCE = 0.02  # of parameter counts over the activations of a model
LARGEST_BETWEEN_MODELS = 0.10


def check_cells(study: Study, cells: Iterable[Cell]) -> None:
    """Run a step of each cell, and say what a user should know; UserError, in one line, for a cell that cannot be
    trained.

    In this process where it has PyTorch loaded, otherwise in a worker's, so that the runner does without.
    """
    here = replace(study, device="cpu") if study.device == "cuda" and not has_cuda() else study
    seen: dict[Cell, FirstStep] = {}

    def on_event(event: Event) -> None:
        if event.kind == "failed":
            raise UserError(f"{event.job.model} with {event.job.activation}: {event.detail.strip().splitlines()[-1]}")
        if event.kind == "done":
            seen[event.job] = event.result

    if here.device == "cpu" and "torch" in sys.modules:
        for cell in cells:
            on_event(rehearse(here, cell, on_event, lambda: False))
    else:
        run_jobs(here, 1, cells, on_event, lambda: False, rehearse)
    for warning in warnings(study, seen) if seen else []:
        cli.say(f"warning: {warning}")


def rehearse(study: Study, cell: Cell, send: Callable[[Event], None], should_stop: Callable[[], bool]) -> Event:
    """The ``workers.Work`` of this part: one step of a cell."""
    from train import TrialRun  # here, because it loads PyTorch

    found: list[FirstStep] = []

    def step() -> str:
        found.append(first_step(study, cell, TrialRun))
        return "works"

    ended = outcome_of(cell, step)
    return replace(ended, result=found[0] if found else None)


# ---------------------------------------------------------------- all of them


def warnings(study: Study, seen: Mapping[Cell, FirstStep]) -> list[str]:
    """UserError where two activations of a user's model make no difference."""
    by_model: dict[str, dict[str, FirstStep]] = {}
    for cell, step in seen.items():
        by_model.setdefault(cell.model, {})[cell.activation] = step
    found = [f"{cell.model} with {cell.activation}: {step.warning}" for cell, step in seen.items() if step.warning]
    for model, steps in by_model.items():
        outputs = {name: (step.initial, step.logits) for name, step in steps.items()}
        if model in study.own.models and (same := alike(outputs)):
            raise UserError(f"{model} predicts the same with {same[0]} and {same[1]}; does it use its activation?")
        sizes = {name: step.n_parameters for name, step in steps.items()}
        found += [f"{model}: {warning}" for warning in size_warnings(sizes)]
    unscaled = {model: steps for model, steps in by_model.items() if not size_in(model)}
    return found + model_size_warnings(
        {model: round(median(step.n_parameters for step in steps.values())) for model, steps in unscaled.items()}
    )


def alike(found: Mapping[str, Hashable]) -> tuple[str, str] | None:
    """The first two names of which the same was found; None where there are none."""
    there: dict[Hashable, str] = {}
    for name, what in found.items():
        other = there.setdefault(what, name)
        if other != name:
            return other, name
    return None


def size_warnings(sizes: Mapping[str, int]) -> list[str]:
    """Whether the parameter counts of a model with several activations are too unlike."""
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    more = sizes[most] / max(1, sizes[least]) - 1
    if more <= LARGEST_SIZE_DIFFERENCE:
        return []
    return [
        f"{most} has {100 * more:.0f} % more parameters than {least} ({sizes[most]:,} and {sizes[least]:,}), so size "
        "may explain a difference; for a gated activation make the layer in front narrower"
    ]


def model_size_warnings(sizes: Mapping[str, int]) -> list[str]:
    """Whether the parameter counts of several models, none of whose sizes was asked for, are too unlike."""
    if not sizes:
        return []
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    fewer = 1 - sizes[least] / sizes[most]
    if fewer <= LARGEST_BETWEEN_MODELS:
        return []
    return [
        f"{least} has {math.floor(100 * fewer)} % fewer parameters than {most} ({sizes[least]:,} and "
        f"{sizes[most]:,}), so size may explain a difference between models"
    ]
