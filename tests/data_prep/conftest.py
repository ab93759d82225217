"""Fixtures of the preparation's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from prep_fakes import BrightnessCodec, PeakEncoder, SquareDetector, write_video

from moda.codec.base import MotionCodec
from moda.data_prep.extract import Extractor
from moda.data_prep.settings import PrepareSettings


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """``make_video(name, pictures, ...)`` writes below the test's own folder ``videos``; see ``write_video``."""
    return lambda name, pictures, **settings: write_video(tmp_path / "videos" / name, pictures, **settings)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrepareSettings:
    """Settings with the models above; everything runs in the test's own process."""
    codec = cast(MotionCodec, BrightnessCodec())  # the half of it that measures
    monkeypatch.setattr(Extractor, "of", lambda settings: Extractor(settings, SquareDetector(), codec, PeakEncoder()))
    return PrepareSettings(
        source=tmp_path / "videos",
        out=tmp_path / "data",
        codec={"_target_": "moda.codec.none"},
        audio={"_target_": "moda.audio.none"},
        detector={},
        clip_seconds=2.0,
        video_size=64,
        min_face=10,
        workers=0,
    )
