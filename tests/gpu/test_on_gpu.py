"""What only a real GPU can show: kernels that are taken there, types, and that it computes what a CPU does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sampler_support import IDENTITY, REST, features, real_sampler
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from training_support import SMALL, SMALL_DIT

from moda.bench.gpu.strategies import run_workers
from moda.bench.steps import Bench, lightning_real
from moda.cli.hydra_app import compose
from moda.cli.train import resolve
from moda.data.share import Share
from moda.devices import exact_float32
from moda.interop.export import write_export
from moda.models.mmdit import MMDiT
from moda.training.base import build_module, manifest_of, mixed, on_device
from moda.training.checkpoints.masters import replicated
from moda.training.checkpoints.pieces import PieceReader, write_pieces
from moda.training.compilation import compile_blocks, why_not_compiled
from moda.training.faults.consensus import Consensus
from moda.training.faults.nonfinite import FLAGS, NonFiniteGuard

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]
GPU = torch.device("cuda", 0)
SPEAKERS = {"train": ("ann", "bob"), "val": ("cid",), "expert": ("dan", "eve")}
ON_GPU = ("trainer=gpu", "trainer.devices=1", "compile=false")
STAGES = [
    {"depth": 1, "groups": [["motion"], ["audio"], ["emotion"], ["identity"]]},
    {"depth": 1, "groups": [["motion"], ["audio", "emotion", "identity"]]},
    {"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]},
]

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(make_dataset, tmp_path: Path) -> Configure:
    """``configure(task, *overrides)``: a small training in bf16-mixed on the GPU, with a reader process."""
    dataset = make_dataset("data", layout="liveportrait70", identity_dim=63, frames=40, speakers=SPEAKERS)

    def make(task: str, *overrides: str) -> dict[str, Any]:
        common = (f"task={task}", *ON_GPU, f"data.path={dataset}", f"run_dir={tmp_path / 'run'}", *SMALL)
        small = {"dit": SMALL_DIT, "motion_vae": ()}.get(task, ("data.window=32",))  # judges look at several places
        return resolve(compose("train", [*common, *small, "data.num_workers=1", *overrides]))

    return make


def motion_vae(configure: Configure, folder: Path) -> Path:
    """Export of a motion VAE that has learned nothing."""
    config = configure("motion_vae", "task.module.latent_frames=100")
    module = build_module(config, manifest_of(config))
    data = Bench(config, module.manifest, 1, 1).data(module)
    write_export(folder, module.export(module.network.eval(), 0, config, data.train_shards))
    return folder


@pytest.mark.parametrize("task", ["motion_vae", "dit", "dit, latent", "sync_expert"])
def test_steps_of_each_task_are_finite(configure: Configure, tmp_path: Path, task: str) -> None:
    """Under Lightning, with a reader, pinned batches, the guard (which raises otherwise) and the average."""
    name, _, space = task.partition(", ")
    more = ["model.space=motion"] if name == "dit" else []
    if space:
        more = ["model.space=latent", f"model.motion_vae={motion_vae(configure, tmp_path / 'vae')}"]
    config = configure(name, *more)
    timing = lightning_real(Bench(config, manifest_of(config), steps=3, warmup=1))
    assert timing.seconds > 0 and timing.memory > 0


def test_a_step_of_the_pixel_judge_is_finite(configure: Configure) -> None:
    class Crops:
        """Mouths of noise."""

        def __init__(self) -> None:
            self.rng = np.random.default_rng(0)

        def frames(self, key: str) -> int:
            return 40

        def crops(self, key: str, start: int, stop: int) -> np.ndarray:
            return self.rng.integers(0, 255, (stop - start, 224, 224, 3), np.uint8)

        def sound(self, key: str) -> np.ndarray:
            return self.rng.integers(-9999, 9999, 640 * 40, np.int16)

    config = configure("syncnet")
    module = build_module(config, manifest_of(config))
    module.crops = Crops()  # type: ignore[assignment]
    batch = Bench(config, module.manifest, 1, 1).batch(module)
    module.to(GPU).train()
    module.on_fit_start()
    module.trainer = SimpleNamespace(precision="bf16-mixed", strategy=None, training=True)  # type: ignore[assignment]
    loss = module.training_step(module.transfer_batch_to_device(batch, GPU, 0), 0)
    loss.backward()
    assert torch.isfinite(torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None]))


def test_batches_are_pinned_and_come_over_as_they_were(configure: Configure) -> None:
    config = configure("dit", "model.space=motion")
    bench = Bench(config, manifest_of(config), 1, 1)
    module = bench.module()
    data = bench.data(module)
    strategy = SimpleNamespace(root_device=GPU)
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=strategy, accumulate_grad_batches=1, global_step=0, global_rank=0, world_size=1
    )
    batch = next(iter(data.train_dataloader()))
    assert batch["audio"].is_pinned() and batch["motion"].is_pinned()
    expected = next(iter(data.train_stream(Share(config["data"]["batch_size"]))))
    sent = on_device(batch, GPU)
    assert sent["motion"].device == GPU and sent["index"].device.type == "cpu"
    for name in ("motion", "valid", "emotion", "identity"):
        torch.testing.assert_close(sent[name].cpu(), expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_steps_after_a_resume(tmp_path: Path, fused: bool) -> None:
    """Fused kernels read the counter on the device; a host address there is an illegal access."""

    def stepped(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.ones(2, 4, device=GPU)).square().sum().backward()
        optimizer.step()

    def fresh() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Linear(4, 4).to(GPU)
        return network, torch.optim.AdamW(network.parameters(), lr=0.1, fused=fused)

    network, optimizer = fresh()
    stepped(network, optimizer)
    resumed, other = fresh()
    resumed.load_state_dict(network.state_dict())
    write_pieces(tmp_path, "optimizer", 0, replicated(network, optimizer).moments())
    replicated(resumed, other).load_moments(PieceReader(tmp_path, "optimizer"))
    assert other.state[resumed.weight]["step"].device.type == ("cuda" if fused else "cpu")
    stepped(network, optimizer)
    stepped(resumed, other)
    torch.testing.assert_close(resumed.weight, network.weight, rtol=0, atol=0)


def test_zero_trains_in_bf16(configure: Configure, tmp_path: Path) -> None:
    """Three steps of each stage, in processes of their own, all at once: what takes time is their start."""
    pytest.importorskip("deepspeed")

    configs = {stage: configure("dit", "model.space=motion", f"strategy=deepspeed_{stage}") for stage in (1, 2, 3)}

    def train(stage: int) -> float:
        folder = tmp_path / str(stage)
        return run_workers(configs[stage], steps=2, warmup=1, processes=1, folder=folder)["ms_a_step"]

    with ThreadPoolExecutor() as pool:
        running = {stage: pool.submit(train, stage) for stage in configs}
    for stage, done in running.items():
        assert done.result() > 0, stage


def network(width: int = 128) -> MMDiT:
    """Every kind of block, heads as wide as those of the published network, off the zeros that training starts with."""
    torch.manual_seed(0)
    made = MMDiT(70, 2, 16, 63, stages=STAGES, width=width, heads=width // 64)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.05)
    return made.to(GPU)


def outputs(model: MMDiT) -> dict[str, torch.Tensor]:
    """What it predicts in bf16-mixed for a window of 80 frames, and the gradients."""
    generator = torch.Generator(GPU).manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(4, *shape, device=GPU, generator=generator)

    with mixed("bf16-mixed", GPU):
        out = model(
            noise(80, 70),
            torch.full((4,), 500.0, device=GPU),
            audio=noise(80, 2, 16),
            identity=noise(63),
            emotion=torch.arange(4, device=GPU),
            previous_motion=noise(1, 70),
        )
    out.float().square().mean().backward()
    gradients = {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}
    return {"output": out.detach().float(), **gradients}


def test_attention_takes_the_flash_kernel() -> None:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # any other raises "No available kernel"
        found = outputs(network())
    assert all(torch.isfinite(value).all() for value in found.values())


def test_compiled_blocks_compute_what_eager_ones_do() -> None:
    plain, compiled = network(), network()
    if reason := why_not_compiled(compiled, 0, "gpu"):
        pytest.skip(reason)
    compile_blocks(compiled)
    ours, theirs = outputs(compiled), outputs(plain)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        error = (ours[name] - value).norm() / value.norm().clamp(min=1e-6)
        assert error < 0.03, (name, float(error))  # bfloat16 keeps 8 bits, and sums are in another order


@pytest.mark.parametrize("space", ["motion", "latent"])
def test_sampling_is_that_of_the_cpu(space: str) -> None:
    def sampled(device: str) -> np.ndarray:
        sampler = real_sampler(space)
        for part in (sampler.network, sampler.vae):
            if part is not None:
                part.to(device)
        return np.concatenate(list(sampler.sample(features(50), IDENTITY, 0, REST, seed=3)))

    with exact_float32(GPU):
        ours = sampled("cuda")
    np.testing.assert_allclose(ours, sampled("cpu"), rtol=0, atol=1e-3)


def test_the_guard_hears_of_a_loss_that_is_no_number(tmp_path: Path) -> None:
    guard = NonFiniteGuard(tmp_path, Consensus(("signal", *FLAGS)), 0, tmp_path)
    guard._losses = [torch.tensor(1.0, device=GPU), torch.tensor(float("nan"), device=GPU)]
    check = guard._begin(torch.ones((), device=GPU))
    assert check.arrived is not None and check.finite.is_pinned()
    assert check.read() == [True, False, True]
