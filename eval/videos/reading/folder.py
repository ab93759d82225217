"""Which video is whose: methods and clips by the names of files."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from moda.errors import UserError

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
PLACEHOLDERS = ("{clip}", "{method}")
NAME = re.compile(r"[\w.@+-]{1,128}")  # becomes a file name, a cell and an HTML id

Videos = dict[str, Path]  # clip -> file


def find_videos(folder: str | Path) -> Videos:
    """The videos that lie in ``folder`` itself by their names without suffix; raises UserError if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that holds videos ({', '.join(sorted(SUFFIXES))})")
    found = _by_name((path.stem, path) for path in _videos(folder.iterdir()))
    if not found:
        raise UserError(f"{folder} holds no video ({', '.join(sorted(SUFFIXES))})")
    return found


def find_methods(
    folder: str | Path, pattern: str | None = None, known: Collection[str] = ()
) -> tuple[dict[str, Videos], str]:
    """Methods in ``folder``, each with its videos by clip, and how the names were read, in words.

    pattern: of a video's path in ``folder`` without suffix, as "{clip}_{method}" or "{method}/{clip}".
    Without one, folders are methods and the videos in them clips. Videos in ``folder`` itself are one
    method named like the folder; or several, if every name is clip_method, every method has every clip,
    there are at least two of both, and no name is a clip in ``known`` (those of the reference).

    Raises UserError where names do not fit, are not usable, or there is no video.
    """
    folder = Path(folder)
    if pattern is not None:
        return _by_pattern(folder, pattern), f"videos are read as {pattern}"
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one that holds videos, or a folder of videos for each method")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and any(_videos(path.iterdir())))
    loose = list(_videos(folder.iterdir()))
    if folders and loose:
        raise UserError(
            f"{folder} holds videos ({loose[0].name}, ...) and folders of videos ({folders[0].name}, ...); "
            "move them apart or give pattern, as in pattern='{clip}_{method}'"
        )
    if folders:
        return {_checked(path.name, path): find_videos(path) for path in folders}, "each folder is a method"
    videos = find_videos(folder)
    if not set(videos) & set(known):
        grid = _grid(videos)
        if grid:
            return grid, "videos are read as {clip}_{method}; give pattern to read them otherwise"
    name = folder.resolve().name
    return {_checked(name, folder): videos}, f"all videos are of one method, {name}"


def _videos(paths: Iterable[Path]) -> Iterable[Path]:
    return (
        path for path in sorted(paths)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )  # fmt: skip


def _by_name(named: Iterable[tuple[str, Path]]) -> Videos:
    found: Videos = {}
    for name, path in named:
        if name in found:
            raise UserError(f"{found[name]} and {path} have the same name; keep one of them")
        found[_checked(name, path)] = path
    return found


def _checked(name: str, path: Path) -> str:
    if not NAME.fullmatch(name):
        raise UserError(f"{path}: {name!r} cannot name a row or a clip; use letters, digits and . _ - + @, at most 128")
    return name


def _grid(videos: Videos) -> dict[str, Videos]:
    """Methods of names read as clip_method, nothing unless they fill a table of at least 2 x 2."""
    split = {name: name.rpartition("_") for name in videos}
    methods: dict[str, Videos] = {}
    for name, path in videos.items():
        clip, _, method = split[name]
        if not clip or not method:
            return {}
        methods.setdefault(method, {})[clip] = path
    clips = {clip for clip, _, _ in split.values()}
    full = all(set(videos) == clips for videos in methods.values())
    return dict(sorted(methods.items())) if full and len(methods) > 1 and len(clips) > 1 else {}


def _by_pattern(folder: Path, pattern: str) -> dict[str, Videos]:
    if any(pattern.count(part) != 1 for part in PLACEHOLDERS):
        raise UserError(f"pattern={pattern!r} must hold {' and '.join(PLACEHOLDERS)} once each")
    text = re.escape(pattern)
    text = text.replace(re.escape("{clip}"), r"(?P<clip>[^/]+)").replace(re.escape("{method}"), r"(?P<method>[^/]+?)")
    expression = re.compile(text)
    methods: dict[str, list[tuple[str, Path]]] = {}
    others = []
    for path in _videos(folder.rglob("*")):
        match = expression.fullmatch(path.relative_to(folder).with_suffix("").as_posix())
        if match is None:
            others.append(path)
            continue
        methods.setdefault(_checked(match["method"], path), []).append((match["clip"], path))
    if not methods:
        looked = f", as {others[0].name}" if others else ""
        raise UserError(f"no video in {folder} has a name like {pattern}{looked}")
    return {method: _by_name(named) for method, named in sorted(methods.items())}
