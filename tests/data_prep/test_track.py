import numpy as np
from prep_fakes import Spot, SquareDetector, square

from moda.data_prep.track import Track, follow, iou, is_cut, main_tracks


def blank(count: int, every: int = 5):
    """Frame numbers with a picture that the scripted detector does not look at."""
    return [(number, np.zeros((100, 100, 3), np.uint8)) for number in range(0, count * every, every)]


class Script:
    """Answers the k-th call that searches a whole picture with the k-th list of boxes, and no other call."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def detect(self, rgb: np.ndarray):
        return [Spot(box) for box in self.answers.pop(0)] if rgb.shape == (100, 100, 3) else []


def test_iou_of_boxes():
    assert iou((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_a_face_that_moves_is_one_track_and_two_faces_are_two():
    left = [(5 * k, 10, 5 * k + 30, 40) for k in range(6)]
    right = (70, 10, 90, 30)
    tracks = follow(blank(6), Script(*[[box, right] for box in left]))
    assert sorted(len(track.frames) for track in tracks) == [6, 6]
    kept, beside = main_tracks(tracks)
    assert [track.boxes[-1] for track in kept] == [left[-1]] and beside == 1


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    box = (10, 10, 40, 40)
    assert len(follow(blank(6), Script([box], [box], [], [], [box], [box]))) == 1
    assert len(follow(blank(7), Script([box], [box], [], [], [], [box], [box]))) == 2


def test_a_cut_to_another_place_begins_a_new_track_and_both_shots_are_kept():
    a, b = (0, 0, 30, 30), (60, 60, 95, 95)
    tracks = follow(blank(8), Script(*[[a]] * 4, *[[b]] * 4))
    kept, beside = main_tracks(tracks)
    assert [(track.frames[0], track.frames[-1]) for track in kept] == [(0, 15), (20, 35)]
    assert beside == 0


def test_the_largest_face_wins_also_when_another_is_there_longer():
    big, small = Track([10, 15, 20], [(0, 0, 50, 50)] * 3), Track(list(range(0, 40, 5)), [(60, 60, 70, 70)] * 8)
    kept, beside = main_tracks([small, big])
    assert kept == [big] and beside == 1


def test_a_single_false_alarm_is_no_second_face():
    big, blink = Track([0, 5, 10], [(0, 0, 50, 50)] * 3), Track([5], [(60, 60, 70, 70)])
    assert main_tracks([big, blink])[1] == 0


def test_boxes_between_frames():
    track = Track([0, 5, 10], [(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)])
    assert track.boxes_between(5, 10).tolist() == [[1, 1, 2, 2]]
    assert track.boxes_between(11, 20).shape == (0, 4)


def test_a_small_face_is_found_in_tiles_where_it_is():
    frames = [(number, square(1100 + number, 300, 60, (720, 1280))) for number in range(0, 60, 5)]
    detector = SquareDetector(smallest=0.1)
    assert not detector.detect(frames[0][1])  # 60 of 1280 pixels
    (track,) = follow(frames, detector)
    assert track.frames == [number for number, _ in frames]  # once found it is followed at every look
    for number, box in zip(track.frames, track.boxes, strict=True):
        assert np.abs(np.array(box) - (1100 + number, 300, 1160 + number, 360)).max() < 4


def test_no_face_gives_no_track():
    assert follow([(0, np.zeros((300, 500, 3), np.uint8))], SquareDetector()) == []
    assert main_tracks([]) == ([], 0)


def test_another_face_in_the_same_place_after_a_cut_is_another_track():
    bright_above, bright_below = np.zeros((2, 160, 160, 3), np.uint8)
    bright_above[:60] = bright_below[100:] = 120
    scenes = [bright_above] * 6 + [bright_below] * 6
    frames = [(5 * k, np.maximum(scene, square(60, 60, 40, level=150))) for k, scene in enumerate(scenes)]
    tracks = follow(frames, SquareDetector())
    assert [track.frames for track in tracks] == [list(range(0, 30, 5)), list(range(30, 60, 5))]


def test_a_cut_is_a_new_scene_and_not_a_pan_or_a_change_of_light():
    picture = np.cumsum(np.random.default_rng(0).normal(size=(32, 34)), 1)
    other = np.cumsum(np.random.default_rng(1).normal(size=(32, 32)), 0)
    assert not is_cut(picture[:, :32], picture[:, 2:])
    assert not is_cut(picture[:, :32], 0.3 * picture[:, :32] + 50)
    assert is_cut(picture[:, :32], other)
    assert not is_cut(np.zeros((32, 32)), other)  # a fade from black
