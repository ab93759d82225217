"""What an MM-DiT costs, by closed formulas, and stage layouts that cost the same.

Operations are those of the matrix products of one sample's forward pass, a multiplication and an addition
counted as two. Only what depends on the token is multiplied by their number: an adaLN modulation is made once
for a sample and group, and each token passes the weights of its own group alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moda.errors import UserError
from moda.models.stages import STATIC_STREAMS, Stage, parse_stages

MOST_BLOCKS = 200
QUANTITIES = ("parameters", "flops")


@dataclass(frozen=True)
class Cost:
    """parameters; flops: of one sample's forward pass."""

    parameters: int = 0
    flops: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.flops + other.flops)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.parameters * times, self.flops * times)


def mmdit_costs(network: Mapping[str, Any], tokens: int, frames: int) -> dict[str, Cost]:
    """Costs of the embedders, of each stage and of the output of the ``MMDiT`` with these arguments.

    tokens: N of motion in a window. frames: T of audio.
    """
    sizes = _Sizes.of(network)
    stages = parse_stages(network["stages"])
    lengths = {"motion": sizes.context + tokens, "audio": frames}
    lengths |= dict.fromkeys(STATIC_STREAMS, frames if network.get("repeat_conditions") else 1)
    costs = {"embedders": _embedders(sizes, tokens, frames)}
    for number, stage in enumerate(stages):
        name = f"stage {number + 1}: {stage.depth} x {_title(stage)}"
        costs[name] = _stage(stage, sizes, lengths, last=number == len(stages) - 1)
    width = sizes.width
    costs["output"] = _linear(width, 2 * width) + _linear(width, sizes.motion_dim, tokens)
    return costs


def total(costs: Mapping[str, Cost]) -> Cost:
    return sum(costs.values(), Cost())


def matching(
    network: Mapping[str, Any], target: int, quantity: str, tokens: int, frames: int, multiple: int = 8
) -> dict[str, Any]:
    """Depths and width of the MLPs that bring a layout to ``target`` parameters or flops, as {stages, mlp_ratio}.

    The width stays, and so do the stages' shares of the depth. A cost is linear in the MLPs' width, so each
    depth has one that fits, rounded to ``multiple``; the depth whose MLPs come nearest to the network's own
    proportion is taken. Raises UserError where none is within half and twice of it.
    """
    if quantity not in QUANTITIES:
        raise UserError(f"costs are made equal in {' or '.join(QUANTITIES)}, not in {quantity!r}")
    width, ratio = network["width"], float(network.get("mlp_ratio", 4.0))

    def cost(stages: Sequence[Mapping[str, Any]], hidden: int) -> int:
        changed = {**network, "stages": stages, "mlp_ratio": hidden / width}
        return getattr(total(mmdit_costs(changed, tokens, frames)), quantity)

    found: list[tuple[float, dict[str, Any]]] = []
    for stages in _depths(network["stages"]):
        without, slope = cost(stages, 0), cost(stages, 1) - cost(stages, 0)
        hidden = round((target - without) / slope / multiple) * multiple
        if 0.5 <= hidden / width / ratio <= 2:
            found.append((abs(hidden / width - ratio), {"stages": stages, "mlp_ratio": round(hidden / width, 4)}))
    if not found:
        raise UserError(f"no depth brings this layout to {target:.4g} {quantity}; change model.network.width")
    return min(found, key=lambda pair: pair[0])[1]


def _depths(stages: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same groups at every number of blocks, their shares kept as nearly as whole blocks allow."""
    depths = [int(stage["depth"]) for stage in stages]
    seen = set()
    for blocks in range(len(depths), MOST_BLOCKS + 1):
        scaled = tuple(max(1, round(blocks * depth / sum(depths))) for depth in depths)
        if scaled not in seen:
            seen.add(scaled)
            yield [{**stage, "depth": depth} for stage, depth in zip(stages, scaled, strict=True)]


@dataclass(frozen=True)
class _Sizes:
    width: int
    heads: int
    hidden: int
    motion_dim: int
    audio: int
    layer_scores: int
    identity_dim: int
    emotions: int
    context: int
    controls: tuple[int, ...]
    late_audio: int
    frames_per_token: int

    @classmethod
    def of(cls, network: Mapping[str, Any]) -> "_Sizes":
        width = int(network.get("width", 768))
        return cls(
            width=width,
            heads=int(network.get("heads", 12)),
            hidden=round(float(network.get("mlp_ratio", 4.0)) * width),
            motion_dim=network["motion_dim"],
            audio=network["audio_dim"] * (1 if network.get("mix_audio_layers") else network["audio_layers"]),
            layer_scores=network["audio_layers"] if network.get("mix_audio_layers") else 0,
            identity_dim=network["identity_dim"],
            emotions=network.get("num_emotions", 8),
            context=network.get("context", 0),
            controls=tuple((network.get("controls") or {}).values()),
            late_audio=network.get("late_audio", 0),
            frames_per_token=network.get("frames_per_token", 1),
        )


def _linear(inward: int, outward: int, tokens: int = 1) -> Cost:
    return Cost(inward * outward + outward, 2 * inward * outward * tokens)


def _two_layers(dim: int, width: int, tokens: int = 1) -> Cost:
    return _linear(dim, width, tokens) + _linear(width, width, tokens)


def _embedders(s: _Sizes, tokens: int, frames: int) -> Cost:
    width = s.width
    cost = _two_layers(256, width) + _two_layers(s.identity_dim, width)  # time, identity
    cost += _linear(s.audio, width, frames) + _linear(width, width, frames) * 2 + Cost(width + s.layer_scores)
    cost += Cost((s.emotions + 1) * width) + Cost(2 * width)  # emotions, nulls
    cost += _two_layers(s.motion_dim if s.context else 2 * s.motion_dim, width, tokens)
    if s.context:
        cost += _two_layers(s.motion_dim, width, s.context)
    for channels in s.controls:
        cost += _linear(s.frames_per_token * channels, width, tokens) + Cost(width)
    return cost + _linear(s.frames_per_token * width, width, tokens) * s.late_audio


def _stage(stage: Stage, s: _Sizes, lengths: Mapping[str, int], last: bool) -> Cost:
    groups = [sum(lengths[stream] for stream in group) for group in stage.groups]
    every = sum(groups)
    attention = Cost(0, 4 * every * every * s.width)  # queries by keys, weights by values
    if stage.single:
        return (_parallel(s, every) + attention) * stage.depth
    block = sum((_group(s, count) for count in groups), attention)
    if not last:
        return block * stage.depth
    # of the very last block only the first group is read
    final = sum((_context_only(s, count) for count in groups[1:]), attention + _group(s, groups[0]))
    return block * (stage.depth - 1) + final


def _context_only(s: _Sizes, tokens: int) -> Cost:
    """Of a group: modulation (shift and scale), queries, keys and values, and the gains of their norms."""
    return _linear(s.width, 2 * s.width) + _linear(s.width, 3 * s.width, tokens) + Cost(2 * (s.width // s.heads))


def _group(s: _Sizes, tokens: int) -> Cost:
    after = _linear(s.width, s.width, tokens) + _linear(s.width, s.hidden, tokens) + _linear(s.hidden, s.width, tokens)
    return _context_only(s, tokens) + _linear(s.width, 4 * s.width) + after


def _parallel(s: _Sizes, tokens: int) -> Cost:
    inward = _linear(s.width, 3 * s.width + s.hidden, tokens)
    outward = _linear(s.width + s.hidden, s.width, tokens)
    return _linear(s.width, 3 * s.width) + inward + outward + Cost(2 * (s.width // s.heads))


def _title(stage: Stage) -> str:
    return "".join(f"[{'+'.join(group)}]" for group in stage.groups)
