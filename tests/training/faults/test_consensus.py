"""Flags over two real processes and over none."""

import subprocess
import sys
from pathlib import Path

import pytest

from moda.training.faults.consensus import Consensus

RANK = """
import sys
import torch.distributed as dist
from moda.training.faults.consensus import Consensus

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
consensus = Consensus(("signal", "step"))
consensus.connect()
seen = []
for boundary in range(1, 6):
    if (rank, boundary) == (1, 2):
        consensus.raise_flag("signal", 15)
    if (rank, boundary) == (0, 3):
        consensus.raise_flag("step", 7)
    seen.append(tuple(consensus.exchange().values()))
consensus.raise_flag("step", 8 + rank)
print(seen, consensus.settle())
"""


@pytest.mark.slow
def test_what_one_rank_raises_all_ranks_learn_at_the_same_boundary(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")], stdout=-1, stderr=-1, text=True
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    for out, err in outputs:
        # raised at boundary 2, known at 3; raised at 3, known at 4
        assert out == f"{[(0, 0), (0, 0), (15, 0), (15, 7), (15, 7)]} {{'signal': 15, 'step': 9}}\n", err


def test_one_process_learns_at_the_same_boundary_and_at_once_where_it_settles() -> None:
    consensus = Consensus(("signal", "step"))
    consensus.connect()
    assert not any(consensus.exchange().values())
    consensus.raise_flag("signal", 10)
    consensus.raise_flag("signal", 5)  # the larger stays
    assert consensus.raised("signal") and not consensus.raised("step")
    assert not any(consensus.exchange().values())
    assert consensus.exchange() == {"signal": 10, "step": 0}
    consensus.raise_flag("step", 3)
    assert consensus.settle() == consensus.agreed == {"signal": 10, "step": 3}
