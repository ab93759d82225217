"""What the tasks share: copies of the network, batches on their way to a device, targets that stay exact."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.training import dit_module, run
from moda.training.base import TrainingModule, build_module, on_device


@pytest.fixture
def module(configure, tiny_dataset) -> TrainingModule:
    return build_module(configure("motion_vae", "x"), DatasetManifest.load(tiny_dataset))


def test_a_copy_draws_and_initialises_nothing(module, monkeypatch) -> None:
    weights = {name: torch.full_like(value, 0.5) for name, value in module.network.state_dict().items()}
    parameters = {name: weights[name] for name, _ in module.network.named_parameters()}
    module.copy_with(parameters)  # without buffers: those of a new network, built once
    filled: list[torch.Tensor] = []
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *_, **__: filled.append(tensor))
    state = torch.get_rng_state()
    whole, averaged = module.copy_with(weights), module.copy_with(parameters)
    assert filled and all(tensor.is_meta for tensor in filled) and torch.equal(torch.get_rng_state(), state)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, weights[name]) and value.device.type == "cpu"
    for name, buffer in averaged.named_buffers():
        assert torch.equal(buffer, dict(module.network.named_buffers())[name])
    assert not any(p.requires_grad for p in whole.parameters()) and not whole.training
    with pytest.raises(UserError, match="do not fit the network of this configuration"):
        module.copy_with({"no.such.weight": torch.zeros(1)})


def test_sound_is_widened_where_it_arrives_and_places_stay_behind() -> None:
    batch = {"audio": torch.ones(2, 3, dtype=torch.float16), "index": torch.arange(2), "key": ["a", "b"]}
    sent = on_device(batch, torch.device("meta"))
    assert sent["audio"].dtype == torch.float32 and sent["audio"].device.type == "meta"
    assert sent["index"].device.type == "cpu" and sent["key"] == ["a", "b"]
    assert batch["audio"].dtype == torch.float16


def test_targets_are_encoded_exactly(configure, tmp_path, tiny_dataset, monkeypatch) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=1", "checkpoint.every=1"))
    config = configure("dit", "x", "model.space=latent", f"model.motion_vae={tmp_path / 'vae'}")
    latents = build_module(config, DatasetManifest.load(tiny_dataset))
    assert isinstance(latents, dit_module.DiTModule) and latents.vae is not None
    exact: list[torch.device] = []

    @contextmanager
    def watched(device: torch.device):
        exact.append(device)
        yield
        exact.pop()

    encode = latents.vae.encode

    def only_exact(motion: torch.Tensor):
        assert exact == [torch.device("cpu")]
        return encode(motion)

    monkeypatch.setattr(dit_module, "exact_float32", watched)
    monkeypatch.setattr(latents.vae, "encode", only_exact)
    frames = latents.previous + latents.window
    latents.tokens({"motion": torch.zeros(1, frames, 59), "valid": torch.ones(1, frames, dtype=torch.bool)})
    assert not exact


def test_products_are_as_exact_as_was_asked_for(configure, monkeypatch) -> None:
    with pytest.raises(UserError, match="matmul_precision=medium: must be highest"):
        run.train(configure("motion_vae", "x", "matmul_precision=medium"))
    with pytest.raises(UserError, match="matmul_precision=high does nothing on a CPU"):
        run.train(configure("motion_vae", "x", "matmul_precision=high"))
