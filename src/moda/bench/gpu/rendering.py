"""Networks that render and that measure pictures: LivePortrait's codec, and those of evaluation; with random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moda.bench.codec import measure_codec, write_random_weights
from moda.bench.gpu.results import Results
from moda.bench.gpu.setting import Setting, release
from moda.bench.memory import PeakMemory
from moda.codec.liveportrait import LivePortraitCodec
from moda.eval import networks
from moda.training.tracking.gemm import best_time

# precision, batch, compiled
VARIANTS = {
    "cuda": (
        ("float16", 8, False), ("float16", 1, False), ("bfloat16", 8, False), ("bfloat16", 1, False),
        ("float32", 8, False),
    ),
    "cpu": (("float32", 1, False), ("bfloat16", 2, False)),
}  # fmt: skip
FRAMES = {"cuda": 24, "cpu": 2}
ROUNDS = {"cuda": 3, "cpu": 1}


def codec(setting: Setting, results: Results) -> None:
    """Each network alone, and decoding as generation does it."""
    kind = setting.kind
    weights = write_random_weights(setting.scratch / "liveportrait")
    for precision, batch, compiled in setting.variants(VARIANTS[kind]):
        with results.attempt(f"{precision}, batch {batch}"):
            made = LivePortraitCodec(weights, str(setting.device), precision, compiled, batch=batch)
            if not setting.on_gpu:
                small = {"appearance_feature_extractor": nn.Conv2d(3, 32, 4, 4), "warping_module": _Warping()}
                vars(made).update(small, spade_generator=_Generator())
                results.note(
                    "small networks stand in for all but motion and stitching: they take 20 s a frame on a CPU"
                )
            with PeakMemory(setting.device) as memory:
                times = measure_codec(made, FRAMES[kind], ROUNDS[kind])
            results.row(
                precision=precision,
                batch=batch,
                compiled=compiled,
                frames_per_second=1000 / times.decode,
                ms_decode=times.decode,
                **{f"ms_{row.name}": row.network for row in times.networks},
                decode_over_its_networks=times.ratio,
                peak_memory_gib=memory.bytes / 2**30,
            )
            del made
        release(setting.device)


class _Warping(nn.Module):
    """Stands in for the warping network: keypoints to a map."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(63, 256)

    def forward(self, feature: Tensor, kp_driving: Tensor, kp_source: Tensor) -> dict[str, Tensor]:
        shift = self.layer((kp_driving - kp_source).flatten(1))
        return {"out": shift[:, :, None, None].expand(-1, -1, 64, 64)}


class _Generator(nn.Module):
    """Stands in for the generator: a map to a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(256, 3, 1)

    def forward(self, warped: Tensor) -> Tensor:
        return nn.functional.interpolate(self.layer(warped).sigmoid(), scale_factor=8)


@dataclass(frozen=True)
class Case:
    """A network of evaluation on noise. shape: of its input, a batch first. count: items in one pass; item: their name."""

    network: str
    item: str
    shape: tuple[int, ...]
    count: int
    call: Callable[[Any, Tensor], Any] = lambda network, x: network(x)
    integers: bool = False


def _embed_sequence(network: Any, frames: Tensor) -> Any:
    return network.embed_sequence(frames)


def _embed_audio(network: Any, mfcc: Tensor) -> Any:
    return network.embed_audio(mfcc)


CASES = {
    "cuda": (
        Case("FIDInception", "image of 512 pixels", (16, 3, 512, 512), 16, integers=True),
        Case("I3D", "clip of 16 frames", (1, 3, 16, 224, 224), 1),
        Case("I3D", "clip of 16 frames", (8, 3, 16, 224, 224), 8),
        Case("SyncNet", "frame of a track", (3, 200, 224, 224), 200, _embed_sequence),
        Case("SyncNet", "window of sound", (200, 1, 13, 20), 200, _embed_audio),
        Case("S3FD", "picture of 512 pixels", (1, 3, 512, 512), 1),
    ),
    "cpu": (
        Case("FIDInception", "image of 64 pixels", (1, 3, 64, 64), 1, integers=True),
        Case("I3D", "clip of 9 frames", (1, 3, 9, 224, 224), 1),
        Case("SyncNet", "frame of a track", (3, 6, 224, 224), 6, _embed_sequence),
        Case("SyncNet", "window of sound", (8, 1, 13, 20), 8, _embed_audio),
        Case("S3FD", "picture of 128 pixels", (1, 3, 128, 128), 1),
    ),
}
SECONDS = {"cuda": 0.7, "cpu": 0.0}  # of repeated passes; the best counts


def evaluation(setting: Setting, results: Results) -> None:
    """The official networks of FID, FVD and sync, in float32 as evaluation runs them."""
    device = setting.device
    results.fact(precision="float32", tf32_convolutions=bool(torch.backends.cudnn.allow_tf32))
    for case in setting.variants(CASES[setting.kind]):
        with results.attempt(case.network), torch.inference_mode():
            network = getattr(networks, case.network)().to(device).eval()
            noise = torch.rand(case.shape, device=device) * 255
            inputs = noise.to(torch.uint8) if case.integers else noise
            with PeakMemory(device) as memory:
                case.call(network, inputs)
                seconds = best_time(lambda case=case, network=network, x=inputs: case.call(network, x), device, SECONDS[setting.kind])  # fmt: skip
            results.row(
                network=case.network,
                item=case.item,
                at_once=case.count,
                items_per_second=case.count / seconds,
                ms_a_pass=1000 * seconds,
                peak_memory_gib=memory.bytes / 2**30,
            )
            del network
        release(device)
