"""The Inception-I3D of FVD: Inception-v1 inflated to three dimensions, trained on Kinetics-400.

Carreira and Zisserman, 2017; Unterthiner et al., 2018. Keys are those of the common PyTorch port. Borders
are TensorFlow's "SAME": as much as the stride needs, the odd pixel behind.
"""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork
from moda.eval.networks.script import is_script

SIDE = 224
MIN_FRAMES = 9  # three halvings must leave the two steps that the last pool averages
CLASSES = 400

# channels of: 1x1; 1x1 then 3x3x3; 1x1 then 3x3x3; 1x1 after a maximum pool. A pool stands before each group.
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
Triple = tuple[int, int, int]


def pad_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Zeros around (B, C, T, H, W) so that each axis comes out as ceil(size / stride)."""
    borders: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):  # F.pad counts from the last axis
        total = max((-(-size // s) - 1) * s + k - size, 0)
        borders += [total // 2, total - total // 2]
    return F.pad(x, borders) if any(borders) else x


def max_pool(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Maximum pool with "SAME" borders; after a ReLU zeros there are as good as none."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU; the classifier is a convolution with a bias alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, classifier: bool = False):
        super().__init__()
        self.kernel: Triple = (kernel, kernel, kernel)
        self.stride: Triple = (stride, stride, stride)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=classifier)
        self.bn = None if classifier else nn.BatchNorm3d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(pad_same(x, self.kernel, self.stride))
        return x if self.bn is None else F.relu(self.bn(x))


class Mixed(nn.Module):
    """Four branches side by side, concatenated over channels."""

    def __init__(self, inputs: int, channels: tuple[int, ...]):
        super().__init__()
        self.b0 = Unit(inputs, channels[0])
        self.b1a = Unit(inputs, channels[1])
        self.b1b = Unit(channels[1], channels[2], 3)
        self.b2a = Unit(inputs, channels[3])
        self.b2b = Unit(channels[3], channels[4], 3)
        self.b3b = Unit(inputs, channels[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(PretrainedNetwork):
    """float (B, 3, T, 224, 224) in [-1, 1] to ``logits`` (B, 400) and ``features`` (B, 1024), means over time."""

    title = "the Inception-I3D"
    file = "rgb_imagenet.pt or i3d_torchscript.pt"

    def __init__(self) -> None:
        super().__init__()
        self.logits = Unit(1024, CLASSES, classifier=True)
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        channels = 192
        for name, widths in BLOCKS.items():
            self.add_module(name, Mixed(channels, widths))
            channels = widths[0] + widths[2] + widths[4] + widths[5]

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """As every network; a TorchScript archive whose tensors have other names is an error that says what to do."""
        try:
            return super().from_pretrained(path)
        except UserError as error:
            if not is_script(Path(path)):
                raise
            raise UserError(
                f"{error}, or run the archive's own code if you trust it (ScriptedI3D, networks.trust_script=true)"
            ) from error

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Raises UserError for another shape or dtype, and for fewer than 9 frames."""
        check_video(video)
        x = max_pool(self.Conv3d_1a_7x7(video), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        pools = {
            "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
            "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
            "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
        }
        for name in BLOCKS:
            x = max_pool(x, *pools[name]) if name in pools else x
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)  # (B, 1024, T', 1, 1)
        return {"logits": self.logits(x).mean((2, 3, 4)), "features": x.mean((2, 3, 4))}


class ScriptedI3D(nn.Module):
    """A TorchScript I3D run as it came: for an archive whose tensors have names that ``I3D`` does not know.

    This executes the archive's code, so ask for it only with a file you trust. The same input as ``I3D``;
    returns ``logits`` (B, 400) alone.
    """

    def __init__(self, script: torch.jit.ScriptModule):
        super().__init__()
        self.script = script

    @classmethod
    def from_script(cls, path: str | Path) -> Self:
        """Raises UserError when ``path`` is no TorchScript archive."""
        try:
            return cls(torch.jit.load(str(path), map_location="cpu").eval()).requires_grad_(False)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path} cannot be loaded as TorchScript; give i3d_torchscript.pt") from error

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Raises UserError as ``I3D`` does, and when the archive does not return (B, 400)."""
        check_video(video)
        logits = self.script(video, rescale=False, resize=False, return_features=True)
        if logits.shape != (len(video), CLASSES):
            raise UserError(f"the TorchScript I3D returned {tuple(logits.shape)}, not {(len(video), CLASSES)}")
        return {"logits": logits}


def check_video(video: Tensor) -> None:
    """UserError unless float (B, 3, T, 224, 224) of at least 9 frames."""
    if not video.is_floating_point() or video.dim() != 5 or video.shape[1] != 3 or video.shape[3:] != (SIDE, SIDE):
        raise UserError(f"I3D takes float (B, 3, T, 224, 224) in [-1, 1], not {video.dtype} {tuple(video.shape)}")
    if video.shape[2] < MIN_FRAMES:
        raise UserError(f"I3D needs at least {MIN_FRAMES} frames, this clip has {video.shape[2]}; leave it out")
