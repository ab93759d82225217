"""``moda bench checkpoint`` measures real saves, either way."""

from moda.cli import main as cli
from moda.files import read_json


def test_saves_are_measured_either_way(tiny_dataset, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["model.network.width=16", "model.network.heads=2", "data.window=16", "data.batch_size=2", "overlap=4"]
    assert cli.main(["bench", "checkpoint", "--saves", "2", f"data.path={tiny_dataset}", *small]) == 0
    found = read_json(tmp_path / "bench_checkpoint.json")
    for way in ("waiting", "background"):
        assert len(found[way]["stalls"]) == 3 and min(found[way]["stalls"]) > 0  # two saves, and the last one
    assert found["bytes"] > 1000 and "written in the background for" in capsys.readouterr().out
    assert cli.main(["bench", "checkpoint", "--saves", "0"]) == 1
