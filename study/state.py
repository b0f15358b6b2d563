"""What a trial that is not finished is continued from: read as a whole and checked before anything of it is used."""

import copy
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.evaluations import stacked, stacked_shapes, unstacked
from study.files import Damaged, Misplaced, Stale, check_form, read_bytes, read_sealed
from study.schema import StateForm, state_faults
from study.store import check_fingerprint, check_identity, continues

MOMENTS = ({"step", "exp_avg", "exp_avg_sq"}, {"mean"})  # of Adam and AdamW, of Muon
NO_MOMENTS: tuple[set[str], ...] = (set(),)
STATE_NAMES = {"probabilities": "predictions", "earlier": "earlier_predictions"}  # of arrays of predictions


def read_state(path: Path, facts: dict, number: int, device: str) -> dict:
    """The saved state in ``path``, its tensors on ``device``; Damaged if it is not one, Misplaced if another trial's.

    OtherSettings if it was not made with the settings ``facts``; Stale if it is what a finished trial leaves there.
    """
    try:
        state = read_tensors(path, device)
    except Damaged:
        if holds_weights(path):
            raise Stale(f"{path} has the weights of a finished trial whose record is gone") from None
        raise
    check_form(path, state, StateForm, state_faults)
    check_fingerprint(path, state)
    if not continues(state["config"], facts):
        check_identity(path, state, facts)
    if state["trial"] != number:
        raise Misplaced(f"{path} is of another trial")
    shapes = stacked_shapes(state["config"], state["history"]["step"])
    expected = {
        "predictions": (torch.float32, shapes["probabilities"]),
        "earlier_predictions": (torch.float32, shapes["earlier"]) if "earlier" in shapes else None,
        "finite": (torch.bool, ()),
    }
    for name, form in expected.items():
        if form_of(state.get(name)) != form:
            raise Damaged(f"{path} is damaged ({name}: not of type and shape {form})")
    return state


def predictions_to_keep(predictions: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """Those of each evaluation, (samples, V), as a state has them."""
    arrays = stacked(predictions)
    return {STATE_NAMES[name]: torch.from_numpy(array) for name, array in arrays.items()}


def kept_predictions(state: dict) -> list[np.ndarray]:
    """What ``predictions_to_keep`` was given."""
    return unstacked({name: state[key].cpu().numpy() for name, key in STATE_NAMES.items() if key in state})


def read_tensors(path: Path, device: str) -> Any:
    """What was saved by ``torch.save`` and sealed in ``path``, its tensors on ``device``; Damaged if nothing was."""
    payload = read_sealed(path)
    try:
        return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # of many kinds, after what the loader happens to meet
        raise Damaged(f"{path} is no saved state ({type(error).__name__})") from None


def holds_weights(path: Path) -> bool:
    """Whether ``path`` has the weights of a model and nothing else, as a finished trial leaves them."""
    try:
        content = torch.load(io.BytesIO(read_bytes(path)), map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, after what the loader happens to meet
        return False
    return isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())


def form_of(value: object) -> tuple[torch.dtype, tuple[int, ...]] | None:
    """Type and shape of a tensor; None for anything else."""
    return (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else None


def load_into(path: Path, state: dict, model: torch.nn.Module, optimizer: Any) -> None:
    """Give ``model`` and ``optimizer`` the weights and moments of a ``state`` read from ``path``.

    Damaged if they are those of others; then both are as before.
    """
    settings = settings_of(optimizer)

    def fit() -> bool:
        return settings_of(optimizer) == settings and moments_fit(model, optimizer, begun=state["step"] > 0)

    load_if(fit, path, state, model, optimizer)


def load_if(fit: Callable[[], bool], path: Path, state: dict, model: torch.nn.Module, optimizer: Any) -> None:
    """``load_into`` for a model and optimizer of any kind; ``fit`` says, after loading, whether it was right."""
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        fits = fit()
    except Exception:  # of many kinds, after what torch happens to meet
        fits = False
    if not fits:
        for part, content in zip((model, optimizer), before, strict=True):
            part.load_state_dict(content)
        raise Damaged(f"{path} is damaged (model, optimizer: not those of this trial)")


def settings_of(optimizer: Any) -> list[dict]:
    """Of each group of parameters, but for the learning rate, which a schedule changes."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]


def moments_fit(model: torch.nn.Module, optimizer: Any, begun: bool) -> bool:
    """Whether each parameter has the moments of an optimizer that has ``begun``, in its own shape."""
    for parameter in model.parameters():
        moments = optimizer.state.get(parameter, {})
        if moments.keys() not in (MOMENTS if begun else NO_MOMENTS):
            return False
        if any(value.shape != parameter.shape for name, value in moments.items() if name != "step"):
            return False
    return True
