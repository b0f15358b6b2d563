"""How often the intervals and tests of ``analysis.stats`` and ``stats_many`` are right, by simulation; run by hand:

    python -m benchmarks.coverage           a short form, under a minute
    python -m benchmarks.coverage --long    level, power and coverage of all of them in every scenario of
                                            ``benchmarks.simulated``, into benchmarks/results/coverage.json

All that is counted follows from the pseudo-values of a study, (R, K, N) for R simulated ones at once. An interval is
right if it covers the truth: no bound of the CV's interval is computed, only on which side of it the truth lies.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from analysis.stats_many import ALPHA, MARGIN, EffectVerdict, QuadraticForm
from benchmarks.simulated import SCALE, SCENARIOS, SHORT, scale_for, scenario, simulate, true_mean
from study import cli

OUT = Path(__file__).parent / "results" / "coverage.json"
TRIALS = (3, 5, 8, 12)
CVS = (0.0, 0.03, 0.1, 0.2)
SHORT_REPETITIONS, LONG_REPETITIONS = 200, 2000
LABELINGS = 999  # of two activations' trials, where there are more
BLOCKS, BETWEEN_BLOCKS = 20, 0.2  # stretches of text, and how much the mean distance differs between them
GOALS = {"coverage": (0.93, 0.97), "coverage without an effect": (0.93, 1.0), "false positives": (0.0, 0.06)}
PLANNED = 0.29  # a difference to plan for


# What is counted in R studies at once: shares of R, by name


def cell_intervals(values: np.ndarray, means: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Of one cell and of one difference: how often the interval covers the true mean (averaged over all of them)."""
    first, second = np.triu_indices(values.shape[1], 1)
    return {
        "coverage: mean of a cell": covered(values, means),
        "coverage: mean of a cell, other contexts too": covered_with_contexts(values, means, rng),
        "coverage: difference of two cells": covered(
            values[:, first] - values[:, second], means[first] - means[second]
        ),
    }


def margin_of(values: np.ndarray) -> np.ndarray:
    """The margin of the t interval of a mean: (..., N) -> (...,)."""
    n = values.shape[-1]
    return scipy_stats.t.isf(0.025, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n)


def covered(values: np.ndarray, truth: np.ndarray) -> float:
    return float((np.abs(values.mean(axis=-1) - truth) <= margin_of(values)).mean())


def covered_with_contexts(values: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    """As ``stats.crossed_estimate`` does it, of trials on stretches of text whose means differ."""
    blocks = BETWEEN_BLOCKS * rng.standard_normal((*values.shape[:2], BLOCKS))
    means = values.mean(axis=-1) + blocks.mean(axis=-1)
    return float((np.abs(means - truth) <= np.hypot(margin_of(values), margin_of(blocks))).mean())


def cv_interval(form: QuadraticForm, true_cv: float) -> dict[str, float]:
    below = form.share_below(true_cv)
    right = below <= 0.975 if true_cv == 0 else (below >= 0.025) & (below <= 0.975)  # no CV is below 0
    return {"coverage: CV without noise": float(right.mean())}


def tests_of_two(values: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Of the first activation and the last: how often each test rejects."""
    a, b = values[:, 0], values[:, -1]
    n = a.shape[1]
    labels = labelings(n, rng)
    differences = np.abs((np.concatenate([a, b], axis=1) @ (2 * labels - 1).T) / n)  # (R, M)
    permuted = np.mean(differences >= differences[:, :1] - 1e-12, axis=1)
    return {
        "rejections: two cells, paired t": share(scipy_stats.ttest_rel(a, b, axis=1).pvalue),
        "rejections: two cells, labels permuted": share(permuted),
    }


def labelings(n: int, rng: np.random.Generator) -> np.ndarray:
    """Ways to call half of 2 N trials A, (M, 2 N) of 1 and 0, the observed one first; some where there are many."""
    observed = np.arange(2 * n) < n
    if math.comb(2 * n, n) <= LABELINGS:
        others = [np.isin(np.arange(2 * n), chosen) for chosen in itertools.combinations(range(2 * n), n)][1:]
    else:
        others = list(rng.permuted(np.tile(observed, (LABELINGS, 1)), axis=1))
    return np.array([observed, *others], dtype=float)


def tests_of_all(values: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """Of all activations: how often the F test rejects, and any pair of them is shown."""
    found = {"rejections: all cells, F": share(p)}
    if values.shape[-1] >= stats.FEWEST_JUDGED:
        found["rejections: any pair, sign flips"] = share(any_pair_p(values))
    return found


def any_pair_p(values: np.ndarray) -> np.ndarray:
    """The smallest p that ``stats_many.sign_flips_of_values`` gives in each study: that of the largest |t|."""
    n = values.shape[-1]
    flips = (1.0 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)).astype(np.float32)
    first, second = np.triu_indices(values.shape[1], 1)
    differences = values[:, first] - values[:, second]  # (R, P, N)
    scaled = (differences / np.linalg.norm(differences, axis=-1, keepdims=True)).astype(np.float32)
    largest = np.array([np.abs(study @ flips.T).max(axis=0) for study in scaled])  # (R, M)
    return np.mean(largest >= largest[:, :1] * (1 - 1e-6), axis=1)


def verdicts(form: QuadraticForm, p: np.ndarray) -> dict[str, float]:
    """How often ``stats_many.effect_verdict`` gives which verdict, with p of one test alone."""
    if form.n < stats.FEWEST_JUDGED:
        return {}
    at_margin = form.share_below(MARGIN)
    above, below = at_margin > 0.975, at_margin < 0.025
    found = {
        EffectVerdict.MATTERS: above,
        EffectVerdict.DIFFERS: below & (p <= ALPHA),
        EffectVerdict.NO_DIFFERENCE: below & (p > ALPHA),
        EffectVerdict.UNDECIDED: ~above & ~below,
    }
    return {f"verdict: {verdict}": float(each.mean()) for verdict, each in found.items()}


def share(p: np.ndarray) -> float:
    return float(np.mean(p <= ALPHA))


def count(name: str, n: int, cv: float, repetitions: int, seed: int = 42) -> dict[str, float]:
    """All shares of one scenario, number of trials and true CV; they do not depend on which others are asked for."""
    rng = np.random.default_rng([seed, SCENARIOS.index(name), n, round(1e6 * cv)])
    values, means = scenario(name)(rng, repetitions, n, cv)
    form, p = QuadraticForm.of(values), stats_many.equal_means_p(values)
    return (
        cell_intervals(values, means, rng)
        | cv_interval(form, cv)
        | tests_of_two(values, rng)
        | tests_of_all(values, p)
        | verdicts(form, p)
    )


# Simulated predictions of one activation and of two, where what a distance is matters


def coverage_of_predictions(n: int, spread: float, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """How often nominal 95 % intervals cover the true mean: ours, and the t interval over pairs."""
    truth = np.array([true_mean(spread=spread)])
    distances = simulate(rng, repetitions, n, spread=spread)
    return {
        "jackknife-t": covered(stats.pseudo_values(distances), truth),
        "t over pairs": covered(distances[(..., *np.triu_indices(n, 1))], truth),
    }


def planned(spread: float, correlation: float, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """The number of trials planned from a pilot of 20, and the power that ``paired_test`` has with that many."""
    pilots = simulate(rng, 20, 20, (SCALE, SCALE), spread, correlation)
    cv, shared = np.mean([stats.spread_and_correlation(pilot) for pilot in pilots], axis=0)
    n = stats.trials_needed(PLANNED, cv, shared)
    scales = (SCALE, scale_for((1 + PLANNED) * true_mean(spread=spread), spread))
    values = stats.pseudo_values(simulate(rng, repetitions, n, scales, spread, correlation))
    return {"trials": n, "power": share(scipy_stats.ttest_rel(values[:, 0], values[:, 1], axis=1).pvalue)}


# The tables


def goal(what: str, cv: float) -> tuple[float, float] | None:
    """From where to where a share should be; None where it is not asked (power, verdicts)."""
    if what.startswith("coverage"):
        return GOALS["coverage without an effect" if cv == 0 and "CV" in what else "coverage"]
    return GOALS["false positives"] if what.startswith("rejections") and cv == 0 else None


def missed(what: str, cv: float, value: float, repetitions: int) -> bool:
    """Whether the goal is missed by more than two standard errors."""
    wanted = goal(what, cv)
    guarded = (value * repetitions + 1) / (repetitions + 2)  # so that the error is never 0
    slack = 2 * math.sqrt(guarded * (1 - guarded) / repetitions)
    return wanted is not None and not wanted[0] - slack <= value <= wanted[1] + slack


def misses(what: str, shares: dict[str, float], repetitions: int) -> list[str]:
    """The true CVs, as they stand in ``shares``, at which the goal is missed."""
    return [cv for cv, value in shares.items() if missed(what, float(cv), value, repetitions)]


def simulate_all(
    scenarios: tuple[str, ...], trials: tuple[int, ...], cvs: tuple[float, ...], repetitions: int
) -> Iterator[dict]:
    """A row for each thing counted, scenario and number of trials, with the share at each true CV."""
    started = time.monotonic()
    for name in scenarios:
        for n in trials:
            found = {cv: count(name, n, cv, repetitions) for cv in cvs}
            for what in found[cvs[0]]:
                shares = {f"{cv:g}": round(found[cv][what], 4) for cv in cvs}
                yield {
                    "what": what,
                    "scenario": name,
                    "n": n,
                    "shares": shares,
                    "missed": misses(what, shares, repetitions),
                }
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def print_tables(rows: list[dict], cvs: tuple[float, ...]) -> None:
    """``!`` where the goal is missed."""
    for what in dict.fromkeys(row["what"] for row in rows):
        print(f"\n{what}, in %; columns: true CV in %\n{'':22}" + " ".join(f"{100 * cv:5.0f} " for cv in cvs))
        for row in (row for row in rows if row["what"] == what):
            shown = (
                f"{100 * share:5.1f}{'!' if cv in row['missed'] else ' '}" for cv, share in row["shares"].items()
            )
            print(f"{row['scenario']:16} N={row['n']:<3} " + " ".join(shown))


def main() -> None:
    parser = cli.Parser(description="coverage, level and power of intervals and tests, by simulation")
    parser.add_argument("--long", action="store_true", help=f"everything, written to {OUT.name}")
    long = parser.parse_args().long
    repetitions = LONG_REPETITIONS if long else SHORT_REPETITIONS
    rows = list(simulate_all(SCENARIOS if long else SHORT, TRIALS, CVS, repetitions))
    print_tables(rows, CVS)
    if long:
        rng = np.random.default_rng(42)
        spreads, correlations = (0.0, 0.3, 0.6), (0.0, 0.7)
        plans = [
            {"spread": spread, "correlation": correlation, **planned(spread, correlation, repetitions, rng)}
            for spread in spreads
            for correlation in correlations
        ]
        head = {"repetitions": repetitions, "goals": GOALS, "planned_difference": PLANNED, "planned": plans}
        OUT.write_text(text_of({**head, "rows": rows}))


def text_of(record: dict) -> str:
    """JSON with a line for each row."""
    head = json.dumps({name: value for name, value in record.items() if name != "rows"})
    rows = ",\n".join(json.dumps(row) for row in record["rows"])
    return f'{head[:-1]}, "rows": [\n{rows}\n]}}\n'


if __name__ == "__main__":
    main()
