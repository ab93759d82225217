"""What the mouth does for each phone: targets on the ARKit curves and how strongly it insists on them.

Our own table, after phonetics textbooks and the ARKit curves' definitions. ``stretch``, ``smile``,
``upper_up``, ``lower_down`` and ``press`` act on both sides alike.
"""

from dataclasses import dataclass

from moda.synthesis.lexicon import SILENCE

# articulator -> the ARKit curves it drives
ARTICULATORS = {
    "jaw": ("jawOpen",),
    "funnel": ("mouthFunnel",),
    "pucker": ("mouthPucker",),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "upper_up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "lower_down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "roll_lower": ("mouthRollLower",),
    "roll_upper": ("mouthRollUpper",),
    "press": ("mouthPressLeft", "mouthPressRight"),
    "tongue": ("tongueOut",),
}

# seconds over which an articulator anticipates a phone and carries it over; rounding reaches furthest
ANTICIPATION = {"jaw": 0.060, "funnel": 0.090, "pucker": 0.090}
CARRY_OVER = {"jaw": 0.055, "funnel": 0.065, "pucker": 0.065}
DEFAULT_REACH = 0.040

# articulators that part the lips: what a closure takes back
OPENING = ("funnel", "upper_up", "lower_down")

BILABIALS = frozenset(("P", "B", "M"))


@dataclass(frozen=True)
class Viseme:
    """targets: articulator -> 0..1, others 0. The strengths weigh it against its neighbours."""

    targets: dict[str, float]
    jaw_strength: float
    lip_strength: float


def _viseme(jaw_strength: float, lip_strength: float, **targets: float) -> Viseme:
    assert targets.keys() <= ARTICULATORS.keys()
    return Viseme(targets, jaw_strength, lip_strength)


_OPEN = _viseme(1.0, 0.8, jaw=0.62, lower_down=0.25, upper_up=0.12)
_WIDE = _viseme(1.0, 0.8, jaw=0.52, stretch=0.18, smile=0.06, lower_down=0.28, upper_up=0.18)
_MID = _viseme(1.0, 0.6, jaw=0.36, lower_down=0.18, upper_up=0.10)
_HALF_OPEN = _viseme(1.0, 0.8, jaw=0.38, stretch=0.15, smile=0.08, lower_down=0.25, upper_up=0.14)
_ROUND_OPEN = _viseme(1.0, 1.0, jaw=0.50, funnel=0.32, lower_down=0.10)
_ROUND_MID = _viseme(1.0, 1.2, jaw=0.36, funnel=0.42, pucker=0.22)
_ROUND_CLOSE = _viseme(1.0, 1.4, jaw=0.16, funnel=0.30, pucker=0.62)
_ROUND_SOFT = _viseme(1.0, 1.0, jaw=0.24, funnel=0.26, pucker=0.22)
_SPREAD_HALF = _viseme(1.0, 0.8, jaw=0.24, stretch=0.20, smile=0.10, lower_down=0.20, upper_up=0.12)
_SPREAD = _viseme(1.0, 1.0, jaw=0.17, stretch=0.28, smile=0.20, lower_down=0.22, upper_up=0.12)
_RHOTIC = _viseme(0.9, 0.9, jaw=0.20, funnel=0.30, pucker=0.14)

_ALVEOLAR = _viseme(0.55, 0.20, jaw=0.14, lower_down=0.10)
_SIBILANT = _viseme(1.10, 0.60, jaw=0.07, stretch=0.18, lower_down=0.28, upper_up=0.14)
_PALATAL = _viseme(1.00, 1.00, jaw=0.10, funnel=0.48, pucker=0.16)
_VELAR = _viseme(0.35, 0.15, jaw=0.20)
_DENTAL = _viseme(0.70, 0.50, jaw=0.16, tongue=0.18, lower_down=0.14, upper_up=0.06)
_LABIODENTAL = _viseme(1.40, 2.00, jaw=0.06, roll_lower=0.50, upper_up=0.18)

# Diphthongs move from the first viseme to the second.
VISEMES: dict[str, tuple[Viseme, ...]] = {
    SILENCE: (_viseme(0.8, 0.5),),
    "AA": (_OPEN,), "AE": (_WIDE,), "AH": (_MID,), "AO": (_ROUND_OPEN,), "EH": (_HALF_OPEN,), "ER": (_RHOTIC,),
    "IH": (_SPREAD_HALF,), "IY": (_SPREAD,), "UH": (_ROUND_SOFT,), "UW": (_ROUND_CLOSE,),
    "AW": (_OPEN, _ROUND_SOFT), "AY": (_OPEN, _SPREAD_HALF), "EY": (_HALF_OPEN, _SPREAD),
    "OW": (_ROUND_MID, _ROUND_CLOSE), "OY": (_ROUND_OPEN, _SPREAD_HALF),
    "P": (_viseme(0.40, 1.20, jaw=0.10, press=0.22, roll_lower=0.10, roll_upper=0.08),),
    "B": (_viseme(0.40, 1.20, jaw=0.12, press=0.16, roll_lower=0.08, roll_upper=0.06),),
    "M": (_viseme(0.40, 1.20, jaw=0.12, press=0.12, roll_lower=0.10, roll_upper=0.08),),
    "F": (_LABIODENTAL,), "V": (_LABIODENTAL,),
    "TH": (_DENTAL,), "DH": (_DENTAL,),
    "T": (_ALVEOLAR,), "D": (_ALVEOLAR,), "N": (_ALVEOLAR,),
    "S": (_SIBILANT,), "Z": (_SIBILANT,),
    "SH": (_PALATAL,), "ZH": (_PALATAL,), "CH": (_PALATAL,), "JH": (_PALATAL,),
    "K": (_VELAR,), "G": (_VELAR,), "NG": (_VELAR,),
    "HH": (_viseme(0.15, 0.10, jaw=0.24),),
    "L": (_viseme(0.55, 0.30, jaw=0.22, lower_down=0.12, tongue=0.04),),
    "R": (_viseme(0.70, 0.90, jaw=0.15, funnel=0.32, pucker=0.20),),
    "W": (_viseme(0.90, 1.60, jaw=0.08, funnel=0.22, pucker=0.68),),
    "Y": (_viseme(0.80, 0.60, jaw=0.13, stretch=0.22, smile=0.12),),
}  # fmt: skip
