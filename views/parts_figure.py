"""The figure of variants: which part moves what, against the architecture that has it."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import plot_utils as plots
from analysis.findings import Findings
from analysis.stats_many import ALPHA
from analysis.variants import QUANTITIES, PartEffect, is_cv, quantity_label
from labels import label, listed
from views.drawing import Kind

COLUMNS = 4
LINEAR, FAR = 100, 500  # percent: up to where an axis is linear, and beyond which it is logarithmic
TESTED, DESCRIBED = plots.DARK, "#8899AA"


def plot_effects(ax: Axes, effects: Sequence[PartEffect], rows: Sequence[str]) -> Axes:
    """A row for each variant: by how much its value lies above the parent's, in percent of that or, of a CV, in
    percentage points."""
    ax.axvline(0, color=plots.GREY, lw=1)
    for each in effects:
        colour = DESCRIBED if each.shown is None else TESTED
        place = rows.index(each.model)
        plots.plot_estimate(ax, place, each.percent, colour, horizontal=True, filled=bool(each.shown))
    other_rate = {each.model: each.rates[0] for each in effects if each.other_rate}
    names = [label(name) + (f"\nlearning rate {other_rate[name]:g}" if name in other_rate else "") for name in rows]
    percentage_points = any(is_cv(each.quantity) for each in effects)
    ax.set_xlabel("percentage points" if percentage_points else "% of the parent's")
    if any(abs(bound) > FAR for each in effects for bound in (each.percent.low, each.percent.high)):
        ax.set_xscale("symlog", linthresh=LINEAR)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel(f"% of the parent's\n(logarithmic beyond {LINEAR})")
    else:
        plots.few_ticks(ax, x=4)
    return plots.name_rows(ax, names)


def parts(findings: Findings, _: dict[str, str]) -> Figure:
    """A panel for each quantity."""
    effects = findings.part_effects
    rows = list(dict.fromkeys(each.model for each in effects))
    shown = [name for name in QUANTITIES if any(each.quantity == name for each in effects)]
    height = plots.panel_height(len(shown), 1.2 + 0.3 * len(rows), COLUMNS)
    figure = Figure(figsize=(plots.WIDTH, height + 1.2))
    axes = plots.panels(figure, len(shown), COLUMNS, sharey=True)
    for ax, quantity in zip(axes, shown, strict=True):
        plot_effects(ax, [each for each in effects if each.quantity == quantity], rows)
        ax.set_title(quantity_label(quantity).replace(", ", ",\n"), size=9)
    look: plots.Look = {"ls": "", "marker": "D", "ms": 6}
    legend = [
        Line2D([], [], color=TESTED, mec="black", label=f"shown, p at most {ALPHA:g} (Holm)", **look),
        Line2D([], [], color=TESTED, mfc="white", label="tested, not shown", **look),
        Line2D([], [], color=DESCRIBED, mfc="white", label="description, not tested", **look),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=3)
    parents = listed(label(name) for name in dict.fromkeys(each.parent for each in effects))
    rates = (
        " Where a learning rate is named, it differs from the parent's." if any(e.other_rate for e in effects) else ""
    )
    figure.suptitle(
        f"What each part moves: variants against {parents}, with 95 % intervals\n"
        f"{plots.study_and_trials(findings.measured)}.{rates}"
    )
    return figure


PARTS_FIGURE = Kind(
    "parts",
    "what each variant's loss, PD, its CV and the landscape are against its parent's",
    lambda findings: bool(findings.part_effects),
    parts,
)
