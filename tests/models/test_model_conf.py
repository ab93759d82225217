"""Every YAML of conf/model and conf/flow builds what it names."""

from importlib.resources import files

import pytest
import torch
from hydra import compose, initialize_config_module

from moda.build import build
from moda.flow.rectified import RectifiedFlow
from moda.models.diagonal_decoder import DiagonalDecoder
from moda.models.mmdit import MMDiT
from moda.models.motion_vae import MotionVAE
from moda.models.sync_expert import SyncExpert


def names(group: str) -> list[str]:
    found = sorted(path.name.removesuffix(".yaml") for path in files("moda.conf").joinpath(group).iterdir())
    return [name for name in found if not name.startswith("_")]


def configured(group: str, name: str):
    with initialize_config_module("moda.conf", version_base=None):
        return compose(overrides=[f"+{group}={name}"])[group]


@pytest.mark.parametrize("name", [name for name in names("model") if name != "sync_expert"])
def test_model(name):
    model = configured("model", name)
    with torch.device("meta"):
        if name.startswith("motion_vae"):
            network = build(model.network, motion_dim=59)
            assert isinstance(network, MotionVAE)
            assert network.decode(network.encode(torch.empty(2, 80, 59))[0]).shape == (2, 80, 59)
            return
        assert model.space in ("motion", "latent") and model.motion_vae
        network = build(model.network, motion_dim=32, audio_layers=1, audio_dim=80, identity_dim=63)
        assert isinstance(network, DiagonalDecoder if name == "diagonal_decoder" else MMDiT)
        out = network(
            torch.empty(2, 20, 32),
            torch.empty(2),
            audio=torch.empty(2, 80, 1, 80),
            identity=torch.empty(2, 63),
            emotion=torch.empty(2, dtype=torch.long),
            previous_motion=torch.empty(2, 1, 32),
        )
        assert out.shape == (2, 20, 32)


def test_sync_expert():
    model = configured("model", "sync_expert")
    with torch.device("meta"):
        assert isinstance(
            build(model.network, audio_layers=1, audio_dim=80, lip_dims=[0, 2], lip_mean=[0.0] * 2, lip_std=[1.0] * 2),
            SyncExpert,
        )


@pytest.mark.parametrize("name", names("flow"))
def test_flow(name):
    flow = build(configured("flow", name))
    assert isinstance(flow, RectifiedFlow)
    assert flow.times(5).shape == (5,)
    sigmas = flow.grid(flow.steps)
    assert len(sigmas) == flow.steps + 1 and sigmas[0] == 1 and sigmas[-1] == 0
    # a straight flow from noise 3 to data 1
    out = flow.solver(lambda x, sigma: torch.full_like(x, 2.0), torch.full((4,), 3.0), sigmas)
    torch.testing.assert_close(out, torch.ones(4))
