"""What the LivePortrait codec's networks cost a frame, beside their layers alone, and what decoding adds to them."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from moda.codec.base import Portrait
from moda.codec.liveportrait.codec import LivePortraitCodec
from moda.codec.liveportrait.crop import INPUT, Crop
from moda.codec.liveportrait.files import FILES, GROUPS
from moda.codec.liveportrait.keypoints import KEYPOINTS, LAYOUT, FaceMotion
from moda.codec.liveportrait.networks import KINDS
from moda.codec.liveportrait.source import Source
from moda.training.tracking.gemm import synchronize

# precision and whether compiled, by device
VARIANTS = {
    "cpu": (("float32", False),),
    "cuda": (("float32", False), ("float16", False), ("float16", True), ("bfloat16", False), ("bfloat16", True)),
}
DECODING = ("stitching", "warping_module", "spade_generator")


@dataclass(frozen=True)
class NetworkTime:
    """Milliseconds a frame of a network as the codec calls it, and of its layers alone on the same inputs."""

    name: str
    network: float
    layers: float


@dataclass(frozen=True)
class CodecTimes:
    """One variant. decode: milliseconds a frame, of the frames handed out; networks: of what it calls, alone."""

    precision: str
    compiled: bool
    batch: int
    networks: list[NetworkTime]
    decode: float
    decode_networks: float
    ratio: float  # median over the rounds, each within itself

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_codec(codec: LivePortraitCodec, frames: int, rounds: int) -> CodecTimes:
    """Time every network and ``decode`` of ``frames`` frames, in turns; medians over the rounds count."""
    portrait, motion = synthetic_portrait(codec), synthetic_motion(frames)
    networks = [_time_network(codec, name, call, rounds) for name, call in _calls(codec, portrait, motion)]
    whole, alone = [], []
    for _ in range(rounds + 1):
        with recorded_calls(codec) as calls:
            for _ in codec.decode(portrait, motion):
                pass
        whole.append(_seconds(codec, lambda: sum(1 for _ in codec.decode(portrait, motion))))
        alone.append(
            _seconds(codec, lambda calls=calls: [function(*args, **kwargs) for function, args, kwargs in calls])
        )
    whole, alone = whole[1:], alone[1:]  # the first turn compiles and warms up
    return CodecTimes(
        str(codec.precision).removeprefix("torch."),
        codec.compiled,
        codec.batch,
        networks,
        1000 * statistics.median(whole) / frames,
        1000 * statistics.median(alone) / frames,
        statistics.median(a / b for a, b in zip(whole, alone, strict=True)),
    )


def print_times(times: Sequence[CodecTimes], device: torch.device) -> None:
    """The measurements on the terminal."""
    from rich.console import Console
    from rich.table import Table

    for variant in times:
        how = f"{device.type}, {variant.precision}{', compiled' if variant.compiled else ''}, {variant.batch} at once"
        table = Table("ms a frame", "network", "its layers alone", "ratio", title=how, title_justify="left")
        for row in variant.networks:
            table.add_row(row.name, f"{row.network:.2f}", f"{row.layers:.2f}", f"{row.network / row.layers:.3f}")
        table.add_section()
        table.add_row("decode, against its networks", f"{variant.decode:.2f}", f"{variant.decode_networks:.2f}", f"{variant.ratio:.3f}")  # fmt: skip
        Console().print(table)


def write_random_weights(directory: Path) -> Path:
    """Files of the official layout that hold noise: time does not depend on what the weights are."""
    generator = torch.Generator().manual_seed(0)
    grouped: dict[str, Tensor] = {}
    for name, kind in KINDS.items():
        with torch.device("meta"):
            state = kind().state_dict()
        state = {key: _noise(key, value, generator) for key, value in state.items()}
        if name in GROUPS:
            grouped |= {f"{GROUPS[name]}.module.{key}": value for key, value in state.items()}
        else:
            _save(state, directory, name)
    _save(grouped, directory, "stitching")
    return directory


def _noise(key: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    if like.dim() == 1:
        return torch.ones(like.shape) if key.endswith(("weight", "var", "_u", "_v")) else torch.zeros(like.shape)
    return torch.randn(like.shape, generator=generator) / like[0].numel() ** 0.5


def _save(state: dict[str, Tensor], directory: Path, network: str) -> None:
    file = FILES[network]
    path = directory / file.folder / f"{file.stem}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)


def synthetic_portrait(codec: LivePortraitCodec) -> Portrait:
    """A portrait that no picture was needed for."""
    rng = np.random.default_rng(0)
    feature = torch.from_numpy(rng.normal(size=(1, 32, 16, 64, 64)).astype(np.float32)).to(codec.device)
    canonical = rng.uniform(-0.3, 0.3, (KEYPOINTS, 3)).astype(np.float32)
    rest = synthetic_motion(1)
    source = Source(feature, canonical, FaceMotion.of(rest), np.array([0.3, 0.3], np.float32), 0.0, np.zeros((512, 512, 3), np.uint8), Crop(np.eye(3)))  # fmt: skip
    return Portrait(canonical.ravel(), rest[0], source)


def synthetic_motion(frames: int) -> np.ndarray:
    """(frames, 70): small offsets at scale 1.3."""
    motion = np.random.default_rng(1).normal(0, 0.01, (frames, LAYOUT.dim)).astype(np.float32)
    motion[:, LAYOUT.groups["scale"]] = 1.3
    return motion


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@contextmanager
def recorded_calls(codec: LivePortraitCodec) -> Iterator[list[Call]]:
    """Every call of a network that decoding uses within the block."""
    calls: list[Call] = []
    before = {name: getattr(codec, name) for name in DECODING}

    def listening(function: Callable[..., Any]) -> Callable[..., Any]:
        def listen(*args: Any, **kwargs: Any) -> Any:
            calls.append((function, args, kwargs))
            return function(*args, **kwargs)

        return listen

    vars(codec).update({name: listening(function) for name, function in before.items()})
    try:
        yield calls
    finally:
        vars(codec).update(before)


def _calls(codec: LivePortraitCodec, portrait: Portrait, motion: np.ndarray) -> Iterator[tuple[str, Call]]:
    """One call of each network on ``codec.batch`` frames, one after the other so that few inputs are kept."""
    images = torch.rand(codec.batch, 3, INPUT, INPUT, device=codec.device)
    yield "appearance_feature_extractor", (codec.appearance_feature_extractor, (images,), {})
    yield "motion_extractor", (codec.motion_extractor, (images,), {})
    with recorded_calls(codec) as calls:
        deque(codec.decode(portrait, np.resize(motion, (codec.batch, motion.shape[1]))), maxlen=0)
    yield from zip(DECODING, calls, strict=True)


def _time_network(codec: LivePortraitCodec, name: str, call: Call, rounds: int) -> NetworkTime:
    function, args, kwargs = call
    layers = _layer_calls(function, args, kwargs)  # warms up as well
    pairs = [
        (
            _seconds(codec, lambda: function(*args, **kwargs)),
            _seconds(codec, lambda: [layer(*inputs) for layer, inputs in layers]),
        )
        for _ in range(rounds)
    ]
    network, alone = (1000 * statistics.median(column) / codec.batch for column in zip(*pairs, strict=True))
    return NetworkTime(name, network, alone)


@torch.inference_mode()
def _layer_calls(function: Callable[..., Any], args: tuple, kwargs: dict) -> list[tuple[nn.Module, tuple[Any, ...]]]:
    """The layers with weights of a network, each with the inputs that it gets, in order."""
    network = getattr(function, "_orig_mod", function)  # what torch.compile wraps
    assert isinstance(network, nn.Module)
    calls: list[tuple[nn.Module, tuple[Any, ...]]] = []
    leaves = [module for module in network.modules() if not list(module.children()) and list(module.parameters())]
    hooks = [leaf.register_forward_pre_hook(lambda module, inputs: calls.append((module, inputs))) for leaf in leaves]
    try:
        network(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


@torch.inference_mode()
def _seconds(codec: LivePortraitCodec, act: Callable[[], object]) -> float:
    synchronize(codec.device)
    began = time.perf_counter()
    act()
    synchronize(codec.device)
    return time.perf_counter() - began
