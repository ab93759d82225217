"""Running a command whose arguments are Hydra overrides; the only place that reads ``conf/``."""

import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from moda.errors import Preempted, UserError


def run_hydra(config_name: str, function: Callable[[DictConfig], Any], argv: list[str]) -> int:
    """Compose ``conf/CONFIG_NAME.yaml`` with the overrides in ``argv`` and call ``function`` on it.

    Raises UserError for overrides that do not compose. Hydra's own flags work too (``--help``,
    ``--cfg job``, ``--multirun``); only with one of them does Hydra itself run ``function``.
    """
    if any(argument.startswith("-") for argument in argv):
        return _run_with_flags(config_name, function, argv)
    function(compose(config_name, argv))
    return 0


def compose(config_name: str, overrides: list[str]) -> DictConfig:
    """The settings; what Hydra would say in several lines is a UserError of one."""
    try:
        with hydra.initialize_config_module("moda.conf", version_base=None):
            return hydra.compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        reason = " ".join(f"{error.__cause__ or error}".split())
        # Hydra goes on with where it looked and which type it met
        reason = re.split(r" full_key:| Config search path:| See https:", reason)[0]
        reason = re.sub(r"Key '(.*)' is not in struct", r"there is no setting '\1'", reason)
        raise UserError(f"{reason}; moda {config_name.partition('_')[0]} --help lists the settings") from error


def job_overrides() -> list[str] | None:
    """Those of the run that Hydra has started, one of several under --multirun; None where it has started none."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else None


def _run_with_flags(config_name: str, function: Callable[[DictConfig], Any], argv: list[str]) -> int:
    """Leave ``argv`` to Hydra, which reads ``sys.argv`` and prints what ``function`` raises with a traceback.

    A UserError is kept apart and raised again after Hydra has let go. After an interrupt or a signal
    nothing more of a --multirun is started.
    """
    caught: list[UserError | Preempted | KeyboardInterrupt] = []

    def task(config: DictConfig) -> Any:
        if any(not isinstance(error, UserError) for error in caught):
            return None
        try:
            return function(config)
        except (UserError, Preempted, KeyboardInterrupt) as error:
            caught.append(error)
            return None

    before = sys.argv
    # its parser takes overrides in one piece only: they come last, flags and their values as they are
    overrides = [text for text in argv if not text.startswith("-") and ("=" in text or text.startswith("~"))]
    flags = [text for text in argv if text not in overrides]
    sys.argv = [f"moda {config_name.partition('_')[0]}", *flags, *overrides]
    try:
        hydra.main(version_base=None, config_path="pkg://moda.conf", config_name=config_name)(task)()
    finally:
        sys.argv = before
    if caught:
        raise next((error for error in caught if not isinstance(error, UserError)), caught[0])
    return 0
