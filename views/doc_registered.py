"""What the docs and the README say of what was registered: expectations, what is missing, what it took."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from analysis import answer, registered
from analysis.equal_loss import When, at_equal_loss
from analysis.expectation import NOTHING, Found, Outcome
from analysis.expected_parts import EXPECTATIONS, GATED, OF_CHARLM, RECURRENT, matters_in, shown_in
from analysis.omnibus import sensitivities
from analysis.registration import REGISTERED
from analysis.sizes import REPORTED_SLOPE, SizeTrend, size_trends
from analysis.variants import CV, part_effects
from config import ACTIVATIONS, PARENTS, base_name
from labels import label, listed
from views.doc_studies import StudyNumbers, duration, with_minus


class RegisteredNumbers(StudyNumbers):
    """Every answer is a text."""

    gated, recurrent, of_charlm = GATED, RECURRENT, OF_CHARLM
    other_five = tuple(name for name in ACTIVATIONS if name not in GATED)  # of the study's six

    def expectations(self, *studies: str) -> str:
        """How many of the registered expectations had each outcome, such as "5 not shown wrong and 3 wrong"."""
        there = filter(self.is_there, studies)
        outcomes = Counter(outcome for study in there for _, outcome in self._judged(study).values())
        return listed(f"{n} {outcome}" for outcome, n in outcomes.items())

    def expectation(self, study: str, number: int) -> str:
        """What was found of one of them, such as "ReLU has the lower PD in 9 of 9 pairs shown"."""
        found, _ = self._judged(study)[number]
        return with_minus(found)

    def is_open(self, study: str, number: int) -> bool:
        """Whether one of them waits for trials of the registered study."""
        return not self.is_there(study) or self._judged(study).get(number, NOTHING)[1] is Outcome.OPEN

    @cache  # noqa: B019  (lives as long as the command)
    def _judged(self, study: str) -> dict[int, Found]:
        """What was found of each expectation and its outcome, by number."""
        return {each.number: (found, outcome) for each, found, outcome in registered.judged(self.findings(study))}

    def largest_cv(self, study: str, number: int) -> str:
        """The largest upper limit of a CV of PD without noise, of the architectures that expectation ``number`` is
        about, such as "2.23 %"."""
        about, found = self._about(study, number), self.findings(study).sensitivities()
        return f"{100 * max(each.cv.high for each in found if each.tested and each.model in about):.2f} %"

    def effects_shown(self, study: str, quantity: str, *numbers: int) -> str:
        """In how many of the variants that these expectations are about a difference from their parent is shown,
        such as "shown in 1 of 4 variants (CharLM with one head: +3.1 % [2.0, 4.2])"."""
        about = self._about(study, *numbers)
        effects = [each for each in self.findings(study).part_effects if each.quantity == quantity]
        return with_minus(shown_in([each for each in effects if each.model in about]))

    @staticmethod
    def _about(study: str, *numbers: int) -> list[str]:
        """The architectures that these expectations are about."""
        return [model for each in EXPECTATIONS[study] if each.number in numbers for model in each.needs]

    def part_effect(self, study: str, model: str, quantity: str, at_one_rate: bool = False) -> str:
        """A variant's difference from its parent, such as "-1.0 % [-2.4, 0.4]", without its learning rate; or that at
        one learning rate, "not compared" where it was not trained so."""
        found = self.findings(study)
        effects = found.part_effects_at_one_rate if at_one_rate else found.part_effects
        asked = [each for each in effects if (each.model, each.quantity) == (model, quantity)]
        return with_minus(asked[0].change) if asked else "not compared"

    def part_effect_and_test(self, study: str, model: str, quantity: str) -> str:
        """As ``part_effect``, and whether it is shown."""
        effects = self.findings(study).part_effects
        shown = next(each.shown for each in effects if (each.model, each.quantity) == (model, quantity))
        return f"{self.part_effect(study, model, quantity)} ({'shown' if shown else 'not shown'})"

    def part_effect_at_equal_loss(self, study: str, model: str) -> str:
        """A variant's difference of PD from its parent, as ``part_effect`` has it, with all of both read where their
        loss was the highest at which any pair of their trials ended. Description."""
        both = [cell for cell in self.findings(study).measured if cell.model in (model, PARENTS[model])]
        matched = [each.matched for each in at_equal_loss(both, [both])]
        return next(with_minus(each.change) for each in part_effects(matched) if each.quantity == "relative_pd")

    def matters_in(self, study: str) -> str:
        """In how many architectures of a study PD depends on the activation."""
        findings = self.findings(study)
        return matters_in(findings, tuple(findings.models))[1]

    smallest = ("charlm@0.1M", "minigpt@0.1M")
    report_slope = f"{100 * REPORTED_SLOPE:.1f}"  # of its CV, in percentage points for a tenfold size

    def trend(
        self,
        study: str,
        quantity: str,
        without: Sequence[str] = (),
        when: When = When.END,
        named: bool = True,
    ) -> str:
        """The change for a tenfold size, such as "−0.083 [−0.091, −0.075] in CharLM", of CVs in percentage points;
        of the architectures that ``without`` has sizes of, without these. Architectures are ``named`` or in order."""
        trends = self._trends_without(study, tuple(without)) if without else self.findings(study).size_trends
        found = [each for each in trends if (each.quantity, each.when) == (quantity, when)]
        said = [f"{each.size} in {label(each.base)}" if named else each.size for each in found]
        return with_minus(listed(said)) if said else "an amount that was not measured"

    @cache  # noqa: B019  (lives as long as the command)
    def _trends_without(self, study: str, sizes: tuple[str, ...]) -> list[SizeTrend]:
        cells, bases = self.findings(study).measured, set(map(base_name, sizes))
        others = [cell for cell in cells if base_name(cell.model) in bases and cell.model not in sizes]
        # As of a study that is not registered: one that is has a trend with all its sizes only.
        return size_trends([replace(cell, content=cell.content | {"study": ""}) for cell in others])

    def trend_shown(self, study: str, quantity: str) -> str:
        """Where a change of a tested quantity with size is shown, such as "shown in CharLM, not in MiniGPT"."""
        found = [each for each in self.findings(study).size_trends if each.quantity == quantity and each.n_tests]
        shown = [label(each.base) for each in found if each.shown]
        others = [label(each.base) for each in found if not each.shown]
        if not shown:
            return f"not shown in {listed(others)}"
        return f"shown in {listed(shown)}" + (f", not in {listed(others)}" if others else "")

    def seeds_for_report(self, study: str) -> str:
        """With how many seeds a slope as large as the report's would be shown in each architecture, such as "6"."""
        return str(max(each.needed or 0 for each in self.findings(study).size_trends))

    def reported_trend(self, study: str) -> str:
        """What is said of a slope of the CV as large as the report's, such as "ruled out in CharLM and MiniGPT"."""
        where: dict[str, list[str]] = {}
        for each in self.findings(study).size_trends:
            if each.reported:
                where.setdefault(each.reported, []).append(label(each.base))
        return listed(f"{said} in {listed(names)}" for said, names in where.items())

    def cv_without(self, study: str, model: str, activation: str, metric: str) -> str:
        """The CV of a metric over the other activations of an architecture, such as "1.7 %"."""
        others = [cell for cell in self.findings(study).models[model] if cell.activation != activation]
        (found,) = sensitivities(others, (metric,))[metric]
        return f"{100 * found.cv.mean:.1f} %"

    def models_of(self, study: str) -> list[str]:
        """The architectures of which a study has cells."""
        return list(self.findings(study).models)

    def is_there(self, study: str) -> bool:
        return any(each["study"] == study for each in self.contents)

    def not_there(self, *studies: str) -> str:
        """Those that have no result, such as "`gated` and `sizes`", or nothing."""
        names = [f"`{study}`" for study in studies if not self.is_there(study)]
        return listed(names) if names else ""

    def missing(self, study: str) -> str:
        """What a registered study lacks, such as "CharLM with RMS norm (GELU and SwiGLU); TinyGRU (all)", or
        nothing."""
        config = REGISTERED[study].config
        there = {(each["model"], each["activation"]) for each in self.contents if each["study"] == study}
        said = []
        for model in config.models:
            lacking = [name for name in config.activations if (model, name) not in there]
            if lacking:
                names = "all" if len(lacking) == len(config.activations) else listed(map(label, lacking))
                said.append(f"{label(model)} ({names})")
        return "; ".join(said)

    def not_answered(self) -> str:
        """A sentence on what is registered in docs/preregistration_parts.md and waits for its trials, or nothing."""
        asked = {
            "recurrence": ("parts", 4),
            "gated activations": ("gated", 9),
            "size": ("sizes", 7),
            "attention dropout": ("attention_dropout", 6),
        }
        waiting = [
            what
            for what, (study, number) in asked.items()
            if self.is_open(study, number) or (study == "gated" and self.missing(study))
        ]
        return f"Registered, not answered yet: {listed(waiting)}." if waiting else ""

    def not_good_enough(self, study: str, *numbers: int) -> str:
        """A sentence on the cells that these expectations are about whose loss is too high, or nothing."""
        return " ".join(answer.not_good_enough(self.findings(study), self._about(study, *numbers)))

    def shared_verdict(self, study: str, metric: str = "relative_pd") -> str:
        """The one verdict on all architectures of a study; ValueError, for who then has to write another text, where
        there are several."""
        (verdict,) = {each.verdict for each in self.findings(study).sensitivities(metric)}
        return str(verdict)

    def verdicts(self, study: str, metric: str = "relative_pd") -> str:
        """The verdicts on all architectures of a study."""
        return answer.verdicts_of(self.findings(study).sensitivities(metric))

    def by_mismatches(self, study: str, *numbers: int) -> str:
        """The verdicts by top-1 mismatches on the architectures that these expectations are about."""
        about = self._about(study, *numbers)
        found = self.findings(study).sensitivities("top1_mismatches")
        return answer.verdicts_of([each for each in found if each.model in about])

    def at_one_rate(self, study: str, parent: str) -> str:
        """What PD is of the variants of ``parent`` that were compared with it at one learning rate too, or nothing.

        Such as "at 0.004, PD of CharLM with one head differs from CharLM's by +1.2 % [0.1, 2.3], and its CV by +0.1
        percentage points [-0.2, 0.4]".
        """
        found = {(each.model, each.quantity): each for each in self.findings(study).part_effects_at_one_rate}
        said = [
            f"at {each.rates[0]:g}, PD of {label(model)} differs from {label(parent)}'s by {each.size}, "
            f"and its CV by {found[model, CV + quantity].size}"
            for (model, quantity), each in found.items()
            if quantity == "relative_pd" and each.parent == parent
        ]
        return with_minus("; ".join(said))

    def cost_with_pilots(self, *studies: str) -> str:
        """How long these studies took so far, without cells that were copied; of some pilots the training alone."""
        trained = [each["trials"] for each in self.contents if each["study"] in studies and "taken_from" not in each]
        files = [self.root / "results" / "pilots" / f"{study}.json" for study in studies]
        piloted = [json.loads(path.read_text())["pilots"] for path in files if path.exists()]
        trials = [trial for group in (*trained, *piloted) for trial in group]
        return duration(sum(trial.get("training_time", 0) + trial.get("evaluation_time", 0) for trial in trials))
