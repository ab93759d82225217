"""Base of the training tasks: optimizer, noise that belongs to the sample, export."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from moda.build import build
from moda.data.module import VALIDATION_BATCH
from moda.data.schema import DatasetManifest
from moda.data.shards import Clip, FeatureShards
from moda.data.windows import Batch
from moda.errors import UserError
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export
from moda.training.draws import Draws

ON_CPU = ("index", "start", "key")  # entries of a batch that name samples, which nothing on a device looks at


@dataclass(frozen=True)
class Setup:
    """What every task is built from, beside its own settings.

    manifest: the data set. optimizer: spec with ``_partial_``. window: frames W. split: whose clips are trained on.
    """

    manifest: DatasetManifest
    optimizer: Mapping[str, Any]
    seed: int
    window: int
    split: str = "train"


class TrainingModule(L.LightningModule):
    """A task: ``network`` (built by ``network_spec``) is what it trains, ``previous`` the frames P before a window.

    A subclass computes ``losses``; its ``loss`` entry is minimised, all entries are recorded.
    recorded: the scalars of the last micro-batch. frozen: hashes of what it uses of other runs.
    Only ``network`` is a part of the module tree: what is frozen a subclass keeps outside, so that no
    strategy casts, shards or saves it.
    """

    network: nn.Module
    network_spec: Mapping[str, Any]
    previous: int
    reference_scale = False  # whether windows are shown at the mean scale (``cut_window``)
    makes_motion = True  # whether there is something to preview

    def __init__(self, setup: Setup):
        super().__init__()
        self.setup_ = setup
        self.manifest = setup.manifest
        self.window = setup.window
        self.frozen: dict[str, str] = {}
        self.recorded: dict[str, torch.Tensor] = {}
        self._gradient_norm: torch.Tensor | None = None

    @abstractmethod
    def losses(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        """Scalars by name, among them ``loss``."""

    @abstractmethod
    def reconstruct(self, network: nn.Module, clip: Clip) -> np.ndarray:
        """What a copy of the network makes of a clip, (T, D) in the layout's units, for previews."""

    @abstractmethod
    def export(self, network: nn.Module, step: int, config: dict[str, Any], shards: FeatureShards) -> Export:
        """A copy of the network for others to load; ``shards``: the train split, where something has to be measured."""

    def copy_with(self, weights: Mapping[str, torch.Tensor], device: torch.device | None = None) -> nn.Module:
        """The network with other weights, whole, whatever the strategy does to the one in training.

        weights: float32, taken as they are where they lie on ``device`` (None: this module's). Nothing is drawn or
        initialised for it, so that it may be made beside a training.
        """
        with torch.device("meta"):
            network = build(self.network_spec)
        missing, unexpected = network.load_state_dict(weights, strict=False, assign=True)
        missing = set(missing) - {name for name, _ in network.named_buffers()}
        if missing or unexpected:
            names = ", ".join(sorted(missing | set(unexpected))[:3])
            raise UserError(f"the weights do not fit the network of this configuration ({names}...)")
        if any(buffer.is_meta for buffer in network.buffers()):
            _set_buffers(network, self._initial_buffers)
        return network.to(device or self.device).eval().requires_grad_(False)

    @cached_property
    def _initial_buffers(self) -> dict[str, torch.Tensor]:
        """Of a new network: those of the one in training may be of a lower precision."""
        with torch.random.fork_rng(devices=[]):
            return dict(build(self.network_spec).named_buffers())

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        with mixed(self.trainer.precision, self.device):
            losses = self.losses(batch, Draws(self.setup_.seed, "train", batch["index"], self.device))
        self.recorded = {name: value.detach() for name, value in losses.items()}
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        index = batch["index"]
        with mixed(self.trainer.precision, self.device):
            losses = self.losses(batch, Draws(self.setup_.seed, "val", index, self.device, VALIDATION_BATCH))
        # Every rank validates on the same windows: there is nothing to reduce.
        self.log_dict({f"val/{name}": value for name, value in losses.items()}, batch_size=len(index))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return on_device(batch, device)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of all gradients, and keep it for the record. DeepSpeed does both itself."""
        if not hasattr(self.trainer.strategy, "gradient_norm"):
            limit = gradient_clip_val or float("inf")
            self._gradient_norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    @property
    def gradient_norm(self) -> torch.Tensor | float | None:
        """Norm of all gradients of the last step, before clipping; None before the first."""
        norm_of = getattr(self.trainer.strategy, "gradient_norm", None)
        return norm_of() if norm_of else self._gradient_norm

    def configure_optimizers(self) -> Any:
        make = build(self.setup_.optimizer)
        optimizer, schedule = make(self.network, total_steps=self.trainer.max_steps)
        if self.trainer.precision == "16-mixed" and getattr(optimizer, "_step_supports_amp_scaling", False):
            # it takes the loss scale off inside its step: too late for clipping
            raise UserError(
                "trainer.precision=16-mixed cannot clip gradients with optimizer.fused=true; set it to false"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _export_of_data(self, task: str, step: int, config: dict[str, Any], **parts: Any) -> Export:
        manifest = self.manifest
        return Export(
            task=task,
            step=step,
            identity=MotionIdentity.of(manifest),
            codec_spec=manifest.codec,
            audio_spec=manifest.audio_encoder,
            audio_layers=manifest.audio_layers,
            audio_dim=manifest.audio_dim,
            identity_dim=manifest.identity_dim,
            dataset_fingerprint=manifest.fingerprint,
            speakers=list(manifest.splits.get(self.setup_.split, ())),
            config=config,
            **parts,
        )


def _set_buffers(network: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Give the buffers of ``network`` that have no content copies of ``values``."""
    for prefix, module in network.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = values[f"{prefix}.{name}" if prefix else name].clone()


def on_device(batch: Batch, device: torch.device) -> Batch:
    """``batch`` on ``device``, its sound widened to float32 there; the samples' places stay on the CPU.

    From pinned memory it is sent while the device computes.
    """
    sent = {
        name: value if name in ON_CPU or not torch.is_tensor(value) else value.to(device, non_blocking=True)
        for name, value in batch.items()
    }
    return {name: v.float() if torch.is_tensor(v) and v.dtype == torch.float16 else v for name, v in sent.items()}


def mixed(precision: Any, device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 where ``precision`` is bf16-mixed.

    Opened inside of what a strategy wraps: DeepSpeed switches off an autocast that is open around its engine.
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()


def manifest_of(config: Mapping[str, Any]) -> DatasetManifest:
    """Of the data set of ``config``, with other statistics where ``config`` gives them."""
    manifest = DatasetManifest.load(config["data"]["path"])
    if config.get("statistics") is None:  # runs of older versions do not have the setting
        return manifest
    statistics = build(config["statistics"])
    if statistics.layout != manifest.layout:
        raise UserError(
            f"statistics are of layout {statistics.layout.name}, the motion of {config['data']['path']} is "
            f"{manifest.layout.name}; leave them out (statistics=null), or prepare the data set with its codec"
        )
    return replace(manifest, statistics=statistics)


def build_module(config: Mapping[str, Any], manifest: DatasetManifest) -> TrainingModule:
    """The task of ``config`` with its weights drawn anew."""
    data = config["data"]
    setup = Setup(manifest, config["optimizer"], config["seed"], data["window"], data.get("split", "train"))
    # Built by hand: the specs inside (network, flow) are completed from the data by the module itself.
    return build({**config["task"]["module"], "_recursive_": False, "_partial_": True})(setup)
