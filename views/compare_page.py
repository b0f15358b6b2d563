"""One page about a comparison of groups of models: words, tables and one picture in one HTML file."""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from analysis.compared_shown import disagreements, header, scale, tables, words
from analysis.comparing import Compared
from analysis.predictions import MISMATCHES
from analysis.stats import Estimate
from labels import counted, listed
from plot_utils import GREY, WIDTH, activation_colours, few_ticks, name_rows, panels, plot_estimate, project_style
from views.drawing import Level
from views.page import Picture, shown_table, template
from views.save import figure_bytes

QUESTION = "How much do these models disagree?"
DRAWN = (MISMATCHES, "total_variation")
CAPTION = (
    "Mean over the pairs of models of each group, and of one model from each of two groups, with 95 % intervals."
)


def compare_page(compared: Compared, said: Sequence[str] | None = None, command: str = "compare.py") -> str:
    """The whole page; the same comparison gives the same text. ``said`` are the sentences of another ``command``."""
    names = listed(group.name for group in compared.groups)
    n_models = sum(group.n_models for group in compared.groups)
    return template("compare.html").render(
        question=QUESTION,
        names=names,
        scope=f"{counted(n_models, 'model')} on {compared.groups[0].n_samples:,} samples.",
        picture=Picture(CAPTION, Level.STUDY, figure_bytes(draw_groups(compared))),
        words=list(words(compared)) if said is None else said,
        command=command,
        tables=[shown_table(table) for table in tables(compared)],
        groups=compared.groups,
    )


def draw_groups(compared: Compared) -> Figure:
    """A row for each group, then for each two: mean top-1 mismatches and total variation, with their intervals."""
    metrics = [metric for metric in DRAWN if metric in compared.metrics]
    rows = [each for each in disagreements(compared) if each.metrics[MISMATCHES].known]
    colours = activation_colours(group.name for group in compared.groups)
    with project_style():
        figure = Figure(figsize=(WIDTH, 1.4 + 0.4 * len(rows)))
        for ax, metric in zip(panels(figure, len(metrics), sharey=True), metrics, strict=True):
            for place, each in enumerate(rows):
                colour = colours.get(each.name, GREY)
                plot_estimate(ax, place, _scaled(each.metrics[metric], scale(metric)[1]), colour, horizontal=True)
            ax.set_xlim(left=0)
            ax.set_xlabel(header(metric))
            few_ticks(ax, x=5)
            name_rows(ax, [_drawable(each.name) for each in rows])
    return figure


def _drawable(name: str) -> str:
    """A name that fonts have letters for, and no text between two $, which would be set as a formula."""
    return name.encode(errors="replace").decode().replace("$", r"\$")


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return replace(estimate, mean=factor * estimate.mean, low=factor * estimate.low, high=factor * estimate.high)
