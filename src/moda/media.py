"""Opening sound and video files of unknown origin."""

from pathlib import Path

import av
from av.container import InputContainer


def open_media(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    """The file for reading by PyAV. Tags that are no UTF-8, as old recorders write them, are no reason to refuse it."""
    return av.open(str(path.resolve()), metadata_errors="replace", options=options)
