"""What was read off videos, kept by content: nothing is computed twice, whatever files are called."""

import json
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from moda.errors import UserError
from moda.files import atomic_path

REASON = "reason"  # the array of an entry that says why there is nothing else


class FeatureCache:
    """A folder of one file an entry, FOLDER/ab/abcd....npz; any number of processes may share it.

    An entry that cannot be read counts as absent. Failures are kept too, so that a video that cannot be
    measured is not tried again for each evaluation.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path:
        """Of the entry that the JSON ``key`` names."""
        name = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.npz"

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return _readable(self.path(key))

    def save(self, key: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Raises UserError where it cannot be written."""
        with atomic_path(self.path(key)) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def save_failure(self, key: Mapping[str, Any], reason: str) -> None:
        self.save(key, {REASON: np.array(reason)})

    def load(self, key: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays. Raises UserError with the reason where there was nothing to measure, KeyError for no entry."""
        path = self.path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise KeyError(f"{path} is not there or not whole") from error
        if REASON in arrays:
            raise UserError(str(arrays[REASON]))
        return arrays


def _readable(path: Path) -> bool:
    """Whether the directory at the end of the file is there; what is written is renamed when it is whole."""
    return path.is_file() and zipfile.is_zipfile(path)
