"""Known corpora: each reads the folders and lists of its own, from a local copy.

A new one is a file here with a class that fills ``Corpus``, and an entry below.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moda.data_prep.corpora.base import Corpus
from moda.data_prep.corpora.celebv_hq import CelebVHQ
from moda.data_prep.corpora.celebv_text import CelebVText
from moda.data_prep.corpora.hdtf import HDTF
from moda.data_prep.corpora.mead import MEAD
from moda.data_prep.corpora.ravdess import RAVDESS
from moda.data_prep.corpora.talkvid import TalkVid
from moda.errors import UserError

CORPORA: Mapping[str, Corpus] = MappingProxyType(
    {corpus.name: corpus for corpus in (HDTF(), CelebVText(), CelebVHQ(), MEAD(), RAVDESS(), TalkVid())}
)


def get_corpus(name: str) -> Corpus:
    """The corpus called ``name``; UserError listing the known ones for another."""
    if name not in CORPORA:
        raise UserError(f"corpus={name} is not known; known: {', '.join(CORPORA)}, or null for any folder of videos")
    return CORPORA[name]
