"""Official MoDA checkpoints in and out: which of their keys is which of ours.

The published network is one configuration of ``moda.models.mmdit.MMDiT``; its weights are renamed,
never reshaped, and computed with in float32. The learned nulls of audio and identity do not exist in
an official file: the release made its null audio anew at every start. They are zero after loading
(``drawn_null_audio`` is the release's way), and left out on saving.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moda.errors import UserError
from moda.files import atomic_path
from moda.interop.state_dict import tensors_of
from moda.models.mmdit import MMDiT
from moda.models.stages import STREAMS, parse_stages
from moda.weights import get_weight

MODA_B: dict[str, Any] = {
    "motion_dim": 70,
    "audio_layers": 12,
    "audio_dim": 768,
    "identity_dim": 63,
    "num_emotions": 8,
    "width": 768,
    "heads": 12,
    "mlp_ratio": 4.0,
    "rope_theta": 256.0,
    "repeat_conditions": True,
    "mix_audio_layers": False,
    "without": [],
    "context": 0,
    "late_audio": 0,
    "stages": [
        {"depth": 3, "groups": [["motion"], ["audio"], ["emotion"], ["identity"]]},
        {"depth": 6, "groups": [["motion"], ["audio", "emotion", "identity"]]},
        {"depth": 12, "groups": [list(STREAMS)]},
    ],
}

PREFIX = "talking_head_dit."
OWN_ONLY = ("null_audio.token", "null_identity.token")
EMBEDDERS = {
    "time_embedder.mlp.0": "time_embedder.mlp.0",
    "time_embedder.mlp.2": "time_embedder.mlp.2",
    "motion_embedder.0": "motion_embedder.mlp.0",
    "motion_embedder.2": "motion_embedder.mlp.2",
    "identity_embedder.0": "identity_embedder.mlp.0",
    "identity_embedder.2": "identity_embedder.mlp.2",
    "audio_embedder.mlp.0": "audio_embedder.proj1",
    "audio_embedder.mlp.2": "audio_embedder.proj2",
    "audio_embedder.mlp.4": "audio_embedder.proj3",
    "audio_embedder.norm": "audio_embedder.norm",
    "emotion_embedder": "emo_embedder.embedding_table",
    "final_modulation.linear": "final_layer.adaLN_modulation.1",
    "final_linear": "final_layer.linear",
}
SINGLE_STREAM = {
    "modulation.linear": "adaLN_modulation_xs.1",
    "inward": "qkv_xs",
    "norm.query": "attn1.xs_q_norm",
    "norm.key": "attn1.xs_k_norm",
    "outward": "linear2",
}
MOTION_GROUP = {
    "modulation.linear": "adaLN_modulation_xs.1",
    "qkv": "attn1.qkv_xs",
    "norm.query": "attn1.xs_q_norm",
    "norm.key": "attn1.xs_k_norm",
    "project": "attn1.xs_proj",
    "mlp.0": "xs_mlp.fc1",
    "mlp.2": "xs_mlp.fc2",
}


@dataclass(frozen=True)
class OfficialForm:
    """How a checkpoint was written, so that ``save_official`` writes it so again.

    prefix: before every key. dtypes: by key without the prefix, where not float32.
    """

    prefix: str = PREFIX
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)


def _condition_group(number: str) -> dict[str, str]:
    """A group of conditions; ``number`` is "1", "2", "3" in four-stream blocks, "" in two-stream ones."""
    return {
        "modulation.linear": f"adaLN_modulation_audio{number}.1",
        "qkv": f"attn1.qkv_au{number}",
        "norm.query": f"attn1.au_q_norm{number}",
        "norm.key": f"attn1.au_k_norm{number}",
        "project": f"attn1.au_proj{number}",
        "mlp.0": f"audio_mlp{number}.fc1",
        "mlp.2": f"audio_mlp{number}.fc2",
    }


def official_keys(network: MMDiT) -> dict[str, str]:
    """Our state-dict key to the official one, for every tensor but the nulls that the format lacks.

    Raises UserError when the stages are not the published 4-, 2- and 1-stream kinds in that order, and for parts
    that the published network lacks.
    """
    if network.context or network.controls or len(network.late_audio):
        raise UserError("the official MoDA format has no place for context tokens, controls or late audio")
    if [stage.groups for stage in network.stages] != [stage.groups for stage in parse_stages(MODA_B["stages"])]:
        raise UserError("the official MoDA format holds 4-, 2- and 1-stream stages in the published order only")
    if network.audio_embedder.layer_scores is not None:
        raise UserError(
            "the official MoDA format has all speech layers side by side; mix_audio_layers has no place in it"
        )
    names = dict(EMBEDDERS)
    block = 0
    for stage, prefix in zip(network.stages, ("blocks4", "blocks2", "blocks"), strict=True):
        for index in range(stage.depth):
            names |= {f"blocks.{block}.{key}": f"{prefix}.{index}.{name}" for key, name in _block_names(prefix).items()}
            block += 1
    keys = {}
    for key in network.state_dict():
        module, _, leaf = key.rpartition(".")
        if key not in OWN_ONLY:
            keys[key] = f"{names[module]}.{leaf}"
    return keys


def _block_names(prefix: str) -> dict[str, str]:
    """Our module name to the official one within a block."""
    if prefix == "blocks":
        return SINGLE_STREAM
    numbers = ("1", "2", "3") if prefix == "blocks4" else ("",)
    groups = [MOTION_GROUP, *(_condition_group(number) for number in numbers)]
    return {f"groups.{index}.{key}": name for index, group in enumerate(groups) for key, name in group.items()}


def to_official(network: MMDiT) -> dict[str, torch.Tensor]:
    """State dict of ``network`` under the official names, sharing its memory."""
    state = network.state_dict()
    return {official: state[key] for key, official in official_keys(network).items()}


def load_official(path: str | Path, preset: Mapping[str, Any] = MODA_B, *, strict: bool = True) -> MMDiT:
    """Read an official checkpoint (.pth, read without pickled code, or .safetensors) into the ``preset`` network.

    A ``talking_head_dit.`` prefix and a ``state_dict`` or ``model`` level around the weights are accepted.
    strict: False passes over tensors that are not the network's, as those of other networks in the file.
    Weights of another floating-point type become float32: exactly, but for float64, which is rounded.
    Returns the network on the CPU in evaluation mode. Raises UserError naming the file and the first
    keys that are absent, unknown or of another shape.
    """
    path = Path(path)
    content = _read(path)
    prefix = PREFIX if any(key.startswith(PREFIX) for key in content) else ""
    with torch.device("meta"):  # no memory for weights that ``assign`` replaces
        network = MMDiT(**preset)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    names = {key: prefix + official for key, official in official_keys(network).items()}
    wrong = [reason for key, name in names.items() if (reason := _misfit(content.get(name), shapes[key], name))]
    unknown = [f"{key} is unknown" for key in content.keys() - set(names.values())] if strict else []
    if wrong or unknown:
        advice = "" if wrong else "; strict=False passes over them"
        some = "; ".join((wrong + sorted(unknown))[:3])
        raise UserError(f"{path} is not this MoDA network: {some} ({len(wrong + unknown)} in all){advice}")
    weights = {key: content[name].float() for key, name in names.items()}
    network.load_state_dict(weights | {key: torch.zeros(preset["width"]) for key in OWN_ONLY}, assign=True)
    dtypes = {name.removeprefix(prefix): content[name].dtype for name in names.values()}
    unusual = {key: dtype for key, dtype in dtypes.items() if dtype != torch.float32}
    network.official_form = OfficialForm(prefix, unusual)  # type: ignore[assignment]
    return network.eval()


def save_official(network: MMDiT, path: str | Path) -> None:
    """Write ``network`` under the official names, as .safetensors or .pth by the suffix of ``path``.

    Prefix and number types are those of the file it was loaded from, so that an unchanged network comes
    back as it was, bit for bit; any other has the released prefix and float32.
    Raises UserError for another suffix, stages the format cannot hold, and when nothing can be written.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth"):
        raise UserError(f"{path}: an official checkpoint ends in .safetensors or .pth")
    form: Any = getattr(network, "official_form", OfficialForm())
    state = {
        form.prefix + key: value.detach().cpu().to(form.dtypes.get(key, torch.float32)).contiguous()
        for key, value in to_official(network).items()
    }
    with atomic_path(path) as temporary:
        try:
            if path.suffix == ".pth":
                torch.save(state, temporary)
            else:
                save_file(state, temporary)
        except (SafetensorError, RuntimeError) as error:  # what both raise on a full disk
            raise UserError(f"cannot write {path}: {_first_line(error)}; free space or choose another place") from error


def drawn_null_audio(network: MMDiT, generator: torch.Generator) -> torch.Tensor:
    """(width,) null token as the release has it: the embedding of random speech features, a new one at each start.

    The release neither trains nor stores its null audio. That it is standard normal is our reading.
    """
    features = torch.randn(1, 1, *network.audio_shape, generator=generator)
    weight = network.null_audio.token
    with torch.inference_mode():
        return network.audio_embedder(features.to(weight))[0, 0].clone()


def _misfit(found: torch.Tensor | None, shape: torch.Size, name: str) -> str | None:
    """Why a tensor of the file cannot be the network's, or None."""
    if found is None:
        return f"{name} is absent"
    if found.shape != shape:
        return f"{name} is {tuple(found.shape)}, not {tuple(shape)}"
    return None if found.is_floating_point() else f"{name} holds {found.dtype}, not floating point"


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; the official file is {get_weight('moda_official').filename} of the MoDA release: "
            "`moda weights get moda_official`"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers let through whatever a damaged file makes them stumble over
        raise UserError(f"{path} cannot be read as weights ({_first_line(error)}); download it again") from error
    return tensors_of(content, path)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
