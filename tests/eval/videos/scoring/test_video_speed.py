"""Real-time factors are taken from a method's own folder, or refused."""

from pathlib import Path

import pytest

from moda.errors import UserError
from moda.eval.videos.scoring.speed import told_speed


def test_each_method_has_its_own_and_a_shared_folder_has_none(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/speed.json").write_text('{"real_time_factor": 0.4}')
    apart = {name: {"clip": tmp_path / name / "clip.mp4"} for name in ("one", "two")}
    assert told_speed(apart) == {"one": {"real_time_factor": 0.4}}
    together = {name: {"clip": tmp_path / "one" / f"clip_{name}.mp4"} for name in ("one", "two")}
    assert told_speed(together) == {}


@pytest.mark.parametrize("content", ["[]", "{}", '{"rtf": 1}', '{"real_time_factor": 0}', '{"real_time_factor": "1"}'])
def test_anything_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "speed.json").write_text(content)
    with pytest.raises(UserError, match=r"speed\.json"):
        told_speed({"one": {"clip": tmp_path / "clip.mp4"}})
