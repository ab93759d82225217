"""Outputs of LivePortrait's own networks on weights and inputs of ``golden_rule``: mean, standard deviation, twelve values."""

from collections.abc import Callable

import numpy as np
from golden_rule import SALT, by_rule, normal_input, uniform_input
from torch import Tensor

from moda.codec.liveportrait.networks import KINDS

# which values of an output are kept, before twelve are taken evenly from them
STRIDES = {
    "appearance_feature_extractor.out": (1, 4, 4, 8, 8),
    "warping_module.out": (1, 8, 8, 8),
    "warping_module.occlusion_map": (1, 1, 4, 4),
    "warping_module.deformation": (1, 4, 8, 8, 1),
    "spade_generator.out": (1, 1, 8, 8),
}

Summary = tuple[float, float, list[float]]


def outputs(network: str, salt: str = SALT) -> dict[str, Tensor]:
    """What a network, with weights by rule, makes of the inputs by rule; by output name."""
    net = by_rule(KINDS[network], salt)
    if network in ("stitching", "lip", "eye"):
        width = {"stitching": 126, "lip": 65, "eye": 66}[network]
        return {f"stitching_retargeting_module.{network}": net(normal_input(f"{network}_in", (2, width), salt))}
    calls: dict[str, Callable[[], Tensor | dict[str, Tensor]]] = {
        "appearance_feature_extractor": lambda: net(uniform_input("image", (1, 3, 256, 256), salt)),
        "motion_extractor": lambda: net(uniform_input("image", (1, 3, 256, 256), salt)),
        "spade_generator": lambda: net(normal_input("spade_feature", (1, 256, 64, 64), salt)),
        "warping_module": lambda: net(normal_input("feature_volume", (1, 32, 16, 64, 64), salt), **keypoints(salt)),
    }
    made = calls[network]()
    made = made if isinstance(made, dict) else {"out": made}
    return {f"{network}.{name}": value for name, value in made.items()}


def keypoints(salt: str = SALT) -> dict[str, Tensor]:
    source = 0.4 * normal_input("kp_source", (1, 21, 3), salt)
    return {"kp_driving": source + 0.05 * normal_input("kp_delta", (1, 21, 3), salt), "kp_source": source}


def kept(name: str, output: np.ndarray) -> np.ndarray:
    """The twelve values of a full output."""
    stride = STRIDES.get(name)
    values = (output[tuple(slice(None, None, step) for step in stride)] if stride else output).ravel()
    return values[:: values.size // 12 | 1][:12]


def agrees(name: str, output: Tensor, golden: Summary) -> bool:
    """To 1e-4 of the standard deviation; of a single number, to 1e-4 of itself."""
    x = output.double().numpy()
    mean, std, values = golden
    unit = std if x.size > 1 else abs(mean)
    found = [x.mean(), x.std(ddof=1) if x.size > 1 else std, *kept(name, x)]
    return bool(np.abs(np.array(found) - np.array([mean, std, *values])).max() < 1e-4 * unit)
