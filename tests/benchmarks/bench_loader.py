"""Prints the rates of one reader, on a data set of realistic sizes: python tests/benchmarks/bench_loader.py [DATASET]

To reach: a stream at 0.6 of the standard library's reading or more, decoding included.
"""

import sys
import tempfile
from pathlib import Path

from moda.bench.loader import measure_loader
from moda.bench.synthetic import write_synthetic


def main(dataset: Path | None = None) -> None:
    """Without a data set: 512 clips of 10 s, 59 dimensions of motion, 119 of sound."""
    with tempfile.TemporaryDirectory() as folder:
        root = dataset or write_synthetic(Path(folder) / "set", audio_dim=119, shards=16)
        for rate in measure_loader(root):
            print(
                f"{rate.name:<42} {rate.clips_per_second:7.0f} clips/s {rate.bytes_per_second / 1e9:5.2f} GB/s"
                f"   {rate.ratio:5.2f} of the standard library"
            )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
