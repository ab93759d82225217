"""Where a preparation's time goes: its networks alone, on inputs kept in memory, and one decoding, against all of it.

Seconds are of CPU, all threads counted, so that what else the machine does matters little.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from moda.data_prep.decode import DecordFailure, FrameReader
from moda.data_prep.extract import Extractor
from moda.data_prep.patient import PatientReader
from moda.data_prep.settings import FPS
from moda.data_prep.sources import Source
from moda.errors import UserError
from moda.progress import progress

READERS = {"decord": FrameReader, "PyAV": PatientReader}


@dataclass
class Preparation:
    """CPU seconds over all videos and rounds.

    whole: from the file to the files of its clips. networks: the same calls again, by network. decoding: reading all
    frames once. writing: H.264 of the stored crops, part of whole and of neither. seconds: of video. grown: bytes
    by which the process has become larger since the first round.
    """

    seconds: float = 0.0
    frames: int = 0
    whole: float = 0.0
    decoding: float = 0.0
    writing: float = 0.0
    networks: dict[str, float] = field(default_factory=dict)
    grown: int = 0

    @property
    def parts(self) -> float:
        """What cannot be done without: the networks and one decoding."""
        return sum(self.networks.values()) + self.decoding

    @property
    def ratio(self) -> float:
        return self.whole / self.parts

    @property
    def real_time(self) -> float:
        """Seconds of video in one of a core."""
        return self.seconds / self.whole


Call = tuple[str, Callable[..., Any], tuple[Any, ...]]


class _Recorded:
    """Stands before a model: every call of one of its methods is noted with its arguments."""

    def __init__(self, model: Any, name: str, methods: Sequence[str], calls: list[Call]):
        self._model, self._name, self._methods, self._calls = model, name, methods, calls

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._model, attribute)
        if attribute not in self._methods:
            return value

        def noted(*arguments: Any) -> Any:
            if arguments and isinstance(arguments[0], Iterator):  # of a codec: frames that come one by one
                frames: list[np.ndarray] = []
                self._calls.append((self._name, value, (frames, *arguments[1:])))
                return value(_kept(arguments[0], frames), *arguments[1:])
            self._calls.append((self._name, value, arguments))
            return value(*arguments)

        return noted


def _kept(items: Iterable[np.ndarray], into: list[np.ndarray]) -> Iterator[np.ndarray]:
    for item in items:
        into.append(item)
        yield item


def measure_preparation(videos: Sequence[Path], extractor: Extractor, rounds: int = 1) -> Preparation:
    """Prepare each video ``rounds`` times, and right after it its networks and one decoding alone.

    The first video is passed once before, so that everything is loaded. Inputs are kept for one video at a time.
    """
    found = Preparation()
    _process(videos[0], extractor)
    began = 0
    with progress("measuring", rounds * len(videos), "videos") as advance:
        for number in range(rounds):
            for video in videos:
                item, seconds = _timed(_process, video, extractor)
                if item.rejected:
                    raise UserError(f"{video}: {item.rejected}; measure with videos that can be used")
                found.whole += seconds
                found.writing += item.seconds.get("write video", 0.0)
                found.seconds += item.length
                found.frames += round(item.length * FPS)
                calls: list[Call] = []
                _process(video, _recording(extractor, calls))
                for name, function, arguments in calls:
                    _, spent = _timed(function, *arguments)
                    found.networks[name] = found.networks.get(name, 0.0) + spent
                calls.clear()
                found.decoding += _timed(_read, PatientReader, video)[1]
                advance()
            if number == 0:
                began = _resident()
    found.grown = max(_resident() - began, 0)
    return found


def measure_decoding(videos: Sequence[Path]) -> dict[str, dict[str, float]]:
    """CPU milliseconds a frame of each reader, reading every frame in order (``all``), and a second of frames from
    the middle (``seek``); NaN where a reader fails on a video."""
    table: dict[str, dict[str, float]] = {}
    for name, reader in READERS.items():
        sums = {"all": 0.0, "seek": 0.0}
        frames = {"all": 0, "seek": 0}
        for video in videos:
            try:
                count, spent = _timed(_read, reader, video)
                middle = range(count // 2, min(count // 2 + FPS, count))
                sought, again = _timed(_read, reader, video, middle)
            except DecordFailure:
                sums = dict.fromkeys(sums, float("nan"))
                break
            for way, seconds, number in (("all", spent, count), ("seek", again, sought)):
                sums[way] += seconds
                frames[way] += number
        table[name] = {way: 1000 * seconds / max(frames[way], 1) for way, seconds in sums.items()}
    return table


def print_preparation(found: Preparation, decoding: dict[str, dict[str, float]]) -> None:
    """The measurements on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "ms a frame", "of the whole", title=f"{found.frames} frames", title_justify="left")

    def add(name: str, seconds: float) -> None:
        table.add_row(name, f"{1000 * seconds / found.frames:.2f}", f"{100 * seconds / found.whole:.1f} %")

    for name, seconds in sorted(found.networks.items(), key=lambda entry: -entry[1]):
        add(name, seconds)
    add("one decoding", found.decoding)
    table.add_section()
    add("networks and one decoding", found.parts)
    add("writing H.264", found.writing)
    add("the rest", found.whole - found.parts - found.writing)
    add("whole preparation", found.whole)
    readers = Table("decoding, ms a frame", "all frames", "one second, from the middle")
    for name, ways in decoding.items():
        readers.add_row(name, f"{ways['all']:.2f}", f"{ways['seek']:.2f}")
    console = Console()
    console.print(table)
    console.print(readers)
    print(f"{found.ratio:.2f} x networks and one decoding; {found.real_time:.2f} x real time a core; "
          f"grown by {found.grown / 2**20:.0f} MB since the first round")  # fmt: skip


def _recording(extractor: Extractor, calls: list[Call]) -> Extractor:
    """The same models, each with its calls noted."""
    networks = extractor.networks
    judges = {"identity": ("embed",), "emotion": ("probabilities",), "voice": ("seconds",)}
    recorded = {
        stage: _Recorded(model, stage, methods, calls)
        for stage, methods in judges.items()
        if (model := getattr(networks, stage)) is not None
    }
    return replace(
        extractor,
        detector=_Recorded(extractor.detector, "looks for faces", ("detect",), calls),  # type: ignore[arg-type]
        codec=_Recorded(extractor.codec, "codec", ("encode",), calls),  # type: ignore[arg-type]
        encoder=_Recorded(extractor.encoder, "speech features", ("encode",), calls),  # type: ignore[arg-type]
        networks=replace(networks, **recorded),
    )


def _process(video: Path, extractor: Extractor) -> Any:
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        return extractor.process(Source(video, video.name), Path(folder))


def _read(reader: type[FrameReader | PatientReader], video: Path, wanted: range | None = None) -> int:
    """Number of frames; of each only a corner is kept, as of decord's blocks."""
    opened = reader(video, FPS)
    frames = opened.frames(wanted if wanted is not None else range(opened.num_frames), lambda frame: frame[:8, :8])
    return sum(1 for _ in frames)


def _timed(act: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.process_time()
    result = act(*arguments)
    return result, time.process_time() - began


def _resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
