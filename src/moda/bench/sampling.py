"""How few steps are enough: the motion metrics of a run by solver, grid and number of steps, against many steps."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from moda.errors import UserError
from moda.eval.motion.protocol import Evaluation, Protocol, evaluate
from moda.eval.tables import number
from moda.flow.rectified import RectifiedFlow
from moda.progress import progress

# Metrics that a relative difference says something about; a lag of 0 frames has none.
COMPARED = (
    "lip_correlation", "jaw_correlation", "audio_visual_correlation", "frechet_motion", "diversity", "motion_range",
    "lip_range", "smoothness",
)  # fmt: skip
WIDE = 200  # columns of the table in a file, which has no width of its own


@dataclass(frozen=True)
class Sampling:
    """One way to integrate the flow. None: the run's own solver or grid."""

    steps: int
    solver: str | None = None
    shift: float | None = None

    def title(self) -> str:
        grid = "own grid" if self.shift is None else f"shift {self.shift:g}"
        return f"{self.solver or 'own solver'}, {grid}, {self.steps} steps"


@dataclass(frozen=True)
class Measured:
    """evaluations: of the velocity for a window; passes: of the network, guidance counted. scores: metric to value.

    differences: metric to its relative difference from the reference. distance: root mean square distance of the
    motion from the reference's, from the same noise, in training deviations.
    """

    sampling: Sampling
    evaluations: int
    passes: int
    scores: dict[str, float]
    differences: dict[str, float]
    distance: float

    @property
    def worst(self) -> tuple[str, float]:
        """The metric that differs most, and by how much of its value; NaN without any."""
        return max(self.differences.items(), key=lambda item: item[1], default=("", float("nan")))


def measure_steps(protocol: Protocol, samplings: Sequence[Sampling], reference: Sampling) -> list[Measured]:
    """Score the run with the reference, which comes first, and with each of ``samplings``: same clips, same noise."""
    if any(sampling.steps < 1 for sampling in (*samplings, reference)):
        raise UserError("steps must be at least 1")
    found = []
    with progress("scoring", len(samplings) + 1, "ways of sampling") as advance:
        standard = _scored(protocol, reference)
        for sampling in (reference, *samplings):
            scored = standard if sampling == reference else _scored(protocol, sampling)
            found.append(_measured(sampling, scored, standard))
            advance()
    return found


def _scored(protocol: Protocol, sampling: Sampling) -> Evaluation:
    ways = {"steps": sampling.steps, "solver": sampling.solver, "shift": sampling.shift}
    return evaluate(replace(protocol, rows=("model",), timing=False, emotion_clips=0, minutes=0.0, **ways))


def _measured(sampling: Sampling, scored: Evaluation, standard: Evaluation) -> Measured:
    values, wanted = _values(scored), _values(standard)
    compared = [name for name in COMPARED if name in values and wanted.get(name)]
    differences = {name: abs(values[name] - wanted[name]) / abs(wanted[name]) for name in compared}
    sampler = scored.settings.sampler
    assert sampler is not None
    evaluations, passes = cost(sampler.flow, sampling.steps, scored.protocol.guidance)
    return Measured(sampling, evaluations, passes, values, differences, _distance(scored, standard))


def _values(evaluation: Evaluation) -> dict[str, float]:
    return {name: score.value for name, score in evaluation.scores["model"].items() if score.value is not None}


def _distance(scored: Evaluation, standard: Evaluation) -> float:
    total = count = 0.0
    alive = scored.export.statistics.alive
    for made, wanted in zip(scored.takes["model"], standard.takes["model"], strict=True):
        for one, other in zip(made, wanted, strict=True):
            difference = ((one.motion - other.motion) / scored.export.statistics.divisor)[:, alive]
            total, count = total + float((difference**2).sum()), count + difference.size
    return float(np.sqrt(total / count))


def cost(flow: RectifiedFlow, steps: int, guidance: Any = None) -> tuple[int, int]:
    """(evaluations of the velocity, passes of the network) for a window: counted, not computed."""
    sigmas: list[float] = []

    def still(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        sigmas.append(round(float(sigma), 6))
        return torch.zeros_like(x)

    flow.solver(still, torch.zeros(1), flow.grid(steps))
    guided = flow.guidance_of(guidance)
    low, high = guided.interval
    return len(sigmas), sum(len(guided.branches) if low <= sigma <= high else 1 for sigma in sigmas)


def as_json(found: Sequence[Measured], protocol: Protocol) -> dict[str, Any]:
    return {
        "run": str(protocol.run),
        "split": protocol.split,
        "seeds": protocol.seeds,
        "guidance": protocol.guidance,
        "reference": asdict(found[0].sampling),
        "measured": [asdict(measured) | {"worst": measured.worst} for measured in found],
    }


def print_steps(found: Sequence[Measured]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [name for name in COMPARED if name in found[0].scores]
    view = Table("sampling", "passes a window", *names, "distance", "differs most")
    for measured in found:
        name, worst = measured.worst
        cells = [number(measured.scores[name], 3) if name in measured.scores else "–" for name in names]
        most = f"{worst:.1%} {name}" if name and measured is not found[0] else "reference"
        view.add_row(measured.sampling.title(), str(measured.passes), *cells, number(measured.distance, 3), most)
    Console(width=None if sys.stdout.isatty() else WIDE).print(view)
