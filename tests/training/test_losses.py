from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moda.errors import UserError
from moda.motion import MotionStatistics, get_layout
from moda.training.losses import GroupErrors, KeypointErrors, dimension_weights, temporal_difference, weighted_mean

HEAD = get_layout("head59")


def statistics(dead: tuple[str, ...] = ()) -> MotionStatistics:
    std = np.ones(HEAD.dim)
    for name in dead:
        std[HEAD.index(name)] = 0
    return MotionStatistics(HEAD, np.zeros(HEAD.dim), std, 100)


def test_lips_override_the_expression_and_dead_dimensions_weigh_nothing() -> None:
    weights = dimension_weights(statistics(dead=("tongueOut",)), {"lips": 3, "expression": 2, "rotation": 0.5})
    assert weights[HEAD.index("browInnerUp")] == 2
    assert weights[HEAD.index("mouthClose")] == weights[HEAD.index("jawOpen")] == 3
    assert weights[HEAD.index("scale")] == 1
    assert weights[HEAD.index("yaw")] == 0.5
    assert weights[HEAD.index("tongueOut")] == 0


def test_unknown_negative_and_useless_weights_are_refused() -> None:
    with pytest.raises(UserError, match="'nose'; layout head59 has expression"):
        dimension_weights(statistics(), {"nose": 1})
    with pytest.raises(UserError, match="scale=-1"):
        dimension_weights(statistics(), {"scale": -1})
    with pytest.raises(UserError, match="scale=nan: must be a number"):
        dimension_weights(statistics(), {"scale": float("nan")})
    with pytest.raises(UserError, match="no dimension to learn"):
        dimension_weights(statistics(), dict.fromkeys(HEAD.groups, 0.0))


def test_the_weighted_mean_of_a_constant_is_the_constant_whatever_is_masked() -> None:
    values = torch.full((2, 5, 3), 4.0)
    weight = torch.tensor([1.0, 0.0, 2.0])
    valid = torch.zeros(2, 5, dtype=torch.bool)
    valid[0, :3] = valid[1, :1] = True
    values[~valid] = 1e6
    values[..., 1] = -1e6
    assert weighted_mean(values, weight, valid).item() == pytest.approx(4)
    assert weighted_mean(values, weight, torch.zeros_like(valid)).item() == 0


def test_the_weighted_mean_weighs() -> None:
    values = torch.tensor([[[1.0, 5.0]]])
    assert weighted_mean(values, torch.tensor([3.0, 1.0]), torch.ones(1, 1, dtype=torch.bool)).item() == 2


def test_the_weighted_mean_of_a_batch_is_the_mean_of_its_parts() -> None:
    values, weight = torch.rand(6, 5, 3), torch.rand(3)
    valid = torch.arange(5) < torch.tensor([5, 1, 3, 2, 5, 4])[:, None]  # clips of unlike lengths
    parts = [weighted_mean(values[rows], weight, valid[rows]) for rows in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(torch.stack(parts).mean(), weighted_mean(values, weight, valid))


def test_temporal_difference_of_a_ramp_is_its_slope() -> None:
    ramp = torch.arange(6.0)[None, :, None] * 0.5
    torch.testing.assert_close(temporal_difference(ramp), torch.full((1, 5, 1), 0.5))


def test_group_errors_measure_their_own_dimensions() -> None:
    squared = torch.zeros(1, 4, HEAD.dim)
    squared[..., HEAD.groups["rotation"]] = 2.0
    weight = torch.ones(HEAD.dim)
    weight[HEAD.groups["scale"]] = 0
    errors = GroupErrors(HEAD, weight)(squared, torch.ones(1, 4, dtype=torch.bool))
    assert errors["rotation"] == 2 and errors["expression"] == 0 and errors["lips"] == 0
    assert "scale" not in errors


def keypoint_manifest(layout: str = "liveportrait70", identity_dim: int = 63) -> SimpleNamespace:
    layout_ = get_layout(layout)
    std = np.full(layout_.dim, 0.1)
    std[layout_.index("translationZ")] = 0  # never moves
    statistics = MotionStatistics(layout_, np.zeros(layout_.dim), std, 100)
    return SimpleNamespace(layout=layout_, statistics=statistics, identity_dim=identity_dim)


def test_keypoint_errors_are_in_hundredths_of_half_a_picture() -> None:
    errors = KeypointErrors(keypoint_manifest())
    truth, identity = torch.randn(2, 5, 70), torch.randn(2, 63)
    truth[..., 63] = 10.0  # scale 1
    made = truth.clone()
    made[..., 64] += 0.3  # 0.03 to the right
    made[..., 66] += 99.0  # dead
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, 2:] = False
    made[1, 2:] = 1e3
    assert errors(made, truth, identity, valid).item() == pytest.approx(9.0, rel=1e-3)


def test_keypoint_errors_need_keypoints() -> None:
    with pytest.raises(UserError, match="loss.keypoints needs motion of layout liveportrait70.*head59"):
        KeypointErrors(keypoint_manifest("head59"))
