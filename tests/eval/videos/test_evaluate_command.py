"""The command on files: drawn heads that talk, a method that is late, one that stands still."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from moda.cli.main import main
from moda.codec.head.codec import HeadCodec
from moda.eval.networks import EfficientNetLite0
from moda.eval.videos.extractors import networks
from moda.eval.videos.extractors.features import FeatureNetwork, for_physnet
from moda.generation.video import VideoWriter

FRAMES = 40
JAW = HeadCodec.layout.index("jawOpen")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """real/ and made/{exact,frozen}/: two clips each of a head whose jaw follows the loudness of its sound."""
    root, codec = tmp_path_factory.mktemp("heads"), HeadCodec(size=128, supersample=1)
    for clip in range(2):
        rng = np.random.default_rng(clip)
        portrait = codec.portrait(f"head:{clip}")
        opening = np.clip(np.convolve(rng.normal(0, 1, FRAMES), np.ones(4) / 2, "same"), 0, 1).astype(np.float32)
        motion = np.tile(portrait.rest, (FRAMES, 1))
        motion[:, JAW] += 0.6 * opening
        motion[:, -2] += 6 * np.sin(np.arange(FRAMES) / 5)
        sound = (rng.normal(0, 0.2, FRAMES * 640) * opening.repeat(640)).astype(np.float32)
        frames = list(codec.decode(portrait, motion))
        for name, shown in (("real", frames), ("made/exact", frames), ("made/frozen", frames[:1] * FRAMES)):
            path = root / name / f"clip{clip}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            with VideoWriter(path, 128, audio=sound, crf=12) as writer:
                for frame in shown:
                    writer.write(frame)
    return root


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Networks of colours and movement in place of trained ones."""

    class Colours(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1), requires_grad=False)

        def forward(self, x):
            x = x.float() * self.scale
            if x.dim() == 5:
                return {"features": torch.stack([x.mean((1, 2, 3, 4)), x.diff(dim=2).abs().mean((1, 2, 3, 4))], 1)}
            return {"features": torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)}

    monkeypatch.setattr(networks, "_image", lambda path, device: FeatureNetwork("FD-c", Colours(), "features", "0"))
    monkeypatch.setattr(
        networks, "_video", lambda path, device, script: FeatureNetwork("FD-v", Colours(), "features", "0", for_physnet)
    )


def run(heads: Path, out: Path, *more: str) -> int:
    return main([
        "evaluate", f"generated={heads / 'made'}", f"reference={heads / 'real'}", f"out={out}",
        "protocol.resamples=100", "+codec.size=64", "+codec.supersample=1", *more,
    ])  # fmt: skip


@pytest.mark.slow
def test_the_command_scores_every_row_and_the_controls_fall_where_they_must(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(heads, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out/results.json").read_text())
    rows = results["rows"]
    assert list(rows) == ["ground_truth", "reencoded", "codec_ceiling", "static", "mismatched_audio", "exact", "frozen"]
    value = lambda row, column: rows[row]["scores"].get(column, {}).get("value")  # noqa: E731
    assert value("ground_truth", "FD-c") == pytest.approx(0, abs=1e-6) == value("exact", "FD-v")
    assert 0 < value("reencoded", "FD-v") < min(value("frozen", "FD-v"), value("static", "FD-v"))
    assert value("exact", "lip_correlation") == pytest.approx(1) and value("exact", "lip_landmark_distance") == 0
    assert value("frozen", "lip_landmark_distance") > 1 and value("frozen", "head_range") < 0.5 < value(
        "exact", "head_range"
    )
    assert value("ground_truth", "audio_visual_correlation") > value("mismatched_audio", "audio_visual_correlation")
    assert value("exact", "identity") == value("ground_truth", "identity") < 0.5  # one person, above 0.6 another
    assert value("frozen", "identity") < 0.1 and "which are no CSIM" in printed
    failed = [check["what"] for check in results["checks"] if check["passed"] is False]
    assert len(failed) == 2 and all(what.endswith("than exact") for what in failed)  # it is the truth, bit by bit
    assert rows["exact"]["clips_used"] == 2 and rows["exact"]["frames_used"] == 2 * FRAMES
    assert "no stand-in for it in a package" in printed and "codec ceiling" in printed
    page = (tmp_path / "out/report.html").read_text()
    assert "data:image/jpeg" in page and 'src="http' not in page and "<script" not in page
    markdown, latex = ((tmp_path / f"out/table.{kind}").read_text() for kind in ("md", "tex"))
    assert latex.count(r"\\") >= 8
    for line in ("exact: clips 2, frames 80, features of FD-c 80, features of FD-v 4\n", "caution: 2 clips are few"):
        assert f"\n  {line}" in printed and f"\n- {line}" in markdown and f"\n% {line}" in latex
    assert "<th>features of FD-v</th>" in page and rows["exact"]["scores"]["FD-v"]["n_of"]["reference_features"] == 4

    # again: everything is cached, and the numbers are the same
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert run(heads, tmp_path / "out") == 0 and "measuring" not in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert json.loads((tmp_path / "out/results.json").read_text())["rows"] == rows


@pytest.mark.slow
def test_results_go_to_wandb_and_beside_others_measured_alike(heads: Path, tmp_path: Path, capsys) -> None:
    cache = f"cache={tmp_path / 'cache'}"
    assert run(heads, tmp_path / "one", cache, "wandb=offline") == 0
    (table,) = tmp_path.glob("one/wandb/offline-run-*/files/media/table/scores*.table.json")
    assert [row[0] for row in json.loads(table.read_text())["data"]][-2:] == ["exact", "frozen"]
    (table,) = tmp_path.glob("one/wandb/offline-run-*/files/media/table/footnotes*.table.json")
    assert any(line.startswith("exact: clips 2") for [line] in json.loads(table.read_text())["data"])

    (tmp_path / "late").mkdir()
    shutil.copytree(heads / "made/frozen", tmp_path / "late/made/slow")
    (tmp_path / "late/real").symlink_to(heads / "real")
    assert run(tmp_path / "late", tmp_path / "two", cache) == 0
    capsys.readouterr()
    files = [str(tmp_path / name / "results.json") for name in ("one", "two")]
    assert main(["compare", *files]) == 0
    table_of_both = capsys.readouterr().out
    assert "frozen" in table_of_both and "slow" in table_of_both
    assert run(tmp_path / "late", tmp_path / "three", cache, "protocol.fvd_stride=8") == 0
    assert main(["compare", files[0], str(tmp_path / "three/results.json")]) == 1
    assert "fvd_stride" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("overrides, message", [
    ([], "give generated=DIR"),
    (["generated=x", "run=y"], "one of the two"),
    (["generated=none"], "is not a folder"),
    (["generated=x", "split=val", "clips=3"], "split, clips: only a run has such settings"),
    (["generated=x", "protocol=mine"], "Could not find 'protocol/mine'"),
    (["generated=x", "protocol.crop=half"], "protocol.crop=half: must be one of face, frame"),
    (["generated=x", "protocol.lossy=maybe"], "protocol.lossy=maybe: must be true or false"),
    (["generated=x", "protocol.fps=30"], "protocol.fps=30: SyncNet sees 25 frames a second"),
    (["generated=x", "protocol.fid_stride=foo"], "protocol.fid_stride=foo: must be a whole number from 1"),
    (["generated=x", "protocol.max_seconds=0.01"], "protocol.max_seconds=0.01: must be a finite number from 0.04"),
    (["generated=[a]"], 'generated=["a"]: must be text'),
    (["generated=2024"], "generated=2024: must be text"),
    (["generated=x", "pattern=[a]"], 'pattern=["a"]: must be text'),
    (["generated=x", "processes=0"], "processes=0: must be a whole number from 1"),
    (["generated=x", "processes=1.5"], "processes=1.5: must be a whole number from 1"),
    (["generated=x", "processes=two"], "processes=two: must be a whole number from 1"),
    (["generated=x", "devices=[]"], "devices=[]: must be a device or several, as cpu or [cuda:0,cuda:1]"),
    (["generated=x", "devices=null"], "devices=null: must be a device or several"),
    (["generated=x", "devices=nowhere"], "device 'nowhere' cannot be used here"),
    (["generated=none", "wandb=foo"], "wandb=foo: must be one of disabled, online, offline"),  # said before the folder
    (["run=x", "reference=y"], "reference and pattern go with generated"),
    (["run=x", "seed=-1"], "seed=-1: must be a whole number from 0"),
    (["run=x", "seed=x"], "seed=x: must be a whole number from 0"),
    (["run=x", "steps=many"], "steps=many: must be a whole number from 1"),
    (["run=x", "clips=0"], "clips=0: must be a whole number from 1"),
    (["run=x", "guidance=high"], "guidance=high: must be a finite number from 0"),
    (["run=x", "guidance={audio:high}"], "guidance.audio=high: must be a finite number from 0"),
    (["generated={heads}/made", "networks.sync=none.pth"], "networks.sync=none.pth does not exist"),
    (["generated={heads}/made", "networks.image=5"], "networks.image=5 does not exist"),
    (["generated=x", "networks.sync_is_official=maybe"], "networks.sync_is_official=maybe: must be true or false"),
])  # fmt: skip
def test_what_is_asked_wrongly_is_one_line(heads: Path, overrides, message: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *(text.replace("{heads}", str(heads)) for text in overrides)]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_efficientnet_takes_pictures_of_any_size() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    picture = torch.from_numpy(cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (300, 260)))
    features = network(picture.permute(2, 0, 1)[None])["features"]
    assert features.shape == (1, 1280) and features.min() >= 0 and features.max() <= 6
