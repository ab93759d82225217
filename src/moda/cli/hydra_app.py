"""Running a command whose arguments are Hydra overrides; the only place that reads ``conf/``."""

import sys
from collections.abc import Callable
from typing import Any

import hydra
from omegaconf import DictConfig

from moda.errors import UserError


def run_hydra(config_name: str, function: Callable[[DictConfig], Any], argv: list[str]) -> int:
    """Compose ``conf/CONFIG_NAME.yaml`` with the overrides in ``argv`` and call ``function`` on it.

    Hydra reads ``sys.argv`` and reports errors itself with a traceback; a UserError is kept apart
    and raised again after Hydra has let go, so that it is printed as one line.
    """
    caught: list[UserError | KeyboardInterrupt] = []

    def task(config: DictConfig) -> Any:
        try:
            return function(config)
        except (UserError, KeyboardInterrupt) as error:
            caught.append(error)
            return None

    before = sys.argv
    sys.argv = [f"moda {config_name}", *argv]
    try:
        hydra.main(version_base=None, config_path="pkg://moda.conf", config_name=config_name)(task)()
    finally:
        sys.argv = before
    if caught:
        raise caught[0]
    return 0
