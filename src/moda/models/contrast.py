"""The contrastive loss of a sync network; pure functions."""

import torch
import torch.nn.functional as F

SHARPNESS = 5.0  # of the softmax, per mean distance: the scale of the embeddings is the network's own


def sync_contrast(video: torch.Tensor, audio: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric InfoNCE (van den Oord et al., 2018) by the L2 distance that Sync-D is measured in.

    video, audio: (N, D) embeddings of windows, row i of both from the same time of the same clip; valid:
    (N,) bool. Every other row is a negative: windows of the same clip at another time (shifted sound) and
    of other clips (swapped sound). Returns the loss of each valid row (N,), 0 elsewhere, and whether a row
    finds its own sound, (N,) bool.
    """
    distances = torch.cdist(video.float(), audio.float())  # (N, N)
    pairs = valid[:, None] & valid[None]
    scale = (distances.detach() * pairs).sum() / pairs.sum().clamp(min=1)
    logits = -SHARPNESS * distances / scale.clamp(min=1e-6)
    own = torch.arange(len(video), device=video.device)
    losses = sum(
        F.cross_entropy(
            torch.where(valid[:, None], direction.masked_fill(~valid, -torch.inf), 0.0), own, reduction="none"
        )
        for direction in (logits, logits.T)
    )
    found = logits.masked_fill(~valid, -torch.inf).argmax(1) == own
    return torch.where(valid, losses / 2, 0.0), found & valid
