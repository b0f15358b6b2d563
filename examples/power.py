"""Summer or winter? Demand for power of 1,096 days in Italy, by hour (Keogh et al. 2006, UCR archive): convolution.
python sensitivity.py examples/power.py --activations relu gelu swish --budget 5min
"""

import numpy as np
from torch import nn

from study.downloads import from_wheel

WHEEL = "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409"  # SHA-256


def read(part):
    file = from_wheel("aeon==1.6.0", WHEEL, f"aeon/datasets/data/ItalyPowerDemand/ItalyPowerDemand_{part}.ts")
    rows = [row.replace(":", ",").split(",") for row in file.decode().partition("@data")[2].split()]
    return np.array([row[:-1] for row in rows], np.float32)[:, None], np.array([int(row[-1]) - 1 for row in rows])


(x, y), (probe, targets) = read("TRAIN"), read("TEST")  # 67 and 1,029 days


class OverChannels(nn.Module):
    """Gated activations halve the last axis."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation()

    def forward(self, x):
        return self.activation(x.movedim(1, -1)).flatten(1)


def model(activation):
    hidden = 14 if activation.gated else 16
    convolution = nn.Conv1d(1, 2 * hidden if activation.gated else hidden, 5)
    return nn.Sequential(convolution, OverChannels(activation), nn.Linear(20 * hidden, 2))


def batch(rng):
    i = rng.integers(0, len(x), 32)
    return x[i], y[i]
