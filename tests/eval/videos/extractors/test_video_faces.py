"""Lips in the face's own frame, and of the one face that is followed."""

import numpy as np
import pytest

from moda.codec.head.codec import HeadCodec
from moda.codec.head.reading import Reading
from moda.eval.videos.extractors.faces import EYES, LIPS, _Faces, lips_of
from moda.face.landmarker import Face


def face(centre=(100.0, 100.0), scale=1.0, degrees=0.0, opening=0.0) -> Face:
    """Eyes 40 pixels apart and lips on an ellipse below them, turned in the image."""
    points = np.zeros((478, 2))
    points[list(EYES)] = [(-20, 0), (20, 0)]
    angles = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
    points[list(LIPS)] = np.stack([12 * np.cos(angles), 40 + (4 + opening) * np.sin(angles)], 1)
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = np.concatenate([scale * points @ rotation.T + centre, np.zeros((478, 1))], 1).astype(np.float32)
    return Face(landmarks, np.zeros(52, np.float32), (0, 0, 1, 1))


def test_moving_turning_and_nearing_heads_leave_the_lips_where_they_are():
    still, moved = lips_of(face()), lips_of(face((300, 50), 2.5, 30))
    assert moved == pytest.approx(still, abs=1e-4)
    assert still[:, 1].mean() == pytest.approx(1.0, abs=1e-4)  # 40 pixels below eyes 40 pixels apart


def test_opening_lips_move():
    assert np.abs(lips_of(face(opening=6.0)) - lips_of(face())).max() == pytest.approx(6 / 40, abs=1e-3)


class Scripted:
    """A landmarker that finds what it is told."""

    def __init__(self, frames):
        self.frames = iter(frames)

    def detect(self, rgb):
        return next(self.frames)


def test_the_lips_kept_are_those_of_the_face_that_is_followed():
    wide, shut = face((100, 100), opening=6.0), face((400, 100))
    near = face((105, 100), opening=6.0)
    codec = HeadCodec()
    reading = Reading(Scripted([[wide, shut], [shut, near], [], [shut, near]]), lambda *of: np.zeros(59, np.float32))
    collector = _Faces(codec, reading)
    for _ in range(4):
        collector.add(np.zeros((1, 500, 500, 3), np.uint8))
    arrays = collector.finish()
    assert arrays["found"].tolist() == [True, True, False, True]
    for t in (0, 1, 3):
        assert arrays["lip_landmarks"][t] == pytest.approx(lips_of(wide), abs=1e-4)
    assert np.isnan(arrays["lip_landmarks"][2]).all()
