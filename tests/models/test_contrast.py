import math

import pytest
import torch

from moda.models.contrast import SHARPNESS, WITHIN, sync_contrast


def clips(*lengths: int) -> torch.Tensor:
    return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))


def test_embeddings_that_tell_nothing_cost_what_guessing_costs() -> None:
    same, valid = torch.ones(8, 4), torch.ones(8, dtype=torch.bool)
    losses, _ = sync_contrast(same, same, clips(2, 6), valid)
    within, among = [math.log(2)] * 2 + [math.log(6)] * 6, math.log(8)
    assert losses.tolist() == pytest.approx([WITHIN * own + (1 - WITHIN) * among for own in within], rel=1e-4)


def test_two_pairs_have_the_closed_form() -> None:
    video, audio, valid = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [9.0]]), torch.ones(2, dtype=torch.bool)
    closed = math.log1p(math.exp(-SHARPNESS * 8 / 5))  # distances 1 and 9, their mean 5
    together, found = sync_contrast(video, audio, clips(2), valid)
    assert together.tolist() == pytest.approx([closed] * 2, rel=1e-4) and found.all()
    apart, found = sync_contrast(video, audio, clips(1, 1), valid)  # nothing to tell apart within a clip
    assert apart.tolist() == pytest.approx([(1 - WITHIN) * closed] * 2, rel=1e-4) and found.all()


def test_knowing_the_clip_alone_finds_nothing_within_it() -> None:
    voices = torch.eye(2).repeat_interleave(4, 0)
    losses, found = sync_contrast(voices, voices, clips(4, 4), torch.ones(8, dtype=torch.bool))
    assert found.float().mean() <= 0.25 and losses.mean() > WITHIN * math.log(4)


def test_rows_after_the_end_of_a_clip_do_not_count() -> None:
    torch.manual_seed(0)
    video, audio = torch.randn(6, 8, requires_grad=True), torch.randn(6, 8)
    valid = torch.tensor([True, True, True, True, False, False])
    losses, found = sync_contrast(video, audio, clips(3, 3), valid)
    alone, _ = sync_contrast(video[:4], audio[:4], clips(3, 1), valid[:4])
    assert torch.allclose(losses[:4], alone) and losses[4:].eq(0).all() and not found[4:].any()
    losses.sum().backward()
    assert video.grad is not None and video.grad.isfinite().all() and video.grad[4:].eq(0).all()
    nothing, _ = sync_contrast(video, audio, clips(3, 3), torch.zeros(6, dtype=torch.bool))
    assert nothing.eq(0).all()


def test_the_scale_of_the_embeddings_does_not_matter() -> None:
    torch.manual_seed(0)
    video, audio, valid = torch.randn(6, 8), torch.randn(6, 8), torch.ones(6, dtype=torch.bool)
    one, _ = sync_contrast(video, audio, clips(3, 3), valid)
    large, _ = sync_contrast(1000 * video, 1000 * audio, clips(3, 3), valid)
    assert torch.allclose(one, large, rtol=1e-3)
