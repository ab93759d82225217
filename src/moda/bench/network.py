"""``moda bench network``: what each part of a transformer costs, and another layout brought to the same cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from moda.errors import UserError
from moda.models.cost import Cost, matching, mmdit_costs, total
from moda.motion.controls import channels_of
from moda.motion.layout import get_layout


@dataclass(frozen=True)
class Data:
    """Sizes that the data give. stride: frames of a motion token; dim: its channels, None for the layout's."""

    layout: str = "head59"
    audio_layers: int = 1
    audio_dim: int = 80
    identity_dim: int = 63
    stride: int = 1
    dim: int | None = None

    def tokens(self, window: int) -> int:
        if self.stride < 1 or window % self.stride:
            raise UserError(f"data.window={window} is not a multiple of --stride {self.stride}")
        return window // self.stride


def network_of(config: DictConfig, data: Data) -> dict[str, Any]:
    """Arguments of the ``MMDiT`` that a composed training configuration describes, completed by the data's sizes."""
    network = OmegaConf.to_container(config.model.network, resolve=True)
    assert isinstance(network, dict)
    if not str(network.pop("_target_")).endswith(".MMDiT"):
        raise UserError("moda bench network counts the transformer; give task=dit and a model=mmdit_...")
    return {str(key): value for key, value in network.items()} | {
        "motion_dim": data.dim or get_layout(data.layout).dim,
        "audio_layers": data.audio_layers,
        "audio_dim": data.audio_dim,
        "identity_dim": data.identity_dim,
        "controls": channels_of(config.model.get("controls", [])),
        "frames_per_token": data.stride,
    }


def print_costs(network: Mapping[str, Any], data: Data, window: int) -> None:
    """A table on the terminal, one line a part."""
    from rich.console import Console
    from rich.table import Column, Table

    costs = mmdit_costs(network, data.tokens(window), window)
    whole = total(costs)
    table = Table(Column("", overflow="fold"), "parameters", "share", "GFLOP a window", "share")
    for name, cost in {**costs, "all": whole}.items():
        table.add_row(name.replace("[", r"\["), *_cells(cost, whole), end_section=name == "output")
    Console().print(table)
    print(f"a window is {window} frames, {data.tokens(window)} motion tokens; training takes 3 times its operations")


def print_equal(
    network: Mapping[str, Any], reference: Mapping[str, Any], quantity: str, data: Data, window: int
) -> None:
    """The overrides that bring ``network`` to the cost of ``reference``."""
    tokens = data.tokens(window)
    target = getattr(total(mmdit_costs(reference, tokens, window)), quantity)
    found = matching(network, target, quantity, tokens, window)
    reached = getattr(total(mmdit_costs({**network, **found}, tokens, window)), quantity)
    stages = ", ".join(
        f"{{depth: {stage['depth']}, groups: [{', '.join('[' + ', '.join(group) + ']' for group in stage['groups'])}]}}"
        for stage in found["stages"]
    )
    print(f"{quantity} {target:.6g} of the reference, {reached:.6g} ({100 * (reached / target - 1):+.2f} %) with")
    print(f"  model.network.mlp_ratio={found['mlp_ratio']} 'model.network.stages=[{stages}]'")


def _cells(cost: Cost, whole: Cost) -> tuple[str, ...]:
    return (
        f"{cost.parameters:,}",
        f"{100 * cost.parameters / whole.parameters:.1f} %",
        f"{cost.flops / 1e9:.3f}",
        f"{100 * cost.flops / whole.flops:.1f} %",
    )
