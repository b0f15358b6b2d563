"""run_all_experiments.py on the tests' small study, whose trials take a fraction of a second each.

Two activations come with it: "faulty" raises an error while the environment variable FAULTY is set, and "exploding"
makes every trial diverge.
"""

import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import torch  # noqa: E402
from conftest import TINY  # noqa: E402

import activations  # noqa: E402
from study import options  # noqa: E402


class Faulty(torch.nn.ReLU):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "FAULTY" in os.environ:
            raise RuntimeError("this activation is faulty")
        return super().forward(x)


class Exploding(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.inf


# At the top level, so that it is so in the worker processes too.
options.CONFIGS["cpu"] = TINY
activations.ACTIVATIONS |= {"faulty": Faulty, "exploding": Exploding}

if __name__ == "__main__":
    from run_all_experiments import main

    sys.exit(main())
