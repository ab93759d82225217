import json
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.training.checkpoints.masters import replicated
from moda.training.checkpoints.pieces import Piece, PieceReader, whole_pieces, write_pieces

WHOLE = {"a.weight": torch.arange(30.0).reshape(5, 6), "b": torch.arange(7.0) + 100}


def write_ranks(directory: Path, cuts: dict[str, list[int]]) -> None:
    """Each tensor of WHOLE cut at ``cuts``; part i is rank i's."""
    ranks = max(len(at) for at in cuts.values()) + 1
    for rank in range(ranks):
        pieces = []
        for name, value in WHOLE.items():
            edges = [0, *cuts[name], value.numel()]
            if rank + 1 < len(edges) and edges[rank] < edges[rank + 1]:
                part = value.reshape(-1)[edges[rank] : edges[rank + 1]]
                pieces.append(Piece(name, tuple(value.shape), edges[rank], part))
        write_pieces(directory, "weights", rank, pieces)


@pytest.mark.parametrize(
    "cuts", [{"a.weight": [], "b": []}, {"a.weight": [1, 17], "b": [0, 7]}, {"a.weight": [29], "b": [3]}]
)
def test_any_range_is_read_whoever_wrote_it(tmp_path: Path, cuts: dict[str, list[int]]) -> None:
    write_ranks(tmp_path, cuts)
    reader = PieceReader(tmp_path, "weights")
    for name, value in WHOLE.items():
        for start in range(value.numel()):
            for end in range(start + 1, value.numel() + 1):
                assert torch.equal(reader.read(name, start, end - start), value.reshape(-1)[start:end])
    assert all(torch.equal(value, WHOLE[name]) for name, value in reader.whole().items())


def test_what_no_file_holds_is_named(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"a.weight": [10], "b": [2]})
    (tmp_path / "weights-00001.safetensors").unlink()
    reader = PieceReader(tmp_path, "weights")
    with pytest.raises(UserError, match="elements 10 to 30 of a.weight are in no file"):
        reader.read("a.weight")
    with pytest.raises(UserError, match="no file holds c"):
        reader.read("c")
    with pytest.raises(UserError, match="optimizer-00000.safetensors is missing"):
        PieceReader(tmp_path, "optimizer")


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = write_pieces(tmp_path, "weights", 0, whole_pieces(WHOLE))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="weights-00000.safetensors cannot be read"):
        PieceReader(tmp_path, "weights")


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = write_pieces(tmp_path, "weights", 0, whole_pieces(WHOLE))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def trained(seed: int, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    step(network, optimizer, steps)
    return network, optimizer


def step(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for number in range(steps):
        optimizer.zero_grad()
        network(torch.full((1, 3), float(number))).square().sum().backward()
        optimizer.step()


def test_weights_and_moments_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    network, optimizer = trained(0, steps=3)
    masters = replicated(network, optimizer)
    write_pieces(tmp_path, "weights", 0, masters.pieces)
    write_pieces(tmp_path, "optimizer", 0, masters.moments())
    other, other_optimizer = trained(1, steps=0)
    theirs = replicated(other, other_optimizer)
    theirs.load(PieceReader(tmp_path, "weights"))
    theirs.load_moments(PieceReader(tmp_path, "optimizer"))
    step(network, optimizer, 2)
    step(other, other_optimizer, 2)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_header_alone_tells_the_shapes(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"a.weight": [10], "b": [2]})
    header = (tmp_path / "weights-00001.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    meta = json.loads(header[8 : 8 + size])["__metadata__"]
    assert json.loads(meta["shapes"]) == {"a.weight": [5, 6], "b": [7]}
