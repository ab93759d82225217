"""How much of its codebook a quantising motion VAE uses."""

from collections.abc import Sequence

import numpy as np
import torch

from moda.eval.motion.clips import HeldOutClip
from moda.interop.export import Export
from moda.models.bottlenecks import FiniteScalarQuantizer, codebook_use


def codebook_notes(export: Export, clips: Sequence[HeldOutClip]) -> list[str]:
    """How much of its codebook a quantising motion VAE uses on the clips, for the report; nothing for another."""
    bottleneck = getattr(export.vae, "bottleneck", None)
    if not isinstance(bottleneck, FiniteScalarQuantizer):
        return []
    motions = [torch.from_numpy(export.statistics.normalize(clip.clip.motion).astype(np.float32)) for clip in clips]
    whole = [motion[: len(motion) // export.vae.stride * export.vae.stride] for motion in motions]
    device = export.vae.latent_mean.device
    with torch.inference_mode():
        latents = torch.cat([export.vae.encode(motion[None].to(device))[0][0] for motion in whole])  # (n, Z)
    share, perplexity = codebook_use(bottleneck.codes(latents), bottleneck.codebook_size)
    return [
        f"codebook: {share:.0%} of {bottleneck.codebook_size} codes occur in {len(latents)} latents of these clips, "
        f"with a perplexity of {perplexity:.0f}"
    ]
