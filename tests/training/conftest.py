from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from training_support import small_overrides

from moda.cli.train import resolve

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def compose_train() -> Callable[..., dict[str, Any]]:
    """``compose_train(*overrides)``: a resolved configuration of moda train."""

    def make(*overrides: str) -> dict[str, Any]:
        with initialize_config_module("moda.conf", version_base=None):
            return resolve(compose("train", list(overrides)))

    return make


@pytest.fixture
def configure(tiny_dataset: Path, tmp_path: Path) -> Configure:
    """``configure(task, name, *overrides, dataset=tiny_dataset)``: a resolved configuration at tmp_path/name."""

    def make(task: str, name: str, *overrides: str, dataset: Path = tiny_dataset) -> dict[str, Any]:
        arguments = small_overrides(task, dataset, f"run_dir={tmp_path / name}", *overrides)
        with initialize_config_module("moda.conf", version_base=None):
            return resolve(compose("train", arguments))

    return make
