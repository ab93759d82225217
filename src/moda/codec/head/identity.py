"""A head: its shape, its colours, and heads drawn at random."""

from dataclasses import dataclass

import numpy as np

from moda.codec.head.mesh import HeadMesh
from moda.codec.head.targets import LOCAL_SHAPES, PEOPLE, SHAPE_TARGETS

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Head:
    """Whose head is rendered.

    shape: one weight in [0, 1] for each entry of SHAPE_TARGETS. Colours are sRGB in [0, 255].
    hairline: elevation of the hairline above the brow in degrees; hair_depth: thickness of the hair
    in head units; brow: thickness of the eyebrows, 1 is usual; stubble, freckles: strength in [0, 1];
    seed: of the fine pattern of skin and hair.
    """

    shape: tuple[float, ...]
    skin: RGB = (205.0, 160.0, 135.0)
    lips: RGB = (178.0, 96.0, 92.0)
    hair: RGB = (52.0, 38.0, 30.0)
    iris: RGB = (92.0, 68.0, 46.0)
    cloth: RGB = (70.0, 84.0, 104.0)
    hairline: float = 48.0
    hair_depth: float = 0.05
    brow: float = 1.0
    stubble: float = 0.0
    freckles: float = 0.0
    seed: int = 0

    def vertices(self, mesh: HeadMesh) -> np.ndarray:
        """Vertices (V, 3) of the bald head at rest, in head units."""
        return mesh.vertices + np.tensordot(np.array(self.shape, np.float32), mesh.shapes, 1)


_SKINS: dict[str, tuple[RGB, ...]] = {
    "caucasian": ((228, 184, 160), (214, 168, 142), (196, 150, 122)),
    "asian": ((222, 182, 148), (206, 164, 130), (186, 144, 110)),
    "african": ((150, 104, 78), (118, 80, 60), (92, 62, 48)),
}
_HAIRS: dict[str, tuple[RGB, ...]] = {
    "caucasian": ((46, 34, 28), (68, 48, 34), (92, 64, 42), (128, 94, 58), (158, 124, 82), (112, 60, 36)),
    "asian": ((28, 24, 24), (40, 30, 26), (58, 42, 34)),
    "african": ((24, 20, 20), (34, 27, 24)),
}
_IRISES: dict[str, tuple[RGB, ...]] = {
    "caucasian": ((96, 116, 132), (92, 110, 84), (104, 76, 48), (78, 54, 36)),
    "asian": ((70, 46, 30), (52, 36, 26)),
    "african": ((56, 38, 28), (46, 32, 24)),
}
_CLOTHS: tuple[RGB, ...] = (
    (64, 78, 100), (110, 60, 58), (58, 88, 78), (150, 146, 138), (44, 46, 52), (128, 108, 76), (92, 76, 110),
)  # fmt: skip


def random_head(seed: int) -> Head:
    """A natural head, the same for the same seed.

    A blend of two people of one sex, details whose strength is bounded so that no feature leaves
    the range of the targets it was modelled for, and colours that go with the people. Consecutive
    seeds alternate the sex and step through the origins.
    """
    rng = np.random.default_rng([seed, 0x4EAD])
    sex = ("female", "male")[seed % 2]
    origins = ("caucasian", "african", "asian")
    first, second = origins[seed // 2 % 3], origins[rng.integers(3)]
    share = rng.uniform(0.75, 1.0)
    weights = dict.fromkeys(SHAPE_TARGETS, 0.0)
    weights[f"{first}-{sex}"] += share
    weights[f"{second}-{sex}"] += 1 - share
    for name in _some_details(rng):
        weights[name] = float(rng.uniform(0.15, 0.5))
    weights["head-age-incr"] = float(rng.uniform(0, 0.5))

    skin = _pick(rng, _SKINS[first], 8)
    male = sex == "male"
    return Head(
        shape=tuple(weights[name] for name in SHAPE_TARGETS),
        skin=skin,
        lips=_lips(skin, rng.uniform(0.25, 0.45) if male else rng.uniform(0.45, 0.8)),
        hair=_pick(rng, _HAIRS[first], 8),
        iris=_pick(rng, _IRISES[first], 6),
        cloth=_pick(rng, _CLOTHS, 12),
        hairline=float(rng.uniform(44, 56) if male else rng.uniform(42, 48)),
        hair_depth=float(rng.uniform(0.02, 0.06) if male else rng.uniform(0.06, 0.1)),
        brow=float(rng.uniform(1.0, 1.4) if male else rng.uniform(0.65, 0.95)),
        stubble=float(rng.choice([0.0, 0.25, 0.6])) if male else 0.0,
        freckles=float(rng.choice([0.0, 0.0, 0.5])) if first == "caucasian" else 0.0,
        seed=int(rng.integers(2**31)),
    )


def lip_colour(skin: RGB) -> RGB:
    """The colour of lips without make-up that goes with a skin."""
    return _lips(skin, 0.4)


def _some_details(rng: np.random.Generator, count: int = 12) -> list[str]:
    """Names of local shapes, at most one of a pair that pull in opposite directions."""
    chosen: dict[str, str] = {}
    for name in rng.permutation(LOCAL_SHAPES):
        axis = str(name).rsplit("-", 1)[0]
        if axis != "head-age" and len(chosen) < count:
            chosen.setdefault(axis, str(name))
    return list(chosen.values())


def _pick(rng: np.random.Generator, colours: tuple[RGB, ...], spread: float) -> RGB:
    colour = np.array(colours[rng.integers(len(colours))]) + rng.uniform(-spread, spread)
    red, green, blue = np.clip(colour, 12, 244).tolist()
    return red, green, blue


def _lips(skin: RGB, strength: float) -> RGB:
    """Skin drawn towards a darker red."""
    tone = np.array(skin)
    red, green, blue = (tone * (1 - strength) + strength * tone * np.array([0.86, 0.48, 0.54])).tolist()
    return red, green, blue


assert all(person in SHAPE_TARGETS for person in PEOPLE)
