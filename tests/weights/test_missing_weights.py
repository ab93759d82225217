"""Every part that needs a weight says which file is missing and with which command it comes."""

import dataclasses
from pathlib import Path
from types import MappingProxyType

import pytest

from moda.build import build
from moda.codec.head.mesh import load_mesh
from moda.errors import UserError
from moda.eval.videos.extractors import networks
from moda.eval.videos.extractors.detectors import LandmarkDetector
from moda.eval.videos.extractors.emotion import EmotionExtractor
from moda.eval.videos.extractors.networks import OFFICIAL, STAND_IN, Networks
from moda.interop.moda import load_official
from moda.synthesis.lexicon import load_dictionary
from moda.synthesis.piper import PiperVoice
from moda.weights import registry

HERE = Path(registry.__file__).parents[1]


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No weight anywhere: an empty cache, and packages that ship none."""
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bare = {name: dataclasses.replace(weight, packaged=None) for name, weight in registry.REGISTRY.items()}
    monkeypatch.setattr(registry, "REGISTRY", MappingProxyType(bare))
    for cached in (load_mesh, load_dictionary):
        cached.cache_clear()


def made(target, **arguments):
    return lambda: build({"_target_": f"moda.{target}", **arguments})


def stand_in(maker, *arguments):
    return getattr(networks, maker)(STAND_IN, *arguments)


# what needs it, and the weight that it asks for first
NEEDS = {
    "landmarker": (made("face.landmarker.FaceLandmarker"), "face_landmarker"),
    "head codec": (lambda: made("codec.head.HeadCodec")().fingerprint, "face_landmarker"),
    "head renderer": (lambda: made("codec.head.HeadCodec")().renderer, "head_mesh"),
    "phonemes": (made("audio.phonemes.PhonemeEncoder"), "phoneme_ctc"),
    "hubert": (made("audio.wav2vec.Wav2VecEncoder", checkpoint="hubert_base"), "hubert_base"),
    "wav2vec2": (made("audio.wav2vec.Wav2VecEncoder", checkpoint="wav2vec2_base"), "wav2vec2_base"),
    "published speech encoder": (
        made("audio.wav2vec.Wav2VecEncoder", checkpoint="chinese_hubert_base"),
        "chinese_hubert_base",
    ),
    "voice": (PiperVoice, "piper_joe_config"),
    "dictionary": (load_dictionary, "cmudict"),
    "published generator": (lambda: load_official("net-200.pth"), "moda_official"),
    "emotions": (lambda: EmotionExtractor().network, "mini_xception"),
    "detector": (lambda: LandmarkDetector().landmarker, "face_landmarker"),
    "distances of images": (lambda: stand_in("_image", "cpu"), "efficientnet_lite0"),
    "distances of videos": (lambda: stand_in("_video", "cpu"), "physnet"),
    "distances of identities": (lambda: stand_in("_identity"), "dlib_faces"),
}


@pytest.mark.parametrize("part", NEEDS)
def test_a_missing_file_is_named_with_its_command(part):
    need, weight = NEEDS[part]
    with pytest.raises(UserError) as caught:
        need()
    message = str(caught.value)
    assert registry.get_weight(weight).filename in message and f"moda weights get {weight}" in message
    assert "\n" not in message


def test_missing_networks_of_the_evaluation_are_named_with_their_command():
    resolved, notes = Networks().resolved()
    assert all(getattr(resolved, role) == STAND_IN for role in OFFICIAL)
    for weight, *_ in OFFICIAL.values():
        assert any(f"moda weights get {weight}" in note for note in notes)


def test_no_file_of_a_weight_is_asked_for_elsewhere():
    """A file name of the registry in other code would be a way around ``moda.weights.find``."""
    names = {weight.filename for weight in registry.REGISTRY.values()}
    for path in HERE.rglob("*.py"):
        if path.parent.name != "weights":
            text = path.read_text()
            assert not [name for name in names if f'"{name}"' in text], path
