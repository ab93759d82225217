"""S3FD's heads against the original's numbers; boxes and their suppression by hand."""

import numpy as np
import pytest
import torch
from golden_rule import by_rule, generator, matches, normal_input

from moda.errors import UserError
from moda.eval.networks import S3FD
from moda.eval.networks.s3fd import STRIDES, suppress

LOC = (-0.12208372, 0.0995300871, [-0.03364015, -0.1118387, -0.2861225, -0.09159572, -0.06328368, -0.1289609, -0.3266622, -0.09880161, -0.06932499, 0.06577506, -0.1399901, -0.1530882])  # fmt: skip
CONF = (0.5, 0.0467947597, [0.535091, 0.4469428, 0.5397619, 0.4532401, 0.5490931, 0.4503691, 0.5466319, 0.4499364, 0.5487432, 0.4739592, 0.5175133, 0.4710449])  # fmt: skip
PRIORS = (0.319511641, 0.296935197, [0.01041667, 0.1, 0.08333334, 0.3375, 0.8229167, 0.1, 0.08333334, 0.7875, 0.6354167, 0.2, 0.1666667, 0.875])  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return by_rule(S3FD)


@pytest.fixture
def planted(monkeypatch):
    """A detector that finds one face of ``side`` pixels centred at (x, y) of the picture as given to it."""

    def make(network, x, y, side, score=0.99):
        def heads(images):
            height, width = images.shape[2:]
            priors = torch.tensor([[0.5, 0.5, 0.1, 0.2], [0.9, 0.9, 0.1, 0.1]])
            target = torch.tensor([x / width, y / height, side / width, side / height])
            loc = torch.zeros(1, 2, 4)
            loc[0, 0, :2] = (target[:2] - priors[0, :2]) / priors[0, 2:] / 0.1
            loc[0, 0, 2:] = (target[2:] / priors[0, 2:]).log() / 0.2
            return {"loc": loc, "conf": torch.tensor([[[1 - score, score], [0.96, 0.04]]]), "priors": priors}

        monkeypatch.setattr(network, "forward", heads)

    return make


def test_agrees_with_the_original(network):
    heads = network(50 * normal_input("image", (1, 3, 160, 192)))
    assert matches(heads["loc"], LOC)
    assert matches(heads["conf"], CONF)
    assert matches(heads["priors"], PRIORS)


def test_boxes_are_decoded_to_pixels(network, planted):
    planted(network, x=60, y=100, side=40)
    boxes = network.detect(np.zeros((240, 320, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[40, 80, 80, 120, 0.99]], rtol=1e-4)
    assert network.detect(np.zeros((240, 320, 3), np.uint8), threshold=0.99).shape == (0, 5)
    quarter = network.detect(np.zeros((240, 320, 3), np.uint8), scales=(0.25,))
    np.testing.assert_allclose(quarter[:, :4], [[160, 320, 320, 480]], rtol=1e-4)
    assert len(network.detect(np.zeros((240, 320, 3), np.uint8), scales=(1.0, 0.25))) == 2


def test_detect_is_bgr_less_its_mean_and_follows_the_picture(network):
    """With weights of chance there are no faces, but scores above 0.5: they must be those of the raw heads."""
    image = (255 * generator("input:picture").random((96, 128, 3))).astype(np.uint8)
    boxes = network.detect(image, threshold=0.5)
    pixels = torch.from_numpy(image.astype(np.float32) - np.array([104, 117, 123], np.float32)).permute(2, 0, 1)
    heads = network(pixels[None])
    best = heads["conf"][0, :, 1].argmax()
    prior, loc = heads["priors"][best], heads["loc"][0, best]
    centre = (prior[:2] + 0.1 * loc[:2] * prior[2:]) * torch.tensor([128, 96])
    size = prior[2:] * (0.2 * loc[2:]).exp() * torch.tensor([128, 96])
    expected = torch.cat([centre - size / 2, centre + size / 2, heads["conf"][0, best, 1:]])
    np.testing.assert_allclose(boxes[0], expected.numpy(), rtol=1e-4, atol=1e-3)
    assert (np.diff(boxes[:, 4]) <= 0).all()
    rgb = np.ascontiguousarray(image[..., ::-1])
    halves = (network.detect(picture, threshold=0.5, scales=(0.5,)) for picture in (image, rgb[..., ::-1]))
    np.testing.assert_array_equal(*halves)


def test_every_anchor_is_four_strides_wide(network):
    height, width = 92, 140  # maps of 23 x 35, then rounded up
    priors = network(torch.zeros(1, 3, height, width))["priors"].numpy()
    sides, count = np.unique((priors[:, 2] * width).round(), return_counts=True)
    assert sides.tolist() == [4 * stride for stride in STRIDES]
    assert count[:3].tolist() == [23 * 35, 12 * 18, 6 * 9]


def test_suppression_keeps_the_best_of_what_overlaps():
    boxes = np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.7], [0, 5, 10, 15, 0.6]], np.float32)
    assert suppress(boxes, 0.3).tolist() == [1, 2, 3]  # 9/11 falls; the last shares 45/155 with the best
    assert suppress(boxes, 0.25).tolist() == [1, 2]
    assert suppress(boxes[:0], 0.3).tolist() == []


def test_refuses_other_inputs(network):
    with pytest.raises(UserError, match="S3FD takes float"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(UserError, match="uint8 BGR picture"):
        network.detect(np.zeros((64, 64, 3), np.float32))
    with pytest.raises(UserError, match=r"40 x 40 at scale 0.25 is too small"):
        network.detect(np.zeros((40, 40, 3), np.uint8), scales=(0.25,))
