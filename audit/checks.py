"""Whether a claim of the report follows from the numbers that the report prints. Pure functions.

A claim (``data/report.json``) names its checks and what each needs. A check computes its verdict and the numbers
behind it from the printed tables, and so would come out otherwise if they did. Where there is nothing to compute, the
check is ``reading``, whose verdict and reason are ours and stand in the file.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from analysis import stats
from audit.numbers import QUANTITIES, Values, agrees, decimals, find_section, printed_values
from labels import label

# Cross-entropy on the validation split, in nats per character, of knowing nothing but how frequent each character is
# in the training split.
FREQUENCIES_ALONE = 3.3473
PERCENT = 100  # in which the report prints fractions
PD = "relative_pd"


class ClaimVerdict(StrEnum):
    """On a claim against the report's own numbers, from the gravest on: of several checks the gravest counts."""

    FAILS = "contradicted"
    SAYS_NOTHING = "says nothing"
    UNCHECKABLE = "cannot be checked"
    ROUNDED = "holds but for rounding"
    HOLDS = "holds"
    SETTING = "a setting"
    PROPOSAL = "a proposal"


VERDICTS = {
    ClaimVerdict.HOLDS: "it follows from the report's own tables",
    ClaimVerdict.ROUNDED: "it does within one unit of the last digit, or as a range wider than what it sums up",
    ClaimVerdict.FAILS: "other numbers or words of the report say otherwise",
    ClaimVerdict.SAYS_NOTHING: "it is true whatever had been measured, or rests on a model that learned nothing",
    ClaimVerdict.UNCHECKABLE: "the report prints nothing that it could follow from",
    ClaimVerdict.SETTING: "a choice or a fact of the set-up, not a result",
    ClaimVerdict.PROPOSAL: "a plan, an expectation or an opinion, not a result",
}


@dataclass(frozen=True)
class CheckResult:
    """The verdict on a claim, and the numbers behind it in words."""

    verdict: ClaimVerdict
    evidence: tuple[str, ...]


def gravest(verdicts: Iterable[ClaimVerdict]) -> ClaimVerdict:
    return min(verdicts, key=list(ClaimVerdict).index)


def checked(report: dict, claim: dict) -> CheckResult:
    """All checks of a claim together: the gravest verdict, and the evidence of each."""
    results = [CHECKS[check["check"]](report, check) for check in claim["checks"]]
    return CheckResult(
        gravest(each.verdict for each in results), tuple(words for each in results for words in each.evidence)
    )


def _result(holds: bool, evidence: list[str]) -> CheckResult:
    return CheckResult(ClaimVerdict.HOLDS if holds else ClaimVerdict.FAILS, tuple(evidence))


def _tables(report: dict, check: dict) -> Iterator[tuple[str, Values]]:
    """Number and values of each section that the claim speaks of."""
    for number in check["in"]:
        yield number, printed_values(find_section(report, number))


def _cv(report: dict, section: str) -> float:
    """CV over the activations of a section, from its printed PDs."""
    values = printed_values(find_section(report, section))
    return stats.coefficient_of_variation([value[PD] for value in values.values()])


def _shown(activation: str, quantity: str, value: float) -> str:
    """In the report's unit: counts without decimals."""
    scale = QUANTITIES[quantity].scale
    return f"{label(activation)} {scale * value:.{0 if scale >= 1000 else 4}f}"


# ---------------------------------------------------------------- one number from others


def value(report: dict, text: str) -> float:
    """A number as it is, or the one that the report prints at a place such as "3.1/relu/val_loss".

    "3.5.1/cv" is the CV over the section's activations.
    """
    section, *place = text.split("/")
    if not place:
        return float(text.replace(",", ""))
    if place == ["cv"]:
        return PERCENT * _cv(report, section)
    activation, quantity = place
    return QUANTITIES[quantity].scale * printed_values(find_section(report, section))[activation][quantity]


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.inf


# From numbers to what is claimed; differences in percent.
OPERATIONS: dict[str, Callable[..., float]] = {
    "the number itself": lambda a: a,
    "ratio": _ratio,
    "percent of": lambda a, b: PERCENT * _ratio(a, b),
    "percent more": lambda a, b: PERCENT * (_ratio(a, b) - 1),
    "percent less": lambda a, b: PERCENT * (1 - _ratio(a, b)),
    "sum": lambda *values: math.fsum(values),
    "product": lambda *values: math.prod(values),
    "difference": lambda a, b: a - b,
    "least": lambda *values: min(values),
    "most": lambda *values: max(values),
}


def computed(report: dict, check: dict) -> CheckResult:
    """A printed number is what an operation makes of others; "unit" is that of its last digit that counts."""
    parts = [value(report, text) for text in check["of"]]
    found = OPERATIONS[check["operation"]](*parts)
    printed = check["printed"].replace(",", "")
    unit = float(check.get("unit", 10 ** -decimals(printed)))
    shown = _number(found, printed) if math.isfinite(found) else "no number, divided by 0"
    if check["operation"] == "the number itself":
        shown = f"{found:.6g}"
    evidence = _made_of(check, parts) + shown
    return CheckResult(_agreement(abs(found - float(printed)), unit), (evidence,))


def _made_of(check: dict, parts: list[float]) -> str:
    """Such as "percent less (0.4958 in 3.1, 0.5151 in 3.1): "; of a number that is only repeated, where it is."""
    if check["operation"] == "the number itself":
        return f"{check['of'][0].split('/')[0]}: "
    shown = [
        f"{part:.6g} in {text.split('/')[0]}" if "/" in text else text
        for text, part in zip(check["of"], parts, strict=True)
    ]
    return f"{check['operation']} ({', '.join(shown)}): "


def _number(found: float, printed: str) -> str:
    return f"{found:,.{decimals(printed) + 1}f}"


def _agreement(distance: float, unit: float) -> ClaimVerdict:
    """Equal when rounded, or within one unit, since what it was computed from may have been rounded too."""
    if distance <= 0.5001 * unit:
        return ClaimVerdict.HOLDS
    return ClaimVerdict.ROUNDED if distance < 1.001 * unit else ClaimVerdict.FAILS


def _percent_agrees(printed: str, fraction: float) -> ClaimVerdict:
    return _agreement(abs(float(printed) - PERCENT * fraction), 10 ** -decimals(printed))


def covers(report: dict, check: dict) -> CheckResult:
    """A printed range covers what each of the "of" gives, such as ["percent less", "3.5.1/gelu/relative_pd", ...];
    "unit" is that of its last digit that counts."""
    least, most = check["range"]
    found = [OPERATIONS[operation](*(value(report, text) for text in texts)) for operation, *texts in check["of"]]
    unit = float(check.get("unit", 10 ** -decimals(least)))
    ends = [_agreement(abs(a - float(b)), unit) for a, b in ((min(found), least), (max(found), most))]
    evidence = (f"{_number(min(found), least)} to {_number(max(found), most)}",)
    if set(ends) == {ClaimVerdict.HOLDS}:
        return CheckResult(ClaimVerdict.HOLDS, evidence)
    inside = float(least) - unit < min(found) and max(found) < float(most) + unit
    return CheckResult(ClaimVerdict.ROUNDED if inside else ClaimVerdict.FAILS, evidence)


def reading(report: dict, check: dict) -> CheckResult:
    """What no number decides: the verdict and why, as we read the report."""
    return CheckResult(ClaimVerdict(check["verdict"]), (check["why"],))


# ---------------------------------------------------------------- which activation is lower


def lower(report: dict, check: dict) -> CheckResult:
    """Everything in "lower" is below everything in "higher"; where one is not given, it is all the others."""
    against = []
    for number, values in _tables(report, check):
        first = [
            name for name in check.get("lower", values) if name in values and name not in check.get("higher", [])
        ]
        second = [name for name in check.get("higher", values) if name in values and name not in first]
        for quantity in check.get("quantities", [PD]):
            against += [
                f"{number}: {_shown(a, quantity, values[a][quantity])}, {_shown(b, quantity, values[b][quantity])}"
                for a in first
                for b in second
                if values[a][quantity] >= values[b][quantity]
            ]
    return _result(not against, against or [f"so in {', '.join(check['in'])}"])


def lowest_of_all(report: dict, check: dict) -> CheckResult:
    """The activation's PD is below that of every other activation and architecture of the sections 3.5."""
    (_, values) = next(_tables(report, check))
    own = values[check["activation"]][PD]
    below = [
        f"{section['title']} with {_shown(name, PD, value[PD])}"
        for section in report["sections"]
        if section["section"].startswith("3.5.") and "model" in section
        for name, value in printed_values(section).items()
        if value[PD] < own
    ]
    return _result(not below, below or ["none is lower"])


def rank_at_most(report: dict, check: dict) -> CheckResult:
    """The activation is among the lowest "rank" of every section."""
    ranks = {}
    for number, values in _tables(report, check):
        pds = sorted(value[PD] for value in values.values())
        ranks[number] = pds.index(values[check["activation"]][PD]) + 1, len(pds)
    holds = all(rank <= check["rank"] for rank, _ in ranks.values())
    return _result(holds, [f"{number}: {rank} of {of}" for number, (rank, of) in ranks.items()])


# ---------------------------------------------------------------- by how much


def improvement(report: dict, check: dict) -> CheckResult:
    """The activation's PD is "percent" lower than that of each of "than"."""
    (_, values) = next(_tables(report, check))
    own = values[check["activation"]][PD]
    gains = {other: 1 - own / values[other][PD] for other in check["than"]}
    evidence = tuple(f"{PERCENT * gain:.2f} % lower than {label(other)}" for other, gain in gains.items())
    return CheckResult(gravest(_percent_agrees(check["percent"], gain) for gain in gains.values()), evidence)


def excess_over_lowest(report: dict, check: dict) -> CheckResult:
    """The activation's PD lies above the lowest of each section by something within "percent", a range."""
    least, most = check["percent"]
    excess = {}
    for number, values in _tables(report, check):
        lowest = min(value[PD] for value in values.values())
        excess[number] = values[check["activation"]][PD] / lowest - 1
    holds = all(
        float(least) < PERCENT * value < float(most) or agrees(least, value, PERCENT) or agrees(most, value, PERCENT)
        for value in excess.values()
    )
    return _result(holds, [f"{number}: {PERCENT * value:.1f} % above the lowest" for number, value in excess.items()])


def first_trial_overhead(report: dict, check: dict) -> CheckResult:
    """The first of the times is "percent" longer than the mean of the others."""
    first, *others = (float(text) for text in check["minutes"])
    overhead = first / (sum(others) / len(others)) - 1
    evidence = f"{PERCENT * overhead:.1f} % longer than the mean of the others"
    return CheckResult(_percent_agrees(check["percent"], overhead), (evidence,))


# ---------------------------------------------------------------- how sensitive


def cv_is(report: dict, check: dict) -> CheckResult:
    """The CV over the section's activations is "percent"; of one activation it is 0 whatever is measured."""
    ((number, values),) = _tables(report, check)
    if len(values) == 1:
        evidence = f"{number}: one activation, whose CV is 0 whatever its PD"
        return CheckResult(ClaimVerdict.SAYS_NOTHING, (evidence,))
    cv = _cv(report, number)
    return CheckResult(_percent_agrees(check["percent"], cv), (f"{number}: {PERCENT * cv:.2f} %",))


def lower_cv(report: dict, check: dict) -> CheckResult:
    """The CVs of the sections "lower" are below those of the sections "higher"."""
    first, second = ({number: _cv(report, number) for number in check[name]} for name in ("lower", "higher"))
    holds = max(first.values()) < min(second.values())
    return _result(holds, [f"{number}: {PERCENT * cv:.2f} %" for number, cv in (first | second).items()])


def cv_ratio(report: dict, check: dict) -> CheckResult:
    """The CVs of the sections "higher" are a multiple, within "times", of those of the sections "lower"."""
    ratios = {(a, b): _cv(report, a) / _cv(report, b) for a in check["higher"] for b in check["lower"]}
    least, most = (float(text) for text in check["times"])
    holds = all(least <= ratio <= most for ratio in ratios.values())
    return _result(holds, [f"{a} over {b}: {ratio:.1f} times" for (a, b), ratio in ratios.items()])


def share_insensitive(report: dict, check: dict) -> CheckResult:
    """The share of the sections whose CV is below "sensitive_from" is "percent"."""
    cvs = {number: _cv(report, number) for number in check["in"]}
    below = [number for number, cv in cvs.items() if PERCENT * cv < float(check["sensitive_from"])]
    evidence = (
        f"{len(below)} of {len(cvs)} CVs are below {check['sensitive_from']} %, "
        f"the lowest {PERCENT * min(cvs.values()):.2f} %"
    )
    return _result(agrees(check["percent"], len(below) / len(cvs), PERCENT), [evidence])


# ---------------------------------------------------------------- what PD is worth


def learned_something(report: dict, check: dict) -> CheckResult:
    """The loss beside the PD is below that of knowing character frequencies alone: else PD says little."""
    ((number, values),) = _tables(report, check)
    loss = values[check["activation"]]["val_loss"]
    evidence = f"{number}: loss {loss:.4f}; character frequencies alone give {FREQUENCIES_ALONE:.4f}"
    verdict = ClaimVerdict.HOLDS if loss < FREQUENCIES_ALONE else ClaimVerdict.SAYS_NOTHING
    return CheckResult(verdict, (evidence,))


CHECKS: dict[str, Callable[[dict, dict], CheckResult]] = {
    check.__name__: check
    for check in (
        computed,
        covers,
        reading,
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
