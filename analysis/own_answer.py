"""Does the activation change how much two trainings of a user's own model disagree? The answer of ``sensitivity.py``.

The verdict is on top-1 mismatches, over all activations at once: ``stats_many.effect_verdict`` of their coefficient
of variation (CV), with the margin and level of ``analysis.comparing``. Pure functions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import stats, stats_many
from analysis.compared_shown import as_json, estimate_json, words
from analysis.comparing import ALPHA, MARGIN, Compared, compare_groups
from analysis.model_files import Pairing
from analysis.predictions import MISMATCHES, check_all, compare_pairs, predictions, read_targets
from analysis.stats import FEWEST_JUDGED, Estimate
from analysis.stats_many import EffectVerdict
from analysis.table import p_text
from labels import counted

SETTLED_CHANGE = 0.05  # of the mean mismatches over the last fifth of the steps
NOT_SETTLED = "not settled"
PAIRING = Pairing(
    True, "models of one seed had the same batches, and where shapes are equal the same initial weights"
)


@dataclass(frozen=True)
class OwnAnswer:
    """What the trials of one task say.

    compared    the groups, one for each activation, and every two of them
    within      the distances (K, N, N) within each activation's models, by metric
    cv          of the activations' mean mismatches, without the noise of the seeds; ``p`` that of equal means
    at_the_end  what the rule says of the models as they are at the end
    change      of the mean mismatches over the last fifth of the steps, as a fraction, with its interval over seeds
    seeds       complete ones; ``seeds_needed`` to show that one activation exceeds another by ``MARGIN``, None where
                it cannot be told
    """

    compared: Compared
    within: dict[str, np.ndarray]
    cv: Estimate
    p: float
    at_the_end: EffectVerdict
    change: Estimate
    seeds: int
    seeds_needed: int | None

    @property
    def settled(self) -> bool | None:
        """Whether the change is at most ``SETTLED_CHANGE``; None where it is larger but may be noise, or unknown."""
        if abs(self.change.mean) <= SETTLED_CHANGE:
            return True
        return False if self.change.low > 0 or self.change.high < 0 else None

    @property
    def verdict(self) -> str:
        """``NOT_SETTLED``, or one of ``EffectVerdict``: undecided with fewer seeds than are needed is too few."""
        if self.settled is False:
            return NOT_SETTLED
        few = self.seeds_needed is not None and self.seeds < self.seeds_needed
        return str(EffectVerdict.TOO_FEW if self.at_the_end is EffectVerdict.UNDECIDED and few else self.at_the_end)


def own_answer(
    end: Mapping[str, list[np.ndarray]],
    early: Mapping[str, list[np.ndarray]],
    seeds: Sequence[int],
    targets: np.ndarray | None,
) -> OwnAnswer:
    """From the probabilities (samples, classes) of every activation's models, in the order of ``seeds``, at the
    ``end`` and a fifth of the steps before; at least two activations and two seeds."""
    compared, within = _compare(end, seeds, targets)
    mismatches = within[MISMATCHES]
    cv = stats_many.cv_without_noise_interval(mismatches)
    p = stats_many.equal_means_test(mismatches).p if mismatches.any() else math.nan
    return OwnAnswer(
        compared=compared,
        within=within,
        cv=cv,
        p=p,
        at_the_end=stats_many.effect_verdict(cv, p, len(seeds), MARGIN, ALPHA),
        change=_change(_mismatches(early), mismatches),
        seeds=len(seeds),
        seeds_needed=compared.models_needed.get(MARGIN),
    )


def _compare(
    groups: Mapping[str, list[np.ndarray]], seeds: Sequence[int], targets: np.ndarray | None
) -> tuple[Compared, dict[str, np.ndarray]]:
    """Every two activations, and by metric the distances within each (K, N, N)."""
    every = [
        predictions(f"{name} seed {seed}", p)
        for name, group in groups.items()
        for seed, p in zip(seeds, group, strict=True)
    ]
    if targets is not None:
        targets = read_targets(targets, *every[0].values.shape)
    checked = check_all(every, targets)
    distances = compare_pairs(checked)
    places = [slice(start, start + len(seeds)) for start in range(0, len(every), len(seeds))]
    by_group = {name: checked[place] for name, place in zip(groups, places, strict=True)}
    compared = compare_groups(by_group, distances, PAIRING, targets is not None)
    within = {
        metric: np.stack([matrix[place, place] for place in places]) for metric, matrix in distances.mean.items()
    }
    return compared, within


def _mismatches(groups: Mapping[str, list[np.ndarray]]) -> np.ndarray:
    """Shares of the samples (K, N, N)."""
    labels = np.stack([[p.argmax(axis=1) for p in group] for group in groups.values()])  # (K, N, samples)
    return np.stack([[(of_group != one).mean(axis=1) for one in of_group] for of_group in labels])


def _change(early: np.ndarray, end: np.ndarray) -> Estimate:
    """Of the mean over pairs and activations, both (K, N, N), relative to the early one, with a jackknife over seeds
    that takes that one as given."""
    before = float(stats.mean_over_pairs(early).mean())
    if before == 0:
        return Estimate(math.nan, math.nan, math.nan, end.shape[-1])
    found = stats.pairwise_estimate((end - early).mean(axis=0) / before)
    return Estimate(found.mean, found.low, found.high, end.shape[-1])


# ---------------------------------------------------------------- in words and as JSON


def sentences(answer: OwnAnswer, steps: int, minutes_a_seed: float) -> Iterator[str]:
    """The verdict, then what ``compare.py`` says of the same models."""
    if answer.settled is False:
        way = "rose" if answer.change.mean > 0 else "fell"
        yield (
            f"Not settled: disagreement {way} {100 * abs(answer.change.mean):.0f} % over the last fifth of steps, "
            f"so what follows is a snapshot of step {steps}. Train longer: --steps, with a fresh --results-dir."
        )
        yield f"At that step: {_verdict(answer, minutes_a_seed)}"
    else:
        verdict = _verdict(answer, minutes_a_seed)
        yield f"{verdict[0].upper()}{verdict[1:]}"
    if answer.settled is None and answer.change.has_interval:
        low, mean, high = (100 * x for x in (answer.change.low, answer.change.mean, answer.change.high))
        yield (
            f"Whether it has settled cannot be told: disagreement changed by {mean:+.0f} % [{low:+.0f}, {high:+.0f}] "
            "over the last fifth of steps."
        )
    yield from words(answer.compared)


def _verdict(answer: OwnAnswer, minutes_a_seed: float) -> str:
    of_what = "how much two trainings disagree (top-1 mismatches)"
    margin = f"{100 * MARGIN:.0f} %"
    noise = "without" if answer.cv.has_interval else "with"
    size = f"over activations it varies by {100 * answer.cv.mean:.1f} % (CV {noise} the noise of seeds"
    if answer.cv.has_interval:
        size += f"; 95 % interval {100 * answer.cv.low:.1f} to {100 * answer.cv.high:.1f} %"
    size += f"; p {p_text(answer.p)}; {counted(answer.seeds, 'seed')})"
    needed = answer.seeds_needed
    told = {
        EffectVerdict.MATTERS: f"the activation matters for {of_what}, with a CV above {margin}: {size}",
        EffectVerdict.DIFFERS: f"the activation changes {of_what}, with a CV below {margin}: {size}",
        EffectVerdict.NO_DIFFERENCE: f"no difference is shown in {of_what}, and the CV is below {margin}: {size}",
    }
    if answer.at_the_end in told:
        return f"{told[answer.at_the_end]}. A CV is a spread over all of them: two may be further apart."
    if not answer.cv.known:
        return "undecided, because no two models disagree on any sample: there is nothing to compare."
    fewest = max(needed or 0, FEWEST_JUDGED)
    if answer.seeds < fewest:
        more = fewest - answer.seeds
        showing = f"about {fewest} seeds would show one activation {margin} above another"
        why = showing if needed == fewest else f"a test takes {fewest} seeds"
        minutes = max(1, math.ceil(more * minutes_a_seed))
        return (
            f"too few trials to tell: {why}; {more} more take about {minutes} min (--seeds {fewest}). So far {size}."
        )
    return f"undecided, a CV of {margin} is neither shown nor ruled out: {size}."


def own_json(answer: OwnAnswer, plan: Mapping[str, object], said: list[str]) -> dict:
    """What ``compare.py --json`` prints, and ``plan``, ``settled``, ``verdict``."""
    return {
        **as_json(answer.compared),
        "plan": dict(plan),
        "settled": answer.settled,
        "verdict": answer.verdict,
        "verdict_at_the_end": str(answer.at_the_end),
        "change_over_the_last_fifth": estimate_json(answer.change),
        "cv": estimate_json(answer.cv),
        "p": answer.p if math.isfinite(answer.p) else None,
        "seeds_needed": answer.seeds_needed,
        "words": said,
    }
