"""The same study at laptop scale: 430 K parameters each, 100 iterations."""

from dataclasses import replace

import config
from config import Shape

# Of the variants (config.PARENTS): a layer less, or a recurrence with fewer gates, makes room for more width, so that
# the hidden layer stays about as wide as the parent's.
PARTS = {
    "charlm_one_block": Shape(layers=1, width=176, hidden=736, heads=4),
    "tinygru": Shape(layers=2, width=144, hidden=552),
    "tinyrnn": Shape(layers=2, width=208, hidden=544),
    "lstm_attention": Shape(layers=1, width=144, hidden=552, heads=4),
}


def with_parts(shapes: dict[str, Shape], **others: Shape) -> dict[str, Shape]:
    """``shapes`` and those of the variants of their architectures; ``others`` in place of ``PARTS``."""
    charlm = shapes["charlm"]
    like_charlm = dict.fromkeys(("charlm_no_attention_dropout", "charlm_no_gain", "charlm_rms_norm"), charlm)
    return {**shapes, "charlm_one_head": replace(charlm, heads=1), **like_charlm, **PARTS, **others}


CONFIG = replace(
    config.CONFIG,
    study="cpu",
    device="cpu",
    shapes=with_parts(
        {
            "charlm": Shape(layers=2, width=128, hidden=512, heads=4),
            # The tied head saves 8 K parameters; a wider hidden layer brings them back.
            "minigpt": Shape(layers=2, width=128, hidden=528, heads=4),
            "nanotransformer": Shape(layers=2, width=128, hidden=512, heads=4),
            "tinylstm": Shape(layers=2, width=128, hidden=576),
            "convlm": Shape(layers=4, width=128, hidden=0, taps=4, dilations=(1, 4, 16, 64), conv_hidden=160),
            "hybridlm": Shape(layers=2, width=128, hidden=352, heads=4, taps=4, dilations=(1,), conv_hidden=128),
        },
    ),
    context=128,
    batch_size=32,
    iterations=100,
    eval_interval=50,
)
