"""The float32 weights that the optimizer steps, as one rank holds them, whatever the strategy.

One process and DDP hold all of them. DeepSpeed ZeRO keeps flat float32 partitions: with stages 1 and 2
a rank holds a contiguous part of each parameter group, with stage 3 a part of each parameter. Everything
that reads or writes weights (EMA, checkpoints, exports, previews) goes through ``Masters`` and so never
asks which strategy trains.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from moda.training.checkpoints.pieces import Piece, PieceReader


@dataclass(frozen=True)
class Slot:
    """A piece, and where it lies in ``owner``, the tensor that the torch optimizer steps."""

    piece: Piece
    owner: torch.Tensor
    offset: int


class Masters:
    """What this rank holds: ``pieces``, whose values are views into the float32 weights.

    shapes: of every trained parameter of the network, on every rank. publish: makes the weights that
    the network computes with those of the pieces, after these were written to (a collective call).
    replicated: every rank holds everything.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        optimizer: Optimizer | None,
        shapes: dict[str, tuple[int, ...]],
        publish: Callable[[], None],
        replicated: bool,
        device: torch.device,
    ):
        self.slots, self.optimizer, self.shapes, self.publish = slots, optimizer, shapes, publish
        self.replicated, self.device = replicated, device
        self.pieces = [slot.piece for slot in slots]

    def moments(self) -> list[Piece]:
        """The optimizer's state, called KEY/PARAMETER; empty before the first step.

        A number that belongs to a whole parameter (Adam's ``step``) lies with its first element.
        """
        pieces = []
        for slot in self.slots:
            for key, value in self._state(slot.owner).items():
                if not torch.is_tensor(value):
                    continue
                piece, name = slot.piece, f"{key}/{slot.piece.name}"
                if value.shape == slot.owner.shape:
                    part = value.reshape(-1).narrow(0, slot.offset, piece.numel)
                    pieces.append(Piece(name, piece.shape, piece.start, part))
                elif piece.start == 0:
                    pieces.append(Piece(name, (), 0, value.reshape(1).clone()))  # flat owners share it
        return pieces

    def _state(self, owner: torch.Tensor) -> dict[str, Any]:
        return self.optimizer.state.get(owner, {}) if self.optimizer else {}

    @torch.no_grad()
    def load(self, reader: PieceReader) -> None:
        """Take this rank's weights from ``reader`` and publish them."""
        for piece in self.pieces:
            piece.values.copy_(reader.read(piece.name, piece.start, piece.numel))
        self.publish()

    @torch.no_grad()
    def load_moments(self, reader: PieceReader) -> None:
        """Take this rank's part of the optimizer's state from ``reader``."""
        assert self.optimizer is not None
        keys = {name.partition("/")[0] for name in reader.shapes}
        for slot in self.slots:
            piece, state = slot.piece, self.optimizer.state[slot.owner]
            place = slot.owner.device if _counts_on_device(self.optimizer) else torch.device("cpu")
            for key, name in ((key, f"{key}/{piece.name}") for key in keys):
                if name not in reader:  # a parameter that had no gradient yet
                    continue
                if reader.shapes[name] == ():
                    state[key] = reader.read(name).reshape(()).to(place)
                    continue
                whole = state.setdefault(key, torch.zeros_like(slot.owner, requires_grad=False))
                part = whole.reshape(-1).narrow(0, slot.offset, piece.numel)
                part.copy_(reader.read(name, piece.start, piece.numel))

    @torch.no_grad()
    def swap(self, values: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Put ``values`` (one for each piece) in place and publish; returns what was there."""
        before = [piece.values.clone() for piece in self.pieces]
        for piece, value in zip(self.pieces, values, strict=True):
            piece.values.copy_(value)
        self.publish()
        return before

    @torch.no_grad()
    def gather(self, values: Iterable[torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """Whole parameters on rank 0's CPU, put together of every rank's ``values``; None on other ranks.

        A collective call; one parameter at a time passes over the wire.
        """
        held: dict[str, list[tuple[int, torch.Tensor]]] = {}
        for piece, value in zip(self.pieces, values, strict=True):
            held.setdefault(piece.name, []).append((piece.start, value))
        first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        whole = {}
        for name, shape in self.shapes.items():
            if self.replicated and not first:
                continue
            buffer = torch.zeros(math.prod(shape), dtype=torch.float32, device=self.device)
            for start, value in held.get(name, []):
                buffer.narrow(0, start, value.numel()).copy_(value)
            if not self.replicated:
                torch.distributed.reduce(buffer, dst=0)  # each element is somewhere once, and 0 elsewhere
            if first:
                whole[name] = buffer.reshape(shape).cpu()
        return whole if first else None


def _counts_on_device(optimizer: Optimizer) -> bool:
    """Whether the kernels of an optimizer read its step counter where the parameters are, as fused ones do.

    torch's own ``load_state_dict`` sees to that, which checkpoints in pieces cannot go through.
    """
    return any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)


def replicated(network: nn.Module, optimizer: Optimizer | None) -> Masters:
    """Of a network whose parameters are themselves what the optimizer steps."""
    trained = trained_parameters(network)
    slots = [Slot(Piece(n, tuple(p.shape), 0, p.detach().view(-1)), p, 0) for n, p in trained.items()]
    shapes = {name: tuple(p.shape) for name, p in trained.items()}
    device = next(iter(trained.values())).device
    return Masters(slots, optimizer, shapes, lambda: None, replicated=True, device=device)


def zero_1_2(network: nn.Module, zero: Any) -> Masters:
    """Of a DeepSpeedZeroOptimizer: each group is one flat tensor, cut into one partition a rank."""
    trained: dict[str, Any] = dict(trained_parameters(network))
    group_of = {id(p): index for index, group in enumerate(zero.bit16_groups) for p in group}
    slots = []
    for name, p in trained.items():
        mapping = p._hp_mapping
        if mapping is None:  # no element of it lies on this rank
            continue
        inside, flat = mapping.lp_fragment_address, mapping.hp_fragment_address
        piece = Piece(name, tuple(p.shape), inside.start, mapping.hp_fragment.detach())
        slots.append(Slot(piece, zero.single_partition_of_fp32_groups[group_of[id(p)]], flat.start))
    shapes = {name: tuple(p.shape) for name, p in trained.items()}
    device = next(iter(trained.values())).device
    return Masters(slots, zero.optimizer, shapes, zero.update_lp_params, replicated=False, device=device)


def zero_3(network: nn.Module, zero: Any, rank: int, device: torch.device) -> Masters:
    """Of a DeepSpeedZeroOptimizer_Stage3: each parameter is padded and cut into one partition a rank.

    device: of this rank, where its collective operations are; ``zero`` itself names the CPU where it offloads to it.
    """
    trained: dict[str, Any] = dict(trained_parameters(network))
    slots = []
    for name, p in trained.items():
        group, offset, padded = zero.grad_position[zero.get_param_id(p)]
        start = rank * padded
        count = min(padded, p.ds_numel - start)
        if count > 0:
            owner = zero.fp32_partitioned_groups_flat[group]
            piece = Piece(name, tuple(p.ds_shape), start, owner.detach().narrow(0, offset, count))
            slots.append(Slot(piece, owner, offset))

    def publish() -> None:
        zero._partition_all_parameters()  # small ones stay gathered, with the values they had
        for group in range(len(zero.fp16_groups)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        if zero.persistent_parameters:
            zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    shapes = {name: tuple(p.ds_shape) for name, p in trained.items()}
    return Masters(slots, zero.optimizer, shapes, publish, replicated=False, device=device)


def trained_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters with gradients by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
