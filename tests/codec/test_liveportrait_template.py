"""Motion templates: npz there and back, LivePortrait's pickles, and what is refused in them."""

import os
import pickle
from typing import Any

import numpy as np
import pytest
from liveportrait_support import make_codec, random_motion

from moda.codec.base import EncodedClip
from moda.codec.liveportrait import MotionTemplate
from moda.codec.liveportrait.keypoints import FaceMotion
from moda.errors import UserError


def frames_of(motion: np.ndarray) -> list[dict[str, np.ndarray]]:
    parts, rng = FaceMotion.of(motion), np.random.default_rng(3)
    return [
        {
            "scale": parts.scale[t : t + 1],
            "R": parts.rotation[t : t + 1],
            "exp": parts.expression[t : t + 1],
            "t": parts.translation[t : t + 1],
            "kp": rng.normal(size=(1, 21, 3)).astype(np.float32),
            "x_s": rng.normal(size=(1, 21, 3)).astype(np.float32),
        }
        for t in range(len(motion))
    ]


def content_of(motion: np.ndarray) -> dict[str, Any]:
    count = len(motion)
    return {
        "n_frames": count,
        "output_fps": 30,
        "motion": frames_of(motion),
        "c_eyes_lst": [np.full((1, 2), 0.3, np.float32)] * count,
        "c_lip_lst": [np.full((1, 1), 0.1, np.float32)] * count,
    }


def shape_of(array: np.ndarray | None) -> tuple[int, ...]:
    assert array is not None
    return array.shape


def dumped(tmp_path, content, protocol=pickle.DEFAULT_PROTOCOL):
    path = tmp_path / "template.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_of_the_original_is_read(tmp_path, protocol):
    motion = random_motion(5)
    motion[:, 66] = 0
    template = MotionTemplate.load(dumped(tmp_path, content_of(motion), protocol))
    assert template.fps == 30 and template.motion == pytest.approx(motion, abs=1e-4)
    assert shape_of(template.canonical) == shape_of(template.keypoints) == (5, 21, 3)
    assert template.eye_ratios == pytest.approx(np.full((5, 2), 0.3)) and shape_of(template.lip_ratio) == (5, 1)


def test_old_names_scalars_and_missing_extras(tmp_path):
    content = content_of(random_motion(3))
    for frame in content["motion"]:
        frame["R_d"] = frame.pop("R")
        frame["scale"] = np.float32(1.5)
        del frame["kp"], frame["x_s"]
    del content["c_eyes_lst"], content["c_lip_lst"]
    template = MotionTemplate.load(dumped(tmp_path, content))
    assert template.scale.tolist() == [[1.5]] * 3 and template.canonical is template.eye_ratios is None


def test_npz_there_and_back(tmp_path):
    before = MotionTemplate.load(dumped(tmp_path, content_of(random_motion(4))))
    before.save(tmp_path / "template.npz")
    after = MotionTemplate.load(tmp_path / "template.npz")
    for name, value in vars(before).items():
        assert np.array_equal(getattr(after, name), value), name
    with np.load(tmp_path / "template.npz", allow_pickle=False) as file:
        assert set(file.files) == {"fps", "exp", "R", "scale", "t", "kp", "x_s", "c_eyes", "c_lip"}
    with pytest.raises(UserError, match=r"must end in .npz"):
        before.save(tmp_path / "template.pkl")


def test_from_a_clip_that_was_measured(tmp_path):
    codec = make_codec(tmp_path)
    clip = codec.encode([np.full((64, 64, 3), grey, np.uint8) for grey in (50, 150, 250)])
    template = MotionTemplate.of(clip)
    assert template.motion == pytest.approx(clip.motion, abs=1e-3) and template.fps == 25
    placed = FaceMotion.of(clip.motion).place(template.canonical)
    assert template.keypoints == pytest.approx(placed) and shape_of(template.eye_ratios) == (3, 2)
    with pytest.raises(UserError, match="another codec"):
        MotionTemplate.of(EncodedClip(clip.motion, clip.identity, clip.found))


def test_another_frame_rate_keeps_the_duration():
    ramp = np.linspace(0, 1, 60, dtype=np.float32)
    eye = np.tile(np.eye(3, dtype=np.float32), (60, 1, 1))
    template = MotionTemplate(30.0, np.zeros((60, 21, 3), np.float32), eye, 1 + ramp[:, None], np.zeros((60, 3), np.float32))  # fmt: skip
    motion = template.motion_at(25)
    assert motion.shape == (50, 70)
    assert motion[:, 63] == pytest.approx(1 + np.arange(50) * (30 / 25) / 59, abs=1e-5)
    assert np.array_equal(template.motion_at(30), template.motion)


class Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch RAN",), "posix.system"),
        (eval, ("open('RAN', 'w')",), "builtins.eval"),
        (np.load, ("RAN",), "numpy"),
        (getattr, ({}, "clear"), "builtins.getattr"),
    ],
)
def test_a_pickle_with_code_in_it_is_refused(tmp_path, monkeypatch, function, arguments, name):
    monkeypatch.chdir(tmp_path)
    content = content_of(random_motion(2))
    content["motion"][1]["exp"] = Runs(function, *arguments)
    with pytest.raises(UserError, match=f"is refused: it names {name}"):
        MotionTemplate.load(dumped(tmp_path, content))
    assert not (tmp_path / "RAN").exists()


def changed(**values):
    return lambda content: content | values


def in_frame(number, **values):
    def change(content):
        content["motion"][number] |= values
        return content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(motion=[]), "no list of frames called motion"),
        (changed(motion=[1, 2]), "no list of frames called motion"),
        (lambda content: [content], "no list of frames called motion"),
        (in_frame(1, exp=None), "frame 1 has no exp"),
        (in_frame(1, exp=np.zeros((1, 20, 3))), "exp cannot be read as numbers"),
        (in_frame(0, t=np.full((1, 3), np.nan)), "t holds NaN"),
        (in_frame(0, scale="large"), "scale cannot be read as numbers"),
        (changed(output_fps=0), "at 0 a second"),
        (changed(c_lip_lst=[1.0]), "c_lip cannot be read"),
    ],
)
def test_what_is_wrong_in_a_pickle_is_named(tmp_path, change, message):
    path = dumped(tmp_path, change(content_of(random_motion(2))))
    with pytest.raises(UserError, match=message) as error:
        MotionTemplate.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_damaged_files_are_one_line(tmp_path, suffix):
    whole = MotionTemplate.load(dumped(tmp_path, content_of(random_motion(2))))
    whole.save(tmp_path / "whole.npz")
    data = (tmp_path / ("whole.npz" if suffix == ".npz" else "template.pkl")).read_bytes()
    path = tmp_path / f"damaged{suffix}"
    for content in (
        data[: len(data) // 2],
        b"",
        b"not a template",
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged") as error:
            MotionTemplate.load(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="does not exist"):
        MotionTemplate.load(tmp_path / f"none{suffix}")


def test_an_npz_that_lacks_something_or_holds_objects(tmp_path):
    np.savez(tmp_path / "a.npz", exp=np.zeros((2, 21, 3)), R=np.zeros((2, 3, 3)))
    with pytest.raises(UserError, match="it lacks scale, t"):
        MotionTemplate.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", exp=np.array([Runs(os.system, "touch RAN")], object))
    with pytest.raises(UserError, match="cannot be read as npz"):
        MotionTemplate.load(tmp_path / "b.npz")
