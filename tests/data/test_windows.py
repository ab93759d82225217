from pathlib import Path

import numpy as np
import torch

from moda.data.schema import EMOTIONS, DatasetManifest
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import collate, cut_window, random_start, tiled_starts


def first_clip(dataset: Path) -> tuple[Clip, DatasetManifest]:
    shards = FeatureShards(dataset, "train")
    return next(iter(shards)), shards.manifest


def test_a_window_is_the_clip_normalised_with_aligned_sound(tiny_dataset: Path) -> None:
    clip, manifest = first_clip(tiny_dataset)
    window = cut_window(clip, start=10, window=16, previous=4, statistics=manifest.statistics)
    assert window["motion"].shape == (20, 59) and window["audio"].shape == (16, 1, 6)
    np.testing.assert_allclose(
        manifest.statistics.denormalize(window["motion"]), clip.motion[6:26], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(window["audio"], clip.audio[10:26])
    assert window["valid"].all()


def test_before_the_clip_stands_its_first_frame(tiny_dataset: Path) -> None:
    clip, manifest = first_clip(tiny_dataset)
    motion = cut_window(clip, start=1, window=8, previous=4, statistics=manifest.statistics)["motion"]
    first = manifest.statistics.normalize(clip.motion[:1])
    np.testing.assert_array_equal(motion[:4], np.repeat(first, 4, 0))
    assert not np.array_equal(motion[4], motion[3])


def test_frames_after_the_clip_are_invalid(tiny_dataset: Path) -> None:
    clip, manifest = first_clip(tiny_dataset)
    window = cut_window(clip, start=0, window=clip.num_frames + 5, previous=2, statistics=manifest.statistics)
    assert window["valid"].sum() == clip.num_frames + 2
    assert not window["valid"][-5:].any()
    np.testing.assert_array_equal(window["motion"][-5:], np.repeat(window["motion"][-6:-5], 5, 0))


def test_at_the_mean_scale_size_is_that_of_the_clips_first_frame(make_dataset) -> None:
    clip, manifest = first_clip(make_dataset(layout="liveportrait70"))
    statistics = manifest.statistics
    ratio = clip.motion[0, 63] / statistics.mean[63]
    cut = cut_window(clip, start=10, window=16, previous=1, statistics=statistics, reference_scale=True)
    plain = cut_window(clip, start=10, window=16, previous=1, statistics=statistics)
    motion = statistics.denormalize(cut["motion"])
    np.testing.assert_allclose(motion[:, 63:67], clip.motion[9:26, 63:67] / ratio, rtol=1e-3, atol=1e-4)
    others = [*range(63), 67, 68, 69]
    np.testing.assert_array_equal(cut["motion"][:, others], plain["motion"][:, others])


def test_random_start_depends_on_seed_epoch_and_key_and_reaches_every_place() -> None:
    starts = {random_start(0, epoch, "clip", 20, 16) for epoch in range(200)}
    assert starts == set(range(5))
    assert random_start(3, 7, "clip", 500, 16) == random_start(3, 7, "clip", 500, 16)
    assert len({random_start(seed, 0, "clip", 10_000, 16) for seed in range(20)}) > 15
    assert len({random_start(0, 0, f"clip{i}", 10_000, 16) for i in range(20)}) > 15
    assert random_start(0, 0, "short", 5, 16) == 0


def test_tiles_lie_end_to_end() -> None:
    assert list(tiled_starts(50, 16)) == [0, 16, 32]
    assert list(tiled_starts(48, 16)) == [0, 16, 32]
    assert list(tiled_starts(5, 16)) == [0]


def test_collate_stacks(tiny_dataset: Path) -> None:
    clips = list(FeatureShards(tiny_dataset, "train"))[:3]
    statistics = DatasetManifest.load(tiny_dataset).statistics
    batch = collate([cut_window(clip, 0, 8, 1, statistics) for clip in clips])
    assert batch["motion"].shape == (3, 9, 59) and batch["motion"].dtype == torch.float32
    assert batch["valid"].dtype == torch.bool and batch["audio"].dtype == torch.float16
    assert batch["key"] == [clip.key for clip in clips]
    # the first clip's emotion is unknown: the null class
    assert batch["emotion"].tolist() == [len(EMOTIONS), 1, 2] and batch["start"].dtype == torch.long
