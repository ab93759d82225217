"""Clips and corpora with a voice and a renderer of our own, small enough to run here."""

import json

import numpy as np
import pytest
import soundfile

from moda.cli import synthesize as command
from moda.errors import UserError
from moda.motion.layout import get_layout
from moda.synthesis import corpus
from moda.synthesis.clip import clip_paths, is_complete, join, perform
from moda.synthesis.corpus import synthesize, write_held_out_speech
from moda.synthesis.plan import plan_corpus
from moda.synthesis.voice import Phone, Speech

pytest.importorskip("pocketsphinx")
LAYOUT = get_layout("head59")


class ToneVoice:
    """Says M AA M for every word: half a second of tone."""

    def speak(self, sentence, *, seed, length_scale=1.0, pitch=1.0):
        count = len(sentence.split())
        edges = 0.15 * length_scale * np.arange(3 * count + 1)
        phones = [Phone(("M", "AA", "M")[k % 3], edges[k], edges[k + 1], k % 3 == 1) for k in range(3 * count)]
        time = np.arange(round(edges[-1] * 16_000)) / 16_000
        return Speech(np.sin(900 * pitch * time + seed).astype(np.float32), tuple(phones))


class GreyRenderer:
    """Shows the opening of the jaw as a grey level."""

    frames = 0

    def render(self, head, motion):
        self.frames += 1
        return np.full((64, 64, 3), int(255 * motion[LAYOUT.index("jawOpen")]), np.uint8)


@pytest.fixture
def renderer(monkeypatch):
    renderer = GreyRenderer()
    monkeypatch.setattr(corpus, "_voice", lambda name: ToneVoice())
    monkeypatch.setattr(corpus, "_renderer", lambda size, supersample: renderer)
    return renderer


def small(**changes):
    return plan_corpus(**{"identities": 2, "clips_per_identity": 1, "seconds": 2.0, "size": 64, **changes})


def test_a_performance_is_whole_frames_of_sound_and_motion():
    plan = small()[0]
    first, second = perform(plan, ToneVoice()), perform(plan, ToneVoice())
    assert first.motion.shape == (len(first.waveform) // 640, 59) and len(first.waveform) % 640 == 0
    assert first.motion.dtype == first.waveform.dtype == np.float32
    assert np.array_equal(first.motion, second.motion) and np.array_equal(first.waveform, second.waveform)
    assert first.motion[:, :52].min() >= 0 and first.motion[:, :52].max() <= 1
    assert first.motion[:, LAYOUT.index("scale")].mean() == pytest.approx(1.0, abs=0.05)


def test_joining_keeps_the_times_of_the_phones():
    parts = [Speech(np.ones(8000, np.float32), (Phone("AA", 0.0, 0.5),)) for _ in range(2)]
    joined = join(parts, (0.2, 0.3, 0.25))
    assert [phone.name for phone in joined.phones] == ["SIL", "AA", "SIL", "AA", "SIL"]
    assert [phone.start for phone in joined.phones] == pytest.approx([0.0, 0.2, 0.7, 1.0, 1.5])
    assert len(joined.waveform) % 640 == 0 and joined.phones[-1].end == pytest.approx(joined.seconds)
    for phone in joined.phones:
        sound = joined.waveform[round(phone.start * 16_000) : round(phone.end * 16_000)]
        assert np.all(sound == (phone.name == "AA"))


def test_a_corpus_is_written_resumed_and_changed(tmp_path, renderer):
    plans = small()
    assert synthesize(tmp_path, plans) == 0
    video, motion, sidecar = clip_paths(tmp_path, plans[0])
    assert video.name == "clip_000.mp4" and video.stat().st_size > 0
    with np.load(motion, allow_pickle=False) as arrays:
        assert arrays["motion"].shape[1] == 59
        assert arrays["phone_times"].shape == (len(arrays["phones"]), 2)
        assert arrays["phone_times"][-1, 1] == pytest.approx(len(arrays["motion"]) / 25)
    described = json.loads(sidecar.read_text())
    assert described.keys() >= {"speaker", "emotion", "emotion_intensity", "text", "voice"}
    assert (tmp_path / "corpus.json").is_file()

    before = renderer.frames
    assert synthesize(tmp_path, plans) == 2 and renderer.frames == before  # all were there
    with np.load(motion) as arrays:
        frames = len(arrays["motion"])
    motion.unlink()
    assert synthesize(tmp_path, plans) == 1 and renderer.frames == before + frames  # one was not whole
    assert synthesize(tmp_path, small(seed=1)) == 0  # another plan under the same names


def test_an_interruption_leaves_no_half_clip(tmp_path, renderer, monkeypatch):
    def broken(head, motion):
        renderer.frames += 1
        if renderer.frames > 5:
            raise KeyboardInterrupt
        return np.zeros((64, 64, 3), np.uint8)

    plans = small()
    monkeypatch.setattr(renderer, "render", broken)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, plans)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not is_complete(tmp_path, plans[0])


def test_videos_of_another_corpus_are_refused(tmp_path, renderer):
    synthesize(tmp_path, small())
    with pytest.raises(UserError, match="1 videos that are not of this corpus, as speaker_001/clip_000.mp4"):
        synthesize(tmp_path, small(identities=1))


def test_held_out_speech_is_a_wav(tmp_path, renderer):
    text = write_held_out_speech(tmp_path / "speech.wav", small(), seconds=3.0)
    sound, rate = soundfile.read(tmp_path / "speech.wav")
    assert rate == 16_000 and sound.ndim == 1 and len(sound) > 16_000
    assert text not in {sentence for plan in small() for sentence in plan.sentences}


def test_the_command_says_what_it_made(tmp_path, renderer, capsys):
    arguments = ["--out", str(tmp_path / "c"), "--speakers", "1", "--clips", "1", "--seconds", "2", "--size", "64"]
    assert command.main([*arguments, "--workers", "1"]) == 0
    assert "1 clips of 1 speakers" in capsys.readouterr().out
    assert command.main([*arguments, "--workers", "1"]) == 0
    assert "1 of them kept" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main([*arguments, "--workers", "0"])
