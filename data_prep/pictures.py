"""Small pictures of a few clips, and of videos that were refused, for the pages that show a data set."""

import base64
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.data_prep.items import SAME_CONTENT
from moda.files import writing

if TYPE_CHECKING:
    from moda.data_prep.records import VideoRecord

SIDE = 128  # pixels

MOST = 240  # clips of one run that are shown
OF_A_REASON = 12  # refused videos that are shown for one reason
REFUSED = "refused.jpg"  # beside item.json, of a video without a clip
STRETCH = "refused {}"  # key and name of a file, of the stretch that the so manieth reason is about

NUMBER = re.compile(r"\d+(\.\d+)?")


def pictures_of(records: "Sequence[VideoRecord]", videos: Path) -> "list[VideoRecord]":
    """``records`` with pictures, of clips spread evenly over all of them. videos: holds DIGEST/KEY.jpg."""
    total = sum(len(record.item.clips) for record in records)
    step = max(1, -(-total // MOST))
    number, shown = 0, defaultdict(int)
    found = []
    for record in records:
        pictures: dict[str, str] = {}
        for clip in record.item.clips:
            if number % step == 0:
                pictures[clip.key] = _embedded(videos / record.digest / f"{clip.key}.jpg")
            number += 1
        for key, _, kind in refusals(record):
            path = videos / record.digest / (f"{key}.jpg" if key else REFUSED)
            if path.is_file() and shown[kind] < OF_A_REASON:
                shown[kind] += 1
                pictures[key] = _embedded(path)
        found.append(replace(record, pictures=pictures))
    return found


def refusals(record: "VideoRecord") -> list[tuple[str, str, str]]:
    """(key of its picture, reason, kind of the reason) of a video without a clip, or of each stretch that was left out."""
    if not record.item.clips:
        return [("", record.item.reason, kind_of(record))]
    return [
        (STRETCH.format(number), reason, kind_of(record, reason)) for number, reason in enumerate(record.item.left_out)
    ]


def kind_of(record: "VideoRecord", reason: str | None = None) -> str:
    """A reason without its numbers and names, under which it is counted; by default why nothing of the video is used."""
    if reason is None:
        reason = (record.item.left_out or [record.item.rejected or ""])[0]
    reason = reason.split(" s: ", 1)[-1]
    return SAME_CONTENT if reason.startswith(SAME_CONTENT) else NUMBER.sub("0", reason)


def small_picture(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) with its longer side at ``SIDE``."""
    scale = SIDE / max(frame.shape[:2])
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """uint8 RGB to a JPEG file."""
    with writing(path):
        path.write_bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
