"""The obvious loop: plain modules with our arithmetic and our dropout sites, as one would write them.

nn.Linear, nn.Dropout, nn.Conv1d, PyTorch's attention, Adam's default, batches stacked from slices.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from config import Config
from model import LanguageModel, build_model
from study.plan import load_corpus
from training.kernels import Linear
from training.layers import CausalAttention, CausalConvolution, Dropout


class PlainConvolution(nn.Module):
    """``CausalConvolution`` as one would write it: padding, then ``nn.Conv1d``."""

    def __init__(self, ours: CausalConvolution):
        super().__init__()
        out, width = ours.linear.weight.shape
        self.padding = (ours.taps - 1) * ours.dilation
        self.convolution = nn.Conv1d(width // ours.taps, out, ours.taps, dilation=ours.dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(F.pad(x.transpose(1, 2), (self.padding, 0))).transpose(1, 2)


class PlainAttention(nn.Module):
    """``CausalAttention`` as one would write it."""

    def __init__(self, ours: CausalAttention):
        super().__init__()
        self.heads, self.p = ours.heads, ours.dropout.p
        self.qkv, self.project = plain_linear(ours.qkv), plain_linear(ours.project)

    def forward(self, x: torch.Tensor, last_only: bool = False) -> torch.Tensor:
        qkv = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        p = self.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(*qkv, dropout_p=p, is_causal=True)
        return self.project(mixed.transpose(1, 2).flatten(2))


def plain_linear(ours: Linear) -> nn.Linear:
    return nn.Linear(ours.in_features, ours.out_features, bias=ours.bias is not None)


PLAIN = {
    Dropout: lambda ours: nn.Dropout(ours.p),
    CausalConvolution: PlainConvolution,
    CausalAttention: PlainAttention,
    Linear: plain_linear,
}


def plain(module: nn.Module) -> nn.Module:
    """The model with PyTorch's own modules in the place of ours; a head that shares its weights still does."""
    tied = isinstance(module, LanguageModel) and module.head.weight is module.embedding.weight
    for name, child in list(module.named_children()):
        setattr(module, name, PLAIN[type(child)](child) if type(child) in PLAIN else plain(child))
    if tied:
        module.head.weight = module.embedding.weight
    return module


def obvious_step(
    architecture: str, activation: str, config: Config, threads: int, compiled: bool
) -> Callable[[], None]:
    """A training step on so many ``threads``, its model ``compiled`` by ``torch.compile`` or eager."""
    torch.set_num_threads(threads)
    tokens = load_corpus("cpu").train
    model: Callable[[torch.Tensor], torch.Tensor] = plain(build_model(architecture, activation, config)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    if compiled:
        model = torch.compile(model)

    def step() -> None:
        starts = torch.randint(len(tokens) - config.context - 1, (config.batch_size,))
        inputs = torch.stack([tokens[start : start + config.context] for start in starts])
        targets = torch.stack([tokens[start + 1 : start + config.context + 1] for start in starts])
        logits = model(inputs)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def obvious_evaluation(architecture: str, activation: str, config: Config, threads: int) -> Callable[[], None]:
    """The prediction of one sample, as in a loop over samples."""
    torch.set_num_threads(threads)
    model = plain(build_model(architecture, activation, config)).eval()
    context = load_corpus("cpu").validation[None, : config.context]

    def predict_one() -> None:
        with torch.no_grad():
            model(context)[0, -1].softmax(-1)

    return predict_one
