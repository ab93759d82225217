"""Motion templates: recorded motion that drives any portrait, as npz of our own or LivePortrait's .pkl."""

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moda.codec.base import EncodedClip
from moda.codec.liveportrait.keypoints import KEYPOINTS, LAYOUT, FaceMotion
from moda.errors import UserError
from moda.files import atomic_path
from moda.motion.rotation import euler_angles

# our name -> name in files -> shape of a frame; the first four must be there
REQUIRED = {"expression": ("exp", (KEYPOINTS, 3)), "rotation": ("R", (3, 3)), "scale": ("scale", (1,)), "translation": ("t", (3,))}  # fmt: skip
OPTIONAL = {"canonical": ("kp", (KEYPOINTS, 3)), "keypoints": ("x_s", (KEYPOINTS, 3)), "eye_ratios": ("c_eyes", (2,)), "lip_ratio": ("c_lip", (1,))}  # fmt: skip
FIELDS = REQUIRED | OPTIONAL


@dataclass(frozen=True, eq=False)
class MotionTemplate:
    """Motion of T frames, all float32.

    fps: frames a second. expression: (T, 21, 3); rotation: (T, 3, 3) for row vectors; scale: (T, 1);
    translation: (T, 3). Where they are known: canonical and placed keypoints (T, 21, 3), eye_ratios (T, 2),
    lip_ratio (T, 1).
    """

    fps: float
    expression: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    translation: np.ndarray
    canonical: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    eye_ratios: np.ndarray | None = None
    lip_ratio: np.ndarray | None = None

    @property
    def motion(self) -> np.ndarray:
        """(T, 70) float32 in layout liveportrait70, at the template's own frame rate."""
        motion = np.zeros((len(self.expression), LAYOUT.dim), np.float32)
        motion[:, LAYOUT.groups["expression"]] = self.expression.reshape(len(motion), -1)
        motion[:, LAYOUT.groups["scale"]] = self.scale
        motion[:, LAYOUT.groups["translation"]] = self.translation * np.array([1, 1, 0])
        motion[:, LAYOUT.groups["rotation"]] = euler_angles(self.rotation)
        return motion

    def motion_at(self, fps: float = LAYOUT.fps) -> np.ndarray:
        """(T', 70) at another frame rate, linear between frames."""
        motion = self.motion
        count = max(round(len(motion) * fps / self.fps), 1)
        at = np.minimum(np.arange(count) * self.fps / fps, len(motion) - 1)
        return np.stack([np.interp(at, np.arange(len(motion)), column) for column in motion.T], 1).astype(np.float32)

    @classmethod
    def of(cls, clip: EncodedClip) -> "MotionTemplate":
        """From a clip that ``LivePortraitCodec.encode`` has measured."""
        motion, raw = FaceMotion.of(clip.motion), clip.raw
        if raw is None or "kp" not in raw:
            raise UserError("this clip was measured by another codec; measure it with the liveportrait codec")
        canonical = raw["kp"].reshape(-1, KEYPOINTS, 3)
        return cls(
            float(LAYOUT.fps),
            motion.expression,
            motion.rotation,
            motion.scale,
            motion.translation,
            canonical,
            motion.place(canonical),
            raw["eye_ratios"],
            raw["lip_ratio"],
        )

    def save(self, path: str | Path) -> None:
        """Write as npz, with LivePortrait's names: exp, R, scale, t, kp, x_s, c_eyes, c_lip, fps."""
        path = Path(path)
        if path.suffix != ".npz":
            raise UserError(f"cannot write {path}: the name of a motion template must end in .npz")
        arrays = {name: getattr(self, field) for field, (name, _) in FIELDS.items() if getattr(self, field) is not None}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, fps=np.float32(self.fps), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "MotionTemplate":
        """Read an npz, or LivePortrait's .pkl, of which nothing but plain values and arrays is read.

        Raises UserError naming what is missing, misshapen or not allowed in the file.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"motion template {path} does not exist")
        values = _read_pkl(path) if path.suffix == ".pkl" else _read_npz(path)
        missing = [name for name, _ in REQUIRED.values() if name not in values]
        if missing:
            raise UserError(f"{path} is no motion template: it lacks {', '.join(missing)}")
        count = len(values["exp"])
        arrays = {
            field: _shaped(values[name], (count, *shape), f"{path}: {name}")
            for field, (name, shape) in FIELDS.items()
            if name in values
        }
        fps = float(values.get("fps", LAYOUT.fps))
        if not count or not 1 <= fps <= 240:
            raise UserError(f"{path} holds {count} frames at {fps:g} a second; a template has some, at 1 to 240")
        return cls(fps, **arrays)


def _shaped(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.asarray(value, np.float32)
        array = array.reshape(shape)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} cannot be read as numbers {shape} ({error}); make the template again") from error
    if not np.isfinite(array).all():
        raise UserError(f"{where} holds NaN or infinity; make the template again")
    return array


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # a damaged file can fail in any way within its reader
        raise UserError(f"{path} cannot be read as npz ({error}); use a motion template, .npz or .pkl") from error


def _read_pkl(path: Path) -> dict[str, Any]:
    """LivePortrait's template: a dictionary of one dictionary a frame."""
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except UserError as error:
        raise UserError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged file can fail in any way within its reader
        raise UserError(f"{path} cannot be read as a motion template ({type(error).__name__}: {error})") from error
    frames = content.get("motion") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"{path} is no motion template: it has no list of frames called motion")
    frames = [{"R": frame.get("R_d"), **frame} for frame in frames]  # R_d: the name in old files
    values: dict[str, Any] = {"fps": content.get("output_fps", LAYOUT.fps)}
    for name in ("exp", "R", "scale", "t", "kp", "x_s"):
        column = [frame.get(name) for frame in frames]
        lacking = [number for number, value in enumerate(column) if value is None]
        if not lacking:
            values[name] = column
        elif len(lacking) < len(frames):
            raise UserError(f"{path}: frame {lacking[0]} has no {name}; make the template again")
    for name in ("c_eyes", "c_lip"):
        if (column := content.get(f"{name}_lst")) is not None:
            values[name] = column
    return values


def _empty_array(*_: Any) -> np.ndarray:
    """Stands for NumPy's own: the state that follows in the file gives size and content."""
    return np.ndarray(0)


def _latin1(text: str, encoding: str) -> bytes:
    """Stands for ``codecs.encode``, by which old protocols carry bytes."""
    if encoding != "latin1":
        raise UserError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _scalar(kind: np.dtype, data: bytes) -> Any:
    return np.frombuffer(data, kind)[0]


def _from_buffer(data: bytes, kind: np.dtype, shape: tuple[int, ...], order: str, axes: Any = None) -> np.ndarray:
    if order == "K":
        return np.frombuffer(data, kind).reshape(shape).transpose(axes)
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


_CORE = ("numpy.core", "numpy._core")  # before and from NumPy 2
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    **{(f"{core}.multiarray", "_reconstruct"): _empty_array for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _CORE},
}


class _Unpickler(pickle.Unpickler):
    """Knows plain values and NumPy arrays; any other name in the file, and so any code, is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(f"it names {module}.{name}, and a motion template holds numbers only")
        return _ALLOWED[module, name]
