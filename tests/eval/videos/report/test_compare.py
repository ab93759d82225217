"""Which results may stand in one table."""

import json
from pathlib import Path
from typing import Any

import pytest
from video_support import PROTOCOL

from moda.cli.main import main
from moda.errors import UserError
from moda.eval.videos.report.compare import merge_results

METRIC = {"title": "lag", "unit": "", "better": "0", "meaning": "lateness", "group": "lips and sound", "digits": 1}


def results(method: str, **more: Any) -> dict[str, Any]:
    """Of one clip, its reference and one column."""
    score = {"value": 1.0, "interval": None, "n": 1, "per_clip": {}, "caution": ""}
    return {
        "schema": 1,
        "provenance": {"versions": {"torch": "2"}},
        "protocol": {**PROTOCOL.to_dict(), "fingerprint": PROTOCOL.fingerprint},
        "networks": {"image": {"weights": "0"}},
        "metrics": {"lag": METRIC},
        "rows": {
            "ground_truth": {"title": "ground truth", "kind": "reference", "scores": {}},
            method: {"title": method, "kind": "method", "scores": {"lag": score}},
        },
        "clips": [
            {"key": "a", "row": "ground_truth", "sha256": "1", "sound_sha256": "1"},
            {"key": "a", "row": method, "sha256": method, "sound_sha256": method},
        ],
        **more,
    }


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("change, said", [
    ({"protocol": None}, "no result of videos under a protocol"),
    ({"protocol": {}}, "no result of videos under a protocol"),
    ({"schema": 7}, "no result of videos under a protocol"),
    ({"rows": None}, "is not whole: it has no rows"),
    ({"clips": {}}, "is not whole: it has no clips"),
    ({"provenance": {}}, "its provenance has no versions"),
    ({"rows": {"x": {"title": "x", "kind": "method"}}}, "one of its rows has no scores"),
    ({"metrics": {"lag": "late"}}, "one of its metrics has no title"),
    ({"rows": {}}, "one of its clips is of a row 'ground_truth', which it lacks"),
])  # fmt: skip
def test_a_file_that_lacks_a_part_is_named_in_one_line(tmp_path: Path, capsys, change: dict, said: str) -> None:
    path = write(tmp_path, "broken", results("x", **change))
    assert main(["compare", str(write(tmp_path, "whole", results("y"))), str(path)]) == 1
    error = capsys.readouterr().err.strip()
    assert str(path) in error and said in error and "\n" not in error


def test_another_sound_of_the_reference_is_another_reference(tmp_path: Path) -> None:
    one, two = results("x"), results("y")
    two["clips"][0]["sound_sha256"] = "2"
    with pytest.raises(UserError, match="cannot stand in one table: reference is"):
        merge_results([write(tmp_path, "one", one), write(tmp_path, "two", two)])


def test_a_metric_of_other_settings_is_another_column(tmp_path: Path) -> None:
    one, two = (
        results(name, metrics={"lag": {**METRIC, "spec": {"_target_": "moda.Lag", "most": most}}})
        for name, most in (("x", 10), ("y", 5))
    )
    with pytest.raises(UserError, match=r"metrics\.lag\.spec\.most is 10 in one and 5 in the other"):
        merge_results([write(tmp_path, "one", one), write(tmp_path, "two", two)])


def test_a_list_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no result of videos under a protocol"):
        merge_results([write(tmp_path, "list", [1])])
