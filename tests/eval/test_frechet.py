"""FID and FVD as users of torchmetrics hold them, and as two processes share them."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_rule import by_rule
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance

from moda.errors import UserError
from moda.eval.distances import frechet_distance
from moda.eval.frechet import FID, FVD, Features
from moda.eval.moments import Moments
from moda.eval.networks import FIDInception

WIDTH = 6

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")


class Pooled(nn.Module):
    """Frames (B, 3, H, W) or clips (B, 3, T, H, W) to two small outputs; double, to show the metric's own digits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(12, WIDTH, dtype=torch.float64))
        self.dropout = nn.Dropout()

    def forward(self, inputs):
        pooled = inputs.double().flatten(2).unflatten(2, (4, -1)).mean(-1).flatten(1) / 255  # (B, 12)
        features = torch.tanh(self.dropout(pooled) @ self.weight)
        return {"2048": features, "logits": 2 * features}


def frames(n, seed=0, most=256):
    return torch.randint(0, most, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def filled(metric, real, generated, batch=7):
    for part in real.split(batch):
        metric.update(part, real=True)
    for part in generated.split(batch):
        metric.update(part, real=False)
    return metric


def test_fid_agrees_with_the_class_of_torchmetrics_on_the_same_network():
    features = Features(Pooled(), "2048", WIDTH)
    theirs = filled(FrechetInceptionDistance(feature=features), frames(90), frames(70, 1, 200))
    ours = filled(FID(Pooled(), num_features=WIDTH), frames(90), frames(70, 1, 200))
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-6)
    assert float(ours.compute()) > 1e-3


@pytest.mark.slow
def test_fid_of_the_whole_network_agrees_with_the_class_of_torchmetrics():
    """The network of FID, all its layers, in both classes: what a user who has the official file computes."""
    network = by_rule(FIDInception)
    generator = torch.Generator().manual_seed(0)
    patches = (torch.randint(0, most, (4, 3, 2, 2), dtype=torch.uint8, generator=generator) for most in (256, 128))
    real, other = (patch.repeat_interleave(16, 2).repeat_interleave(16, 3) for patch in patches)
    theirs = filled(FrechetInceptionDistance(feature=Features(network, "logits_unbiased", 1008)), real, other)
    ours = filled(FID(network, feature="logits_unbiased", num_features=1008), real, other)
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-4)
    assert float(ours.compute()) > 1e-7  # random weights tell pictures apart by little


def test_features_from_a_cache_are_as_good_as_frames():
    features = Features(Pooled(), "2048", WIDTH)
    by_frames = filled(FID(Pooled(), num_features=WIDTH), frames(40), frames(30, 1))
    by_features = filled(FID(num_features=WIDTH), features(frames(40)), features(frames(30, 1)), batch=3)
    assert float(by_features.compute()) == pytest.approx(float(by_frames.compute()), rel=1e-9)
    assert by_frames.compute().dtype == torch.float64 and by_frames.compute().ndim == 0


def test_fvd_takes_clips_and_its_own_output():
    clips = frames(40)[:, :, None].expand(-1, -1, 4, -1, -1)
    other = frames(40, 1, 128)[:, :, None].expand(-1, -1, 4, -1, -1)
    fvd = filled(FVD(Pooled(), num_features=WIDTH), clips, other)
    logits = Features(Pooled(), "logits", WIDTH)
    assert float(fvd.compute()) == pytest.approx(
        frechet_distance(Moments.of(logits(clips)), Moments.of(logits(other))), rel=1e-9
    )
    assert float(filled(FVD(Pooled(), num_features=WIDTH), clips, clips).compute()) == pytest.approx(0, abs=1e-9)
    assert FVD().moments(real=True).dimensions == 400 and FID().moments(real=True).dimensions == 2048


def test_the_network_stays_frozen_and_in_evaluation_inside_a_module_that_trains():
    fid = FID(Pooled(), num_features=WIDTH)
    module = nn.ModuleList([fid]).train()
    assert not any(parameter.requires_grad for parameter in module.parameters())
    first, second = (filled(fid, frames(30), frames(30, 1)).compute() for _ in range(2))
    assert float(second) == pytest.approx(float(first), rel=0.1)  # no dropout: only n - 1 differs
    assert fid.network is not None and torch.equal(fid.network(frames(5)), fid.network(frames(5)))


def test_reset_forgets_and_can_keep_the_reference():
    fid = filled(FID(num_features=3), torch.randn(20, 3), torch.randn(10, 3))
    fid.reset()
    assert fid.moments(real=True).count == fid.moments(real=False).count == 0
    keeping = filled(FID(num_features=3, reset_real_features=False), torch.randn(20, 3), torch.randn(10, 3))
    keeping.reset()
    assert keeping.moments(real=True).count == 20 and keeping.moments(real=False).count == 0


def test_copies_collections_and_merged_states_work_as_for_any_torchmetric():
    real, generated = torch.randn(40, 3), torch.randn(40, 3) + 1
    whole = filled(FID(num_features=3), real, generated)
    left, right = (
        filled(FID(num_features=3), real[:15], generated[:30]),
        filled(FID(num_features=3), real[15:], generated[30:]),
    )
    before = left.moments(real=True).packed.clone()
    copied = copy.deepcopy(left)
    copied.merge_state(right)
    assert float(copied.compute()) == pytest.approx(float(whole.compute()), rel=1e-9)
    assert torch.equal(left.moments(real=True).packed, before)
    collection = MetricCollection({"a": FID(num_features=3), "b": FID(num_features=3)})
    collection.update(real, real=True)
    collection.update(generated, real=False)
    assert {float(value) for value in collection.compute().values()} == {
        float(filled(FID(num_features=3), real, generated, 40).compute())
    }


def test_moments_stay_in_double():
    fid = FID(num_features=3)
    fid.half().float()
    filled(fid, torch.randn(9, 3).half(), torch.randn(9, 3).bfloat16())
    assert fid.moments(real=True).packed.dtype == torch.float64
    assert fid.set_dtype(torch.float64).compute().isfinite()
    with pytest.raises(UserError, match="sums in float64"):
        fid.set_dtype(torch.float16)


def test_what_cannot_be_scored_is_said():
    fid = FID(Pooled(), num_features=WIDTH)
    with pytest.raises(UserError, match="needs \\(B, 3, H, W\\) or features"):
        fid.update(torch.zeros(2, 3, 4, 8, 8), real=True)
    with pytest.raises(UserError, match="and no network"):
        FID(num_features=3).update(frames(2), real=True)
    with pytest.raises(UserError, match=r"\(batch, 7\), not \(2, 6\)"):
        FID(Pooled(), num_features=WIDTH + 1).update(frames(2), real=True)
    with pytest.raises(UserError, match="Pooled gives 2048, logits, no 'pool3'"):
        FID(Pooled(), num_features=WIDTH, feature="pool3").update(frames(2), real=True)
    with pytest.raises(UserError, match="b.mp4"):
        fid.update(torch.tensor([[0.0] * WIDTH, [float("nan")] * WIDTH]), real=True, names=["a.mp4", "b.mp4"])
    fid.update(frames(1), real=True)
    with pytest.raises(UserError, match="not 1 real and 0 generated"):
        fid.compute()
    fid.reset()
    with pytest.warns(UserWarning, match="FID: 5 features are too few for 6 dimensions"):
        filled(fid, frames(9), frames(5)).compute()


RANK = """
import sys
import torch
import torch.distributed as dist
from moda.eval.frechet import FID

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
real, generated = (torch.randn(101, 5, generator=generator, dtype=torch.float64) + mean for mean in (1e4, 1e4 + 1))
fid = FID(num_features=5)
values = []
for of_rank_0 in (40, 101):  # uneven shares, then a rank that has seen nothing
    share = slice(0, of_rank_0) if rank == 0 else slice(of_rank_0, 101)
    for batch in real[share].split(8 + rank):
        fid.update(batch, real=True)
    for batch in generated[share].split(5 + rank):
        fid.update(batch, real=False)
    local = fid.moments(real=True).count
    values.append(fid.compute().item())
    assert fid.moments(real=True).count == local == len(real[share])
    with fid.sync_context():
        assert fid.moments(real=False).count == 101
    fid.reset()
print(*map(repr, values))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_compute_the_number_of_one(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")], stdout=-1, stderr=-1, text=True
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    generator = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(101, 5, generator=generator, dtype=torch.float64) + mean for mean in (1e4, 1e4 + 1))
    expected = frechet_distance(Moments.of(real), Moments.of(generated))
    for out, err in outputs:
        assert [float(value) for value in out.split()] == pytest.approx([expected] * 2, rel=1e-9), err
    assert outputs[0][0] == outputs[1][0]
