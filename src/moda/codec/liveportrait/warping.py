"""W: the appearance volume bent from the source's keypoints to the driving ones."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.codec.liveportrait.layers import ConvBlock2d, ConvBlock3d, DownBlock3d, UpBlock3d

KEYPOINTS = 21
SLOTS = KEYPOINTS + 1  # the background moves nowhere
FEATURES, DEPTH = 32, 16  # of the volume
COMPRESSED = 4  # features with which the motion is estimated
VARIANCE = 0.01  # of a keypoint's heatmap
WIDTHS = (SLOTS * (1 + COMPRESSED), 64, 128, 256, 512, 1024)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(DownBlock3d(a, b) for a, b in pairwise(WIDTHS))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The input and what each block makes of it."""
        outputs = [x]
        for block in self.down_blocks:
            outputs.append(block(outputs[-1]))
        return outputs


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inputs = (1024, 1024, 512, 256, 128)  # all but the first carry the encoder's output of their size
        outputs = (512, 256, 128, 64, 32)
        self.up_blocks = nn.ModuleList(UpBlock3d(a, b) for a, b in zip(inputs, outputs, strict=True))
        self.width = outputs[-1] + WIDTHS[0]
        last = ConvBlock3d(self.width, self.width)
        self.conv, self.norm = last.conv, last.norm  # at this level in the official file

    def forward(self, encoded: list[Tensor]) -> Tensor:
        *skips, x = encoded
        for block, skip in zip(self.up_blocks, reversed(skips), strict=True):
            x = torch.cat([block(x), skip], 1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """(B, 110, D, H, W) to (B, 142, D, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class DenseMotionNetwork(nn.Module):
    """Where each voxel of the driven volume comes from, and which parts of the image nothing is known of."""

    def __init__(self) -> None:
        super().__init__()
        self.compress = nn.Conv3d(FEATURES, COMPRESSED, 1)
        self.norm = nn.BatchNorm3d(COMPRESSED)
        self.hourglass = Hourglass()
        width = self.hourglass.decoder.width
        self.mask = nn.Conv3d(width, SLOTS, 7, padding=3)
        self.occlusion = nn.Conv2d(width * DEPTH, 1, 7, padding=3)

    def forward(self, feature: Tensor, kp_driving: Tensor, kp_source: Tensor) -> tuple[Tensor, Tensor]:
        """feature (1 or B, 32, D, H, W), keypoints (B, 21, 3) to deformation (B, D, H, W, 3) and occlusion (B, 1, H, W).

        Coordinates and weights are float32 whatever the network's own precision.
        """
        dtype, size = self.compress.weight.dtype, feature.shape[2:]
        compressed = F.relu(self.norm(self.compress(feature.to(dtype))))
        grid = identity_grid(size, feature.device)
        moves = sparse_motions(grid, kp_driving, kp_source)  # (B, 22, D, H, W, 3)
        moved = self._moved(compressed, moves)  # (B, 22, 4, D, H, W)
        heat = heatmaps(grid, kp_driving, kp_source).to(dtype)[:, :, None]  # (B, 22, 1, D, H, W)
        prediction = self.hourglass(torch.cat([heat, moved], 2).flatten(1, 2))
        weights = self.mask(prediction).float().softmax(1)  # (B, 22, D, H, W)
        deformation = torch.einsum("bkdhw,bkdhwc->bdhwc", weights, moves)
        occlusion = self.occlusion(prediction.flatten(1, 2)).float().sigmoid()
        return deformation, occlusion

    @staticmethod
    def _moved(compressed: Tensor, moves: Tensor) -> Tensor:
        """The compressed volume as each slot's motion alone would show it."""
        batch, slots = moves.shape[:2]
        # one volume serves every slot: the slots are laid side by side along the depth of one sampling grid
        side_by_side = moves.flatten(1, 2)  # (B, 22 D, H, W, 3)
        sampled = sample(compressed.expand(batch, -1, -1, -1, -1), side_by_side)  # (B, 4, 22 D, H, W)
        return sampled.unflatten(2, (slots, -1)).transpose(1, 2)


class WarpingModule(nn.Module):
    """Feature volume (1 or B, 32, 16, 64, 64) and keypoints (B, 21, 3) to what the generator renders.

    Returns out (B, 256, 64, 64), occlusion_map (B, 1, 64, 64) and deformation (B, 16, 64, 64, 3), float32.
    A batch of one feature volume serves all keypoints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotionNetwork()
        self.third = ConvBlock2d(FEATURES * DEPTH, 256, slope=0.01)
        self.fourth = nn.Conv2d(256, 256, 1)

    def forward(self, feature: Tensor, kp_driving: Tensor, kp_source: Tensor) -> dict[str, Tensor]:
        kp_source = kp_source.expand_as(kp_driving)
        deformation, occlusion = self.dense_motion_network(feature, kp_driving, kp_source)
        warped = sample(feature.expand(len(kp_driving), -1, -1, -1, -1), deformation).flatten(1, 2)  # (B, 512, H, W)
        out = self.fourth(self.third(warped.to(self.fourth.weight.dtype))).float() * occlusion
        return {"out": out, "occlusion_map": occlusion, "deformation": deformation}


def identity_grid(size: tuple[int, ...] | torch.Size, device: torch.device | None = None) -> Tensor:
    """(D, H, W, 3) float32: x, y, z of each voxel, from -1 at the first to 1 at the last of an axis."""
    depth, height, width = (torch.linspace(-1, 1, count, device=device) for count in size)
    z, y, x = torch.meshgrid(depth, height, width, indexing="ij")
    return torch.stack([x, y, z], -1)


def sparse_motions(grid: Tensor, kp_driving: Tensor, kp_source: Tensor) -> Tensor:
    """(B, 22, D, H, W, 3): where to look if everything moved with one keypoint; the first slot stands still."""
    shift = F.pad(kp_source - kp_driving, (0, 0, 1, 0))  # (B, 22, 3)
    return grid + shift[:, :, None, None, None]


def heatmaps(grid: Tensor, kp_driving: Tensor, kp_source: Tensor) -> Tensor:
    """(B, 22, D, H, W): the keypoints' Gaussians after the motion less those before; 0 for the background."""

    def gaussian(keypoints: Tensor) -> Tensor:
        distance = (grid - keypoints[:, :, None, None, None]).square().sum(-1)
        return torch.exp(-0.5 * distance / VARIANCE)

    return F.pad(gaussian(kp_driving) - gaussian(kp_source), (0, 0) * 3 + (1, 0))


def sample(volume: Tensor, grid: Tensor) -> Tensor:
    """Trilinear values of (B, C, D, H, W) at (B, d, h, w, 3), 0 outside.

    The ends of the grid are the outer edges of the volume (``align_corners=False``) although
    ``identity_grid`` takes them for voxel centres: the networks were trained with that.
    """
    return F.grid_sample(volume.float(), grid, align_corners=False).to(volume.dtype)
