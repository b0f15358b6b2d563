"""Simulated studies of activations that share their seeds, for ``benchmarks.coverage``.

Most scenarios give every trial a value of its own, and two trials the mean of their values as distance, so that the
values are exactly the pseudo-values and the true means are known. They are normal and correlate by .3 ("equal": all
with standard deviation 8 %; "one wide": one of them with 40 %), or have the covariance over seeds of an architecture
of the committed reference study, here taken for the truth; "skewed" ones are exponential, and of "outlier" ones one
in ten lies five standard deviations higher. Means differ along a line from the first activation to the last; with a
study's covariance, as they did in that study.

In the others a trial predicts on 10 contexts with 5 classes: the softmax of common logits plus its own Gaussian
noise, whose scale is exp(spread z) times as large, and distances are relative PD. "predictions" have unequal trials
(spread .3) around different logits; in "wide predictions" one activation has very unequal trials (.6), the others
equal ones.

One letter per axis: R repetitions, K activations, N trials.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from scipy import optimize

from analysis import stats
from analysis.differences import shared_distances
from analysis.findings import Findings
from study.files import RESULTS_DIR
from study.store import read_cells

K = 6
LINE = np.linspace(-1, 1, K) / np.std(np.linspace(-1, 1, K))
SCALE = 0.5
COMMON_LOGITS = 1.5 * np.random.default_rng(0).standard_normal((10, 5))

Study = tuple[np.ndarray, np.ndarray]  # pseudo-values (R, K, N), true means (K,)
Draw = Callable[[np.random.Generator, int, int, float], Study]  # (rng, R, N, true CV)


# Trials with a value each


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


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_exponential(shape) - 1


def with_outliers(rng: np.random.Generator, shape: tuple[int, ...], often: float = 0.1, far: float = 5) -> np.ndarray:
    """Normal values, of which some lie ``far`` higher; mean 0."""
    return rng.standard_normal(shape) + far * ((rng.random(shape) < often) - often)


def draw_values(
    rng: np.random.Generator,
    repetitions: int,
    n: int,
    cv: float,
    covariance: np.ndarray,
    direction: np.ndarray = LINE,
    noise: Callable = normal,
) -> Study:
    """Means 1 + ``cv`` times the ``direction`` at unit standard deviation, and correlated noise."""
    own = noise(rng, (repetitions, K, n))
    means = 1 + cv * direction / direction.std()
    return means[:, None] + np.einsum("kl,rln->rkn", np.linalg.cholesky(covariance), own), means


# Trials that predict


def simulate(
    rng: np.random.Generator,
    repetitions: int,
    n_trials: int,
    scales: Sequence[float] | np.ndarray = (SCALE,),
    spread: float | Sequence[float] = 0.0,
    correlation: float = 0.0,
    apart: bool = False,
) -> np.ndarray:
    """Distances within each of K = len(scales) activations, (R, K, N, N).

    Noise and its scale correlate between activations by ``correlation``; ones that are ``apart`` have different
    common logits.
    """
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
    flat = pairwise_relative_pd(probabilities.reshape(repetitions * k, n_trials, *COMMON_LOGITS.shape))
    return flat.reshape(repetitions, k, n_trials, n_trials)


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
    return float(simulate(np.random.default_rng(99), pairs, 2, (scale,), spread)[:, 0, 0, 1].mean())


def scale_for(target: float, spread: float) -> float:
    """The scale of noise at which the true mean is ``target``."""
    return float(optimize.brentq(lambda scale: true_mean(scale, spread) - target, 0.4 * SCALE, 3 * SCALE, xtol=1e-3))


@cache
def scales_for(cv: float, spreads: tuple[float, ...]) -> tuple[float, ...]:
    """Scales of noise at which simulated predictions have true means along a line, with that CV."""
    means = true_mean(SCALE, 0.3) * (1 + cv * LINE)
    return tuple(map(scale_for, means, spreads))


def draw_predictions(
    rng: np.random.Generator, repetitions: int, n: int, cv: float, spreads: tuple[float, ...]
) -> Study:
    scales = scales_for(cv, spreads)
    batches = [min(100, repetitions - start) for start in range(0, repetitions, 100)]
    drawn = [simulate(rng, size, n, scales, spreads, correlation=0.7, apart=True) for size in batches]
    means = np.array([true_mean(*each) for each in zip(scales, spreads, strict=True)])
    return stats.pseudo_values(np.concatenate(drawn)), means


# By name


EQUAL = equal_covariance(np.full(K, 0.08))
OWN: dict[str, Draw] = {
    "equal": partial(draw_values, covariance=EQUAL),
    "one wide": partial(draw_values, covariance=one_wide()),
    "skewed": partial(draw_values, covariance=EQUAL, noise=exponential),
    "outlier": partial(draw_values, covariance=EQUAL, noise=with_outliers),
    "predictions": partial(draw_predictions, spreads=(0.3,) * K),
    "wide predictions": partial(draw_predictions, spreads=(0.6, *[0.0] * (K - 1))),
}
MEASURED = ("charlm", "minigpt", "nanotransformer", "tinylstm", "convlm", "hybridlm")  # trials as unequal as ours
SCENARIOS = (*OWN, *MEASURED)
SHORT = ("equal", "charlm", "one wide", "skewed", "outlier")


def scenario(name: str) -> Draw:
    if name in OWN:
        return OWN[name]
    covariance, direction = reference(name)
    return partial(draw_values, covariance=covariance, direction=direction)
