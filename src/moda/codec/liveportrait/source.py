"""A portrait as this codec renders it, and the keypoints that motion gives it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from moda.codec.liveportrait.crop import Crop
from moda.codec.liveportrait.driving import LIP_CLOSED, Driving
from moda.codec.liveportrait.keypoints import KEYPOINTS, FaceMotion
from moda.codec.liveportrait.networks import Networks
from moda.codec.liveportrait.paste import Paster


@dataclass(frozen=True, eq=False)
class Source:
    """What ``LivePortraitCodec.decode`` renders.

    feature: (1, 32, 16, 64, 64) on the codec's device. canonical: (21, 3). motion: the portrait's own, one frame.
    eye_ratios: (2,), lip_ratio: how far it opens eyes and lips. picture: (H, W, 3) uint8 RGB; crop: the part rendered.
    """

    feature: Tensor
    canonical: np.ndarray
    motion: FaceMotion
    eye_ratios: np.ndarray
    lip_ratio: float
    picture: np.ndarray
    crop: Crop

    @cached_property
    def keypoints(self) -> np.ndarray:
        """(1, 21, 3): the portrait as it is."""
        return self.motion.place(self.canonical).astype(np.float32)

    @cached_property
    def paster(self) -> Paster:
        return Paster(self.picture, self.crop)


Ratios = np.ndarray | float | None


@torch.inference_mode()
def driven_keypoints(
    networks: Networks,
    source: Source,
    motion: FaceMotion,
    start: FaceMotion,
    driving: Driving,
    eye_ratio: Ratios = None,
    lip_ratio: Ratios = None,
) -> Tensor:
    """(T, 21, 3) float32 on the networks' device: where motion of T frames puts the portrait's keypoints.

    eye_ratio, lip_ratio: wanted openings, a number or (T,); None leaves them to the motion.
    """
    device, frames = networks.device, len(motion.scale)
    own = torch.from_numpy(source.keypoints).to(device)
    driven = driving.compose(source.motion, motion, start).place(source.canonical)
    keypoints = torch.from_numpy(driven.astype(np.float32)).to(device)

    offsets = []
    if eye_ratio is not None:
        offsets.append(_offsets(networks.eye, own, (*source.eye_ratios, eye_ratio), frames))
    if lip_ratio is not None:
        offsets.append(_offsets(networks.lip, own, (source.lip_ratio, lip_ratio), frames))
    if offsets:
        base = own if driving.mode == "relative" else keypoints
        keypoints = base + torch.stack(offsets).sum(0)
    if driving.stitching:
        keypoints = _stitched(networks, own, keypoints)
    if driving.normalize_lip and source.lip_ratio >= LIP_CLOSED:
        keypoints = keypoints + _offsets(networks.lip, own, (source.lip_ratio, 0.0), 1)
    return own + (keypoints - own) * driving.multiplier


def _offsets(network, own: Tensor, ratios: tuple, frames: int) -> Tensor:
    """(T, 21, 3) of a retargeting network for the portrait's keypoints and ratios, each a number or (T,)."""
    columns = [torch.as_tensor(np.broadcast_to(np.asarray(r, np.float32), (frames,)).copy()) for r in ratios]
    inputs = torch.cat([own.flatten(1).expand(frames, -1), torch.stack(columns, 1).to(own.device)], 1)
    return network(inputs).unflatten(1, (KEYPOINTS, 3))


def _stitched(networks: Networks, own: Tensor, keypoints: Tensor) -> Tensor:
    """Keypoints (T, 21, 3) with the correction of each and the shift of all."""
    correction = networks.stitching(torch.cat([own.expand_as(keypoints).flatten(1), keypoints.flatten(1)], 1))
    each, shift = correction.split((3 * KEYPOINTS, 2), 1)
    stitched = keypoints + each.unflatten(1, (KEYPOINTS, 3))
    return stitched + torch.nn.functional.pad(shift, (0, 1))[:, None]
