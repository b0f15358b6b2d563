"""How much two trained models disagree: prediction difference (PD) and its companions.

Pure functions of ``p`` and ``q``, the probabilities (samples, classes) that two models give on the same samples,
and of ``targets`` (samples,), the true classes. Sums are made in float64. All are symmetric in ``p`` and ``q``.
"""

import numpy as np
from rapidfuzz.distance import Levenshtein

TINY = np.finfo(np.float32).tiny
TOP_K = 5


def _checked(p, q) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if p.ndim != 2 or p.shape != q.shape or p.size == 0:
        raise ValueError(f"needs two equal (samples, classes) arrays, got {p.shape} and {q.shape}")
    return p, q


def _relative_difference(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    total = p + q
    return np.divide(2 * np.abs(p - q), total, out=np.zeros_like(total), where=total > 0)


def relative_pd(p, q) -> float:
    """Relative prediction difference over all classes: the mean of 2 |p - q| / (p + q), in [0, 2].

    A term whose two values are both zero counts 0. Dominated by the many classes of small probability.
    Element-wise form as TensorFlow Model Analysis, SymmetricPredictionDifference (2022), after Shamir & Coviello
    2020, arXiv:2010.09923.
    """
    return float(_relative_difference(*_checked(p, q)).mean())


def relative_pd_by_sample(p, q) -> np.ndarray:
    """``relative_pd`` of each sample (samples,)."""
    return _relative_difference(*_checked(p, q)).mean(axis=1)


def true_label_pd(p, q, targets) -> float:
    """Relative prediction difference on the true class only, in [0, 2]: the closest analogue of the
    click-rate metric for which PD was made."""
    p, q = _checked(p, q)
    rows = np.arange(len(p))
    return float(_relative_difference(p[rows, targets], q[rows, targets]).mean())


def global_pd(p, q) -> float:
    """mean |p - q| / (mean p + mean q), in [0, 1]: what the report computed. For distributions it equals the
    mean total variation distance."""
    p, q = _checked(p, q)
    return float(np.abs(p - q).mean() / (p.mean() + q.mean()))


def total_variation(p, q) -> float:
    """Mean over samples of 1/2 sum |p - q|, in [0, 1]."""
    p, q = _checked(p, q)
    return float(np.abs(p - q).sum(axis=1).mean() / 2)


def symmetric_kl(p, q) -> float:
    """Mean over samples of (KL(p|q) + KL(q|p)) / 2, in nats; probabilities below 1.2e-38 count as that."""
    p, q = _checked(p, q)
    log_ratio = np.log(np.maximum(p, TINY)) - np.log(np.maximum(q, TINY))
    return float(((p - q) * log_ratio).sum(axis=1).mean() / 2)


def jensen_shannon(p, q) -> float:
    """Mean over samples of the Jensen-Shannon divergence, in nats, in [0, ln 2]. Lin 1991."""
    p, q = _checked(p, q)
    log_middle = np.log(np.maximum((p + q) / 2, TINY))
    divergence = sum((x * (np.log(np.maximum(x, TINY)) - log_middle)).sum(axis=1) for x in (p, q)) / 2
    return float(np.maximum(divergence, 0).mean())


def hellinger(p, q) -> float:
    """Mean over samples of the Hellinger distance H, H^2 = 1/2 sum (sqrt p - sqrt q)^2, in [0, 1]."""
    p, q = _checked(p, q)
    return float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=1) / 2).mean())


def top1_differs(p, q) -> np.ndarray:
    """Whether the most probable class of each sample differs (samples,); of equally probable classes the first
    counts."""
    p, q = _checked(p, q)
    return p.argmax(axis=1) != q.argmax(axis=1)


def top1_mismatches(p, q) -> int:
    """Samples on which the most probable class differs."""
    return int(top1_differs(p, q).sum())


def topk_agreement(p, q, k: int = TOP_K) -> float:
    """Mean over samples of the share of classes that both have among their ``k`` most probable, in [0, 1]."""
    p, q = _checked(p, q)
    first, second = (np.argpartition(-x, k - 1, axis=1)[:, :k] for x in (p, q))
    return float((first[:, :, None] == second[:, None, :]).any(axis=2).mean())


def accuracy(p, targets) -> float:
    """Share of samples whose most probable class is the true one, in [0, 1]."""
    return float((np.asarray(p).argmax(axis=1) == targets).mean())


def cross_entropy(p, targets) -> float:
    """Mean of -ln p(true class), in nats."""
    return float(_losses(np.asarray(p, dtype=np.float64), targets).mean())


def entropy(p) -> float:
    """Mean over samples of -sum p ln p, in nats, in [0, ln classes]: how unsure the model is."""
    p = np.asarray(p, dtype=np.float64)
    return float(-(p * np.log(np.maximum(p, TINY))).sum(axis=1).mean())


def calibration_error(p, targets, bins: int = 10) -> float:
    """Expected calibration error of the most probable class, in [0, 1].

    The mean distance between confidence and accuracy over ``bins`` equal intervals of confidence, weighted by the
    samples in each. Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599.
    """
    p = np.asarray(p, dtype=np.float64)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == targets
    interval = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(interval, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def mismatches_by_correctness(p, q, targets) -> dict[str, int]:
    """Top-1 mismatches in which one of the two models is right, and in which neither is."""
    p, q = _checked(p, q)
    first, second = p.argmax(axis=1), q.argmax(axis=1)
    one_right = int(((first == targets) != (second == targets)).sum())
    return {"one_right": one_right, "both_wrong": int((first != second).sum()) - one_right}


def normalized_mismatch(p, q, targets) -> float:
    """Share of mismatches between the least and the most that the two accuracies allow, in [0, 1]; nan where
    they allow one value only. Klabunde & Lemmerich 2022, arXiv:2205.10070.

    (d - |a1 - a2|) / (min(1, 2 - a1 - a2) - |a1 - a2|), with d the share of mismatches and a the accuracies.
    """
    share = top1_mismatches(p, q) / len(p)
    a1, a2 = accuracy(p, targets), accuracy(q, targets)
    least, most = abs(a1 - a2), min(1.0, 2 - a1 - a2)
    return (share - least) / (most - least) if most - least > 1e-12 else float("nan")


def _losses(p: np.ndarray, targets) -> np.ndarray:
    return -np.log(np.maximum(p[np.arange(len(p)), targets], TINY))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def loss_correlation(p, q, targets) -> float:
    """Pearson correlation over samples of the two models' losses -ln p(true class); nan where one is constant."""
    p, q = _checked(p, q)
    return _correlation(_losses(p, targets), _losses(q, targets))


def perplexity_correlation(p, q, targets) -> float:
    """Pearson correlation over samples of the two models' perplexities 1 / p(true class), which the few most
    surprising samples decide; nan where one is constant."""
    p, q = _checked(p, q)
    return _correlation(np.exp(_losses(p, targets)), np.exp(_losses(q, targets)))


def ensemble_gain(p, q, targets) -> float:
    """Mean loss of the two models minus the loss of their averaged probabilities, in nats, >= 0.
    Summers & Dinneen 2021, arXiv:2103.04514."""
    p, q = _checked(p, q)
    apart = (_losses(p, targets).mean() + _losses(q, targets).mean()) / 2
    return float(apart - _losses((p + q) / 2, targets).mean())


def text_distance(first: list[str], second: list[str]) -> float:
    """Mean edit distance between texts of the same prompts, as a share of the longer one's length, in [0, 1].
    Levenshtein 1966."""
    distances = [Levenshtein.normalized_distance(*texts) for texts in zip(first, second, strict=True)]
    return float(np.mean(distances))


def describe(p, targets) -> dict[str, float]:
    """What one model's probabilities on the probe set say of it alone."""
    return {
        "probe_loss": cross_entropy(p, targets),
        "probe_accuracy": accuracy(p, targets),
        "probe_entropy": entropy(p),
        "calibration_error": calibration_error(p, targets),
    }


def compare(p, q, targets) -> dict[str, float | int]:
    """Every measure of this module, by name, for one pair of models."""
    p, q = _checked(p, q)  # here too, so that they are converted once
    return {
        "relative_pd": relative_pd(p, q),
        "top1_mismatches": top1_mismatches(p, q),
        "n_predictions": len(p),
        "true_label_pd": true_label_pd(p, q, targets),
        "global_pd": global_pd(p, q),
        "total_variation": total_variation(p, q),
        "jensen_shannon": jensen_shannon(p, q),
        "symmetric_kl": symmetric_kl(p, q),
        "hellinger": hellinger(p, q),
        "top5_agreement": topk_agreement(p, q),
        "normalized_mismatch": normalized_mismatch(p, q, targets),
        **mismatches_by_correctness(p, q, targets),
        "loss_correlation": loss_correlation(p, q, targets),
        "perplexity_correlation": perplexity_correlation(p, q, targets),
        "ensemble_gain": ensemble_gain(p, q, targets),
    }
