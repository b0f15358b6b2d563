"""What ``benchmarks.domains`` found, as tables and sentences. Pure functions of its record."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from analysis.domains import PRIMARY, DomainVerdict, estimate, verdicts
from analysis.own_answer import SETTLED_CHANGE
from analysis.stats_many import MARGIN, EffectVerdict
from analysis.table import Column, Row, Table, mean_of, number, p_text, plain, with_interval
from labels import counted, in_prose, label, listed
from metrics import PAIR_METRICS

KINDS = {
    "digits": "Digits of 8 x 8 pixels, multilayer perceptron",
    "mnist": "Digits of 28 x 28 pixels, convolutional network",
    "vowels": "Speech, attention",
    "power": "Time series, convolution",
}
SHOWN = (*PRIMARY, "jensen_shannon", "relative_pd")
EDGE = "*"


def _metric(name: str) -> str:
    return PAIR_METRICS[name].label


def _kind(name: str) -> str:
    return KINDS.get(name, name)


_DOMAIN = Column("Data, model", ("domain",), _kind, numeric=False)
_ACTIVATION = Column("Activation", ("activation",), label, numeric=False)


# ---------------------------------------------------------------- verdicts


def verdicts_table(record: Mapping[str, Any]) -> Table:
    found = pairs(record)
    columns = (
        _DOMAIN,
        Column("Metric", ("metric",), _metric, numeric=False),
        Column("Verdict with all", ("verdict",), plain, numeric=False),
        Column("CV (%), without noise", ("cv",), with_interval(1, 100)),
        Column("p, Holm", ("p_holm",), p_text),
        Column("Left out", ("left_out",), label, numeric=False),
        Column("Verdict without it", ("verdict_without",), plain, numeric=False),
        Column("CV without it (%)", ("cv_without",), with_interval(1, 100)),
        Column("p, Holm", ("p_without",), p_text),
    )
    rows: list[Row] = [
        {
            **asdict(each),
            "cv": each.cv,
            "left_out": without.left_out,
            "verdict_without": without.verdict,
            "cv_without": without.cv,
            "p_without": without.p_holm,
        }
        for each, without in found
    ]
    n_tests = max(each.n_tests for each, _ in found if each.metric == PRIMARY[0])
    notes = (
        f"CV over activations, 95 % interval; margin {100 * MARGIN:.0f} %. p: adjusted by Holm's method over "
        f"{counted(n_tests, 'test')}, every domain by top-1 mismatches and total variation; of the other "
        f"metrics over the domains. Left out: the activation whose mean lies furthest from the others', chosen after "
        "looking, so that the verdict without it says whether the effect is one activation's.",
    )
    return Table("Does the activation matter for how much two trainings disagree?", columns, rows, notes)


def pairs(record: Mapping[str, Any]) -> list[tuple[DomainVerdict, DomainVerdict]]:
    """Of every domain and metric what the rule says with all activations, and without the most different one."""
    found = {(each.metric, each.domain, each.left_out is None): each for each in verdicts(record["domains"])}
    return [
        (found[metric, domain, True], found[metric, domain, False])
        for metric in SHOWN
        for domain in record["domains"]
    ]


def sentences(record: Mapping[str, Any]) -> list[str]:
    """By each primary metric, which verdicts there are and where a difference is shown, with and without the most
    different activation."""
    said = []
    for metric in PRIMARY:
        found = [pair for pair in pairs(record) if pair[0].metric == metric]
        said.append(
            f"By {in_prose(_metric(metric))}: {_told([each for each, _ in found])}. Without the most different "
            f"activation, chosen after looking: {_told([without for _, without in found])}."
        )
    return said


def _told(found: list[DomainVerdict]) -> str:
    """Such as "*matters* in digits, *undecided* in power; a difference, however small, is shown in digits"."""
    shown = [each.domain for each in found if each.shown]
    where = f"in {listed(shown)}" if shown else "nowhere"
    return f"{_counts(found)}; a difference, however small, is shown {where}"


def _counts(found: list[DomainVerdict]) -> str:
    """Such as "matters in digits and power, undecided in mnist"."""
    by_verdict = {verdict: [each.domain for each in found if each.verdict is verdict] for verdict in EffectVerdict}
    return ", ".join(f"*{verdict}* in {listed(names)}" for verdict, names in by_verdict.items() if names)


# ---------------------------------------------------------------- what stands beside them


def activations_table(record: Mapping[str, Any]) -> Table:
    """Loss, accuracy and disagreement of every activation."""
    columns = (
        _DOMAIN,
        _ACTIVATION,
        Column("Parameters", ("parameters",), number("{:,}")),
        Column("Rate", ("rate",), number("{:g}")),
        Column("Loss (nats)", ("loss",), number("{:.3f}")),
        Column("Accuracy (%)", ("accuracy",), number("{:.1f}", 100)),
        Column("Top-1 mismatches (%)", ("top1_mismatches",), with_interval(2, 100)),
        Column("Total variation", ("total_variation",), with_interval(4)),
        Column("Jensen-Shannon", ("jensen_shannon",), mean_of("{:.4f}")),
        Column("Relative PD", ("relative_pd",), mean_of("{:.3f}")),
    )
    rows: list[Row] = []
    for name, domain in record["domains"].items():
        for activation, found in domain["activations"].items():
            rows.append(
                {
                    "domain": name,
                    "activation": activation,
                    "parameters": domain["parameters"][activation],
                    "rate": domain["rates"][activation],
                    "loss": found["loss"],
                    "accuracy": found["accuracy"],
                    **{metric: estimate(found[metric]) for metric in SHOWN},
                }
            )
    note = "Loss and accuracy on the probe, mean over models; disagreement: mean over their pairs, 95 % interval."
    return Table("Loss, accuracy and disagreement", columns, rows, (note,))


def course_table(record: Mapping[str, Any]) -> Table:
    """How the trials were made, and how far training had come."""
    columns = (
        _DOMAIN,
        Column("Samples of the probe", ("samples",), plain),
        Column("Seeds", ("seeds",), plain),
        Column(f"needed to show {100 * MARGIN:.0f} %", ("seeds_needed",), plain),
        Column("Diverged", ("diverged",), plain),
        Column("Steps", ("steps",), plain),
        Column("Training loss, fourth fifth", ("before",), number("{:.3f}")),
        Column("Last fifth", ("last",), number("{:.3f}")),
        Column("Mismatches changed over the last fifth (%)", ("change",), with_interval(1, 100)),
        Column("Settled", ("settled",), _settled, numeric=False),
    )
    rows: list[Row] = [
        {
            **{
                field: domain[field] for field in ("samples", "seeds", "seeds_needed", "diverged", "steps", "settled")
            },
            "domain": name,
            "before": _mean([losses[0] for losses in domain["training_loss"].values()]),
            "last": _mean([losses[1] for losses in domain["training_loss"].values()]),
            "change": estimate(domain["change_over_the_last_fifth"]),
        }
        for name, domain in record["domains"].items()
    ]
    note = (
        f"Settled: mismatches changed by at most {100 * SETTLED_CHANGE:.0f} %; not, if by more and by more than "
        "noise; else it cannot be told."
    )
    return Table("How far training had come", columns, rows, (note,))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _settled(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "cannot be told"}[value]


# ---------------------------------------------------------------- pilots


def pilots_table(record: Mapping[str, Any]) -> Table:
    """Mean loss on the probe at each rate of the grid, and what was chosen."""
    domains = record["domains"]
    rates = sorted({rate for domain in domains.values() for rate in domain["pilots"]["losses"]["relu"]}, key=float)
    columns = (
        _DOMAIN,
        _ACTIVATION,
        *(Column(rate, (rate,), number("{:.3f}")) for rate in rates),
        Column("Chosen", ("chosen",), plain),
    )
    rows: list[Row] = [
        {
            "domain": name,
            "activation": activation,
            **{rate: _mean(losses) for rate, losses in by_rate.items() if None not in losses},
            "chosen": f"{domain['rates'][activation]:g}{EDGE if activation in domain['pilots']['at_edge'] else ''}",
        }
        for name, domain in domains.items()
        for activation, by_rate in domain["pilots"]["losses"].items()
    ]
    seeds = listed(map(str, next(iter(domains.values()))["pilots"]["seeds"]))
    note = (
        f"Loss on the probe after as many steps as the trials have, mean over the pilots of seeds {seeds}, by "
        "learning rate; no number: not run, or a pilot diverged."
    )
    edges = [f"{name} with {label(each)}" for name, domain in domains.items() for each in domain["pilots"]["at_edge"]]
    if edges:
        note += f" {EDGE} At the edge of the grid, so that a better rate may lie beyond: {listed(edges)}."
    return Table("Pilots", columns, rows, (note,))


TABLES = {
    "verdicts": verdicts_table,
    "activations": activations_table,
    "course": course_table,
    "pilots": pilots_table,
}
