"""Overrides that make a training tiny."""

from pathlib import Path

SMALL = (
    "data.window=16", "data.batch_size=4", "trainer.max_steps=6", "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1", "checkpoint.every=3", "preview.every=0", "logger=none", "optimizer.warmup_steps=0",
)  # fmt: skip
SMALL_VAE = ("model.network.width=16", "model.network.latent_dim=4", "model.network.depth=1")
SMALL_DIT = ("model.network.width=16", "model.network.heads=2", "overlap=4", "flow.steps=2")


def small_overrides(task: str, dataset: Path, *more: str) -> list[str]:
    """What follows ``moda train`` for six steps of a tiny network; ``more`` comes last and so wins."""
    network = SMALL_VAE if task == "motion_vae" else SMALL_DIT
    return [f"task={task}", f"data.path={dataset}", *SMALL, *network, *more]
