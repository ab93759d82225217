"""Files of signals that a motion is to obey: head pose, gaze, distance over time.

    time,pitch,yaw,roll        time,distance       (.csv; or .npz with arrays of these names)
    0,0,0,0                    0,1
    2.5,-5,20,0                4,1.5

Values between two rows lie on the line between them; before the first and after the last they stay. An .npz
that ``moda generate --motion`` wrote gives the signals of that motion.
"""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from moda.errors import UserError
from moda.motion.controls import CONTROLS, ControlSpace

TIME = "time"
COLUMNS = tuple(column for control in CONTROLS.values() for column in control.columns)
FAR = 4.0  # standard deviations of the training set; what lies beyond, the network has hardly seen


def read_controls(path: str | Path, space: ControlSpace, frames: int) -> dict[str, np.ndarray]:
    """Controls of ``frames`` frames by name, (frames, k) each, in the units of ``moda.motion.controls.CONTROLS``.

    Raises UserError, naming file and column, for what cannot be read, times that do not increase, and a
    control of which a column is missing. Warns of values far beyond those of the training set.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"controls {path} does not exist; give a .csv or .npz with the columns time and {_known()}")
    if path.suffix.lower() == ".csv":
        columns = _read_csv(path)
    elif path.suffix.lower() == ".npz":
        arrays = _read_npz(path)
        columns = _of_motion(path, arrays, space) if "motion" in arrays else arrays
    else:
        raise UserError(f"controls {path} must end in .csv or .npz")
    asked = _at_frames(path, columns, frames, space.statistics.layout.fps)
    try:
        signals, _ = space.encode(asked, frames)
    except UserError as error:
        raise UserError(f"controls {path}: {error}") from error
    farthest = float(np.abs(signals).max(initial=0))
    if farthest > FAR:
        warnings.warn(
            f"controls {path} go {farthest:.1f} standard deviations from the training set's mean; a model cannot be "
            "expected to follow where it has not been",
            stacklevel=2,
        )
    return asked


def _at_frames(path: Path, columns: Mapping[str, np.ndarray], frames: int, fps: int) -> dict[str, np.ndarray]:
    """The columns brought to frame times t / fps and grouped into controls."""
    unknown = [name for name in columns if name not in (TIME, *COLUMNS)]
    if unknown or TIME not in columns:
        what = f"has the unknown column {unknown[0]!r}" if unknown else "has no column time (seconds)"
        raise UserError(f"controls {path} {what}; known: time, {_known()}")
    times = columns[TIME]
    if any(values.ndim != 1 or len(values) != len(times) for values in columns.values()) or len(times) == 0:
        raise UserError(f"controls {path}: every column needs as many values as time, and at least one")
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise UserError(
                f"controls {path}: {name} holds a value that is no number, at row {_first(~np.isfinite(values))}"
            )
    if (np.diff(times) <= 0).any():
        raise UserError(f"controls {path}: time does not increase at row {_first(np.diff(times) <= 0) + 1}")
    wanted = np.arange(frames) / fps
    asked = {}
    for name, control in CONTROLS.items():
        missing = [column for column in control.columns if column not in columns]
        if len(missing) == len(control.columns):
            continue
        if missing:
            raise UserError(f"controls {path} has no column {missing[0]}; {name} needs {', '.join(control.columns)}")
        asked[name] = np.stack([np.interp(wanted, times, columns[column]) for column in control.columns], 1)
    if not asked:
        raise UserError(f"controls {path} asks for nothing; beside time it may have {_known()}")
    return asked


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"controls {path} cannot be read ({error}); it must be a comma-separated text file") from error
    if not rows:
        raise UserError(f"controls {path} is empty; its first row must name the columns: time, {_known()}")
    names = [cell.strip() for cell in rows[0]]
    if len(set(names)) < len(names):
        raise UserError(f"controls {path} names a column twice: {', '.join(names)}")
    values = np.empty((len(rows) - 1, len(names)))
    for number, row in enumerate(rows[1:]):
        if len(row) != len(names):
            raise UserError(f"controls {path}, row {number + 1}: {len(row)} values for {len(names)} columns")
        for column, cell in enumerate(row):
            try:
                values[number, column] = float(cell)
            except ValueError:
                raise UserError(
                    f"controls {path}, row {number + 1}: {names[column]} is {cell.strip()!r}, not a number"
                ) from None
    return dict(zip(names, values.T, strict=True))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if "motion" in found:
            return found
        return {name: np.asarray(value, np.float64) for name, value in found.items()}
    except (OSError, ValueError, TypeError, EOFError, AttributeError, BadZipFile) as error:
        raise UserError(
            f"controls {path} cannot be read ({str(error).splitlines()[0]:.100}); write it again"
        ) from error


def _of_motion(path: Path, arrays: Mapping[str, np.ndarray], space: ControlSpace) -> dict[str, np.ndarray]:
    """The columns of every control of ``space``, measured on a motion file."""
    layout = space.statistics.layout
    if str(arrays.get("layout")) != layout.name:
        raise UserError(f"controls {path} holds motion of layout {arrays.get('layout')}, the model has {layout.name}")
    motion = layout.check(np.asarray(arrays["motion"]), f"controls {path}")
    columns = {TIME: np.arange(len(motion)) / layout.fps}
    for name in space.channels:
        columns |= dict(zip(CONTROLS[name].columns, space.measure(name, motion).T, strict=True))
    return columns


def _known() -> str:
    return ", ".join(COLUMNS)


def _first(wrong: np.ndarray) -> int:
    """Number of the first row at fault, counted from 1."""
    return int(np.argmax(wrong)) + 1
