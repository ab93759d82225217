"""Blocks that several of the networks are made of; attribute names are those of the official files."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock2d(nn.Module):
    """3x3 convolution, batch norm, activation."""

    def __init__(self, inputs: int, outputs: int, slope: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), self.slope)


class DownBlock2d(ConvBlock2d):
    """``ConvBlock2d``, then half the size."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class ConvBlock3d(nn.Module):
    """3x3x3 convolution, batch norm, ReLU over a volume (B, C, D, H, W)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock3d(ConvBlock3d):
    """``ConvBlock3d``, then half the height and width; the depth stays."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(super().forward(x), (1, 2, 2))


class UpBlock3d(ConvBlock3d):
    """Twice the height and width, then ``ConvBlock3d``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=(1, 2, 2)))


class ResBlock3d(nn.Module):
    """Two pre-activated 3x3x3 convolutions beside an identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv3d(channels, channels, 3, padding=1), nn.BatchNorm3d(channels)
        self.conv2, self.norm2 = nn.Conv3d(channels, channels, 3, padding=1), nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(inner)))


class SpectralConv2d(nn.Module):
    """Convolution whose weight was trained under spectral normalisation (Miyato et al., 2018).

    Keeps the keys of PyTorch's first implementation: ``weight_orig`` and the vectors ``weight_u`` and
    ``weight_v`` of its largest singular value, which evaluation takes as they are. The weight that they
    give is worked out once, when they are loaded.
    """

    weight_u: Tensor
    weight_v: Tensor
    weight: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True):
        super().__init__()
        self.padding = kernel // 2
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.register_buffer("weight_u", torch.empty(outputs))
        self.register_buffer("weight_v", torch.empty(inputs * kernel**2))
        self.register_buffer("weight", torch.empty_like(self.weight_orig), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.normalise())

    def normalise(self) -> None:
        """Divide the weight by its largest singular value, u^T W v."""
        with torch.no_grad():
            sigma = self.weight_u @ self.weight_orig.flatten(1) @ self.weight_v
            self.weight = self.weight_orig / sigma

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)
