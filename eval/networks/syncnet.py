"""SyncNet v2 (Chung and Zisserman, 2016): mouth and sound of a fifth of a second to one space.

The network of syncnet_python, 1,024-d. Its sequences are numbered as in the official file.
"""

from torch import Tensor, nn

from moda.errors import UserError
from moda.eval.networks.pretrained import PretrainedNetwork

FRAMES = 5  # of a window
STEPS = 20  # MFCC steps in the same time
COEFFICIENTS = 13
SIDE = 224
WIDTH = 1024


def _unit2(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _unit3(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0):
    """Stride and border lie in the picture; time is crossed by the first kernel alone."""
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(outputs), nn.ReLU()]


def _pool3(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, WIDTH))


class SyncNet(PretrainedNetwork):
    """``embed_audio`` and ``embed_video``: windows to 1,024-d vectors that lie close where sound and mouth agree."""

    title = "SyncNet v2"
    file = "syncnet_v2.model"

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_unit2(1, 64),
            nn.MaxPool2d(1, 1),  # as in the original: it does nothing but hold a number
            *_unit2(64, 192),
            nn.MaxPool2d(3, (1, 2)),
            *_unit2(192, 384),
            *_unit2(384, 256),
            *_unit2(256, 256),
            nn.MaxPool2d(3, 2),
            *_unit2(256, 512, (5, 4), padding=0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_unit3(3, 96, (FRAMES, 7, 7), stride=2),
            _pool3(),
            *_unit3(96, 256, (1, 5, 5), stride=2, padding=1),
            _pool3(padding=1),
            *_unit3(256, 256, (1, 3, 3), padding=1),
            *_unit3(256, 256, (1, 3, 3), padding=1),
            *_unit3(256, 256, (1, 3, 3), padding=1),
            _pool3(),
            *_unit3(256, 512, (1, 6, 6)),
        )

    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """float (B, 1, 13, 20), 0.2 s of MFCC at 100 Hz from int16-scaled samples, to (B, 1024), not normalised."""
        _check(mfcc, (1, COEFFICIENTS, STEPS), "embed_audio takes float (B, 1, 13, 20)")
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def embed_video(self, frames: Tensor) -> Tensor:
        """float BGR in 0 to 255 (B, 3, 5, 224, 224) to (B, 1024), not normalised."""
        _check(frames, (3, FRAMES, SIDE, SIDE), "embed_video takes float BGR of 0 to 255 (B, 3, 5, 224, 224)")
        return self.netfclip(self.netcnnlip(frames).flatten(1))

    def embed_sequence(self, frames: Tensor) -> Tensor:
        """float BGR in 0 to 255 (3, T, 224, 224) to (T - 4, 1024): ``embed_video`` of every window of 5 frames.

        The network is a convolution in time too, so no frame is copied into five windows.
        """
        if frames.dim() != 4 or frames.shape[1] < FRAMES:
            raise UserError(f"embed_sequence takes (3, T, 224, 224) with T of 5 or more, not {tuple(frames.shape)}")
        _check(frames, (frames.shape[1], SIDE, SIDE), "embed_sequence takes float BGR (3, T, 224, 224)")
        features = self.netcnnlip(frames[None])  # (1, 512, T - 4, 1, 1)
        return self.netfclip(features[0, :, :, 0, 0].T)


def _check(x: Tensor, shape: tuple[int, ...], wanted: str) -> None:
    if not x.is_floating_point() or tuple(x.shape[1:]) != shape or not len(x):
        raise UserError(f"SyncNet: {wanted}, not {x.dtype} {tuple(x.shape)}")
