"""The plots of the report, as SVG."""

import numpy as np

from moda.eval.page import COLOURS, STYLE, svg


def sync_curves(curves: dict[str, np.ndarray]) -> str:
    """Mean distance of mouth and sound (31,) at each offset, by row, as SVG; its minimum is marked."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((10, 3.4), layout="constrained")
        axis = figure.subplots()
        for title, curve in curves.items():
            offsets = len(curve) // 2 - np.arange(len(curve))
            (line,) = axis.plot(offsets, curve, linewidth=1.2, label=title, color=COLOURS.get(title))
            axis.plot(offsets[curve.argmin()], curve.min(), "o", markersize=4, color=line.get_color())
        axis.set_xlabel("offset of the sound in frames (0: as it is)")
        axis.set_ylabel("distance of mouth and sound")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
        return svg(figure)
