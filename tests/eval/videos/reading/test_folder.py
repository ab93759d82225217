from pathlib import Path

import pytest

from moda.errors import UserError
from moda.eval.videos.reading.folder import find_methods, find_videos


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(methods) -> dict[str, list[str]]:
    return {method: sorted(videos) for method, videos in methods.items()}


def test_folders_are_methods(tmp_path: Path) -> None:
    folder = touch(tmp_path, "one/a.mp4", "one/b.MOV", "two/a.webm", "notes/read.txt", "one/.half.tmp.mp4")
    methods, said = find_methods(folder)
    assert names(methods) == {"one": ["a", "b"], "two": ["a"]} and "folder" in said
    assert methods["two"]["a"] == folder / "two/a.webm"


def test_a_full_table_of_names_is_read_as_clips_and_methods(tmp_path: Path) -> None:
    folder = touch(tmp_path / "x", "case_1_ditto.mp4", "case_1_moda.mp4", "case_2_ditto.mp4", "case_2_moda.mp4")
    methods, said = find_methods(folder)
    assert names(methods) == {"ditto": ["case_1", "case_2"], "moda": ["case_1", "case_2"]} and "{clip}_{method}" in said
    # not where a hole or the reference says that these are names of clips
    assert names(find_methods(folder, known=["case_1_moda"])[0]) == {"x": sorted(p.stem for p in folder.iterdir())}
    (folder / "case_2_moda.mp4").unlink()
    assert set(find_methods(folder)[0]) == {"x"}


@pytest.mark.parametrize("pattern, expected", [
    ("{clip}_{method}", {"b": ["m_a"], "d": ["m_c"]}),
    ("{method}_{clip}", {"m": ["a_b", "c_d"]}),
])  # fmt: skip
def test_a_pattern_splits_off_as_little_method_as_possible(tmp_path: Path, pattern: str, expected) -> None:
    assert names(find_methods(touch(tmp_path, "m_a_b.mp4", "m_c_d.mp4"), pattern)[0]) == expected


def test_a_pattern_may_go_through_folders(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a/out/1.mp4", "b/out/1.mp4", "b/other/2.mp4")
    assert names(find_methods(folder, "{method}/out/{clip}")[0]) == {"a": ["1"], "b": ["1"]}


@pytest.mark.parametrize("files, pattern, message", [
    ([], None, "holds no video"),
    (["a.mp4", "m/a.mp4"], None, "move them apart"),
    (["m/a.mp4", "m/a.mov"], None, "same name"),
    (["m/a b.mp4"], None, "cannot name a row or a clip"),
    (["a.mp4"], "{clip}", "must hold {clip} and {method} once each"),
    (["a.mp4"], "{clip}_{method}", "no video in .* has a name like"),
])  # fmt: skip
def test_names_that_do_not_fit_are_refused(tmp_path: Path, files: list[str], pattern: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_methods(touch(tmp_path, *files), pattern)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        find_videos(tmp_path / "none")
    with pytest.raises(UserError, match="is not a folder"):
        find_methods(tmp_path / "none")
