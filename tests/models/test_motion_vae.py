import pytest
import torch

from moda.errors import UserError
from moda.models.bottlenecks import FiniteScalarQuantizer
from moda.models.motion_vae import MotionVAE


def make_vae(**changes) -> MotionVAE:
    torch.manual_seed(0)
    settings = {"motion_dim": 5, "latent_dim": 3, "width": 16, "stride": 4, "depth": 2, "kernel": 3} | changes
    vae = MotionVAE(**settings).double().eval()
    with torch.no_grad():  # residual blocks start as the identity; here they must take part
        for parameter in vae.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return vae


def motion_of(frames: int) -> torch.Tensor:
    return torch.randn(2, frames, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


SHAPES = [{}, {"stride": 1}, {"stride": 2, "depth": 1}, {"kernel": 2, "depth": 3}]
CENTRED = [{"causal": False, **changes} for changes in SHAPES if "kernel" not in changes]


@pytest.mark.parametrize("changes", SHAPES + CENTRED)
def test_shapes(changes):
    vae = make_vae(**changes)
    mean, logvar = vae.encode(motion_of(24))
    assert mean.shape == logvar.shape == (2, 24 // vae.stride, 3)
    assert vae.decode(mean).shape == (2, 24, 5)


@pytest.mark.parametrize("changes", SHAPES + CENTRED)
def test_encoding_in_pieces_equals_the_whole(changes):
    vae = make_vae(**changes)
    stride, context, lookahead = vae.stride, vae.encoder_context // vae.stride, vae.encoder_lookahead // vae.stride
    motion = motion_of((context + 12 + lookahead) * stride)
    whole = vae.encode(motion)[0]
    piece = vae.encode(motion[:, 4 * stride : (8 + context + lookahead) * stride])[0]  # just enough for 4 tokens
    torch.testing.assert_close(piece[:, context : context + 4], whole[:, 4 + context : 8 + context])


@pytest.mark.parametrize("changes", SHAPES + CENTRED)
def test_decoding_in_pieces_equals_the_whole(changes):
    vae = make_vae(**changes)
    stride, context, lookahead = vae.stride, vae.decoder_context, vae.decoder_lookahead
    latent = torch.randn(2, context + 12 + lookahead, 3, dtype=torch.float64)
    whole = vae.decode(latent)
    piece = vae.decode(latent[:, 4 : 8 + context + lookahead])
    kept = slice(context * stride, (context + 4) * stride)
    torch.testing.assert_close(piece[:, kept], whole[:, (4 + context) * stride : (8 + context) * stride])


def dependence(function, x: torch.Tensor, row: int) -> list[int]:
    """Rows of ``x`` (1, n, C) that row ``row`` of the output depends on."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x)[0, row].sum(), x)
    return gradient[0].abs().sum(-1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("changes", SHAPES)
def test_nothing_depends_on_the_future_or_beyond_the_stated_context(changes):
    vae = make_vae(**changes)
    stride = vae.stride
    frames, tokens = vae.encoder_context // stride + 4, vae.decoder_context + 4
    rows = dependence(lambda x: vae.encode(x)[0], motion_of(frames * stride)[:1], frames - 2)
    assert max(rows) == (frames - 1) * stride - 1  # the last frame of its own
    assert min(rows) >= (frames - 2) * stride - vae.encoder_context
    latent = torch.randn(1, tokens, 3, dtype=torch.float64)
    rows = dependence(vae.decode, latent, (tokens - 1) * stride - 1)
    assert max(rows) == tokens - 2
    assert min(rows) >= tokens - 2 - vae.decoder_context


@pytest.mark.parametrize("changes", CENTRED)
def test_a_centred_vae_depends_on_as_much_of_the_future_as_of_the_past(changes):
    vae = make_vae(**changes)
    stride, before, after = vae.stride, vae.encoder_context, vae.encoder_lookahead
    assert before == after > 0 and vae.decoder_context == vae.decoder_lookahead > 0
    frames = before // stride + 3 + after // stride
    rows = dependence(lambda x: vae.encode(x)[0], motion_of(frames * stride)[:1], before // stride + 1)
    first = before + stride  # of its own frames
    assert first - before <= min(rows) < first and first + stride <= max(rows) < first + stride + after
    assert min(rows) - first == first + stride - 1 - max(rows)


def test_a_centred_vae_needs_an_odd_kernel():
    with pytest.raises(UserError, match="kernel=2: a centred"):
        make_vae(causal=False, kernel=2)


def test_before_the_start_stands_the_first_frame():
    vae = make_vae()
    still = motion_of(1).expand(-1, 40, -1)
    mean, _ = vae.encode(still)
    torch.testing.assert_close(mean, mean[:, :1].expand(-1, 10, -1))


def test_frames_that_do_not_fill_a_token_are_refused():
    with pytest.raises(UserError, match="stride 4"):
        make_vae().encode(motion_of(10))


def test_normalize_uses_the_buffers_and_is_inverted():
    vae = make_vae()
    vae.latent_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    vae.latent_std.copy_(torch.tensor([0.5, 1.0, 2.0]))
    torch.testing.assert_close(
        vae.normalize(torch.tensor([2.0, 2.0, 7.0]).double()), torch.tensor([2.0, 0.0, 2.0]).double()
    )
    latent = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(vae.denormalize(vae.normalize(latent)), latent)
    assert {"latent_mean", "latent_std"} <= set(vae.state_dict())


def test_forward_samples_around_the_mean():
    vae = make_vae()
    motion = motion_of(8)
    first, mean, logvar = vae(motion, torch.Generator().manual_seed(5))
    again, _, _ = vae(motion, torch.Generator().manual_seed(5))
    other, _, _ = vae(motion, torch.Generator().manual_seed(6))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    torch.testing.assert_close(first, vae.decode(mean + torch.exp(logvar / 2) * noise))


def test_a_quantising_vae_decodes_what_is_nearest():
    vae = make_vae(latent_dim=4, bottleneck=FiniteScalarQuantizer([5, 4]))
    latent, _ = vae.encode(motion_of(24))
    assert latent.shape == (2, 6, 4)
    torch.testing.assert_close(vae.decode(latent + 0.05), vae.decode(latent))
    rebuilt, again, _ = vae(motion_of(24))
    torch.testing.assert_close(again, latent)
    torch.testing.assert_close(rebuilt, vae.decode(latent))


@pytest.mark.parametrize("bottleneck", [None, FiniteScalarQuantizer([9])])
@pytest.mark.parametrize("causal", [True, False])
def test_it_learns_to_reconstruct(bottleneck, causal):
    torch.manual_seed(0)
    vae = MotionVAE(5, latent_dim=8, width=16, causal=causal, bottleneck=bottleneck)
    time = torch.arange(64) / 25
    phases = torch.rand(16, 1, 5, generator=torch.Generator().manual_seed(3)) * 6.28
    motion = torch.sin(6 * time[:, None] * torch.tensor([0.5, 1, 1.5, 2, 2.5]) + phases)  # (16, 64, 5)
    optimizer = torch.optim.Adam(vae.parameters(), 1e-2)
    for _ in range(60):
        mean, _ = vae.encode(motion)
        loss = (vae.decode(mean) - motion).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * motion.square().mean().item()
