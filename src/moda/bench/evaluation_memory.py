"""How much memory an evaluation holds at once, against its number of clips."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from moda.bench.memory import PeakMemory
from moda.eval.metrics.base import Metric
from moda.eval.videos.extractors.base import Extractor
from moda.eval.videos.measure import Item, Plan, measure
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.rows import Row
from moda.eval.videos.scoring.scores import score


def measure_memory(
    videos: Sequence[Path],
    extractors: Sequence[Extractor],
    protocol: Protocol,
    metrics: Mapping[str, Metric],
    counts: Sequence[int],
) -> dict[int, float]:
    """Number of clips -> most bytes resident at once while a truth and one method of so many clips are scored.

    Clips beyond ``videos`` are these again under other names: features were computed once before,
    and are read back for each of them. What the networks hold is in all of the numbers.
    """
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        plan = Plan(protocol, lambda _: extractors, Path(folder))
        measure([Item(str(video), video) for video in videos], plan)  # not a part of what is counted
        return {count: _peak(videos, plan, metrics, count) for count in sorted(counts)}


def _peak(videos: Sequence[Path], plan: Plan, metrics: Mapping[str, Metric], count: int) -> float:
    items = [Item(f"clip{number}", videos[number % len(videos)]) for number in range(count)]
    rows = [Row("ground_truth", "ground truth", "reference", items), Row("method", "method", "method", items)]
    labels = {extractor.name: getattr(extractor, "label", "") for extractor in plan.build("cpu")}
    with PeakMemory(torch.device("cpu")) as memory:
        found = measure(items, plan)
        score(rows, {row.name: found for row in rows}, plan.protocol, metrics, labels)
    return memory.bytes


def print_memory(found: Mapping[int, float]) -> None:
    """The measurements on the terminal."""
    for count, peak in found.items():
        print(f"{count} clips of a truth and of a method: {peak / 2**20:.0f} MiB at most")
    few, many = min(found), max(found)
    if many > few:
        print(f"memory grows by {(found[many] - found[few]) / 2**20 / (many - few):.3f} MiB a clip")
