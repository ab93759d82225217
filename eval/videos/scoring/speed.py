"""Real-time factors that come with a method's videos: nobody can tell them from the videos themselves."""

from collections.abc import Mapping
from pathlib import Path

from moda.errors import UserError
from moda.eval.metrics.speed import COLUMNS
from moda.eval.videos.reading.folder import Videos
from moda.files import read_json

NAME = "speed.json"


def told_speed(methods: Mapping[str, Videos]) -> dict[str, dict[str, float]]:
    """What ``speed.json`` in a method's own folder says: {"real_time_factor": S, "real_time_factor_rendered": S}.

    Seconds of work for a second of video, without and with rendering; either may be absent. Folders with
    videos of several methods have none. Raises UserError for other content.
    """
    folders = {name: {path.parent for path in videos.values()} for name, videos in methods.items()}
    told = {}
    for name, own in folders.items():
        others = set().union(*(folder for other, folder in folders.items() if other != name))
        if len(own) == 1 and not own & others and (path := next(iter(own)) / NAME).is_file():
            told[name] = _factors(path)
    return told


def _factors(path: Path) -> dict[str, float]:
    content = read_json(path)
    if not isinstance(content, dict) or not content or not content.keys() <= COLUMNS.keys():
        raise UserError(f'{path} must hold {" or ".join(COLUMNS)}, as in {{"real_time_factor": 0.4}}')
    for name, value in content.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UserError(f"{path}: {name} is {value!r}; it must be seconds of work for a second of video, above 0")
    return {name: float(value) for name, value in content.items()}
