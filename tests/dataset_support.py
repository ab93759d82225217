"""Prepared data sets that are changed after they were written."""

from dataclasses import replace
from pathlib import Path

from moda.data.schema import DatasetManifest
from moda.data.writer import dataset_fingerprint


def save(manifest: DatasetManifest, root: Path) -> None:
    """Write dataset.json with the fingerprint of what it names."""
    specs = (manifest.codec, manifest.codec_fingerprint, manifest.audio_encoder, manifest.audio_fingerprint)
    replace(manifest, fingerprint=dataset_fingerprint(manifest.shards, *specs)).save(root)
