"""How much two trained models disagree: prediction difference (PD) and its companions.

Pure functions of ``p`` and ``q``, the probabilities (samples, classes) that two models give on the same samples,
and of ``targets`` (samples,), the true classes. Sums are made in float64. All are symmetric in ``p`` and ``q``. What
is not probabilities (NaN, infinite or negative values, rows that do not sum to 1) raises
ValueError: logits would give a number too, and NaN would count as agreement.

``METRICS`` is the one place where a metric is declared. To add one, add an entry: it appears in cell files, tables,
CSV, the page and figures. A cell file that was written before it existed lacks it, and tables show a dash.
"""

import inspect
import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike
from rapidfuzz.distance import Levenshtein

from probabilities import kept, probabilities, shared

TINY = np.finfo(np.float32).tiny
ROUNDING = 1e-12  # as a share of the largest value: below it, a standard deviation is that of rounding
TOP_K = 5

Function = TypeVar("Function", bound=Callable)


def _logs(p: np.ndarray) -> np.ndarray:
    return kept(p, "logs", lambda p: np.log(np.maximum(p, TINY)))


def _information(p: np.ndarray) -> np.ndarray:
    """sum p ln p of each sample (samples,)."""
    return kept(p, "information", lambda p: (p * np.log(np.maximum(p, TINY))).sum(axis=1))


def _mean(p: np.ndarray) -> float:
    return kept(p, "mean", lambda p: float(p.mean()))


def _tops(p: np.ndarray) -> np.ndarray:
    """The most probable class of each sample (samples,); of equally probable classes the first."""
    return kept(p, "tops", lambda p: p.argmax(axis=1))


def _are_among_top(p: np.ndarray, k: int) -> np.ndarray:
    """Whether each class is among the ``k`` most probable (samples, classes)."""

    def compute(p: np.ndarray) -> np.ndarray:
        among = np.zeros(p.shape, dtype=bool)
        np.put_along_axis(among, np.argpartition(-p, k - 1, axis=1)[:, :k], True, axis=1)
        return among

    return kept(p, f"top {k}", compute)


def _above_tiny(p: np.ndarray, q: np.ndarray) -> bool:
    """Whether no probability is so small that it needs care."""
    return min(kept(p, "least", np.min), kept(q, "least", np.min)) >= TINY


def _apart(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """|p - q|"""

    def compute(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        apart = p - q
        return np.abs(apart, out=apart)

    return shared(p, q, "apart", compute)


def _middle(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(p + q) / 2"""

    def compute(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        middle = p + q
        middle *= 0.5
        return middle

    return shared(p, q, "middle", compute)


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(p) != np.shape(q):
        raise ValueError(f"needs two equal (samples, classes) arrays, got {np.shape(p)} and {np.shape(q)}")
    return probabilities(p), probabilities(q)


def _of_one(kernel: Function) -> Function:
    """The public form of a function of one model's probabilities, which checks them. ``describe`` and ``compare``
    check once for all metrics and call the function inside, which ``functools.wraps`` keeps."""

    @wraps(kernel)
    def checked(p, *args, **kwargs):
        return kernel(probabilities(p), *args, **kwargs)

    return cast(Function, checked)


def _of_two(kernel: Function) -> Function:
    """The public form of a function of two models' probabilities, as ``_of_one``."""

    @wraps(kernel)
    def checked(p, q, *args, **kwargs):
        return kernel(*_pair(p, q), *args, **kwargs)

    return cast(Function, checked)


def _relative_difference(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """2 |p - q| / (p + q), and 0 where both are 0."""

    def compute(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        total, apart = np.add(p, q), np.abs(p - q)
        apart *= 2
        return np.divide(apart, total, out=apart, where=total > 0)

    if _above_tiny(p, q):  # the same to the bit, from what other metrics compute too
        return shared(p, q, "relative difference", lambda *_: _apart(p, q) / _middle(p, q))
    return shared(p, q, "relative difference", compute)


@_of_two
def relative_pd(p, q) -> float:
    """Relative prediction difference over all classes: the mean of 2 |p - q| / (p + q), in [0, 2].

    A term whose two values are both zero counts 0, and no other is left out: where one model's softmax underflows to
    0 and the other's does not, the term is 2, however small the other value. Dominated by the many classes of small
    probability. Element-wise form as TensorFlow Model Analysis, SymmetricPredictionDifference (2022), after Shamir &
    Coviello 2020, arXiv:2010.09923; that one also counts a term as 0 where both p + q and 2 |p - q| are below 1e-7.
    """
    return float(_relative_difference(p, q).mean())


@_of_two
def relative_pd_by_sample(p, q) -> np.ndarray:
    """``relative_pd`` of each sample (samples,)."""
    return _relative_difference(p, q).mean(axis=1)


@_of_two
def true_label_pd(p, q, targets) -> float:
    """Relative prediction difference on the true class only, in [0, 2]: the closest analogue of the
    click-rate metric for which PD was made."""
    return float(_relative_difference(_of_targets(p, targets), _of_targets(q, targets)).mean())


@_of_two
def global_pd(p, q) -> float:
    """mean |p - q| / (mean p + mean q), in [0, 1]: what the report computed. For distributions it equals the
    mean total variation distance."""
    return float(_apart(p, q).mean() / (_mean(p) + _mean(q)))


@_of_two
def total_variation(p, q) -> float:
    """Mean over samples of 1/2 sum |p - q|, in [0, 1]."""
    return float(_apart(p, q).sum(axis=1).mean() / 2)


@_of_two
def symmetric_kl(p, q) -> float:
    """Mean over samples of (KL(p|q) + KL(q|p)) / 2, in nats; probabilities below 1.2e-38 count as that."""
    divergence = _logs(p) - _logs(q)
    divergence *= np.asarray(p) - np.asarray(q)
    return float(divergence.sum(axis=1).mean() / 2)


@_of_two
def jensen_shannon(p, q) -> float:
    """Mean over samples of the Jensen-Shannon divergence, in nats, in [0, ln 2]. Lin 1991."""
    middle = _middle(p, q)
    logs = np.log(middle if _above_tiny(p, q) else np.maximum(middle, TINY))
    logs *= middle
    divergence = (_information(p) + _information(q)) / 2 - logs.sum(axis=1)
    return float(np.maximum(divergence, 0).mean())


@_of_two
def hellinger(p, q) -> float:
    """Mean over samples of the Hellinger distance H, H^2 = 1/2 sum (sqrt p - sqrt q)^2, in [0, 1]."""
    apart = kept(p, "roots", np.sqrt) - kept(q, "roots", np.sqrt)
    apart *= apart
    return float(np.sqrt(apart.sum(axis=1) / 2).mean())


@_of_two
def top1_differs(p, q) -> np.ndarray:
    """Whether the most probable class of each sample differs (samples,); of equally probable classes the first
    counts."""
    return _tops(p) != _tops(q)


@_of_two
def top1_mismatches(p, q) -> int:
    """Samples on which the most probable class differs."""
    return int((_tops(p) != _tops(q)).sum())


@_of_two
def topk_agreement(p, q, k: int = TOP_K) -> float:
    """Mean over samples of the share of classes that both have among their ``k`` most probable, in [0, 1]; 1 where
    there are no more than ``k`` classes."""
    k = min(k, p.shape[1])
    return float(np.count_nonzero(_are_among_top(p, k) & _are_among_top(q, k)) / (k * len(p)))


@_of_one
def top_probability(p) -> np.ndarray:
    """The largest probability of each sample (samples,): how sure the model is of it."""
    return kept(p, "top probability", lambda p: p.max(axis=1))


@_of_one
def accuracy(p, targets) -> float:
    """Share of samples whose most probable class is the true one, in [0, 1]."""
    return float((p.argmax(axis=1) == targets).mean())


@_of_one
def cross_entropy(p, targets) -> float:
    """Mean of -ln p(true class), in nats."""
    return float(_losses(p, targets).mean())


@_of_one
def entropy(p) -> float:
    """Mean over samples of -sum p ln p, in nats, in [0, ln classes]: how unsure the model is."""
    return float(-(p * np.log(np.maximum(p, TINY))).sum(axis=1).mean())


@_of_one
def calibration_error(p, targets, bins: int = 10) -> float:
    """Expected calibration error of the most probable class, in [0, 1].

    The mean distance between confidence and accuracy over ``bins`` equal intervals of confidence, weighted by the
    samples in each. Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599.
    """
    confidence, right = top_probability(p), p.argmax(axis=1) == targets
    interval = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(interval, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


@_of_two
def mismatches_one_right(p, q, targets) -> int:
    """Samples on which the most probable class differs and one of the two models is right."""
    return int((_right(p, targets) != _right(q, targets)).sum())


@_of_two
def mismatches_both_wrong(p, q, targets) -> int:
    """Samples on which the most probable class differs and neither model is right."""
    wrong = ~_right(p, targets) & ~_right(q, targets)
    return int(((_tops(p) != _tops(q)) & wrong).sum())


@_of_two
def normalized_mismatch(p, q, targets) -> float:
    """Share of mismatches between the least and the most that the two accuracies allow, in [0, 1]; nan where
    they allow one value only. Klabunde & Lemmerich 2022, arXiv:2205.10070.

    (d - |a1 - a2|) / (min(1, 2 - a1 - a2) - |a1 - a2|), with d the share of mismatches and a the accuracies.
    """
    share = np.mean(_tops(p) != _tops(q))
    a1, a2 = (np.mean(_right(model, targets)) for model in (p, q))
    least, most = abs(a1 - a2), min(1.0, 2 - a1 - a2)
    return float((share - least) / (most - least)) if most - least > 1e-12 else math.nan


def _right(p: np.ndarray, targets) -> np.ndarray:
    """Whether the most probable class of each sample is the true one (samples,)."""
    return kept(p, "right", lambda p: p.argmax(axis=1) == targets, targets)


def _of_targets(p: np.ndarray, targets) -> np.ndarray:
    """The probability of each sample's true class (samples,)."""
    return kept(p, "of targets", lambda p: p[np.arange(len(p)), targets], targets)


def _losses(p: np.ndarray, targets) -> np.ndarray:
    return kept(p, "losses", lambda p: -np.log(np.maximum(_of_targets(p, targets), TINY)), targets)


def _perplexities(p: np.ndarray, targets) -> np.ndarray:
    return kept(p, "perplexities", lambda p: np.exp(_losses(p, targets)), targets)


def _correlation(p: np.ndarray, q: np.ndarray, targets, values: Callable[..., np.ndarray]) -> float:
    """Pearson correlation of the two models' ``values`` of each sample; nan where one is constant but for rounding.

    ``numpy.corrcoef`` to the bit, at a third of its time, because models keep their centred values.
    """

    def centred(model: np.ndarray) -> np.ndarray | None:
        found = values(model, targets)
        return None if found.std() <= ROUNDING * np.abs(found).max() else found - found.mean()

    x, y = (kept(model, f"centred {values.__name__}", centred, targets) for model in (p, q))
    if x is None or y is None:
        return math.nan
    both = np.stack([x, y])
    covariance = np.dot(both, both.T) * (1 / (len(x) - 1))
    r = covariance[0, 1] / math.sqrt(covariance[0, 0]) / math.sqrt(covariance[1, 1])
    return float(min(max(r, -1.0), 1.0))


@_of_two
def loss_correlation(p, q, targets) -> float:
    """Pearson correlation over samples of the two models' losses -ln p(true class); nan where one is constant."""
    return _correlation(p, q, targets, _losses)


@_of_two
def perplexity_correlation(p, q, targets) -> float:
    """Pearson correlation over samples of the two models' perplexities 1 / p(true class), which the few most
    surprising samples decide; nan where one is constant."""
    return _correlation(p, q, targets, _perplexities)


@_of_two
def ensemble_gain(p, q, targets) -> float:
    """Mean loss of the two models minus the loss of their averaged probabilities, in nats, >= 0.
    Summers & Dinneen 2021, arXiv:2103.04514."""
    apart = (_losses(p, targets).mean() + _losses(q, targets).mean()) / 2
    middle = (_of_targets(p, targets) + _of_targets(q, targets)) / 2
    return float(apart + np.log(np.maximum(middle, TINY)).mean())


def text_distance(first: list[str], second: list[str]) -> float:
    """Mean edit distance between texts of the same prompts, as a share of the longer one's length, in [0, 1].
    Levenshtein 1966."""
    distances = [Levenshtein.normalized_distance(*texts) for texts in zip(first, second, strict=True)]
    return float(np.mean(distances))


# ---------------------------------------------------------------- the registry


@dataclass(frozen=True)
class Metric:
    """What is measured of a trial, or of a pair of trials.

    label     its name in tables and figures
    unit      such as "nats", or "" for a number without one
    function  of a pair: from ``p``, ``q`` and ``targets`` to a number; of a trial: from ``p`` and ``targets``. None
              for what is not computed from predictions (losses, times, texts, the loss around the weights, see
              ``training/landscape.py``): ``train.py`` and ``study/`` record it
    agreement     higher means more alike, so that it falls where the others rise
    followed      computed at every evaluation, not only at the end of training
    judged        the rule for verdicts is applied to it
    registered    "primary": its verdicts are what a study is asked for, and its tests, of all architectures, are one
                  family with those of the other primary metrics. "secondary": reported beside them. None: explored
    digits        after the point, in tables of differences
    least, most   the bounds of the metric, at which an interval is cut off
    """

    label: str
    unit: str = ""
    function: Callable | None = None
    agreement: bool = False
    followed: bool = False
    judged: bool = False
    registered: Literal["primary", "secondary"] | None = None
    digits: int = 4
    least: float = 0.0
    most: float = math.inf

    @property
    def axis(self) -> str:
        """The label with its unit, for an axis or a column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _without_targets(function: Callable) -> Callable:
    """The function in the form that the registry has, which does not check again."""
    kernel = inspect.unwrap(function)
    return lambda p, q, targets: kernel(p, q)


# Of every two trials of a cell.
PAIR_METRICS = {
    "relative_pd": Metric(
        "Relative PD, all classes",
        "",
        _without_targets(relative_pd),
        most=2,
        followed=True,
        judged=True,
        registered="primary",
    ),
    "true_label_pd": Metric("Relative PD, true label", "", true_label_pd, most=2, judged=True),
    "global_pd": Metric("PD by the global formula", "", _without_targets(global_pd), most=1),
    "total_variation": Metric(
        "Total variation",
        "",
        _without_targets(total_variation),
        most=1,
        followed=True,
        judged=True,
        registered="secondary",
    ),
    "jensen_shannon": Metric(
        "Jensen-Shannon", "nats", _without_targets(jensen_shannon), most=math.log(2), followed=True, judged=True
    ),
    "symmetric_kl": Metric("Symmetric KL", "nats", _without_targets(symmetric_kl)),
    "hellinger": Metric("Hellinger", "", _without_targets(hellinger), most=1),
    "top1_mismatches": Metric(
        "Top-1 mismatches",
        "of the probe set",
        _without_targets(top1_mismatches),
        followed=True,
        judged=True,
        registered="primary",
        digits=1,
    ),
    "one_right": Metric("Mismatches, one right", "of the probe set", mismatches_one_right),
    "both_wrong": Metric("Mismatches, both wrong", "of the probe set", mismatches_both_wrong),
    "normalized_mismatch": Metric("Normalized mismatch", "", normalized_mismatch, most=1),
    "top5_agreement": Metric("Top-5 agreement", "", _without_targets(topk_agreement), agreement=True, most=1),
    "loss_correlation": Metric("Correlation of losses", "", loss_correlation, agreement=True, least=-1, most=1),
    "perplexity_correlation": Metric(
        "Correlation of perplexities", "", perplexity_correlation, agreement=True, least=-1, most=1
    ),
    "ensemble_gain": Metric("Ensemble gain", "nats", ensemble_gain),
    "text_distance": Metric("Edit distance of texts", most=1),
    "barrier": Metric("Loss barrier", "nats/char"),
}

# Of every trial by itself.
TRIAL_METRICS = {
    "train_loss": Metric("Training loss", "nats/char"),
    "val_loss": Metric("Validation loss", "nats/char"),
    "train_accuracy": Metric("Training accuracy", "fraction", most=1, agreement=True),
    "val_accuracy": Metric("Validation accuracy", "fraction", most=1, agreement=True),
    "probe_loss": Metric("Loss on the probe set", "nats/char", cross_entropy),
    "probe_accuracy": Metric("Accuracy on the probe set", "fraction", accuracy, most=1, agreement=True),
    "probe_entropy": Metric("Entropy", "nats", lambda p, targets: inspect.unwrap(entropy)(p)),
    "calibration_error": Metric("Calibration error", "", calibration_error, most=1),
    "curvature": Metric("Top Hessian eigenvalue", least=-math.inf),
    "gradient_noise": Metric("Gradient noise scale", "windows", least=-math.inf),
    "training_time": Metric("Training time", "s"),
}

METRICS: Mapping[str, Metric] = ChainMap(TRIAL_METRICS, PAIR_METRICS)  # a view of both, those of pairs first


def primary() -> tuple[str, ...]:
    """The metrics whose verdicts a study is asked for."""
    return tuple(name for name, metric in PAIR_METRICS.items() if metric.registered == "primary")


def describe(p, targets) -> dict[str, float]:
    """What one model's probabilities on the probe set say of it alone: every metric of a trial with a function."""
    p = probabilities(p)
    return {name: kernel(p, targets) for name, kernel in _kernels(TRIAL_METRICS).items()}


def compare(p, q, targets) -> dict[str, float | int]:
    """Every metric of a pair with a function, by name, and the number of samples."""
    p, q = _pair(p, q)
    values = {name: kernel(p, q, targets) for name, kernel in _kernels(PAIR_METRICS).items()}
    return {**values, "n_predictions": len(p)}


def follow(p, q, targets) -> dict[str, float | int]:
    """The metrics of a pair that are followed over training."""
    p, q = _pair(p, q)
    followed = {name: metric for name, metric in PAIR_METRICS.items() if metric.followed}
    return {name: kernel(p, q, targets) for name, kernel in _kernels(followed).items()}


_kernel = cache(inspect.unwrap)


def _kernels(declared: dict[str, Metric]) -> dict[str, Callable]:
    """The metrics' functions, for probabilities that are checked already."""
    return {name: _kernel(metric.function) for name, metric in declared.items() if metric.function}
