"""The official files: which network lies where, and reading its weights without running code."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from moda.errors import UserError
from moda.weights import find

SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True)
class OfficialFile:
    """stem: its name without suffix; folder: where the official layout keeps it; weight: its name for ``moda.weights``."""

    stem: str
    folder: str
    weight: str

    def within(self, directory: Path) -> Path:
        """The file in a folder of the official layout (or one that holds it as ``liveportrait``), or in a flat one."""
        for root in (directory, directory / "liveportrait"):
            for place in (root / self.folder, root):
                for suffix in SUFFIXES:
                    if (path := place / f"{self.stem}{suffix}").is_file():
                        return path
        raise UserError(
            f"{directory / self.folder / self.stem}.pth does not exist (nor .safetensors, nor without {self.folder}/); "
            f"put LivePortrait's official file there, or leave the folder out and run `moda weights get {self.weight}`"
        )


_RETARGETING = OfficialFile("stitching_retargeting_module", "retargeting_models", "liveportrait_stitching")
FILES = {
    "appearance_feature_extractor": OfficialFile(
        "appearance_feature_extractor", "base_models", "liveportrait_appearance"
    ),
    "motion_extractor": OfficialFile("motion_extractor", "base_models", "liveportrait_motion"),
    "warping_module": OfficialFile("warping_module", "base_models", "liveportrait_warping"),
    "spade_generator": OfficialFile("spade_generator", "base_models", "liveportrait_generator"),
    "stitching": _RETARGETING,
    "lip": _RETARGETING,
    "eye": _RETARGETING,
}
"""Network to its file."""

# the level that a network of the last file lies under there
GROUPS = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}


def locate(directory: Path | None) -> dict[str, Path]:
    """Network to the path of its file, in ``directory`` or, without one, where ``moda.weights`` finds it.

    Raises UserError naming the first file that is missing.
    """
    if directory is None:
        return {network: find(file.weight) for network, file in FILES.items()}
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder; give the one that holds base_models and retargeting_models")
    return {network: file.within(directory) for network, file in FILES.items()}


def load(network: nn.Module, name: str, path: Path) -> nn.Module:
    """``network``, made on the meta device, with the weights of ``path``: frozen, in evaluation mode, float32.

    Every key must be there, no other, and of the right shape; UserError naming the first that is not.
    """
    found = read_tensors(path)
    if name in GROUPS:
        found = _within(found, name, path)
    network.load_state_dict(_match(network.state_dict(), found, name, path), assign=True)
    return network.requires_grad_(False).eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name to tensor; the levels of a nested file are joined by dots."""
    try:
        if path.suffix == ".safetensors":
            return {key.replace("/", "."): value for key, value in load_file(path).items()}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file can fail in any way within its reader
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's own words are a page about trusting the file
            reason = "it is no file of torch.save, or holds more than tensors"
        raise UserError(f"{path} cannot be read as weights ({reason}); download it again") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not weights by name; give the official file")
    return dict(_flat(content))


def _flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


def _within(found: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """What a file of several networks holds of one; UserError for a level that is none of them."""
    level_of = {level: network for network, level in GROUPS.items()} | {network: network for network in GROUPS}
    kept = {}
    for key, value in found.items():
        level, _, rest = key.partition(".")
        if level not in level_of:
            raise UserError(
                f"{path} is not LivePortrait's {name}: {key} is in none of {', '.join(GROUPS.values())}; give the official file"
            )
        if level_of[level] == name:
            kept[rest] = value
    return kept


def _match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """The tensors of ``found`` under the keys of ``expected``, a prefix before all of them removed."""
    prefix = _prefix(list(expected), found)
    found = {key.removeprefix(prefix): value for key, value in found.items()}
    wrong = [f"{key} is missing" for key in expected if key not in found]
    wrong += [f"{key} is not one of its keys" for key in found if key not in expected]
    wrong += [
        f"{key} is {tuple(found[key].shape)}, not {tuple(like.shape)}"
        for key, like in expected.items()
        if key in found and found[key].shape != like.shape
    ]
    if wrong:
        raise UserError(
            f"{path} is not LivePortrait's {name}: {'; '.join(wrong[:3])} ({len(wrong)} in all); give the official file"
        )
    return {key: found[key].to(like.dtype) for key, like in expected.items()}


def _prefix(expected: list[str], found: Mapping[str, Tensor]) -> str:
    """What stands before the keys in the file: nothing, "module." or the like, whichever fits most of them."""
    candidates = {key.removesuffix(known) for known in expected[:8] for key in found if key.endswith(known)}
    candidates = sorted(text for text in candidates if not text or text.endswith("."))
    return max(candidates, key=lambda prefix: sum(prefix + key in found for key in expected), default="")
