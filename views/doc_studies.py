"""What the docs and the README say of a committed study: its words, tables and single numbers, each as a text."""

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from analysis import answer, contexts
from analysis.course import cells_at, loss_at, shared_steps
from analysis.differences import Difference, between
from analysis.equal_loss import When
from analysis.expected_trained import SMOOTH
from analysis.findings import Findings
from analysis.loss_alone import caveat
from analysis.measure import MeasuredCell, by_model, spread_over
from analysis.metrics_compared import spearman_within
from analysis.rates import RateEffect
from analysis.robustness_tables import saving
from analysis.table import Column, Row, Table, p_text, plain, with_interval
from analysis.tables import TABLES
from analysis.variant_tables import SHORT
from audit.numbers import find_section, printed_values
from labels import counted, label, listed
from views.render import render

MINUS = "\N{MINUS SIGN}"


class StudyNumbers:
    """Every answer is a text about the study of that name among ``contents``."""

    smooth = SMOOTH

    def __init__(self, contents: list[dict], report: dict, root: Path):
        self.contents, self.report, self.root = contents, report, root

    @cache  # noqa: B019  (lives as long as the command)
    def findings(self, study: str) -> Findings:
        return Findings.of_study(self.contents, study)

    # ------------------------------------------------ words

    def headline(self, study: str) -> str:
        return answer.headline(self.findings(study))

    def sentences(self, study: str) -> list[str]:
        return answer.sentences(self.findings(study))

    def scope(self, study: str) -> str:
        return answer.scope(self.findings(study))

    def cost(self, study: str) -> str:
        """How long all trials of a study took together, on one core each."""
        return duration(
            sum(cell.training_seconds + cell.evaluation_seconds for cell in self.findings(study).measured)
        )

    def course(self, study: str) -> str:
        """In how many architectures a difference, however small, is shown at each evaluation after the first.

        Such as "1 of 6 architectures after 200 and 400 steps and 2 after 300 steps", by number.
        """
        steps: dict[int, list[str]] = {}
        for moment in self.findings(study).course:
            if moment.step > 0:
                steps.setdefault(sum(each.shown for each in moment.sensitivities), []).append(str(moment.step))
        total = f" of {counted(len(self.findings(study).models), 'architecture')}"
        return listed(
            f"{n}{'' if place else total} after {listed(at)} steps"
            for place, (n, at) in enumerate(sorted(steps.items()))
        )

    def other_primary(self, study: str) -> str:
        return " ".join(answer.other_primary(self.findings(study)))

    def equal_loss_caveat(self, study: str) -> str:
        return caveat(self.findings(study).loss_alone)

    def saving(self, study: str) -> str:
        return saving(self.findings(study))

    def loss_alone(self, study: str) -> str:
        """The range over architectures of R^2 of loss and log step."""
        return span([each.r_squared for each in self.findings(study).loss_alone], "{:.2f}")

    def by_rate(self, study: str) -> str:
        """For each architecture whose cells differ in learning rate, PD's mean over the cells at each.

        Such as "0.818 at 0.004 and 0.843 at 0.008 (Swish and SwiGLU) in CharLM"; named are those of the rarer rate.
        """
        said = []
        for model, cells in self.findings(study).models.items():
            rates: dict[float, list[MeasuredCell]] = {}
            for cell in sorted(cells, key=lambda cell: cell.config["learning_rate"]):
                rates.setdefault(cell.config["learning_rate"], []).append(cell)
            fewest = min(map(len, rates.values()))
            parts = [
                f"{spread_over(found, 'relative_pd').mean:.3f} at {rate:g}"
                + (f" ({listed(label(cell.activation) for cell in found)})" if len(found) == fewest else "")
                for rate, found in rates.items()
            ]
            said += [f"{listed(parts)} in {label(model)}"] if len(rates) > 1 else []
        return "; ".join(said)

    def rate_effect(self, study: str) -> str:
        """Such as "doubling the learning rate changes PD by 0.4 to 4.4 %, shown in 3 of 5 cells", for each factor."""
        by_factor: dict[float, list[RateEffect]] = {}
        for each in self.findings(study).rate_effects:
            by_factor.setdefault(round(each.high / each.low, 3), []).append(each)
        said = []
        for factor, effects in sorted(by_factor.items()):
            percent = span([100 * each.relative_pd.relative for each in effects], "{:.1f}")
            n_shown = sum(bool(each.relative_pd.shown) for each in effects)
            times = "doubling the learning rate" if factor == 2 else f"a learning rate {factor:g} times as high"
            said.append(f"{times} changes PD by {percent} %, shown in {n_shown} of {counted(len(effects), 'cell')}")
        return with_minus("; ".join(said))

    def n_unsettled(self, study: str) -> str:
        """Such as "21 of 36 cells": how many have not settled."""
        known = [cell.settled() for cell in self.findings(study).measured]
        return f"{known.count(False)} of {counted(len(known), 'cell')}"

    def losses(self, study: str, models: Container[str] = ()) -> str:
        """The range over cells, of ``models`` or all, of the mean loss, such as "1.84 to 2.45"."""
        measured = self.findings(study).measured
        return span([cell.mean("val_loss") for cell in measured if not models or cell.model in models], "{:.2f}")

    def untrained(self, study: str) -> str:
        """In how many architectures PD before any training is above that at the first evaluation after it."""
        findings = self.findings(study)
        before, after = (by_model(cells_at(findings.measured, step)) for step in shared_steps(findings.measured)[:2])
        higher = sum(
            spread_over(before[model], "relative_pd").mean > spread_over(after[model], "relative_pd").mean
            for model in findings.models
        )
        return f"{higher} of {len(findings.models)}"

    def peaks(self, study: str) -> str:
        """In how many architectures PD, as a mean over activations, is highest before the end, and each one's course.

        Such as "In 1 of 2 architectures it is highest before the end, and then falls by 2.0 %: in CharLM from 0.242
        at step 0 to 0.844 at step 1000 (loss 1.885) and 0.827 at the end (loss 1.710); in ConvLM ...".
        """
        found = self.findings(study)
        by_step = {step: by_model(cells_at(found.measured, step)) for step in shared_steps(found.measured)}
        falls, said = [], []
        for model in found.models:
            pd = {step: spread_over(cells[model], "relative_pd").mean for step, cells in by_step.items()}
            loss = {step: loss_at(found.models[model], step) for step in by_step}
            first, peak, last = min(pd), max(pd, key=lambda step: pd[step]), max(pd)
            at_end = f"{pd[last]:.3f} at the end (loss {loss[last]:.3f})"
            if peak != last:
                falls.append(100 * (1 - pd[last] / pd[peak]))
                at_end = f"{pd[peak]:.3f} at step {peak} (loss {loss[peak]:.3f}) and {at_end}"
            said.append(f"in {label(model)} from {pd[first]:.3f} at step {first} to {at_end}")
        total = counted(len(found.models), "architecture")
        fall = f", and then falls by {span(falls, '{:.1f}')} %" if falls else ""
        return f"In {len(falls)} of {total} it is highest before the end{fall}: {'; '.join(said)}."

    def with_loss(self, study: str, metric: str, without: str | None = None, within: bool = False) -> str:
        """The rank correlation of the loss and a metric over all cells, or those ``without`` an architecture, or
        ``within`` architectures; such as "\N{MINUS SIGN}0.59 [...]"."""
        models = {model: cells for model, cells in self.findings(study).models.items() if model != without}
        groups = [*models.values()] if within else [[cell for cells in models.values() for cell in cells]]
        values = [np.array([(cell.mean("val_loss"), cell.mean(metric)) for cell in cells]).T for cells in groups]
        return with_minus(with_interval(2)(spearman_within(values)))

    def with_rate(self, study: str) -> str:
        """The rank correlation of PD and the learning rate within architectures, where cells differ in it."""
        groups = [
            np.array([(cell.config["learning_rate"], cell.mean("relative_pd")) for cell in cells]).T
            for cells in self.findings(study).models.values()
        ]
        return with_minus(with_interval(2)(spearman_within(groups)))

    def better_elsewhere(self, study: str) -> str:
        """A sentence on the cells whose loss is shown to be lower at another learning rate, if there are any."""
        said = []
        for each in self.findings(study).rate_effects:
            pd, loss = each.relative_pd, each.val_loss.estimate
            at_high = self.cell(study, pd.model, pd.activation).config["learning_rate"] == each.high
            gain = loss.low if at_high else -loss.high
            if gain > 0:
                rate = each.low if at_high else each.high
                said.append(f"{label(pd.activation)} in {label(pd.model)} at {rate:g}, by {abs(loss.mean):.3f} nats")
        return f" By unadjusted intervals, the loss is lower at another rate for {listed(said)}." if said else ""

    # ------------------------------------------------ tables

    def table(self, study: str, name: str, place: int | None = None, notes: bool = True, title: bool = True) -> str:
        """A table, or all of that name, in Markdown; whether ``title`` and ``notes`` are shown can be said."""
        tables = TABLES[name](self.findings(study))
        chosen = tables if place is None else [tables[place]]
        shown = chosen if notes else [replace(table, notes=()) for table in chosen]
        texts = ["#" + render(table, "github").rstrip() for table in shown]
        return "\n\n".join(texts if title else [text.partition("\n\n")[2] for text in texts])

    def side_by_side(self, study: str, other: str) -> str:
        """The verdict on every architecture of ``study`` there and in another study, with CV and loss."""
        rows: dict[str, Row] = {model: {"model": model} for model in self.findings(study).models}
        columns = [Column("Architecture", ("model",), label, numeric=False)]
        for name in (study, other):
            for each in answer.architecture_answers(self.findings(name)):
                found = {
                    "verdict": f"{each.verdict}{SHORT if each.short else ''}",
                    "cv": each.sensitivity.cv,
                    "loss": self._losses(name, each.model),
                    "unsettled": f"{each.unsettled} of {len(each.cells)}",
                }
                if each.model in rows:
                    rows[each.model] |= {f"{name}_{key}": value for key, value in found.items()}
            columns += [
                Column(f"Study {name}: loss", (f"{name}_loss",), plain),
                Column("not settled", (f"{name}_unsettled",), plain),
                Column("verdict", (f"{name}_verdict",), plain, numeric=False),
                Column("CV of PD (%)", (f"{name}_cv",), with_interval(1, 100)),
            ]
        return self._bare(render(Table("", tuple(columns), [*rows.values()]), "github"))

    def _losses(self, study: str, model: str) -> str:
        return span([cell.mean("val_loss") for cell in self.findings(study).models[model]], "{:.2f}")

    @staticmethod
    def _bare(rendered: str) -> str:
        return "\n".join(line for line in rendered.splitlines() if line.startswith("|"))

    # ------------------------------------------------ single numbers

    def difference(
        self, study: str, model: str, first: str, second: str, metric: str = "relative_pd", when: When = When.END
    ) -> str:
        """Such as "0.075 [0.050, 0.101]": a metric with the first activation minus that with the second."""
        return _signed(self._difference(study, model, first, second, metric, when))

    def _difference(self, study: str, model: str, first: str, second: str, metric: str, when: When) -> Difference:
        found = between(self.findings(study).differences(metric, when), model, first, second)
        if found is None:
            raise KeyError((study, model, first, second))
        return found

    def shown(self, study: str, first: str, second: str, metric: str, when: When = When.END) -> str:
        """For each architecture in which it is shown, the difference of a metric between two activations.

        Such as "0.075 [0.050, 0.101] in CharLM and 0.026 [0.019, 0.032] in ConvLM".
        """
        models = self.findings(study).models
        found = [self._difference(study, model, first, second, metric, when) for model in models]
        texts = [f"{_signed(each)} in {label(each.model)}" for each in found if each.shown]
        return listed(texts) if texts else "shown in no architecture"

    def cell(self, study: str, model: str, activation: str) -> MeasuredCell:
        return next(cell for cell in self.findings(study).models[model] if cell.activation == activation)

    def mean(self, study: str, model: str, activation: str, metric: str = "relative_pd") -> str:
        return f"{self.cell(study, model, activation).mean(metric):.3f}"

    def cv_without_noise(self, study: str, model: str, metric: str = "relative_pd", when: When = When.END) -> str:
        """Such as "5.3 to 14.1 %"."""
        found = next(each for each in self.findings(study).sensitivities(metric, when) if each.model == model)
        return f"{100 * found.cv.low:.1f} to {100 * found.cv.high:.1f} %"

    def cv_range(
        self,
        *studies: str,
        models: Container[str] = (),
        without: Container[str] = (),
        metric: str = "relative_pd",
    ) -> str:
        """Of a metric over activations, from the architecture with the lowest to that with the highest: "1.1 to
        2.4 %"; of ``models``, by default of all that are not in ``without``."""
        found = [each for study in studies for each in self.findings(study).sensitivities(metric, When.END)]
        asked = [each for each in found if (each.model in models if models else each.model not in without)]
        return f"{span([100 * each.cv.mean for each in asked], '{:.1f}')} %"

    def disagreement(self, study: str) -> str:
        """On how many of 100 next characters two models of a cell disagree, over cells, such as "18 to 24"."""
        return span([answer.mismatches_of_100(cell) for cell in self.findings(study).measured], "{:.0f}")

    def pd_range(self, study: str) -> str:
        """The range over cells of mean PD, such as "0.74 to 0.96"."""
        return span([cell.mean("relative_pd") for cell in self.findings(study).measured], "{:.2f}")

    def verdict(self, study: str, model: str, when: When = When.END) -> str:
        """The verdict on an architecture by PD, if it is there yet."""
        found = self.findings(study).sensitivities("relative_pd", when)
        return next((str(each.verdict) for each in found if each.model == model), "nothing yet")

    def lower_pd(self, these: Sequence[str], others: Sequence[str], *studies: str, models: Sequence[str] = ()) -> str:
        """Of the pairs of one of ``these`` with one of ``others``, in ``models`` or all, in how many the former has
        the lower PD, such as "6 of 6 shown (of 24)", or "none shown (of 15)"."""
        pairs = [
            self._difference(study, model, first, other, "relative_pd", When.END)
            for study in studies
            for model in models or self.findings(study).models
            for first in these
            for other in others
        ]
        shown = [each for each in pairs if each.shown]
        lower = f"{sum(each.estimate.mean < 0 for each in shown)} of {len(shown)}" if shown else "none"
        return f"{lower} shown (of {len(pairs)})"

    def pairs_shown(self, these: Sequence[str], others: Sequence[str], study: str, model: str) -> str:
        """The pairs of one of ``these`` and one of ``others`` in which a difference of PD is shown, with the former's
        minus the latter's, such as "SwiGLU and GELU (-3.8 %)", or "none"."""
        pairs = [self._difference(study, model, a, b, "relative_pd", When.END) for a in these for b in others]
        said = [
            f"{label(each.activation)} and {label(each.other)} ({with_minus(f'{100 * each.relative:+.1f}')} %)"
            for each in pairs
            if each.shown
        ]
        return listed(said) if said else "none"

    def rank(self, study: str, activation: str, metric: str, when: When = When.END) -> str:
        return f"{self._ranking(study, metric, when)[0].ranks[activation]:.1f}"

    def concordance(self, study: str, metric: str, when: When = When.END) -> str:
        """Kendall's W and the adjusted p of Friedman's test."""
        ranking, p = self._ranking(study, metric, when)
        return f"W = {ranking.w:.2f}, p {p_text(p)}"

    def _ranking(self, study: str, metric: str, when: When):
        return next(
            (ranking, p) for at, ranking, p in self.findings(study).rankings if (at, ranking.metric) == (when, metric)
        )

    def n_shown(self, study: str, metric: str = "relative_pd", when: When = When.END) -> str:
        """Such as "23 of 90"."""
        differences = self.findings(study).differences(metric, when)
        return f"{sum(bool(each.shown) for each in differences)} of {len(differences)}"

    # ------------------------------------------------ contexts and controls

    def contexts(
        self, study: str, model: str, kind: str, metric: str = "top1_mismatches", form: str = "{:.0f}"
    ) -> str:
        """The range over activations of a metric on "shared" or "different" contexts, such as "118 to 150"."""
        cells = self.findings(study).models[model]
        return span([contexts.on_contexts(cell)[f"{kind}_{metric}"] for cell in cells], form)

    def printed(self, section: str, quantity: str, form: str = "{:.0f}", scale: float = 1) -> str:
        """The range over activations of what the report prints, times ``scale``."""
        values = printed_values(find_section(self.report, section))
        return span([scale * value[quantity] for value in values.values()], form)

    def control_share(self, study: str, varies: str, metric: str = "relative_pd") -> str:
        """The range over architectures of a control's mean as a share of that of everything, such as "90 to 99 %"."""
        findings = self.findings(study)
        whole = {(cell.model, cell.activation): cell.mean(metric) for cell in findings.measured}
        shares = [
            100 * each.cell.mean(metric) / whole[each.cell.model, each.cell.activation]
            for each in findings.controls
            if each.varies == varies
        ]
        return f"{span(shares, '{:.0f}')} %"

    def evaluation_share(self, study: str, number: int) -> str:
        """The share of the time of a study's trials of this ``number`` that is not training, in percent."""
        trials = [t for cell in self.findings(study).measured for t in cell.trials if t["trial"] == number]
        outside = sum(trial["evaluation_time"] for trial in trials)
        return f"{100 * outside / (outside + sum(trial['training_time'] for trial in trials)):.0f} %"


def _signed(difference: Difference) -> str:
    estimate = difference.estimate
    return with_minus(f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]")


def with_minus(text: str) -> str:
    """With a minus sign before numbers below 0."""
    return re.sub(r"(?<!\w)-(?=\d)", MINUS, text)


def duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"


def span(values: list, form: str) -> str:
    known = [value for value in values if value is not None]
    low, high = form.format(min(known)), form.format(max(known))
    return low if low == high else f"{low} to {high}"
