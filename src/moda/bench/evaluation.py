"""Where an evaluation's time goes: its networks alone, on inputs kept in memory, against the whole pass over the files."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moda.eval.videos.cache import FeatureCache
from moda.eval.videos.extractors.base import Extractor
from moda.eval.videos.extractors.emotion import EmotionExtractor
from moda.eval.videos.extractors.faces import FaceExtractor
from moda.eval.videos.extractors.features import ImageExtractor, VideoExtractor
from moda.eval.videos.extractors.identity import IdentityExtractor
from moda.eval.videos.extractors.phones import PhoneExtractor
from moda.eval.videos.extractors.sync import SyncExtractor
from moda.eval.videos.measure import Item, read_features, view_of
from moda.eval.videos.protocol import Protocol
from moda.progress import progress


@dataclass
class Passes:
    """Seconds over all clips and rounds.

    whole: from the files to features in the cache. networks: the same calls of each network again, on
    inputs that lie in memory. decoding: reading frames and cropping them, once over the clip.
    """

    frames: int = 0
    whole: float = 0.0
    decoding: float = 0.0
    networks: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Speed of the whole pass over that of the networks alone."""
        return sum(self.networks.values()) / self.whole

    @property
    def remainder(self) -> float:
        """Seconds that are neither networks nor one decoding; below 0 where decoding runs beside networks."""
        return self.whole - sum(self.networks.values()) - self.decoding


def measure_evaluation(
    videos: Sequence[Path], extractors: Sequence[Extractor], protocol: Protocol, rounds: int = 1
) -> Passes:
    """Time the measuring of each video ``rounds`` times, networks and decoding right after it, clip by clip.

    A clip is passed once before, so that weights, allocators and compiled kernels are warm. Inputs of the
    networks are kept for one clip at a time.
    """
    passes = Passes()
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        places = iter(range(10**9))

        def fresh() -> FeatureCache:
            return FeatureCache(Path(folder) / str(next(places)))

        _pass(videos[0], extractors, protocol, fresh())
        with progress("measuring", rounds * len(videos), "clips") as advance:
            for _ in range(rounds):
                for video in videos:
                    passes.whole += _timed(_pass, video, extractors, protocol, fresh())
                    with recorded(extractors) as calls:
                        passes.frames += _pass(video, extractors, protocol, fresh())
                    for name, function, arguments in calls:
                        passes.networks[name] = passes.networks.get(name, 0.0) + _timed(function, *arguments)
                    calls.clear()
                    passes.decoding += _timed(_decode, video, protocol, fresh())
                    advance()
    return passes


def print_passes(passes: Passes) -> None:
    """The measurements on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "seconds", "ms a frame", "of the whole", title=f"{passes.frames} frames", title_justify="left")

    def add(name: str, seconds: float) -> None:
        part = f"{100 * seconds / passes.whole:.1f} %"
        table.add_row(name, f"{seconds:.2f}", f"{1000 * seconds / passes.frames:.2f}", part)

    for name, seconds in sorted(passes.networks.items(), key=lambda item: -item[1]):
        add(name, seconds)
    table.add_section()
    add("networks alone, on inputs in memory", sum(passes.networks.values()))
    add("decoding and cropping alone, once", passes.decoding)
    add("the rest, less what runs beside networks", passes.remainder)
    add("whole pass, from files to features", passes.whole)
    Console().print(table)
    print(f"whole pass at {passes.ratio:.3f} of the speed of the networks alone")


def _pass(video: Path, extractors: Sequence[Extractor], protocol: Protocol, cache: FeatureCache) -> int:
    """Returns the number of frames."""
    view = view_of(Item(video.stem, video), protocol, cache)
    assert view is not None
    read_features(view, extractors, cache)
    return view.num_frames


def _decode(video: Path, protocol: Protocol, cache: FeatureCache) -> None:
    view = view_of(Item(video.stem, video), protocol, cache)
    assert view is not None
    for _ in view.blocks():
        pass


Call = tuple[str, Callable[..., Any], tuple[Any, ...]]


@contextmanager
def recorded(extractors: Sequence[Extractor]) -> Iterator[list[Call]]:
    """Every call of a network within the block: its name, the network's function, and its arguments."""
    calls: list[Call] = []
    changed: list[tuple[Any, str]] = []

    def listen(name: str, owner: Any, method: str) -> None:
        function = getattr(owner, method)

        def listening(*arguments: Any) -> Any:
            calls.append((name, function, arguments))
            return function(*arguments)

        vars(owner)[method] = listening  # hides the class's own, also of a frozen one
        changed.append((owner, method))

    for name, owner, method in _networks(extractors):
        listen(name, owner, method)
    try:
        yield calls
    finally:
        for owner, method in changed:
            del vars(owner)[method]


def _networks(extractors: Sequence[Extractor]) -> Iterator[tuple[str, Any, str]]:
    """Name of a network, its object and the method through which features pass."""
    for extractor in extractors:
        match extractor:
            case ImageExtractor() | VideoExtractor():
                yield extractor.label, extractor.features.network, "forward"
            case SyncExtractor():
                yield "SyncNet", extractor.network, "embed_sequence"
                yield "SyncNet", extractor.network, "embed_audio"
                yield "face detector of sync", extractor.detector, "detect"
            case FaceExtractor():
                yield "face landmarks", extractor.codec.landmarker, "detect"
            case EmotionExtractor():
                yield "faces of emotion", extractor.landmarker, "detect"
                yield "emotion", extractor.network, "forward"
            case IdentityExtractor():
                yield "faces of identity", extractor.landmarker, "detect"
                yield "identity", extractor.network, "embed"
            case PhoneExtractor():
                yield "phonemes", extractor.encoder, "encode"
            case _:
                raise AssertionError(f"no network is known of {extractor.name}")


def _timed(act: Callable[..., object], *arguments: Any) -> float:
    began = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - began
