"""EfficientNet-Lite0 on ImageNet: image features where the Inception of FID is not at hand.

Architecture: Tan and Le, 2019, in its Lite form (no squeeze and excitation, ReLU6). Distances of its
features react to the same faults as FID's and are no FID: they never go by that name.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

SIDE = 224
WIDTH = 1280
# (repeats, kernel, stride, expansion, channels in, channels out)
STAGES = (
    (1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320),
)  # fmt: skip


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads it: the odd pixel to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        borders = []
        for length, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            borders += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(input, borders))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted bottleneck; keys as in the file."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self._expand_conv = SameConv(inputs, inner, 1, bias=False) if expansion > 1 else None
        self._bn0 = _norm(inner) if expansion > 1 else None
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        if self._expand_conv is not None and self._bn0 is not None:
            inner = F.relu6(self._bn0(self._expand_conv(x)))
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self.skips else inner


class EfficientNetLite0(PretrainedNetwork):
    """uint8 RGB (B, 3, H, W) to ``features`` (B, 1280), pooled, and ``logits`` (B, 1000) of ImageNet."""

    title = "EfficientNet-Lite0"
    file = "efficientnet-lite0-57934424.pth"

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList(
            Block(inputs if first else outputs, outputs, kernel, stride if first else 1, expansion)
            for repeats, kernel, stride, expansion, inputs, outputs in STAGES
            for first in [True] + [False] * (repeats - 1)
        )
        self._conv_head = SameConv(320, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, 1000)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Brought to 224 x 224 with antialiasing, values (x - 127) / 128. Raises UserError for another shape or dtype."""
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise UserError(
                f"EfficientNet-Lite0 takes uint8 RGB (B, 3, H, W), not {images.dtype} {tuple(images.shape)}"
            )
        x = images.to(self._fc.weight.dtype)
        if x.shape[2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        x = F.relu6(self._bn0(self._conv_stem((x - 127) / 128)))
        for block in self._blocks:
            x = block(x)
        features = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return {"features": features, "logits": self._fc(features)}
