import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moda.build import build
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.interop.compatibility import MotionIdentity, require_match
from moda.interop.export import Export, load_export, write_export

NETWORK = {
    "_target_": "moda.models.mmdit.MMDiT",
    "motion_dim": 4,
    "audio_layers": 1,
    "audio_dim": 6,
    "identity_dim": 5,
    "width": 16,
    "heads": 2,
    "stages": [{"depth": 1, "groups": [["motion"], ["audio"], ["emotion"], ["identity"]]}],
}
VAE = {"_target_": "moda.models.motion_vae.MotionVAE", "motion_dim": 59, "latent_dim": 4, "width": 8, "depth": 1}
FLOW = {"_target_": "moda.flow.rectified.RectifiedFlow", "steps": 2, "guidance": 1.5}


@pytest.fixture
def export(tiny_dataset: Path) -> Export:
    torch.manual_seed(0)
    manifest = DatasetManifest.load(tiny_dataset)
    network = build(NETWORK)
    torch.nn.init.normal_(
        network.null_audio.token if hasattr(network.null_audio, "token") else network.final_linear.weight
    )
    vae = build(VAE)
    vae.latent_mean.fill_(0.25)
    return Export(
        task="dit",
        step=7,
        identity=MotionIdentity.of(manifest),
        codec_spec=manifest.codec,
        audio_spec=manifest.audio_encoder,
        audio_layers=1,
        audio_dim=6,
        identity_dim=5,
        dataset_fingerprint=manifest.fingerprint,
        network=network,
        network_spec=NETWORK,
        vae=vae,
        vae_spec=VAE,
        flow_spec=FLOW,
        space="latent",
        window=16,
        overlap=4,
        previous=4,
        config={"seed": 0},
    )


def test_a_disk_that_cannot_take_it_is_the_users_error_and_keeps_the_former_one(export: Export, tmp_path: Path) -> None:
    write_export(tmp_path / "export", replace(export, step=6))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # every file ends there, as on a full disk
    try:
        with pytest.raises(UserError, match=r"^cannot write \S+export: File too large; free space or choose another"):
            write_export(tmp_path / "export", export)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_export(tmp_path / "export").step == 6


def test_what_is_written_is_loaded(export: Export, tmp_path: Path) -> None:
    write_export(tmp_path / "run/export", export)
    for path in (tmp_path / "run", tmp_path / "run/export"):
        loaded = load_export(path)
        assert (loaded.step, loaded.space, loaded.window, loaded.config) == (7, "latent", 16, {"seed": 0})
        assert loaded.layout.name == "head59" and loaded.flow.guidance == 1.5
        assert (loaded.codec_fingerprint, loaded.audio_fingerprint) == ("codec-0", "audio-0")
        np.testing.assert_array_equal(loaded.statistics.std, export.statistics.std)
        for module, other in ((loaded.network, export.network), (loaded.vae, export.vae)):
            assert not module.training and not any(p.requires_grad for p in module.parameters())
            for (name, value), (_, expected) in zip(
                module.state_dict().items(), other.state_dict().items(), strict=True
            ):
                torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)


def test_the_sampler_of_a_loaded_export_makes_the_same_motion(export: Export, tmp_path: Path) -> None:
    write_export(tmp_path / "export", export)
    request = (np.random.default_rng(0).normal(size=(21, 1, 6)), np.zeros(5), 8, np.zeros(59))
    before, after = (
        np.concatenate(list(e.sampler().sample(*request, seed=3))) for e in (export, load_export(tmp_path / "export"))
    )
    assert before.shape == (21, 59)
    np.testing.assert_array_equal(before, after)


def test_a_second_export_replaces_the_first(export: Export, tmp_path: Path) -> None:
    write_export(tmp_path / "export", export)
    export.vae, export.vae_spec, export.space, export.step = None, None, "motion", 8
    write_export(tmp_path / "export", export)
    assert load_export(tmp_path).step == 8
    assert not (tmp_path / "export/motion_vae.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_loading_needs_no_lightning(export: Export, tmp_path: Path) -> None:
    write_export(tmp_path / "export", export)
    code = (
        "import sys; from moda.interop.export import load_export; load_export(sys.argv[1]).sampler(); "
        "bad = [m for m in sys.modules if m.partition('.')[0] in ('lightning', 'pytorch_lightning', 'wandb')]; "
        "assert not bad, bad[:3]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_damage_and_absence_are_named(export: Export, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_export(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no trained model"):
        load_export(tmp_path)
    write_export(tmp_path / "export", export)
    weights = tmp_path / "export/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="model.safetensors is missing or not what export.json describes"):
        load_export(tmp_path)
    (tmp_path / "export/export.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="not an export of schema 1"):
        load_export(tmp_path)


def test_a_component_outside_the_package_is_not_built(export: Export, tmp_path: Path) -> None:
    export.network_spec = {"_target_": "os.system", "command": "true"}
    write_export(tmp_path / "export", export)
    with pytest.raises(UserError, match="refusing to build 'os.system'"):
        load_export(tmp_path)


def test_a_vae_alone_does_not_generate(export: Export) -> None:
    export.network = None
    with pytest.raises(UserError, match="name a run of task=dit"):
        export.sampler()


def test_what_differs_between_two_motions_is_named(export: Export) -> None:
    ours = export.identity
    require_match(ours, "a", replace(ours), "b")
    other_codec = replace(ours, codec_fingerprint="other")
    with pytest.raises(UserError, match="different motion codecs"):
        require_match(ours, "a", other_codec, "b")
    other_audio = replace(ours, audio_fingerprint="other")
    with pytest.raises(UserError, match="different speech encoders"):
        require_match(ours, "a", other_audio, "b")
    require_match(ours, "a", other_audio, "b", audio=False)
    mean = ours.statistics.mean.copy()
    mean[24] += 0.5
    with pytest.raises(UserError, match="most for jawOpen"):
        require_match(ours, "a", replace(ours, statistics=replace(ours.statistics, mean=mean)), "b")
