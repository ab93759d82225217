"""Is a signal that was asked for obeyed?"""

import numpy as np

from moda.eval.metrics.base import ClipMetric
from moda.eval.takes import Take
from moda.motion.controls import CONTROLS, measure


class ControlError(ClipMetric):
    """Mean absolute difference of a control's values from the truth's.

    In a row that was asked for the truth's own values it is the error between asked and produced; in others it
    is what that error would be without control.
    """

    needs_truth = True
    better = "lower"

    def __init__(self, control: str = "pose"):
        self.control = control
        self.title = f"{control} error"
        self.unit = "°" if CONTROLS[control].unit == "degrees" else "%"
        self.digits = 2
        self.meaning = (
            f"mean absolute difference of {', '.join(CONTROLS[control].columns)} from ground truth: in the row 'controls "
            "given' the error between asked and produced, elsewhere what it is without control"
        )

    def of_take(self, take: Take) -> float:
        made, true = (measure(self.control, motion, take.statistics) for motion in (take.motion, take.truth))
        return float(np.abs(made - true).mean()) * (1 if self.unit == "°" else 100)
