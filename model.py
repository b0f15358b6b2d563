"""The architectures, by name: the study's six, and their variants, each of which changes one part of its parent.

One contract: ``model(tokens: (B, T) int64) -> logits (B, T, V)``; causal; the loss stays outside. Axes: B batch,
T time (T <= context), C features of the residual stream, H heads, V vocabulary.

To add one: a subclass of ``LanguageModel``, a line in ``ARCHITECTURES``, and its ``Shape`` in the configurations;
of a variant, its parent in ``config.PARENTS`` too.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from tabulate import tabulate
from torch import nn

import config as full_config
import config_cpu
import config_trained
from activations import Activation
from config import Config, Shape, base_name
from training.kernels import Linear
from training.layers import Block, CausalAttention, ConvolutionBlock, Dropout, FeedForward, NormWithoutGain
from training.own_model import OwnModel
from training.seeding import MaskStream, seed_everything, stream_seed, torch_stream

RECURRENCES_IN_FLOAT32 = {"cuda"}  # kinds of device


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
        self.norm = self.make_norm(shape.width)
        self.head = Linear(shape.width, config.vocabulary_size, bias=self.biases)

    def make_norm(self, width: int) -> nn.Module:
        """Every norm of the model."""
        return nn.LayerNorm(width, bias=self.biases)

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
        self.blocks = nn.ModuleList(self.make_block(shape, activation) for _ in range(shape.layers))

    def make_block(self, shape: Shape, activation: str) -> Block:
        return Block(shape, activation, self.dropout, self.biases, self.make_norm)

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

    recurrence: type[nn.RNNBase] = nn.LSTM

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape)
        width = shape.width
        self.layers = nn.ModuleList(self.recurrence(width, width, batch_first=True) for _ in range(shape.layers))
        self.feed_forward_norm = nn.LayerNorm(shape.width)
        self.feed_forward = FeedForward(shape.width, shape.hidden, activation)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self._transform(self._recur(x))

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        return self._transform(self._recur(x)[:, -1])

    def _recur(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.dropout(recurred(layer, x))
        return x

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def init_parameter(self, name: str, parameter: torch.Tensor, stream: torch.Generator) -> None:
        """PyTorch's rule for a recurrence: U(-1/sqrt(C), 1/sqrt(C)), biases included."""
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


def recurred(layer: nn.RNNBase, x: torch.Tensor) -> torch.Tensor:
    """What a recurrence makes of ``x`` (B, T, C), in its precision, which is bfloat16 where products are: (B, T, C).

    A GPU's autocast would run it in float16, whatever it is told to, where small gradients are lost (PyTorch,
    aten/src/ATen/cudnn/AutocastRNN.cpp). So there it is computed in float32.
    """
    if x.device.type not in RECURRENCES_IN_FLOAT32:
        return layer(x)[0].to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())[0].to(x.dtype)


# ---------------------------------------------------------------- variants

# Of CharLM with one head or one block the ``Shape`` says all.


class CharLMNoAttentionDropout(CharLM):
    """Dropout on residuals only. Where dropout is off, CharLM itself."""

    def make_block(self, shape: Shape, activation: str) -> Block:
        undropped = Dropout(0.0, self.masks)
        return Block(shape, activation, self.dropout, self.biases, self.make_norm, attention_dropout=undropped)


class CharLMNoGain(CharLM):
    """No learned scale in any norm."""

    def make_norm(self, width: int) -> nn.Module:
        return NormWithoutGain(width)


class CharLMRMSNorm(CharLM):
    """Root mean square norms, which neither subtract the mean nor shift. Zhang & Sennrich 2019, arXiv:1910.07467."""

    def make_norm(self, width: int) -> nn.Module:
        return nn.RMSNorm(width, eps=1e-5)  # that of LayerNorm


class TinyGRU(TinyLSTM):
    """Gated recurrent units. Cho et al. 2014, arXiv:1406.1078."""

    recurrence = nn.GRU


class TinyRNN(TinyLSTM):
    """A plain recurrence, h' = tanh(W x + U h + b), without gates. Elman 1990."""

    recurrence = nn.RNN


class LSTMAttention(TinyLSTM):
    """An LSTM, and causal attention over its outputs, in place of the stack. Without positions: the LSTM has them."""

    def __init__(self, config: Config, shape: Shape, activation: str):
        super().__init__(config, shape, activation)
        self.attention_norm = nn.LayerNorm(shape.width)
        self.attention = CausalAttention(shape.width, shape.heads, self.dropout)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self._recur(x)
        return self._transform(x + self.dropout(self.attention(self.attention_norm(x))))

    def last_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self._recur(x)
        mixed = self.attention(self.attention_norm(x), last_only=True)
        return self._transform(x[:, -1:] + self.dropout(mixed))[:, -1]


ARCHITECTURES: dict[str, Callable[[Config, Shape, str], LanguageModel]] = {
    "charlm": CharLM,
    "minigpt": MiniGPT,
    "nanotransformer": NanoTransformer,
    "tinylstm": TinyLSTM,
    "convlm": ConvLM,
    "hybridlm": HybridLM,
    "charlm_one_head": CharLM,
    "charlm_one_block": CharLM,
    "charlm_no_attention_dropout": CharLMNoAttentionDropout,
    "charlm_no_gain": CharLMNoGain,
    "charlm_rms_norm": CharLMRMSNorm,
    "tinygru": TinyGRU,
    "tinyrnn": TinyRNN,
    "lstm_attention": LSTMAttention,
}


def build_model(architecture: str, activation: str, config: Config, seed: int = 0) -> LanguageModel:
    """The model ``architecture`` with ``activation`` inside, sized by ``config`` or by its own name (``charlm@1M``),
    initial weights from ``seed``.

    Each parameter's initial value comes from a stream of its own name, so parameters of equal name and shape
    are equal for every activation. Those of an activation are left as constructed; where it is a user's own, which
    may draw them, PyTorch's, NumPy's and Python's generators are seeded first. ValueError for an unknown architecture
    or activation.
    """
    try:
        factory, shape = ARCHITECTURES[base_name(architecture)], config.shape_of(architecture)
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
    """Parameters of the study's six architectures in each configuration, with a plain and a gated activation."""

    def count(architecture: str, activation: str, configuration: Config) -> str:
        with torch.device("meta"):
            model = ARCHITECTURES[architecture](configuration, configuration.shapes[architecture], activation)
        return f"{count_parameters(model):,}"

    configurations = {"trained": config_trained.CONFIG, "cpu": config_cpu.CONFIG, "cuda": full_config.CONFIG}
    columns = [(c, a) for c in configurations.values() for a in ("relu", "swiglu")]
    rows = [[name, *(count(name, a, c) for c, a in columns)] for name in full_config.MODELS]
    headers = ["model", *(f"{scale}, {kind}" for scale in configurations for kind in ("plain", "gated"))]
    alignment = ["left"] + ["right"] * len(columns)
    return tabulate(rows, headers, tablefmt="github", colalign=alignment, disable_numparse=True)


if __name__ == "__main__":
    print(parameter_table())
