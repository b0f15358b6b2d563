"""What was expected of parts, sizes and gated activations before they were run: docs/preregistration_parts.md."""

from analysis import omnibus
from analysis.expectation import NOTHING, PD, Expectation, Found, in_models, where
from analysis.findings import Findings
from analysis.measure import spread_over
from analysis.registration import ADDED, REGISTERED
from analysis.sizes import END, REPORTED_SLOPE, SizeTrend
from analysis.stats_many import EffectVerdict
from analysis.variants import CV, PartEffect
from config import ONLY_WITH_DROPOUT, PARENTS
from labels import counted, label, listed

MODELS = REGISTERED["parts"].config.models
RECURRENT = tuple(name for name in MODELS if PARENTS.get(name, name) == "tinylstm")
OF_CHARLM = tuple(name for name in MODELS if name not in RECURRENT)
SIZES_OF_CHARLM = tuple(name for name in REGISTERED["sizes"].config.models if name.startswith("charlm"))


# ---------------------------------------------------------------- parts


def _matters(findings: Findings, models: tuple[str, ...]) -> tuple[list[str], int]:
    """In which of ``models`` the activation matters, by PD, and how many of them are there."""
    found = [each for each in findings.sensitivities(PD) if each.model in models]
    return where(found, lambda each: each.verdict is EffectVerdict.MATTERS), len(found)


def _no_part_makes_sensitive(findings: Findings) -> Found:
    models, total = _matters(findings, OF_CHARLM)
    return f"matters in {in_models(models, total)}", bool(models)


def _effects(findings: Findings, quantity: str) -> list[PartEffect]:
    """Of the variants of CharLM."""
    return [each for each in findings.part_effects if each.quantity == quantity and each.model in OF_CHARLM]


def _said(effects: list[PartEffect]) -> str:
    """Such as "shown in 1 of 4 variants (CharLM with one head +3.1 %)"."""
    shown = [each for each in effects if each.shown]
    names = [f"{label(each.model)} {100 * each.relative.mean:+.1f} %" for each in shown]
    return f"shown in {len(shown)} of {counted(len(effects), 'variant')}" + (f" ({listed(names)})" if names else "")


def _no_part_moves_the_cv(findings: Findings) -> Found:
    effects = _effects(findings, CV + PD)
    return f"a difference of the CV is {_said(effects)}", sum(bool(each.shown) for each in effects) >= 2


def _parts_move_pd(findings: Findings) -> Found:
    effects = _effects(findings, PD)
    return f"a difference of PD is {_said(effects)}", not any(each.shown for each in effects)


def _recurrence_does_not(findings: Findings) -> Found:
    models, total = _matters(findings, RECURRENT)
    return f"matters in {in_models(models, total)}", {"tinylstm", "tinygru"} <= set(models)


def _plain_recurrence_is_highest(findings: Findings) -> Found:
    means = {name: spread_over(cells, PD).mean for name, cells in findings.models.items() if name in RECURRENT}
    said = listed(f"{label(name)} {mean:.3f}" for name, mean in means.items())
    return f"mean PD: {said}", max(means, key=lambda name: means[name]) != "tinyrnn"


# ---------------------------------------------------------------- the other three studies


def _attention_dropout_raises(findings: Findings) -> Found:
    effect = next((each for each in findings.part_effects if each.quantity == PD), None)
    if not effect:
        return NOTHING, None
    found = f"without it PD is {100 * effect.relative.mean:+.1f} %, {'shown' if effect.shown else 'not shown'}"
    return found, effect.difference.mean > 0 if effect.shown else None


def _trends(findings: Findings, quantity: str) -> list[SizeTrend]:
    return [each for each in findings.size_trends if (each.quantity, each.when) == (quantity, END)]


def _slopes(trends: list[SizeTrend], form: str, scale: float = 1) -> str:
    """Such as "for a tenfold size +1.2 [-0.3, +2.7] in CharLM"."""
    if not trends:
        return NOTHING
    said = []
    for each in trends:
        low, mean, high = (form.format(scale * x) for x in (each.slope.low, each.slope.mean, each.slope.high))
        said.append(f"{mean} [{low}, {high}] in {label(each.base)}")
    return f"for a tenfold size {listed(said)}"


def _no_trend_as_the_report_s(findings: Findings) -> Found:
    trends = _trends(findings, CV + PD)
    found = f"percentage points of the CV {_slopes(trends, '{:+.1f}', 100)}"
    return found, any(each.rises and each.slope.high >= REPORTED_SLOPE for each in trends)


def _pd_falls(findings: Findings) -> Found:
    trends = _trends(findings, PD)
    return f"PD {_slopes(trends, '{:+.3f}')}", any(each.rises for each in trends)


def _none_ends_it(findings: Findings) -> Found:
    """By the verdict over all activations, and that without each one that was added or is gated."""
    cells = findings.models["minigpt"]
    over_all = next(each for each in findings.sensitivities(PD) if each.model == "minigpt")
    found = f"over {over_all.n_activations} activations MiniGPT's verdict is: {over_all.verdict}"
    if over_all.verdict is not EffectVerdict.MATTERS:
        return found, False
    ended = [
        name
        for name in ("swiglu", *ADDED)
        if omnibus.sensitivities([cell for cell in cells if cell.activation != name], (PD,))[PD][0].verdict
        is not EffectVerdict.MATTERS
    ]
    return f"{found}, {f'but not without {listed(map(label, ended))}' if ended else 'without any one too'}", bool(
        ended
    )


EXPECTATIONS = {
    "parts": (
        Expectation(
            1,
            "No part makes CharLM sensitive: no variant of CharLM, nor CharLM, is matters by relative PD.",
            "Wrong if one is.",
            _no_part_makes_sensitive,
            OF_CHARLM,
        ),
        Expectation(
            2,
            "No variant of CharLM lowers or raises the CV of relative PD in a way that is shown.",
            "Wrong if two or more do.",
            _no_part_moves_the_cv,
        ),
        Expectation(
            3,
            "Parts move PD itself: at least two of the four variants of CharLM in parts differ from it, shown, in "
            "relative PD.",
            "Wrong if none does.",
            _parts_move_pd,
        ),
        Expectation(
            4,
            "Recurrence does not make sensitive: neither TinyLSTM nor a variant is matters.",
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
