import pytest
import torch

from moda.errors import UserError
from moda.models.sync_expert import SyncExpert, sync_loss, windows_valid


def make_expert(**changes) -> SyncExpert:
    torch.manual_seed(0)
    settings = {"width": 16, "embedding_dim": 8, "dilations": (1, 2)} | changes
    return SyncExpert(1, 6, [1, 3], [0.5, -1.0], [2.0, 0.1], **settings)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_window_has_a_unit_vector_in_both():
    expert = make_expert()
    assert expert.window == 7
    for embedded in (expert.embed_motion(seeded(2, 20, 5)), expert.embed_audio(seeded(2, 20, 1, 6))):
        assert embedded.shape == (2, 14, 8)
        torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 14))


def test_a_window_sees_its_own_frames_and_only_lips():
    expert, motion = make_expert(), seeded(1, 20, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(expert.embed_motion(motion)[0, 4].sum(), motion)
    rows, columns = gradient[0].nonzero(as_tuple=True)
    assert rows.unique().tolist() == list(range(4, 11)) and columns.unique().tolist() == [1, 3]


def test_confidence_is_on_the_scale_of_the_experts_own_agreements():
    expert = make_expert()
    expert.matched.fill_(0.6)
    expert.mismatched.fill_(0.2)
    found = expert.confidence(torch.tensor([-1.0, 0.2, 0.4, 0.6, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_windows_are_valid_where_all_their_frames_are():
    valid = torch.tensor([[True] * 5 + [False] * 3])
    assert windows_valid(valid, 3).tolist() == [[True, True, True, False, False, False]]


def loss_of(expert, made, truth, audio, valid=None, weight=None) -> float:
    valid = torch.ones(len(made), made.shape[1], dtype=torch.bool) if valid is None else valid
    weight = torch.ones(len(made)) if weight is None else weight
    return sync_loss(expert, made, truth, audio, valid, weight).item()


def test_the_loss_counts_windows_as_far_as_the_truth_convinces():
    expert = make_expert()
    truth, made, audio = seeded(3, 30, 5), seeded(3, 30, 5, seed=1), seeded(3, 30, 1, 6)
    expert.mismatched.fill_(-1.0)  # any agreement is half convincing at least
    everywhere = loss_of(expert, made, truth, audio)
    assert everywhere > 0
    expert.matched.fill_(3.0)
    expert.mismatched.fill_(2.0)  # none convinces
    assert loss_of(expert, made, truth, audio) == 0


def test_invalid_frames_and_weights_of_0_do_not_count():
    expert = make_expert()
    expert.mismatched.fill_(-1.0)
    truth, made, audio = seeded(2, 30, 5), seeded(2, 30, 5, seed=1), seeded(2, 30, 1, 6)
    valid = torch.ones(2, 30, dtype=torch.bool)
    valid[:, 20:] = False
    before = loss_of(expert, made, truth, audio, valid)
    made[:, 20:] = 1e3
    assert loss_of(expert, made, truth, audio, valid) == pytest.approx(before)
    one = loss_of(expert, made[:1], truth[:1], audio[:1], valid[:1])
    assert loss_of(expert, made, truth, audio, valid, torch.tensor([1.0, 0.0])) == pytest.approx(one / 2)


def test_gradients_reach_the_lips_and_not_the_truth():
    expert = make_expert().requires_grad_(False)
    expert.mismatched.fill_(-1.0)
    made, truth = seeded(1, 20, 5).requires_grad_(), seeded(1, 20, 5).requires_grad_()
    valid = torch.ones(1, 20, dtype=torch.bool)
    sync_loss(expert, made, truth, seeded(1, 20, 1, 6), valid, torch.ones(1)).backward()
    assert made.grad is not None and made.grad[..., 1].abs().sum() > 0 and truth.grad is None


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        make_expert(dilations=())
