"""What a comparison of groups of models says: as one JSON object, in words, and as tables. Pure functions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.comparing import MARGIN, Compared, Comparison, Group
from analysis.predictions import MISMATCHES
from analysis.stats import FEWEST, FEWEST_JUDGED, UNKNOWN, Estimate
from analysis.stats_many import ALPHA, EffectVerdict
from analysis.table import ABSENT, Column, Row, Table, finite, number, p_text, plain, with_interval
from labels import counted
from metrics import PAIR_METRICS

OVER_SAMPLES = "95 % interval over samples, taken for independent"
TWO_ARE_FEW = (
    f"Two models do not say how such models differ: it takes {FEWEST} of a kind for an interval and {FEWEST_JUDGED} "
    "for a test."
)
LEARNED_MORE = (
    "Models that have learned more can disagree more, or less, for that reason alone; nothing here tells that from "
    "what the groups are named for."
)
NO_TARGETS = (
    "Without targets nothing says how good these models are, and models that have learned nothing agree with each "
    "other."
)
RELATIVE_PD = (
    "Relative PD is over all classes and is dominated by the many of small probability; top-1 mismatches and total "
    "variation say what a user sees."
)


# ---------------------------------------------------------------- as one JSON object


def as_json(compared: Compared) -> dict:
    """Shares are fractions; what is not known is null."""
    return {
        "groups": [_group_json(group) for group in compared.groups],
        "comparisons": [_comparison_json(each) for each in compared.comparisons],
        "models_needed": {f"{difference:g}": n for difference, n in compared.models_needed.items()},
        "words": list(words(compared)),
    }


def _group_json(group: Group) -> dict:
    return {
        "name": group.name,
        "n_models": group.n_models,
        "n_samples": group.n_samples,
        "accuracy": finite(group.accuracy),
        "loss": finite(group.loss),
        "metrics": _estimates(group.metrics),
        "over_samples": _estimates(group.over_samples) or None,
        "models": list(group.models),
    }


def _comparison_json(each: Comparison) -> dict:
    return {
        "first": each.first.name,
        "second": each.second.name,
        "paired": each.paired,
        "metrics": {
            metric: {
                **_difference(effect.difference),
                "p": finite(effect.p),
                "ratio": estimate_json(effect.ratio),
                "verdict": str(effect.verdict),
            }
            for metric, effect in each.effects.items()
        },
        "verdict": str(each.verdict),
        "accuracy": _difference(each.accuracy),
        "loss": _difference(each.loss),
        "across": each.across,
        "together": each.together or None,
        "over_samples": _estimates(each.over_samples) or None,
    }


def estimate_json(value: Estimate) -> dict[str, float | None]:
    return {"mean": finite(value.mean), "low": finite(value.low), "high": finite(value.high)}


def _estimates(values: dict[str, Estimate]) -> dict[str, dict]:
    return {metric: estimate_json(value) for metric, value in values.items()}


def _difference(value: Estimate) -> dict[str, float | None]:
    return {"difference": finite(value.mean), "low": finite(value.low), "high": finite(value.high)}


# ---------------------------------------------------------------- in words


def words(compared: Compared) -> Iterator[str]:
    """Sentences: what each group and each two groups say, then what to read beside it."""
    if any(not each.over_samples for each in compared.comparisons):
        yield f"{'Paired' if compared.pairing.paired else 'Unpaired'}: {compared.pairing.why}."
    for group in compared.groups:
        yield from _of_group(group, alone=len(compared.groups) == 1)
    for each in compared.comparisons:
        yield _of_comparison(each)
        yield from _of_losses(each)
    if any(group.n_models > 1 for group in compared.groups):
        yield _needed(compared)
    if not compared.has_targets:
        yield NO_TARGETS
    if len(compared.metrics) > 1:
        yield RELATIVE_PD
    if compared.identical:
        shown = "; ".join(f"{first} and {second}" for first, second in compared.identical[:3])
        more = f" and {counted(len(compared.identical) - 3, 'more pair')}" if len(compared.identical) > 3 else ""
        yield f"Exactly the same predictions: {shown}{more}. If these are copies of one model, leave one out."


def _of_group(group: Group, alone: bool) -> Iterator[str]:
    if group.n_models == 2:
        who = " and ".join(group.models) if alone else group.name
        yield f"{who}: {_two_models(group.over_samples)}"
    elif group.n_models > 2:
        yield (
            f"{group.name}: two models disagree on {_disagreement(group.metrics)} (means over the pairs of "
            f"{group.n_models} models; 95 % interval over models)."
        )


def _of_comparison(each: Comparison) -> str:
    first, second, effect = each.first.name, each.second.name, each.effects[MISMATCHES]
    between = f"Between {first} and {second}"
    if each.over_samples:
        return f"{between}: {_two_models(each.over_samples)}"
    across = 100 * each.across[MISMATCHES]
    apart = f"A model of {first} and one of {second} disagree on {across:.2f} % of the samples"
    apart += f", two of one pair on {100 * each.together[MISMATCHES]:.2f} %." if each.together else "."
    ratio = with_interval(2)(effect.ratio)
    if not effect.ratio.known:
        single = [group.name for group in (each.first, each.second) if group.n_models == 1]
        why = f"{single[0]} has one model" if single else "a group has no mismatches"
        return f"{between}: nothing to compare, as {why}. {apart}"
    beside = f"{first} has {ratio} times the top-1 mismatches of {second}"
    if each.verdict is EffectVerdict.TOO_FEW:
        fewest = min(each.first.n_models, each.second.n_models)
        return f"{between}: too few models to tell ({fewest} where a test takes {FEWEST_JUDGED}). {beside}. {apart}"
    tested = f"p {p_text(effect.p)}, {'paired' if each.paired else 'unpaired'}"
    more, less = (first, second) if effect.ratio.mean >= 1 else (second, first)
    margin = f"{100 * MARGIN:.0f} %"
    told = {
        EffectVerdict.MATTERS: f"models of {more} disagree more than those of {less}, by more than {margin}",
        EffectVerdict.DIFFERS: f"models of {more} disagree more than those of {less}, but by less than {margin}",
        EffectVerdict.NO_DIFFERENCE: f"no difference is shown, and one of {margin} is ruled out",
        EffectVerdict.UNDECIDED: f"undecided, a difference of {margin} is neither shown nor ruled out",
    }[each.verdict]
    return f"{between}: {told}. {beside} ({tested}). {apart}"


def _of_losses(each: Comparison) -> Iterator[str]:
    """Where losses differ or, of labels, accuracies: by their interval; where too few models give none, only how far
    they are apart."""
    name, found = ("loss", each.loss) if each.loss.known else ("accuracy", each.accuracy)
    if not found.known:
        return
    first, second = getattr(each.first, name), getattr(each.second, name)
    apart = f"{first:.4g} and {second:.4g}, a difference of {with_interval(4)(found)}"
    if min(each.first.n_models, each.second.n_models) < FEWEST:
        yield (
            f"{each.first.name} and {each.second.name} have the {name} {apart}; so few models do not say whether the "
            f"kinds differ. {LEARNED_MORE}"
        )
    elif not found.low <= 0 <= found.high:
        yield f"{each.first.name} and {each.second.name} differ in {name}: {apart}. {LEARNED_MORE}"


def _needed(compared: Compared) -> str:
    known = {difference: n for difference, n in compared.models_needed.items() if n is not None}
    if not known and any(group.n_models >= FEWEST for group in compared.groups):
        return "How many models would show a difference cannot be told, because these do not vary."
    if not known:
        return f"With {FEWEST} models of a kind and more, this says how many of each would show a difference."
    numbers = ", ".join(f"{n} for {100 * difference:.0f} %" for difference, n in known.items())
    return f"Models of each kind that would show a difference in top-1 mismatches, with 80 % power: about {numbers}."


def _two_models(over_samples: dict[str, Estimate]) -> str:
    return f"the two models disagree on {_disagreement(over_samples)} ({OVER_SAMPLES}). {TWO_ARE_FEW}"


def _disagreement(metrics: dict[str, Estimate]) -> str:
    """Such as "8.20 % [7.66, 8.75] of the samples, with a total variation of 0.0713 [0.0680, 0.0750]"."""
    shown = metrics[MISMATCHES]
    interval = f" [{100 * shown.low:.2f}, {100 * shown.high:.2f}]" if shown.has_interval else ""
    variation = metrics.get("total_variation")
    beside = f", with a total variation of {with_interval(4)(variation)}" if variation else ""
    return f"{100 * shown.mean:.2f} %{interval} of the samples{beside}"


# ---------------------------------------------------------------- as tables


def tables(compared: Compared) -> list[Table]:
    compare = any(effect.difference.known for each in compared.comparisons for effect in each.effects.values())
    return [groups_table(compared), *([differences_table(compared)] if compare else [])]


def groups_table(compared: Compared) -> Table:
    columns = (
        Column("Group", ("first",), plain, numeric=False),
        Column("Models", ("n_models",), plain),
        Column("Accuracy (%)", ("accuracy",), number("{:.2f}", 100)),
        Column("Loss (nats)", ("loss",), number("{:.4f}")),
        *(Column(header(metric), (metric,), with_interval(*scale(metric))) for metric in compared.metrics),
    )
    losses = {group.name: {"accuracy": group.accuracy, "loss": group.loss} for group in compared.groups}
    rows: list[Row] = [
        {"first": each.name, "n_models": each.sizes, **each.metrics, **losses.get(each.name, {})}
        for each in disagreements(compared)
    ]
    intervals = "In brackets: 95 % intervals over models (a jackknife, because pairs share models)"
    of_two = "; of two models over samples, which does not say how other models would differ"
    has_two = any(each.over_samples for each in disagreements(compared))
    notes = [f"{intervals}{of_two if has_two else ''}."]
    if compared.comparisons:
        notes.append(
            "A row of two groups: the pairs of one model from each"
            + (", without those that belong together." if compared.pairing.paired else ".")
        )
    return Table("How much models disagree, mean over pairs", columns, rows, tuple(notes))


@dataclass(frozen=True)
class Disagreement:
    """How much the models of one group disagree or, across two groups, a model of each; ``sizes`` counts the models.
    Intervals are over models; of two models alone, ``over_samples``."""

    name: str
    sizes: str
    metrics: dict[str, Estimate]
    over_samples: bool


def disagreements(compared: Compared) -> list[Disagreement]:
    """Of every group, then of every two groups."""
    within = [
        Disagreement(each.name, str(each.n_models), each.over_samples or each.metrics, bool(each.over_samples))
        for each in compared.groups
    ]
    across = [
        Disagreement(
            f"{each.first.name} v {each.second.name}",
            f"{each.first.n_models} v {each.second.n_models}",
            _of_one_and_one(each),
            bool(each.over_samples),
        )
        for each in compared.comparisons
    ]
    return within + across


def differences_table(compared: Compared) -> Table:
    columns = (
        Column("First", ("first",), plain, numeric=False),
        Column("Second", ("second",), plain, numeric=False),
        Column("Measure", ("metric",), header, numeric=False),
        Column("First - second", ("metric", "difference"), lambda metric, x: with_interval(*scale(metric))(x)),
        Column("First / second", ("ratio",), with_interval(2)),
        Column("p", ("p",), p_text),
        Column("Verdict", ("verdict",), plain, numeric=False),
    )
    rows = [
        {
            "first": each.first.name,
            "second": each.second.name,
            "metric": metric,
            "difference": effect.difference,
            "ratio": effect.ratio,
            "p": effect.p,
            "verdict": str(effect.verdict),
        }
        for each in compared.comparisons
        for metric, effect in each.effects.items()
    ]
    how = (
        "signs of the models' differences flipped, step-down maxima over all pairs of groups"
        if compared.pairing.paired
        else "Welch's test on jackknife variances, adjusted by Holm's method over all pairs of groups"
    )
    margin = f"Margin: one group's mean {100 * MARGIN:.0f} % above the other's; level {100 * ALPHA:.0f} %."
    notes = (
        f"The verdict is that of {PAIR_METRICS[MISMATCHES].label.lower()}; those by other measures are not adjusted "
        f"for their number. {margin}",
        f"p, from {FEWEST_JUDGED} models in each group on: {how}. Intervals are not adjusted, so that *matters* also "
        f"needs a p of at most {ALPHA:g}.",
    )
    return Table("Do the models of one group disagree more than those of the other?", columns, rows, notes)


def long_table(compared: Compared) -> Table:
    """All numbers, a line for each measure of a group (then without a second one) and of two groups: what two models
    disagree on, one of each group, what those of one pair do, and the first group's minus the second's."""
    shown = ("first", "second", "measure", "n_models", "value", "ratio", "p", "verdict")
    columns = tuple(Column(field, (field,), lambda value: ABSENT if value is None else str(value)) for field in shown)
    rows: list[Row] = []
    for group in compared.groups:
        own = {"accuracy": group.accuracy, "loss": group.loss}
        single = {name: _single(value, group.n_models) for name, value in own.items()}
        for name, value in {**single, **(group.over_samples or group.metrics)}.items():
            rows.append({"first": group.name, "measure": name, "n_models": group.n_models, "value": value})
    for each in compared.comparisons:
        both = {"first": each.first.name, "second": each.second.name}
        of_two = _of_one_and_one(each).items()
        rows += [{**both, "measure": f"{name} of one and one", "value": value} for name, value in of_two]
        of_pairs = {name: _single(mean, 0) for name, mean in each.together.items()}
        rows += [{**both, "measure": f"{name} of one pair", "value": value} for name, value in of_pairs.items()]
        rows += [
            {**both, "measure": "accuracy", "value": each.accuracy},
            {**both, "measure": "loss", "value": each.loss},
        ]
        for metric, effect in each.effects.items():
            tested = {"ratio": effect.ratio, "p": effect.p, "verdict": str(effect.verdict)}
            rows.append({**both, "measure": metric, "value": effect.difference, **tested})
    return Table("", columns, [{"ratio": UNKNOWN} | row for row in rows])  # so that the header is always the same


def _of_one_and_one(each: Comparison) -> dict[str, Estimate]:
    """What a model of the first group and one of the second disagree on."""
    return each.over_samples or {name: _single(mean, 0) for name, mean in each.across.items()}


def _single(value: float, n: int) -> Estimate:
    return Estimate(value, math.nan, math.nan, n)


def header(metric: str) -> str:
    label = PAIR_METRICS[metric].label
    if metric == MISMATCHES:
        return f"{label} (% of samples)"
    return PAIR_METRICS[metric].axis


def scale(metric: str) -> tuple[int, float]:
    """Digits after the point, and the factor, with which a measure is shown."""
    return (2, 100) if metric == MISMATCHES else (4, 1)
