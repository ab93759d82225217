import numpy as np

from moda.eval.videos.extractors.sync_crop import GREY, smooth_track, sync_crop, through_xvid
from moda.eval.videos.extractors.tracks import SceneCuts, find_tracks

BOX = np.array([10.0, 20.0, 30.0, 50.0])


def frames(*boxes_of_frames):
    return [np.array(boxes, float).reshape(-1, 4) for boxes in boxes_of_frames]


def test_missed_frames_are_filled_in_a_straight_line() -> None:
    moved = BOX + 4
    [track] = find_tracks(frames([BOX], [], [], [], [moved]), [range(5)], min_track=1)
    assert track.detections == 2 and np.allclose(track.boxes[2], BOX + 2) and (track.start, track.stop) == (0, 5)


def test_a_track_needs_more_detections_than_the_least() -> None:
    seen = frames(*[[BOX]] * 100)
    assert find_tracks(seen, [range(100)], min_track=100) == []
    assert len(find_tracks([*seen, *frames([BOX])], [range(101)], min_track=100)) == 1


def test_a_face_may_be_away_for_25_frames_and_no_longer() -> None:
    there, away = frames([BOX]), frames([])
    for gap, expected in ((24, 1), (25, 2)):
        found = find_tracks([*there * 6, *away * gap, *there * 6], [range(12 + gap)], min_track=5)
        assert len(found) == expected, gap


def test_a_track_never_spans_a_cut_and_two_people_are_two_tracks() -> None:
    other = BOX + 100
    seen = frames(*[[BOX, other]] * 20)
    assert len(find_tracks(seen, [range(20)], min_track=5)) == 2
    found = find_tracks(seen, [range(12), range(12, 20)], min_track=5)
    assert sorted((track.start, track.stop) for track in found) == [(0, 12), (0, 12), (12, 20), (12, 20)]


def test_small_faces_can_be_left_out() -> None:
    seen = frames(*[[BOX]] * 20)  # 20 x 30 pixels: the longer side counts
    assert find_tracks(seen, [range(20)], 5, min_face=30) == [] and len(find_tracks(seen, [range(20)], 5, 29)) == 1


def test_cuts_are_where_the_picture_changes_at_once() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.full((60, 80, 3), level, np.uint8) for level in (40, 220))
    cuts = SceneCuts()
    for frame in [one] * 5 + [other] * 4:
        cuts.add(np.clip(frame + rng.integers(0, 6, frame.shape), 0, 255).astype(np.uint8))
    assert cuts.scenes() == [range(5), range(5, 9)]


def test_the_median_filter_takes_out_a_jump_of_the_detector() -> None:
    boxes = np.tile(BOX, (40, 1))
    boxes[20] += 50
    half, x, y = smooth_track(boxes)[20]
    assert (half, x, y) == (15, 20, 35)


def test_the_crop_is_as_the_original_cuts_it() -> None:
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[60:132, 72:128] = 255  # exactly: half 40 above to 40 * 1.8 below 100, 40 * 1.4 = 56 / 2 to the sides
    crop = sync_crop(frame, 20, 100, 80 - 0)
    assert crop.shape == (224, 224, 3)
    assert sync_crop(frame, 40, 100, 100)[0, 0, 0] == 0  # inside the picture
    outside = sync_crop(frame, 40, 0, 100)
    assert outside[0, 0, 0] == GREY and outside[0, -1, 0] == 0
    whole = sync_crop(frame, 20, 100, 96)  # rows 76 to 132, columns 72 to 128
    assert whole.min() == 255


def test_lossy_crops_keep_their_number_order_and_look() -> None:
    ramp = np.linspace(0, 200, 224).astype(np.uint8)
    crops = [np.roll(np.stack([np.tile(ramp, (224, 1))] * 3, 2), 9 * t, 1) for t in range(12)]
    found = list(through_xvid(crops))
    assert len(found) == 12
    errors = np.array([[np.abs(a.astype(float) - b).mean() for b in crops] for a in found])
    assert (errors.argmin(1) == np.arange(12)).all() and 0 < errors.min(1).max() < 5
