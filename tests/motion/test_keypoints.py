import numpy as np
import torch

from moda.motion.keypoints import motion_keypoints, rotation_matrices, transform_keypoints
from moda.motion.layout import get_layout
from moda.motion.rotation import rotation_matrix

LAYOUT = get_layout("liveportrait70")


def test_rotations_are_those_of_numpy():
    angles = np.random.default_rng(0).uniform(-80, 80, (50, 3))
    np.testing.assert_allclose(rotation_matrices(torch.from_numpy(angles)).numpy(), rotation_matrix(angles), atol=1e-12)


def test_a_face_at_rest_is_its_canonical_keypoints():
    canonical = torch.randn(21, 3, dtype=torch.float64)
    motion = torch.zeros(4, 70, dtype=torch.float64)
    motion[:, LAYOUT.index("scale")] = 1
    torch.testing.assert_close(motion_keypoints(motion, canonical), canonical.expand(4, 21, 3))


def test_each_part_of_the_motion_does_what_it_says():
    canonical = torch.randn(21, 3, dtype=torch.float64)
    motion = torch.zeros(70, dtype=torch.float64)
    motion[LAYOUT.index("scale")], motion[LAYOUT.index("translationX")] = 2.0, 0.25
    motion[LAYOUT.index("translationZ")] = 5.0  # is left out
    motion[LAYOUT.index("expression6Y")] = 0.1
    motion[LAYOUT.index("roll")] = 90.0
    x, y, z = canonical.unbind(-1)
    turned = torch.stack([-y, x, z], -1)  # clockwise, as seen
    turned[6, 1] += 0.1
    torch.testing.assert_close(motion_keypoints(motion, canonical), 2 * turned + torch.tensor([0.25, 0, 0]))


def test_gradients_reach_all_parts():
    parts = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 21, 3), (2, 1), (2, 3), (2, 3))
    ]
    assert torch.autograd.gradcheck(lambda *given: transform_keypoints(torch.ones(21, 3).double(), *given), parts)
