"""F: an image to its appearance, a volume of features that the motion will bend."""

from torch import Tensor, nn

from moda.codec.liveportrait.layers import ConvBlock2d, DownBlock2d, ResBlock3d

CHANNELS, DEPTH = 32, 16  # of the volume; 512 feature maps fold into it


class AppearanceFeatureExtractor(nn.Module):
    """RGB in [0, 1] (B, 3, 256, 256) to features (B, 32, 16, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvBlock2d(3, 64)
        self.down_blocks = nn.ModuleList([DownBlock2d(64, 128), DownBlock2d(128, 256)])
        self.second = nn.Conv2d(256, CHANNELS * DEPTH, 1)
        self.resblocks_3d = nn.Sequential()
        for number in range(6):
            self.resblocks_3d.add_module(f"3dr{number}", ResBlock3d(CHANNELS))

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image.to(self.second.weight.dtype))
        for block in self.down_blocks:
            x = block(x)
        volume = self.second(x).unflatten(1, (CHANNELS, DEPTH))
        return self.resblocks_3d(volume).float()
