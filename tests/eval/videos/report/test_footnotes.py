"""What stands under the tables."""

from moda.eval.videos.report.footnotes import cautions_of, counts_of, footnotes


def score(value: float | None = 1.0, caution: str = "", **n_of: int) -> dict:
    return {"value": value, "interval": None, "n": 1, "caution": caution, "n_of": n_of}


def results(scores: dict, missing: list[tuple[str, str]] = (), left_out: int = 0) -> dict:
    """Of a method ``m`` and of a truth without scores."""
    counts = {"clips_used": 3, "frames_used": 2000, "clips_left_out": 0}
    return {
        "metrics": {name: {"title": name.upper()} for name in ("fid", "kid", "sync_c", "sync_d")},
        "rows": {
            "truth": {"title": "truth", "scores": {}, **counts},
            "m": {"title": "m", "scores": scores, **counts, "clips_left_out": left_out},
        },
        "left_out": [{"row": "m", "what": clip, "reason": reason} for clip, reason in missing],
    }


def test_a_row_says_what_its_numbers_are_made_of() -> None:
    made = {
        "fid": score(features=1500, reference_features=1600),
        "kid": score(),
        "sync_c": score(tracks=4),
        "sync_d": score(tracks=4),
    }
    found = results(made, left_out=2)
    assert list(counts_of(found)) == ["truth", "m"]
    assert counts_of(found)["truth"] == {"clips": 3, "frames": 2000, "left out": 0}
    assert counts_of(found)["m"] == {
        "clips": 3, "frames": 2000, "left out": 2, "features of FID": 1500, "face tracks": 4,
    }  # fmt: skip
    assert footnotes(found) == [
        "truth: clips 3, frames 2,000",
        "m: clips 3 of 5, frames 2,000, features of FID 1,500, face tracks 4",
    ]


def test_reasons_are_said_once_each_and_a_few_of_them() -> None:
    missing = [*((f"c{i}", "it has no sound") for i in range(5)), ("c9", "sync: no face\ntrack")]
    [_, line] = footnotes(results({}, missing))
    assert line.endswith("; missing: c0, c1, c2 and 2 more (it has no sound); c9 (sync: no face track)")
    [_, line] = footnotes(results({}, [(f"c{i}", f"reason {i}") for i in range(9)]))
    assert "c3 (reason 3)" in line and "reason 5" not in line and line.endswith("; 5 more reasons in results.json")


def test_cautions_that_differ_in_counts_are_one() -> None:
    found = results({
        "fid": score(caution="FID2: 503 features are few\n3 clips are few"), "kid": score(caution="11 clips are few"),
        "sync_c": score(caution="FID2: 99 features are few"),
    })  # fmt: skip
    assert cautions_of(found) == [
        ("FID2: 99 to 503 features are few", "m: FID, m: SYNC_C"), ("3 to 11 clips are few", "m: FID, m: KID"),
    ]  # fmt: skip


def test_a_caution_is_said_once_with_all_that_it_is_about() -> None:
    found = results(
        {"fid": score(caution="3 clips are few"), "kid": score(), "sync_c": score(caution="3 clips are few")}
    )
    assert cautions_of(found) == [("3 clips are few", "m: FID, m: SYNC_C")]
    assert footnotes(found)[-1] == "caution: 3 clips are few (m: FID, m: SYNC_C)"
