"""The seven networks, each loaded when it is first used."""

import hashlib
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moda.codec.liveportrait.appearance import AppearanceFeatureExtractor
from moda.codec.liveportrait.files import FILES, load, locate
from moda.codec.liveportrait.motion_extractor import MotionExtractor
from moda.codec.liveportrait.retargeting import EyeNetwork, LipNetwork, StitchingNetwork
from moda.codec.liveportrait.spade import SpadeGenerator
from moda.codec.liveportrait.warping import WarpingModule
from moda.devices import resolve_device
from moda.errors import UserError

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

logger = logging.getLogger(__name__)


class Networks:
    """LivePortrait's networks, with the names and the input and output of the originals.

    directory: of the official layout; None for the files that ``moda.weights`` finds. device: cpu, cuda or
    auto. precision: of appearance, warping and generator; auto is float16 on CUDA and float32 elsewhere.
    What is measured and corrected (motion, stitching, lips, eyes) is float32 always, and every output is.
    compile: warping and generator through torch.compile, on CUDA.
    """

    def __init__(
        self, directory: str | Path | None = None, device: str = "auto", precision: str = "auto", compile: bool = False
    ):
        self.paths = locate(Path(directory) if directory is not None else None)
        self.device = resolve_device(device)
        cuda = self.device.type == "cuda"
        if precision not in ("auto", *PRECISIONS):
            raise UserError(f"precision is {precision!r}; it must be auto, {', '.join(PRECISIONS)}")
        if precision == "float16" and not cuda:
            raise UserError(f"precision=float16 needs a GPU, and the device is {self.device}; use bfloat16 or float32")
        self.precision = PRECISIONS[("float16" if cuda else "float32") if precision == "auto" else precision]
        self.compiled = compile and cuda
        if compile and not cuda:
            logger.warning("compile=true is left out: it is for GPUs, and the device is %s", self.device)

    @cached_property
    def appearance_feature_extractor(self) -> Callable[..., Any]:
        """F: RGB in [0, 1] (B, 3, 256, 256) to features (B, 32, 16, 64, 64)."""
        return self._fast(self._load("appearance_feature_extractor", AppearanceFeatureExtractor), compile=False)

    @cached_property
    def motion_extractor(self) -> Callable[..., Any]:
        """M: RGB in [0, 1] (B, 3, 256, 256) to raw heads pitch, yaw, roll, t, exp, scale, kp."""
        return self._load("motion_extractor", MotionExtractor)

    @cached_property
    def warping_module(self) -> Callable[..., Any]:
        """W: (feature, kp_driving=, kp_source=) to out, occlusion_map, deformation."""
        return self._fast(self._load("warping_module", WarpingModule), self.compiled)

    @cached_property
    def spade_generator(self) -> Callable[..., Any]:
        """G: warped features (B, 256, 64, 64) to RGB in [0, 1] (B, 3, 512, 512)."""
        return self._fast(self._load("spade_generator", SpadeGenerator), self.compiled)

    @cached_property
    def stitching(self) -> Callable[..., Any]:
        """S: source and driving keypoints (B, 126) to corrections (B, 65)."""
        return self._load("stitching", StitchingNetwork)

    @cached_property
    def lip(self) -> Callable[..., Any]:
        """Source keypoints, its lip ratio, the wanted one (B, 65) to offsets (B, 63)."""
        return self._load("lip", LipNetwork)

    @cached_property
    def eye(self) -> Callable[..., Any]:
        """Source keypoints, its two eye ratios, the wanted one (B, 66) to offsets (B, 63)."""
        return self._load("eye", EyeNetwork)

    def load_all(self) -> None:
        """Load every network now; raises UserError for a file that is not the official one."""
        for name in FILES:
            getattr(self, name)

    def weights_digest(self) -> str:
        """SHA-256 of all weights, the same whatever file they are stored in."""
        digest = hashlib.sha256()
        for name, kind in KINDS.items():
            network = load(_empty(kind), name, self.paths[name])
            for key, value in sorted(network.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()

    def _load(self, name: str, kind: type[nn.Module]) -> nn.Module:
        return load(_empty(kind), name, self.paths[name]).to(self.device)

    def _fast(self, network: nn.Module, compile: bool) -> Callable[..., Any]:
        network.to(self.precision)
        if self.device.type == "cuda":
            channels_last(network)
        return torch.compile(network, dynamic=False) if compile else network


KINDS: dict[str, type[nn.Module]] = {
    "appearance_feature_extractor": AppearanceFeatureExtractor,
    "motion_extractor": MotionExtractor,
    "warping_module": WarpingModule,
    "spade_generator": SpadeGenerator,
    "stitching": StitchingNetwork,
    "lip": LipNetwork,
    "eye": EyeNetwork,
}


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of 2-D and 3-D convolutions in place the way that tensor cores like them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() in formats:
            tensor.data = tensor.data.contiguous(memory_format=formats[tensor.dim()])


def _empty(kind: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):  # no memory for weights that are assigned
        return kind()
