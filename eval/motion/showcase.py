"""What the report shows of a clip: the filmed frames beside the truth's and the model's motion on the same face."""

from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np

from moda.audio.encoder import SAMPLE_RATE
from moda.codec.base import MotionCodec
from moda.data.media import iterate_frames, pick_frames
from moda.eval.metrics.base import Score
from moda.eval.motion.clips import HeldOutClip
from moda.eval.takes import Take
from moda.generation.contact_sheet import contact_sheet
from moda.generation.faces import Face
from moda.generation.video import VideoWriter

SHEET_FRAMES = 8
SHEET_SIZE = 160  # pixels a frame
PANELS = ("filmed", "ground truth", "model")


def choose_examples(score: Score | None, clips: list[HeldOutClip], count: int) -> dict[str, str]:
    """Key of a clip to why it is shown: the median first, then from the best to the worst by ``score``."""
    ranked = sorted(score.per_clip.items(), key=lambda item: -item[1]) if score else []
    if not ranked:
        return {clip.key: "" for clip in clips[:count]}
    names = {len(ranked) // 2: "median", 0: "best", len(ranked) - 1: "worst"}
    spread = np.linspace(0, len(ranked) - 1, min(max(count - 1, 1), len(ranked))).round().astype(int).tolist()
    places = list(dict.fromkeys([len(ranked) // 2, *spread]))[:count]
    return {
        ranked[i][0]: f"{names.get(i, f'{i + 1} of {len(ranked)}')} by lip aperture r, {ranked[i][1]:.2f}"
        for i in places
    }


def make_strips(codec: MotionCodec, face: Face, take: Take) -> dict[str, np.ndarray]:
    """Eight moments, evenly spread over the speech: panel name to one uint8 RGB row of frames."""
    moments = np.linspace(take.speech.start, take.speech.stop - 1, SHEET_FRAMES).round().astype(int)
    filmed = pick_frames(face.video, moments.tolist())
    blank = np.full((SHEET_SIZE, SHEET_SIZE, 3), 128, np.uint8)
    rows = (
        [filmed.get(int(t), blank) for t in moments],
        codec.decode(face.portrait.starting(take.truth), take.truth[moments]),
        codec.decode(face.portrait.starting(take.motion), take.motion[moments]),
    )
    return {
        panel: contact_sheet([_resized(frame, SHEET_SIZE) for frame in row], columns=SHEET_FRAMES)
        for panel, row in zip(PANELS, rows, strict=True)
    }


def write_panels(path: Path, codec: MotionCodec, face: Face, clip: HeldOutClip, take: Take) -> np.ndarray:
    """Write a video of the panels side by side, with the clip's sound; returns its widest-mouthed frame, uint8 RGB."""
    side, poster = codec.size, np.empty(0)
    filmed = chain(iterate_frames(face.video), repeat(np.full((side, side, 3), 128, np.uint8)))
    truth, made = codec.decode(face.portrait, take.truth), codec.decode(face.portrait, take.motion)
    with VideoWriter(path, (side, 3 * side), codec.layout.fps, clip.waveform, SAMPLE_RATE) as writer:
        for t, panels in enumerate(zip(filmed, truth, made, strict=False)):  # the filmed ones do not end
            frame = np.concatenate([_resized(panel, side) for panel in panels], axis=1)
            writer.write(frame)
            if t == int(take.truth_lips.argmax()):
                poster = frame
    return poster


def _resized(frame: np.ndarray, side: int) -> np.ndarray:
    return frame if frame.shape[:2] == (side, side) else cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
