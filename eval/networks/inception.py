"""The Inception-v3 of FID: the TensorFlow graph of 2015-12-05, carried over to PyTorch.

Architecture: Szegedy et al., 2016. Weights and quirks: pytorch-fid and torch-fidelity, whose file this
reads. It differs from torchvision's Inception in the resize, in average pools that leave the border
out, in a maximum pool in the last block, and in 1,008 classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

SIDE = 299
Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution, batch norm, ReLU. Without ``padding``: a border that keeps the size at stride 1, none at 2."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padding: int | None = None):
        super().__init__()
        size = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        border = (size[0] // 2, size[1] // 2) if stride == 1 else (0, 0)
        if padding is not None:
            border = (padding, padding)
        self.conv = nn.Conv2d(inputs, outputs, size, stride, border, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


@dataclass(frozen=True)
class Branch:
    """Convolutions one after the other, (channels, kernel) or (channels, kernel, stride) each.

    fork: channels of a 1x3 and of a 3x1 convolution side by side at the end, 0 for none.
    """

    name: str
    steps: tuple[tuple, ...]
    fork: int = 0

    @property
    def channels(self) -> int:
        return 2 * self.fork or self.steps[-1][0]


class Mixed(nn.Module):
    """Branches side by side, concatenated over channels.

    pool: "average" (border left out of the mean) or "maximum" before a 1x1 convolution to
    ``pooled`` channels; "stride" is a 3x3 maximum pool of stride 2 with no convolution.
    """

    def __init__(self, inputs: int, branches: tuple[Branch, ...], pool: str, pooled: int = 0):
        super().__init__()
        self.pool = pool
        self._paths: list[tuple[list[str], list[str]]] = []
        for branch in branches:
            chain, fork, channels = [], [], inputs
            for number, (outputs, *shape) in enumerate(branch.steps, 1):
                single = len(branch.steps) == 1 and not branch.fork
                chain.append(branch.name if single else f"{branch.name}_{number}")
                self.add_module(chain[-1], Conv(channels, outputs, *shape))
                channels = outputs
            if branch.fork:
                for letter, kernel in (("a", (1, 3)), ("b", (3, 1))):
                    fork.append(f"{branch.name}_{len(chain) + 1}{letter}")
                    self.add_module(fork[-1], Conv(channels, branch.fork, kernel))
            self._paths.append((chain, fork))
        if pooled:
            self.branch_pool = Conv(inputs, pooled, 1)
        self.channels = sum(branch.channels for branch in branches) + (pooled or inputs)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain, fork in self._paths:
            y = x
            for name in chain:
                y = self.get_submodule(name)(y)
            outputs += [self.get_submodule(name)(y) for name in fork] or [y]
        return torch.cat([*outputs, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "stride":
            return F.max_pool2d(x, 3, 2)
        if self.pool == "maximum":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _blocks() -> dict[str, tuple[tuple[Branch, ...], str, int]]:
    """Name of each mixed block to its branches, pool and channels after the pool."""
    small = (
        Branch("branch1x1", ((64, 1),)),
        Branch("branch5x5", ((48, 1), (64, 5))),
        Branch("branch3x3dbl", ((64, 1), (96, 3), (96, 3))),
    )
    shrink_35 = (Branch("branch3x3", ((384, 3, 2),)), Branch("branch3x3dbl", ((64, 1), (96, 3), (96, 3, 2))))
    shrink_17 = (
        Branch("branch3x3", ((192, 1), (320, 3, 2))),
        Branch("branch7x7x3", ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))),
    )
    wide = (
        Branch("branch1x1", ((320, 1),)),
        Branch("branch3x3", ((384, 1),), fork=384),
        Branch("branch3x3dbl", ((448, 1), (384, 3)), fork=384),
    )
    return {
        "Mixed_5b": (small, "average", 32),
        "Mixed_5c": (small, "average", 64),
        "Mixed_5d": (small, "average", 64),
        "Mixed_6a": (shrink_35, "stride", 0),
        "Mixed_6b": (_seven(128), "average", 192),
        "Mixed_6c": (_seven(160), "average", 192),
        "Mixed_6d": (_seven(160), "average", 192),
        "Mixed_6e": (_seven(192), "average", 192),
        "Mixed_7a": (shrink_17, "stride", 0),
        "Mixed_7b": (wide, "average", 192),
        "Mixed_7c": (wide, "maximum", 192),  # the graph's own slip, kept: FID is defined with it
    }


def _seven(c: int) -> tuple[Branch, ...]:
    """7x7 convolutions taken apart into rows and columns, ``c`` channels inside."""
    row, column = (1, 7), (7, 1)
    return (
        Branch("branch1x1", ((192, 1),)),
        Branch("branch7x7", ((c, 1), (c, row), (192, column))),
        Branch("branch7x7dbl", ((c, 1), (c, column), (c, row), (c, column), (192, row))),
    )


class FIDInception(PretrainedNetwork):
    """uint8 RGB (B, 3, H, W) to ``2048`` (B, 2048), the last average pool, and ``logits_unbiased`` (B, 1008)."""

    title = "the FID Inception-v3"
    file = "pt_inception-2015-12-05-6726825d.pth"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, padding=0)
        channels = 192
        self._mixed: list[str] = []
        for name, (branches, pool, pooled) in _blocks().items():
            block = Mixed(channels, branches, pool, pooled)
            self.add_module(name, block)
            self._mixed.append(name)
            channels = block.channels
        self.fc = nn.Linear(channels, 1008)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raises UserError unless ``images`` is uint8 (B, 3, H, W)."""
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise UserError(f"FIDInception takes uint8 (B, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        x = (resize_2015(images.to(self.fc.weight.dtype), SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self._mixed:
            x = self.get_submodule(name)(x)
        pooled = x.mean((2, 3))
        return {"2048": pooled, "logits_unbiased": pooled @ self.fc.weight.T}


def resize_2015(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, side, side) as TensorFlow 1 did: output pixel i reads input position i * H / side.

    Corners rather than centres of pixels are aligned, and nothing is blurred first; ``F.interpolate``
    cannot do it.
    """
    return _stretch(_stretch(images, side, 3), side, 2)


def _stretch(images: Tensor, side: int, axis: int) -> Tensor:
    """Linear interpolation along one axis."""
    length = images.shape[axis]
    position = torch.arange(side, dtype=images.dtype, device=images.device) * (length / side)
    left = position.floor()
    share = (position - left).view(-1, *(1,) * (images.dim() - 1 - axis))
    first = left.long().clamp(max=length - 1)
    low, high = (images.index_select(axis, index) for index in (first, (first + 1).clamp(max=length - 1)))
    return low + (high - low) * share
