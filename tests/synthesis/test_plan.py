from dataclasses import replace

import pytest

from moda.data.schema import check_key
from moda.errors import UserError
from moda.synthesis.lexicon import load_sentences
from moda.synthesis.plan import plan_corpus, plan_held_out, spoken_seconds

pytest.importorskip("pocketsphinx")


def plans(**changes):
    return plan_corpus(**{"identities": 3, "clips_per_identity": 4, "seconds": 5.0, **changes})


def test_a_plan_is_a_function_of_its_arguments():
    assert plans() == plans()
    assert plans(seed=1) != plans()


def test_more_clips_leave_the_first_ones_as_they_were():
    assert plans(clips_per_identity=6)[:12] == plans()


def test_no_sentence_is_said_twice_before_all_are_said():
    said = [sentence for plan in plans(identities=8, clips_per_identity=6) for sentence in plan.sentences]
    assert len(said) == len(set(said))
    many = [sentence for plan in plans(identities=20, clips_per_identity=10) for sentence in plan.sentences]
    assert set(many) == set(load_sentences())


def test_speakers_differ_and_names_may_name_files():
    corpus = plans(identities=8)
    speakers = {plan.speaker.name: plan.speaker for plan in corpus}
    assert len({speaker.pitch for speaker in speakers.values()}) == 8
    assert [speaker.head for speaker in speakers.values()] == list(range(8))
    for plan in corpus:
        check_key(plan.speaker.name)
        check_key(plan.clip)
        assert 0.85 <= plan.speaker.pitch <= 1.2
        assert len(plan.silences) == len(plan.sentences) + 1
        assert all(0.2 <= silence <= 0.8 for silence in plan.silences)


def test_clips_last_about_as_long_as_asked():
    for seconds in (3.0, 5.0, 9.0):
        lengths = [
            sum(plan.silences) + sum(spoken_seconds(sentence, plan.speaker.tempo) for sentence in plan.sentences)
            for plan in plans(identities=8, seconds=seconds)
        ]
        assert sum(lengths) / len(lengths) == pytest.approx(seconds, rel=0.15)


def test_emotions_come_from_the_choice_and_neutral_has_no_intensity():
    chosen = [plan for plan in plans(identities=20, emotions=("neutral", "anger"))]
    assert {plan.emotion for plan in chosen} == {"neutral", "anger"}
    assert all((plan.intensity == 0) == (plan.emotion == "neutral") for plan in chosen)
    assert {plan.emotion for plan in plans(emotions=("neutral",))} == {"neutral"}
    assert {plan.emotion for plan in plans(emotions=("fear",))} == {"fear"}


def test_the_fingerprint_changes_with_anything_that_shows():
    plan = plans()[0]
    changes = [
        {"size": 128},
        {"emotion": "fear"},
        {"seed": 1},
        {"speaker": replace(plan.speaker, pitch=1.1)},
        {"revision": 0},
    ]
    assert len({plan.fingerprint, *(replace(plan, **change).fingerprint for change in changes)}) == 6


def test_held_out_speech_is_new_in_words_and_voice():
    corpus = plans()
    held_out = plan_held_out(corpus, 6.0)
    assert held_out == plan_held_out(corpus, 6.0)
    assert not set(held_out.sentences) & {sentence for plan in corpus for sentence in plan.sentences}
    assert held_out.speaker.name not in {plan.speaker.name for plan in corpus}
    with pytest.raises(UserError, match="fewer clips"):
        plan_held_out(plans(identities=20, clips_per_identity=10), 6.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": 0}, "speakers is 0"),
        ({"seconds": 0.1}, "seconds is 0.1"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"size": 255}, "even"),
        ({"emotions": ("glee",)}, "unknown emotion 'glee'"),
        ({"emotions": ()}, "no emotion"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        plans(**change)


def test_held_out_speakers_say_what_no_other_says():
    corpus = plans(identities=10, clips_per_identity=20, held_out=2)
    said = {name: set() for name in ("others", "held_out")}
    for plan in corpus:
        side = "held_out" if plan.speaker.name in ("speaker_008", "speaker_009") else "others"
        said[side] |= set(plan.sentences)
    assert not said["others"] & said["held_out"]
    assert len(said["held_out"]) == pytest.approx(0.2 * len(load_sentences()), abs=1)
    assert corpus == plans(identities=10, clips_per_identity=20, held_out=2)


def test_speakers_take_a_voice_of_their_own_kind():
    two = {p.speaker.name: p.speaker for p in plans(identities=6, voices=("piper_joe", "flite_slt"))}
    assert [speaker.voice for speaker in two.values()] == ["flite_slt", "piper_joe"] * 3
    three = {p.speaker.name: p.speaker for p in plans(identities=4, voices=("piper_joe", "flite_rms", "flite_slt"))}
    assert [s.voice for s in three.values()] == ["flite_slt", "piper_joe", "flite_slt", "flite_rms"]
    alone = {p.speaker.name: p.speaker for p in plans(identities=4)}
    assert {speaker.voice for speaker in alone.values()} == {"piper_joe"}
    assert all(speaker.pitch > 1 for speaker in list(alone.values())[::2])  # women by a raised voice
    assert all(0.9 < two[name].pitch < 1.1 for name in list(two)[::2])  # and by their own


def test_intensities_come_from_the_range():
    chosen = [p.intensity for p in plans(identities=20, intensities=(0.2, 0.6)) if p.emotion != "neutral"]
    assert min(chosen) >= 0.2 and max(chosen) <= 0.6 and max(chosen) - min(chosen) > 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensities": (0.8, 0.2)}, "the lower first"),
        ({"intensities": (0.5, 1.5)}, "from 0 to 1"),
        ({"sway": -1}, "sway is -1"),
        ({"voices": ("stentor",)}, "unknown voice 'stentor'; known: piper_joe"),
        ({"held_out": 3}, "held-out is 3; some of the 3 speakers"),
    ],
)
def test_manners_out_of_range_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        plans(**change)
