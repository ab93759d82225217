"""The motion VAE's losses, and whole trainings with a quantising bottleneck and centred convolutions."""

import pytest
import torch

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.interop.export import load_export
from moda.models.bottlenecks import FiniteScalarQuantizer
from moda.training import run
from moda.training.draws import Draws
from moda.training.run import build_module
from moda.training.tracking.metrics import last_metrics

FSQ = ("model=motion_vae_fsq", "loss.beta=0")


def batch_of(module, frames: int = 16) -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "motion": torch.randn(3, frames, module.manifest.layout.dim, generator=generator),
        "valid": torch.ones(3, frames, dtype=torch.bool),
        "identity": torch.randn(3, module.manifest.identity_dim, generator=generator),
    }


def losses_of(config, dataset) -> dict[str, float]:
    torch.manual_seed(0)
    module = build_module(config, DatasetManifest.load(dataset))
    losses = module.losses(batch_of(module), Draws(0, "train", torch.arange(3)))
    return {name: value.item() for name, value in losses.items()}


def test_the_loss_is_the_weighted_sum_of_its_parts(configure, tiny_dataset) -> None:
    found = losses_of(configure("motion_vae", "x", "loss.temporal=0.5", "loss.beta=0.01"), tiny_dataset)
    assert found["loss"] == pytest.approx(found["reconstruction"] + 0.5 * found["temporal"] + 0.01 * found["kl"])


def test_quantised_latents_record_how_their_levels_are_used(configure, tiny_dataset) -> None:
    found = losses_of(configure("motion_vae", "x", *FSQ), tiny_dataset)
    assert found["loss"] == pytest.approx(found["reconstruction"] + found["temporal"])
    assert "kl" not in found and 0.1 < found["level_use"] <= 1


def test_a_weight_that_does_nothing_is_said(configure, tiny_dataset) -> None:
    with pytest.warns(UserWarning, match="loss.beta=0.001 does nothing: quantised latents"):
        losses_of(configure("motion_vae", "x", *FSQ[:1]), tiny_dataset)


@pytest.mark.parametrize(
    "setting",
    ["loss.temporal=-1", "loss.temporal=abc", "loss.beta=-1", "loss.keypoints=-1", "task.module.latent_frames=0"],
)
def test_settings_that_cannot_be_are_refused_before_training(configure, tiny_dataset, setting) -> None:
    with pytest.raises(UserError, match=f"{setting}: must be a"):
        build_module(configure("motion_vae", "x", setting), DatasetManifest.load(tiny_dataset))


def test_keypoints_are_asked_of_a_codec_that_has_them(configure, tiny_dataset) -> None:
    with pytest.raises(UserError, match="loss.keypoints needs motion of layout liveportrait70"):
        losses_of(configure("motion_vae", "x", "loss.keypoints=0.1"), tiny_dataset)


def test_keypoints_add_to_the_loss(configure, make_dataset) -> None:
    root = make_dataset(layout="liveportrait70", identity_dim=63)
    config = configure("motion_vae", "x", "loss.keypoints=0.1", "loss.beta=0", dataset=root)
    found = losses_of(config, root)
    assert found["keypoints"] > 0
    total = found["reconstruction"] + found["temporal"] + 0.1 * found["keypoints"]
    assert found["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("more", [FSQ, ("model.network.causal=false",)])
def test_each_kind_trains_and_carries_a_transformer(configure, tmp_path, more) -> None:
    run.train(configure("motion_vae", "vae", *more))
    vae = load_export(tmp_path / "vae").vae
    assert isinstance(vae.bottleneck, FiniteScalarQuantizer) == (more == FSQ) and vae.causal == (more == FSQ)
    dit = run.train(configure("dit", "dit", "model.space=latent", f"model.motion_vae={tmp_path / 'vae'}"))
    assert last_metrics(dit / "metrics.jsonl")["val/loss"] > 0
    export = load_export(dit)
    made = list(export.sampler().sample(torch.randn(30, 1, 6), torch.zeros(5), 8, export.statistics.mean))
    assert sum(len(part) for part in made) == 30
