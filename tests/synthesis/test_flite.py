import shutil
from itertools import pairwise

import numpy as np
import pytest

from moda.errors import UserError
from moda.synthesis import flite
from moda.synthesis.flite import FliteVoice
from moda.synthesis.lexicon import SILENCE, VOWELS
from moda.synthesis.visemes import VISEMES

pytest.importorskip("pocketsphinx")
SENTENCE = "Bob bumped his head on a low beam."
installed = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


def rms(speech, phone):
    return float(np.sqrt(np.mean(speech.waveform[int(phone.start * 16_000) : int(phone.end * 16_000)] ** 2)))


@installed
@pytest.mark.parametrize("pitch", [1.0, 1.1])
def test_phones_cover_the_sound_and_agree_with_it(pitch):
    speech = FliteVoice("slt").speak(SENTENCE, seed=0, pitch=pitch)
    phones = speech.phones
    assert phones[0].start == 0 and phones[-1].end == pytest.approx(speech.seconds)
    assert all(a.end == b.start for a, b in pairwise(phones))
    assert [p.name for p in phones if p.name in "BMP"] == ["B", "B", "B", "M", "P", "B", "M"]
    assert all(p.name in VISEMES for p in phones) and phones[0].name == phones[-1].name == SILENCE
    vowels = np.median([rms(speech, p) for p in phones if p.name in VOWELS])
    assert max(rms(speech, p) for p in phones if p.name in "PT") < 0.3 * vowels  # closures without voice
    assert rms(speech, phones[0]) < 0.1 * vowels


@installed
def test_stress_is_the_lexicon_s():
    stressed = [p.name for p in FliteVoice("slt").speak(SENTENCE, seed=0).phones if p.stressed]
    assert set(stressed) <= VOWELS and {"AH", "EH", "OW", "IY"} <= set(stressed)


@installed
def test_tempo_and_pitch():
    voice = FliteVoice("rms")
    plain = voice.speak(SENTENCE, seed=0)
    assert np.array_equal(plain.waveform, voice.speak(SENTENCE, seed=1).waveform)
    assert voice.speak(SENTENCE, seed=0, length_scale=1.3).seconds == pytest.approx(1.3 * plain.seconds, rel=0.1)
    assert voice.speak(SENTENCE, seed=0, pitch=1.2).seconds == pytest.approx(plain.seconds, rel=0.1)


@installed
def test_a_voice_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no voice caruso"):
        FliteVoice("caruso")


def test_without_the_program_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(flite.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get install flite"):
        FliteVoice("slt")
