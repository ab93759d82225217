"""Columns of how long a method takes: seconds of work for a second of motion or video."""

from moda.eval.metrics.base import Column

COLUMNS = {
    name: Column(title, meaning, "speed", unit="s per s", better="lower", digits=3)
    for name, title, meaning in (
        (
            "real_time_factor",
            "real-time factor, motion",
            "seconds of work for a second of motion, one clip alone, speech features given; below 1 is real time",
        ),
        (
            "real_time_factor_rendered",
            "real-time factor, rendered",
            "the same with rendering; encoding the video, which moda generate does as well, is not counted",
        ),
    )
}
