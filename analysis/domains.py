"""The tasks of ``examples/``: does the activation matter in small classifiers of other kinds of data?

``measured`` is what the record of ``benchmarks.domains`` holds of one task, ``verdicts`` what the rule says of all.
Pure functions.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis import stats, stats_many
from analysis.compared_shown import estimate_json
from analysis.own_answer import OwnAnswer
from analysis.predictions import MISMATCHES
from analysis.stats import Estimate
from analysis.stats_many import ALPHA, EffectVerdict

PRIMARY = (MISMATCHES, "total_variation")  # one family of tests; every other metric is a family of its own


@dataclass(frozen=True)
class DomainVerdict:
    """What the rule says of one metric in one domain: with all activations, or without ``left_out``, the most
    different one. ``p_holm`` is ``p`` adjusted over ``n_tests``."""

    domain: str
    metric: str
    left_out: str | None
    cv: Estimate
    p: float
    p_holm: float = math.nan
    n_tests: int = 0
    verdict: EffectVerdict = EffectVerdict.TOO_FEW

    @property
    def shown(self) -> bool:
        """Whether there is a difference, however small."""
        return self.p_holm <= ALPHA


# ---------------------------------------------------------------- the record


def measured(answer: OwnAnswer) -> dict[str, Any]:
    """Loss, accuracy and disagreement of every activation, and by metric the CV over activations and the p of equal
    means, with all of them and without the most different one."""
    names = [group.name for group in answer.compared.groups]
    return {
        "activations": {
            group.name: {
                "loss": group.loss,
                "accuracy": group.accuracy,
                **{metric: estimate_json(found) for metric, found in group.metrics.items()},
            }
            for group in answer.compared.groups
        },
        "seeds": answer.seeds,
        "seeds_needed": answer.seeds_needed,
        "settled": answer.settled,
        "change_over_the_last_fifth": estimate_json(answer.change),
        "effects": {
            metric: {"all": effect(distances), "without": without_most_different(names, distances)}
            for metric, distances in answer.within.items()
        },
    }


def effect(distances: np.ndarray) -> dict[str, Any]:
    """Of distances (K, N, N) within each of K activations."""
    p = stats_many.equal_means_test(distances).p if distances.any() else math.nan
    return {
        "cv": estimate_json(stats_many.cv_without_noise_interval(distances)),
        "p": p if math.isfinite(p) else None,
    }


def without_most_different(names: list[str], distances: np.ndarray) -> dict[str, Any]:
    """``effect`` without the activation whose mean lies furthest from the mean of all."""
    means = stats.mean_over_pairs(distances)
    furthest = int(np.abs(means - means.mean()).argmax())
    return {"left_out": names[furthest], **effect(np.delete(distances, furthest, axis=0))}


# ---------------------------------------------------------------- the verdicts


def verdicts(domains: Mapping[str, Mapping[str, Any]]) -> list[DomainVerdict]:
    """With all activations, and without the most different one, of every domain and metric."""
    metrics = list(next(iter(domains.values()))["effects"])
    families = [PRIMARY, *((metric,) for metric in metrics if metric not in PRIMARY)]
    return [
        each
        for family in families
        for which in ("all", "without")
        for each in _judged(
            (name, domain, metric, domain["effects"][metric][which])
            for metric in family
            for name, domain in domains.items()
        )
    ]


def _judged(asked: Iterable[tuple[str, Mapping, str, Mapping]]) -> list[DomainVerdict]:
    """One family of tests: name and content of a domain, the metric, and what the record holds of it."""
    found = [
        (
            domain["seeds"],
            DomainVerdict(name, metric, effect.get("left_out"), estimate(effect["cv"]), _number(effect["p"])),
        )
        for name, domain, metric, effect in asked
    ]
    family = stats.holm_family([each.p for _, each in found])
    return [
        replace(each, p_holm=p, n_tests=n_tests, verdict=stats_many.effect_verdict(each.cv, p, seeds))
        for (seeds, each), (p, n_tests) in zip(found, family, strict=True)
    ]


def estimate(value: Mapping[str, float | None]) -> Estimate:
    """The inverse of ``estimate_json``."""
    mean, low, high = (_number(value[name]) for name in ("mean", "low", "high"))
    return Estimate(mean, low, high, 0)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
