"""Looking at a model while it trains: held-out clips as curves and as video, against ground truth."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import nn

from moda.data.shards import Clip, FeatureShards
from moda.errors import UserError
from moda.files import atomic_path
from moda.motion.statistics import MotionStatistics
from moda.training.base import TrainingModule
from moda.training.checkpoints.ema import EMA
from moda.training.tracking.preview_video import PreviewVideos
from moda.training.tracking.tracker import Tracker


class Preview(L.Callback):
    """Every ``every`` steps, makes the motion of ``clips`` held-out clips with the averaged weights.

    Draws the mouth's opening to RUN/previews/step-N.png and records val/jaw_correlation, the mean over the
    clips of Pearson's r between made and true opening. video: renders the clips to RUN/previews/step-N/KEY.mp4
    as well (see ``PreviewVideos``). seconds: at most so much of a clip. every 0: never.
    Rank 0 does it while the others wait at their next collective call.
    """

    def __init__(
        self,
        directory: str | Path,
        shards: FeatureShards,
        ema: EMA,
        *,
        every: int,
        clips: int = 2,
        seconds: float = 8,
        video: bool = True,
    ):
        if every < 0 or clips < 1 or seconds <= 0:
            raise UserError("preview needs every >= 0 (0 is never), clips >= 1 and seconds > 0")
        self.directory = Path(directory)
        self.shards, self.ema, self.every, self.count, self.seconds = shards, ema, every, clips, seconds
        self.videos = PreviewVideos(shards) if video else None
        self._clips: list[Clip] = []
        self._drawn = 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        due = self.every and step % self.every == 0 and step > self._drawn  # not again while gradients accumulate
        if due:
            self._drawn = step
            assert isinstance(pl_module, TrainingModule)
            weights = self.ema.gather()  # every rank takes part
            if weights is not None:
                self.draw(trainer, pl_module, pl_module.copy_with(weights), step)

    def draw(self, trainer: L.Trainer, module: TrainingModule, network: nn.Module, step: int) -> None:
        """Draw what ``network``, a copy of the one in training, makes."""
        statistics, clips = module.manifest.statistics, self._held_out(module)
        dimension = opening_dimension(statistics)
        motions = [module.reconstruct(network, clip) for clip in clips]
        truth = [clip.motion[:, dimension] for clip in clips]
        made = [motion[:, dimension] for motion in motions]
        curves = self.directory / f"step-{step}.png"
        name, keys = statistics.layout.names[dimension], [clip.key for clip in clips]
        _plot(curves, name, keys, truth, made, statistics.layout.fps)
        files = {"curves": curves}
        if self.videos is not None:
            files |= self.videos.write(self.directory / f"step-{step}", clips, motions)
        values = [pearson(a, b) for a, b in zip(truth, made, strict=True)]
        for logger in trainer.loggers:
            logger.log_metrics({"val/jaw_correlation": float(np.mean(values))}, step - 1)
            if isinstance(logger, Tracker):
                logger.log_previews(files, step)

    def _held_out(self, module: TrainingModule) -> list[Clip]:
        if not self._clips:
            frames = round(self.seconds * module.manifest.layout.fps)
            for clip in self.shards:
                self._clips.append(_first(clip, frames))
                if len(self._clips) == self.count:
                    break
        return self._clips


def opening_dimension(statistics: MotionStatistics) -> int:
    """The dimension that shows the mouth opening: jawOpen, or the lip dimension that moves most."""
    subsets = statistics.layout.subsets
    if "jaw_open" in subsets:
        return subsets["jaw_open"][0]
    return max(subsets["lips"], key=lambda index: statistics.std[index])


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two series (T,); 0 where one of them does not move."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def _first(clip: Clip, frames: int) -> Clip:
    return Clip(clip.record, clip.motion[:frames], clip.identity, clip.audio[:frames])


def _plot(path: Path, name: str, keys: list[str], truth: list[np.ndarray], made: list[np.ndarray], fps: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.4 * len(keys)), layout="constrained")
    for axes, key, a, b in zip(figure.subplots(len(keys), squeeze=False)[:, 0], keys, truth, made, strict=True):
        seconds = np.arange(len(a)) / fps
        axes.plot(seconds, a, color="0.6", label="ground truth")
        axes.plot(seconds, b, color="tab:red", linewidth=1, label="model")
        axes.set_title(f"{key}   r = {pearson(a, b):.2f}", fontsize=9)
        axes.set(xlabel="seconds", ylabel=name)
        axes.legend(loc="upper right", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80)
