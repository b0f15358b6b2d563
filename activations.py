"""The activations of the study, by name.

Formula, paper and limits stand beside each. To add one, write a module (or a function that makes one) and
put it into ``ACTIVATIONS``; a module whose class sets ``gated = True`` is given twice as many features as it
returns, and the layer in front of it is made narrower so that the model keeps its number of parameters.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F


class _SmeLUFunction(torch.autograd.Function):
    """y = x m + beta m (1 - m) with m = clip((x + beta) / (2 beta), 0, 1); its derivative is m itself."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, beta: float) -> torch.Tensor:
        ramp = torch.add(x, beta).mul_(1 / (2 * beta)).clamp_(0, 1)
        ctx.save_for_backward(ramp)
        return torch.addcmul(x * ramp, ramp, 1 - ramp, value=beta)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (ramp,) = ctx.saved_tensors
        return gradient * ramp, None


class SmeLU(nn.Module):
    """Smooth ReLU: 0 for x <= -beta; (x + beta)^2 / (4 beta) for |x| <= beta; x for x >= beta.

    ``beta`` > 0 is the half-width of the bend: SmeLU(0) = beta / 4, beta -> 0 gives ReLU, and SmeLU equals
    ReLU convolved with a box of width 2 beta. Value and first derivative are continuous.
    Shamir, Lin & Coviello 2020, arXiv:2010.09931; Shamir & Lin 2022, arXiv:2202.06499.
    """

    def __init__(self, beta: float):
        super().__init__()
        if not beta > 0:
            raise ValueError(f"SmeLU needs beta > 0, got {beta}")
        self.beta = beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _SmeLUFunction.apply(x, self.beta)

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class SwiGLU(nn.Module):
    """Swish(a) * b, where a and b are the two halves of the last axis: (..., 2 C) -> (..., C).

    Shazeer 2020, arXiv:2002.05202, with the two projections made by one layer in front. Unbounded in both
    directions and quadratic for large inputs.
    """

    gated = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


ACTIVATIONS = {
    # max(0, x); derivative jumps at 0. Nair & Hinton 2010.
    "relu": nn.ReLU,
    # x Phi(x), Phi the standard normal distribution function (exact, by erf). Hendrycks & Gimpel 2016,
    # arXiv:1606.08415. Smooth; -> 0 for x -> -inf, -> x for x -> inf; least value -0.17 near x = -0.75.
    "gelu": nn.GELU,
    # x sigmoid(x), also SiLU. Ramachandran et al. 2017, arXiv:1710.05941. Limits as GELU's; least value -0.28.
    "swish": nn.SiLU,
    "swiglu": SwiGLU,
    "smelu_05": partial(SmeLU, 0.5),
    "smelu_1": partial(SmeLU, 1.0),
}


def make_activation(name: str) -> nn.Module:
    """A new module for the activation ``name``; ValueError for an unknown one."""
    try:
        factory = ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation {name!r}; choose from {', '.join(ACTIVATIONS)}") from None
    return factory()


def is_gated(activation: nn.Module) -> bool:
    """Whether the module takes twice as many features as it returns."""
    return getattr(activation, "gated", False)
