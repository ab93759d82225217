"""What a result tells of where its numbers came from."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from video_support import PROTOCOL, two_extractors

from moda.build import build
from moda.data.schema import DatasetManifest
from moda.eval.metrics.correlation import DimensionCorrelation
from moda.eval.metrics.lag import Lag
from moda.eval.videos.evaluate import Request, VideoEvaluation, evaluate
from moda.eval.videos.extractors.networks import Networks
from moda.eval.videos.from_run import RunSettings
from moda.eval.videos.report import provenance
from moda.eval.videos.report.results import results_of
from moda.files import sha256_of


@pytest.fixture
def evaluation(
    filmed_dataset: Path, make_run, codec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> VideoEvaluation:
    """Of a small run that leaves guidance and solver as they were trained."""
    monkeypatch.setattr("moda.eval.videos.from_run.load_codec", lambda spec, fingerprint: codec)
    monkeypatch.setattr("moda.eval.videos.evaluate.build_extractors", lambda *_: two_extractors("cpu"))
    monkeypatch.setattr("moda.eval.videos.rows.build", lambda spec: None)  # a ceiling needs faces
    settings = RunSettings(make_run(filmed_dataset), clips=2, steps=1, seed=3, device="cpu")
    return evaluate(Request(PROTOCOL, {}, Networks(), tmp_path / "out", run=settings))


def test_a_run_is_told_with_everything_that_its_videos_depend_on(evaluation: VideoEvaluation, filmed_dataset) -> None:
    results = results_of(evaluation)
    json.dumps(results, allow_nan=False)
    told = results["provenance"]["sampling"]
    run = evaluation.request.run
    assert run is not None
    assert told["export"] == sha256_of(run.run / "export/export.json")
    assert told["dataset_fingerprint"] == DatasetManifest.load(filmed_dataset).fingerprint
    assert (told["split"], told["clips"], told["steps"], told["seed"]) == ("test", 2, 1, 3)
    assert told["guidance"] == {"audio": 1.2, "emotion": 1.2}  # the run's own, in numbers
    assert told["solver"]["_target_"] == "moda.flow.solvers.euler" and told["grid"]["_target_"].endswith("uniform_grid")
    assert results["provenance"]["ceiling"] is None


def test_the_ceiling_names_its_codec(evaluation: VideoEvaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "build", lambda spec: SimpleNamespace(fingerprint="abc"))
    with_ceiling = dataclasses.replace(evaluation, found=evaluation.found | {"codec_ceiling": []})
    told = provenance.provenance_of(with_ceiling)["ceiling"]
    assert told["fingerprint"] == "abc" and told["codec"]["_target_"].startswith("moda.")


def test_without_a_run_there_is_no_sampling_and_the_ceilings_codec_is_the_one_asked_for(
    evaluation: VideoEvaluation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(provenance, "build", lambda spec: SimpleNamespace(fingerprint="abc"))
    spec = {"_target_": "moda.codec.head.HeadCodec", "size": 64}
    request = Request(PROTOCOL, {}, Networks(), tmp_path / "out", generated=tmp_path, codec_spec=spec)
    asked = dataclasses.replace(evaluation, request=request, found={"codec_ceiling": []})
    told = provenance.provenance_of(asked)
    assert told["sampling"] is None and told["ceiling"] == {"codec": spec, "fingerprint": "abc"}


def test_a_column_of_a_metric_tells_its_settings_and_a_networks_column_has_none(evaluation: VideoEvaluation) -> None:
    request = dataclasses.replace(evaluation.request, metrics={"lag": Lag()})
    columns = {**evaluation.scores.columns, "lag": Lag().column}
    scores = dataclasses.replace(evaluation.scores, columns=columns)
    metrics = results_of(dataclasses.replace(evaluation, request=request, scores=scores))["metrics"]
    assert metrics["lag"]["spec"] == {"_target_": "moda.eval.metrics.lag.Lag"}
    assert "FD-mean" in metrics and "spec" not in metrics["FD-mean"]


def test_a_metrics_spec_builds_it_again() -> None:
    asked = DimensionCorrelation(subset="lips", title="lips r")
    spec = provenance.spec_of(asked)
    assert spec["subset"] == "lips" and vars(build(spec)) == vars(asked)
    assert provenance.spec_of(Lag()) == {"_target_": "moda.eval.metrics.lag.Lag"}
