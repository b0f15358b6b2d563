"""The configuration: frozen data, and the full study for a GPU.

Nothing here looks at the hardware. ``config_cpu.py`` states what differs at laptop scale.
"""

import math
import re
from dataclasses import dataclass, field, replace

MODELS = ("charlm", "minigpt", "nanotransformer", "tinylstm", "convlm", "hybridlm")
ACTIVATIONS = ("relu", "gelu", "swish", "swiglu", "smelu_05", "smelu_1")

# The half-width of SmeLU's bend in each activation of a sweep; with 0 it is ReLU. The name follows from it (0.25:
# smelu_025), so that results of one half-width are never taken for those of another.
SMELU_BETAS = {"relu": 0.0} | {f"smelu_{beta:g}".replace(".", ""): beta for beta in (0.1, 0.25, 0.5, 1.0, 2.0)}
MODERN = ("geglu", "reglu", "mish", "elu", "selu", "prelu", "squared_relu", "apl", *SMELU_BETAS)
ACTIVATION_GROUPS = {"modern": MODERN, "smelu": tuple(SMELU_BETAS)}  # other lists that --activations knows by name

# Variants, each with one part changed, and the architecture that has the part.
PARENTS = {
    "charlm_one_head": "charlm",
    "charlm_one_block": "charlm",
    "charlm_no_attention_dropout": "charlm",
    "charlm_no_gain": "charlm",
    "charlm_rms_norm": "charlm",
    "tinygru": "tinylstm",
    "tinyrnn": "tinylstm",
    "lstm_attention": "tinylstm",
}
ONLY_WITH_DROPOUT = "charlm_no_attention_dropout"  # where dropout is off it is its parent
SCALED = ("charlm", "minigpt")  # architectures that are made in any size, such as charlm@1M
MODEL_GROUPS = {  # lists that --models knows by name
    # Written out, because it is what was registered: a variant that is added to PARENTS does not join it.
    "parts": (
        *("charlm", "tinylstm", "charlm_one_head", "charlm_one_block", "charlm_no_gain", "charlm_rms_norm"),
        *("tinygru", "tinyrnn", "lstm_attention"),
    ),
    "attention_dropout": ("charlm", ONLY_WITH_DROPOUT),
    # With the 430 K that they have anyway at laptop scale, whose learning rates are known and results can be reused.
    "sizes": tuple(f"{name}{size}" for name in SCALED for size in ("@0.1M", "@0.25M", "", "@1M", "@2.5M")),
    "gpu_sizes": tuple(f"{name}@{size}M" for name in SCALED for size in (5, 10, 25, 50, 100)),
}

STREAMS = ("init", "order", "dropout")  # of a trial: initial weights, batches, dropout masks
OPTIMIZERS = ("adam", "adamw", "muon")  # training/optimizers.py has them


@dataclass(frozen=True)
class Shape:
    """The size of one architecture.

    layers     blocks (transformer blocks, LSTM layers or convolution blocks)
    width      features of the residual stream, C
    hidden     features between the two layers of a feed-forward block; gated activations get fewer
    heads      attention heads, H; 0 where there is no attention
    taps       inputs of one causal convolution; 0 where there is none
    dilations  distance between the taps, one for each convolution block
    conv_hidden  as ``hidden``, for the convolution blocks
    """

    layers: int
    width: int
    hidden: int
    heads: int = 0
    taps: int = 0
    dilations: tuple[int, ...] = ()
    conv_hidden: int = 0


@dataclass(frozen=True)
class Config:
    """All that decides what a study computes.

    study               the name its results go by, unless another is asked for
    device              the kind of device that it is meant for
    shapes              one Shape for each architecture
    context             T, characters that a model sees
    batch_size          B, windows in a training step
    learning_rate       of cells that have none of their own in ``rates``; where a schedule varies it, the highest
    iterations          training steps
    eval_interval       training steps between evaluations
    eval_windows        fixed windows of each split on which losses are followed while training
    probe_contexts      fixed validation contexts on which every trial predicts
    contexts_between    how many of them, the first ones, at evaluations before the end of training; None: all
    texts, text_length  texts that a trained model writes, from the first contexts of the probe set
    passage_length      characters, at least, of the passage that a trained model predicts letter by letter
    vary                the random streams that differ between trials; the others are those of seed_base
    n_trials            trials of a cell; trial i is trained from seed_base + i - 1
    optimizer           "adam"; "adamw": Adam with decoupled weight decay; "muon": Muon on the matrices between
                        embedding and head, AdamW on the rest
    betas               of Adam and AdamW: how slowly the means of the gradient and of its square forget
    weight_decay        of matrices, embeddings included; never of biases and norms (adamw and muon)
    schedule            of the learning rate: "constant", or "cosine": linear warm-up, then half a cosine to a floor
    warm_up, floor      of the cosine schedule: share of the steps that warm up; last rate as a share of the highest
    clip_norm           the largest Euclidean norm of the whole gradient, to which a longer one is scaled before the
                        optimizer sees it; 0: none is
    muon_rate           learning rate of Muon, whose updates have a size of their own; it follows the schedule too
    rates               the learning rate of single cells, by (architecture, activation)
    landscape           whether curvature, gradient noise and barriers are computed when a trial ends; they change no
                        other number, so this is no part of a fingerprint
    """

    study: str
    device: str
    shapes: dict[str, Shape]
    context: int
    batch_size: int
    iterations: int
    eval_interval: int
    dropout: float = 0.2
    learning_rate: float = 3e-4
    eval_windows: int = 64
    probe_contexts: int = 1000
    texts: int = 8
    text_length: int = 50
    passage_length: int = 64
    vary: tuple[str, ...] = STREAMS
    vocabulary_size: int = 65
    seed_base: int = 42
    n_trials: int = 3
    landscape: bool = False
    models: tuple[str, ...] = field(default=MODELS)
    activations: tuple[str, ...] = field(default=ACTIVATIONS)
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "constant"
    warm_up: float = 0.0
    floor: float = 0.0
    clip_norm: float = 0.0
    muon_rate: float = 0.02
    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    contexts_between: int | None = None

    def of_cell(self, model: str, activation: str) -> "Config":
        """The same with the learning rate of one cell, and without the table of all."""
        rate = self.rates.get((model, activation), self.learning_rate)
        return replace(self, learning_rate=rate, rates={})

    def shape_of(self, model: str) -> Shape:
        """The shape of an architecture, or of one in the size that its name has, such as charlm@1M. KeyError for an
        architecture without one; ValueError for a size that it cannot have."""
        size = size_in(model)
        return self.shapes[model] if size is None else scaled(base_name(model), size, self)


# ---------------------------------------------------------------- sizes

BLOCK_WIDTH = 64  # features for each block: 128 with 2, 384 with 6, as in the configurations
EXPANSION = 4  # the hidden layer's width over the residual stream's
FEWEST_LAYERS = 2  # one would be another architecture: charlm_one_block
WITHIN = 0.02  # of the size that was asked for


def family_of(model: str) -> str:
    """The architecture of which this is a variant or a size, or the architecture itself."""
    return PARENTS.get(model, base_name(model))


def base_name(model: str) -> str:
    """The architecture without its size: charlm of charlm@1M."""
    return model.partition("@")[0]


def size_in(model: str) -> int | None:
    """How many parameters the name of an architecture asks for, in millions behind an @; None of one without."""
    found = re.fullmatch(r"\w+@(\d+(?:\.\d+)?)M", model)
    return round(float(found[1]) * 1e6) if found else None


def scaled(architecture: str, parameters: int, config: Config) -> Shape:
    """The shape with which ``architecture`` has so many parameters, to 2 %, in ``config``, whose text, context and
    width of a head it keeps.

    Blocks and width grow together, ``BLOCK_WIDTH`` features for each block, so that about 12 L C^2 parameters in L
    blocks are 12 C^3 / 64. Of the widths that are whole heads, the one is taken that needs a hidden layer nearest to
    ``EXPANSION`` times as wide; the hidden layer then makes up the number, in steps of 8. At the sizes of the
    configurations this gives their own shapes. ValueError where there is none.
    """
    if architecture not in SCALED:
        raise ValueError(f"{architecture} is not made in sizes; {' and '.join(SCALED)} are")
    layers = max(FEWEST_LAYERS, round(math.cbrt(parameters * BLOCK_WIDTH / 12) / BLOCK_WIDTH))
    like = config.shapes[architecture]
    head = like.width // like.heads
    shapes = []
    for heads in range(1, 2 + math.isqrt(parameters) // head):
        without = transformer_parameters(Shape(layers, heads * head, 0, heads), architecture, config)
        hidden = 8 * round((parameters - without) / (layers * (2 * heads * head + 1)) / 8)
        if hidden > 0:
            shapes.append(Shape(layers, heads * head, hidden, heads))
    near = [
        shape
        for shape in shapes
        if abs(transformer_parameters(shape, architecture, config) / parameters - 1) <= WITHIN
    ]
    if not near:
        raise ValueError(f"{architecture} cannot have {parameters:,} parameters in this configuration")
    return min(near, key=lambda shape: abs(math.log(shape.hidden / shape.width / EXPANSION)))


def transformer_parameters(shape: Shape, architecture: str, config: Config) -> int:
    """Parameters of one of ``SCALED``, with an activation that is not gated.

    A block has 4 C^2 + 4 C in attention, 2 C h + h + C in the feed-forward layer and 4 C in its norms. Beside them
    are the last norm, the tables of characters and of positions and, unless it is tied to the former, the head.
    """
    c, h, v = shape.width, shape.hidden, config.vocabulary_size
    block = 4 * c * c + 4 * c + 2 * c * h + h + c + 4 * c
    head = 0 if architecture == "minigpt" else v * c + v
    return shape.layers * block + 2 * c + (v + config.context) * c + head


# 10.8 M parameters each. The LSTM is wide instead of deep, and the convolutions are repeated twice, to get there.
CONFIG = Config(
    study="cuda",
    device="cuda",
    shapes={
        "charlm": Shape(layers=6, width=384, hidden=1536, heads=6),
        "minigpt": Shape(layers=6, width=384, hidden=1536, heads=6),
        "nanotransformer": Shape(layers=6, width=384, hidden=1536, heads=6),
        "tinylstm": Shape(layers=2, width=768, hidden=800),
        "convlm": Shape(layers=8, width=384, hidden=0, taps=4, dilations=(1, 4, 16, 64) * 2, conv_hidden=698),
        "hybridlm": Shape(layers=5, width=384, hidden=1536, heads=6, taps=4, dilations=(1, 1), conv_hidden=462),
    },
    context=256,
    batch_size=64,
    iterations=5000,
    eval_interval=250,
)

# Part of every fingerprint: raise it when a change of the code changes the numbers of a trial.
RECIPE = 2
