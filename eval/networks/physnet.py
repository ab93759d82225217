"""PhysNet on faces in motion: video features where the I3D of FVD is not at hand.

Architecture: Yu et al., 2019, a 3-D CNN that reads the pulse off a face; its inner features react to
faults in time (freezing, shuffling, flicker). Distances of them are no FVD and never go by that name.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

SIDE = 32
EPSILON = 1e-3  # of Keras' batch norms
CHANNELS = (3, 16, 32, 64, 64, 64, 64, 64, 64, 64)
POOLS = {1: (1, 2, 2), 3: (2, 2, 2), 5: (2, 2, 2), 7: (1, 2, 2)}  # after block n
FEWEST_FRAMES = 4


class PhysNet(PretrainedNetwork):
    """float RGB (B, 3, T, 32, 32), any scale, to ``features`` (B, 128): means and deviations over time and place."""

    title = "PhysNet"
    file = "physnet.rlap.weights.h5"

    def __init__(self) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for number, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
            kernel = (1, 5, 5) if number == 0 else (3, 3, 3)
            self.convolutions.append(nn.Conv3d(inputs, outputs, kernel, padding="same"))
            self.norms.append(nn.BatchNorm3d(outputs, eps=EPSILON))

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """From the Keras file, or a .safetensors of this module; raises UserError when it is neither."""
        path = Path(path)
        if path.suffix != ".h5":
            return super().from_pretrained(path)
        if not path.is_file():
            raise UserError(f"{path} does not exist; the file of {cls.title} is {cls.file}")
        with torch.device("meta"):
            network = cls()
        weights = cls._match(network.state_dict(), _read_keras(path), path)
        network.load_state_dict(weights, assign=True)
        return network.requires_grad_(False).eval()

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Raises UserError for another shape or dtype, and for fewer than 4 frames."""
        if not video.is_floating_point() or video.dim() != 5 or video.shape[1] != 3 or video.shape[3:] != (SIDE, SIDE):
            raise UserError(f"PhysNet takes float (B, 3, T, 32, 32), not {video.dtype} {tuple(video.shape)}")
        if video.shape[2] < FEWEST_FRAMES:
            raise UserError(f"PhysNet needs at least {FEWEST_FRAMES} frames, not {video.shape[2]}")
        over = (2, 3, 4)
        x = (video - video.mean(over, True)) / (video.std(over, unbiased=False, keepdim=True) + 1e-6)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            x = F.relu(norm(convolution(x)))
            if number in POOLS:
                x = F.max_pool3d(x, POOLS[number])
        return {"features": torch.cat([x.mean(over), x.std(over, unbiased=False)], 1)}


def _read_keras(path: Path) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading {path} needs h5py; run pip install h5py") from error
    weights: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            for number in range(len(CHANNELS) - 1):
                layers: Any = file[f"ConvBlock{number + 1}/layers"]
                kernel, bias = (torch.from_numpy(layers[f"conv3d/vars/{i}"][()]).float() for i in (0, 1))
                weights[f"convolutions.{number}.weight"] = kernel.permute(4, 3, 0, 1, 2).contiguous()
                weights[f"convolutions.{number}.bias"] = bias
                for i, name in enumerate(("weight", "bias", "running_mean", "running_var")):
                    values = layers[f"batch_normalization/vars/{i}"][()]
                    weights[f"norms.{number}.{name}"] = torch.from_numpy(values).float()
    except (OSError, KeyError) as error:
        raise UserError(f"{path} is not {PhysNet.title}: {error}; give {PhysNet.file}") from error
    return weights
