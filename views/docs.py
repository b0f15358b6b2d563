"""The docs that hold numbers, and the README, written from the committed studies: templates filled with findings.

A template in ``docs/templates/`` calls the methods of ``Numbers``; what it does not call holds no number of ours.
"""

import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import answer, contexts, registered
from analysis.course import cells_at, shared_steps
from analysis.differences import Difference
from analysis.findings import Findings, When
from analysis.loss_alone import caveat
from analysis.measure import MeasuredCell, by_model, spread_over
from analysis.rates import RateEffect
from analysis.robustness_tables import saving
from analysis.table import Column, Row, Table, p_text, plain, with_interval
from analysis.tables import TABLES
from audit import tables as audit_tables
from audit.numbers import find_section, printed_values
from audit.ours import Ours
from config import MODELS
from labels import counted, in_order, label, listed
from views import domain_tables, simulation_tables
from views.drawing import Drawing, Level
from views.figures import UNNAMED_STUDIES, drawings, is_published
from views.render import render

TEMPLATES = Path("docs") / "templates"
README = "README.md"
WIDTH = 130
MINUS = "\N{MINUS SIGN}"
NOT_PROSE = ("#", "|", "<", "!", "```", "    ")  # how blocks begin whose lines are not to be filled
GALLERY = ("trained", "reference", "modern", "cpu")  # the published studies, in the order of the gallery


def pages(
    contents: list[dict], report: dict, root: Path, parameters: str, at_edge: dict[tuple[str, str], float]
) -> dict[str, str]:
    """Every page that has a template, by its path from ``root``; ``parameters`` is the table of model sizes,
    ``at_edge`` has the cells whose learning rate is at the edge of what pilots tried, with that rate."""
    environment = Environment(
        loader=FileSystemLoader(root / TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        numbers=Numbers(contents, report, root), parameters=parameters, at_edge=edge_of_grid(at_edge), When=When
    )
    names = sorted(path.name for path in (root / TEMPLATES).glob("*.md"))
    return {
        name if name == README else f"docs/{name}": wrapped(environment.get_template(name).render()) for name in names
    }


def edge_of_grid(cells: dict[tuple[str, str], float]) -> str:
    """Such as "0.016 in TinyLSTM (ReLU and GELU)", or nothing where there is no such cell."""
    found: dict[tuple[str, float], list[str]] = {}
    for (model, activation), rate in cells.items():
        found.setdefault((model, rate), []).append(label(activation))
    return "; ".join(f"{rate:g} in {label(model)} ({listed(names)})" for (model, rate), names in found.items())


def wrapped(markdown: str) -> str:
    """The paragraphs and list items of ``markdown`` in lines of at most ``WIDTH`` characters; all else as it is."""
    blocks, in_code = [], False
    for block in markdown.split("\n\n"):
        prose = not in_code and not block.lstrip().startswith(NOT_PROSE) and "```" not in block
        in_code ^= block.count("```") % 2 == 1
        blocks.append("\n".join(map(_filled, _items(block))) if prose else block)
    return "\n\n".join(blocks)


def _items(block: str) -> list[str]:
    """A paragraph, or each item of a list with the lines that continue it."""
    is_list = re.match(r"\n*(\* |\d+\. )", block)
    return re.split(r"\n(?=\* |\d+\. )", block) if is_list else [block]


def _filled(text: str) -> str:
    marker = re.match(r"\s*(\* |\d+\. )?", text)
    lines = textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        subsequent_indent=" " * len(marker.group(1) or "") if marker else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines + "\n" * (len(text) - len(text.rstrip("\n")))


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
        seconds = sum(cell.training_seconds + cell.evaluation_seconds for cell in self.findings(study).measured)
        return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"

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
        return _range([each.r_squared for each in self.findings(study).loss_alone], "{:.2f}")

    def n_complete(self, study: str) -> str:
        """Such as "2 of 6 architectures": those of which the registered study has every trial."""
        complete = registered.complete_models(self.findings(study))
        return f"{len(complete)} of {counted(len(MODELS), 'architecture')}"

    def by_rate(self, study: str) -> str:
        """For each architecture whose cells differ in learning rate, PD's mean over the cells at each.

        Such as "0.818 at 0.004 and 0.843 at 0.008 (Swish and SwiGLU) in CharLM"; named are those of the rarer rate.
        """
        said = []
        for model, cells in self.findings(study).models.items():
            rates: dict[float, list[MeasuredCell]] = {}
            for cell in sorted(cells, key=lambda cell: cell.config["learning_rate"]):
                rates.setdefault(cell.config["learning_rate"], []).append(cell)
            rarest = min(rates.values(), key=len)
            parts = [
                f"{spread_over(found, 'relative_pd').mean:.3f} at {rate:g}"
                + (f" ({listed(label(cell.activation) for cell in found)})" if found is rarest else "")
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
        """How many of the registered expectations had each outcome, such as "5 as expected and 3 wrong"."""
        outcomes = Counter(outcome for _, _, outcome in registered.judged(self.findings(study)))
        return listed(f"{n} {outcome}" for outcome, n in outcomes.items())

    def expectation(self, study: str, number: int) -> str:
        """What was found of one of them, such as "ReLU has the lower PD in 9 of 9 pairs shown"."""
        return next(found for each, found, _ in registered.judged(self.findings(study)) if each == number)

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
        """For each architecture PD's mean over activations before training, where it is highest, and at the end."""
        found = self.findings(study)
        by_step = {step: by_model(cells_at(found.measured, step)) for step in shared_steps(found.measured)}
        said = []
        for model in found.models:
            means = {step: spread_over(cells[model], "relative_pd").mean for step, cells in by_step.items()}
            first, peak, last = min(means), max(means, key=lambda step: means[step]), max(means)
            highest = f"is highest with {means[peak]:.3f} at step {peak}"
            at_end = "which is the end" if peak == last else f"and at the end is {means[last]:.3f}"
            said.append(f"in {label(model)} it is {means[first]:.3f} at step 0, {highest}, {at_end}")
        return "; ".join(said)

    # ------------------------------------------------ tables

    def table(self, study: str, name: str, place: int | None = None, notes: bool = True, title: bool = True) -> str:
        """A table, or all of that name, in Markdown; whether ``title`` and ``notes`` are shown can be said."""
        tables = TABLES[name](self.findings(study))
        chosen = tables if place is None else [tables[place]]
        shown = chosen if notes else [replace(table, notes=()) for table in chosen]
        texts = ["#" + render(table, "github").rstrip() for table in shown]
        return "\n\n".join(texts if title else [text.partition("\n\n")[2] for text in texts])

    def side_by_side(self, study: str, other: str) -> str:
        """The verdict on every architecture in two studies, with CV and loss."""
        rows: dict[str, Row] = {}
        columns = [Column("Architecture", ("model",), label, numeric=False)]
        for name in (study, other):
            for each in answer.architecture_answers(self.findings(name)):
                found = {
                    "verdict": f"{each.verdict}{'; not trained as far as intended' if each.short else ''}",
                    "cv": each.sensitivity.cv,
                    "loss": self._losses(name, each.model),
                    "unsettled": f"{each.unsettled} of {len(each.cells)}",
                }
                row = rows.setdefault(each.model, {"model": each.model})
                row |= {f"{name}_{key}": value for key, value in found.items()}
            columns += [
                Column(f"Study {name}: loss", (f"{name}_loss",), plain),
                Column("not settled", (f"{name}_unsettled",), plain),
                Column("verdict", (f"{name}_verdict",), plain, numeric=False),
                Column("CV of PD (%)", (f"{name}_cv",), with_interval(1, 100)),
            ]
        in_its_order = [rows[model] for model in in_order(rows)]
        return self._bare(render(Table("", tuple(columns), in_its_order), "github"))

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

    def control_share(self, study: str, varies: str) -> str:
        """The range over architectures of a control's PD as a share of that of everything, such as "90 to 99 %"."""
        shares = [100 * each.share for each in self.findings(study).controls if each.varies == varies]
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

    def simulated(self, name: str) -> str:
        """One of the tables of ``simulation_tables``, from the committed record."""
        tables: dict[str, Callable[[dict], Table]] = {
            "goals": simulation_tables.goals,
            "missed": simulation_tables.missed,
            "power": simulation_tables.power,
            "verdicts": simulation_tables.verdicts,
        }
        return render(tables[name](self.benchmark("coverage")), "github").rstrip()

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
            for study in GALLERY
        ]


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


def _range(values: list, form: str) -> str:
    known = [value for value in values if value is not None]
    low, high = form.format(min(known)), form.format(max(known))
    return low if low == high else f"{low} to {high}"
