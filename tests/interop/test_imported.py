"""moda import: an official file becomes an export that generation loads."""

import json

import numpy as np
import pytest
import torch

from moda.build import build
from moda.cli.main import main
from moda.codec.base import Portrait
from moda.generation.pipeline import load_generator, sample_motion
from moda.interop.export import load_export
from moda.interop.moda import MODA_B, save_official
from moda.models.mmdit import MMDiT
from moda.motion.layout import get_layout
from moda.motion.published import moda_statistics

SMALL = MODA_B | {
    "width": 24, "heads": 2, "audio_layers": 3, "audio_dim": 16,
    "stages": [stage | {"depth": 1} for stage in MODA_B["stages"]],
}  # fmt: skip


class PortraitCodec:
    """The part of a codec that generation of motion needs."""

    name, fingerprint, layout, identity_dim, size = "portrait", "codec-1", get_layout("liveportrait70"), 63, 64

    def portrait(self, source):
        return Portrait(np.zeros(63, np.float32), moda_statistics().mean.astype(np.float32), None)


@pytest.fixture
def speech(tmp_path):
    pytest.importorskip("transformers")
    from speech_checkpoints import write_checkpoint

    return write_checkpoint(tmp_path / "speech", "hubert")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A network of the published shape in small, and the codec by the name of LivePortrait's."""
    for module in ("interop.imported", "generation.pipeline"):
        monkeypatch.setattr(
            f"moda.{module}.build",
            lambda spec: PortraitCodec() if "LivePortrait" in spec["_target_"] else build(spec),
        )
    monkeypatch.setattr("moda.interop.imported.MODA_B", SMALL)
    monkeypatch.setattr("moda.interop.imported.load_official", lambda path, strict: load_small(path, strict))
    torch.manual_seed(0)
    network = MMDiT(**SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_official(network, tmp_path / "net-200.pth")
    return tmp_path / "net-200.pth"


def load_small(path, strict):
    from moda.interop.moda import load_official

    return load_official(path, SMALL, strict=strict)


def run(official, out, speech, *more):
    return main(["import", str(official), str(out), f"audio.checkpoint={speech}", *more])


def test_an_official_file_becomes_an_export_that_makes_motion(official, speech, tmp_path, capsys):
    assert run(official, tmp_path / "moda", speech) == 0
    assert "moda generate takes it" in capsys.readouterr().out
    export = load_export(tmp_path / "moda")
    assert (export.window, export.overlap, export.previous, export.reference_scale) == (80, 16, 1, True)
    assert export.statistics.epsilon == 1e-5 and export.published["amplify_lips"] and export.flow.steps == 10
    assert export.audio_spec["presample"] and export.audio_spec["preemphasis"] == 0.97
    generator = load_generator(tmp_path / "moda", device="cpu")
    waveform = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    face = generator.codec.portrait("me.jpg")
    motion = np.concatenate(list(sample_motion(generator, face, waveform, emotion=8)))
    assert motion.shape == (25, 70) and np.isfinite(motion).all()


def test_overrides_change_the_settings_of_the_export(official, speech, tmp_path):
    assert run(official, tmp_path / "moda", speech, "flow.steps=4", "published.drawn_null_audio=false") == 0
    export = load_export(tmp_path / "moda")
    assert export.flow.steps == 4 and not export.published["drawn_null_audio"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["nothing.pth"], "nothing.pth does not exist"),
        (["moda_official"], "moda weights get moda_official"),
        (["--audio", "logmel"], "hears 12 layers of 768, the logmel encoder gives 1 of 160; use audio=moda_paper"),
        (["--codec", "head"], "liveportrait70 motion, the head codec takes head59"),
        (["overlap=50"], "half the window"),
        (["published.nonsense=1"], "no setting 'nonsense'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(official, speech, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    net = change[0] if not change[0].startswith("-") and "=" not in change[0] else official
    options = [f"audio.checkpoint={speech}"] if "logmel" not in change else []
    arguments = ["import", str(net), str(tmp_path / "moda"), *options, *(change if net is official else [])]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "moda").exists()


def test_tensors_of_other_networks_are_passed_over_if_asked(official, speech, tmp_path, capsys):
    state = torch.load(official, weights_only=True)
    torch.save(state | {"criterion.weight": torch.zeros(2)}, official)
    assert run(official, tmp_path / "moda", speech) == 1
    assert "criterion.weight is unknown" in capsys.readouterr().err
    assert run(official, tmp_path / "moda", speech, "--ignore-unknown") == 0


def test_exports_of_older_versions_load(official, speech, tmp_path):
    run(official, tmp_path / "moda", speech)
    path = tmp_path / "moda" / "export.json"
    value = json.loads(path.read_text())
    del value["reference_scale"], value["published"]
    path.write_text(json.dumps(value))
    export = load_export(tmp_path / "moda")
    assert not export.reference_scale and not export.sampler().published.whole_clip
