"""Faces are aligned as the networks want them, and known again."""

from pathlib import Path

import numpy as np
import pytest

from moda.codec.head.codec import HeadCodec
from moda.errors import UserError
from moda.eval.networks import ArcFace, DlibFaces
from moda.eval.networks.recognition import aligned, similarity
from moda.eval.videos.extractors.identity import likeness
from moda.face.landmarker import Face, FaceLandmarker
from moda.weights import find


def test_a_similarity_is_found_again_and_mirrors_are_not_made():
    points = np.random.default_rng(0).normal(size=(5, 2))
    turn = 2.5 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    matrix = similarity(points, points @ turn.T + [3, -4])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [3, -4]]), atol=1e-12)
    assert np.linalg.det(similarity(points, points * [-1, 1])[:, :2]) > 0


@pytest.mark.parametrize("network", [ArcFace, DlibFaces])
def test_a_face_is_brought_to_the_places_of_the_template(network):
    landmarks = np.zeros((478, 3), np.float32)
    face = Face(landmarks, np.zeros(52, np.float32), (0, 0, 1, 1))
    places = {ArcFace: [(33, 133), (362, 263), (1,), (61,), (291,)], DlibFaces: [(33,), (133,), (362,), (263,), (2,)]}
    rgb = np.zeros((600, 600, 3), np.uint8)
    for point, which in zip(network.template, places[network], strict=True):
        at = 3 * point + (40, 25)  # three times as large, elsewhere
        landmarks[list(which), :2] = at
        x, y = at.round().astype(int)
        rgb[y - 6 : y + 7, x - 6 : x + 7] = 255
    picture = aligned(rgb, face, network)
    assert picture.shape == (network.side, network.side, 3)
    for x, y in network.template.round().astype(int):
        assert picture[y, x].min() > 150  # bright at the template's points
    assert picture[:10].max() < 30


def test_dlib_tells_rendered_people_apart():
    codec, landmarker, network = HeadCodec(size=256), FaceLandmarker(), DlibFaces.from_pretrained(find("dlib_faces"))
    faces = []
    for name in ("head:1", "head:5"):
        portrait = codec.portrait(name)
        motion = np.stack([portrait.rest] * 2)
        motion[1, codec.layout.groups["rotation"]] += (0.05, 0.2, 0.1)
        for frame in codec.decode(portrait, motion):
            faces.append(aligned(frame, landmarker.detect(frame)[0], network))
    one, one_turned, other, other_turned = network.embed(np.stack(faces))
    within = likeness(np.stack([one_turned, other_turned]), one, cosine=False)[0]
    assert within < 0.45 < likeness(np.stack([other, other_turned]), one, cosine=False).min()


def write_onnx(path: Path, side: int = 112) -> Path:
    """A network of ArcFace's shapes: the first 512 values of the picture."""
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input.1"], ["flat"]),
            helper.make_node("Slice", ["flat", "start", "stop", "axes"], ["683"]),
        ],
        "face",
        [helper.make_tensor_value_info("input.1", real, ["None", 3, side, side])],
        [helper.make_tensor_value_info("683", real, ["None", 512])],
        [
            helper.make_tensor(n, onnx.TensorProto.INT64, [1], [v])
            for n, v in (("start", 0), ("stop", 512), ("axes", 1))
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_arcface_takes_rgb_around_zero(tmp_path: Path):
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    found = ArcFace.from_pretrained(write_onnx(tmp_path / "w600k_r50.onnx")).embed(faces)
    expected = (faces[..., 0].reshape(2, -1)[:, :512].astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_other_files_are_named(tmp_path: Path):
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    with pytest.raises(UserError, match=r"cannot be read as ArcFace .*give w600k_r50\.onnx"):
        ArcFace.from_pretrained(text)
    with pytest.raises(UserError, match=r"is not ArcFace: its shapes are \[\[3, 64, 64\]"):
        ArcFace.from_pretrained(write_onnx(tmp_path / "small.onnx", 64))
    with pytest.raises(UserError, match=r"cannot be read as dlib's face recognition; give dlib_face"):
        DlibFaces.from_pretrained(text)


def test_likeness_is_a_cosine_or_a_distance():
    ours, anchor = np.array([[3.0, 0], [0, 2]], np.float32), np.array([1.0, 0], np.float32)
    assert likeness(ours, anchor, cosine=True) == pytest.approx([1, 0])
    assert likeness(ours, anchor, cosine=False) == pytest.approx([2, 5**0.5])
