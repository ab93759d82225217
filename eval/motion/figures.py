"""The plots of the report, as SVG."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moda.audio.encoder import SAMPLE_RATE
from moda.eval.motion.clips import HeldOutClip
from moda.eval.page import COLOURS, INK, STYLE, svg
from moda.eval.takes import Take

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def motion_curves(clip: HeldOutClip, takes: dict[str, Take]) -> str:
    """Opening of lips and jaw of the rows in ``takes`` (title to take) over the clip's waveform, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    jaw = list(next(iter(takes.values())).statistics.layout.subsets.get("jaw_open", ()))
    heights = [1] + [2] * (1 + bool(jaw))
    with rc_context(STYLE):
        figure = Figure((10, 0.55 * sum(heights) + 1.2), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _waveform(axes[0], clip)
        _curves(axes[1], {title: take.lips for title, take in takes.items()}, clip, "lip aperture\n(mouth widths)")
        if jaw:
            opening = {title: take.motion[:, jaw].mean(1) for title, take in takes.items()}
            _curves(axes[2], opening, clip, "jawOpen")
        axes[1].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, borderaxespad=0.1)
        axes[-1].set_xlabel("seconds")
        axes[-1].set_xlim(0, clip.duration)
        return svg(figure)


def _waveform(axis: "Axes", clip: HeldOutClip) -> None:
    """Outline of the sound: its extremes in each fiftieth of a second."""
    axis.set_ylabel("sound")
    axis.set_yticks([])
    if clip.waveform is None:
        axis.text(0.5, 0.5, "no sound in the data set", transform=axis.transAxes, ha="center", va="center")
        return
    step = SAMPLE_RATE // 50
    pieces = clip.waveform[: len(clip.waveform) // step * step].reshape(-1, step)
    time = (np.arange(len(pieces)) + 0.5) / 50
    axis.fill_between(time, pieces.min(1), pieces.max(1), color="#8a8f98", linewidth=0, alpha=0.7)


def _curves(axis: "Axes", curves: dict[str, np.ndarray], clip: HeldOutClip, label: str) -> None:
    fps = clip.clip.record.fps
    for title, curve in curves.items():
        width = 1.0 if title == "mismatched audio" else 1.6
        axis.plot(np.arange(len(curve)) / fps, curve, color=COLOURS.get(title, INK), linewidth=width, label=title)
    for edge in (clip.speech.start, clip.speech.stop):
        axis.axvline(edge / fps, color=INK, linewidth=0.5, linestyle=(0, (2, 3)), alpha=0.5)
    axis.set_ylabel(label)


Series = list[tuple[float, float]]  # (optimizer step, value)


def read_series(path: Path) -> dict[str, dict[str, Series]]:
    """Numbers of a run's metrics.jsonl named PHASE/QUANTITY (train/loss, val/loss): quantity -> phase -> series.

    Empty without the file; a last line cut short, as of a run still writing, is passed over.
    """
    series: dict[str, dict[str, Series]] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:
            break
        for name, value in record.items():
            phase, slash, quantity = name.partition("/")
            if slash and "step" in record:
                series.setdefault(quantity, {}).setdefault(phase, []).append((record["step"], value))
    return series


def training_curves(series: dict[str, dict[str, Series]]) -> str:
    """One panel a quantity, one line a phase, over optimizer steps; SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    with rc_context(STYLE):
        figure = Figure((10, 2.1 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(series) :]:
            axis.set_visible(False)
        for axis, (quantity, phases) in zip(axes.flat, series.items(), strict=False):
            for (phase, points), colour in zip(phases.items(), COLOURS.values(), strict=False):
                steps, values = np.array(points).T
                marker = "o" if len(steps) < 20 else None
                axis.plot(steps, values, color=colour, linewidth=1.3, marker=marker, markersize=3, label=phase)
            axis.set_title(quantity, fontsize=9)
            axis.legend(fontsize=8)
            axis.set_xlabel("step")
        return svg(figure)
