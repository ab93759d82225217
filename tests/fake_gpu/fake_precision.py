"""What bf16-mixed is on the fake GPU: types inside the transformer, and where a resumed optimizer's state lies."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from fake_device import GPU
from fake_training import Training
from fake_watch import Watch
from torch import nn

from moda.models import attention
from moda.training.checkpoints.masters import Masters, replicated
from moda.training.checkpoints.pieces import PieceReader, write_pieces


def measured_step(training: Training, watch: Watch) -> dict[str, Any]:
    """A step, and the types that the transformer has inside in it.

    streams: of what goes into its blocks and comes out; attention: of queries, keys and values as the network makes
    them; gradients: of the weights.
    """
    training.upload()
    with watch.phase("first"), torch.no_grad(), torch.autocast(GPU.type, torch.bfloat16):
        training.module.training_step(training.batch, 0)  # what is computed once for a shape
    streams: set[str] = set()
    heads: set[str] = set()

    def look(_: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        streams.update(str(tensor.dtype) for tensor in (*inputs[0], *outputs))

    for block in training.module.network.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(look)
    attend = attention.F.scaled_dot_product_attention

    def listening(*heads_of: torch.Tensor, **settings: Any) -> torch.Tensor:
        heads.update(str(tensor.dtype) for tensor in heads_of)
        return attend(*heads_of, **settings)

    with patch.object(attention.F, "scaled_dot_product_attention", listening):
        training.step(watch)
    with watch.phase("optimizer again"):  # the first time it makes its state
        training.optimizer.step()
    gradients = {str(p.grad.dtype) for p in training.module.network.parameters() if p.grad is not None}
    return {"streams": sorted(streams), "attention": sorted(heads), "gradients": sorted(gradients)}


def resumed(folder: Path, fused: bool, watch: Watch) -> dict[str, Any]:
    """Where the state of AdamW lies after it was read from a checkpoint; then it steps."""
    before = _stepped(folder)
    with watch.phase("resume"):
        network = nn.Linear(4, 4).to(GPU)
        optimizer = torch.optim.AdamW(network.parameters(), fused=fused)
        replicated(network, optimizer).load_moments(PieceReader(folder, "optimizer"))
    places = {key: value.device.type for key, value in optimizer.state[network.weight].items()}
    assert places.keys() == before
    with watch.phase("step"):
        network(torch.ones(1, 4, device=GPU)).sum().backward()
        optimizer.step()
    return {"places": places}


def _stepped(folder: Path) -> set[str]:
    """Write the optimizer's state of a network that was trained on the host; returns its keys."""
    folder.mkdir(parents=True, exist_ok=True)
    network = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    masters: Masters = replicated(network, optimizer)
    write_pieces(folder, "optimizer", 0, masters.moments())
    return set(optimizer.state[network.weight])
