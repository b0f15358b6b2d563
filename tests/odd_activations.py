"""Two activations for tests of the runner: "faulty" raises an error while the environment variable FAULTY is set, and
"exploding" makes every trial diverge; both from a module's second training step on, because the first is tried before
any trial is trained."""

import os

import torch

import activations


class Later(torch.nn.ReLU):
    steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        return super().forward(x) if self.steps < 2 else self.odd(x)


class Faulty(Later):
    def odd(self, x: torch.Tensor) -> torch.Tensor:
        if "FAULTY" in os.environ:
            raise RuntimeError("this activation is faulty")
        return super(Later, self).forward(x)


class Exploding(Later):
    def odd(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.inf


activations.ACTIVATIONS |= {"faulty": Faulty, "exploding": Exploding}
