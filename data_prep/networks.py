"""The networks that judge a clip beside the codec: each is used where its files are, and missed by name where not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moda.data_prep.settings import PrepareSettings
from moda.errors import UserError
from moda.weights import get_weight
from moda.weights.locate import locate

AUTO, NONE = "auto", "none"
# stage: weights that it needs, of which one is enough, and what is missed without them
STAGES = {
    "identity": (("arcface", "dlib_faces"), "people are not told apart by their faces"),
    "emotion": (("mini_xception",), "emotions are those of labels alone"),
    "voice": (("silero_vad",), "speech is not told from music"),
    "sync": (("syncnet_v2",), "sync is judged by the loudness of the sound alone, and sound out of sync stays so"),
}


@dataclass(frozen=True)
class Networks:
    """None where a network is not used. fingerprints: of those that are, by stage. notes: what is missed, and why."""

    identity: Any = None  # moda.data_prep.identity.FaceRecognizer
    emotion: Any = None  # moda.data_prep.emotion.EmotionReader
    voice: Any = None  # moda.data_prep.voice.VoiceActivity
    sync: Any = None  # score(crops, sound) -> moda.eval.sync.SyncScore
    fingerprints: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def build_networks(settings: PrepareSettings) -> Networks:
    """Those that ``settings`` asks for: ``auto`` where they are on this machine, ``none`` not at all.

    Raises UserError where one is there and what runs it is not.
    """
    built: dict[str, Any] = {}
    fingerprints, notes = {}, []
    for stage, (weights, missed) in STAGES.items():
        wanted = getattr(settings.networks, stage)
        present = [name for name in weights if locate(name)]
        if wanted == NONE:
            continue
        if not present:
            notes.append(f"{missed}, as no {' or '.join(weights)} is on this machine: moda weights get {weights[-1]}")
            continue
        try:
            built[stage] = BUILDERS[stage]()
        except UserError as error:
            notes.append(f"{missed}: {error}")
            continue
        fingerprints[stage] = f"{present[0]} {get_weight(present[0]).sha256 or ''}".strip()
    return Networks(**built, fingerprints=fingerprints, notes=tuple(notes))


def _identity() -> Any:
    from moda.data_prep.identity import FaceRecognizer

    return FaceRecognizer.find()


def _emotion() -> Any:
    from moda.data_prep.emotion import EmotionReader

    return EmotionReader()


def _voice() -> Any:
    from moda.data_prep.voice import VoiceActivity

    return VoiceActivity()


def _sync() -> Any:
    import torch

    from moda.eval.networks import SyncNet
    from moda.eval.sync import sync_score
    from moda.weights import find

    network = SyncNet.from_pretrained(find("syncnet_v2")).to("cuda" if torch.cuda.is_available() else "cpu")
    return lambda crops, sound: sync_score(crops, sound, network)


BUILDERS: dict[str, Callable[[], Any]] = {"identity": _identity, "emotion": _emotion, "voice": _voice, "sync": _sync}
