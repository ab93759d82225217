"""What is recorded of a step, and what recording costs."""

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from moda.training import run
from moda.training.base import TrainingModule
from moda.training.tracking import recording
from moda.training.tracking.clock import FETCH, StepClock
from moda.training.tracking.metrics import read_metrics


def recorded(run_dir: Any) -> list[dict[str, float]]:
    return [line for line in read_metrics(run_dir / "metrics.jsonl") if "train/loss" in line]


def test_an_accumulated_step_is_recorded_as_the_same_step_in_one_piece(configure, tmp_path) -> None:
    run.train(configure("motion_vae", "whole"))
    run.train(configure("motion_vae", "parts", "trainer.accumulate_grad_batches=2"))
    whole, parts = recorded(tmp_path / "whole"), recorded(tmp_path / "parts")
    assert [line["step"] for line in parts] == [1, 2, 3, 4, 5, 6] == [line["step"] for line in whole]
    for one, other in zip(whole, parts, strict=True):
        for name in ("train/loss", "train/reconstruction", "train/error_lips", "train/gradient_norm", "lr"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), name


def test_only_due_steps_cost_a_collective_call(configure, tmp_path, monkeypatch) -> None:
    calls: list[int] = []
    gather = SingleDeviceStrategy.all_gather

    def counted(self: Any, tensor: torch.Tensor, *arguments: Any, **settings: Any) -> torch.Tensor:
        calls.append(self.lightning_module.global_step)
        return gather(self, tensor, *arguments, **settings)

    monkeypatch.setattr(SingleDeviceStrategy, "all_gather", counted)
    run.train(configure("motion_vae", "run", "trainer.log_every_n_steps=3"))
    assert calls == [3, 6] == [line["step"] for line in recorded(tmp_path / "run")]


def test_the_norm_is_that_of_the_gradients_before_clipping(configure, tmp_path, monkeypatch) -> None:
    norms: list[float] = []
    clip = TrainingModule.configure_gradient_clipping

    def measured(self: TrainingModule, *arguments: Any, **settings: Any) -> None:
        gradients = [p.grad.flatten() for p in self.network.parameters() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        clip(self, *arguments, **settings)

    monkeypatch.setattr(TrainingModule, "configure_gradient_clipping", measured)
    run.train(configure("motion_vae", "run", "trainer.gradient_clip_val=0.01"))
    lines = recorded(tmp_path / "run")
    assert [line["train/gradient_norm"] for line in lines] == pytest.approx(norms, rel=1e-5)
    assert min(norms) > 0.01


def test_speed_is_counted_over_the_steps_since_the_last_record(configure, tmp_path, monkeypatch) -> None:
    flops = 5e9
    monkeypatch.setattr(recording, "training_flops", lambda module, batch: flops)
    monkeypatch.setattr(recording, "peak_rate", lambda device, precision: 1e12)
    run.train(configure("motion_vae", "run", "trainer.log_every_n_steps=2"))
    for line in recorded(tmp_path / "run"):
        seconds = line["speed/step_ms"] / 1000
        assert line["speed/samples_per_second"] == pytest.approx(4 / seconds)
        assert line["speed/frames_per_second"] == pytest.approx(4 * 16 / seconds)
        assert line["speed/mfu"] == pytest.approx(flops / seconds / 1e12)
        assert 0 <= line["speed/data_wait"] < 1 and line["speed/peak_memory_gib"] > 0


def test_the_clock_leaves_out_what_is_no_step() -> None:
    clock, now = StepClock(), iter([0.0, 1.0, 3.0, 10.0, 14.0, 15.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moda.training.tracking.clock.time.perf_counter", lambda: next(now))
        for _ in range(2):  # 1 s and 4 s of waiting, 2 s and 1 s of work; between them 7 s of something else
            clock.start(FETCH)
            clock.stop(FETCH)
            clock.pause()
    assert clock.training == 3 + 5 and clock.waiting == 1 + 4


def test_a_profiler_that_the_user_asked_for_stays(tmp_path) -> None:
    recorder = recording.StepRecorder()
    for wanted, kept in (("simple", "SimpleProfiler"), (None, "StepClock")):
        trainer = L.Trainer(profiler=wanted, logger=False, accelerator="cpu", default_root_dir=tmp_path)
        recorder.setup(trainer, L.LightningModule(), "fit")
        assert type(vars(trainer)["profiler"]).__name__ == kept
