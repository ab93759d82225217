"""Numbers that are not finite: what is stopped, what is kept, what its replay says."""

from typing import Any

import lightning as L
import pytest
import torch

from moda.cli import main as cli
from moda.errors import UserError
from moda.training import run
from moda.training.checkpoints.consolidate import weights_of
from moda.training.checkpoints.manifest import by_step, damage
from moda.training.faults.failure import Failure, read_failure, write_failure


class Poison(L.Callback):
    """Spoils one step: the batch, the gradient, or the weights after the step."""

    def __init__(self, what: str, step: int, batch: int = 0):
        self.what, self.step, self.batch = what, step, batch
        self.count = 0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, number: int) -> None:
        self.count = 0 if trainer.global_step != self.step else self.count + 1
        if self.what == "loss" and self.count == self.batch + 1:
            batch["motion"][1] = torch.finfo(torch.float32).max  # finite: no check of the data finds it

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.what == "gradient" and trainer.global_step == self.step:
            next(module.parameters()).grad[0] = float("inf")

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if self.what == "weights" and trainer.global_step == self.step + 1:  # after a finite step
            next(module.parameters()).data[0] = float("inf")


@pytest.fixture
def poisoned(configure, monkeypatch: pytest.MonkeyPatch):
    """``poisoned(poison, *overrides)`` trains with it; returns the UserError's text."""
    make = run._trainer

    def train(poison: Poison, *overrides: str) -> str:
        def trainer(*arguments) -> Any:
            made: Any = make(*arguments)
            made.callbacks.insert(0, poison)
            return made

        monkeypatch.setattr(run, "_trainer", trainer)
        with pytest.raises(UserError) as caught:
            run.train(configure("motion_vae", "run", *overrides))
        return str(caught.value)

    return train


@pytest.mark.parametrize(
    ("what", "step", "every", "saved"),
    [
        ("loss", 2, 3, None),  # the checkpoint of this very step is not written
        ("loss", 3, 3, "step-3"),
        ("gradient", 3, 100, None),  # no checkpoint is due: read one step later
        ("gradient", 4, 3, "step-3"),
        ("weights", 3, 2, "step-2"),
        ("gradient", 5, 3, "step-3"),  # the last step
    ],
)
def test_no_checkpoint_holds_it_and_the_batch_is_kept(poisoned, tmp_path, what, step, every, saved) -> None:
    message = poisoned(Poison(what, step), f"checkpoint.every={every}")
    kept = tmp_path / f"run/failures/step-{step + 1}-rank-0"
    found = by_step(tmp_path / "run/checkpoints")
    assert [path.name for path in found] == ([saved] if saved else [])
    for path in found:
        assert damage(path) is None
        assert all(bool(torch.isfinite(value).all()) for value in weights_of(path, None).values())
    named = {"loss": "the loss is", "gradient": "the gradient norm is", "weights": "weights are"}[what]
    assert message.startswith(f"{named} not finite at step {step + 1} on rank 0") and f"moda replay {kept}" in message
    assert str(found[0] if found else "none") in message and "\n" not in message
    failure, batches = read_failure(kept)
    assert (failure.cause, failure.step, failure.seed) == (what, step + 1, 0)
    assert batches[0]["index"].tolist() == list(range(4 * step, 4 * step + 4)) and len(batches[0]["key"]) == 4


def test_the_micro_batch_with_the_loss_is_the_one_that_is_kept(poisoned, tmp_path) -> None:
    poisoned(Poison("loss", 2, batch=1), "trainer.accumulate_grad_batches=2")
    failure, batches = read_failure(tmp_path / "run/failures/step-3-rank-0")
    assert [torch.tensor(loss).isfinite().item() for loss in failure.losses] == [True, False]
    assert len(batches) == 1 and batches[0]["index"].tolist() == [10, 11]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_replay_names_the_sample_and_the_module(poisoned, tmp_path, capsys, what: str) -> None:
    message = poisoned(Poison(what, 3), "checkpoint.every=3")
    kept = tmp_path / "run/failures/step-4-rank-0"
    failure, batches = read_failure(kept)
    assert message and cli.main(["replay", str(kept)]) == 0
    out = capsys.readouterr().out
    assert "step-3, those of that step" in out
    if what == "loss":
        assert out.count("<- not finite") == 1
        key, start = batches[0]["key"][1], int(batches[0]["start"][1])
        assert f"{key} from frame {start}: first not finite: output of network.encoder" in out
    else:  # with the same weights and the same noise it is the loss of training
        assert "every sample is finite" in out
        rows = [line.split("│") for line in out.splitlines() if line.startswith("│") and line.count("│") == 7]
        mean = sum(float(row[4]) for row in rows) / len(rows)
        assert mean == pytest.approx(failure.losses[0], rel=1e-5)


def test_replay_of_nothing_says_what_is_missing(poisoned, tmp_path, capsys) -> None:
    assert cli.main(["replay", str(tmp_path / "nothing")]) == 1
    assert "nothing/failure.json does not exist" in capsys.readouterr().err
    poisoned(Poison("gradient", 1), "checkpoint.every=1")
    kept = str(tmp_path / "run/failures/step-2-rank-0")
    assert cli.main(["replay", kept, "--checkpoint", "step-9"]) == 1
    assert "has no step-9; it holds step-1" in capsys.readouterr().err


def test_a_failure_comes_back_as_it_was_and_a_full_disk_hides_it_not(tmp_path, capsys) -> None:
    failure = Failure(3, 1, 2, 0, "loss", "32-true", "cpu", [float("inf"), 1.5], 2.0)
    batch = {
        "motion": torch.rand(2, 3),
        "index": torch.tensor([4, 5]),
        "start": torch.tensor([0, 1]),
        "key": ["a", "b"],
    }
    directory = write_failure(tmp_path, failure, [batch])
    assert directory == tmp_path / "step-3-rank-1"
    read, (again,) = read_failure(directory)
    assert read == failure and again["key"] == ["a", "b"]
    torch.testing.assert_close(again["motion"], batch["motion"], rtol=0, atol=0)
    (tmp_path / "file").touch()
    assert write_failure(tmp_path / "file", failure, [batch]) is None
    assert "cannot be kept" in capsys.readouterr().out
