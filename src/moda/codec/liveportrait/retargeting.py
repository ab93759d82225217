"""S and its two companions: perceptrons that correct driven keypoints."""

from itertools import pairwise

from torch import Tensor, nn


class RetargetingNetwork(nn.Module):
    """A perceptron over flat keypoints; ``widths`` from input to output."""

    widths: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class StitchingNetwork(RetargetingNetwork):
    """Source and driving keypoints (B, 126) to corrections of the driving ones (B, 65): 63, and a shift dx, dy of all."""

    widths = (126, 128, 128, 64, 65)


class LipNetwork(RetargetingNetwork):
    """Source keypoints, lip ratio of the source and the wanted one (B, 65) to offsets of the keypoints (B, 63)."""

    widths = (65, 128, 128, 64, 63)


class EyeNetwork(RetargetingNetwork):
    """Source keypoints, ratios of its left and right eye and the wanted one (B, 66) to offsets (B, 63)."""

    widths = (66, 256, 256, 128, 128, 64, 63)
