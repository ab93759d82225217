import pytest
import torch

from moda.errors import UserError
from moda.models.bottlenecks import FiniteScalarQuantizer, GaussianBottleneck, codebook_use, kl_divergence


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_kl_agrees_with_the_distributions():
    mean, logvar = seeded(2, 50)
    posterior = torch.distributions.Normal(mean, torch.exp(logvar / 2))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, logvar), expected)


def test_a_gaussian_samples_around_the_mean_and_leaves_latents_alone():
    bottleneck = GaussianBottleneck()
    assert bottleneck.encoded_dim(7) == 14
    latent, beside = bottleneck.split(seeded(2, 3, 14))
    torch.testing.assert_close(bottleneck.sample(latent, beside, torch.zeros_like(latent)), latent)
    noise = seeded(4000, 2, 3, 7)
    torch.testing.assert_close(bottleneck.sample(latent, beside, noise).std(0), torch.exp(beside / 2), rtol=0.1, atol=0)
    assert bottleneck.snap(latent) is latent


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 9])
def test_each_level_is_reached_and_no_other(levels):
    quantizer = FiniteScalarQuantizer([levels])
    encoded = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    latent, _ = quantizer.split(encoded)
    values = latent.unique()
    radius = levels // 2
    torch.testing.assert_close(values, torch.arange(-radius, levels - radius, dtype=torch.float64) / radius)
    assert (latent.diff(dim=0) >= 0).all()  # in order
    assert quantizer.digits(latent).unique().tolist() == list(range(levels))
    torch.testing.assert_close(quantizer.split(torch.zeros(1, 1))[0], torch.zeros(1, 1))


def test_snapping_takes_the_nearest_level_and_leaves_levels_alone():
    quantizer = FiniteScalarQuantizer([5, 4])
    latent, _ = quantizer.split(3 * seeded(2, 6, 4))
    torch.testing.assert_close(quantizer.snap(latent), latent)
    torch.testing.assert_close(quantizer.snap(torch.tensor([0.3, 0.3, 7.0, 7.0])), torch.tensor([0.5, 0.5, 1.0, 0.5]))
    torch.testing.assert_close(quantizer.snap(torch.tensor([-7.0, -7.0])), torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize("levels", [[2], [4, 3], [8, 5, 5, 5]])
def test_half_precision_reaches_the_same_levels(levels):
    quantizer, encoded = FiniteScalarQuantizer(levels), (3 * seeded(2, 50, len(levels))).bfloat16()
    half, whole = quantizer.split(encoded)[0], quantizer.split(encoded.float())[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(quantizer.codes(half.float()), quantizer.codes(whole))


def test_gradients_pass_the_rounding():
    quantizer = FiniteScalarQuantizer([5])
    encoded = (0.3 * seeded(1, 6, 1)).requires_grad_()
    latent, bounded = quantizer.split(encoded)
    (through,) = torch.autograd.grad(latent.sum(), encoded, retain_graph=True)
    (straight,) = torch.autograd.grad(bounded.sum() / 2, encoded)
    torch.testing.assert_close(through, straight)
    assert (through > 0).all()


def test_every_code_is_one_number():
    quantizer = FiniteScalarQuantizer([3, 2, 5])
    grid = torch.cartesian_prod(*(torch.arange(count) for count in (3, 2, 5))).double()
    latent = (grid - torch.tensor([1, 1, 2])) / torch.tensor([1, 1, 2])
    codes = quantizer.codes(latent)
    assert codes.shape == (30, 1) and sorted(codes.flatten().tolist()) == list(range(30))
    both = quantizer.codes(torch.cat([latent, latent.flip(0)], -1))
    assert torch.equal(both, torch.cat([codes, codes.flip(0)], -1))
    assert codebook_use(codes, quantizer.codebook_size) == pytest.approx((1.0, 30.0))
    assert codebook_use(codes[:3].repeat(4, 1), 30) == pytest.approx((0.1, 3.0))


def test_the_use_of_levels_is_1_where_all_are_used_alike():
    quantizer = FiniteScalarQuantizer([4, 4])
    even = torch.tensor([-1.0, -0.5, 0.0, 0.5])[None, :, None].expand(2, 4, 2)
    assert quantizer.level_use(even).item() == pytest.approx(1)
    assert quantizer.level_use(torch.zeros(2, 4, 2)).item() == pytest.approx(0.25)


def test_levels_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="at least 2 levels"):
        FiniteScalarQuantizer([4, 1])
    with pytest.raises(UserError, match=r"latent_dim=6 must be a multiple of the 4 channels"):
        FiniteScalarQuantizer().encoded_dim(6)
