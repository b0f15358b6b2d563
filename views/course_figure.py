"""The figure of the verdict over training: how much PD depends on the activation, at every evaluation."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import plot_utils as plots
from analysis.findings import Findings
from analysis.omnibus import Sensitivity
from analysis.stats_many import MARGIN
from labels import label
from views.drawing import Kind

Course = Sequence[tuple[int, Sensitivity]]  # of one architecture: training steps and what the rule says after them


def courses(findings: Findings) -> Mapping[str, Course]:
    """By architecture, the evaluations at which its activations are tested."""
    found: dict[str, list[tuple[int, Sensitivity]]] = {}
    for moment in findings.course:
        for each in moment.sensitivities:
            if each.tested:
                found.setdefault(each.model, []).append((moment.step, each))
    return found


def plot_course(ax: Axes, course: Course) -> Axes:
    """The CV of PD in percent at every evaluation: the point is the one observed, filled where a difference is shown,
    the bar bounds the one without noise."""
    for step, found in course:
        low, high = 100 * found.cv.low, 100 * found.cv.high
        ax.plot([step, step], [low, high], "-_", color=plots.DARK, lw=1.6, ms=8, zorder=2)
        fill = plots.DARK if found.shown else "white"
        ax.plot(step, 100 * found.cv.mean, "o", color=fill, mec=plots.DARK, mew=1.4, ms=7, zorder=3)
    ax.axhline(100 * MARGIN, color=plots.GREY, lw=1, ls=":", zorder=1)
    return plots.step_ticks(ax, [step for step, _ in course])


def verdict_over_training(findings: Findings, colours: dict[str, str]) -> Figure:
    """A panel for each architecture, all with the same axes."""
    found = courses(findings)
    figure = Figure(figsize=(plots.WIDTH, plots.panel_height(len(found), 2.7) + 0.6))
    axes = plots.panels(figure, len(found), sharex=True, sharey=True)
    for ax, (model, course) in zip(axes, found.items(), strict=True):
        plot_course(ax, course).set_title(label(model))
    axes[0].set_ylim(bottom=0)
    plots.outer_labels(axes, "training step", "CV of PD (%)")
    figure.suptitle(
        f"How much PD depends on the activation, at each evaluation, {plots.study_and_trials(findings.measured)}\n"
        f"bar: 95 % interval without noise; filled: a difference is shown; dotted: the margin of {100 * MARGIN:.0f} %"
    )
    return figure


COURSE_FIGURE = Kind(
    "verdict_over_training",
    "how much PD depends on the activation at each evaluation, beside the margin",
    lambda findings: any(len(course) > 1 for course in courses(findings).values()),
    verdict_over_training,
)
