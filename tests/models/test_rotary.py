import pytest
import torch

from moda.models.rotary import MOST_SHAPES, RotaryAngles, rope_rotation, rotate
from moda.models.stages import parse_stages

CPU = torch.device("cpu")
STAGES = parse_stages(
    [
        {"depth": 1, "groups": [["motion"], ["audio"], ["emotion", "identity"]]},
        {"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]},
    ]
)


def angles(context: int = 0, repeat_conditions: bool = False) -> RotaryAngles:
    return RotaryAngles(STAGES, context, repeat_conditions, 16, 256.0)


def at(*places: float) -> torch.Tensor:
    return rope_rotation(torch.tensor(places), 16, 256.0)


def test_attention_depends_on_distance_in_time():
    query, key = torch.randn(2, 1, 1, 16)
    pairs = ((0.0, 3.0), (10.5, 13.5), (77.0, 80.0))
    scores = [(rotate(query, at(a)) * rotate(key, at(b))).sum() for a, b in pairs]
    torch.testing.assert_close(scores[1], scores[0])
    torch.testing.assert_close(scores[2], scores[0])


def test_position_zero_is_no_rotation():
    x = torch.randn(2, 3, 4, 16)
    torch.testing.assert_close(rotate(x, at(0, 0, 0)), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rotation_is_the_same_in_real_and_in_complex_numbers(monkeypatch, dtype):
    x, rotation = torch.randn(2, 3, 4, 16, requires_grad=True), at(0, 1.5, 40)
    complex_ = rotate(x.to(dtype), rotation)
    (gradient,) = torch.autograd.grad(complex_.float().square().sum(), x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    real = rotate(x.to(dtype), rotation)
    (other,) = torch.autograd.grad(real.float().square().sum(), x)
    assert complex_.dtype == real.dtype == torch.float32
    torch.testing.assert_close(complex_, real)
    torch.testing.assert_close(gradient, other)


def test_motion_tokens_stand_at_the_centre_of_their_frames_and_context_before_the_window():
    apart, joined = angles(context=3)(8, 2, CPU)
    torch.testing.assert_close(apart[:5], at(-10.5, -6.5, -2.5, 1.5, 5.5))
    torch.testing.assert_close(apart[5:13], at(*range(8)))
    torch.testing.assert_close(joined[:13], apart[:13])


def test_static_streams_have_a_place_in_time_only_where_others_have():
    apart, joined = angles(repeat_conditions=True)(4, 4, CPU)
    assert len(apart) == len(joined) == 16
    torch.testing.assert_close(apart[8:], at(*[0] * 8))
    torch.testing.assert_close(joined[8:], at(0, 1, 2, 3, 0, 1, 2, 3))


def test_angles_are_computed_once_for_each_shape_and_serve_training_after_sampling():
    rotary = angles()
    with torch.inference_mode():
        first = rotary(8, 2, CPU)
    assert rotary(8, 2, CPU) is first
    x = torch.randn(1, 12, 1, 16, requires_grad=True)
    rotate(x, first[0]).sum().backward()  # an inference tensor could not be kept for this
    assert x.grad is not None
    for frames in range(8, 8 + MOST_SHAPES):
        rotary(frames, frames, CPU)
    assert rotary(8, 2, CPU) is not first, "angles of old shapes are forgotten"
