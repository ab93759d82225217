"""Which MakeHuman targets make up the space of head shapes.

Every entry is one weight of a head: a name and the target files that are added together, left and
right being paired. The macro entries are whole people; the local ones are details on top of them.
"""

_PEOPLE = tuple(f"{origin}-{sex}" for origin in ("caucasian", "asian", "african") for sex in ("female", "male"))

_LOCAL = {
    "head": (
        "head-age-decr", "head-age-incr", "head-fat-decr", "head-fat-incr", "head-oval", "head-round", "head-square",
        "head-rectangular", "head-triangular", "head-invertedtriangular", "head-diamond",
        "head-scale-horiz-decr", "head-scale-horiz-incr", "head-scale-vert-decr", "head-scale-vert-incr",
    ),
    "forehead": ("forehead-scale-vert-decr", "forehead-scale-vert-incr", "forehead-trans-backward", "forehead-trans-forward"),
    "chin": (
        "chin-height-decr", "chin-height-incr", "chin-width-decr", "chin-width-incr", "chin-prominent-decr",
        "chin-prominent-incr", "chin-prognathism-decr", "chin-prognathism-incr", "chin-bones-decr", "chin-bones-incr",
    ),
    "cheek": ("*-cheek-bones-decr", "*-cheek-bones-incr", "*-cheek-volume-decr", "*-cheek-volume-incr"),
    "nose": (
        "nose-scale-horiz-decr", "nose-scale-horiz-incr", "nose-scale-vert-decr", "nose-scale-vert-incr",
        "nose-scale-depth-decr", "nose-scale-depth-incr", "nose-trans-up", "nose-trans-down", "nose-hump-decr",
        "nose-hump-incr", "nose-point-up", "nose-point-down", "nose-width1-decr", "nose-width1-incr",
    ),
    "mouth": (
        "mouth-scale-horiz-decr", "mouth-scale-horiz-incr", "mouth-trans-up", "mouth-trans-down",
        "mouth-upperlip-volume-decr", "mouth-upperlip-volume-incr", "mouth-lowerlip-volume-decr",
        "mouth-lowerlip-volume-incr",
    ),
    "eyes": (
        "*-eye-scale-decr", "*-eye-scale-incr", "*-eye-trans-in", "*-eye-trans-out", "*-eye-trans-down", "*-eye-trans-up",
        "*-eye-corner2-down", "*-eye-corner2-up", "*-eye-height2-decr", "*-eye-height2-incr",
    ),
    "eyebrows": ("eyebrows-trans-up", "eyebrows-trans-down", "eyebrows-angle-up", "eyebrows-angle-down"),
}  # fmt: skip


def _files(folder: str, name: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name.replace('*', side)}.target.gz" for side in (("l", "r") if "*" in name else ("",)))


PEOPLE = _PEOPLE
LOCAL_SHAPES = tuple(name.removeprefix("*-") for names in _LOCAL.values() for name in names)
SHAPE_TARGETS: dict[str, tuple[str, ...]] = {
    **{person: _files("macrodetails", f"{person}-young") for person in _PEOPLE},
    **{name.removeprefix("*-"): _files(folder, name) for folder, names in _LOCAL.items() for name in names},
}
"""Name of each shape weight to its target files, relative to the targets directory."""
