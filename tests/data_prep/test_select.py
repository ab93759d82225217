"""Which face is followed and where clips begin and end."""

import numpy as np
import pytest

from moda.data_prep.select import Selector, Span
from moda.data_prep.track import Seen, Track

NEAR, FAR = (0.0, 0.0, 80.0, 80.0), (100.0, 0.0, 140.0, 40.0)


def run(
    script: dict[int, list[str]], num_frames: int, longest=50, shortest=10, boxes=None, cuts=()
) -> tuple[list[Span], Selector]:
    """script: look -> names of the faces that are seen then."""
    boxes = boxes or {"near": NEAR, "far": FAR}
    selector, tracks, spans = Selector(longest, shortest, 5), {}, []
    for number in range(num_frames):
        if number in cuts:
            spans += selector.cut(number)
            tracks = {}
        if number in script:
            for name in script[number]:
                tracks.setdefault(name, Track()).add(number, Seen(boxes[name]))
            live = [track for track in tracks.values() if number - track.frames[-1] <= 15]
            tracks = {name: track for name, track in tracks.items() if track in live}
            spans += selector.look(number, live)
    return spans + selector.end(num_frames), selector


def always(*names: str, frames: int) -> dict[int, list[str]]:
    return {number: list(names) for number in range(0, frames, 5)}


def places(spans: list[Span]) -> list[tuple[int, int]]:
    return [(span.start, span.stop) for span in spans]


@pytest.mark.parametrize("frames", [50, 51, 59, 60, 61, 112, 173, 240, 1003])
def test_clips_cover_everything_and_none_is_too_long_or_short(frames: int):
    spans, selector = run(always("near", frames=frames), frames)
    covered = [number for span in spans for number in range(span.start, span.stop)]
    assert covered == list(range(frames)) and selector.too_short == []
    assert all(10 <= span.stop - span.start <= 50 for span in spans)
    assert all(span.start <= at < span.stop for span in spans for at in span.at)
    assert [at for span in spans for at in span.at] == list(range(0, frames, 5))


def test_a_clip_is_given_as_soon_as_another_can_follow():
    selector, track = Selector(50, 10, 5), Track()
    for number in range(0, 60, 5):
        track.add(number, Seen(NEAR))
        given = selector.look(number, [track])
        assert places(given) == ([] if number < 59 - 4 + 5 else [(0, 50)])
    track.add(60, Seen(NEAR))
    assert places(selector.look(60, [track])) == [(0, 50)] and selector.needed_from == 50


def test_the_larger_face_is_followed_and_the_other_is_told_of():
    spans, _ = run(always("far", "near", frames=40), 40)
    assert places(spans) == [(0, 40)] and spans[0].face_size == 80 and spans[0].beside == 1


def test_a_single_false_alarm_is_no_second_face():
    spans, _ = run(always("near", frames=40) | {10: ["near", "far"]}, 40)
    assert spans[0].beside == 0


def test_a_face_that_is_lost_ends_its_clip_and_the_next_one_begins_another():
    script = {number: ["near"] for number in range(0, 30, 5)} | {number: ["far"] for number in range(60, 90, 5)}
    spans, _ = run(script | {number: [] for number in range(30, 60, 5)}, 90)
    assert places(spans) == [(0, 26), (60, 90)]


def test_a_much_larger_face_takes_over_when_it_stays():
    script = {number: ["far"] for number in range(0, 30, 5)} | {number: ["far", "near"] for number in range(30, 100, 5)}
    spans, _ = run(script, 100, longest=200)
    assert places(spans) == [(0, 50), (50, 100)] and [span.face_size for span in spans] == [40, 80]


def test_a_cut_ends_a_clip_at_its_frame():
    spans, _ = run(always("near", frames=60), 60, longest=200, cuts=(32,))
    assert places(spans) == [(0, 32), (35, 60)]


def test_what_is_too_short_is_remembered():
    spans, selector = run({10: ["near"], 15: ["near"]} | {number: [] for number in (20, 25, 30, 35)}, 40)
    assert spans == [] and selector.too_short == [(10, 16)]


def test_a_face_at_the_last_look_lasts_to_the_end():
    assert places(run(always("near", frames=14), 14)[0]) == [(0, 14)]
    assert places(run(always("near", frames=14) | {15: []}, 16, shortest=5)[0]) == [(0, 11)]


def test_boxes_of_a_span():
    spans, _ = run(always("near", frames=20), 20)
    assert spans[0].boxes.shape == (4, 4) and np.all(spans[0].boxes[0] == NEAR)
