"""Where the embeddings of a sync network lie: no distance among them says it, and the published score asks for it.

Beyond the ends of a clip Sync-C and Sync-D take the sound to be the zero vector (``moda.eval.sync``). Training
compares mouths with sounds alone, so it leaves open how far zero is: nearer than any wrong sound, as it turns
out, and then the curve of a short clip falls towards its ends whatever is heard.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from moda.audio.encoder import SAMPLES_PER_FRAME
from moda.errors import UserError
from moda.eval.networks.syncnet import FRAMES, SyncNet
from moda.eval.sync import embed_frames, embed_sound
from moda.training.sync_crops import SyncCrops

CLIPS, LONGEST = 6, 30  # that are looked at, evenly over the split; frames from the middle of each
APART = 5  # windows: another time's sound
BISECTIONS = 60


@torch.inference_mode()
def calibrate(network: SyncNet, store: SyncCrops, keys: Sequence[str]) -> None:
    """Add a constant to both embeddings of ``network``, in place, so that zero is as far away as a wrong sound.

    keys: of the clips to look at. Raises UserError where all of them are too short.
    """
    frames = {key: count for key in keys if (count := store.frames(key)) > APART + FRAMES}
    if not frames:
        raise UserError(f"no validation clip shows a face for more than {APART + FRAMES} frames, which a SyncNet needs")
    mouths, sounds = [], []
    for key in list(frames)[:: -(-len(frames) // CLIPS)]:
        count = min(frames[key], LONGEST)
        start = (frames[key] - count) // 2
        mouths.append(embed_frames(store.crops(key, start, start + count), network))
        sounds.append(embed_sound(store.sound(key)[start * SAMPLES_PER_FRAME :], len(mouths[-1]), network))
    offset = neutral_offset(mouths, sounds)
    for head in (network.netfcaud, network.netfclip):
        last = head[-1]
        assert isinstance(last, nn.Linear)
        last.bias.add_(offset)


def neutral_offset(mouths: Sequence[Tensor], sounds: Sequence[Tensor], apart: int = APART) -> Tensor:
    """What brings zero as far from a mouth as the sounds of other times of its clip are, added to every embedding.

    mouths, sounds: of each clip (N, C), row by row of the same time; ``apart`` rows away it is another time.
    Returns (C,) along the mean mouth. No distance of mouth and sound changes.
    """
    target = torch.cat([_wrong(*pair, apart) for pair in zip(mouths, sounds, strict=True)]).mean()
    all_mouths = torch.cat(list(mouths))
    mean = all_mouths.mean(0)
    direction = normalize(mean, dim=0)
    low, high = -mean.norm(), target  # between the mouths' middle and beyond the target the distance rises
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if (all_mouths + middle * direction).norm(dim=1).mean() > target:
            high = middle
        else:
            low = middle
    return low * direction


def _wrong(mouths: Tensor, sounds: Tensor, apart: int) -> Tensor:
    """Distances of mouths to the sounds of other times."""
    times = torch.arange(len(mouths), device=mouths.device)
    return torch.cdist(mouths, sounds)[(times[:, None] - times).abs() >= apart]
