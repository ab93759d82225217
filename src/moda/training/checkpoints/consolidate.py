"""From the pieces of a checkpoint to whole weights and to an export, on one process and without DeepSpeed."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from moda.data.shards import FeatureShards
from moda.errors import UserError
from moda.files import atomic_path
from moda.interop.export import EXPORT_NAME, Export, load_export, write_export
from moda.training.base import TrainingModule, build_module, manifest_of
from moda.training.checkpoints.averages import combination, profile_error
from moda.training.checkpoints.ema import KIND
from moda.training.checkpoints.manifest import by_step, damage, newest_complete, step_of
from moda.training.checkpoints.pieces import PieceReader
from moda.training.checkpoints.writer import WEIGHTS
from moda.training.rundir import CONFIG_NAME, config_of
from moda.training.vae_module import measure_latents

EXPONENTIAL = "exponential"
TOLERANCE = 0.1  # relative error of a rebuilt profile that is still called that width


def weights_of(checkpoint: Path, average: str | None = EXPONENTIAL) -> dict[str, torch.Tensor]:
    """Whole float32 weights of a checkpoint: one of its averages by label, or (None) those trained.

    Raises UserError if the checkpoint lacks that average.
    """
    if average is None:
        return PieceReader(checkpoint, WEIGHTS).whole()
    reader = PieceReader(checkpoint, KIND)
    weights = reader.whole(f"{average}/")
    if not weights:
        known = ", ".join(sorted({name.split("/")[0] for name in reader.shapes}))
        raise UserError(f"{checkpoint} holds no average {average!r}; it has {known}")
    trained = PieceReader(checkpoint, WEIGHTS)  # buffers, which are not averaged
    buffers = {name: trained.read(name).reshape(shape) for name, shape in trained.shapes.items() if name not in weights}
    return weights | buffers


def export_of(checkpoint: Path, module: TrainingModule, config: Mapping[str, Any], shards: FeatureShards) -> Export:
    """What others load, of a run in training: the exponential average.

    Made on the CPU, beside the training that may go on: but for networks that look at pictures to be exported.
    """
    device = torch.device("cpu") if module.makes_motion else module.device
    network = module.copy_with(weights_of(checkpoint), device)
    return module.export(network, step_of(checkpoint), dict(config), shards)


def export_run(run_dir: Path, out: Path | None, step: int | None, average: str | None, sigma_rel: float | None) -> Path:
    """Export any checkpoint of a run: its trained weights (``average`` None), an average, or one rebuilt of
    width ``sigma_rel``. Returns where it lies.

    Raises UserError if the run has no such step or average, or the data set that a motion VAE's latents
    are measured on has gone.
    """
    export = _described(run_dir)
    if sigma_rel is not None:
        step = step or max((step_of(path) for path in by_step(run_dir / "ema")), default=0)
        weights, label = rebuilt_average(run_dir / "ema", step, sigma_rel), f"sigma-{sigma_rel:g}"
    else:
        checkpoint = _checkpoint(run_dir / "checkpoints", step)
        step, weights, label = step_of(checkpoint), weights_of(checkpoint, average), average or "trained"
    network = export.vae if export.task == "motion_vae" else export.network
    network.load_state_dict(weights, strict=False)
    if export.task == "motion_vae":
        module = export.config["task"]["module"]
        measure_latents(network, train_shards(export.config), module["latent_frames"])
    export.step = step
    out = out or run_dir / "exports" / f"step-{step}-{label}"
    write_export(out, export)
    return out


def _described(run_dir: Path) -> Export:
    """What a run trains: by its export or, before the first, by its configuration and data set."""
    if (run_dir / "export" / EXPORT_NAME).is_file() or not (run_dir / CONFIG_NAME).is_file():
        return load_export(run_dir)
    config = config_of(run_dir)
    module = build_module(config, manifest_of(config))
    return module.export(module.network, 0, config, train_shards(config))


def train_shards(config: Mapping[str, Any]) -> FeatureShards:
    """What the run of ``config`` trains on, with the statistics it is normalised by."""
    return FeatureShards(config["data"]["path"], "train", manifest_of(config))


def _checkpoint(directory: Path, step: int | None) -> Path:
    if step is None:
        found = newest_complete(directory)
        if found is None:
            raise UserError(f"{directory} holds no complete checkpoint; let the training reach one")
        return found
    chosen = directory / f"step-{step}"
    if not chosen.is_dir():
        known = ", ".join(str(step_of(path)) for path in by_step(directory)) or "none"
        raise UserError(f"{directory} has no checkpoint of step {step}; it has {known}")
    if reason := damage(chosen):
        raise UserError(f"checkpoint {chosen} is damaged: {reason}; choose another --step")
    return chosen


def keep_averages(checkpoint: Path, directory: Path) -> None:
    """Keep the averages of a checkpoint at ``directory``/step-N when the checkpoint itself goes.

    The files are linked where the file system can, so that they are stored once.
    """
    with atomic_path(directory / checkpoint.name) as temporary:
        temporary.mkdir()
        for path in sorted(checkpoint.glob(f"{KIND}-*.safetensors")):
            try:
                os.link(path, temporary / path.name)
            except OSError:
                shutil.copyfile(path, temporary / path.name)


def rebuilt_average(directory: Path, step: int, sigma_rel: float) -> dict[str, torch.Tensor]:
    """The power-function average of width ``sigma_rel`` after ``step`` updates, from the snapshots before it.

    directory: RUN/ema. Snapshots are read one after the other. Raises UserError if there are none, or
    they cannot make that width to within 10 % (in the norm of the profile).
    """
    readers = {step_of(path): PieceReader(path, KIND) for path in by_step(directory) if step_of(path) <= step}
    labels = sorted({name.split("/")[0] for r in readers.values() for name in r.shapes} - {EXPONENTIAL})
    if not labels or step not in readers:
        raise UserError(
            f"{directory} holds no power-function averages at step {step}; train with ema.power=[0.05,0.1] to keep them"
        )
    snapshots = [(at, label) for at in sorted(readers) for label in labels]
    times, widths = [at for at, _ in snapshots], [float(label.removeprefix("power-")) for _, label in snapshots]
    factors = combination(times, widths, step, sigma_rel)
    error = profile_error(times, widths, factors, step, sigma_rel)
    if error > TOLERANCE:
        raise UserError(
            f"the {len(snapshots)} averages in {directory} make width {sigma_rel} at step {step} only with an error of "
            f"{error:.0%}; choose a width between {min(widths)} and {max(widths)}, or checkpoint more often"
        )
    total: dict[str, torch.Tensor] = {}
    for (at, label), factor in zip(snapshots, factors, strict=True):
        for name, value in readers[at].whole(f"{label}/").items():
            total[name] = total.get(name, torch.zeros_like(value, dtype=torch.float64)) + float(factor) * value.double()
    return {name: value.float() for name, value in total.items()}
