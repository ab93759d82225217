"""Weights and inputs that follow from names: what the originals computed on them is what the tests compare with."""

import zlib
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

SALT = "moda-lightning"
Network = TypeVar("Network", bound=nn.Module)


def generator(name: str, salt: str = SALT) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(f"{salt}:{name}".encode())))


def normal_input(name: str, shape: tuple[int, ...], salt: str = SALT) -> Tensor:
    return torch.from_numpy(generator(f"input:{name}", salt).standard_normal(shape).astype(np.float32))


def uniform_input(name: str, shape: tuple[int, ...], salt: str = SALT) -> Tensor:
    return torch.from_numpy(generator(f"input:{name}", salt).random(shape).astype(np.float32))


def weight(key: str, shape: tuple[int, ...], salt: str = SALT) -> Tensor:
    """The tensor of a state-dict key, but for the vectors of ``spectral_vectors``."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    x = generator(key, salt).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif key.endswith("running_mean"):
        x = 0.1 * x
    elif x.ndim > 1:
        x = x / np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        x = 1 + 0.1 * x if key.endswith((".weight", ".gamma", ".scale")) else 0.1 * x
    return torch.from_numpy(x.astype(np.float32))


def spectral_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """u and v of the largest singular value of a weight, after twenty power iterations from a constant u."""
    w = matrix.flatten(1).double()
    u, v = torch.full((len(w),), len(w) ** -0.5, dtype=torch.double), torch.empty(0)
    for _ in range(20):
        v = torch.nn.functional.normalize(w.T @ u, dim=0)
        u = torch.nn.functional.normalize(w @ v, dim=0)
    return u.float(), v.float()


def state_of(network: nn.Module, salt: str = SALT) -> dict[str, Tensor]:
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    state = {key: weight(key, shape, salt) for key, shape in shapes.items()}
    for key in shapes:
        if key.endswith("weight_orig"):
            u, v = (key.replace("weight_orig", f"weight_{name}") for name in "uv")
            state[u], state[v] = spectral_vectors(state[key])
    return state


def by_rule(kind: type[Network], salt: str = SALT) -> Network:
    """A network of ``kind`` whose every weight follows from its key, in evaluation mode."""
    with torch.device("meta"):
        network = kind()
    network.load_state_dict(state_of(network, salt), assign=True)
    return network.requires_grad_(False).eval()


def matches(actual: Tensor | np.ndarray, golden: tuple[float, float, list[float]]) -> bool:
    """Whether mean, standard deviation and twelve values agree with ``golden`` to 1e-4 of the standard deviation."""
    x = np.asarray(actual, np.float64).ravel()
    mean, std, values = golden
    found = np.array([x.mean(), x.std(ddof=1), *x[:: x.size // 12 | 1][:12]])
    return bool(np.abs(found - np.array([mean, std, *values])).max() < 1e-4 * std)
