import subprocess
import sys

import numpy as np
import pytest

from moda.codec.head.identity import random_head
from moda.codec.head.renderer import HeadRenderer, rest_motion
from moda.face.landmarker import FaceLandmarker
from moda.motion.layout import ARKIT_BLENDSHAPES, get_layout

LAYOUT = get_layout("head59")


@pytest.fixture(scope="module")
def landmarker():
    with FaceLandmarker() as landmarker:
        yield landmarker


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
    assert face.landmarks.shape == (478, 3) and face.blendshapes.shape == (52,) and face.matrix.shape == (4, 4)
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


def test_the_process_outlives_signal_handlers_restored_by_python() -> None:
    """Restoring the handlers that Python knows of must not arm MediaPipe's profiling signal again."""
    code = (
        "import signal, numpy as np\n"
        "from moda.face.landmarker import FaceLandmarker\n"
        "with FaceLandmarker() as landmarker:\n"
        "    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "        handler = signal.getsignal(number)\n"
        "        if handler is not None:\n"
        "            signal.signal(number, handler)\n"
        "    signal.raise_signal(signal.SIGPROF)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")
