"""The report's claims in words against the numbers of its own tables. Pure functions.

A claim (``data/report.json``) names the check that tests it and what that check needs. A check computes its verdict
and the numbers behind it from the printed tables, and so would come out otherwise if they did.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from analysis import stats
from analysis.table import Row
from audit.numbers import QUANTITIES, Values, agrees, find_section, printed_values
from labels import label

# Cross-entropy on the validation split, in nats per character, of knowing nothing but how frequent each character is
# in the training split.
FREQUENCIES_ALONE = 3.3473
PERCENT = 100  # in which the report prints fractions


class ClaimVerdict(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    SAYS_NOTHING = "says nothing"


@dataclass(frozen=True)
class CheckResult:
    """The verdict on a claim, and the numbers behind it in words."""

    verdict: ClaimVerdict
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class AuditedClaim:
    section: str
    words: str
    result: CheckResult

    def row(self) -> Row:
        return {
            "section": self.section,
            "words": self.words,
            "evidence": "; ".join(self.result.evidence),
            "verdict": self.result.verdict,
        }


def audited_claims(report: dict) -> list[AuditedClaim]:
    """Every claim with its verdict and the numbers behind it."""
    return [
        AuditedClaim(claim["section"], claim["words"], CHECKS[claim["check"]](report, claim))
        for claim in report["claims"]
    ]


def _result(holds: bool, evidence: list[str]) -> CheckResult:
    return CheckResult(ClaimVerdict.HOLDS if holds else ClaimVerdict.FAILS, tuple(evidence))


def _tables(report: dict, claim: dict) -> Iterator[tuple[str, Values]]:
    """Number and values of each section that the claim speaks of."""
    for number in claim["in"]:
        yield number, printed_values(find_section(report, number))


def _cv(report: dict, section: str) -> float:
    """CV over the activations of a section, from its printed PDs."""
    values = printed_values(find_section(report, section))
    return stats.coefficient_of_variation([value["relative_pd"] for value in values.values()])


def _shown(activation: str, quantity: str, value: float) -> str:
    """In the report's unit: counts without decimals."""
    digits = 0 if quantity == "top1_mismatches" else 4
    return f"{label(activation)} {QUANTITIES[quantity].scale * value:.{digits}f}"


# ---------------------------------------------------------------- which activation is lower


def lower(report: dict, claim: dict) -> CheckResult:
    """Everything in "lower" is below everything in "higher"; where one is not given, it is all the others."""
    against = []
    for number, values in _tables(report, claim):
        first = [
            name for name in claim.get("lower", values) if name in values and name not in claim.get("higher", [])
        ]
        second = [name for name in claim.get("higher", values) if name in values and name not in first]
        for quantity in claim.get("quantities", ["relative_pd"]):
            against += [
                f"{number}: {_shown(a, quantity, values[a][quantity])}, {_shown(b, quantity, values[b][quantity])}"
                for a in first
                for b in second
                if values[a][quantity] >= values[b][quantity]
            ]
    return _result(not against, against or [f"so in {', '.join(claim['in'])}"])


def lowest_of_all(report: dict, claim: dict) -> CheckResult:
    """The activation's PD is below that of every other activation and architecture of the sections 3.5."""
    (_, values) = next(_tables(report, claim))
    own = values[claim["activation"]]["relative_pd"]
    below = [
        f"{section['title']} with {_shown(name, 'relative_pd', value['relative_pd'])}"
        for section in report["sections"]
        if section["section"].startswith("3.5.") and "model" in section
        for name, value in printed_values(section).items()
        if value["relative_pd"] < own
    ]
    return _result(not below, below or ["none is lower"])


def rank_at_most(report: dict, claim: dict) -> CheckResult:
    """The activation is among the lowest "rank" of every section."""
    ranks = {}
    for number, values in _tables(report, claim):
        pds = sorted(value["relative_pd"] for value in values.values())
        ranks[number] = pds.index(values[claim["activation"]]["relative_pd"]) + 1, len(pds)
    holds = all(rank <= claim["rank"] for rank, _ in ranks.values())
    return _result(holds, [f"{number}: {rank} of {of}" for number, (rank, of) in ranks.items()])


# ---------------------------------------------------------------- by how much


def improvement(report: dict, claim: dict) -> CheckResult:
    """The activation's PD is "percent" lower than that of each of "than"."""
    (_, values) = next(_tables(report, claim))
    own = values[claim["activation"]]["relative_pd"]
    gains = {other: 1 - own / values[other]["relative_pd"] for other in claim["than"]}
    holds = all(agrees(claim["percent"], gain, PERCENT) for gain in gains.values())
    return _result(holds, [f"{PERCENT * gain:.2f} % lower than {label(other)}" for other, gain in gains.items()])


def excess_over_lowest(report: dict, claim: dict) -> CheckResult:
    """The activation's PD lies above the lowest of each section by something within "percent", a range."""
    least, most = claim["percent"]
    excess = {}
    for number, values in _tables(report, claim):
        lowest = min(value["relative_pd"] for value in values.values())
        excess[number] = values[claim["activation"]]["relative_pd"] / lowest - 1
    holds = all(
        float(least) < PERCENT * value < float(most) or agrees(least, value, PERCENT) or agrees(most, value, PERCENT)
        for value in excess.values()
    )
    return _result(holds, [f"{number}: {PERCENT * value:.1f} % above the lowest" for number, value in excess.items()])


def first_trial_overhead(report: dict, claim: dict) -> CheckResult:
    """The first of the times is "percent" longer than the mean of the others."""
    first, *others = (float(text) for text in claim["minutes"])
    overhead = first / (sum(others) / len(others)) - 1
    holds = agrees(claim["percent"], overhead, PERCENT)
    return _result(holds, [f"{PERCENT * overhead:.1f} % longer than the mean of the others"])


# ---------------------------------------------------------------- how sensitive


def cv_is(report: dict, claim: dict) -> CheckResult:
    """The CV over the section's activations is "percent"; of one activation it is 0 whatever is measured."""
    ((number, values),) = _tables(report, claim)
    if len(values) == 1:
        evidence = f"{number}: one activation, whose CV is 0 whatever its PD"
        return CheckResult(ClaimVerdict.SAYS_NOTHING, (evidence,))
    cv = _cv(report, number)
    return _result(agrees(claim["percent"], cv, PERCENT), [f"{number}: {PERCENT * cv:.2f} %"])


def lower_cv(report: dict, claim: dict) -> CheckResult:
    """The CVs of the sections "lower" are below those of the sections "higher"."""
    first, second = ({number: _cv(report, number) for number in claim[name]} for name in ("lower", "higher"))
    holds = max(first.values()) < min(second.values())
    return _result(holds, [f"{number}: {PERCENT * cv:.2f} %" for number, cv in (first | second).items()])


def cv_ratio(report: dict, claim: dict) -> CheckResult:
    """The CVs of the sections "higher" are a multiple, within "times", of those of the sections "lower"."""
    ratios = {(a, b): _cv(report, a) / _cv(report, b) for a in claim["higher"] for b in claim["lower"]}
    least, most = (float(text) for text in claim["times"])
    holds = all(least <= ratio <= most for ratio in ratios.values())
    return _result(holds, [f"{a} over {b}: {ratio:.1f} times" for (a, b), ratio in ratios.items()])


def share_insensitive(report: dict, claim: dict) -> CheckResult:
    """The share of the sections whose CV is below "sensitive_from" is "percent"."""
    cvs = {number: _cv(report, number) for number in claim["in"]}
    below = [number for number, cv in cvs.items() if PERCENT * cv < float(claim["sensitive_from"])]
    evidence = (
        f"{len(below)} of {len(cvs)} CVs are below {claim['sensitive_from']} %, "
        f"the lowest {PERCENT * min(cvs.values()):.2f} %"
    )
    return _result(agrees(claim["percent"], len(below) / len(cvs), PERCENT), [evidence])


# ---------------------------------------------------------------- what PD is worth


def learned_something(report: dict, claim: dict) -> CheckResult:
    """The loss beside the PD is below that of knowing character frequencies alone: else PD says little."""
    ((number, values),) = _tables(report, claim)
    loss = values[claim["activation"]]["val_loss"]
    evidence = f"{number}: loss {loss:.4f}; character frequencies alone give {FREQUENCIES_ALONE:.4f}"
    verdict = ClaimVerdict.HOLDS if loss < FREQUENCIES_ALONE else ClaimVerdict.SAYS_NOTHING
    return CheckResult(verdict, (evidence,))


CHECKS: dict[str, Callable[[dict, dict], CheckResult]] = {
    check.__name__: check
    for check in (
        lower,
        lowest_of_all,
        rank_at_most,
        improvement,
        excess_over_lowest,
        first_trial_overhead,
        cv_is,
        lower_cv,
        cv_ratio,
        share_insensitive,
        learned_something,
    )
}
