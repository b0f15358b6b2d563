"""What a trial that is not finished is continued from: read as a whole and checked before anything of it is used."""

import io
from pathlib import Path

import torch

from study.files import Damaged, Misplaced, check_form, read_sealed
from study.schema import StateForm, state_faults
from study.store import check_identity


def read_state(path: Path, facts: dict, number: int, device: str) -> dict:
    """The saved state in ``path``, its tensors on ``device``; Damaged if it is not one, Misplaced if another trial's.

    OtherSettings if it was not made with the settings ``facts``.
    """
    payload = read_sealed(path)
    try:
        state = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # of many kinds, after what the loader happens to meet
        raise Damaged(f"{path} is no saved state ({type(error).__name__})") from None
    check_form(path, state, StateForm, state_faults)
    check_identity(path, state, facts)
    if state["trial"] != number:
        raise Misplaced(f"{path} is of another trial")
    expected = {
        "predictions": (
            torch.float32,
            (len(state["history"]["step"]), facts["probe_contexts"], facts["vocabulary_size"]),
        ),
        "finite": (torch.bool, ()),
    }
    for name, form in expected.items():
        if form_of(state[name]) != form:
            raise Damaged(f"{path} is damaged ({name}: not of type and shape {form})")
    return state


def form_of(value: object) -> tuple[torch.dtype, tuple[int, ...]] | None:
    """Type and shape of a tensor; None for anything else."""
    return (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else None


def check_fits(path: Path, state: dict, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Damaged unless weights and moments of ``state`` are of this model and optimizer, so that loading cannot fail
    half-way."""
    weights = model.state_dict()
    if {name: form_of(value) for name, value in state["model"].items()} != {
        name: form_of(value) for name, value in weights.items()
    }:
        raise Damaged(f"{path} is damaged (model: other weights than those of the model)")
    saved, own = state["optimizer"], optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        index: {name: form_of(value) for name, value in entry.items() if name != "step"}
        for index, entry in saved["state"].items()
    }
    shapes = {
        index: dict.fromkeys(("exp_avg", "exp_avg_sq"), form_of(parameter))
        for index, parameter in enumerate(parameters)
    }
    if (
        saved["param_groups"] != own["param_groups"]
        or moments not in ({}, shapes)
        or bool(moments) != (state["step"] > 0)
    ):
        raise Damaged(f"{path} is damaged (optimizer: not that of the model)")
