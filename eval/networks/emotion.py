"""Mini-Xception on FER-2013: which of seven emotions a face shows.

Architecture: Arriaga, Valdenegro-Toro and Plöger, 2017. A small network (58,000 weights) that is right
about two times in three on its own test set: it tells a smile from a frown, not one sad clip from another.
"""

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

SIDE = 64
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
STEM, STAGES = 8, (16, 32, 64, 128)
EPSILON = 1e-3  # of Keras' batch norms


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Stage(nn.Module):
    """Two separable convolutions, pooled, beside a strided 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.beside = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), _norm(outputs))
        self.depthwise = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False) for width in (inputs, outputs)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(width, outputs, 1, bias=False) for width in (inputs, outputs))
        self.norms = nn.ModuleList(_norm(outputs) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.pointwise[0](self.depthwise[0](x))))
        inner = self.norms[1](self.pointwise[1](self.depthwise[1](inner)))
        return self.beside(x) + F.max_pool2d(_padded(inner), 3, 2)


def _padded(x: Tensor) -> Tensor:
    """As TensorFlow pads a 3x3 pooling of stride 2: the odd pixel to the right and below."""
    borders = []
    for length in (x.shape[3], x.shape[2]):
        missing = (-(-length // 2) - 1) * 2 + 3 - length
        borders += [missing // 2, missing - missing // 2]
    return F.pad(x, borders, value=-torch.inf)


class MiniXception(PretrainedNetwork):
    """uint8 grey faces (B, 1, 64, 64) to ``probabilities`` (B, 7) of ``EMOTIONS``."""

    title = "mini-Xception"
    file = "emotion_model.hdf5"

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, STEM, 3, bias=False) for width in (1, STEM))
        self.norms = nn.ModuleList(_norm(STEM) for _ in range(2))
        self.stages = nn.ModuleList(Stage(i, o) for i, o in zip((STEM, *STAGES), STAGES, strict=False))
        self.head = nn.Conv2d(STAGES[-1], len(EMOTIONS), 3, padding=1)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """From the Keras file, or a .safetensors of this module; raises UserError when it is neither."""
        path = Path(path)
        if path.suffix != ".hdf5":
            return super().from_pretrained(path)
        if not path.is_file():
            raise UserError(f"{path} does not exist; the file of {cls.title} is {cls.file}")
        with torch.device("meta"):
            network = cls()
        network.load_state_dict(cls._match(network.state_dict(), _read_keras(path), path), assign=True)
        return network.requires_grad_(False).eval()

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        """Raises UserError for another shape or dtype."""
        if faces.dtype != torch.uint8 or faces.dim() != 4 or faces.shape[1:] != (1, SIDE, SIDE):
            raise UserError(f"mini-Xception takes uint8 grey (B, 1, 64, 64), not {faces.dtype} {tuple(faces.shape)}")
        x = faces.to(self.head.weight.dtype) / 127.5 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        for stage in self.stages:
            x = stage(x)
        return {"probabilities": self.head(x).mean((2, 3)).softmax(1)}


def _keras_names() -> dict[str, str]:
    """Our module to the file's layer; batch norms are numbered in the order in which the file's author made them."""
    names = {"head": "conv2d_7"}
    for i in range(2):
        names |= {f"convolutions.{i}": f"conv2d_{i + 1}", f"norms.{i}": f"batch_normalization_{i + 1}"}
    for s in range(len(STAGES)):
        names |= {f"stages.{s}.beside.0": f"conv2d_{s + 3}", f"stages.{s}.beside.1": f"batch_normalization_{3 * s + 3}"}
        for i in range(2):
            names[f"stages.{s}.norms.{i}"] = f"batch_normalization_{3 * s + 4 + i}"
            names[f"stages.{s}.depthwise.{i}"] = names[f"stages.{s}.pointwise.{i}"] = (
                f"separable_conv2d_{2 * s + i + 1}"
            )
    return names


_KERAS_ARRAYS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def _read_keras(path: Path) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading {path} needs h5py; run pip install h5py") from error
    weights: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            layers: Any = file["model_weights"]
            for ours, theirs in _keras_names().items():
                for name, values in layers[theirs][f"{theirs}_1"].items():
                    name, array = name.removesuffix(":0"), torch.from_numpy(values[()]).float()
                    if name in _KERAS_ARRAYS:
                        weights[f"{ours}.{_KERAS_ARRAYS[name]}"] = array
                    elif name == "bias":
                        weights[f"{ours}.bias"] = array
                    elif name == "depthwise_kernel" and "depthwise" in ours:  # (3, 3, C, 1)
                        weights[f"{ours}.weight"] = array.permute(2, 3, 0, 1).contiguous()
                    elif name == "kernel" or (name == "pointwise_kernel" and "pointwise" in ours):  # (k, k, in, out)
                        weights[f"{ours}.weight"] = array.permute(3, 2, 0, 1).contiguous()
    except (OSError, KeyError) as error:
        raise UserError(f"{path} is not {MiniXception.title}: {error}; give {MiniXception.file}") from error
    return weights
