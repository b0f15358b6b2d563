"""What the docs and the README say of the committed studies: every number of their templates, as a text."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from analysis import answer, contexts, registered
from analysis.course import cells_at, loss_at, shared_steps
from analysis.differences import Difference
from analysis.expectation import Outcome
from analysis.findings import Findings, When
from analysis.loss_alone import caveat
from analysis.measure import MeasuredCell, by_model, spread_over
from analysis.metrics_compared import spearman_within
from analysis.rates import RateEffect
from analysis.registration import REGISTERED
from analysis.robustness_tables import saving
from analysis.table import Column, Row, Table, p_text, plain, with_interval
from analysis.tables import TABLES
from audit import tables as audit_tables
from audit.numbers import find_section, printed_values
from audit.ours import Ours
from labels import counted, label, listed
from views import domain_tables, simulation_tables
from views.drawing import Drawing, Level
from views.figures import UNNAMED_STUDIES, drawings, is_published
from views.render import render

MINUS = "\N{MINUS SIGN}"
GALLERY = (
    "trained",
    "reference",
    "modern",
    "parts",
    "gated",
    "sizes",
    "attention_dropout",
    "attention_dropout",
    "cpu",
)  # the published studies, in the order of the gallery


class Numbers:
    """What the templates ask for; every answer is a text."""

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
        return _duration(
            sum(cell.training_seconds + cell.evaluation_seconds for cell in self.findings(study).measured)
        )

    def cost_with_pilots(self, *studies: str) -> str:
        """How long these studies took so far, without cells that were copied; of some pilots the training alone."""
        trained = [each["trials"] for each in self.contents if each["study"] in studies and "taken_from" not in each]
        files = [self.root / "results" / "pilots" / f"{study}.json" for study in studies]
        piloted = [json.loads(path.read_text())["pilots"] for path in files if path.exists()]
        trials = [trial for group in (*trained, *piloted) for trial in group]
        return _duration(sum(trial.get("training_time", 0) + trial.get("evaluation_time", 0) for trial in trials))

    def is_there(self, study: str) -> bool:
        return any(each["study"] == study for each in self.contents)

    def has_figure(self, study: str, kind: str) -> bool:
        return self.is_there(study) and any(each.kind == kind for each in published_drawings(self.findings(study)))

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
            if not self.is_there(study) or self._outcome(study, number) is Outcome.OPEN
        ]
        return f" Not answered yet: {listed(waiting)}." if waiting else ""

    def _outcome(self, study: str, number: int) -> Outcome | None:
        found = registered.judged(self.findings(study))
        return next((outcome for each, _, outcome in found if each.number == number), None)

    def at_one_rate(self, study: str) -> str:
        """The variants that were trained at their parent's learning rate too, or nothing."""
        models = dict.fromkeys(each.model for each in self.findings(study).part_effects_at_one_rate)
        return listed(map(label, models)) if models else ""

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

    def not_there(self, *studies: str) -> str:
        """Those that have no result, such as "`gated` and `sizes`", or nothing."""
        names = [f"`{study}`" for study in studies if not self.is_there(study)]
        return listed(names) if names else ""

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

    def not_good_enough(self, study: str) -> str:
        """A sentence on the architectures whose loss is above what was registered as good enough, or nothing."""
        said = [
            f"{label(each.sensitivity.model)} ({each.short} of {counted(len(each.cells), 'cell')})"
            for each in answer.architecture_answers(self.findings(study))
            if each.short
        ]
        return f" Not trained as far as intended: {listed(said)}." if said else ""

    def equal_loss_caveat(self, study: str) -> str:
        return caveat(self.findings(study).loss_alone)

    def saving(self, study: str) -> str:
        return saving(self.findings(study))

    def loss_alone(self, study: str) -> str:
        """The range over architectures of R^2 of loss and log step."""
        return _range([each.r_squared for each in self.findings(study).loss_alone], "{:.2f}")

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
            percent = _range([100 * each.relative_pd.relative for each in effects], "{:.1f}").replace("-", MINUS)
            n_shown = sum(bool(each.relative_pd.shown) for each in effects)
            times = "doubling the learning rate" if factor == 2 else f"a learning rate {factor:g} times as high"
            said.append(f"{times} changes PD by {percent} %, shown in {n_shown} of {counted(len(effects), 'cell')}")
        return "; ".join(said)

    def expectations(self, study: str) -> str:
        """How many of the registered expectations had each outcome, such as "5 not shown wrong and 3 wrong"."""
        outcomes = Counter(outcome for _, _, outcome in registered.judged(self.findings(study)))
        return listed(f"{n} {outcome}" for outcome, n in outcomes.items())

    def expectation(self, study: str, number: int) -> str:
        """What was found of one of them, such as "ReLU has the lower PD in 9 of 9 pairs shown"."""
        return next(found for each, found, _ in registered.judged(self.findings(study)) if each.number == number)

    def n_unsettled(self, study: str) -> str:
        """Such as "21 of 36 cells": in how many the loss still fell."""
        known = [cell.settled() for cell in self.findings(study).measured]
        return f"{known.count(False)} of {counted(len(known), 'cell')}"

    def losses(self, study: str) -> str:
        """The range over cells of the mean loss, such as "1.84 to 2.45"."""
        return _range([cell.mean("val_loss") for cell in self.findings(study).measured], "{:.2f}")

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
        fall = f", and then falls by {_range(falls, '{:.1f}')} %" if falls else ""
        return f"In {len(falls)} of {total} it is highest before the end{fall}: {'; '.join(said)}."

    def with_loss(self, study: str, metric: str, without: str | None = None, within: bool = False) -> str:
        """The rank correlation of the loss and a metric over all cells, or those ``without`` an architecture, or
        ``within`` architectures; such as "\N{MINUS SIGN}0.59 [...]"."""
        models = {model: cells for model, cells in self.findings(study).models.items() if model != without}
        groups = [*models.values()] if within else [[cell for cells in models.values() for cell in cells]]
        values = [np.array([(cell.mean("val_loss"), cell.mean(metric)) for cell in cells]).T for cells in groups]
        return with_interval(2)(spearman_within(values)).replace("-", MINUS)

    def with_rate(self, study: str) -> str:
        """The rank correlation of PD and the learning rate within architectures, where cells differ in it."""
        groups = [
            np.array([(cell.config["learning_rate"], cell.mean("relative_pd")) for cell in cells]).T
            for cells in self.findings(study).models.values()
        ]
        return with_interval(2)(spearman_within(groups)).replace("-", MINUS)

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
                    "verdict": f"{each.verdict}{'; not trained as far as intended' if each.short else ''}",
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
        return _range([cell.mean("val_loss") for cell in self.findings(study).models[model]], "{:.2f}")

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
        for each in self.findings(study).differences(metric, when):
            if each.model == model and {each.activation, each.other} == {first, second}:
                return each if each.activation == first else each.reversed
        raise KeyError((study, model, first, second))

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

    def cv_range(self, *studies: str) -> str:
        """Of PD over activations, from the architecture with the lowest to that with the highest: "1.1 to 2.4 %"."""
        found = [each for study in studies for each in self.findings(study).sensitivities("relative_pd", When.END)]
        return f"{_range([100 * each.cv.mean for each in found], '{:.1f}')} %"

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
        return _range([contexts.on_contexts(cell)[f"{kind}_{metric}"] for cell in cells], form)

    def printed(self, section: str, quantity: str, form: str = "{:.0f}", scale: float = 1) -> str:
        """The range over activations of what the report prints, times ``scale``."""
        values = printed_values(find_section(self.report, section))
        return _range([scale * value[quantity] for value in values.values()], form)

    def control_share(self, study: str, varies: str, metric: str = "relative_pd") -> str:
        """The range over architectures of a control's mean as a share of that of everything, such as "90 to 99 %"."""
        findings = self.findings(study)
        whole = {(cell.model, cell.activation): cell.mean(metric) for cell in findings.measured}
        shares = [
            100 * each.cell.mean(metric) / whole[each.cell.model, each.cell.activation]
            for each in findings.controls
            if each.varies == varies
        ]
        return f"{_range(shares, '{:.0f}')} %"

    # ------------------------------------------------ the report, and speed

    @cached_property
    def ours(self) -> Ours:
        return Ours(self.contents, self.findings)

    def audit_outcome(self) -> list[tuple[str, str]]:
        return audit_tables.outcome(self.report, self.ours)

    def audit_numerals(self) -> int:
        return sum(len(each["numerals"]) for each in self.report["numerals"])

    def audit_hypotheses(self) -> str:
        return _in_markdown([audit_tables.hypotheses_table(self.ours)])

    def audit_numbers(self) -> str:
        return _in_markdown(audit_tables.number_tables(self.report, self.ours))

    def audit_claims(self) -> str:
        return _in_markdown(audit_tables.claim_tables(self.report, self.ours))

    def audit_introduction(self) -> list[str]:
        return audit_tables.introduction(self.ours)

    def benchmark(self, name: str) -> dict:
        """What a benchmark measured when it was run last, from ``benchmarks/results/``."""
        return json.loads((self.root / "benchmarks" / "results" / f"{name}.json").read_text())

    def processor(self, benchmark: str) -> str:
        """Where a benchmark was run last."""
        found = self.benchmark(benchmark)["environment"]
        return f"{found['processor']} with {found['cpu_capability']}"

    def speed_goals(self) -> str:
        """Which of the goals of training's speed are reached, and where ours is the slower loop, in sentences."""
        rows = self.benchmark("bench_training")["results"]
        ratios = {row["name"].replace(", small", " at the small shape"): row["ours_to_obvious"] for row in rows}
        goals = dict(zip(ratios, (row["goals"]["ours"] for row in rows), strict=True))
        missed = [name for name, ratio in ratios.items() if ratio < goals[name]]
        if not missed:
            return "Every goal is reached."
        reached = [name for name in ratios if name not in missed]
        slower = [name for name in missed if ratios[name] < 1]
        said = f"The goal is missed for {listed(missed)}"
        said += f" (of {listed(reached)} it is reached)." if reached else "."
        return f"{said} Ours is the slower loop for {listed(slower)}." if slower else said

    def evaluation_share(self, study: str, number: int) -> str:
        """The share of the time of a study's trials of this ``number`` that is not training, in percent."""
        trials = [t for cell in self.findings(study).measured for t in cell.trials if t["trial"] == number]
        outside = sum(trial["evaluation_time"] for trial in trials)
        return f"{100 * outside / (outside + sum(trial['training_time'] for trial in trials)):.0f} %"

    def simulated(self, name: str) -> str:
        """One of the tables of ``simulation_tables``, from the committed record."""
        tables: dict[str, Callable[[dict], Table]] = {
            "goals": simulation_tables.goals,
            "missed": simulation_tables.missed,
            "power": simulation_tables.power,
            "verdicts": simulation_tables.verdicts,
        }
        return render(tables[name](self.benchmark("coverage")), "github").rstrip()

    def cv_covered_too_often(self) -> str:
        return simulation_tables.too_often(self.benchmark("coverage"))

    def domains(self, name: str) -> str:
        """One of the tables of ``domain_tables``, from the committed record."""
        return render(domain_tables.TABLES[name](self.benchmark("domains")), "github").rstrip()

    def domain_sentences(self) -> list[str]:
        return domain_tables.sentences(self.benchmark("domains"))

    def domain_sizes(self) -> str:
        """The range of their parameters, such as "730 to 8,803"."""
        found = [domain["parameters"].values() for domain in self.benchmark("domains")["domains"].values()]
        return _range([n for values in found for n in values], "{:,}")

    def domain_seeds(self) -> str:
        """The range over domains of the seeds that would show a difference of 10 %."""
        return _range([domain["seeds_needed"] for domain in self.benchmark("domains")["domains"].values()], "{:,}")

    # ------------------------------------------------ figures

    def gallery(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Titles and paths of each published study's committed figures, but for those of cells, under a heading."""
        return [
            (
                f"Study {study}",
                [
                    (drawing.title, f"plots/{drawing.name}.png")
                    for drawing in published_drawings(self.findings(study))
                    if drawing.level is not Level.CELL
                ],
            )
            for study in in_gallery(self.contents)
        ]


def in_gallery(contents: list[dict]) -> list[str]:
    """Those of ``GALLERY`` of which there are cells."""
    there = {each["study"] for each in contents}
    return [study for study in GALLERY if study in there]


def published_drawings(findings: Findings) -> list[Drawing]:
    """The figures of a published study that are committed."""
    named = findings.study not in UNNAMED_STUDIES
    return [drawing for drawing in drawings(findings, named) if is_published(drawing, findings.study)]


def _in_markdown(tables: list[Table]) -> str:
    """The tables without the padding of their cells, which would be most of a page with long ones."""
    text = "\n\n".join(render(table, "github").rstrip() for table in tables)
    return re.sub("-{4,}", "---", re.sub(" {2,}", " ", text))


def _signed(difference: Difference) -> str:
    estimate = difference.estimate
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]".replace("-", MINUS)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"


def _range(values: list, form: str) -> str:
    known = [value for value in values if value is not None]
    low, high = form.format(min(known)), form.format(max(known))
    return low if low == high else f"{low} to {high}"
