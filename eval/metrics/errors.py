"""How far motion is from the truth, frame by frame: what a reconstruction loses."""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take


class PartError(ClipMetric):
    """Root mean square error over one group or subset of the layout, each dimension in its training deviations."""

    group = "error, frame by frame"
    unit = "std"
    better = "lower"
    needs_truth = True

    def __init__(self, part: str = "expression"):
        self.part, self.title = part, f"{part} error"
        self.meaning = (
            f"root mean square distance to ground truth over the dimensions of {part}, in standard deviations of the "
            "training set; for reconstructions: motion that is sampled need not be near the one that was filmed"
        )

    def of_take(self, take: Take) -> float:
        layout, statistics = take.statistics.layout, take.statistics
        known = {name: list(range(layout.dim)[part]) for name, part in layout.groups.items()}
        dims = [k for k in {**layout.subsets, **known}.get(self.part, ()) if statistics.alive[k]]
        if not dims:
            return float("nan")
        off = (take.motion[:, dims] - take.truth[:, dims]) / statistics.std[dims]
        return float(np.sqrt(np.mean(off.astype(np.float64) ** 2)))
