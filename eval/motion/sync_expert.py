"""Rows judged by a sync expert: do the lips agree with the clip's own sound, and at which offset best?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from moda.eval.metrics.base import Column, Score, mean_score
from moda.eval.motion.clips import HeldOutClip
from moda.eval.takes import Take
from moda.interop.export import Export
from moda.interop.sync_expert import load_sync_expert, shared_speakers
from moda.models.sync_expert import SyncExpert

REACH = 15  # frames that sound is shifted by, either way

COLUMNS = {
    "expert_agreement": Column(
        "agreement by the sync expert",
        "cosine of lips and sound in the space of a sync expert, on the scale where 1 is what it finds for real "
        "lips with their own sound and 0 with other sound",
        "lips and sound",
        better="truth",
    ),
    "expert_offset": Column(
        "|offset| by the sync expert",
        f"how far the sound must be shifted, at most {REACH} frames, to agree best with the lips",
        "lips and sound",
        unit="frames",
        better="0",
    ),
}


def sync_scores(
    expert: SyncExpert, clips: Sequence[HeldOutClip], takes: Sequence[Sequence[Take]], seed: int = 0
) -> dict[str, Score]:
    """One row's takes (of each clip) against the clips' own sound, within the speech."""
    agreements: dict[str, float] = {}
    offsets: dict[str, float] = {}
    for clip, performed in zip(clips, takes, strict=True):
        found = [curve for take in performed if (curve := offset_curve(expert, clip, take)) is not None]
        if found:
            low, high = float(expert.mismatched), float(expert.matched)
            agreements[clip.key] = float(np.mean([curve[REACH] - low for curve in found])) / max(high - low, 1e-3)
            offsets[clip.key] = float(np.mean([abs(int(curve.argmax()) - REACH) for curve in found]))
    return {
        "expert_agreement": mean_score(agreements, seed=seed),
        "expert_offset": mean_score(offsets, seed=seed),
    }


@torch.inference_mode()
def offset_curve(expert: SyncExpert, clip: HeldOutClip, take: Take) -> np.ndarray | None:
    """(2 REACH + 1,) mean agreement with the sound shifted by -REACH .. REACH frames; None for too short a speech."""
    device = expert.matched.device
    motion = torch.from_numpy(take.motion[take.speech]).float().to(device)
    audio = torch.from_numpy(clip.clip.audio[take.speech].astype(np.float32)).to(device)
    if len(motion) < expert.window + 2 * REACH:
        return None
    lips, sound = expert.embed_motion(motion[None])[0], expert.embed_audio(audio[None])[0]
    middle = lips[REACH : len(lips) - REACH]
    agreement = [(middle * sound[shift : shift + len(middle)]).sum(-1).mean() for shift in range(2 * REACH + 1)]
    return torch.stack(agreement).cpu().numpy()


def load_judge(path: Path, export: Export, split_speakers: Sequence[str]) -> tuple[SyncExpert, list[str]]:
    """The expert that judges a run's motion, and what a reader should know about it."""
    expert, judged_by = load_sync_expert(path, export.identity, "the run")
    notes = []
    if shared := shared_speakers(judged_by, split_speakers):
        notes.append(f"the sync expert was trained on speakers that are scored: {', '.join(shared)}")
    loss = export.config.get("loss") or {}
    if loss.get("sync") and loss.get("sync_expert"):
        notes.append(
            "the run was trained with a sync expert in its loss: one of other weights and speakers judges it better"
        )
    return expert, notes
