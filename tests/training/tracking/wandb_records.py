"""Reading what an offline W&B run has written: protocol buffers in a LevelDB log."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

BLOCK, FILE_HEADER, HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def files(run_dir: Path) -> list[Path]:
    """One for each start, the first first; ``finish`` returns before the last one is on disk."""
    wandb.teardown()
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def records(path: Path) -> Iterator[Record]:
    data, at, parts = path.read_bytes(), FILE_HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


def history(run_dir: Path) -> list[dict[str, Any]]:
    """What was logged in all starts of a run, in order."""
    rows = []
    for path in files(run_dir):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def config(run_dir: Path) -> dict[str, Any]:
    """The run's config after all starts."""
    values: dict[str, Any] = {}
    for path in files(run_dir):
        for record in records(path):
            for update in (record.run.config.update, record.config.update):
                values |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in update}
    return values
