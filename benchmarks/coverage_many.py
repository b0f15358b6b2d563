"""How often what ``stats.py`` says of many activations is right, by simulation; run by hand:

    python -m benchmarks.coverage_many                                     about a minute
    python -m benchmarks.coverage_many --repetitions 2000 --out FILE.json  everything: hours

Six activations share their seeds. In most scenarios a trial has a value x of its own, and the distance of two trials
is the mean of their values, so that x are exactly the pseudo-values and the true means are known. They are normal and
correlate by .3 ("equal": all with standard deviation 8 %; "one wide": one of them with 40 %), or have the covariance
over seeds of an architecture of the committed reference study, here taken for the truth; "skewed" ones are
exponential, and of "outlier" ones one in ten lies five standard deviations higher. In "predictions" they are
distances of simulated predictions, as in ``benchmarks.coverage``, of unequal trials around different common logits;
in "wide predictions" one activation has very unequal trials and the others equal ones.

Means differ along a line from the first activation to the last; with a study's covariance, as they did in that study.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from analysis import stats, stats_many
from analysis.differences import shared_distances
from analysis.findings import Findings
from benchmarks import coverage
from study.files import RESULTS_DIR
from study.store import read_cells

K = 6
ALPHA = 0.05
MARGIN = 0.10
GOALS = {"coverage": (0.93, 0.97), "coverage without an effect": (0.93, 1.0), "false positives": (0.0, 0.06)}
LINE = np.linspace(-1, 1, K) / np.std(np.linspace(-1, 1, K))
RESAMPLES = 399

SHORT = ("equal", "charlm", "one wide", "skewed", "outlier")
LONG = (*SHORT, "minigpt", "nanotransformer", "tinylstm", "convlm", "hybridlm", "predictions", "wide predictions")
SHORT_CVS = (0.0, 0.03, 0.1)
LONG_CVS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
TRIALS = (3, 5, 8, 12)

Draw = Callable[[np.random.Generator, int, int, float], np.ndarray]  # (rng, R, N, true CV) -> (R, K, N, N)


# The simulated studies


def distances_of(values: np.ndarray) -> np.ndarray:
    """Distances whose pseudo-values are ``values``: (..., N) -> (..., N, N)."""
    return (values[..., :, None] + values[..., None, :]) / 2 * (1 - np.eye(values.shape[-1]))


def equal_covariance(sds: np.ndarray, correlation: float = 0.3) -> np.ndarray:
    return np.outer(sds, sds) * (correlation + (1 - correlation) * np.eye(K))


def one_wide() -> np.ndarray:
    return equal_covariance(np.array([0.4, *[0.08] * (K - 1)]))


@cache
def reference(model: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the committed study: covariance over seeds (K, K) of PD over its mean, and the K means over theirs."""
    cells = Findings.of_study(read_cells(RESULTS_DIR), "reference").models[model]
    values = stats.pseudo_values(shared_distances(cells, "relative_pd")[1])
    relative = values / values.mean()
    return np.cov(relative), relative.mean(axis=1) - 1


def exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_exponential(shape) - 1


def with_outliers(rng: np.random.Generator, shape: tuple[int, ...], often: float = 0.1, far: float = 5) -> np.ndarray:
    """Normal values, of which some lie ``far`` higher; mean 0."""
    return rng.standard_normal(shape) + far * ((rng.random(shape) < often) - often)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def draw_values(
    rng: np.random.Generator,
    repetitions: int,
    n: int,
    cv: float,
    covariance: np.ndarray,
    direction: np.ndarray = LINE,
    noise: Callable = normal,
) -> np.ndarray:
    """(R, K, N, N): means 1 + ``cv`` times the ``direction`` at unit standard deviation, and correlated noise."""
    own = noise(rng, (repetitions, K, n))
    deviations = np.einsum("kl,rln->rkn", np.linalg.cholesky(covariance), own)
    means = 1 + cv * direction / direction.std()
    return distances_of(means[:, None] + deviations)


@cache
def scales_for(cv: float, spreads: tuple[float, ...]) -> tuple[float, ...]:
    """Scales of noise at which simulated predictions have true means along a line, with that CV."""
    means = coverage.true_mean(coverage.SCALE, 0.3) * (1 + cv * LINE)

    def scale(mean: float, spread: float) -> float:
        return optimize.brentq(lambda scale: coverage.true_mean(scale, spread) - mean, 0.05, 2.0, xtol=1e-4)

    return tuple(map(scale, means, spreads))


def draw_predictions(
    rng: np.random.Generator, repetitions: int, n: int, cv: float, spreads: tuple[float, ...]
) -> np.ndarray:
    scales = scales_for(cv, spreads)
    batches = [min(100, repetitions - start) for start in range(0, repetitions, 100)]
    pooled = (coverage.simulate(rng, size, n, scales, spreads, correlation=0.7, apart=True) for size in batches)
    return np.stack([coverage.within(each, n) for batch in pooled for each in batch])


def scenario(name: str) -> Draw:
    equal = equal_covariance(np.full(K, 0.08))
    own: dict[str, Draw] = {
        "equal": partial(draw_values, covariance=equal),
        "one wide": partial(draw_values, covariance=one_wide()),
        "skewed": partial(draw_values, covariance=equal, noise=exponential),
        "outlier": partial(draw_values, covariance=equal, noise=with_outliers),
        "predictions": partial(draw_predictions, spreads=(0.3,) * K),
        "wide predictions": partial(draw_predictions, spreads=(0.6, *[0.0] * (K - 1))),
    }
    if name in own:
        return own[name]
    covariance, direction = reference(name)
    return partial(draw_values, covariance=covariance, direction=direction)


# The intervals that stats.py does not use


def corrected(values: np.ndarray) -> np.ndarray:
    """K times the square of the CV, less what noise adds to it on average: (..., K, N) -> (...)."""
    k, n = values.shape[-2:]
    means = values.mean(axis=-1, keepdims=True)
    total = means.mean(axis=-2, keepdims=True)
    residuals = values - means - values.mean(axis=-2, keepdims=True) + total
    noise = (residuals**2).sum(axis=(-1, -2)) / (n * (n - 1))
    return (((means - total) ** 2).sum(axis=(-1, -2)) - noise) / total[..., 0, 0] ** 2


def to_cv(*bounds: float) -> tuple[float, ...]:
    return tuple(math.sqrt(max(bound, 0.0) / K) for bound in bounds)


def without_each(values: np.ndarray) -> np.ndarray:
    n = values.shape[1]
    return corrected(np.stack([np.delete(values, i, axis=1) for i in range(n)]))


def jackknife_interval(values: np.ndarray) -> tuple[float, ...]:
    """The jackknife's t interval of ``corrected``, one seed left out at a time."""
    n = values.shape[1]
    left_out, centre = without_each(values), float(corrected(values))
    margin = scipy_stats.t.isf(0.025, n - 1) * (n - 1) * left_out.std() / math.sqrt(n - 1)
    return to_cv(centre - margin, centre + margin)


def bootstrap_intervals(values: np.ndarray, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Percentiles, and BCa (Efron 1987, J. Am. Stat. Assoc. 82:171), of ``corrected`` over resampled seeds."""
    n = values.shape[1]
    drawn = rng.integers(n, size=(RESAMPLES, n))
    found, centre = corrected(np.moveaxis(values[:, drawn], 1, 0)), float(corrected(values))
    left_out = without_each(values)
    influence = left_out.mean() - left_out
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    below = np.clip(np.mean(found < centre), 1 / RESAMPLES, 1 - 1 / RESAMPLES)
    z = scipy_stats.norm.ppf(below) + scipy_stats.norm.ppf([0.025, 0.975])
    shares = scipy_stats.norm.cdf(scipy_stats.norm.ppf(below) + z / (1 - acceleration * z))
    return [to_cv(*np.quantile(found, [0.025, 0.975])), to_cv(*np.quantile(found, shares))]


# What is counted


def intervals(
    distances: np.ndarray, old: stats.Estimate, new: stats.Estimate, rng: np.random.Generator
) -> dict[str, tuple[float, ...]]:
    k, n, _ = distances.shape
    values = stats.pseudo_values(distances)
    epsilon, unit = stats_many.sphericity_epsilon(values), stats_many._noise_unit(values)
    percentile, bca = bootstrap_intervals(values, rng)
    return {
        "matched (chosen)": (new.low, new.high),
        "noncentral F, Geisser-Greenhouse (old)": (old.low, old.high),
        "noncentral F, Huynh-Feldt": stats_many._cv_interval(
            old.mean, stats_many._noise_unit(values), epsilon, k, n, 0.95
        ),
        "jackknife": jackknife_interval(values),
        "bootstrap, percentile": percentile,
        "bootstrap, BCa": bca,
    }


def paired_p(distances: np.ndarray) -> np.ndarray:
    """p of ``stats.paired_test`` for every pair of activations."""
    values = stats.pseudo_values(distances)
    first, second = np.triu_indices(len(values), 1)
    return scipy_stats.ttest_1samp(values[first] - values[second], 0, axis=1).pvalue


def one_study(distances: np.ndarray, true_cv: float, rng: np.random.Generator) -> dict[str, float]:
    """What is counted in one simulated study (K, N, N), by name."""
    old, new = stats_many.activation_cv(distances), stats_many.cv_without_noise_interval(distances)
    p = stats_many.equal_means_test(distances).p
    pairs = {
        "any pair, Holm": stats.holm(paired_p(distances)),
        "any pair, sign flips": stats_many.sign_flip_max_t(distances),
    }
    counted: dict[str, float] = {
        "rejections: F, Geisser-Greenhouse (old)": old.significance.p <= ALPHA,
        "rejections: F, Huynh-Feldt": p <= ALPHA,
    }
    for name, adjusted in pairs.items():
        if not np.isnan(adjusted).all():
            counted[f"rejections: {name}"] = bool((adjusted <= ALPHA).any())
    for name, (low, high) in intervals(distances, old.cv, new, rng).items():
        counted[f"coverage: {name}"] = low - 1e-12 <= true_cv <= high + 1e-12
        counted[f"width: {name}"] = high - low
    verdict = stats_many.effect_verdict(new, p, distances.shape[-1], MARGIN, ALPHA)
    counted |= {f"verdict: {each}": verdict is each for each in stats_many.EffectVerdict}
    return {name: float(value) for name, value in counted.items()}


def records(name: str, n: int, cv: float, repetitions: int, rng: np.random.Generator) -> Iterator[dict]:
    """One for each thing counted, with its mean over ``repetitions`` studies and that mean's standard error."""
    studies = [one_study(distances, cv, rng) for distances in scenario(name)(rng, repetitions, n, cv)]
    for what in studies[0]:
        values = np.array([study[what] for study in studies])
        cell = {"scenario": name, "n": n, "true_cv": cv, "what": what}
        yield cell | {"value": float(values.mean()), "standard_error": standard_error(values)}


def standard_error(values: np.ndarray) -> float:
    """Of the mean; of a share as if one success and one failure more had been seen, so that it is never 0."""
    if np.isin(values, (0.0, 1.0)).all():
        share = (values.sum() + 1) / (len(values) + 2)
        return math.sqrt(share * (1 - share) / (len(values) + 2))
    return float(values.std(ddof=1) / math.sqrt(len(values)))


# The tables


def goal(record: dict) -> tuple[float, float] | None:
    """From where to where the value should be; None where it is not asked (power, widths, verdicts)."""
    without = record["true_cv"] == 0
    if record["what"].startswith("coverage"):
        return GOALS["coverage without an effect" if without else "coverage"]
    return GOALS["false positives"] if record["what"].startswith("rejections") and without else None


def print_tables(found: list[dict]) -> None:
    """A line for each thing counted and scenario, a column for each N and true CV; ``!`` where the goal is missed by
    more than two standard errors."""
    columns = sorted({(record["n"], record["true_cv"]) for record in found})
    cells = {(record["what"], record["scenario"], record["n"], record["true_cv"]): record for record in found}
    scenarios = list(dict.fromkeys(record["scenario"] for record in found))
    header = " ".join(f"{n:>2}:{100 * cv:<3.0f}" for n, cv in columns)
    for what in dict.fromkeys(record["what"] for record in found):
        print(f"\n{what}, in %; columns N:true CV in %; goals: {goals_of(what)}\n{'':18}{header}")
        for name in scenarios:
            print(f"{name:18}" + " ".join(cell(cells.get((what, name, n, cv))) for n, cv in columns))


def goals_of(what: str) -> str:
    if what.startswith("coverage"):
        return "93 to 97, without an effect 93 to 100"
    return "without an effect at most 6" if what.startswith("rejections") else "none"


def cell(record: dict | None) -> str:
    if record is None:  # too few trials for it
        return "    - "
    wanted, slack = goal(record), 2 * record["standard_error"]
    missed = wanted and not wanted[0] - slack <= record["value"] <= wanted[1] + slack
    return f"{100 * record['value']:5.1f}{'!' if missed else ' '}"


def simulate_all(
    scenarios: list[str], trials: list[int], cvs: list[float], repetitions: int, seed: int = 42
) -> Iterator[dict]:
    """All records; progress goes to stderr. A cell's numbers do not depend on which others are asked for."""
    started, cells = time.monotonic(), [(name, n, cv) for name in scenarios for n in trials for cv in cvs]
    for done, (name, n, cv) in enumerate(cells, 1):
        rng = np.random.default_rng([seed, LONG.index(name), n, round(1e6 * cv)])
        yield from records(name, n, cv, repetitions, rng)
        print(
            f"\r{done} of {len(cells)} after {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True
        )
    print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="coverage, level and power for many activations, by simulation")
    parser.add_argument(
        "--repetitions", type=int, help="simulated studies per number (default: a short form with 80)"
    )
    parser.add_argument("--scenarios", nargs="+", choices=LONG, help="default: all, in the short form the first five")
    parser.add_argument("--trials", nargs="+", type=int, default=list(TRIALS), help="trials per activation")
    parser.add_argument("--cvs", nargs="+", type=float, help="true CVs, as fractions")
    parser.add_argument("--out", type=Path, help="write all records there, as JSON")
    arguments = parser.parse_args()
    short = arguments.repetitions is None
    found = list(
        simulate_all(
            arguments.scenarios or list(SHORT if short else LONG),
            arguments.trials,
            arguments.cvs or list(SHORT_CVS if short else LONG_CVS),
            arguments.repetitions or 80,
        )
    )
    print_tables(found)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
