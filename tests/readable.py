"""Whether a figure can be read: nothing in it is cut off, overlaps or covers what it should not."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

import plot_utils


def check_readable(figure: Figure) -> None:
    """Everything lies inside the figure, no text is small, tick labels keep apart, and legends cover nothing."""
    with plot_utils.project_style():
        figure.draw_without_rendering()
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert drawn.x0 > -0.01 and drawn.y0 > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 9
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            check_apart(axis)
        if axes.get_legend():
            check_uncovered(axes)
    for legend in figure.legends:
        frame = legend.get_window_extent()
        assert not any(frame.overlaps(axes.get_window_extent()) for axes in figure.findobj(Axes))


def check_apart(axis: Axis) -> None:
    low, high = sorted(axis.get_view_interval())
    labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [label for label in labels if label.get_visible() and label.get_text() and label.get_rotation() == 0]
    for first, second in itertools.pairwise(shown):
        assert not first.get_window_extent().overlaps(second.get_window_extent()), second.get_text()


def check_uncovered(axes: Axes) -> None:
    """The legend of the axes covers no point of any line of theirs."""
    frame = axes.get_legend().get_window_extent()
    for line in axes.lines:
        points = line.get_transform().transform(line.get_xydata())
        assert not any(frame.contains(*point) for point in points if np.isfinite(point).all())
