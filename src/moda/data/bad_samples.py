"""What happens to samples that cannot be used: reported, skipped, counted, and fatal when too many come in a row."""

import json
import os
import sys
from pathlib import Path

from moda.data.shards import CorruptSampleError, OnCorrupt
from moda.errors import UserError

LOG_NAME = "bad_samples.jsonl"


class BadSampleLog:
    """One line for each bad sample on the error output and, as JSON, in the file ``path``.

    Every process that meets a sample says so once. Lines are appended by a single write each, so that
    many processes can share the file; it appears with the first bad sample.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = Path(path) if path is not None else None
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, error: CorruptSampleError) -> None:
        place = (error.shard, error.key)
        if place in self._seen:
            return
        self._seen.add(place)
        print(f"skipped a bad sample: {error}", file=sys.stderr, flush=True)
        if self.path is not None:
            self._append(self.path, {"shard": error.shard, "key": error.key, "reason": error.reason})

    @staticmethod
    def _append(path: Path, value: dict[str, str]) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, json.dumps(value).encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; free space or choose another place") from error


class BadSamples:
    """The bad samples that one reader has met.

    report: hears of each. most: so many in a row, with no good one between them, end the reading.
    """

    def __init__(self, report: OnCorrupt, most: int):
        self.report, self.most = report, most
        self.in_a_row = 0
        self._skipped = 0

    def skip(self, error: CorruptSampleError) -> None:
        self.report(error)
        self.in_a_row += 1
        self._skipped += 1
        if self.in_a_row >= self.most:
            raise UserError(
                f"{self.in_a_row} bad samples in a row (data.max_bad_in_a_row), the last: {error}; "
                "moda lint DATASET lists all of them"
            )

    def keep(self) -> None:
        """A good sample came."""
        self.in_a_row = 0

    def take(self) -> int:
        """How many were skipped since the last call."""
        skipped, self._skipped = self._skipped, 0
        return skipped
