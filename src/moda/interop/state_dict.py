"""What a file of other people's weights holds, once it has been read."""

from pathlib import Path
from typing import Any

import torch

from moda.errors import UserError


def tensors_of(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name, whether they lie at the top or under ``state_dict`` or ``model``; UserError if nowhere."""
    for level in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(level), dict):
            content = content[level]
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}, not a dictionary of weights; give the official file")
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
