"""Speech checkpoints in the format of transformers: what its own code gives, at frame rate, for sound of any length."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import uniform_filter1d
from speech_checkpoints import KINDS, write_checkpoint

from moda.audio.encoder import SAMPLE_RATE
from moda.audio.wav2vec import Wav2VecEncoder
from moda.errors import UserError

transformers = pytest.importorskip("transformers")


def babble(seconds, seed=0):
    """Noise whose level and colour change every 80 ms: as unlike itself from frame to frame as speech is."""
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal(round(seconds * SAMPLE_RATE))
    smooth = uniform_filter1d(sound, 8)
    knots = np.arange(0, seconds + 1, 0.08)
    time = np.arange(len(sound)) / SAMPLE_RATE
    level, colour = (np.interp(time, knots, rng.random(len(knots))) for _ in range(2))
    return (0.2 * level * (colour * sound + (1 - colour) * smooth)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("speech")
    return {kind: write_checkpoint(root / kind, kind) for kind in KINDS}


def reference(folder, sound, every):
    """Hidden states (n, L, C) by the code of transformers: convolutions, every so many outputs, transformer."""
    values = torch.from_numpy((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)).float()[None]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        features = model.feature_extractor(values).transpose(1, 2)[:, ::every]
        projected = model.feature_projection(features)
        hidden, layers = projected[0] if isinstance(projected, tuple) else projected, []
        for layer in model.encoder.layers:
            layer.register_forward_hook(lambda _m, _i, out: layers.append(out[0] if isinstance(out, tuple) else out))
        last = model.encoder(hidden).last_hidden_state
    return torch.stack([*layers[:-1], last], 2)[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_presampled_features_are_those_of_transformers(checkpoints, kind):
    sound = babble(2)
    expected = reference(checkpoints[kind], sound, every=2)
    features = Wav2VecEncoder(checkpoints[kind], presample=True).encode(sound)
    assert features.shape == expected.shape == (50, 3, 16) and features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["wav2vec2_large", "hubert_large"])  # whose norms know nothing of padding
def test_at_50_hz_the_two_outputs_of_a_frame_are_averaged(checkpoints, kind):
    folder, sound = checkpoints[kind], babble(1.2)
    encoder = Wav2VecEncoder(folder)
    normal = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    padded = np.concatenate([normal, np.zeros(80)])
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        last = model(torch.from_numpy(padded).float()[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(encoder.encode(sound)[:, -1], last.reshape(30, 2, -1).mean(1), atol=1e-4)


@pytest.mark.parametrize("presample", [True, False])
@pytest.mark.parametrize("kind", ["hubert", "wav2vec2_large"])
def test_lengths(checkpoints, kind, presample):
    encoder, sound = Wav2VecEncoder(checkpoints[kind], presample=presample), babble(1.01)
    assert encoder.encode(sound).shape == (26, 3, 16)
    assert encoder.encode(sound, 40).shape[0] == 40 and encoder.encode(sound, 10).shape[0] == 10
    assert encoder.encode(np.zeros(0, np.float32)).shape == (0, 3, 16)
    for short in (np.zeros(0, np.float32), np.zeros(16_000, np.float32), sound[:1], sound[:9], sound[:399]):
        assert np.isfinite(encoder.encode(short, 3)).all()


def test_layers_can_be_chosen(checkpoints):
    sound, folder = babble(0.5), checkpoints["hubert"]
    whole = Wav2VecEncoder(folder).encode(sound)
    some = Wav2VecEncoder(folder, layers=[1, 3])
    assert some.num_layers == 2 and some.dim == 16
    np.testing.assert_array_equal(some.encode(sound), whole[:, [0, 2]])


def test_the_level_matters_where_the_checkpoint_does_not_normalise(checkpoints, tmp_path):
    sound = babble(1)
    normalising = Wav2VecEncoder(checkpoints["hubert_large"])
    np.testing.assert_allclose(normalising.encode(0.2 * sound), normalising.encode(sound), atol=1e-3)
    plain = Wav2VecEncoder(write_checkpoint(tmp_path / "plain", "hubert_large", normalize=False))
    assert np.abs(plain.encode(0.02 * sound) - plain.encode(sound)).max() > 0.05
    normal = ((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)).astype(np.float32)
    np.testing.assert_allclose(plain.encode(normal), normalising.encode(sound), atol=1e-4)
    unsaid = Wav2VecEncoder(write_checkpoint(tmp_path / "unsaid", "hubert_large", normalize=None))
    assert unsaid.fingerprint == normalising.fingerprint != plain.fingerprint


def test_pre_emphasis_is_applied_first(checkpoints):
    folder, sound = checkpoints["hubert"], babble(1)
    emphasised = sound - 0.97 * np.concatenate([sound[:1], sound[:-1]])
    np.testing.assert_allclose(
        Wav2VecEncoder(folder, preemphasis=0.97).encode(sound), Wav2VecEncoder(folder).encode(emphasised), atol=1e-3
    )


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2_large"])
def test_convolutions_in_pieces_are_those_of_the_whole(checkpoints, kind, monkeypatch):
    """Exactly, though one variant's norm is taken over time: its statistics are those of the whole sound."""
    encoder, sound = Wav2VecEncoder(checkpoints[kind]), torch.from_numpy(babble(3))
    with torch.inference_mode():
        whole = encoder._model.feature_extractor(sound[None])[0].T
        monkeypatch.setattr("moda.audio.wav2vec._PIECE", 17)
        pieces = encoder._convolved(sound, 150)
    np.testing.assert_allclose(pieces[:149], whole, atol=2e-5)


@pytest.mark.parametrize("presample", [True, False])
@pytest.mark.parametrize("kind", ["hubert", "wav2vec2_large", "wavlm"])
def test_longer_than_a_minute_joins_without_a_seam(checkpoints, kind, presample):
    sound = babble(100)
    whole = Wav2VecEncoder(checkpoints[kind], presample=presample, window=200).encode(sound)
    joined = Wav2VecEncoder(checkpoints[kind], presample=presample).encode(sound)  # 0 to 60 s and 40 to 100 s
    assert joined.shape == whole.shape == (2500, 3, 16)
    error = np.abs(joined - whole).max((1, 2)) / whole.std()
    assert error.max() < 0.05 and error.mean() < 0.02  # attention over one minute or the other, of the 100 s
    steps, usual = (np.abs(np.diff(x, axis=0)).max((1, 2)) for x in (joined - whole, whole))
    assert steps.max() < 0.02 * np.median(usual)  # nowhere a jump that was not there before


def test_a_hard_join_is_where_the_error_is_without_overlap(checkpoints):
    """What the overlap is for: positional convolutions that meet the edge of a window."""
    sound, folder = babble(6), checkpoints["hubert"]
    whole = Wav2VecEncoder(folder, presample=True).encode(sound)
    hard = Wav2VecEncoder(folder, presample=True, window=3, overlap=0).encode(sound)
    soft = Wav2VecEncoder(folder, presample=True, window=3, overlap=1).encode(sound)
    near = slice(75 - 8, 75 + 8)
    assert np.abs(hard - whole)[near].max() > 5 * np.abs(soft - whole)[near].max()


def test_silence_after_the_end_does_not_change_what_the_convolutions_hear(checkpoints):
    encoder, sound = Wav2VecEncoder(checkpoints["hubert"]), torch.from_numpy(babble(1))
    with torch.inference_mode():
        longer, exact = encoder._convolved(sound, 200), encoder._convolved(sound, 50)
    np.testing.assert_allclose(longer[:48], exact[:48], atol=1e-5)


def test_the_fingerprint_is_that_of_content_and_settings(checkpoints, tmp_path):
    folder = checkpoints["hubert"]
    moved = shutil.copytree(folder, tmp_path / "moved")
    first = Wav2VecEncoder(folder).fingerprint
    assert Wav2VecEncoder(moved).fingerprint == first == Wav2VecEncoder(folder, device="cpu").fingerprint
    others = [{"layers": [1]}, {"presample": True}, {"preemphasis": 0.97}, {"window": 30}, {"overlap": 5}]
    prints = {Wav2VecEncoder(folder, **settings).fingerprint for settings in others}
    prints.add(Wav2VecEncoder(write_checkpoint(tmp_path / "other", seed=1)).fingerprint)
    assert len(prints) == 6 and first not in prints


def as_bin(folder, content):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


def test_a_bin_file_is_read_as_well(checkpoints, tmp_path):
    folder, sound = shutil.copytree(checkpoints["hubert"], tmp_path / "bin"), babble(0.5)
    as_bin(folder, load_file(folder / "model.safetensors"))
    np.testing.assert_array_equal(
        Wav2VecEncoder(folder).encode(sound), Wav2VecEncoder(checkpoints["hubert"]).encode(sound)
    )


class Payload:
    def __reduce__(self):
        return print, ("code from a checkpoint was run",)


def without_a_weight(folder):
    state = load_file(folder / "model.safetensors")
    del state["encoder.layers.1.attention.k_proj.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def with_another_shape(folder):
    state = load_file(folder / "model.safetensors")
    state["encoder.layer_norm.bias"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def edit(name, **changes):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


FAULTS = {
    "is not a folder.*moda weights list": shutil.rmtree,
    "config.json does not exist": lambda folder: (folder / "config.json").unlink(),
    "not valid JSON": lambda folder: (folder / "config.json").write_text("{"),
    "model_type 'bert'; known: wav2vec2, hubert, wavlm": edit("config.json", model_type="bert"),
    "holds no model.safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "asks for sound at 8000 Hz": edit("preprocessor_config.json", sampling_rate=8000),
    r"lacks weights of its network: encoder.layers.1.attention.k_proj.weight \(1 in all\)": without_a_weight,
    "cannot be loaded": with_another_shape,
    "cannot be loaded.*copy it again": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:5000]
    ),
    "cannot be loaded .*": lambda folder: as_bin(folder, {"masked_spec_embed": Payload()}),
    "an output every 160 samples": edit("config.json", conv_stride=[5, 2, 2, 2, 2, 2, 1]),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_checkpoint_that_cannot_be_used_is_named(checkpoints, tmp_path, capfd, message):
    folder = shutil.copytree(checkpoints["hubert"], tmp_path / "speech")
    FAULTS[message](folder)
    with pytest.raises(UserError, match=message) as error:
        Wav2VecEncoder(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    assert "was run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [0]}, "must be some of 1 to 3"),
        ({"layers": []}, "must be some of 1 to 3"),
        ({"window": 10, "overlap": 6}, "half the window"),
        ({"window": 0}, "half the window"),
        ({"preemphasis": 1.0}, "preemphasis"),
        ({"device": "abacus"}, "abacus"),
        ({"checkpoint": "hubert_base"}, "moda weights get hubert_base"),
    ],
)
def test_settings_that_cannot_work_are_named(checkpoints, tmp_path, monkeypatch, settings, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    with pytest.raises(UserError, match=message):
        Wav2VecEncoder(**({"checkpoint": checkpoints["hubert"]} | settings))


def test_without_transformers_the_message_says_what_to_install(checkpoints, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'moda\[speech\]'"):
        Wav2VecEncoder(checkpoints["hubert"])


def test_loading_prints_nothing(checkpoints, capfd):
    Wav2VecEncoder(checkpoints["wav2vec2_ctc"])
    assert capfd.readouterr() == ("", "")
