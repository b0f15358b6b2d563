"""Two activations for tests of the runner: "faulty" raises an error while the environment variable FAULTY is set, and
"exploding" makes every trial diverge."""

import os

import torch

import activations


class Faulty(torch.nn.ReLU):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "FAULTY" in os.environ:
            raise RuntimeError("this activation is faulty")
        return super().forward(x)


class Exploding(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.inf


activations.ACTIVATIONS |= {"faulty": Faulty, "exploding": Exploding}
