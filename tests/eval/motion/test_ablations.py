import numpy as np
import pytest

from moda.errors import UserError
from moda.eval.intervals import two_way_interval
from moda.eval.motion.ablations import clip_metrics, combined, differences, markdown_page, merge, page
from moda.eval.tables import tables_of

METRICS = {
    "r": {"title": "lip r", "unit": "", "better": "higher", "meaning": "correlation", "group": "lips", "digits": 2},
    "fm": {"title": "Fréchet", "unit": "", "better": "lower", "meaning": "distance", "group": "motion", "digits": 1},
}
CLIPS = [f"c{k}" for k in range(30)]


def result(values: np.ndarray, distance: float, title: str = "model", **changes) -> dict:
    by_clip = dict(zip(CLIPS, values.tolist(), strict=True))
    scores = {
        "r": {"value": float(values.mean()), "interval": [0, 1], "n": 30, "per_clip": by_clip, "caution": ""},
        "fm": {"value": distance, "interval": [distance - 3, distance + 3], "n": 30, "per_clip": {}, "caution": "few"},
    }
    protocol = {"version": 1, "split": "test", "span": "speech", "seed": 0, "steps": 10}
    return {
        "metrics": METRICS, "protocol": protocol | changes, "provenance": {"run": "runs/x"}, "notes": ["a note"],
        "clips": [{"key": key, "speaker": "ann"} for key in CLIPS], "rows": {title: {"title": title, "scores": scores}},
    }  # fmt: skip


def seeds_of(mean: float, spread: float = 0.0) -> list[dict]:
    """Two seeds; clips differ among each other as in every variant."""
    base = np.linspace(-0.3, 0.3, 30)
    noise = np.random.default_rng(int(100 * mean)).normal(0, 0.01, (2, 30))
    return [result(mean + base + noise[k] + (spread if k else -spread), 20 + 4 * k) for k in range(2)]


def test_a_variant_is_the_mean_of_its_seeds_with_an_interval_over_both() -> None:
    quiet, loud = combined(seeds_of(0.6))["r"], combined(seeds_of(0.6, spread=0.2))["r"]
    assert quiet["value"] == pytest.approx(0.6, abs=0.01) and quiet["n"] == 30
    width = [score["interval"][1] - score["interval"][0] for score in (quiet, loud)]
    assert width[1] > 2 * width[0] > 0.05  # seeds that disagree are less sure


def test_a_distance_of_whole_sets_joins_clips_and_seeds() -> None:
    score = combined(seeds_of(0.6))["fm"]
    half = np.hypot(3, 1.96 * np.std([20, 24], ddof=1) / np.sqrt(2))
    assert score["value"] == 22 and score["interval"] == pytest.approx([22 - half, 22 + half])
    assert score["caution"] == "few"


def test_differences_are_clip_by_clip() -> None:
    """The clips spread by 0.6; a difference of 0.1 is clear all the same."""
    variants = {"default": seeds_of(0.6), "better": seeds_of(0.7), "same": seeds_of(0.6)}
    digits = clip_metrics(variants, METRICS)
    assert digits == {"r": 2}
    found = dict(differences(variants, "default", digits))
    value, interval, clear = found["better"][0]
    assert value == "0.10" and clear and " to " in interval
    assert not found["same"][0][2] and set(found) == {"better", "same"}
    assert differences(variants, "absent", digits) == []


def test_one_table_and_one_page_hold_baselines_and_variants() -> None:
    variants = {"default": seeds_of(0.6), "other": seeds_of(0.5)}
    merged = merge(variants, result(np.full(30, 0.4), 90.0, "ridge"))
    table = next(table for table in tables_of(merged) if table.group == "lips")
    assert [title for title, _ in table.rows] == ["ridge", "default", "other"]
    about = {"default": "", "other": "<b>model=other</b>"}
    html = page("ablations", variants, merged, "default", about)
    assert "Against default, clip by clip" in html and "&lt;b&gt;model=other" in html and "a note" in html
    text = markdown_page("ablations", merged, about)
    assert "| ridge | 0.40" in text and "- **default**: as it is" in text and text.count("| default |") == 2


def test_what_was_not_measured_alike_is_refused() -> None:
    with pytest.raises(UserError, match="differ in split; they cannot stand in one table"):
        merge({"a": [result(np.zeros(30), 1)], "b": [result(np.zeros(30), 1, split="val")]})
    other = result(np.zeros(30), 1)
    other["clips"] = other["clips"][1:]
    with pytest.raises(UserError, match="differ in clips"):
        merge({"a": [result(np.zeros(30), 1), other]})
    with pytest.raises(UserError, match="nothing has been evaluated"):
        merge({})
    assert merge({"a": [result(np.zeros(30), 1, steps=4)], "b": [result(np.zeros(30), 1)]})  # what is varied may differ


def test_the_two_way_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(120):
        values = rng.normal(0, 1, 25)[None] + rng.normal(0, 0.5, 8)[:, None] + rng.normal(0, 0.3, (8, 25))
        found = two_way_interval(values, resamples=400, seed=trial)
        held += found.low <= 0 <= found.high
    assert 0.86 <= held / 120 <= 1.0
    with pytest.raises(UserError, match="finite values of the same clips"):
        two_way_interval(np.zeros((2, 5)), np.zeros((2, 4)))
