"""Optimizers by name, the schedule of the learning rate, and Muon."""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import nn

from config import Config


class Optimizer(Protocol):
    """What is used of an optimizer; those of PyTorch have it."""

    @property
    def param_groups(self) -> list[dict]: ...
    @property
    def state(self) -> dict: ...
    def zero_grad(self) -> None: ...
    def step(self) -> None: ...
    def state_dict(self) -> dict: ...
    def load_state_dict(self, saved: dict, /) -> None: ...


# ---------------------------------------------------------------- schedule


def rate_factor(config: Config, step: int) -> float:
    """The learning rate of training step ``step`` (from 0) as a share of the highest one.

    "cosine" (Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts): in equal increments to 1 over the first
    ``warm_up`` of the steps, then along half a cosine, which the last step ends at ``floor``.
    """
    if config.schedule == "constant":
        return 1.0
    if config.schedule != "cosine":
        raise ValueError(f"unknown schedule {config.schedule!r}; choose from constant, cosine")
    warm = round(config.warm_up * config.iterations)
    if step < warm:
        return (step + 1) / warm
    progress = (step + 1 - warm) / (config.iterations - warm)  # in (0, 1]
    return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * progress)) / 2


def set_rate(group: dict, rate: float) -> None:
    """Set the learning rate of an optimizer's parameter group; where it is a tensor, in place, for a CUDA graph."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


# ---------------------------------------------------------------- Muon


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of the ``matrix`` U S V^T, both (R, C): the singular vectors stay, the values come near 1.

    Five Newton-Schulz steps X <- a X + b (X X^T) X + c (X X^T)^2 X, whose coefficients are those of Jordan et al.
    2024, https://kellerjordan.github.io/posts/muon/: chosen to be fast, not exact, so the values end in 0.7 to 1.2
    (but for those below a few thousandths of the matrix's norm).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # so that X X^T is the smaller of the two products
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): the orthogonalised Nesterov momentum of each matrix, with decoupled weight decay.

    An update of an (R, C) matrix is scaled by sqrt(max(1, R / C)), as its authors do.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float | torch.Tensor, weight_decay: float):
        super().__init__(matrices, {"lr": lr, "momentum": 0.95, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["mean"] = torch.zeros_like(matrix)
                mean = state["mean"].lerp_(matrix.grad, 1 - momentum)
                update = orthogonalise(matrix.grad.lerp(mean, momentum))
                update *= math.sqrt(max(1, matrix.shape[0] / matrix.shape[1]))
                matrix.mul_(1 - lr * group["weight_decay"]).sub_(update * lr)


class MuonAdamW:
    """Muon on ``matrices`` and AdamW on the other parameters, behind an optimizer's methods."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW):
        self.both = (muon, adamw)

    @property
    def param_groups(self) -> list[dict]:
        """Those of both; to be read, and their learning rates set."""
        return [group for one in self.both for group in one.param_groups]

    @property
    def state(self) -> dict:
        return {parameter: state for one in self.both for parameter, state in one.state.items()}

    def zero_grad(self) -> None:
        for one in self.both:
            one.zero_grad()

    def step(self) -> None:
        for one in self.both:
            one.step()

    def state_dict(self) -> dict:
        return {"both": [one.state_dict() for one in self.both]}

    def load_state_dict(self, saved: dict) -> None:
        for one, state in zip(self.both, saved["both"], strict=True):
            one.load_state_dict(state)


# ---------------------------------------------------------------- by name

OUTER = ("embedding", "positions", "head")  # modules whose matrices are a table of characters or of places


def adam(model: nn.Module, config: Config, **options) -> Optimizer:
    return torch.optim.Adam(model.parameters(), betas=config.betas, **options)


def adamw(model: nn.Module, config: Config, **options) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101) that decays matrices only, as nanoGPT does."""
    return torch.optim.AdamW(decayed_and_not(model.parameters(), config), betas=config.betas, **options)


def muon(model: nn.Module, config: Config, **options) -> Optimizer:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.dim() == 2 and name.partition(".")[0] not in OUTER
        (matrices if hidden else others).append(parameter)
    in_memory = isinstance(options["lr"], torch.Tensor)  # as a CUDA graph reads it
    rate = torch.full_like(options["lr"], config.muon_rate) if in_memory else config.muon_rate
    rest = torch.optim.AdamW(decayed_and_not(others, config), betas=config.betas, **options)
    return MuonAdamW(Muon(matrices, rate, config.weight_decay), rest)


def decayed_and_not(parameters: Iterable[nn.Parameter], config: Config) -> list[dict]:
    """Two groups of parameters for AdamW: matrices, which decay, and biases and norms, which do not."""
    parameters = list(parameters)
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "adamw": adamw, "muon": muon}


def make_optimizer(model: nn.Module, config: Config, device: str) -> Optimizer:
    """The optimizer that ``config`` names, for ``model``; ValueError for an unknown one."""
    try:
        factory = OPTIMIZERS[config.optimizer]
    except KeyError:
        raise ValueError(f"unknown optimizer {config.optimizer!r}; choose from {', '.join(OPTIMIZERS)}") from None
    recordable = device == "cuda"  # as a CUDA graph, which reads a rate that varies from memory
    varies = recordable and config.schedule != "constant"
    rate = torch.tensor(config.learning_rate, device=device) if varies else config.learning_rate
    return factory(model, config, lr=rate, fused=True, capturable=recordable)
