"""The activations, by name.

Formula, paper and limits are beside each. To add one, write a module (or a function that makes one) and add it to
``ACTIVATIONS``; a module whose class sets ``gated = True`` is given twice as many features as it returns, and the
layer in front of it is made narrower so that the model keeps its number of parameters.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from config import SMELU_BETAS


class _SmeLUFunction(torch.autograd.Function):
    """y = x m + beta m (1 - m) with m = clip((x + beta) / (2 beta), 0, 1); its derivative is m itself.

    m is returned too, because autograd differentiates a second time only through inputs and outputs. Of a bfloat16 x,
    both are computed in float32 and rounded once, as PyTorch does with its own activations.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
        dtype, x = x.dtype, x.float() if x.dtype == torch.bfloat16 else x
        ramp = torch.add(x, beta).mul_(1 / (2 * beta)).clamp_(0, 1)
        y, ramp = torch.addcmul(x * ramp, ramp, 1 - ramp, value=beta).to(dtype), ramp.to(dtype)
        ctx.save_for_backward(ramp)
        ctx.slope = 1 / (2 * beta)
        ctx.set_materialize_grads(False)
        return y, ramp

    @staticmethod
    def backward(
        ctx, gradient: torch.Tensor | None, for_ramp: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, None]:
        (ramp,) = ctx.saved_tensors
        for_x = None if gradient is None else gradient * ramp
        if for_ramp is not None:  # only in the second derivative
            bend = for_ramp * ctx.slope * ((ramp > 0) & (ramp < 1))
            for_x = bend if for_x is None else for_x + bend
        return for_x, None


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
        return _SmeLUFunction.apply(x, self.beta)[0]

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class GatedLinearUnit(nn.Module):
    """gate(a) * b, where a and b are the two halves of the last axis: (..., 2 C) -> (..., C).

    Shazeer 2020, arXiv:2002.05202, with the two projections made by one layer in front. Unbounded in both
    directions and quadratic for large inputs.
    """

    gated = True

    def __init__(self, gate: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.gate = gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = x.chunk(2, dim=-1)
        return self.gate(gate) * value

    def extra_repr(self) -> str:
        return self.gate.__name__


class SquaredReLU(nn.Module):
    """max(0, x)^2, with derivative 2 max(0, x): quadratic for large x. So et al. 2021, arXiv:2109.08668."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x).square()


class AdaptivePiecewiseLinear(nn.Module):
    """max(0, x) + sum over s of a_s max(0, b_s - x), with slopes a_s and hinges b_s learned.

    Agostinelli et al. 2014, arXiv:1412.6830, where every unit has its own; here those of a layer are shared by its
    units, as PReLU's slope is, so that a model keeps its size but for 2 S numbers a layer. The paper draws a and b at
    random; here a starts at 0, as ReLU, and b at -1/2 and 1/2 (the paper's code: N(0, 1/2^2)). Neither decays, while
    the paper decays both by .001. Unbounded in both directions; derivative jumps at 0 and at each hinge.
    """

    def __init__(self, hinges: tuple[float, ...] = (-0.5, 0.5)):
        super().__init__()
        self.slopes = nn.Parameter(torch.zeros(len(hinges)))
        self.hinges = nn.Parameter(torch.tensor(hinges))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(x)
        for slope, hinge in zip(self.slopes, self.hinges, strict=True):
            y = y + slope * F.relu(hinge - x)
        return y

    def extra_repr(self) -> str:
        return f"hinges={len(self.hinges)}"


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    # max(0, x); derivative jumps at 0. Nair & Hinton 2010.
    "relu": nn.ReLU,
    # x Phi(x), Phi the standard normal distribution function (exact, by erf). Hendrycks & Gimpel 2016,
    # arXiv:1606.08415. Smooth; -> 0 for x -> -inf, -> x for x -> inf; least value -0.17 near x = -0.75.
    "gelu": nn.GELU,
    # x sigmoid(x), also SiLU. Ramachandran et al. 2017, arXiv:1710.05941. Limits as GELU's; least value -0.28.
    "swish": nn.SiLU,
    # Swish(a) b, GELU(a) b and max(0, a) b. The last's derivatives jump at a = 0.
    "swiglu": partial(GatedLinearUnit, F.silu),
    "geglu": partial(GatedLinearUnit, F.gelu),
    "reglu": partial(GatedLinearUnit, F.relu),
    # x tanh(ln(1 + e^x)). Misra 2019, arXiv:1908.08681. Limits as GELU's; least value -0.31 near x = -1.19.
    "mish": nn.Mish,
    # x for x > 0, else e^x - 1. Clevert et al. 2015, arXiv:1511.07289. -> -1 for x -> -inf; continuous derivative.
    "elu": nn.ELU,
    # 1.0507 x for x > 0, else 1.0507 * 1.6733 (e^x - 1). Klambauer et al. 2017, arXiv:1706.02515. -> -1.758 for
    # x -> -inf; derivative jumps at 0. Its weights of variance 1 / n and its alpha dropout are not used here.
    "selu": nn.SELU,
    # x for x > 0, else a x; a is learned, one for each layer, and starts at 0.25. He et al. 2015, arXiv:1502.01852.
    # Unbounded in both directions; derivative jumps at 0 unless a = 1.
    "prelu": nn.PReLU,
    "squared_relu": SquaredReLU,
    "apl": AdaptivePiecewiseLinear,
    **{name: partial(SmeLU, beta) for name, beta in SMELU_BETAS.items() if beta > 0},
}


class Activation(str):
    """The name of an activation that is called without arguments to make the module, as a class is: what a user's
    ``model(activation)`` is given, and what the architectures take as the name of a user's own. ``gated`` says that
    the module takes twice as many features as it returns."""

    gated: bool
    make: Callable[[], nn.Module]

    def __new__(cls, name: str, make: Callable[[], nn.Module]) -> "Activation":
        self = super().__new__(cls, name)
        self.make, self.gated = make, is_gated(make())
        return self

    @property
    def name(self) -> str:
        return str(self)

    def __call__(self) -> nn.Module:
        return self.make()


def activation_named(name: str) -> Activation:
    """ValueError for an unknown name."""
    return Activation(name, partial(make_activation, name))


def make_activation(name: str) -> nn.Module:
    """A new module for the activation ``name``; ValueError for an unknown one."""
    if isinstance(name, Activation):
        return name()
    try:
        factory = ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation {name!r}; choose from {', '.join(ACTIVATIONS)}") from None
    return factory()


def is_gated(activation: nn.Module) -> bool:
    """Whether the module takes twice as many features as it returns."""
    return getattr(activation, "gated", False)
