"""What is checked of a cell with a user's own model or activation before anything is spent on it.

Whether the same seed gives the same bits and a resumed trial goes on to them, whether a position sees what comes
after it, whether evaluation is without chance, and whether every parameter is trained.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from model import RECURRENCES_IN_FLOAT32, count_parameters
from study.files import UserError, digest
from study.plan import Study
from study.store import Cell
from training.landscape import barrier, gradient_noise, top_eigenvalue
from training.own_model import OwnModel, logits_of
from training.seeding import seed_everything

CLOSE = 1e-4  # by which logits of the same text may differ for their rounding
UNLIKE_LOSS = 1e-3


def check_own_cell(study: Study, cell: Cell, trial_of: Callable[..., Any]) -> dict[str, Any]:
    """Three steps of a cell in all; what they show, for a ``FirstStep``. UserError for a cell that cannot be
    trained, or not to the same bits again."""
    run, config = trial_of(study, cell, 1), study.config
    initial = bits(run.model)
    tokens = run.probe.contexts[: config.batch_size]
    logits = check_forward(run, tokens)
    warning = own_loss_warning(run.model, tokens)
    run.advance()
    check_loss(run)
    unused = [name for name, parameter in run.model.named_parameters() if parameter.grad is None]
    if unused:
        name = unused[0].removeprefix("module.")
        raise UserError(
            f"parameter {name} gets no gradient, being unused or frozen; use it, or make it a buffer"
            + (f" (and {len(unused) - 1} more)" if len(unused) > 1 else "")
        )
    check_resume(run, trial_of(study, cell, 1), initial)
    if config.landscape:
        check_landscape(run)
    return {"n_parameters": count_parameters(run.model), "initial": initial, "logits": logits, "warning": warning}


def check_precision(study: Study, model: torch.nn.Module) -> None:
    """UserError where a GPU would run a part of a user's model in float16, as ``model.recurred`` says."""
    recurrent = isinstance(model, OwnModel) and any(isinstance(part, torch.nn.RNNBase) for part in model.modules())
    if recurrent and study.precision == "bfloat16" and study.device in RECURRENCES_IN_FLOAT32:
        raise UserError(
            "on a GPU, PyTorch runs LSTM, GRU and RNN in float16 for bfloat16; choose --precision float32"
        )


@torch.no_grad()
def check_forward(run: Any, tokens: torch.Tensor) -> str:
    """Shape, causality and a forward pass without chance; returns a hash of the logits of ``tokens`` (B, T)."""
    model, (B, T), V = run.model.eval(), tokens.shape, run.config.vocabulary_size
    logits = model(tokens)
    if not isinstance(logits, torch.Tensor) or logits.shape != (B, T, V):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"logits are {found} instead of {(B, T, V)}: batch, context, symbols")
    if not logits.isfinite().all():
        raise UserError("logits are not all finite before any training")
    seed_everything(run.seed + 1)
    if not torch.equal(model(tokens), logits):
        raise UserError("predictions of the same text differ in eval mode; they must be without chance")
    first = max(1, T // 2)
    if model(tokens[:1, :first]).shape != (1, first, V):  # the last window of the validation split is shorter, too
        raise UserError(f"of {first} characters alone the logits are not {(1, first, V)}")
    changed = tokens.clone()
    changed[:, first:] = (changed[:, first:] + 1) % V
    difference = float((model(changed) - logits)[:, :first].abs().max())
    if difference > CLOSE * max(1.0, float(logits.abs().max())):
        raise UserError("a position's prediction depends on characters after it; the model must be causal")
    return digest(logits.cpu().numpy().tobytes())


@torch.no_grad()
def own_loss_warning(model: torch.nn.Module, tokens: torch.Tensor) -> str:
    """Of nanoGPT's convention: whether the model's own loss is another than the one that is trained on."""
    if not isinstance(model, OwnModel) or not model.with_targets:
        return ""
    output = model.module(tokens, tokens)
    ours = float(F.cross_entropy(logits_of(output).flatten(0, 1).float(), tokens.flatten()))
    theirs = float(output[1])
    if abs(theirs - ours) <= UNLIKE_LOSS * max(1.0, abs(ours)):
        return ""
    return f"its own loss ({theirs:.4g}) is no cross-entropy ({ours:.4g}), which is what is trained on here"


def check_resume(run: Any, again: Any, initial: str) -> None:
    """A second step of ``run``, and the same of the trial built ``again`` and given the weights after the first."""
    if bits(again.model) != initial:
        raise UserError(
            "the same seed twice does not give the same initial values; draw them from PyTorch's, NumPy's or "
            "Python's own generator"
        )
    again.model.load_state_dict(copy.deepcopy(run.model.state_dict()))
    again.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    again.step = run.step
    for each in (run, again):
        each.advance()
    if bits(again.model) != bits(run.model):
        raise UserError(
            "a step from the same weights and seed does not give the same bits twice, so that no trial could be "
            "resumed; is chance drawn from a generator of its own, or something kept that is not in state_dict?"
        )


def check_landscape(run: Any) -> None:
    """Whether curvature, gradient noise and barriers can be computed, which a trial would find out at its end."""
    inputs = run.probe.contexts[: run.config.batch_size]
    start = torch.ones(count_parameters(run.model))
    top_eigenvalue(run.model, (inputs, inputs), start)
    gradient_noise(run.model, (inputs, inputs), 1)
    barrier(run.model, run.model.state_dict(), run.model.state_dict(), (inputs, inputs))


def bits(model: torch.nn.Module) -> str:
    """A hash of all that the model holds."""
    values = (value.detach().cpu().contiguous().reshape(-1) for value in model.state_dict().values())
    return digest(b"".join(value.view(torch.uint8).numpy().tobytes() for value in values if value.numel()))


def check_loss(run: Any) -> None:
    if not run.train_on.finite:
        raise UserError("the loss of the first step is not finite")
