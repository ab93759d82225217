"""How training is spread over processes, as ``conf/strategy`` names it."""

from lightning.pytorch.strategies import DDPStrategy, Strategy

from moda.errors import UserError


def single(*, processes: int) -> str | Strategy:
    """One process."""
    if processes > 1:
        raise UserError(
            f"strategy=single trains in one process, but the trainer asks for {processes}; use strategy=ddp"
        )
    return "auto"


def ddp(*, processes: int, find_unused_parameters: bool = False) -> str | Strategy:
    """Distributed data parallel; gloo on CPUs, NCCL on GPUs."""
    return DDPStrategy(find_unused_parameters=find_unused_parameters)
