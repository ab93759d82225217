"""FID's Inception against the original's numbers, and its resize against TensorFlow 1's rule."""

import numpy as np
import pytest
import torch
from golden_rule import SALT, by_rule, matches, uniform_input

from moda.errors import UserError
from moda.eval.networks import FIDInception
from moda.eval.networks.inception import resize_2015

# salt of the weights -> what the original computes: features, logits. The second is torch-fidelity 0.4.0's, whose
# network gives the first to the last digit too.
ORIGINAL = {
    SALT: (
        (0.074146796, 0.104959884, [0.0, 0.3145015, 0.2280798, 0.0, 0.1425383, 0.006653641, 0.0, 0.007415341, 0.0, 0.03661465, 0.0, 0.2761172]),
        (0.0046168968, 0.128471132, [0.2839013, -0.09654067, -0.1279848, -0.04792539, -0.2021652, -0.2721541, 0.05067445, -0.1381997, -0.2045295, 0.1211768, 0.0006203614, -0.09044998]),
    ),
    "another-salt": (
        (0.0727203254, 0.105914194, [0.005684783, 0.0, 0.09414575, 0.0, 0.006275591, 0.002506164, 4.900391e-05, 0.03834095, 0.05343372, 0.3962323, 0.0, 0.0]),
        (-0.00573779904, 0.127065439, [0.1250642, -0.07823297, -0.146833, -0.1779521, -0.3919935, -0.06642272, 0.09079155, 0.01101186, -0.1242205, -0.1328596, -0.003021739, -0.03569796]),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return by_rule(FIDInception)


@pytest.mark.parametrize("salt", ORIGINAL)
def test_agrees_with_the_original(salt):
    images = (255 * uniform_input("image_uint8", (2, 3, 256, 256), salt)).to(torch.uint8)
    outputs = by_rule(FIDInception, salt)(images)
    assert outputs["2048"].shape == (2, 2048) and outputs["logits_unbiased"].shape == (2, 1008)
    assert matches(outputs["2048"], ORIGINAL[salt][0])
    assert matches(outputs["logits_unbiased"], ORIGINAL[salt][1])


def test_resize_reads_position_i_times_the_scale():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # value = column
    wide = resize_2015(ramp, 20)[0, 0, 0].numpy()
    np.testing.assert_allclose(wide, np.minimum(np.arange(20) * 0.4, 7), atol=1e-5)
    narrow = resize_2015(ramp, 4)
    assert narrow[0, 0, 0].tolist() == [0, 2, 4, 6]  # no blur, no half pixel
    assert torch.equal(resize_2015(ramp.mT, 4), narrow.mT)
    assert torch.equal(resize_2015(ramp, 8), ramp)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 64, 64), torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 64, 64, dtype=torch.uint8)])  # fmt: skip
def test_refuses_other_inputs(network, images):
    with pytest.raises(UserError, match="takes uint8"):
        network(images)
