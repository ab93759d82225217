"""The codec around its networks: measuring, portraits, driving, batches, pasting back. The networks are small functions."""

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from liveportrait_support import heads_of, make_codec, make_source, random_motion

from moda.codec import Portrait
from moda.codec.base import PastesBack
from moda.codec.liveportrait import Driving
from moda.codec.liveportrait.keypoints import FaceMotion, motion_of
from moda.codec.liveportrait.source import driven_keypoints
from moda.errors import UserError


@pytest.fixture
def codec(tmp_path):
    return make_codec(tmp_path)


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    colours = np.random.default_rng(seed).integers(40, 255, (count, 3), np.uint8)
    return [np.broadcast_to(colour, (320, 320, 3)).copy() for colour in colours]


def heads_of_frames(clip: list[np.ndarray]) -> dict[str, np.ndarray]:
    images = torch.stack([torch.from_numpy(frame[:256, :256]).permute(2, 0, 1) / 255 for frame in clip])
    return {name: value.numpy() for name, value in heads_of(images).items()}


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_encode_keeps_the_heads_and_derives_motion_whatever_the_batches(codec, count):
    clip = frames(count)
    made, expected = codec.encode(iter(clip)), heads_of_frames(clip)
    assert made.motion.shape == (count, 70) and made.motion.dtype == np.float32 and made.found.all()
    for name, value in expected.items():
        assert made.raw[name] == pytest.approx(value, abs=1e-4)
    assert made.motion == pytest.approx(motion_of(expected), abs=1e-3)
    assert made.identity == pytest.approx(np.median(expected["kp"], 0), abs=1e-4) and made.identity.shape == (63,)
    assert made.raw["eye_ratios"] == pytest.approx(np.full((count, 2), 0.2), abs=1e-3)
    assert made.raw["lip_ratio"] == pytest.approx(np.full((count, 1), 0.2), abs=1e-3)


def test_frames_without_a_face_are_interpolated_and_too_many_are_an_error(codec):
    clip, black = frames(6), np.zeros((320, 320, 3), np.uint8)
    made = codec.encode([*clip[:2], black, *clip[3:]])
    assert made.found.tolist() == [True, True, False, True, True, True]
    heads = heads_of_frames(clip)
    assert made.raw["exp"][2] == pytest.approx((heads["exp"][1] + heads["exp"][3]) / 2, abs=1e-4)
    assert made.motion == pytest.approx(motion_of(made.raw), abs=1e-6)
    with pytest.raises(UserError, match="1 of 4 frames"):
        codec.encode([clip[0], black, black, black])
    with pytest.raises(UserError, match="0 of 0 frames"):
        codec.encode([])
    with pytest.raises(UserError, match="320 x 200 pixels; crop the face to a square"):
        codec.encode([clip[0][:200]])


def test_a_portrait_is_measured_on_its_crop(codec):
    picture = np.full((300, 501, 3), (200, 120, 60), np.uint8)
    portrait = codec.portrait_of(picture)
    assert portrait.rest == pytest.approx(motion_of(heads_of_frames([picture]))[0], abs=1e-3)
    assert portrait.identity.shape == (63,) and portrait.start is None
    assert codec.picture_size(portrait) == (300, 500)  # even
    assert codec.picture_size(codec.portrait_of(np.full((1000, 2001, 3), 99, np.uint8))) == (640, 1280)


def test_portraits_come_from_files_and_from_made_up_heads(codec, tmp_path, caplog):
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), np.full((200, 200, 3), 90, np.uint8))
    assert codec.picture_size(codec.portrait(path)) == (200, 200)
    assert codec.picture_size(codec.portrait("head:3")) == (512, 512)
    assert np.array_equal(codec.portrait("liveportrait:3").rest, codec.portrait("head:3").rest)
    for name, message in (("head:x", "named identities are"), (tmp_path / "none.png", "does not exist")):
        with pytest.raises(UserError, match=message):
            codec.portrait(name)
    cv2.imwrite(str(path), np.zeros((200, 200, 3), np.uint8))
    with pytest.raises(UserError, match="no face found in .*face.png"):
        codec.portrait(path)
    face = codec.landmarker.detect(np.ones((9, 9, 3)))[0]
    codec.landmarker.detect = lambda rgb: [face, face]
    with caplog.at_level(logging.WARNING):
        codec.portrait("head:3")
    assert "2 faces; the largest is used" in caplog.text


def portrait_of(source) -> Portrait:
    return Portrait(source.canonical.ravel(), random_motion(1, 5)[0], source)


def colours(made) -> np.ndarray:
    return np.stack([frame[0, 0, :2] for frame in made]).astype(int)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
@pytest.mark.parametrize("batch", [2, 3, 50])
def test_batches_do_not_change_frames(tmp_path, mode, batch):
    one = make_codec(tmp_path, batch=1, driving={"mode": mode})
    many = make_codec(tmp_path, batch=batch, driving={"mode": mode})
    portrait, motion = portrait_of(make_source()), random_motion(7, 1)
    expected, made = list(one.decode(portrait, motion)), list(many.decode(portrait, motion))
    assert len(made) == 7 and made[0].shape == (512, 512, 3) and made[0].dtype == np.uint8
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(expected, made, strict=True))
    assert np.ptp(colours(made), 0).max() > 5


def test_relative_motion_in_pieces_is_that_of_the_whole(tmp_path):
    codec = make_codec(tmp_path, driving={"mode": "relative"})
    portrait, motion = portrait_of(make_source()), random_motion(9, 1)
    whole = colours(codec.decode(portrait, motion))
    held = portrait.starting(motion)
    pieces = [colours(codec.decode(held.starting(part), part)) for part in np.split(motion, [2, 3])]
    assert np.array_equal(np.concatenate(pieces), whole)
    loose = [colours(codec.decode(portrait, part)) for part in np.split(motion, [2, 3])]
    assert not np.array_equal(np.concatenate(loose), whole)


def test_frames_come_as_they_are_made(codec):
    codec.batch, calls = 1, []
    whole = codec.spade_generator
    vars(codec)["spade_generator"] = lambda x: calls.append(len(x)) or whole(x)
    made = codec.decode(portrait_of(make_source()), random_motion(4))
    next(made)
    assert calls == [1]
    assert len(list(made)) == 3 and calls == [1] * 4
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_pixels_are_the_generator_s_values_cut_off(codec):
    vars(codec)["spade_generator"] = lambda x: torch.linspace(0, 1, 512).expand(len(x), 3, 512, 512)
    frame = next(codec.decode(portrait_of(make_source()), random_motion(1)))
    assert np.array_equal(frame[0, :, 0], (np.linspace(0, 1, 512, dtype=np.float32) * 255).astype(np.uint8))


def test_another_size_is_scaled_and_wrong_input_refused(tmp_path):
    codec = make_codec(tmp_path, size=128)
    portrait = portrait_of(make_source())
    assert next(codec.decode(portrait, random_motion(1))).shape == (128, 128, 3)
    assert list(codec.decode(portrait, np.zeros((0, 70), np.float32))) == []
    with pytest.raises(UserError, match="70 dimensions"):
        codec.decode(portrait, np.zeros((1, 59), np.float32))
    with pytest.raises(UserError, match="another codec"):
        codec.decode(Portrait(np.zeros(63), np.zeros(70), None), random_motion(1))
    with pytest.raises(UserError, match="70 dimensions"):
        codec.lip_aperture(np.zeros((2, 59)))
    with pytest.raises(UserError, match="batch is 0"):
        make_codec(tmp_path, batch=0)
    with pytest.raises(UserError, match="precision is 'int8'"):
        make_codec(tmp_path, precision="int8")
    with pytest.raises(UserError, match="precision=float16 needs a GPU"):
        make_codec(tmp_path, precision="float16")
    with pytest.raises(UserError, match="no setting driving.nose"):
        make_codec(tmp_path, driving={"nose": 1})


def test_compiling_on_a_cpu_is_left_out_and_said_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert not make_codec(tmp_path, compile=True).compiled
    assert "compile=true is left out" in caplog.text


def test_pasting_back_shows_the_whole_picture(codec):
    picture = np.random.default_rng(0).integers(1, 255, (200, 300, 3), np.uint8)
    portrait = codec.portrait_of(picture)
    made = list(codec.paste_back(portrait, codec.decode(portrait, random_motion(2))))
    assert [frame.shape for frame in made] == [(200, 300, 3)] * 2
    assert np.array_equal(made[0][:, :5], picture[:, :5]) and not np.array_equal(made[0], picture)
    codec.size = 128
    assert next(codec.paste_back(portrait, codec.decode(portrait, random_motion(1)))).shape == (200, 300, 3)


def test_contract_and_fingerprint(codec, monkeypatch):
    monkeypatch.setattr(codec, "weights_digest", lambda: "weights")
    assert (codec.name, codec.layout.name, codec.identity_dim, codec.size) == (
        "liveportrait",
        "liveportrait70",
        63,
        512,
    )
    assert len(codec.fingerprint) == 64
    assert isinstance(codec, PastesBack)


# what becomes of keypoints after motion has placed them


def driven(codec, source, driving, motion=None, **ratios) -> np.ndarray:
    motion = FaceMotion.of(random_motion(3, 1) if motion is None else motion)
    start = FaceMotion.of(random_motion(3, 1)[:1])
    return driven_keypoints(codec, source, motion, start, driving, **ratios).numpy()


def placed(source, driving) -> np.ndarray:
    motion = FaceMotion.of(random_motion(3, 1))
    start = FaceMotion.of(random_motion(3, 1)[:1])
    return driving.compose(source.motion, motion, start).place(source.canonical)


BARE = Driving(stitching=False)


def test_stitching_moves_each_keypoint_and_all_of_them_in_the_picture(codec):
    source = make_source()
    moved = driven(codec, source, Driving()) - driven(codec, source, BARE)
    assert moved == pytest.approx(np.tile([0.11, 0.21, 0.01], (3, 21, 1)), abs=1e-5)


def test_stitching_is_told_source_then_driving(codec):
    seen = []
    vars(codec)["stitching"] = lambda x: seen.append(x) or torch.zeros(len(x), 65)
    source = make_source()
    driven(codec, source, Driving())
    assert seen[0].shape == (3, 126)
    assert seen[0][:, :63].numpy() == pytest.approx(np.repeat(source.keypoints.reshape(1, 63), 3, 0), abs=1e-6)
    assert seen[0][:, 63:].numpy() == pytest.approx(placed(source, Driving()).reshape(3, 63), abs=1e-5)


@pytest.mark.parametrize("mode", ["absolute", "relative"])
def test_retargeting_adds_to_the_motion_or_in_relative_driving_to_the_portrait(codec, mode):
    source, driving = make_source(lip_ratio=0.1), replace(BARE, mode=mode)
    base = source.keypoints if mode == "relative" else placed(source, driving)
    both = driven(codec, source, driving, eye_ratio=0.5, lip_ratio=0.3)
    assert both == pytest.approx(np.broadcast_to(base + (0.5 - 0.3) + (0.3 - 0.1), (3, 21, 3)), abs=1e-5)
    over_time = driven(codec, source, driving, lip_ratio=np.array([0.1, 0.2, 0.4]))
    assert over_time - base == pytest.approx(np.array([0, 0.1, 0.3])[:, None, None] * np.ones((3, 21, 3)), abs=1e-5)


@pytest.mark.parametrize(("ratio", "closes"), [(0.029, 0.0), (0.03, 0.03), (0.2, 0.2)])
def test_an_open_mouth_is_closed_first(codec, ratio, closes):
    source = make_source(lip_ratio=ratio)
    moved = driven(codec, source, replace(BARE, normalize_lip=True)) - driven(codec, source, BARE)
    assert moved == pytest.approx(np.full((3, 21, 3), -closes), abs=1e-5)


def test_the_multiplier_counts_from_the_portrait(codec):
    source, whole = make_source(), driven(codec, make_source(), Driving())
    half = driven(codec, source, Driving(multiplier=0.5))
    assert half == pytest.approx((whole + source.keypoints) / 2, abs=1e-5)
    assert driven(codec, source, Driving(multiplier=0.0)) == pytest.approx(np.repeat(source.keypoints, 3, 0), abs=1e-6)


def test_the_driving_of_a_call_counts_before_the_codec_s_own(tmp_path):
    codec = make_codec(tmp_path, driving={"multiplier": 0.0, "eye_ratio": 0.4})
    portrait, motion = portrait_of(make_source()), random_motion(2)
    still = colours(codec.decode(portrait, motion))
    assert np.array_equal(still[0], still[1])
    assert not np.array_equal(colours(codec.decode(portrait, motion, driving=Driving())), still)
    seen = []
    vars(codec)["eye"] = lambda x: seen.append(x[:, 65].tolist()) or torch.zeros(len(x), 63)
    list(codec.decode(portrait, motion))
    list(codec.decode(portrait, motion, eye_ratio=np.array([0.1, 0.2])))
    assert np.array(seen) == pytest.approx(np.array([[0.4, 0.4], [0.1, 0.2]]))
