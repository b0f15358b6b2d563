"""The layers that the architectures are built of. Axes: B batch, T time, C features, H heads."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from activations import is_gated, make_activation
from config import Shape
from training.kernels import Linear, causal_attention
from training.seeding import MaskStream


class Dropout(nn.Module):
    """Zero each value with probability ``p`` while training and scale the others by 1 / (1 - p).

    On the CPU the masks come from ``masks``; elsewhere PyTorch draws them.
    """

    def __init__(self, p: float, masks: MaskStream):
        super().__init__()
        self.p = p
        self.masks = masks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        mask = self.mask(x.shape)
        return x if mask is None else x * mask

    def mask(self, shape: torch.Size) -> torch.Tensor | None:
        """A mask of 0 and 1 / (1 - p) for the CPU; None where nothing is dropped."""
        return self.masks.draw(shape, self.p) if self.training and self.p else None

    def extra_repr(self) -> str:
        return f"p={self.p}"


def hidden_width(plain: int, gated: bool, taps: int = 1) -> int:
    """Features behind the activation, such that gated and plain layers have equally many weights.

    A plain pair of layers has (taps + 1) C h weights; a gated one, whose first layer makes two of them,
    (2 taps + 1) C h: 2/3 as wide for a feed-forward layer (taps = 1).
    """
    return round(plain * (taps + 1) / (2 * taps + 1)) if gated else plain


class FeedForward(nn.Module):
    """expand -> activation -> project, at every position: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, hidden: int, activation: str, bias: bool = True):
        super().__init__()
        self.activation = make_activation(activation)
        gated = is_gated(self.activation)
        hidden = hidden_width(hidden, gated)
        self.expand = Linear(width, 2 * hidden if gated else hidden, bias=bias)
        self.project = Linear(hidden, width, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(self.activation(self.expand(x)))


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and what came before.

    (B, T, C) -> (B, T, C), or (B, 1, C) for the last position alone.
    """

    def __init__(self, width: int, heads: int, dropout: Dropout, bias: bool = True):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width, bias=bias)
        self.project = Linear(width, width, bias=bias)

    def forward(self, x: torch.Tensor, last_only: bool = False) -> torch.Tensor:
        B, T, C = x.shape
        heads = self.qkv(x).view(B, T, 3, self.heads, C // self.heads)  # (B, T, 3 C) -> (B, T, 3, H, C / H)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, C / H)
        if last_only:  # one query (B, H, 1, C / H), which sees all T keys: no mask
            mixed = F.scaled_dot_product_attention(query[:, :, -1:], key, value)
        elif self.training and x.device.type == "cpu":
            mixed = causal_attention(query, key, value, self.dropout.mask)
        else:
            p = self.dropout.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=p, is_causal=True)
        return self.project(mixed.transpose(1, 2).flatten(2))  # (B, H, T, C / H) -> (B, T, H, C / H) -> (B, T, C)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a feed-forward layer, each added to the residual stream.

    ``make_norm`` takes the width; without ``attention_dropout`` attention has the ``dropout`` of the rest.
    """

    def __init__(
        self,
        shape: Shape,
        activation: str,
        dropout: Dropout,
        bias: bool,
        make_norm: Callable[[int], nn.Module],
        attention_dropout: Dropout | None = None,
    ):
        super().__init__()
        self.attention_norm = make_norm(shape.width)
        self.attention = CausalAttention(shape.width, shape.heads, attention_dropout or dropout, bias)
        self.feed_forward_norm = make_norm(shape.width)
        self.feed_forward = FeedForward(shape.width, shape.hidden, activation, bias)
        self.dropout = dropout

    def forward(self, x: torch.Tensor, last_only: bool = False) -> torch.Tensor:
        mixed = self.attention(self.attention_norm(x), last_only)
        x = (x[:, -1:] if last_only else x) + self.dropout(mixed)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class NormWithoutGain(nn.Module):
    """Layer norm whose scale is not learned; its shift is."""

    ones: torch.Tensor

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))
        # PyTorch cannot differentiate a layer norm that has no scale at all a second time.
        self.register_buffer("ones", torch.ones(width), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self.bias.shape, self.ones, self.bias)


class CausalConvolution(nn.Module):
    """y_t = W [x_(t-(taps-1)d), ..., x_(t-d), x_t] + bias, with zeros before the start: (B, T, C) -> (B, T, C').

    Written as one matrix product over the shifted inputs, which keeps the features last.
    """

    def __init__(self, features_in: int, features_out: int, taps: int, dilation: int):
        super().__init__()
        self.taps, self.dilation = taps, dilation
        self.linear = Linear(taps * features_in, features_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        T = x.shape[1]
        padded = F.pad(x, (0, 0, (self.taps - 1) * self.dilation, 0))  # zeros in front along T, none along C
        shifted = [
            padded[:, tap * self.dilation :][:, :T] for tap in range(self.taps)
        ]  # oldest first, (B, T, C) each
        return self.linear(torch.cat(shifted, dim=-1))  # (B, T, taps C) -> (B, T, C')

    def sources(self, positions: torch.Tensor) -> torch.Tensor:
        """The positions (P, taps) of the inputs of the outputs at ``positions`` (P,); below 0 before the start."""
        steps = torch.arange(self.taps - 1, -1, -1, device=positions.device)
        return positions[:, None] - steps * self.dilation

    def inputs_at(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What ``linear`` is given at ``positions`` (P,): (B, T, C) -> (B, P, taps C)."""
        sources = self.sources(positions)
        seen = x[:, sources.clamp(min=0)] * (sources >= 0)[..., None]  # (B, P, taps, C), 0 before the start
        return seen.flatten(2)


class ConvolutionBlock(nn.Module):
    """Pre-norm residual block: causal convolution -> activation -> projection back to the residual stream."""

    def __init__(self, shape: Shape, dilation: int, activation: str, dropout: Dropout):
        super().__init__()
        self.activation = make_activation(activation)
        gated = is_gated(self.activation)
        hidden = hidden_width(shape.conv_hidden, gated, shape.taps)
        self.norm = nn.LayerNorm(shape.width)
        self.convolution = CausalConvolution(shape.width, 2 * hidden if gated else hidden, shape.taps, dilation)
        self.project = Linear(hidden, shape.width)
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.project(self.activation(self.convolution(self.norm(x)))))

    def forward_at(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """``x`` with its rows at ``positions`` (P,) as in ``forward(x)``; the other rows stay as they are."""
        inputs = self.convolution.inputs_at(self.norm(x), positions)
        added = self.dropout(self.project(self.activation(self.convolution.linear(inputs))))
        return x.index_copy(1, positions, x[:, positions] + added)
