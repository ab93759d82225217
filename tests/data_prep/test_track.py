import numpy as np
from prep_fakes import Spot, SquareDetector, square

from moda.data_prep.track import Follower, Track, iou


def blank(count: int, every: int = 5):
    """Frame numbers with a picture that the scripted detector does not look at."""
    return [(number, np.zeros((100, 100, 3), np.uint8)) for number in range(0, count * every, every)]


class Script:
    """Answers the k-th call that searches a whole picture with the k-th list of boxes, and no other call."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def detect(self, rgb: np.ndarray):
        return [Spot(box) for box in self.answers.pop(0)] if rgb.shape == (100, 100, 3) else []


def follow(frames, detector) -> list[Track]:
    """All tracks, in the order in which they begin."""
    follower, tracks = Follower(detector), []
    for number, frame in frames:
        tracks += [track for track in follower.look(number, frame) if track not in tracks]
    return tracks


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
    assert {track.last.box for track in tracks} == {left[-1], right}


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    box = (10, 10, 40, 40)
    assert len(follow(blank(6), Script([box], [box], [], [], [box], [box]))) == 1
    assert len(follow(blank(7), Script([box], [box], [], [], [], [box], [box]))) == 2


def test_a_cut_ends_all_tracks_also_of_a_face_in_the_same_place():
    follower, frame, box = Follower(Script(*[[(0, 0, 30, 30)]] * 4)), np.zeros((100, 100, 3), np.uint8), (0, 0, 30, 30)
    follower.look(0, frame)
    follower.look(5, frame)
    follower.cut()
    (track,) = follower.look(10, frame)
    assert track.frames == [10] and track.last.box == box


def test_a_small_face_is_found_in_tiles_where_it_is():
    frames = [(number, square(1100 + number, 300, 60, (720, 1280))) for number in range(0, 60, 5)]
    detector = SquareDetector(smallest=0.1)
    assert not detector.detect(frames[0][1])  # 60 of 1280 pixels
    (track,) = follow(frames, detector)
    assert track.frames == [number for number, _ in frames]  # once found it is followed at every look
    for number, seen in zip(track.frames, track.seen, strict=True):
        assert np.abs(np.array(seen.box) - (1100 + number, 300, 1160 + number, 360)).max() < 4


def test_landmarks_are_where_the_face_is_in_the_whole_frame():
    class WithLandmarks(SquareDetector):
        def detect(self, rgb):
            return [Pointed(spot.box, np.array([[*spot.box[:2], 0.0]])) for spot in super().detect(rgb)]

    class Pointed(Spot):
        def __init__(self, box, landmarks):
            object.__setattr__(self, "box", box)
            object.__setattr__(self, "landmarks", landmarks)

    (track,) = follow([(0, square(1100, 300, 60, (720, 1280)))], WithLandmarks(smallest=0.1))
    assert track.last.landmarks is not None and np.abs(track.last.landmarks - (1100, 300)).max() < 4


def test_no_face_gives_no_track():
    assert follow([(0, np.zeros((300, 500, 3), np.uint8))], SquareDetector()) == []
