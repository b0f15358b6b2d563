"""One step of a cell, built as its first trial will be, before anything is spent on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from study.own_code import explaining_gates
from study.plan import Study
from study.store import Cell
from study.users_code import users_code

BATCH = 2  # windows

TrialOf = Callable[[Study, Cell, int], Any]  # train.TrialRun


@dataclass(frozen=True)
class FirstStep:
    """What one step of a cell showed. ``initial`` and ``logits`` are hashes of what a user's own code gave before it;
    ``warning`` is empty if there is none."""

    n_parameters: int
    initial: str = ""
    logits: str = ""
    warning: str = ""


def first_step(study: Study, cell: Cell, trial_of: TrialOf) -> FirstStep:
    """Train the cell's first trial for a step, on few windows. UserError if that fails, or is no trial's start."""
    from model import count_parameters  # here, because they load PyTorch
    from study.own_checks import check_loss, check_own_cell
    from training.seeding import deterministic

    small = replace(study, config=replace(study.config, batch_size=BATCH), cuda_graphs=False)
    own = study.own.files(cell.model, cell.activation)
    with deterministic(study.device):
        if own:
            with explaining_gates(study.own.activation(cell.activation)), users_code(*own):
                return FirstStep(**check_own_cell(small, cell, trial_of))
        run = trial_of(small, cell, 1)
        run.advance()
        check_loss(run)
        return FirstStep(count_parameters(run.model))
