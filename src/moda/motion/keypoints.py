"""From motion of layout liveportrait70 to keypoints in the picture, differentiable."""

import torch

KEYPOINTS = 21


def rotation_matrices(angles: torch.Tensor) -> torch.Tensor:
    """Pitch, yaw and roll in degrees (..., 3) to matrices (..., 3, 3) for row vectors; ``rotation.rotation_matrix`` in torch."""
    (cp, cy, cr), (sp, sy, sr) = (f(torch.deg2rad(angles)).unbind(-1) for f in (torch.cos, torch.sin))
    rows = (
        (cy * cr, cy * sr, -sy),
        (sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy),
        (cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def transform_keypoints(
    canonical: torch.Tensor,
    expression: torch.Tensor,
    scale: torch.Tensor,
    translation: torch.Tensor,
    angles: torch.Tensor,
) -> torch.Tensor:
    """x = s (x_c R + delta) + t, with x and y of t only: (..., 21, 3) in half picture widths, +x right, +y down, +z inward.

    canonical, expression: (..., 21, 3). scale: (..., 1). translation: (..., 3). angles: (..., 3) degrees.
    Shapes broadcast. LivePortrait (Guo et al., 2024), equation 2; its inference leaves out the z of t.
    """
    shift = torch.nn.functional.pad(translation[..., :2], (0, 1))
    return scale[..., None] * (canonical @ rotation_matrices(angles) + expression) + shift[..., None, :]


def motion_keypoints(motion: torch.Tensor, canonical: torch.Tensor) -> torch.Tensor:
    """Keypoints (..., 21, 3) of motion (..., 70) in the layout's units, for a face of ``canonical`` (..., 21, 3)."""
    expression, scale, translation, angles = motion.split([3 * KEYPOINTS, 1, 3, 3], -1)
    return transform_keypoints(canonical, expression.unflatten(-1, (KEYPOINTS, 3)), scale, translation, angles)
