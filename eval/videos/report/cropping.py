"""Were all videos cropped alike? Distances of pictures see the crop before they see the face."""

from collections.abc import Mapping, Sequence

from moda.eval.videos.measure import Measured
from moda.eval.videos.rows import Row


def notes_on_crops(rows: Sequence[Row], found: Mapping[str, Sequence[Measured]]) -> list[str]:
    """A note where some videos of reference and methods were cropped and others used whole, with how many of each row.

    Controls are left out: they are made from either, and the codec's renderings are squares by their nature.
    """
    compared = [(row.title, found[row.name]) for row in rows if row.kind != "control"]
    cropped, whole = (_counted(compared, cropped) for cropped in (True, False))
    if not cropped or not whole:
        return []
    return [
        f"videos were not cropped alike: a box around the face was cut out of {cropped}; {whole} are square already and "
        "were used whole. Distances of pictures and identity see this difference too: give videos of one crop on both sides"
    ]


def _counted(compared: Sequence[tuple[str, Sequence[Measured]]], cropped: bool) -> str:
    """As "3 of ground truth, 1 of model"; empty where no video was treated so. What could not be read is not counted."""
    counts = {title: sum(c.cropped == cropped for c in clips if c.num_frames) for title, clips in compared}
    return ", ".join(f"{count} of {title}" for title, count in counts.items() if count)
