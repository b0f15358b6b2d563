"""run_all_experiments.py on the tests' small study, whose trials take a tenth of a second each.

Asked for "faulty" or "exploding", it has the activations of odd_activations.py. The environment variable TEST_CLOCK
gives it a clock that is ten years behind, or one that goes backwards.
"""

import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from conftest import TINY  # noqa: E402

from study import options, plan  # noqa: E402

# At the top level, so that it is so in the worker processes too.
options.CONFIGS["cpu"] = TINY
plan.SAVE_EVERY = 0.02  # seconds, so that a trial that is killed has something to go on from
if {"faulty", "exploding"} & set(sys.argv):
    import odd_activations  # noqa: F401, because of the activations that it registers

NOW = time.time
CLOCKS = {"ten years back": lambda: NOW() - 10 * 365 * 86_400, "backwards": lambda: 2 * 10**9 - NOW()}
time.time = CLOCKS.get(os.environ.get("TEST_CLOCK", ""), NOW)

if __name__ == "__main__":
    from run_all_experiments import main

    sys.exit(main())
