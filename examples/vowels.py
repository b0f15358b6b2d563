"""Which of nine men spoke? 640 vowels, 25 moments of 12 features (Kudo et al. 1999, UCI, CC BY 4.0): attention.
python sensitivity.py examples/vowels.py --activations relu gelu swish --budget 10min
"""

import numpy as np
from torch import nn

from study.downloads import from_wheel

WHEEL = "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409"  # SHA-256


def read(part):
    file = from_wheel("aeon==1.6.0", WHEEL, f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_eq_{part}.ts")
    rows = [row.split(":") for row in file.decode().partition("@data")[2].split()]
    series = np.array([[feature.split(",") for feature in row[:-1]] for row in rows], np.float32)
    return series.swapaxes(1, 2), np.array([int(row[-1]) - 1 for row in rows])


(x, y), (probe, targets) = read("TRAIN"), read("TEST")
rates = {"relu": 0.01, "gelu": 0.003, "swish": 0.01, "swiglu": 0.01, "smelu_05": 0.003, "smelu_1": 0.01}


class Attention(nn.Linear):
    def forward(self, x):
        return x + nn.functional.scaled_dot_product_attention(*super().forward(x).chunk(3, dim=-1))


def model(activation):
    hidden = 30 if activation.gated else 32  # 8,803 and 8,777 parameters
    widen = nn.Linear(16, 2 * hidden if activation.gated else hidden)
    return nn.Sequential(
        nn.Linear(12, 16), Attention(16, 48), widen, activation(), nn.Flatten(), nn.Linear(25 * hidden, 9)
    )


def batch(rng):
    i = rng.integers(0, len(x), 16)
    return x[i], y[i]
