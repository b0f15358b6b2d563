"""The same study at laptop scale: 430 K parameters each, 100 iterations."""

from dataclasses import replace

import config
from config import Shape

CONFIG = replace(
    config.CONFIG,
    study="cpu",
    device="cpu",
    shapes={
        "charlm": Shape(layers=2, width=128, hidden=512, heads=4),
        # The tied head saves 8 K parameters; a wider hidden layer brings them back.
        "minigpt": Shape(layers=2, width=128, hidden=528, heads=4),
        "nanotransformer": Shape(layers=2, width=128, hidden=512, heads=4),
        "tinylstm": Shape(layers=2, width=128, hidden=576),
        "convlm": Shape(layers=4, width=128, hidden=0, taps=4, dilations=(1, 4, 16, 64), conv_hidden=160),
        "hybridlm": Shape(layers=2, width=128, hidden=352, heads=4, taps=4, dilations=(1,), conv_hidden=128),
    },
    context=128,
    batch_size=32,
    iterations=100,
    eval_interval=50,
)
