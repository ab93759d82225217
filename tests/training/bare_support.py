"""An export used in a process that has neither Lightning nor DeepSpeed."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from moda.interop.export import Export

REFUSED = ("lightning", "lightning_fabric", "lightning_utilities", "pytorch_lightning", "deepspeed")

SAMPLE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[3:]:
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[3:]:
    try:
        __import__(name)
    except ImportError as error:
        assert "is refused" in str(error)
    else:
        raise AssertionError(f"{name} could be imported")

import numpy as np
from moda.interop.export import load_export
from bare_support import sample_of

np.save(sys.argv[2], sample_of(load_export(sys.argv[1])))
"""


def sample_of(export: Export) -> np.ndarray:
    """(30, D) motion that the export makes of a given sound, face, emotion and seed."""
    heard = np.sin(np.arange(30 * export.audio_dim, dtype=np.float32)).reshape(30, 1, -1)
    identity = np.linspace(-1, 1, export.identity_dim, dtype=np.float32)
    return np.concatenate(list(export.sampler().sample(heard, identity, 1, export.statistics.mean, seed=3)))


def sample_bare(export: Path, folder: Path) -> np.ndarray:
    """The same, computed where an import of ``REFUSED`` raises."""
    out = folder / "motion.npy"
    command = [sys.executable, "-c", SAMPLE, str(export), str(out), *REFUSED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    return np.load(out)
