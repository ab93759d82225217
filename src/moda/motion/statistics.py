"""Mean and standard deviation of motion; they travel with every data set and checkpoint."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from moda.errors import UserError
from moda.motion.layout import MotionLayout, get_layout

if TYPE_CHECKING:  # processes that only measure motion start without torch
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

# Below this standard deviation a dimension carries measurement noise only. Dividing by it would
# blow that noise up to unit variance, so its divisor becomes 1 and it is listed as dead.
DEAD_STD = 1e-4


@dataclass(frozen=True)
class MotionStatistics:
    """Per-dimension mean and standard deviation, (D,) float64, over ``count`` frames (0 where not known).

    epsilon: a number divides every dimension by its standard deviation plus that, and takes none for dead, as
    published statistics may have been used.
    """

    layout: MotionLayout
    mean: np.ndarray
    std: np.ndarray
    count: int
    epsilon: float | None = None

    @property
    def dead(self) -> tuple[str, ...]:
        """Names of the dimensions that do not move."""
        return tuple(name for name, alive in zip(self.layout.names, self.alive, strict=True) if not alive)

    @property
    def alive(self) -> np.ndarray:
        """(D,) bool, False where a dimension does not move."""
        return self.std >= DEAD_STD if self.epsilon is None else np.ones(len(self.std), bool)

    @property
    def divisor(self) -> np.ndarray:
        """What ``normalize`` divides by: the standard deviation (and epsilon), 1 where the dimension is dead."""
        return np.where(self.alive, self.std + (self.epsilon or 0.0), 1.0)

    def normalize(self, motion: Array) -> Array:
        """(..., D) in the layout's units to zero mean, unit variance; dtype and device are kept."""
        return (motion - self._like(self.mean, motion)) / self._like(self.divisor, motion)

    def denormalize(self, motion: Array) -> Array:
        """Inverse of ``normalize``; a dead dimension comes out at its mean, whatever a network made of it."""
        return motion * self._like(np.where(self.alive, self.divisor, 0.0), motion) + self._like(self.mean, motion)

    @staticmethod
    def _like(values: np.ndarray, reference: Array) -> Array:
        if isinstance(reference, np.ndarray):
            return values.astype(reference.dtype)
        import torch

        return torch.as_tensor(values, dtype=reference.dtype, device=reference.device)

    def to_dict(self) -> dict[str, Any]:
        return {
            "layout": self.layout.name,
            "count": self.count,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "dead": list(self.dead),
            **({} if self.epsilon is None else {"epsilon": self.epsilon}),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "statistics") -> "MotionStatistics":
        """Read what ``to_dict`` wrote; ``where`` names its file in errors."""
        try:
            layout = get_layout(value["layout"])
            mean, std = np.asarray(value["mean"], np.float64), np.asarray(value["std"], np.float64)
            count = int(value["count"])
            epsilon = None if value.get("epsilon") is None else float(value["epsilon"])
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{where}: motion statistics lack {error}; prepare the data set again") from error
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where}: motion statistics cannot be read ({error}); prepare the data set again"
            ) from error
        if mean.shape != (layout.dim,) or std.shape != (layout.dim,):
            raise UserError(
                f"{where}: statistics have {mean.shape} values, but layout {layout.name} has {layout.dim} dimensions"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise UserError(
                f"{where}: statistics hold NaN, infinity or a negative deviation; prepare the data set again"
            )
        return cls(layout, mean, std, count, epsilon)


class StatisticsAccumulator:
    """Streaming float64 moments; ``merge`` gives the same result for any split of the frames.

    Sums are kept about the first clip's mean, so that a large mean does not cost precision.
    """

    def __init__(self, layout: MotionLayout):
        self.layout = layout
        self.count = 0
        self.mean = np.zeros(layout.dim)
        self.squares = np.zeros(layout.dim)

    def update(self, motion: np.ndarray) -> None:
        """Add the frames of ``motion`` (T, D)."""
        motion = self.layout.check(motion).astype(np.float64)
        mean = motion.mean(0)
        self._add(len(motion), mean, ((motion - mean) ** 2).sum(0))

    def merge(self, other: "StatisticsAccumulator") -> None:
        self._add(other.count, other.mean, other.squares)

    def add_result(self, known: MotionStatistics) -> None:
        """Add the frames that ``known`` was made of."""
        self._add(known.count, known.mean, known.std**2 * known.count)

    def _add(self, count: int, mean: np.ndarray, squares: np.ndarray) -> None:
        # Chan, Golub and LeVeque (1979): pairwise combination of means and sums of squares.
        if count == 0:
            return
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * count / total
        self.squares = self.squares + squares + delta**2 * self.count * count / total
        self.count = total

    def result(self) -> MotionStatistics:
        if self.count < 2:
            raise UserError("motion statistics need at least two frames; no usable clip was found")
        return MotionStatistics(self.layout, self.mean, np.sqrt(self.squares / self.count), self.count)
