import numpy as np
import pytest

from moda.codec.head.correspondence import BASE_HEAD, load_landmarks, measure_landmarks
from moda.codec.head.identity import random_head
from moda.codec.head.mesh import LEFT_EYE, LOWER_TEETH, MOUTH, RIGHT_EYE, TONGUE, UPPER_TEETH, load_mesh
from moda.codec.head.renderer import HeadRenderer, project, rest_motion
from moda.codec.head.targets import SHAPE_TARGETS
from moda.motion.layout import get_layout

LAYOUT = get_layout("head59")


@pytest.fixture(scope="module")
def renderer():
    return HeadRenderer(96, 1)


def motion(**values):
    vector = rest_motion()
    for name, value in values.items():
        vector[LAYOUT.index(name)] = value
    return vector


def test_mesh_normals_point_outwards_and_it_is_symmetric():
    mesh = load_mesh()
    normals = mesh.normals(mesh.vertices)
    skull = (mesh.vertices[:, 1] < -0.4) & (mesh.follow > 0.99)
    assert ((normals * mesh.vertices)[skull].sum(1) > 0).mean() > 0.99
    mirrored = mesh.vertices * [-1, 1, 1]
    nearest = np.abs(mirrored[::37, None] - mesh.vertices[None]).sum(-1).min(1)
    assert nearest.max() < 0.02


def test_gaze_moves_the_eyes():
    mesh = load_mesh()
    eye = np.unique(mesh.quads[mesh.part == LEFT_EYE])
    look_in = mesh.expressions[LAYOUT.index("eyeLookInLeft")][eye]
    assert look_in[:, 0].min() < -0.02  # the person's left eye is on the right: inwards is -x


def test_translation_and_scale_are_what_the_layout_says(renderer):
    rest = BASE_HEAD.vertices(renderer.mesh)
    centre = np.zeros((1, 3), np.float32)
    assert np.allclose(project(centre, motion(translationX=0.25, translationY=-0.5)), [[0.25, -0.5]])
    small, large = (renderer.pose(rest, motion(scale=s)) for s in (0.5, 1.0))
    assert np.allclose(2 * small, large, atol=1e-6)


def test_signs_of_rotation(renderer):
    rest = BASE_HEAD.vertices(renderer.mesh)
    nose = int(np.argmin(np.where(renderer.mesh.follow > 0.99, rest[:, 2], 9)))
    x, y, _ = rest[nose]
    assert renderer.pose(rest, motion(yaw=30))[nose, 0] < x - 0.1  # to the left of the image
    assert renderer.pose(rest, motion(pitch=30))[nose, 1] > y + 0.1  # down
    crown = int(np.argmin(rest[:, 1]))
    assert renderer.pose(rest, motion(roll=30))[crown, 0] > rest[crown, 0] + 0.1  # clockwise


def test_shoulders_stay_when_the_head_turns(renderer):
    rest = BASE_HEAD.vertices(renderer.mesh)
    turned = renderer.pose(rest, motion(yaw=30))
    shoulders = renderer.mesh.follow == 0
    head = renderer.mesh.follow == 1
    moved = np.linalg.norm(turned - rest, axis=1)
    assert moved[shoulders].mean() < 0.25 * moved[head].mean()


def test_frames_are_deterministic_and_answer_the_motion(renderer):
    head = random_head(3)
    rest = renderer.render(head, rest_motion())
    assert rest.shape == (96, 96, 3) and rest.dtype == np.uint8
    assert np.array_equal(rest, HeadRenderer(96, 1).render(random_head(3), rest_motion()))
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight", "eyeLookInLeft", "browInnerUp"):
        assert np.abs(renderer.render(head, motion(**{name: 1})).astype(int) - rest).max() > 20, name


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_lids_close_over_the_eyes_and_lips_over_the_mouth(seed):
    renderer = HeadRenderer(192, 1)
    mesh, head = renderer.mesh, random_head(seed)
    rest = head.vertices(mesh)

    def seen(parts, **values):
        """Samples in which a quad of these parts is in front."""
        *_, index = renderer.paint(renderer.pose(rest, motion(**values)), motion(**values))
        return np.isin(mesh.part[index[index > 0] - 1], parts).sum()

    eyes, mouth = (LEFT_EYE, RIGHT_EYE), (UPPER_TEETH, LOWER_TEETH, TONGUE, MOUTH)
    assert seen(eyes, eyeBlinkLeft=1, eyeBlinkRight=1) < 0.1 * seen(eyes)
    opened = seen(mouth, jawOpen=0.6)
    assert opened > 150
    assert seen(mouth) < 0.1 * opened
    assert seen(mouth, jawOpen=0.5, mouthClose=0.5) < 0.1 * opened
    assert seen((UPPER_TEETH, LOWER_TEETH), jawOpen=0.6) > 20


def test_random_heads_differ_and_stay_in_bounds():
    heads = [random_head(seed) for seed in range(20)]
    assert len(set(heads)) == 20 and random_head(7) == heads[7]
    for head in heads:
        assert len(head.shape) == len(SHAPE_TARGETS)
        assert min(head.shape) >= 0 and max(head.shape) <= 1
        for colour in (head.skin, head.lips, head.hair, head.iris):
            assert all(0 <= value <= 255 for value in colour)


def test_no_random_head_is_a_monster():
    mesh, known = load_mesh(), load_landmarks()
    for seed in range(30):
        face = random_head(seed).vertices(mesh)[known.vertices]
        eyes = np.linalg.norm(face[33] - face[263])
        assert 0.9 < np.linalg.norm(face[168] - face[152]) / eyes < 1.7  # bridge to chin
        assert 0.3 < np.linalg.norm(face[61] - face[291]) / eyes < 0.8  # width of the mouth
        assert face[1, 2] < face[[33, 263, 61, 291], 2].min()  # the tip of the nose stands out
        assert face[0, 1] < face[17, 1] < face[152, 1]  # lips above chin


def test_stored_landmarks_are_what_the_landmarker_sees():
    known, mesh = load_landmarks(), load_mesh()
    vertices, template, _ = measure_landmarks([BASE_HEAD, random_head(1000), random_head(1001)], size=256)
    distance = np.linalg.norm(mesh.vertices[vertices] - mesh.vertices[known.vertices], axis=1)
    assert np.median(distance) < 0.02 and np.quantile(distance, 0.9) < 0.06
    assert np.abs(template - known.template).mean() < 0.03
    assert 100 < len(known.rigid) < 350
