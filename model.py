"""The six architectures, by name.

One contract: ``model(tokens: (B, T) int64) -> logits (B, T, V)``; causal; the loss stays outside. Axes: B batch,
T time (T <= context), C features of the residual stream, H heads, V vocabulary.

To add one: a subclass of ``LanguageModel``, a line in ``ARCHITECTURES``, and its ``Shape`` in the configurations.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from tabulate import tabulate
from torch import nn
from torch.nn import functional as F

import config as full_config
import config_cpu
from activations import Activation, is_gated, make_activation
from config import Config, Shape
from training.kernels import Linear, causal_attention
from training.own_model import OwnModel
from training.seeding import MaskStream, seed_everything, stream_seed, torch_stream


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
    """Pre-norm transformer block: attention, then a feed-forward layer, each added to the residual stream."""

    def __init__(self, shape: Shape, activation: str, dropout: Dropout, bias: bool = True):
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.width, bias=bias)
        self.attention = CausalAttention(shape.width, shape.heads, dropout, bias)
        self.feed_forward_norm = nn.LayerNorm(shape.width, bias=bias)
        self.feed_forward = FeedForward(shape.width, shape.hidden, activation, bias)
        self.dropout = dropout

    def forward(self, x: torch.Tensor, last_only: bool = False) -> torch.Tensor:
        mixed = self.attention(self.attention_norm(x), last_only)
        x = (x[:, -1:] if last_only else x) + self.dropout(mixed)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


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


class LanguageModel(nn.Module):
    """What the architectures share: token embedding in front, norm and head behind, initial values, masks.

    A subclass calls ``super().__init__`` and gives ``features``: embedded tokens (B, T, C) -> (B, T, C). It may give
    ``last_features`` too, where the features of the last position alone cost less. By default the embedded tokens
    pass through ``blocks``, for a subclass that has them.
    """

    biases = True
    blocks: nn.ModuleList

    def __init__(self, config: Config, shape: Shape):
        super().__init__()
        self.context = config.context
        self.masks = MaskStream()
        self.dropout = Dropout(config.dropout, self.masks)
        self.embedding = nn.Embedding(config.vocabulary_size, shape.width)
        self.norm = nn.LayerNorm(shape.width, bias=self.biases)
        self.head = Linear(shape.width, config.vocabulary_size, bias=self.biases)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        """``features(x)[:, -1]``: (B, T, C) -> (B, C)."""
        return self.features(x)[:, -1]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.features(self._embed(tokens))))

    def predict_next(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) for the character after the last of ``tokens`` (B, T): ``self(tokens)[:, -1]``."""
        return self.head(self.norm(self.last_features(self._embed(tokens))))

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, C)."""
        if tokens.shape[1] > self.context:
            raise ValueError(f"{tokens.shape[1]} characters do not fit a context of {self.context}")
        return self.embedding(tokens)

    def init_parameter(self, name: str, parameter: torch.Tensor, stream: torch.Generator) -> None:
        """Initial value of one parameter: biases 0, matrices N(0, 0.02^2), what else has one axis as constructed."""
        if "bias" in name.rpartition(".")[2]:
            parameter.zero_()
        elif parameter.dim() > 1:
            parameter.normal_(std=0.02, generator=stream)


class Transformer(LanguageModel):
    """GPT-style: learned positions and a stack of blocks."""

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape)
        self.positions = nn.Embedding(config.context, shape.width)
        self.blocks = nn.ModuleList(Block(shape, activation, self.dropout, self.biases) for _ in range(shape.layers))

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return super()._embed(tokens) + self.positions.weight[: tokens.shape[1]]

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[:-1]:
            x = block(x)
        return self.blocks[-1](x, last_only=True)[:, -1]


class CharLM(Transformer):
    """GPT-style transformer with dropout on attention and residuals and an untied head."""


class MiniGPT(Transformer):
    """GPT-2's recipe (Radford et al. 2019): embedding dropout, head tied to the embedding, small residual layers."""

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape, activation)
        self.head = Linear(shape.width, config.vocabulary_size, bias=False)
        self.head.weight = self.embedding.weight

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(super()._embed(tokens))

    def init_parameter(self, name: str, parameter: torch.Tensor, stream: torch.Generator) -> None:
        super().init_parameter(name, parameter, stream)
        if name.endswith("project.weight"):
            parameter.div_(math.sqrt(2 * len(self.blocks)))


class NanoTransformer(Transformer):
    """The least that works: no dropout, no biases."""

    biases = False

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(replace(config, dropout=0.0), shape, activation)


class TinyLSTM(LanguageModel):
    """Stacked LSTM (Hochreiter & Schmidhuber 1997), and a feed-forward block between it and the head.

    An LSTM's own nonlinearities are part of what it is; the activation acts in the feed-forward block.
    """

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape)
        width = shape.width
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(shape.layers))
        self.feed_forward_norm = nn.LayerNorm(shape.width)
        self.feed_forward = FeedForward(shape.width, shape.hidden, activation)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self._transform(self._recur(x))

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        return self._transform(self._recur(x)[:, -1])

    def _recur(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.dropout(layer(x)[0])
        return x

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def init_parameter(self, name: str, parameter: torch.Tensor, stream: torch.Generator) -> None:
        """PyTorch's rule for an LSTM: U(-1/sqrt(C), 1/sqrt(C)), biases included."""
        if name.startswith("layers."):
            bound = 1 / math.sqrt(self.embedding.embedding_dim)
            parameter.uniform_(-bound, bound, generator=stream)
        else:
            super().init_parameter(name, parameter, stream)


class ConvLM(LanguageModel):
    """Residual stack of dilated causal convolutions (van den Oord et al. 2016) that covers the context."""

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(shape, dilation, activation, self.dropout) for dilation in shape.dilations
        )

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        """Of each block, only the outputs on which the last position depends: 32, 8, 2 and 1 of 128 at CPU scale."""
        blocks = cast(list[ConvolutionBlock], list(self.blocks))
        last = torch.tensor([x.shape[1] - 1], device=x.device)
        for block, positions in zip(blocks, self._needed(blocks, last), strict=True):
            x = block.forward_at(x, positions)
        return x[:, -1]

    @staticmethod
    def _needed(blocks: list[ConvolutionBlock], last: torch.Tensor) -> list[torch.Tensor]:
        """For each block, the positions (P,) whose outputs reach the ``last`` one (1,)."""
        needed = [last]
        for block in reversed(blocks[1:]):
            sources = block.convolution.sources(needed[0])
            needed.insert(0, sources[sources >= 0].unique())
        return needed


class HybridLM(Transformer):
    """Causal convolutions for the near context, then attention blocks."""

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape, activation)
        self.convolutions = nn.Sequential(
            *(ConvolutionBlock(shape, dilation, activation, self.dropout) for dilation in shape.dilations)
        )

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().features(self.convolutions(x))

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().last_features(self.convolutions(x))


ARCHITECTURES: dict[str, Callable[[Config, Shape, str], LanguageModel]] = {
    "charlm": CharLM,
    "minigpt": MiniGPT,
    "nanotransformer": NanoTransformer,
    "tinylstm": TinyLSTM,
    "convlm": ConvLM,
    "hybridlm": HybridLM,
}


def build_model(architecture: str, activation: str, config: Config, seed: int = 0) -> LanguageModel:
    """The model ``architecture`` with ``activation`` inside, sized by ``config``, initial weights from ``seed``.

    Each parameter's initial value comes from a stream of its own name, so parameters of equal name and shape
    are equal for every activation. Those of an activation are left as constructed; where it is a user's own, which
    may draw them, PyTorch's, NumPy's and Python's generators are seeded first. ValueError for an unknown architecture
    or activation.
    """
    try:
        factory, shape = ARCHITECTURES[architecture], config.shapes[architecture]
    except KeyError:
        known = ", ".join(name for name in ARCHITECTURES if name in config.shapes)
        raise ValueError(f"unknown model {architecture!r}; choose from {known}") from None
    if isinstance(activation, Activation):
        seed_everything(stream_seed(seed, "init"))
    model = factory(config, shape, activation)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "activation" not in name.split("."):
                model.init_parameter(name, parameter, torch_stream(seed, "init", name))
    return model


def wrap_own_model(
    factory: Callable[[Activation, int, int], nn.Module], activation: Activation, config: Config, seed: int
) -> OwnModel:
    """A user's model, whose initial values its own code draws from the seeded generators. ValueError unless it is a
    module."""
    seed_everything(stream_seed(seed, "init"))
    module = factory(activation, config.vocabulary_size, config.context)
    if not isinstance(module, nn.Module):
        raise ValueError(f"it made {type(module).__name__}, not a torch.nn.Module")
    return OwnModel(module, config.context)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def parameter_table() -> str:
    """Parameters of every architecture in both configurations, with a plain and with a gated activation."""

    def count(architecture: str, activation: str, configuration: Config) -> str:
        with torch.device("meta"):
            model = ARCHITECTURES[architecture](configuration, configuration.shapes[architecture], activation)
        return f"{count_parameters(model):,}"

    columns = [(c, a) for c in (config_cpu.CONFIG, full_config.CONFIG) for a in ("relu", "swiglu")]
    rows = [[name, *(count(name, a, c) for c, a in columns)] for name in full_config.MODELS]
    headers = ["model", *(f"{scale}, {kind}" for scale in ("cpu", "cuda") for kind in ("plain", "gated"))]
    return tabulate(rows, headers, tablefmt="github", colalign=["left"] + ["right"] * 4, disable_numparse=True)


if __name__ == "__main__":
    print(parameter_table())
