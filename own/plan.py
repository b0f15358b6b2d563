"""How many seeds and steps a budget of time pays for. Pure functions.

Seeds come first: ``DEFAULT_SEEDS``, down to ``FEWEST_SEEDS`` before steps become fewer than ``FEWEST_STEPS``, and
never fewer, because fewer are not judged.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from study.files import UserError
from study.options import MOST_STEPS, MOST_TRIALS

FEWEST_SEEDS, DEFAULT_SEEDS = 6, 8
MOST_HOURS = 10_000  # of a budget, more than a year
FEWEST_STEPS = 20
START = 3.0  # seconds until worker processes train
UNITS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Cost:
    """Measured seconds of one core, by activation: of a training ``step``, and of a ``trial`` beside its steps."""

    step: Mapping[str, float]
    trial: Mapping[str, float]

    def of_trial(self, activation: str, steps: int) -> float:
        return self.trial[activation] + steps * self.step[activation]

    def of_seed(self, steps: int) -> float:
        """One trial of every activation."""
        return sum(self.of_trial(name, steps) for name in self.step)

    def seconds(self, seeds: float, steps: int, workers: int) -> float:
        """By the clock, with ``workers`` that each have a core; a part of a seed is some of its activations."""
        longest = max(self.of_trial(name, steps) for name in self.step)
        return START + max(seeds * self.of_seed(steps) / self.busy(seeds, workers), longest) if seeds else 0.0

    def busy(self, seeds: float, workers: int) -> float:
        """How many workers train at a time, on average: trials come in rounds, and the last may leave some idle."""
        trials = math.ceil(seeds * len(self.step))
        return trials / math.ceil(trials / workers)

    def steps_in(self, seconds: float, seeds: int, workers: int) -> int:
        """The most steps with which ``seeds`` end in time; 0 or less if they cannot."""
        time = seconds - START
        room = time * self.busy(seeds, workers) / seeds - sum(self.trial.values())
        of_longest = min((time - self.trial[name]) / self.step[name] for name in self.step)
        return min(MOST_STEPS, math.floor(min(room / sum(self.step.values()), of_longest)))

    def seeds_in(self, seconds: float, steps: int, workers: int) -> int:
        """The most seeds of ``steps`` that end in time."""
        seeds = max(0, min(MOST_TRIALS, math.floor((seconds - START) * workers / self.of_seed(steps))))
        while seeds and self.seconds(seeds, steps, workers) > seconds:
            seeds -= 1
        return seeds


@dataclass(frozen=True)
class Plan:
    """``budget`` is what it was made for, ``seconds`` what it is expected to take, both by the clock."""

    seeds: int
    steps: int
    seconds: float
    budget: float


def plan(cost: Cost, budget: float, workers: int, seeds: int | None = None, steps: int | None = None) -> Plan:
    """What ``budget`` seconds pay for, with ``seeds`` and ``steps`` where they are given.

    UserError if not even the fewest seeds and steps fit in; a number that was given is not refused for its cost.
    """
    if steps is not None:
        seeds = seeds or max(FEWEST_SEEDS, cost.seeds_in(budget, steps, workers))
        return Plan(seeds, steps, cost.seconds(seeds, steps, workers), budget)
    enough = cost.steps_in(budget, DEFAULT_SEEDS, workers) >= FEWEST_STEPS
    seeds = seeds or (DEFAULT_SEEDS if enough else FEWEST_SEEDS)
    steps = cost.steps_in(budget, seeds, workers)
    if steps < FEWEST_STEPS:
        needed = math.ceil(cost.seconds(seeds, FEWEST_STEPS, workers))
        raise UserError(
            f"{seeds} seeds of {FEWEST_STEPS} steps take about {duration(needed)}; give --budget {needed}s or --steps"
        )
    return Plan(seeds, steps, cost.seconds(seeds, steps, workers), budget)


def extended(done: Plan, cost: Cost, budget: float, workers: int, seeds: int | None) -> Plan:
    """``done``, with more seeds of as many steps if ``seeds`` or a larger ``budget`` asks for them, never fewer."""
    if seeds is None:
        seeds = cost.seeds_in(budget, done.steps, workers) if budget > done.budget else 0
    seeds = max(done.seeds, seeds)
    return Plan(seeds, done.steps, cost.seconds(seeds, done.steps, workers), max(budget, done.budget))


# ---------------------------------------------------------------- times in words


def seconds_of(text: str) -> float:
    """Seconds in "90s", "5min" or "2h"; ValueError for anything else, and for more than ``MOST_HOURS``."""
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    value = math.nan
    with suppress(ValueError):
        value = float(text.removesuffix(unit)) * UNITS.get(unit, math.nan)
    if not 0 < value < math.inf:
        raise ValueError(f"{text!r} is no time such as 90s, 5min or 2h")
    if value > MOST_HOURS * UNITS["h"]:
        raise ValueError(f"{text!r} is more than {MOST_HOURS:,} hours, the most that is accepted")
    return value


def duration(seconds: float) -> str:
    """Such as "40 s", "5.0 min" or "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
