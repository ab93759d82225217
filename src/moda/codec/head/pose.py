"""Head pose and identity from face landmarks.

The camera MediaPipe assumes (a vertical field of view of 63 degrees) is not that of a crop, so its
pose matrix is not used: pose is the similarity that carries a template of the landmarks onto the
measured ones, in the weak perspective in which the landmarks are given.
"""

from dataclasses import dataclass

import numpy as np

from moda.codec.head.correspondence import load_landmarks
from moda.motion.rotation import euler_angles

# Eye corners, brows, bridge, tip, base and wings of the nose, corners and middles of the lips, chin,
# jaw, cheeks, forehead.
KEY_LANDMARKS = (33, 133, 362, 263, 70, 105, 334, 300, 168, 1, 2, 129, 358, 61, 291, 0, 17, 152, 172, 397, 10)

# The landmarker tells less than the full pitch of a head. Measured on 600 rendered heads over +-12
# degrees, turned and tilted as well: true pitch = measured pitch times this.
PITCH_GAIN = 1.3


@dataclass(frozen=True, eq=False)
class HeadPose:
    """angles: (3,) pitch, yaw, roll in degrees; scale; translation: (2,) in half image widths."""

    angles: np.ndarray
    scale: float
    translation: np.ndarray


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Least-squares s, R, t with target = s source R + t for rows (N, 3); Umeyama, PAMI 1991."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred = source - source_mean
    left, values, right = np.linalg.svd(centred.T @ (target - target_mean))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / (centred**2).sum())
    return scale, rotation, target_mean - scale * source_mean @ rotation


def measure_pose(points: np.ndarray) -> HeadPose:
    """Pose of a face from its landmarks (478, 3) in half image widths, +x right, +y down, +z away."""
    known = load_landmarks()
    scale, rotation, translation = similarity(known.template[known.rigid], points[known.rigid])
    angles = euler_angles(rotation) * np.array([PITCH_GAIN, 1.0, 1.0])
    return HeadPose(angles, scale, translation[:2])


def unpose(points: np.ndarray) -> np.ndarray:
    """Landmarks (478, 3) carried back onto the template: in head units, looking straight ahead."""
    known = load_landmarks()
    scale, rotation, translation = similarity(known.template[known.rigid], points[known.rigid])
    return (points - translation) @ rotation.T / scale


def identity_vector(unposed: np.ndarray) -> np.ndarray:
    """(63,) float32: the 21 key landmarks of unposed ones (478, 3), centred, outer eye corners 1 apart."""
    keys = unposed[list(KEY_LANDMARKS)]
    width = np.linalg.norm(unposed[263] - unposed[33])
    return ((keys - keys.mean(0)) / width).astype(np.float32).ravel()
