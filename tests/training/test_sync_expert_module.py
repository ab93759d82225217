"""The sync expert learns on speakers of its own, and is refused where they are not."""

import numpy as np
import pytest
import torch

from moda.data.schema import DatasetManifest
from moda.data.shards import FeatureShards
from moda.errors import UserError
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import load_export
from moda.interop.sync_expert import load_sync_expert
from moda.training import run
from moda.training.tracking.metrics import last_metrics

SPEAKERS = {"train": ("ann", "bob"), "val": ("cid",), "test": ("dan",), "expert": ("eve", "fay", "gus", "hal")}
SMALL_EXPERT = (
    "task=sync_expert", "data.window=40", "data.batch_size=4", "trainer.max_steps=6", "trainer.val_check_interval=3",
    "checkpoint.every=3", "preview.every=0", "logger=none", "optimizer.warmup_steps=0", "model.network.width=32",
    "model.network.dilations=[1,2]", "task.module.windows=4",
)  # fmt: skip


@pytest.fixture
def expert_of(make_dataset, compose_train, tmp_path):
    """``expert_of(*overrides)``: a run of a small expert on a data set that sets speakers apart; (run, data set)."""

    def train(*overrides: str, speakers=SPEAKERS):
        root = make_dataset(speakers=speakers, clips=4)
        path = run.train(
            compose_train(*SMALL_EXPERT, f"data.path={root}", f"run_dir={tmp_path / 'expert'}", *overrides)
        )
        return path, root

    return train


def test_it_tells_its_own_sound_from_others(expert_of) -> None:
    path, root = expert_of(
        "trainer.max_steps=150",
        "optimizer.lr=3e-3",
        "ema.decay=0.9",
        "checkpoint.every=150",
        "trainer.val_check_interval=50",
    )
    export = load_export(path)
    assert export.task == "sync_expert" and export.speakers == ["eve", "fay", "gus", "hal"]
    assert last_metrics(path / "metrics.jsonl")["val/found"] > 0.5  # of 4 windows, of a speaker it has not heard
    expert = export.network
    assert expert.matched > expert.mismatched + 0.2
    clip = next(iter(FeatureShards(root, "test")))
    motion, audio = torch.from_numpy(clip.motion)[None], torch.from_numpy(clip.audio.astype(np.float32))[None]
    sound = expert.embed_audio(audio)[0]
    agreement = (expert.embed_motion(motion)[0] @ sound.T).diagonal().mean()
    late = (expert.embed_motion(motion.roll(12, 1))[0] @ sound.T).diagonal().mean()
    assert agreement > late + 0.2


def test_it_is_refused_for_other_encoders_and_for_what_is_no_expert(expert_of, make_dataset, tmp_path) -> None:
    path, root = expert_of()
    identity = MotionIdentity.of(DatasetManifest.load(root))
    assert load_sync_expert(path, identity, "it")[0].window == 7
    other = MotionIdentity(identity.statistics, identity.codec_fingerprint, "audio-1")
    with pytest.raises(UserError, match=r"judges another speech encoder \(audio-0\) than it has \(audio-1\)"):
        load_sync_expert(path, other, "it")


def test_windows_that_do_not_fit_and_a_missing_split_are_named(expert_of) -> None:
    with pytest.raises(UserError, match=r"windows=40: must be at least 2"):
        expert_of("task.module.windows=40")
    with pytest.raises(UserError, match="no 'expert' split, only test, train, val"):
        expert_of(speakers={name: SPEAKERS[name] for name in ("train", "val", "test")})
