"""What the networks of the measures share: an official file in, a frozen network out."""

import pickle
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import nn

from moda.errors import UserError
from moda.eval.networks.script import is_script, read_script
from moda.interop.state_dict import tensors_of

COUNTER = "num_batches_tracked"  # files older than PyTorch 0.4.1 lack it, and nothing here reads it


class PretrainedNetwork(nn.Module):
    """A network whose weights somebody else has published; its state-dict keys are those of their file.

    title: what an error calls it. file: the official file's name, so that an error can name it.
    """

    title: str
    file: str

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """The network with the weights of ``path``, frozen, in evaluation mode, float32 on the CPU.

        .safetensors, a file of ``torch.save`` or a TorchScript archive: code in it is never run. A prefix
        before all keys and a ``state_dict`` or ``model`` level around them are accepted; other tensors in
        the file are ignored. Raises UserError when the file is not this network.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path} does not exist; the official file of {cls.title} is {cls.file}")
        with torch.device("meta"):  # no memory for weights that ``assign`` replaces
            network = cls()
        weights = cls._match(network.state_dict(), read_weights(path), path)
        network.load_state_dict(weights, assign=True)
        return network.requires_grad_(False).eval()

    @classmethod
    def _match(cls, expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], path: Path) -> dict:
        """The tensors of ``found`` under the keys of ``expected``; UserError naming the first that do not fit."""
        prefix = _common_prefix(list(expected), found)
        weights, wrong = {}, []
        for key, like in expected.items():
            tensor = found.get(prefix + key)
            if tensor is None and key.endswith(COUNTER):
                weights[key] = torch.zeros((), dtype=torch.long)
            elif tensor is None:
                wrong.append(f"{key} is absent")
            elif tensor.shape != like.shape:
                wrong.append(f"{key} is {tuple(tensor.shape)}, not {tuple(like.shape)}")
            else:
                weights[key] = tensor.to(like.dtype)
        if wrong:
            listed = "; ".join(wrong[:2])
            raise UserError(f"{path} is not {cls.title}: {listed} ({len(wrong)} in all); give {cls.file}")
        return weights


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Name to tensor of a file of weights; raises UserError where it cannot be read without running its code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_script(path):
            return read_script(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file can fail in any way within its reader
        raise UserError(f"{path} cannot be read as weights; download it again ({_reason(error)})") from error
    return tensors_of(content, path)


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # PyTorch's own words are a page about how to trust the file
        return "it is no file of torch.save, or holds more than tensors"
    return str(error).partition("\n")[0] or type(error).__name__


def _common_prefix(expected: list[str], found: dict[str, torch.Tensor]) -> str:
    """What stands before all expected keys in the file: "", "module." or the like, whichever fits most of them."""
    candidates = {name.removesuffix(expected[0]) for name in found if name.endswith(expected[0])}
    candidates = sorted(name for name in candidates if not name or name.endswith("."))
    return max(candidates, key=lambda prefix: sum(prefix + key in found for key in expected), default="")
