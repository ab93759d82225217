"""The plots of a data set's card, as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moda.eval.page import COLOURS, STYLE, svg

BINS, ACROSS = 30, 3


@dataclass(frozen=True)
class Values:
    title: str
    values: Sequence[float]


def histograms(rows: Sequence[Values]) -> str:
    """One small histogram for each, three in a row; the outermost 0.5 % at both ends are drawn at the edge."""
    rows = [row for row in rows if len(row.values)]
    if not rows:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        down = -(-len(rows) // ACROSS)
        figure = Figure((10, 1.9 * down), layout="constrained")
        axes = figure.subplots(down, ACROSS, squeeze=False).ravel()
        for axis, row in zip(axes, rows, strict=False):
            values = np.asarray(row.values, float)
            low, high = np.quantile(values, [0.005, 0.995])
            if high == low:  # all alike: one bar, not a full picture
                low, high = low - 0.5, high + 0.5
            axis.hist(np.clip(values, low, high), bins=BINS, range=(low, high), color=COLOURS["model"])
            axis.set_xlabel(row.title)
            axis.set_yticks([])
        for axis in axes[len(rows) :]:
            axis.set_axis_off()
        return svg(figure)


def bars(counts: Mapping[str, int]) -> str:
    """A bar for each name with its count."""
    if not counts:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((10, 0.6 + 0.26 * len(counts)), layout="constrained")
        axis = figure.subplots()
        drawn = axis.barh(list(counts), list(counts.values()), color=COLOURS["model"])
        axis.bar_label(drawn, padding=4, fontsize=8)
        axis.invert_yaxis()
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        return svg(figure)
