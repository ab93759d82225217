import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from video_support import PROTOCOL, measured

from moda.errors import UserError
from moda.eval import intervals
from moda.eval.intervals import Interval
from moda.eval.metrics.frechet import FrechetMotion
from moda.eval.metrics.lag import Lag
from moda.eval.tables import UNDEFINED, tables_of
from moda.eval.videos.extractors.identity import identity_score
from moda.eval.videos.measure import Item
from moda.eval.videos.report.compare import merge_results
from moda.eval.videos.report.latex import latex
from moda.eval.videos.rows import Row
from moda.eval.videos.scoring import distributions
from moda.eval.videos.scoring.distributions import FeatureSet, distance_differences, distance_scores
from moda.eval.videos.scoring.scores import score, sync_scores

SETTINGS = {"paired": True, "resamples": 200, "seed": 0, "extrapolate": False}


def clips(shift: float = 0.0, spread: float = 1.0, *, count: int = 20, frames: int = 50, seed: int = 0):
    rng = np.random.default_rng(seed)
    return FeatureSet(
        [measured(f"c{i}", image={"features": shift + spread * rng.normal(size=(frames, 4))}) for i in range(count)], "image"
    )  # fmt: skip


def test_a_set_with_itself_is_at_no_distance() -> None:
    scores = distance_scores(clips(), clips(), "FID", **SETTINGS)
    assert scores["FID"].value == pytest.approx(0, abs=1e-9) and scores["FID"].n == 20
    assert scores["FID"].n_of == {"features": 1000, "reference_features": 1000}
    assert "KID FID" not in scores


def test_gaussians_are_as_far_apart_as_the_closed_form_says() -> None:
    found = distance_scores(clips(2.0, 3.0, frames=5000), clips(seed=1, frames=5000), "FID", **SETTINGS)["FID"]
    assert found.value == pytest.approx(4 * 2.0**2 + 4 * (3 - 1) ** 2, rel=0.02)
    assert found.interval is not None and found.interval[0] < (found.value or 0) < found.interval[1]


def test_few_features_bring_a_caution() -> None:
    few = distance_scores(clips(count=3), clips(seed=1, count=3), "FID", fewest=10_000, **SETTINGS)["FID"]
    assert "the protocol asks for 10000" in few.caution and "3 clips are few" in few.caution


def test_a_clip_without_features_is_not_counted() -> None:
    whole = clips(count=4)
    part = FeatureSet([*whole.clips[:3], measured("c3", image="no face")], "image")
    assert distance_scores(part, whole, "FID", **SETTINGS)["FID"].n == 3
    assert distance_scores(FeatureSet([measured("c3", image="no face")], "image"), whole, "FID", **SETTINGS) == {}


def difference_of(first: FeatureSet, second: FeatureSet, truth: FeatureSet, paired: bool = True) -> Interval | None:
    sets = {"first": first, "second": second}
    return distance_differences(sets, truth, paired=paired, resamples=200, seed=0).get(("first", "second"))


def test_many_clips_share_what_is_resampled(monkeypatch) -> None:
    truth, near, far = clips(count=120), clips(0.5, seed=1, count=120), clips(1.0, seed=2, count=120)
    one_by_one = distance_scores(near, truth, "FID", **SETTINGS)["FID"]
    difference = difference_of(near, far, truth)
    monkeypatch.setattr(distributions, "MOST_RESAMPLED", 40)
    basis = torch.eye(4, dtype=torch.float64)
    groups, other = near.projected(basis, near.keys), truth.projected(basis, truth.keys)
    assert len(groups) <= 40 and {k: m.count for k, m in groups.items()} == {k: m.count for k, m in other.items()}
    assert sum(moments.count for moments in groups.values()) == 120 * 50
    shared = distance_scores(near, truth, "FID", **SETTINGS)["FID"]
    assert shared.value == one_by_one.value and shared.n == 120
    assert shared.interval == pytest.approx(one_by_one.interval, rel=0.15)
    again = difference_of(near, far, truth)
    assert difference is not None and again is not None and again.value == pytest.approx(difference.value)


def test_features_are_thinned_evenly_over_any_number_of_clips() -> None:
    kept, of = clips(count=30, frames=3).thinned(20)
    assert len(kept) == len(of) == 18 and of[:4] == ["c0", "c1", "c3", "c5"]


class Drawn(FeatureSet):
    """Features that are made when they are asked for, as the cache's are."""

    def _of(self, clip) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(500, 100))


def test_features_that_are_thinned_do_not_keep_the_others_in_memory() -> None:
    drawn = Drawn(clips(count=40, frames=1).clips, "image")
    drawn.moments  # noqa: B018 - counted before
    tracemalloc.start()
    kept, _ = drawn.thinned(80)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept.shape == (80, 100) and held < 5 * 500 * 100 * 8 < 40 * 500 * 100 * 8


def test_one_common_clip_has_a_distance_and_no_interval() -> None:
    one = FeatureSet(clips(count=1).clips, "image")
    found = distance_scores(clips(count=3, seed=1), one, "FID", **SETTINGS)["FID"]
    assert found.value is not None and found.interval is None
    alone = distance_scores(FeatureSet(clips(count=3, seed=1).clips[2:], "image"), one, "FID", **SETTINGS)
    assert alone["KID FID"].value is not None and alone["KID FID"].interval is None


def test_a_single_feature_has_no_distance_and_says_so() -> None:
    one, many = clips(count=1, frames=1), clips(seed=1)
    for pair in ((one, many), (many, one), (one, one)):
        found = distance_scores(*pair, "FVD", **SETTINGS)
        assert found["FVD"].value is None and "1 feature has no covariance" in found["FVD"].caution
        assert 1 in found["FVD"].n_of.values()
        assert len(found) == 1
    assert difference_of(one, many, many, paired=False) is None


def test_the_difference_of_two_methods_has_its_sign() -> None:
    truth, near, far = clips(), clips(0.5, seed=1), clips(2.0, seed=2)
    found = difference_of(near, far, truth)
    assert found is not None and found.high < 0
    assert difference_of(near, FeatureSet([], "image"), truth) is None


def test_pairs_are_compared_over_the_clips_that_both_have() -> None:
    truth, near, far = clips(), clips(0.5, seed=1), clips(2.0, seed=2)
    part = FeatureSet(far.clips[:4], "image")
    methods = {"near": near, "far": far, "part": part, "one": FeatureSet(near.clips[:1], "image")}
    found = distance_differences(methods, truth, paired=True, resamples=200, seed=0)
    assert {pair: interval.n for pair, interval in found.items()} == {
        ("near", "far"): len(near), ("near", "part"): 4, ("far", "part"): 4,
    }  # fmt: skip
    assert found["far", "part"].value == pytest.approx(0, abs=1e-9)
    alone = difference_of(near, far, truth)
    assert alone is not None and found["near", "far"].value == pytest.approx(alone.value)


def sync(offsets, confidences, frames):
    return {"offset": np.array(offsets), "sync_c": np.array(confidences), "sync_d": np.array([7.0] * len(offsets)),
            "frames": np.array(frames), "curves": np.zeros((len(offsets), 31))}  # fmt: skip


def test_tracks_weigh_by_their_frames_and_a_clip_without_one_is_left_out() -> None:
    found = sync_scores([
        measured("a", sync=sync([0, -4], [6.0, 2.0], [300, 100])),
        measured("b", sync=sync([1], [4.0], [100])),
        measured("c", sync="no face track"),
    ], PROTOCOL)  # fmt: skip
    assert found["sync_c"].per_clip == {"a": 5.0, "b": 4.0} and found["sync_c"].value == 4.5 and found["sync_c"].n == 2
    assert all(score.n_of == {"tracks": 3} for score in found.values())
    assert found["offset"].per_clip == {"a": 1.0, "b": 1.0} and found["within"].per_clip == {"a": 0.75, "b": 1.0}
    assert sync_scores([measured("c", sync="no face track")], PROTOCOL) == {}


def test_without_a_truth_identity_is_kept_or_lost_since_the_first_frame() -> None:
    turned = measured("a", identity={"embeddings": np.array([[1.0, 0], [1, 0], [0, 1]])})
    truth = {"a": measured("a", identity={"embeddings": np.array([[0.0, 1]])})}
    assert identity_score([turned], truth, "CSIM", PROTOCOL).value == pytest.approx(1 / 3)
    assert identity_score([turned], truth, "cosine (own ArcFace)", PROTOCOL).value == pytest.approx(1 / 3)
    assert identity_score([turned], truth, "identity distance (dlib)", PROTOCOL).value == pytest.approx(2 * 2**0.5 / 3)
    assert identity_score([turned], {}, "CSIM", PROTOCOL).value == pytest.approx(1 / 2)
    alone = measured("b", identity={"embeddings": np.array([[1.0, 0]])})
    assert identity_score([alone, measured("c", identity="no face")], {}, "CSIM", PROTOCOL).value is None


def whole(key: str, seed: int):
    """A clip with a bit of everything."""
    rng = np.random.default_rng(seed)
    lips = rng.normal(size=30)
    faces = {"motion": rng.normal(size=(30, 59)), "lips": lips, "lip_landmarks": lips, "shape": lips}
    return measured(
        key, image={"features": rng.normal(size=(30, 4))}, identity={"embeddings": rng.normal(size=(3, 4))},
        sync=sync([0], [6.0], [30]), faces=faces,
    )  # fmt: skip


def test_one_setting_rules_every_bootstrap(monkeypatch) -> None:
    asked = []
    draw = intervals.resample_counts
    monkeypatch.setattr(
        intervals, "resample_counts", lambda n, resamples, seed: asked.append(resamples) or draw(n, resamples, seed)
    )
    items = [Item(key, Path("none.mp4")) for key in "abc"]
    rows = [
        Row("ground_truth", "truth", "reference", items),
        Row("x", "x", "method", items),
        Row("y", "y", "method", items),
    ]
    found = {row.name: [whole(item.key, seed) for item in items] for seed, row in enumerate(rows)}
    metrics = {"lag": Lag(), "frechet_motion": FrechetMotion()}
    scores = score(
        rows, found, replace(PROTOCOL, resamples=123), metrics, {"image": "FID", "identity": "CSIM", "sync": ""}
    )
    with_interval = {name for name, one in scores.rows["x"].items() if one.interval}
    assert with_interval >= {"FID", "identity", "sync_c", "within", "lag", "frechet_motion"} and scores.differences
    assert set(asked) == {123}


def results(method: str, value: float, **more) -> dict:
    score = {"value": value, "interval": [value - 1, value + 1], "n": 3, "per_clip": {}, "caution": ""}
    metric = {"title": "FID", "unit": "", "better": "lower", "meaning": "a distance", "group": "pictures", "digits": 1}
    return {
        "schema": 1,
        "provenance": {"versions": {"torch": "2"}},
        "protocol": {**PROTOCOL.to_dict(), "fingerprint": PROTOCOL.fingerprint},
        "networks": {"image": {"weights": "0"}},
        "metrics": {"FID": metric},
        "rows": {
            "ground_truth": {"title": "ground truth", "kind": "reference", "scores": {}},
            method: {"title": method, "kind": "method", "scores": {"FID": score}},
        },
        "clips": [{"key": "a", "row": "ground_truth", "sha256": "1"}, {"key": "a", "row": method, "sha256": method}],
        **more,
    }


def write(tmp_path, name: str, value: dict):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(value))
    return path


def test_results_that_were_measured_alike_stand_in_one_table(tmp_path) -> None:
    merged = merge_results([write(tmp_path, name, results(name, value)) for name, value in (("x_1", 9.0), ("y", 5.0))])
    assert list(merged["rows"]) == ["ground_truth", "x_1", "y"]
    text = latex(merged)
    assert r"\textbf{5.0} {\scriptsize [4.0, 6.0]}" in text and r"\underline{9.0}" in text and r"x\_1 &" in text
    assert text.count(r"\midrule") == 2 and text.count("{") == text.count("}")


def test_a_column_that_one_result_alone_has_is_kept(tmp_path) -> None:
    one, two = results("x", 9.0), results("y", 5.0)
    two["metrics"]["speed"] = {**two["metrics"]["FID"], "title": "speed", "meaning": "seconds a second"}
    two["rows"]["y"]["scores"]["speed"] = {"value": 0.5, "interval": None, "n": 1, "per_clip": {}, "caution": ""}
    for paths in ((one, two), (two, one)):
        merged = merge_results([write(tmp_path, str(number), value) for number, value in enumerate(paths)])
        (table,) = tables_of(merged)
        assert [metric["title"] for metric in table.header] == ["FID", "speed"]
        assert {title: cells[1].value for title, cells in table.rows}["x"] == UNDEFINED


def test_one_name_for_two_columns_is_refused(tmp_path) -> None:
    two = results("y", 5.0)
    two["metrics"]["FID"]["meaning"] = "another distance"
    with pytest.raises(UserError, match="metrics.FID is a distance .* another distance"):
        merge_results([write(tmp_path, "one", results("x", 9.0)), write(tmp_path, "two", two)])


def test_other_versions_are_told(tmp_path) -> None:
    one, two = (results(name, 9.0, provenance={"versions": {"torch": name, "numpy": "2"}}) for name in "xy")
    merged = merge_results([write(tmp_path, "one", one), write(tmp_path, "two", two)])
    (note,) = merged["notes"]
    assert "torch x" in note and "torch y" in note and "numpy" not in note


@pytest.mark.parametrize("change, where", [
    ({"protocol": {**replace(PROTOCOL, margin=2.0).to_dict(), "fingerprint": "2"}}, "protocol.margin is 1.6 .* 2.0"),
    ({"networks": {"image": {"weights": "1"}}}, "networks.image.weights is 0 .* 1"),
    ({"clips": [{"key": "a", "row": "ground_truth", "sha256": "2"}, {"key": "a", "row": "y", "sha256": "y"}]}, "reference"),
    ({"clips": [{"key": "a", "row": "ground_truth", "sha256": "1"}, {"key": "b", "row": "y", "sha256": "y"}]}, "clips"),
])  # fmt: skip
def test_what_was_measured_otherwise_is_refused_by_name(tmp_path, change: dict, where: str) -> None:
    paths = [write(tmp_path, "one", results("x", 9.0)), write(tmp_path, "two", results("y", 5.0, **change))]
    with pytest.raises(UserError, match=f"cannot stand in one table: {where}"):
        merge_results(paths)


def test_one_name_twice_and_other_files_are_refused(tmp_path) -> None:
    path = write(tmp_path, "one", results("x", 9.0))
    with pytest.raises(UserError, match="rename one of the methods"):
        merge_results([path, path])
    with pytest.raises(UserError, match="no result of videos"):
        merge_results([write(tmp_path, "other", {"rows": {}})])
