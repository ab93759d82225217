import math

import pytest
import torch

from moda.models.contrast import SHARPNESS, sync_contrast


def test_embeddings_that_tell_nothing_cost_what_guessing_costs() -> None:
    same = torch.ones(8, 4)
    losses, _ = sync_contrast(same + torch.randn(8, 4) * 0, same, torch.ones(8, dtype=torch.bool))
    assert losses.tolist() == pytest.approx([math.log(8)] * 8, rel=1e-4)


def test_two_pairs_have_the_closed_form() -> None:
    video, audio = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [9.0]])
    losses, found = sync_contrast(video, audio, torch.ones(2, dtype=torch.bool))
    # distances 1 and 9, their mean 5
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-SHARPNESS * 8 / 5))] * 2, rel=1e-4)
    assert found.all()


def test_rows_after_the_end_of_a_clip_do_not_count() -> None:
    torch.manual_seed(0)
    video, audio = torch.randn(6, 8, requires_grad=True), torch.randn(6, 8)
    valid = torch.tensor([True, True, True, True, False, False])
    losses, found = sync_contrast(video, audio, valid)
    alone, _ = sync_contrast(video[:4], audio[:4], valid[:4])
    assert torch.allclose(losses[:4], alone) and losses[4:].eq(0).all() and not found[4:].any()
    losses.sum().backward()
    assert video.grad is not None and video.grad.isfinite().all() and video.grad[4:].eq(0).all()
    nothing, _ = sync_contrast(video, audio, torch.zeros(6, dtype=torch.bool))
    assert nothing.eq(0).all()


def test_the_scale_of_the_embeddings_does_not_matter() -> None:
    torch.manual_seed(0)
    video, audio, valid = torch.randn(6, 8), torch.randn(6, 8), torch.ones(6, dtype=torch.bool)
    one, _ = sync_contrast(video, audio, valid)
    large, _ = sync_contrast(1000 * video, 1000 * audio, valid)
    assert torch.allclose(one, large, rtol=1e-3)
