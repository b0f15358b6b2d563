"""How often the intervals and tests of ``stats.py`` are right, by simulation; run by hand:

    python -m benchmarks.coverage --repetitions 600

A simulated trial predicts on 10 contexts with 5 classes: the softmax of common logits plus its own Gaussian noise.
Trials are "equal" if all have noise of the same scale, "unequal" if a trial's scale is exp(0.3 z) times as large,
"very unequal" with exp(0.6 z). Distances are relative PD over all classes. Two activations may share seeds
(noise and scale correlate by 0.7), and may be "apart": equally variable, around different common logits.
"""

import argparse
import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from analysis import stats, stats_many

SPREADS = {"equal": 0.0, "unequal": 0.3, "very unequal": 0.6}
SCALE = 0.5
COMMON_LOGITS = 1.5 * np.random.default_rng(0).standard_normal((10, 5))

# Of other simulations than these, with equal / unequal trials, to compare with
REPORTED_COVERAGE = {
    3: (".93/.91", ".99/.97", ".66/.63", ".49/.49"),
    5: (".84/.77", ".96/.96", ".92/.89", ".45/.53"),
    10: (".75/.58", ".98/.95", ".96/.90", ".42/.58"),
    20: (".59/.40", ".96/.95", ".94/.92", ".50/.72"),
}
REPORTED_REJECTIONS = {5: "t over pairs .30, pooled labels .03", 10: "t over pairs .47, pooled labels .05"}
COVERAGE_COLUMNS = ("t over pairs", "jackknife-t", "bootstrap", "self-pairs kept")


# The simulated study


def simulate(
    rng: np.random.Generator,
    repetitions: int,
    n_trials: int,
    scales: Sequence[float] | np.ndarray = (SCALE,),
    spread: float | Sequence[float] = 0.0,
    correlation: float = 0.0,
    apart: bool = False,
) -> np.ndarray:
    """Distances of ``repetitions`` studies: all trials of all K = len(scales) activations, (R, K N, K N)."""
    k = len(scales)
    shape = (repetitions, k, n_trials, *COMMON_LOGITS.shape)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        of_seed = rng.standard_normal((shape[0], 1, *shape[2:]))
        return np.sqrt(correlation) * of_seed + np.sqrt(1 - correlation) * rng.standard_normal(shape)

    def of_activation(value: float | Sequence[float] | np.ndarray) -> np.ndarray:
        return np.broadcast_to(value, k).reshape(k, 1, 1, 1)

    centres = np.stack([np.roll(COMMON_LOGITS, a, axis=0) if apart else COMMON_LOGITS for a in range(k)])
    scale_of_trial = of_activation(scales) * np.exp(of_activation(spread) * draw((*shape[:3], 1, 1)))
    logits = centres[:, None] + scale_of_trial * draw(shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return pairwise_relative_pd(probabilities.reshape(repetitions, k * n_trials, *COMMON_LOGITS.shape))


def pairwise_relative_pd(probabilities: np.ndarray) -> np.ndarray:
    """(R, N, samples, classes) -> (R, N, N): mean of 2 |p - q| / (p + q) over samples and classes."""
    repetitions, n = probabilities.shape[:2]
    distances = np.zeros((repetitions, n, n))
    for i in range(n - 1):
        p, q = probabilities[:, i, None], probabilities[:, i + 1 :]
        distances[:, i, i + 1 :] = (2 * np.abs(p - q) / (p + q)).mean(axis=(-1, -2))
    return distances + np.swapaxes(distances, -1, -2)


@cache
def true_mean(scale: float = SCALE, spread: float = 0.0, pairs: int = 20_000) -> float:
    """The mean that a cell's interval should cover, from many independent pairs (standard error below 0.3 %)."""
    return float(simulate(np.random.default_rng(99), pairs, 2, (scale,), spread)[:, 0, 1].mean())


def scale_for(target: float, spread: float) -> float:
    """The scale of noise at which the true mean is ``target``."""
    return float(optimize.brentq(lambda scale: true_mean(scale, spread) - target, SCALE, 3 * SCALE, xtol=1e-3))


def within(distances: np.ndarray, n_trials: int) -> np.ndarray:
    """The distances within each of K activations: (K N, K N) -> (K, N, N)."""
    starts = range(0, len(distances), n_trials)
    return np.stack([distances[i : i + n_trials, i : i + n_trials] for i in starts])


# The methods that stats.py does not use


def pairs_of(distances: np.ndarray) -> np.ndarray:
    """(N, N) -> (N (N - 1) / 2,)"""
    return distances[np.triu_indices(len(distances), 1)]


def bootstrap_interval(
    distances: np.ndarray, rng: np.random.Generator, self_pairs: bool, resamples: int = 400
) -> tuple[float, float]:
    """Percentile bootstrap over trials; a trial drawn twice makes a pair with itself, at distance 0."""
    n = len(distances)
    times_drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    totals = ((times_drawn @ distances) * times_drawn).sum(axis=1)
    pairs = n * (n - 1) if self_pairs else n**2 - (times_drawn**2).sum(axis=1)
    means = totals / np.maximum(pairs, 1)
    return tuple(np.percentile(means[np.broadcast_to(pairs, means.shape) > 0], [2.5, 97.5]))


def label_permutation_p(pooled: np.ndarray, n_a: int, rng: np.random.Generator, repetitions: int = 999) -> float:
    """Trial labels permuted on the distances between all trials, ``pooled`` (N_a + N_b, N_a + N_b).

    Its null hypothesis is that both groups draw their predictions from one distribution, not that their mean
    distances are equal: it rejects two activations that are equally reproducible around different predictions.
    """
    n = len(pooled)
    orders = rng.permuted(np.tile(np.arange(n), (repetitions, 1)), axis=1)
    in_a = (np.concatenate([np.arange(n)[None], orders]) < n_a).astype(float)  # (M, N), the observed labels first
    mean_a, mean_b = (
        ((member @ pooled) * member).sum(axis=1) / (size * (size - 1))
        for member, size in ((in_a, n_a), (1 - in_a, n - n_a))
    )
    statistics = np.abs(mean_a - mean_b)
    return float(np.mean(statistics >= statistics[0] - stats.ROUNDING))


# What is counted


def coverage(n_trials: int, spread: float, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """How often each nominal 95 % interval covers the true mean."""
    truth = true_mean(spread=spread)
    covered = dict.fromkeys(COVERAGE_COLUMNS, 0)
    for distances in simulate(rng, repetitions, n_trials, spread=spread):
        naive, ours = stats.mean_estimate(pairs_of(distances)), stats.pairwise_estimate(distances)
        intervals = (
            (naive.low, naive.high),
            (ours.low, ours.high),
            bootstrap_interval(distances, rng, self_pairs=False),
            bootstrap_interval(distances, rng, self_pairs=True),
        )
        for name, (low, high) in zip(COVERAGE_COLUMNS, intervals, strict=True):
            covered[name] += low <= truth <= high
    return {name: count / repetitions for name, count in covered.items()}


def rejections(
    n_trials: int, repetitions: int, rng: np.random.Generator, alpha: float = 0.05, **study: Any
) -> dict[str, float]:
    """How often each test of two activations rejects at ``alpha``; ``study`` as in ``simulate``."""
    pooled = simulate(rng, repetitions, n_trials, **{"scales": (SCALE, SCALE), **study})
    cells = np.stack([within(each, n_trials) for each in pooled])  # (R, 2, N, N)
    pairs = np.moveaxis(cells[(..., *np.triu_indices(n_trials, 1))], 1, 0)  # (2, R, pairs)
    values = np.moveaxis(stats.pseudo_values(cells), 1, 0)  # (2, R, N)
    p_values = {
        "t over pairs": scipy_stats.ttest_ind(*pairs, axis=1).pvalue,
        "pooled labels": [label_permutation_p(each, n_trials, rng) for each in pooled],
        "permutation": [stats.permutation_test(a, b, rng, 999).p for a, b in cells],
        # Welch 1947, Biometrika 34:28, on pseudo-values: for cells that share no seeds.
        "Welch": scipy_stats.ttest_ind(*values, axis=1, equal_var=False).pvalue,
        "paired": [stats.paired_test(a, b).p for a, b in cells],
    }
    return {name: float(np.mean(np.asarray(found) <= alpha)) for name, found in p_values.items()}


def sensitivity(
    n_trials: int, scales: Sequence[float] | np.ndarray, repetitions: int, rng: np.random.Generator, **study: Any
) -> dict[str, float]:
    """``activation_cv`` and Holm over all paired tests, on activations with these scales of noise."""
    spreads = np.broadcast_to(study.get("spread", 0.0), len(scales))
    truth = stats.coefficient_of_variation(list(map(true_mean, scales, spreads)))
    rows = []
    for pooled in simulate(rng, repetitions, n_trials, scales, **study):
        cells = within(pooled, n_trials)
        found = stats_many.activation_cv(cells, rng, repetitions=499)
        assert found.shuffled is not None
        paired = [stats.paired_test(a, b).p for i, a in enumerate(cells) for b in cells[:i]]
        rows.append(
            {
                "observed CV": found.cv.mean,
                "from noise": found.from_noise,
                "covered": found.cv.low <= truth <= found.cv.high,
                "p <= .05": found.significance.p <= 0.05,
                "shuffled p <= .05": found.shuffled.p <= 0.05,
                "any pair by Holm": stats.holm(paired).min() <= 0.05,
            }
        )
    return {"true CV": truth, **{name: float(np.mean([row[name] for row in rows])) for name in rows[0]}}


def planned(
    relative_difference: float, spread: float, correlation: float, repetitions: int, rng: np.random.Generator
) -> dict[str, float]:
    """The number of trials planned from a pilot of 20, and the power that ``paired_test`` has with that many."""
    pilots = simulate(rng, 20, 20, (SCALE, SCALE), spread, correlation)
    cv, shared = np.mean([stats.spread_and_correlation(within(pooled, 20)) for pooled in pilots], axis=0)
    n_trials = stats.trials_needed(relative_difference, cv, shared)
    scales = (SCALE, scale_for((1 + relative_difference) * true_mean(spread=spread), spread))
    studies = simulate(rng, repetitions, n_trials, scales, spread, correlation)
    power = float(np.mean([stats.paired_test(*within(pooled, n_trials)).p <= 0.05 for pooled in studies]))
    return {"CV between trials": cv, "correlation": shared, "trials": n_trials, "power": power}


# The tables


def print_row(label: str, values: dict[str, float]) -> None:
    print(f"{label:<36}" + "  ".join(f"{name} {value:.3g}" for name, value in values.items()), flush=True)


def print_coverage(repetitions: int, rng: np.random.Generator) -> None:
    print(
        "\nCoverage of nominal 95 % intervals, equal/unequal/very unequal trials; in brackets"
        " those of other simulations"
    )
    for n_trials, reported in REPORTED_COVERAGE.items():
        found = [coverage(n_trials, spread, repetitions, rng) for spread in SPREADS.values()]
        cells = ["/".join(f"{rates[name]:.2f}"[-3:] for rates in found) for name in COVERAGE_COLUMNS]
        columns = zip(COVERAGE_COLUMNS, cells, reported, strict=True)
        print(f"N = {n_trials:<3}", "  ".join(f"{name} {ours} [{theirs}]" for name, ours, theirs in columns))


def print_two_activations(repetitions: int, rng: np.random.Generator) -> None:
    print("\nTwo activations, rejections at 5 % (trials unequal where it is not said); of other simulations, alike:")
    print("".join(f"N = {n_trials}: {rates}, Welch .03 to .04\n" for n_trials, rates in REPORTED_REJECTIONS.items()))
    larger = (SCALE, scale_for(1.29 * true_mean(spread=0.3), 0.3))
    equal_means = (SCALE, scale_for(true_mean(spread=0.6), 0.0))
    for n_trials in (5, 8, 10):
        for name, spread in SPREADS.items():
            print_row(f"N = {n_trials} alike, {name}", rejections(n_trials, repetitions, rng, spread=spread))
        studies: tuple[tuple[str, dict[str, Any]], ...] = (
            ("alike, shared seeds", {"correlation": 0.7}),
            ("apart", {"apart": True}),
            ("very unequal v equal", {"scales": equal_means, "spread": (0.6, 0.0)}),
            ("PD 29 % larger", {"scales": larger}),
            ("PD 29 % larger, shared seeds", {"scales": larger, "correlation": 0.7}),
        )
        for label, study in studies:
            print_row(f"N = {n_trials} {label}", rejections(n_trials, repetitions, rng, **{"spread": 0.3, **study}))


def one_varies_more(spread: float = 0.6, activations: int = 6) -> dict:
    """A study of activations with equal mean PD, of which the first varies more from trial to trial."""
    others = activations - 1
    scales = (SCALE, *[scale_for(true_mean(spread=spread), 0.0)] * others)
    return {"scales": scales, "spread": (spread, *[0.0] * others)}


def print_six_activations(repetitions: int, rng: np.random.Generator) -> None:
    print("\nSix activations with equal means, one of them very unequal, the others equal trials")
    for n_trials, (shared, correlation) in itertools.product((3, 5, 8), (("", 0.0), (", shared seeds", 0.7))):
        study = one_varies_more() | {"correlation": correlation}
        print_row(f"N = {n_trials}{shared}", sensitivity(n_trials, repetitions=repetitions, rng=rng, **study))
    print("\nSix activations, unequal trials, shared seeds, apart")
    study = {"spread": 0.3, "correlation": 0.7, "apart": True}
    for n_trials in (3, 5, 8):
        for width in (0.0, 0.1, 0.3):
            scales = SCALE * (1 + width * np.linspace(-1, 1, 6))
            print_row(
                f"N = {n_trials}, scales +- {width:.0%}", sensitivity(n_trials, scales, repetitions, rng, **study)
            )
    print("\nPlanned for a power of .8")
    for name, spread in SPREADS.items():
        print_row(f"29 %, {name}", planned(0.29, spread, 0.0, repetitions, rng))
        print_row(f"29 %, {name}, shared seeds", planned(0.29, spread, 0.7, repetitions, rng))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="coverage and false positives of stats.py, by simulation")
    parser.add_argument("--repetitions", type=int, default=600, help="simulated studies per number (default 600)")
    repetitions, rng = parser.parse_args().repetitions, np.random.default_rng(42)
    print_coverage(repetitions, rng)
    print_two_activations(repetitions, rng)
    print_six_activations(repetitions, rng)
