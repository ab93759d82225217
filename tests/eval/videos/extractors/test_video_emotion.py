"""Emotions of faces in videos, and how far they agree."""

from pathlib import Path

import numpy as np
import pytest
from video_support import PROTOCOL, write_video

from moda.codec.head.codec import HeadCodec
from moda.errors import UserError
from moda.eval.metrics.emotion import EmotionAgreement
from moda.eval.takes import Take
from moda.eval.videos.extractors.emotion import EmotionExtractor, grey_face
from moda.eval.videos.reading.source import open_source
from moda.eval.videos.reading.view import View
from moda.motion.layout import get_layout
from moda.motion.statistics import MotionStatistics

STATISTICS = MotionStatistics(get_layout("head59"), np.zeros(59), np.full(59, 0.1), 1000)


def agreement(emotion, truth) -> float:
    motion = np.zeros((4, 59))
    take = Take("clip", motion, motion, motion[:, 0], motion[:, 0], None, slice(0, 4), STATISTICS)
    return EmotionAgreement().of_take(Take(**{**vars(take), "emotion": emotion, "truth_emotion": truth}))


def test_agreement_is_one_of_equal_and_nothing_of_disjoint_emotions():
    happy, sad = np.eye(7)[3], np.eye(7)[4]
    assert agreement(happy, happy) == pytest.approx(1)
    assert agreement(happy, sad) == pytest.approx(0)
    assert agreement(happy, (happy + sad) / 2) == pytest.approx(0.5)
    assert np.isnan(agreement(happy, None))


def test_the_face_is_cut_square_and_centred_also_at_the_border():
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:40, 150:190] = 200
    centred = grey_face(frame, (130.0, -20.0, 210.0, 60.0))  # half again as large as the bright square, each way
    assert centred.shape == (64, 64)
    rows, columns = np.nonzero(centred > 100)
    assert (rows.min(), rows.max()) == pytest.approx((16, 47), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((16, 47), abs=2)


def test_a_video_without_a_face_is_named(tmp_path: Path):
    view = View(open_source(write_video(tmp_path / "grey.mp4")), PROTOCOL)
    collector = EmotionExtractor().begin(view)
    for frames in view.blocks():
        collector.add(frames)
    with pytest.raises(UserError, match="no face"):
        collector.finish()


def test_probabilities_come_from_evenly_spaced_frames_with_a_face(tmp_path: Path):
    codec = HeadCodec()
    portrait = codec.portrait("head:1")
    face = next(codec.decode(portrait, portrait.rest))
    view = View(open_source(write_video(tmp_path / "any.mp4", frames=30)), PROTOCOL)
    collector = EmotionExtractor().begin(view)
    collector.add(np.stack([face] * 15))
    collector.add(np.zeros((15, *face.shape), np.uint8))  # the second half shows nobody
    found = collector.finish()["probabilities"]
    assert found.shape == (8, 7)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
