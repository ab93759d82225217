"""A wav2vec2, HuBERT or WavLM checkpoint from a folder on this machine: nothing is fetched, no code of it is run."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moda.audio.encoder import SAMPLE_RATE
from moda.errors import UserError
from moda.files import read_json, sha256_of
from moda.weights import REGISTRY, find

FAMILIES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}  # model_type -> class
NOT_USED = {"masked_spec_embed"}  # a weight of pretraining, which some checkpoints lack


@dataclass(frozen=True)
class SpeechCheckpoint:
    """model: ``transformers`` module in evaluation mode, on the CPU. family: its model_type.

    normalize: whether the model hears sound of mean 0 and variance 1. digest: SHA-256 over
    configuration, preprocessing and weight files.
    """

    model: nn.Module
    family: str
    normalize: bool
    digest: str


def load_checkpoint(checkpoint: str | Path) -> SpeechCheckpoint:
    """Read a folder in the format of ``transformers``, or the one that ``moda weights`` has under that name.

    config.json                                   which network; its code is that of ``transformers``
    model.safetensors or pytorch_model.bin        the latter read without pickled code
    preprocessor_config.json                      optional; without one, sound is normalised

    Raises UserError when ``transformers`` is not installed, a file is missing, damaged or of another
    kind, or a weight of the network is not in it.
    """
    folder = find(str(checkpoint)) if str(checkpoint) in REGISTRY else Path(checkpoint)
    if not folder.is_dir():
        raise UserError(
            f"speech checkpoint {folder} is not a folder; give one with a config.json, or one of `moda weights list`"
        )
    config = read_json(folder / "config.json")
    family = config.get("model_type") if isinstance(config, dict) else None
    if family not in FAMILIES:
        raise UserError(f"{folder}/config.json has model_type {family!r}; known: {', '.join(FAMILIES)}")
    weights = _weight_files(folder)
    normalize = _normalizes(folder)
    digest = hashlib.sha256(json.dumps([config, normalize]).encode())
    for path in weights:
        digest.update(sha256_of(path).encode())
    return SpeechCheckpoint(_load(folder, FAMILIES[family]), family, normalize, digest.hexdigest())


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if found := sorted(folder.glob(pattern)):
            return found
    raise UserError(f"{folder} holds no model.safetensors or pytorch_model.bin; copy the whole checkpoint there")


def _normalizes(folder: Path) -> bool:
    path = folder / "preprocessor_config.json"
    settings = read_json(path) if path.exists() else {}
    rate = settings.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(f"{path} asks for sound at {rate} Hz; only encoders of {SAMPLE_RATE} Hz are supported")
    return bool(settings.get("do_normalize", True))


def _load(folder: Path, class_name: str) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "this speech encoder needs transformers; install it with: pip install 'moda[speech]'"
        ) from error
    network: Any = getattr(transformers, class_name)
    try:
        with _silent(transformers.utils.logging):
            model, report = network.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except Exception as error:  # whatever a damaged file makes its readers stumble over
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"speech checkpoint {folder} cannot be loaded ({reason}); copy it again") from error
    absent = sorted(set(report["missing_keys"]) - NOT_USED)
    if absent:  # transformers would go on with random numbers
        raise UserError(
            f"speech checkpoint {folder} lacks weights of its network: {', '.join(absent[:3])} ({len(absent)} in all); copy it again"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """``transformers`` neither reports what it loads nor shows a bar."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
