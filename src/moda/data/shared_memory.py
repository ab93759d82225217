"""Room in shared memory, through which reader processes hand batches over; containers often have next to none."""

import shutil
from pathlib import Path

from moda.data.schema import DatasetManifest
from moda.errors import UserError

SHARED = Path("/dev/shm")


def window_bytes(manifest: DatasetManifest, window: int, previous: int) -> int:
    """Bytes of a window of W frames with P before it, as readers hand it over; sound is float16."""
    motion = (previous + window) * (4 * manifest.layout.dim + 1)
    return motion + 2 * window * manifest.audio_layers * manifest.audio_dim + 4 * manifest.identity_dim


def bytes_ahead(window_bytes: int, micro_batch: int, readers: int, prefetch: int) -> int:
    """Bytes of a rank's batches that are read and not yet used: ``prefetch`` of each reader, and one in hand."""
    return window_bytes * micro_batch * (readers * prefetch + 1)


def require_shared_memory(needed: int, readers: int) -> None:
    """Raise UserError where the ranks of this machine need more shared memory than is free.

    Found out later it is a bus error in one of the readers.
    """
    if not SHARED.is_dir():  # not Linux
        return
    free = shutil.disk_usage(SHARED).free
    if needed > free:
        raise UserError(
            f"the readers here hand over up to {needed / 1e9:.2g} GB of batches through {SHARED}, which has {free / 1e9:.2g} "
            f"GB free; give the container more (docker run --shm-size), or read less far ahead: data.prefetch_factor=1, or "
            f"fewer than data.num_workers={readers}"
        )
