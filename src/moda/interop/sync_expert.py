"""A trained sync expert, for those who have their motion judged."""

from collections.abc import Iterable
from pathlib import Path

from moda.errors import UserError
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export, load_export
from moda.models.sync_expert import SyncExpert


def load_sync_expert(path: str | Path, identity: MotionIdentity, who: str) -> tuple[SyncExpert, Export]:
    """The expert of a run of task=sync_expert, and its export.

    identity: of the motion that is to be judged, ``who`` in errors. Raises UserError where layout, codec or
    speech encoder are not the expert's; its statistics may be others, since it normalises by its own.
    """
    export = load_export(path)
    if not isinstance(export.network, SyncExpert):
        raise UserError(f"{path} holds no sync expert; name a run of task=sync_expert")
    for what, ours, theirs in (
        ("motion layout", identity.statistics.layout.name, export.layout.name),
        ("motion codec", identity.codec_fingerprint, export.codec_fingerprint),
        ("speech encoder", identity.audio_fingerprint, export.audio_fingerprint),
    ):
        if ours != theirs:
            raise UserError(
                f"the sync expert {path} judges another {what} ({theirs[:14]}) than {who} has ({ours[:14]})"
            )
    return export.network, export


def shared_speakers(export: Export, speakers: Iterable[str]) -> list[str]:
    """Speakers that an export was trained on and that are among ``speakers``."""
    return sorted(set(export.speakers) & set(speakers))
