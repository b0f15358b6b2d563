"""What was expected of parts, sizes and gated activations before they were run: docs/preregistration_parts.md."""

from analysis import omnibus
from analysis.equal_loss import When
from analysis.expectation import PD, Expectation, Found, Outcome, in_models, where
from analysis.findings import Findings
from analysis.measure import MeasuredCell, spread_over
from analysis.registration import REGISTERED, complete_models
from analysis.sizes import SizeTrend
from analysis.stats import holm
from analysis.stats_many import ALPHA, EffectVerdict
from analysis.table import p_text
from analysis.variants import CV, PartEffect, is_cv
from config import ONLY_WITH_DROPOUT, PARENTS, base_name
from labels import counted, label, listed

MODELS = REGISTERED["parts"].config.models
RECURRENT = tuple(name for name in MODELS if PARENTS.get(name, name) == "tinylstm")
OF_CHARLM = tuple(name for name in MODELS if name not in RECURRENT)
SIZES_OF_CHARLM = tuple(name for name in REGISTERED["sizes"].config.models if name.startswith("charlm"))
GATED = ("swiglu", "geglu", "reglu")


# ---------------------------------------------------------------- parts


def matters_in(findings: Findings, models: tuple[str, ...]) -> tuple[list[str], str]:
    """In which of ``models`` the activation matters, by PD, and that in words, with where less is shown."""
    found = [each for each in findings.sensitivities(PD) if each.model in models]
    matters = where(found, lambda each: each.verdict is EffectVerdict.MATTERS)
    less = where(found, lambda each: bool(each.shown) and each.verdict is not EffectVerdict.MATTERS)
    more = f"PD differs by more than the margin in {in_models(matters, len(found))}"
    words = f"{more}; a smaller difference is shown in {len(less)}"
    return matters, words


def _no_part_makes_sensitive(findings: Findings) -> Found:
    models, words = matters_in(findings, OF_CHARLM)
    return words, Outcome.of(bool(models))


def _effects(findings: Findings, quantity: str) -> list[PartEffect]:
    """Of the variants of CharLM."""
    return [each for each in findings.part_effects if each.quantity == quantity and each.model in OF_CHARLM]


def _may_be_shown(findings: Findings, quantity: str) -> int:
    """In how many variants of CharLM a difference is shown or may still be, once TinyLSTM's variants are there.

    Until then the tests of theirs, of the same family, count as p = 1, so that what is shown stays so. If all of them
    turned out smaller, the p that were made would be adjusted over these alone.
    """
    family = [each for each in findings.part_effects if each.n_tests and is_cv(each.quantity) == is_cv(quantity)]
    whole = complete_models(findings.measured) == {*MODELS}
    least = [each.p for each in family] if whole else holm([each.p_alone for each in family])
    return sum(
        p <= ALPHA and each.quantity == quantity and each.model in OF_CHARLM
        for each, p in zip(family, least, strict=True)
    )


def shown_in(effects: list[PartEffect]) -> str:
    """Such as "shown in 1 of 4 variants (CharLM with one head: +3.1 % [2.0, 4.2])"; if in none, with the largest."""
    said = [f"{label(each.model)}: {each.size}" for each in effects if each.shown]
    shown = f"shown in {len(said)} of {counted(len(effects), 'variant')}"
    if effects and not said:
        most = max(effects, key=lambda each: abs(each.percent.mean))
        said = [f"the largest: {label(most.model)}, {most.size}, p {p_text(most.p)}"]
    return f"{shown} ({'; '.join(said)})" if said else shown


def _no_part_moves_the_cv(findings: Findings) -> Found:
    effects = _effects(findings, CV + PD)
    wrong = sum(bool(each.shown) for each in effects) >= 2
    outcome = Outcome.of(wrong) if wrong or _may_be_shown(findings, CV + PD) < 2 else Outcome.OPEN
    return f"a difference of the CV is {shown_in(effects)}", outcome


def _parts_move_pd(findings: Findings) -> Found:
    effects = _effects(findings, PD)
    any_does = any(each.shown for each in effects)
    outcome = Outcome.of(not any_does) if any_does or not _may_be_shown(findings, PD) else Outcome.OPEN
    return f"a difference of PD is {shown_in(effects)}", outcome


def _recurrence_does_not(findings: Findings) -> Found:
    models, words = matters_in(findings, RECURRENT)
    return words, Outcome.of({"tinylstm", "tinygru"} <= set(models))


def _plain_recurrence_is_highest(findings: Findings) -> Found:
    means = {name: spread_over(cells, PD).mean for name, cells in findings.models.items() if name in RECURRENT}
    said = listed(f"{label(name)} {mean:.3f}" for name, mean in means.items())
    return f"mean PD: {said}", Outcome.of(max(means, key=lambda name: means[name]) != "tinyrnn")


# ---------------------------------------------------------------- the other three studies


def _attention_dropout_raises(findings: Findings) -> Found:
    (effect,) = (each for each in findings.part_effects if each.quantity == PD)
    found = f"without it PD changes by {effect.size}, {'shown' if effect.shown else 'not shown'}"
    return found, Outcome.of(effect.difference.mean > 0) if effect.shown else Outcome.UNDECIDED


def _of_trends(findings: Findings, quantity: str, what: str) -> tuple[str, list[SizeTrend]]:
    """Such as "PD for a tenfold size: +0.012 [-0.003, +0.027] in CharLM", and the trends that it is said of."""
    trends = [each for each in findings.size_trends if (each.quantity, each.when) == (quantity, When.END)]
    said = [f"{each.size} in {label(each.base)}" for each in trends]
    bases = dict.fromkeys(map(base_name, REGISTERED["sizes"].config.models))
    lacking = [label(base) for base in bases if base not in {each.base for each in trends}]
    without = f" ({listed(lacking)} may change this, whose sizes are not all there)" if lacking else ""
    return f"{what} for a tenfold size: {listed(said)}{without}", trends


def _no_trend_as_the_report_s(findings: Findings) -> Found:
    found, trends = _of_trends(findings, CV + PD, "CV, in percentage points,")
    return found, Outcome.of(any(each.rises and not each.rules_out_reported for each in trends))


def _pd_falls(findings: Findings) -> Found:
    found, trends = _of_trends(findings, PD, "PD")
    return found, Outcome.of(any(each.rises for each in trends))


def _none_ends_it(findings: Findings) -> Found:
    """By the verdict over all activations, and that without each gated one; of APL, which is not, it is said."""
    over_all = next(each for each in findings.sensitivities(PD) if each.model == "minigpt")
    found = f"over {over_all.n_activations} activations MiniGPT's verdict is: {over_all.verdict}"
    if over_all.verdict is not EffectVerdict.MATTERS:
        return found, Outcome.NOT_WRONG
    ended = [name for name in (*GATED, "apl") if not _matters_without(findings.models["minigpt"], name)]
    without = f", but not without {listed(map(label, ended))}" if ended else ", and without any one of them too"
    return found + without, Outcome.of(bool({*ended} & {*GATED}))


def _matters_without(cells: list[MeasuredCell], activation: str) -> bool:
    others = [cell for cell in cells if cell.activation != activation]
    return omnibus.sensitivities(others, (PD,))[PD][0].verdict is EffectVerdict.MATTERS


EXPECTATIONS = {
    "parts": (
        Expectation(
            1,
            "No part makes CharLM sensitive: no variant of CharLM, nor CharLM, is *matters* by relative PD.",
            "Wrong if one is.",
            _no_part_makes_sensitive,
            OF_CHARLM,
        ),
        Expectation(
            2,
            "No variant of CharLM lowers or raises the CV of relative PD in a way that is shown.",
            "Wrong if two or more do.",
            _no_part_moves_the_cv,
            OF_CHARLM,
        ),
        Expectation(
            3,
            "Parts move PD itself: at least two of the four variants of CharLM in parts differ from it, shown, in "
            "relative PD.",
            "Wrong if none does.",
            _parts_move_pd,
            OF_CHARLM,
        ),
        Expectation(
            4,
            "Recurrence does not make sensitive: neither TinyLSTM nor a variant is *matters*.",
            "Wrong if TinyLSTM and TinyGRU both are.",
            _recurrence_does_not,
            RECURRENT,
        ),
        Expectation(
            5,
            "The plain recurrence has the largest PD of the recurrent four.",
            "Wrong if its mean over activations is not the largest.",
            _plain_recurrence_is_highest,
            RECURRENT,
        ),
    ),
    "attention_dropout": (
        Expectation(
            6,
            "Attention dropout raises PD.",
            "Wrong if CharLM without it has more, shown.",
            _attention_dropout_raises,
            ("charlm", ONLY_WITH_DROPOUT),
        ),
    ),
    "sizes": (
        Expectation(
            7,
            "The CV of PD has no trend as large as the report's.",
            "Wrong if in an architecture a positive trend is shown and one of the report's size is not ruled out.",
            _no_trend_as_the_report_s,
            SIZES_OF_CHARLM,
        ),
        Expectation(
            8,
            "PD falls with size at equal tokens.",
            "Wrong if its slope is positive, shown, in an architecture.",
            _pd_falls,
            SIZES_OF_CHARLM,
        ),
    ),
    "gated": (
        Expectation(
            9, "No gated activation ends MiniGPT's insensitivity.", "Wrong if one does.", _none_ends_it, ("minigpt",)
        ),
    ),
}
