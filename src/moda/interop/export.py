"""The trained model as others load it: safetensors and JSON, no Lightning, no pickle.

EXPORT/export.json               everything but the weights
EXPORT/model.safetensors         the transformer (absent for a motion VAE alone)
EXPORT/motion_vae.safetensors    the motion VAE (absent where the transformer works on motion itself)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from moda.build import build
from moda.errors import UserError
from moda.files import atomic_path, os_error_of, read_json, sha256_of, write_json
from moda.flow.rectified import RectifiedFlow
from moda.generation.published import PublishedWays
from moda.generation.sampler import MotionSampler
from moda.interop.compatibility import MotionIdentity
from moda.interop.moda import drawn_null_audio
from moda.motion.layout import MotionLayout
from moda.motion.statistics import MotionStatistics

EXPORT_SCHEMA = 1
EXPORT_NAME = "export.json"
NETWORK_FILE, VAE_FILE = "model.safetensors", "motion_vae.safetensors"
SPACES = ("motion", "latent")


@dataclass
class Export:
    """A trained transformer, a trained motion VAE, or both.

    network, vae: modules in evaluation mode, on the CPU when loaded; ``*_spec`` is what builds them.
    codec_spec, audio_spec: component specs for ``moda.build.build``; identity holds their fingerprints
    and the statistics. window, overlap, previous: frames, for the sampler (None for a VAE alone).
    reference_scale, published: of the sampler, the latter as arguments of ``PublishedWays``.
    step: optimizer updates. speakers: those whose clips it was trained on (empty in exports of older versions).
    config: the resolved training configuration.
    """

    task: str
    step: int
    identity: MotionIdentity
    codec_spec: dict[str, Any]
    audio_spec: dict[str, Any]
    audio_layers: int
    audio_dim: int
    identity_dim: int
    dataset_fingerprint: str
    network: Any = None
    network_spec: dict[str, Any] | None = None
    vae: Any = None
    vae_spec: dict[str, Any] | None = None
    flow_spec: dict[str, Any] | None = None
    space: str = "motion"
    window: int | None = None
    overlap: int | None = None
    previous: int | None = None
    speakers: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    reference_scale: bool = False
    published: dict[str, Any] = field(default_factory=dict)

    @property
    def statistics(self) -> MotionStatistics:
        return self.identity.statistics

    @property
    def layout(self) -> MotionLayout:
        return self.identity.statistics.layout

    @property
    def codec_fingerprint(self) -> str:
        return self.identity.codec_fingerprint

    @property
    def audio_fingerprint(self) -> str:
        return self.identity.audio_fingerprint

    @property
    def flow(self) -> RectifiedFlow:
        return build(self.flow_spec) if self.flow_spec else RectifiedFlow()

    def sampler(self) -> MotionSampler:
        """A sampler with the settings of training; UserError for a motion VAE alone, which generates nothing."""
        if self.network is None or self.window is None:
            raise UserError(f"this run is of task={self.task}, which cannot generate; name a run of task=dit")
        published = PublishedWays(**self.published)
        if published.drawn_null_audio:
            drawn = drawn_null_audio(self.network, _unrepeatable())
            self.network.null_audio.token.data = drawn
        return MotionSampler(
            self.network,
            statistics=self.statistics,
            vae=self.vae,
            window=self.window,
            overlap=self.overlap or 0,
            previous=self.previous or 1,
            flow=self.flow,
            reference_scale=self.reference_scale,
            published=published,
        )


# fields of Export that go into the JSON as they are
PLAIN = (
    "task", "step", "codec_spec", "audio_spec", "audio_layers", "audio_dim", "identity_dim", "dataset_fingerprint",
    "network_spec", "vae_spec", "flow_spec", "space", "window", "overlap", "previous", "config",
)  # fmt: skip
ADDED = ("reference_scale", "published", "speakers")  # older exports lack them


def write_export(directory: str | Path, export: Export) -> None:
    """Write ``export`` to ``directory``, atomically; a former export there is replaced.

    Raises UserError when it cannot be written (disk full, no permission).
    """
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        files = {}
        for name, module in ((NETWORK_FILE, export.network), (VAE_FILE, export.vae)):
            if module is not None:
                save_weights(module, temporary / name)
                files[name] = sha256_of(temporary / name)
        plain = {name: getattr(export, name) for name in (*PLAIN, *ADDED)}
        value = {"schema": EXPORT_SCHEMA, **export.identity.to_dict(), **plain, "files": files}
        write_json(temporary / EXPORT_NAME, value)


def load_export(path: str | Path) -> Export:
    """Load an export from a run directory or from the export directory itself.

    Raises UserError if there is none, or a file of it is missing, damaged or of another version.
    """
    directory = export_directory(path)
    where = str(directory / EXPORT_NAME)
    value = read_json(where)
    if not isinstance(value, dict) or value.get("schema") != EXPORT_SCHEMA:
        raise UserError(f"{where} is not an export of schema {EXPORT_SCHEMA}; train the run again")
    try:
        plain = {name: value[name] for name in (*PLAIN, *ADDED) if name in value or name not in ADDED}
        files = dict(value["files"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{where} lacks {error}; train the run again") from error
    export = Export(identity=MotionIdentity.from_dict(value, where), **plain)
    if NETWORK_FILE in files:
        export.network = _load_module(export.network_spec, directory / NETWORK_FILE, files[NETWORK_FILE])
    if VAE_FILE in files:
        export.vae = _load_module(export.vae_spec, directory / VAE_FILE, files[VAE_FILE])
    return export


def export_directory(path: str | Path) -> Path:
    """Where the export of a run, or the export named directly, lies."""
    path = Path(path)
    for candidate in (path, path / "export"):
        if (candidate / EXPORT_NAME).is_file():
            return candidate
    if not path.exists():
        raise UserError(f"{path} does not exist; name a run directory, as runs/dit")
    raise UserError(f"{path} holds no trained model (no export/{EXPORT_NAME}); let its training reach a checkpoint")


def save_weights(module: nn.Module, path: Path) -> None:
    """Parameters and buffers of ``module`` as safetensors."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    try:
        save_file(tensors, path)
    except safetensors.SafetensorError as error:
        raise os_error_of(error) from error


def _unrepeatable() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


def _load_module(spec: dict[str, Any] | None, path: Path, sha256: str) -> nn.Module:
    if spec is None or not path.is_file() or sha256_of(path) != sha256:
        raise UserError(f"{path} is missing or not what {EXPORT_NAME} describes; copy the export again")
    module = build(spec)
    try:
        module.load_state_dict(load_file(path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"{path} does not fit the network {EXPORT_NAME} describes ({first}); export it again"
        ) from error
    return module.eval().requires_grad_(False)
