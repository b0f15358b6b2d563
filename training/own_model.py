"""A user's own module behind the contract of the architectures, and what such modules return."""

from typing import Any

import torch
from torch import nn

from training.seeding import MaskStream


class OwnModel(nn.Module):
    """``module`` as a language model: tokens (B, T) -> logits (B, T, V), with its own initial values.

    A module of nanoGPT's convention gives the logits of all positions only where it is given targets too; it is
    given the tokens themselves, which are no secret, and its loss is not used.
    """

    def __init__(self, module: nn.Module, context: int):
        super().__init__()
        self.module = module
        self.context = context
        self.masks = MaskStream()
        with torch.no_grad():
            output = module.eval()(torch.zeros((1, context), dtype=torch.int64))
        self.with_targets = takes_targets(output)
        module.train()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.contiguous()  # nanoGPT takes a view of its targets
        return logits_of(self.module(tokens, tokens) if self.with_targets else self.module(tokens))

    def predict_next(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) for the character after the last of ``tokens`` (B, T)."""
        return self(tokens)[:, -1]


def logits_of(output: Any) -> torch.Tensor:
    """The logits in what a model returns: itself, the first of a tuple such as nanoGPT's (logits, loss) or (logits,
    state) of a recurrent network, or its attribute ``logits``."""
    first = output[0] if isinstance(output, tuple | list) else output
    return getattr(first, "logits", first)


def takes_targets(output: Any) -> bool:
    """Whether a model that was called without targets follows nanoGPT's convention: model(x, y) -> (logits, loss),
    and model(x) -> (logits, None)."""
    return isinstance(output, tuple) and len(output) == 2 and output[1] is None
