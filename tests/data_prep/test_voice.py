import numpy as np
import pytest
import soundfile

from moda.data_prep.voice import VoiceActivity
from moda.weights.locate import locate


@pytest.fixture(scope="module")
def activity() -> VoiceActivity:
    if locate("silero_vad") is None:
        pytest.skip("silero-vad is not installed")
    pytest.importorskip("onnxruntime")
    return VoiceActivity()


def test_noise_tones_and_silence_are_no_speech(activity: VoiceActivity):
    time, rng = np.arange(64_000) / 16_000, np.random.default_rng(0)
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220.0, 277.2, 329.6)) * (np.sin(4 * np.pi * time) > 0) / 10
    for sound in (rng.normal(0, 0.1, 64_000), chord, np.zeros(64_000)):
        assert activity.seconds(sound.astype(np.float32)) < 0.4


def test_a_voice_is_speech_where_it_speaks(activity: VoiceActivity, tmp_path):
    """The packaged voice of the demo corpus, between two silences."""
    pytest.importorskip("onnx")
    if locate("piper_joe") is None:
        pytest.skip("the packaged voice is not installed")
    from moda.synthesis.piper import PiperVoice

    said = PiperVoice().speak("The weather is getting better every day.", seed=0, length_scale=1.0, pitch=1.0).waveform
    silence = np.zeros(16_000, np.float32)
    sound = np.concatenate([silence, said, silence])
    soundfile.write(tmp_path / "x.wav", sound, 16_000)
    assert activity.seconds(sound) == pytest.approx(len(said) / 16_000, rel=0.3)
    steps = activity.probabilities(sound) > 0.5
    assert len(steps) == -(-len(sound) // 512) and not steps[:25].any() and not steps[-25:].any()
