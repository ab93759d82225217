"""From words to phones: dictionary, lexical stress and the voice's phonetic alphabet.

The CMU dictionary packaged with PocketSphinx holds no stress, and a voice without stress sounds
like a list. Our sentences are our own, so the few words that break the rule "primary stress on the
first vowel" are named here, and function words carry none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moda.errors import UserError
from moda.weights import find

SILENCE = "SIL"

# ARPABET to IPA as the voice was trained on it (eSpeak's American English): unstressed, stressed
IPA = {
    "AA": ("ɑː", "ɑː"), "AE": ("æ", "æ"), "AH": ("ə", "ʌ"), "AO": ("ɔː", "ɔː"), "AW": ("aʊ", "aʊ"),
    "AY": ("aɪ", "aɪ"), "EH": ("ɛ", "ɛ"), "ER": ("ɚ", "ɜː"), "EY": ("eɪ", "eɪ"), "IH": ("ɪ", "ɪ"),
    "IY": ("i", "iː"), "OW": ("oʊ", "oʊ"), "OY": ("ɔɪ", "ɔɪ"), "UH": ("ʊ", "ʊ"), "UW": ("uː", "uː"),
} | {
    phone: (symbol, symbol) for phone, symbol in {
        "B": "b", "CH": "tʃ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h", "JH": "dʒ", "K": "k", "L": "l",
        "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v",
        "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
    }.items()
}  # fmt: skip
VOWELS = frozenset(phone for phone in IPA if phone[0] in "AEIOU")

_FUNCTION_WORDS = """
    a an and am are as at be been but by could do does for from had has have he her him his i if in is it its me
    must my of on or our shall she should so some than that the their them they this to us was we were what when where
    who will with would you your
"""
WEAK_FORMS = {"to": "T AH", "was": "W AH Z", "for": "F ER"}
_STRESS_ON_SECOND_VOWEL = """
    about above across ago already amount available away balloon became because before began begins behind below
    beneath beside between beyond eleven except forgets himself imagine inside machine mechanic museum november parade
    piano prefer produces remember themselves together tomatoes toward umbrella without
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
STRESS_ON_SECOND_VOWEL = frozenset(_STRESS_ON_SECOND_VOWEL.split())


@dataclass(frozen=True)
class Phoneme:
    """A phone of a word: its ARPABET name and whether it is a vowel under primary stress."""

    name: str
    stressed: bool = False

    @property
    def ipa(self) -> str:
        return IPA[self.name][self.stressed]


def words_of(text: str) -> list[str]:
    """The words of a sentence, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def pronounce(word: str, dictionary: Mapping[str, tuple[str, ...]] | None = None) -> list[Phoneme]:
    """Phones of a word, the first pronunciation of the dictionary; UserError for a word it lacks."""
    dictionary = load_dictionary() if dictionary is None else dictionary
    if word not in dictionary:
        raise UserError(f"the pronunciation of {word!r} is not in the dictionary; use another word")
    phones = WEAK_FORMS[word].split() if word in WEAK_FORMS else dictionary[word]
    vowels = [index for index, phone in enumerate(phones) if phone in VOWELS]
    stressed = -1
    if word not in FUNCTION_WORDS and vowels:
        stressed = vowels[1 if word in STRESS_ON_SECOND_VOWEL and len(vowels) > 1 else 0]
    return [Phoneme(phone, index == stressed) for index, phone in enumerate(phones)]


@cache
def load_dictionary() -> Mapping[str, tuple[str, ...]]:
    """The CMU pronouncing dictionary: word -> ARPABET phones. UserError when it is not installed."""
    path = find("cmudict")
    entries = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {word: tuple(phones) for word, *phones in entries}


@cache
def load_sentences() -> tuple[str, ...]:
    """Our own English sentences, rich in closures, rounding and fricatives; one a line."""
    return tuple((Path(__file__).parent / "sentences.txt").read_text().splitlines())
