import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from moda.codec.head.identity import random_head
from moda.codec.head.renderer import HeadRenderer, rest_motion
from moda.face.landmarker import FaceLandmarker
from moda.motion.layout import ARKIT_BLENDSHAPES, get_layout

LAYOUT = get_layout("head59")


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker()


@pytest.fixture(scope="module")
def renderer():
    return HeadRenderer(256, 1)


def frame(renderer, seed: int = 1, **values: float):
    motion = rest_motion()
    for name, value in values.items():
        motion[LAYOUT.index(name)] = value
    return renderer.render(random_head(seed), motion)


def test_a_face_is_described_in_pixels(landmarker, renderer):
    (face,) = landmarker.detect(frame(renderer))
    assert face.landmarks.shape == (478, 3) and face.blendshapes.shape == (52,)
    x0, y0, x1, y1 = face.box
    assert 40 < x0 < x1 < 216 and 20 < y0 < y1 < 220
    left_eye, right_eye, chin = face.landmarks[[33, 263, 152], :2]
    assert left_eye[0] < right_eye[0] and chin[1] > left_eye[1]


def test_blendshapes_are_in_arkit_order(landmarker, renderer):
    still = landmarker.detect(frame(renderer))[0].blendshapes
    for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft"):
        moved = landmarker.detect(frame(renderer, 1, **{name: 1.0}))[0].blendshapes
        assert moved[ARKIT_BLENDSHAPES.index(name)] > still[ARKIT_BLENDSHAPES.index(name)] + 0.3, name
    assert still[ARKIT_BLENDSHAPES.index("tongueOut")] == 0


def test_largest_face_comes_first(landmarker, renderer):
    near, far = frame(renderer, 1, scale=1.2), frame(renderer, 2, scale=0.8)
    for pair in ((near, far), (far, near)):
        faces = landmarker.detect(np.concatenate(pair, axis=1))
        assert len(faces) == 2
        centre = (faces[0].box[0] + faces[0].box[2]) / 2
        assert (centre < 256) == (pair[0] is near)


def test_no_face_is_an_empty_list(landmarker):
    assert landmarker.detect(np.zeros((120, 160, 3), np.uint8)) == []


def test_results_do_not_depend_on_earlier_images(landmarker, renderer):
    image = frame(renderer, jawOpen=0.4)
    before = landmarker.detect(image)[0].landmarks
    landmarker.detect(frame(renderer, 4, yaw=30))
    assert np.array_equal(before, landmarker.detect(image)[0].landmarks)


@pytest.mark.parametrize("image", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)])
def test_wrong_images_are_refused(landmarker, image):
    with pytest.raises(ValueError, match="uint8 RGB"):
        landmarker.detect(image)


def test_the_networks_read_what_they_read_in_mediapipe(landmarker, renderer):
    """Landmarks and blendshapes that MediaPipe 1.2.2 gave on this picture."""
    image = frame(renderer, 1, jawOpen=0.5, yaw=15, roll=10, mouthSmileLeft=0.6)
    (face,) = landmarker.detect(np.concatenate([image, np.zeros((256, 128, 3), np.uint8)], axis=1))
    expected = {
        1: (97.41, 141.97, -25.21), 33: (78.42, 106.73, 14.78), 263: (139.75, 116.36, -2.79), 61: (81.28, 164.19, 8.83),
        291: (120.35, 167.77, -1.34), 13: (97.68, 162.70, -8.40), 14: (95.46, 173.82, -5.02), 152: (92.88, 205.31, 8.97),
        10: (110.59, 72.26, -8.34), 468: (85.44, 107.35, 7.91),
    }  # fmt: skip
    assert np.abs(face.landmarks[list(expected)] - np.array(list(expected.values()))).max() < 0.15
    shapes = {
        "jawOpen": 0.121,
        "mouthSmileLeft": 0.257,
        "eyeBlinkLeft": 0.251,
        "browInnerUp": 0.396,
        "mouthPucker": 0.001,
    }
    for name, value in shapes.items():
        assert face.blendshapes[ARKIT_BLENDSHAPES.index(name)] == pytest.approx(value, abs=0.01), name


def test_nothing_is_written_to_the_terminal() -> None:
    code = "from moda.face.landmarker import FaceLandmarker; FaceLandmarker()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_share_one_landmarker(landmarker, renderer):
    images = [frame(renderer, seed) for seed in (1, 2, 3)]
    alone = [landmarker.detect(image)[0].landmarks for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = [face.landmarks for (face,) in pool.map(landmarker.detect, images * 4)]
    assert all(np.array_equal(a, b) for a, b in zip(alone * 4, together, strict=True))
