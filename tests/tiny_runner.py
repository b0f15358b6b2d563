"""run_all_experiments.py on the tests' small study, whose trials take a fraction of a second each."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from conftest import TINY  # noqa: E402

import study  # noqa: E402

study.CONFIGS["cpu"] = TINY

if __name__ == "__main__":
    from run_all_experiments import main

    sys.exit(main())
