from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from moda.training.checkpoints.masters import Masters, replicated, zero_3
from moda.training.checkpoints.pieces import PieceReader, write_pieces


def stepped(fused: bool) -> tuple[Masters, AdamW]:
    network = nn.Linear(3, 2)
    optimizer = AdamW(network.parameters(), fused=fused)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return replicated(network, optimizer), optimizer


@pytest.mark.parametrize("fused", [True, False])
def test_a_resumed_step_counter_lies_where_the_kernels_that_read_it_are(tmp_path, fused) -> None:
    masters, _ = stepped(fused)
    write_pieces(tmp_path, "optimizer", 0, masters.moments())
    elsewhere = torch.device("meta")  # as there is no GPU
    network = nn.Linear(3, 2, device=elsewhere)
    resumed = replicated(network, AdamW(network.parameters()))
    resumed.optimizer.param_groups[0]["fused"] = fused  # torch refuses to make one on this device
    resumed.load_moments(PieceReader(tmp_path, "optimizer"))
    for state in resumed.optimizer.state.values():
        assert state["exp_avg"].device == elsewhere
        assert state["step"].device == (elsewhere if fused else torch.device("cpu"))


def test_moments_come_back_as_they_were(tmp_path) -> None:
    masters, optimizer = stepped(True)
    write_pieces(tmp_path, "optimizer", 0, masters.moments())
    again, other = stepped(True)
    again.load_moments(PieceReader(tmp_path, "optimizer"))
    for mine, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert torch.equal(value, theirs[key])


def test_under_zero_3_with_offload_whole_weights_are_gathered_where_ranks_can_reduce_them() -> None:
    network = nn.Linear(3, 2, bias=False)
    weight: Any = network.weight
    weight.ds_numel, weight.ds_shape = 6, weight.shape
    zero = SimpleNamespace(  # of DeepSpeed, as it stands with its masters in CPU memory
        device="cpu",
        grad_position={0: (0, 0, 6)},
        get_param_id=lambda p: 0,
        fp32_partitioned_groups_flat=[torch.zeros(6)],
        optimizer=None,
    )
    masters = zero_3(network, zero, 0, torch.device("cuda", 3))
    assert masters.device == torch.device("cuda", 3)
    assert masters.pieces[0].values.device.type == "cpu"
