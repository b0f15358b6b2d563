"""1,797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998, UCI, CC BY 4.0): a multilayer perceptron.
python sensitivity.py examples/digits.py --activations relu gelu swish --budget 5min
"""

import gzip

import numpy as np
from torch import nn

from study.downloads import from_wheel

WHEEL = "89877e19a80c7b11a2891a27c21c4894fb18e2c2e077815bcade10d34287b20d"  # SHA-256
OF_ONE_PLATFORM = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11")  # others hold the same file
packed = from_wheel("scikit-learn==1.7.2", WHEEL, "sklearn/datasets/data/digits.csv.gz", *OF_ONE_PLATFORM)
rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",")
x, y = rows[:, :-1] / 16, rows[:, -1].astype(int)
probe, targets = x[1297:], y[1297:]
rates = {"relu": 0.001, "gelu": 0.001, "swish": 0.001, "swiglu": 0.001, "smelu_05": 0.003, "smelu_1": 0.003}


def model(activation):
    hidden = 34 if activation.gated else 64  # 4,770 and 4,810 parameters
    return nn.Sequential(
        nn.Linear(64, 2 * hidden if activation.gated else hidden), activation(), nn.Linear(hidden, 10)
    )


def batch(rng):
    i = rng.integers(0, 1297, 64)
    return x[i], y[i]
