"""One training from its configuration to its export; running it again goes on where it stopped."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from moda.build import build
from moda.data.bad_samples import LOG_NAME, BadSampleLog
from moda.data.module import ShardDataModule
from moda.data.schema import DatasetManifest
from moda.data.shared_memory import bytes_ahead, require_shared_memory, window_bytes
from moda.data.workers import user_error_of
from moda.errors import UserError
from moda.files import read_json
from moda.gpus import out_of_memory
from moda.interop.compatibility import MotionIdentity, require_match
from moda.interop.export import EXPORT_NAME, write_export
from moda.training.base import TrainingModule, build_module, manifest_of
from moda.training.checkpoints.consolidate import export_of, keep_averages
from moda.training.checkpoints.ema import EMA
from moda.training.checkpoints.manifest import MANIFEST, by_step, newest_complete, step_of
from moda.training.checkpoints.writer import UNSAVED, CheckpointWriter, LoaderState
from moda.training.compilation import prepare_blocks
from moda.training.distributed.launch import lost_rank
from moda.training.distributed.rendezvous import local_rank, meet
from moda.training.distributed.resources import Resources, readers_of
from moda.training.faults.consensus import Consensus
from moda.training.faults.nonfinite import FLAGS, NonFiniteGuard
from moda.training.faults.preemption import Preemption
from moda.training.faults.stop_signals import leave_if_alone, stop_signals
from moda.training.faults.watchdog import Watchdog
from moda.training.rundir import open_run
from moda.training.tracking.facts import RunStart, record_start
from moda.training.tracking.metrics import METRICS_NAME, MetricsFile, last_metrics, rewind
from moda.training.tracking.preview import Preview
from moda.training.tracking.progress import TrainingProgress
from moda.training.tracking.recording import StepRecorder

Config = Mapping[str, Any]


def train(config: Config) -> Path:
    """Train what ``config`` (conf/train.yaml, resolved) describes; returns the run directory.

    Raises UserError for settings, data or a run directory that do not fit together, Preempted after a signal.
    """
    quiet()
    with stop_signals.taking(config["preemption"]["signals"]):
        resources = Resources.of(config["trainer"], config["watchdog"])
        resources.require_fit(local_rank())
        meet(resources)
        return _train(config, resources)


def _train(config: Config, resources: Resources) -> Path:
    _set_products(config["matmul_precision"], resources)
    manifest = manifest_of(config)
    L.seed_everything(config["seed"], verbose=False)  # initial weights
    module = build_module(config, manifest)
    prepare_blocks(module.network, config)
    data = _data(config, module, manifest, resources)
    with open_run(config["run_dir"], config) as run_dir:
        _enter(config, module, data, run_dir, resources)
    return run_dir


def _set_products(precision: str, resources: Resources) -> None:
    if precision not in ("highest", "high"):
        raise UserError(f"matmul_precision={precision}: must be highest (float32) or high (TF32)")
    if resources.on_gpu:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision == "high"  # of convolutions, which torch would round by itself
    elif precision != "highest":
        raise UserError(f"matmul_precision={precision} does nothing on a CPU; leave it out")


def _enter(config: Config, module: TrainingModule, data: ShardDataModule, run_dir: Path, resources: Resources) -> None:
    """Go on where the run stands, which nobody else is training."""
    steps = config["trainer"]["max_steps"]
    checkpoint = _checkpoint(run_dir / "checkpoints")
    if checkpoint is not None:
        _check_data(checkpoint, data.manifest, config["data"]["path"])
        _check_frozen(checkpoint, module)
    if _exported(run_dir) >= steps:
        say(f"{run_dir} is already trained to step {_exported(run_dir)}; for another run give name=...")
        return
    _fit(config, module, data, run_dir, checkpoint, resources)
    _say_result(run_dir)


def _data(config: Config, module: TrainingModule, manifest: DatasetManifest, resources: Resources) -> ShardDataModule:
    """The data module, refused before a start where layout, shards or shared memory do not allow it."""
    report = BadSampleLog(Path(config["run_dir"]) / LOG_NAME)
    cut = {"previous": module.previous, "reference_scale": module.reference_scale}
    settings = {**config["data"], "num_workers": readers_of(config["data"], manifest, resources)}
    data = ShardDataModule(**settings, **cut, seed=config["seed"], manifest=manifest, report=report)
    batch = data.micro_batch(resources.processes, config["trainer"]["accumulate_grad_batches"])
    if data.num_workers:
        window = window_bytes(manifest, data.window, data.previous)
        ahead = bytes_ahead(window, batch, data.num_workers, data.prefetch_factor)
        require_shared_memory(ahead * resources.local_processes, data.num_workers)
    return data


def _fit(
    config: Config,
    module: TrainingModule,
    data: ShardDataModule,
    run_dir: Path,
    checkpoint: Path | None,
    resources: Resources,
) -> None:
    done = step_of(checkpoint) if checkpoint else 0
    start = RunStart(run_dir, config["name"], done, config, data.manifest, resources.processes)
    trainer = _trainer(config, module, data, start, resources)
    if trainer.is_global_zero:
        rewind(run_dir / METRICS_NAME, done)
        record_start(trainer.loggers, start)
    if checkpoint:
        say(f"resuming {run_dir} from step {done}")
    leave_if_alone(resources.processes)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint)
    except RuntimeError as error:  # torch's signal handler reports a dead reader wherever training stands
        lost = lost_rank(error, trainer.global_rank, trainer.global_step)
        line = user_error_of(error) or lost or out_of_memory(error)
        if line is None:
            raise
        raise line from error
    except SystemExit:  # how Lightning ends after an interrupt
        raise KeyboardInterrupt from None
    finally:
        for logger in trainer.loggers:
            logger.finalize("success" if trainer.state.finished else "failed")


def _trainer(
    config: Config, module: TrainingModule, data: ShardDataModule, start: RunStart, resources: Resources
) -> L.Trainer:
    run_dir = start.run_dir
    recorder = StepRecorder()
    ema = EMA(**config["ema"])
    consensus = Consensus(("signal", UNSAVED, *FLAGS), resources.patience)
    guard = NonFiniteGuard(run_dir / "failures", consensus, config["seed"], run_dir / "checkpoints")
    if config["preview"]["every"] and not module.makes_motion:
        raise UserError(
            f"preview.every={config['preview']['every']}: task={config['task']['name']} makes no motion; give preview.every=0"
        )
    writer = CheckpointWriter(
        run_dir / "checkpoints",
        **config["checkpoint"],
        parts=(ema, LoaderState(data)),
        consensus=consensus,
        identity={**MotionIdentity.of(data.manifest).to_dict(), "frozen": module.frozen},
        before_save=guard.settle,
        after_save=lambda directory: _after_save(run_dir, directory, config, module, data),
        after_load=lambda directory: _after_load(run_dir, directory, config, module, data),
    )
    trackers = [MetricsFile(run_dir / METRICS_NAME), *build({**config["logger"], "_partial_": True})(start)]
    callbacks = [
        Watchdog(run_dir / "hangs", **config["watchdog"]),
        consensus,
        Preemption(consensus, writer.save_now),
        guard,
        ema,
        recorder,
        *([Preview(run_dir / "previews", data.val_shards, ema, **config["preview"])] if module.makes_motion else []),
        TrainingProgress(f"{config['task']['name']} {run_dir}", recorder),
        writer,
    ]
    return make_trainer(config, resources, run_dir, trackers, callbacks)


def make_trainer(
    config: Config, resources: Resources, run_dir: Path, loggers: Sequence[Logger], callbacks: Sequence[L.Callback]
) -> L.Trainer:
    """A Lightning trainer with the settings of ``config``, and nothing of its own that these callbacks do better."""
    settings = {**config["trainer"], "accelerator": resources.accelerator, "devices": resources.lightning_devices}
    if settings["val_check_interval"]:  # ours is in steps, Lightning's in micro-batches
        settings["val_check_interval"] *= settings["accumulate_grad_batches"]
    return L.Trainer(
        **settings,
        max_epochs=-1,
        strategy=build({**config["strategy"], "_partial_": True})(resources=resources),
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
        logger=list(loggers),
        callbacks=list(callbacks),
        default_root_dir=run_dir,
        check_val_every_n_epoch=None,  # the stream has no epochs: validation goes by steps
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,  # by CheckpointWriter
        enable_progress_bar=False,  # by TrainingProgress
        enable_model_summary=False,
    )


def _after_save(run_dir: Path, checkpoint: Path, config: Config, module: TrainingModule, data: ShardDataModule) -> None:
    """Keep the averages that others can be rebuilt from, then renew the export, whose step says that both are done."""
    if config["ema"]["power"]:
        keep_averages(checkpoint, run_dir / "ema")
    write_export(run_dir / "export", export_of(checkpoint, module, config, data.train_shards))


def _after_load(run_dir: Path, checkpoint: Path, config: Config, module: TrainingModule, data: ShardDataModule) -> None:
    """Make up for what a kill between a checkpoint and its export has prevented."""
    if _exported(run_dir) < step_of(checkpoint):
        _after_save(run_dir, checkpoint, config, module, data)


def _checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint, None before the first. UserError where there are some, and all are damaged.

    One process reads the hashes of all files, and its choice is everyone's.
    """
    found = newest_complete(directory, say, hashes=rank_zero_only.rank == 0)
    if found is None and by_step(directory):
        raise UserError(
            f"no checkpoint in {directory} is whole: bring one back, delete that folder to begin again at step 0, "
            "or start another run with name=..."
        )
    return found


def _check_data(checkpoint: Path, manifest: DatasetManifest, path: str) -> None:
    where = str(checkpoint / MANIFEST)
    trained = MotionIdentity.from_dict(read_json(where)["identity"], where)
    require_match(MotionIdentity.of(manifest), f"the data set {path}", trained, f"checkpoint {checkpoint}")


def _check_frozen(checkpoint: Path, module: TrainingModule) -> None:
    before = read_json(checkpoint / MANIFEST)["identity"].get("frozen", {})
    for name, digest in module.frozen.items():
        if before.get(name) != digest:
            raise UserError(
                f"the {name} has changed since checkpoint {checkpoint}, which was trained with another; give that one "
                "back, or start another run with name=..."
            )


def _exported(run_dir: Path) -> int:
    path = run_dir / "export" / EXPORT_NAME
    return int(read_json(path)["step"]) if path.is_file() else 0


def _say_result(run_dir: Path) -> None:
    values = last_metrics(run_dir / METRICS_NAME)
    shown = [
        f"{name} {values[name]:.4g}" for name in ("train/loss", "val/loss", "val/jaw_correlation") if name in values
    ]
    say(f"trained {run_dir} to step {_exported(run_dir)}: {', '.join(shown)}")


@rank_zero_only
def say(line: str) -> None:
    """Print once, however many processes train."""
    print(line, flush=True)


def quiet() -> None:
    """Lightning's advice is about other set-ups than ours; our own warnings become one line each."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    for category in (FutureWarning, DeprecationWarning):  # for those who maintain what raises them
        warnings.filterwarnings("ignore", category=category)
    warnings.showwarning = lambda message, *_args, **_kwargs: say(f"warning: {message}")
