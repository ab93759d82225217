import pytest

from moda.errors import UserError
from moda.synthesis.lexicon import IPA, SILENCE, load_sentences, pronounce, words_of
from moda.synthesis.visemes import VISEMES

pytest.importorskip("pocketsphinx")


def names(word):
    return [phone.name for phone in pronounce(word)]


def stressed(word):
    return [phone.name for phone in pronounce(word) if phone.stressed]


def test_content_words_are_stressed_on_the_right_vowel():
    assert names("puppies") == ["P", "AH", "P", "IY", "Z"]
    assert stressed("puppies") == ["AH"]
    assert stressed("balloon") == ["UW"]
    assert stressed("tomatoes") == ["EY"]


def test_function_words_carry_no_stress_and_some_are_weak():
    assert stressed("the") == []
    assert names("to") == ["T", "AH"]


def test_schwa_and_stressed_vowel_sound_different():
    ipa = [phone.ipa for phone in pronounce("above")]
    assert ipa == ["ə", "b", "ʌ", "v"]


def test_an_unknown_word_is_named():
    with pytest.raises(UserError, match="'blorptastic'"):
        pronounce("blorptastic")


def test_every_sentence_can_be_pronounced_and_articulated():
    sentences = load_sentences()
    assert len(sentences) >= 150
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert 4 <= len(words_of(sentence)) <= 12, sentence
        for word in words_of(sentence):
            assert {phone.name for phone in pronounce(word)} <= VISEMES.keys(), word


def test_sentences_are_rich_in_lip_closures_and_rounding():
    phones = [name for sentence in load_sentences() for word in words_of(sentence) for name in names(word)]
    share = {
        group: sum(phone in group for phone in phones) / len(phones) for group in (("P", "B", "M"), ("UW", "OW", "W"))
    }
    assert share[("P", "B", "M")] > 0.12
    assert share[("UW", "OW", "W")] > 0.06
    assert set(phones) == set(IPA) - {"ZH"} | ({"ZH"} & set(phones))


def test_the_tables_cover_the_same_phones():
    assert VISEMES.keys() == IPA.keys() | {SILENCE}
