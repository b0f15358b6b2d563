"""Summer or winter? Hourly demand for power on 1,096 days in Italy (Keogh et al. 2006, UCR archive): a convolution.
python sensitivity.py examples/power.py --activations relu gelu swish --budget 5min
"""

import numpy as np
from torch import nn

from study.downloads import from_wheel

WHEEL = "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409"  # SHA-256


def read(part):
    file = from_wheel("aeon==1.6.0", WHEEL, f"aeon/datasets/data/ItalyPowerDemand/ItalyPowerDemand_{part}.ts")
    rows = [row.replace(":", ",").split(",") for row in file.decode().partition("@data")[2].split()]
    days, labels = np.array([row[:-1] for row in rows], np.float32), np.array([int(row[-1]) - 1 for row in rows])
    return np.stack([days[:, hour : hour + 5] for hour in range(20)], axis=1), labels  # windows of five hours


(x, y), (probe, targets) = read("TRAIN"), read("TEST")  # 67 and 1,029 days
rates = {"relu": 0.001, "gelu": 0.001, "swish": 0.001, "swiglu": 0.001, "smelu_05": 0.001, "smelu_1": 0.001}


def model(activation):
    hidden = 14 if activation.gated else 16  # 730 and 738 parameters
    convolution = nn.Linear(5, 2 * hidden if activation.gated else hidden)
    return nn.Sequential(convolution, activation(), nn.Flatten(), nn.Linear(20 * hidden, 2))


def batch(rng):
    i = rng.integers(0, len(x), 32)
    return x[i], y[i]
