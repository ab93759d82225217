"""The contrastive loss of a sync network; pure functions."""

import torch
import torch.nn.functional as F

SHARPNESS = 5.0  # of the softmax, per mean distance: the scale of the embeddings is the network's own
WITHIN = 0.7  # weight of the negatives of the same clip


def sync_contrast(
    video: torch.Tensor, audio: torch.Tensor, clip: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric InfoNCE (van den Oord et al., 2018) by the L2 distance that Sync-D is measured in.

    video, audio: (N, D) embeddings of windows, row i of both from the same time of the same clip; clip: (N,)
    which; valid: (N,) bool. Twice: against windows of the same clip at other times (shifted sound), and
    against all other windows (swapped sound). Against all alone a network learns whose voice goes with
    whose face, which is easier and says nothing about time.

    Returns the loss of each valid row (N,), 0 elsewhere, and whether a row finds its own sound in its clip,
    (N,) bool.
    """
    distances = torch.cdist(video.float(), audio.float())  # (N, N)
    pairs = valid[:, None] & valid[None]
    scale = (distances.detach() * pairs).sum() / pairs.sum().clamp(min=1)
    logits = -SHARPNESS * distances / scale.clamp(min=1e-6)
    same = pairs & (clip[:, None] == clip[None])
    losses = WITHIN * _symmetric(logits, same, valid) + (1 - WITHIN) * _symmetric(logits, pairs, valid)
    own = torch.arange(len(video), device=video.device)
    found = logits.masked_fill(~same, -torch.inf).argmax(1) == own
    return losses, found & valid


def _symmetric(logits: torch.Tensor, pairs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Cross entropy (N,) of each row and column with its own place among ``pairs`` (N, N), 0 where not valid."""
    own = torch.arange(len(logits), device=logits.device)
    pairs = pairs | torch.eye(len(logits), dtype=torch.bool, device=logits.device)  # no row without a choice
    losses = sum(
        F.cross_entropy(direction.masked_fill(~choice, -torch.inf), own, reduction="none")
        for direction, choice in ((logits, pairs), (logits.T, pairs.T))
    )
    return torch.where(valid, losses / 2, 0.0)
