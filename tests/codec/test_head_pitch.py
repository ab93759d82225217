"""What a face's shape adds to the pitch that is read: told from its landmarks, on heads that the fit has not seen."""

import numpy as np
import pytest

from moda.codec.head import HeadCodec
from moda.codec.head.correspondence import load_landmarks
from moda.codec.head.identity import random_head
from moda.codec.head.pitch import fit_line, measured, pitch_offset
from moda.codec.head.renderer import HeadRenderer, rest_motion
from moda.motion.layout import get_layout

PITCH = get_layout("head59").index("pitch")


def shapes(count: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.02, (count, 478, 3))
    return load_landmarks().template + noise


def test_a_line_is_found_again_and_what_speech_moves_does_not_count() -> None:
    inputs = shapes(2000)
    rigid = load_landmarks().rigid
    errors = 3 + 80 * (inputs[:, rigid[0], 1] - inputs[:, rigid, 1].mean(1))
    line = fit_line(inputs, errors)
    slopes = np.array(line["weights"]).reshape(-1, 3)
    assert slopes[0, 1] == pytest.approx(80, rel=0.1) and np.abs(np.delete(slopes, 0, 0)).max() < 8
    assert line["constant"] == pytest.approx(errors.mean())


def test_the_offset_is_of_shape_alone_and_bounded() -> None:
    face = shapes(1)[0]
    moved = face + np.array([0.3, -0.2, 0.1])
    assert pitch_offset(moved) == pytest.approx(pitch_offset(face), abs=1e-6)
    speaking = face.copy()
    moving = np.setdiff1d(np.arange(478), load_landmarks().rigid)
    speaking[moving] += 0.1
    assert pitch_offset(speaking) == pytest.approx(pitch_offset(face), abs=1e-6)
    assert abs(pitch_offset(load_landmarks().template)) < 2
    assert abs(pitch_offset(5 * face)) <= 10


def test_faces_look_where_they_look_whatever_their_shape() -> None:
    codec, renderer = HeadCodec(256, 1), HeadRenderer(256, 1)
    motion = rest_motion()
    motion[PITCH] = 5
    found = [codec.encode([renderer.render(random_head(number), motion)]).motion[0, PITCH] for number in range(12)]
    unaware = [error for _, error in measured(range(12))]
    assert np.abs(np.array(found) - 5).mean() < 2.0
    assert np.abs(np.array(found) - 5).mean() < 0.6 * np.abs(unaware).mean()
