"""S3FD (Zhang et al., 2017), the face detector of the sync pipeline: VGG-16, six scales of square anchors."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

MEAN_BGR = (104.0, 117.0, 123.0)
STRIDES = (4, 8, 16, 32, 64, 128)  # of the six sources; an anchor is four strides wide
VARIANCES = (0.1, 0.2)  # of centres and of sizes
MIN_SCORE, OVERLAP, CANDIDATES, KEPT = 0.05, 0.3, 5000, 750
MERGE_OVERLAP = 0.1  # between scales


class L2Norm(nn.Module):
    """Unit length over channels, times a learned scale a channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        length = x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10
        return x / length * self.weight[:, None, None]


def _vgg() -> nn.ModuleList:
    """VGG-16 to conv5_3 and a last pool, then a wide dilated convolution and a 1x1 one, numbered as one list."""
    layers: list[nn.Module] = []
    channels = 3
    for group, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2, ceil_mode=group == 2))
    layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU()]
    return nn.ModuleList(layers)


class S3FD(PretrainedNetwork):
    """float BGR less (104, 117, 123), (B, 3, H, W), to the raw heads over P anchors; ``detect`` for boxes.

    ``loc`` (B, P, 4): offsets to the anchors. ``conf`` (B, P, 2): background and face, after the softmax.
    ``priors`` (P, 4): centre x, centre y, width, height in shares of the picture.
    """

    title = "the S3FD face detector"
    file = "sfd_face.pth"

    def __init__(self) -> None:
        super().__init__()
        self.vgg = _vgg()
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = L2Norm(256), L2Norm(512), L2Norm(512)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )
        widths = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList([nn.Conv2d(width, 4, 3, padding=1) for width in widths])
        # small faces are easily taken for background: the first scale has three scores for it
        outputs = (4, 2, 2, 2, 2, 2)
        self.conf = nn.ModuleList([nn.Conv2d(w, n, 3, padding=1) for w, n in zip(widths, outputs, strict=True)])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raises UserError for another shape or dtype, and for a picture smaller than 16 x 16."""
        if not images.is_floating_point() or images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 16:
            wanted = "float BGR less its mean, (B, 3, H, W) of 16 x 16 or more"
            raise UserError(f"S3FD takes {wanted}, not {images.dtype} {tuple(images.shape)}")
        sources = self._sources(images)
        loc = [_cells(head(x), 4) for head, x in zip(self.loc, sources, strict=True)]
        conf = [_scores(head(x)) for head, x in zip(self.conf, sources, strict=True)]
        priors = make_priors(images.shape[2:], [x.shape[2:] for x in sources]).to(images)
        return {"loc": torch.cat(loc, 1), "conf": torch.cat(conf, 1).softmax(-1), "priors": priors}

    def _sources(self, x: Tensor) -> list[Tensor]:
        """Feature maps of strides 4 to 128."""
        norms = {16: self.L2Norm3_3, 23: self.L2Norm4_3, 30: self.L2Norm5_3}  # after so many layers
        sources = []
        for number, layer in enumerate(self.vgg, 1):
            x = layer(x)
            if number in norms:
                sources.append(norms[number](x))
        sources.append(x)
        for number, layer in enumerate(self.extras, 1):
            x = F.relu(layer(x))
            if number % 2 == 0:
                sources.append(x)
        return sources

    @torch.inference_mode()
    def detect(self, image: np.ndarray, *, threshold: float = 0.9, scales: Sequence[float] = (1.0,)) -> np.ndarray:
        """Faces of a uint8 BGR picture (H, W, 3): (N, 5) float32, left, top, right, bottom in pixels and score.

        threshold: scores above it are kept, best first. scales: the picture is looked at in each size, as
        (0.25,) in the sync pipeline, and boxes of all are merged. Raises UserError for another shape or
        dtype and when a scale makes the picture smaller than 16 x 16.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"S3FD.detect takes a uint8 BGR picture (H, W, 3), not {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        mean = np.array(MEAN_BGR, np.float32)
        found = []
        for scale in scales:
            sized = image
            if scale != 1:
                size = (round(width * scale), round(height * scale))
                if min(size) < 16:
                    raise UserError(
                        f"S3FD.detect: {width} x {height} at scale {scale:g} is too small; use a larger one"
                    )
                sized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            pixels = torch.from_numpy((sized - mean).transpose(2, 0, 1)[None]).to(next(self.parameters()))
            boxes = _boxes(self(pixels))
            boxes[:, :4] *= (width, height, width, height)
            found.append(boxes[boxes[:, 4] > threshold])
        boxes = np.concatenate(found)
        return boxes[suppress(boxes, MERGE_OVERLAP)]


def _cells(x: Tensor, size: int) -> Tensor:
    """(B, size, h, w) to (B, h w, size)."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, size)


def _scores(x: Tensor) -> Tensor:
    """(B, 2 or 4, h, w) to (B, h w, 2): of several background scores the highest."""
    return _cells(torch.cat([x[:, :-1].amax(1, keepdim=True), x[:, -1:]], 1), 2)


def make_priors(image: Sequence[int], maps: Sequence[Sequence[int]]) -> Tensor:
    """One square anchor a cell of each map: (P, 4) centre x, centre y, width, height in shares of ``image`` (H, W)."""
    height, width = image
    priors = []
    for stride, (rows, columns) in zip(STRIDES, maps, strict=True):
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        side = torch.full_like(x, 4 * stride)
        priors.append(torch.stack([x * stride / width, y * stride / height, side / width, side / height], -1))
    return torch.cat([prior.view(-1, 4) for prior in priors])


def _boxes(heads: dict[str, Tensor]) -> np.ndarray:
    """Heads of one picture to its boxes (N, 5): corners in shares of the picture, score, best first."""
    loc, score, priors = heads["loc"][0], heads["conf"][0, :, 1], heads["priors"]
    centre = priors[:, :2] + VARIANCES[0] * loc[:, :2] * priors[:, 2:]
    size = priors[:, 2:] * (VARIANCES[1] * loc[:, 2:]).exp()
    boxes = torch.cat([centre - size / 2, centre + size / 2, score[:, None]], 1)
    boxes = boxes[score > MIN_SCORE].float().cpu().numpy()
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")[:CANDIDATES]]
    return boxes[suppress(boxes, OVERLAP)[:KEPT]]


def suppress(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Non-maximum suppression of (N, 5): indices kept, best score first, none overlapping a better one by more.

    overlap: intersection over union.
    """
    left, top, right, bottom, score = boxes.T
    area = (right - left) * (bottom - top)
    order = np.argsort(-score, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        high = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        order = order[shared <= overlap * (area[best] + area[order] - shared)]
    return np.array(kept, dtype=int)
