"""G: warped features to an image, by residual blocks that are told at every layer what to render (SPADE, Park et al., 2019)."""

import torch.nn.functional as F
from torch import Tensor, nn

from moda.codec.liveportrait.layers import SpectralConv2d

LABELS = 256  # channels of the warped features
HIDDEN = 128


class Spade(nn.Module):
    """Instance norm whose scale and shift are read off the warped features, place by place."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(LABELS, HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(HIDDEN, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        shared = self.mlp_shared(F.interpolate(labels, size=x.shape[2:]))
        return F.instance_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeResnetBlock(nn.Module):
    """Two convolutions, each after ``Spade`` and a leaky ReLU, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0, self.norm_0 = SpectralConv2d(inputs, middle, 3), Spade(inputs)
        self.conv_1, self.norm_1 = SpectralConv2d(middle, outputs, 3), Spade(middle)
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.conv_s, self.norm_s = SpectralConv2d(inputs, outputs, 1, bias=False), Spade(inputs)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        inner = self.conv_0(F.leaky_relu(self.norm_0(x, labels), 0.2))
        inner = self.conv_1(F.leaky_relu(self.norm_1(inner, labels), 0.2))
        shortcut = self.conv_s(self.norm_s(x, labels)) if self.learned_shortcut else x
        return shortcut + inner


class SpadeGenerator(nn.Module):
    """Warped features (B, 256, 64, 64) to RGB in [0, 1] (B, 3, 512, 512), float32."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(LABELS, 512, 3, padding=1)
        for number in range(6):
            self.add_module(f"G_middle_{number}", SpadeResnetBlock(512, 512))
        self.up_0 = SpadeResnetBlock(512, 256)
        self.up_1 = SpadeResnetBlock(256, 64)
        self.conv_img = nn.Sequential(nn.Conv2d(64, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        labels = feature.to(self.fc.weight.dtype)
        x = self.fc(labels)
        for number in range(6):
            x = self.get_submodule(f"G_middle_{number}")(x, labels)
        x = self.up_0(F.interpolate(x, scale_factor=2), labels)
        x = self.up_1(F.interpolate(x, scale_factor=2), labels)
        return self.conv_img(F.leaky_relu(x, 0.2)).float().sigmoid()
