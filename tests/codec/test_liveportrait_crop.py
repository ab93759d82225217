"""Crops from landmarks, ratios of eyes and lips, and pasting back."""

import cv2
import numpy as np
import pytest

from moda.codec.liveportrait.crop import MARKUPS, eye_ratios, face_axis, face_crop, lip_ratio
from moda.codec.liveportrait.paste import Paster, feathered
from moda.errors import UserError


def landmarks(count: int, degrees: float = 0.0, centre=(300.0, 200.0), size: float = 60.0) -> np.ndarray:
    """An upright face, or one turned clockwise: eyes above the mouth, all others on a disc around them."""
    markup = MARKUPS[count]
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], 1)
    points[list(markup.left_eye)], points[list(markup.right_eye)] = (-0.4, -0.3), (0.4, -0.3)
    points[list(markup.lips)] = [(-0.25, 0.5), (0.25, 0.5)]
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return size * points @ rotation + centre


@pytest.mark.parametrize("count", list(MARKUPS))
def test_an_upright_face_is_not_turned_and_its_box_is_centred(count):
    points = landmarks(count)
    crop = face_crop(points, shift=0.0)
    assert crop.to_crop[0, 1] == pytest.approx(0, abs=1e-12) and crop.to_crop[0, 0] > 0
    outline = points[list(MARKUPS[count].outline or range(count))]
    middle = (outline.min(0) + outline.max(0)) / 2
    assert crop.to_crop @ [*middle, 1] == pytest.approx([256, 256, 1])
    assert 512 / crop.to_crop[0, 0] == pytest.approx(2.3 * np.ptp(outline, 0).max())
    assert crop.to_crop @ crop.to_picture == pytest.approx(np.eye(3), abs=1e-9)


def test_the_shift_is_in_sides_and_up():
    below, above = face_crop(landmarks(203), shift=0.0), face_crop(landmarks(203), shift=-0.125)
    assert (above.to_crop - below.to_crop)[:2, 2] == pytest.approx([0, 0.125 * 512])


@pytest.mark.parametrize("degrees", [-70.0, -15.0, 30.0, 170.0])
def test_a_turned_face_stands_upright_in_its_crop(degrees):
    points = landmarks(203, degrees)
    crop = face_crop(points)
    placed = points @ crop.to_crop[:2, :2].T + crop.to_crop[:2, 2]
    upright = face_crop(landmarks(203))
    expected = landmarks(203) @ upright.to_crop[:2, :2].T + upright.to_crop[:2, 2]
    assert placed == pytest.approx(expected, abs=1e-6)
    assert face_crop(points, rotate=False).to_crop[0, 1] == 0


def test_landmarks_in_one_place_and_unknown_sets_are_said():
    assert face_axis(np.zeros((203, 2))).tolist() == [0, 1]
    with pytest.raises(UserError, match="all lie in one place"):
        face_crop(np.zeros((203, 2)))
    with pytest.raises(UserError, match="7 landmarks cannot be cropped; known sets have 68, 106, 203, 478"):
        face_crop(np.zeros((7, 2)))


@pytest.mark.parametrize("count", [203, 478])
def test_ratios_are_height_over_width(count):
    markup, points = MARKUPS[count], np.zeros((count, 2))
    for (a, b), (c, d), height in zip(markup.eye_heights, markup.eye_widths, (3.0, 6.0), strict=True):
        points[a], points[b], points[c], points[d] = (0, 0), (0, height), (-5, 0), (5, 0)
    assert markup.lip_height is not None
    (a, b), (c, d) = markup.lip_height, markup.lips
    points[a], points[b], points[c], points[d] = (0, 1), (0, 2), (-10, 0), (10, 0)
    assert eye_ratios(points) == pytest.approx([0.3, 0.6], abs=1e-6)
    assert lip_ratio(points) == pytest.approx(0.05, abs=1e-6)


def smooth_picture(height=400, width=600) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), 12)
    return np.clip(128 + 1200 * noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("degrees", "centre"), [(0.0, (300.0, 200.0)), (25.0, (300.0, 200.0)), (-40.0, (30.0, 380.0))])
def test_a_crop_put_back_is_the_picture(degrees, centre):
    picture = smooth_picture()
    crop = face_crop(landmarks(478, degrees, centre))
    pasted = Paster(picture, crop).paste(crop.cut(picture))
    assert pasted.shape == picture.shape and np.abs(pasted.astype(int) - picture).max() <= 6


def test_only_the_crop_is_pasted_and_its_middle_wholly():
    picture = smooth_picture()
    crop = face_crop(landmarks(478, 20.0))
    pasted = Paster(picture, crop).paste(np.full((512, 512, 3), 255, np.uint8))
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    u, v, _ = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ crop.to_crop.T, -1, 0)
    outside = (np.minimum(u, v) < -1) | (np.maximum(u, v) > 513)
    assert np.array_equal(pasted[outside], picture[outside])
    middle = (np.minimum(u, v) > 70) & (np.maximum(u, v) < 442)
    assert middle.any() and (pasted[middle] >= 254).all()


def test_the_edge_fades_smoothly():
    cover = feathered(512)
    assert cover[256, 256] == 1 and not cover[0].any() and not cover[:, -1].any()
    assert np.abs(np.diff(cover[256])).max() < 0.03
