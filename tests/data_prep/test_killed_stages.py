"""A worker that is killed at any stage of a video: the video is read again, and the data set is what it would have been."""

import os
import signal
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
from prep_fakes import BrightnessCodec, PeakEncoder, SquareDetector, square, tone

from moda.codec.base import MotionCodec
from moda.data.lint import lint
from moda.data_prep import local
from moda.data_prep.extract import Extractor
from moda.data_prep.items import StageClock
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import PrepareSettings

STAGES = ("sound", "decode", "find cuts", "find face", "judge face", "keep", "crop", "write video", "motion", "sync",
          "speech features", "write")  # fmt: skip


class Dying(Extractor):
    """Kills its process at the stage that the video is called after, once."""

    def process(self, source, folder):
        once, stage = self.settings.out.parent / f"killed-{source.path.stem}", source.path.stem

        def enter(self, entered, whole=StageClock._switch):
            if entered == stage and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, entered)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StageClock, "_switch", enter)
            return super().process(source, folder)


def load_dying(settings: PrepareSettings) -> Extractor:
    return Dying(settings, SquareDetector(), cast(MotionCodec, BrightnessCodec()), PeakEncoder())


@pytest.mark.slow
def test_one_video_killed_at_each_stage(settings: PrepareSettings, make_video, monkeypatch):
    for number, stage in enumerate(STAGES):
        make_video(f"{stage}.mp4", [square(40 + number, 60, 40)] * 30, sound=tone(1.2))
    undisturbed = prepare(replace(settings, out=settings.out / "undisturbed"))
    out = settings.out / "killed"
    monkeypatch.setattr(local, "run_in_processes", partial(local.run_in_processes, load=load_dying))
    manifest = prepare(replace(settings, out=out, workers=1, tasks=2))
    assert {path.name for path in settings.out.glob("killed-*")} == {f"killed-{stage}" for stage in STAGES}
    assert manifest is not None and undisturbed is not None and manifest.shards == undisturbed.shards  # by their hashes
    assert lint(out, video=True).findings == ()
    assert list(out.rglob(".*")) == []  # nothing half-written is left
