"""The meeting of a training's processes, before anything is read: who cannot be reached is named in one line."""

import atexit
import os
import socket
import threading
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from moda.errors import UserError, first_line
from moda.outcome import leave_outcome
from moda.training.distributed.resources import Resources

MEETING = 600  # seconds that the processes of all nodes may take to come and to reach each other


def local_rank() -> int:
    """Rank of this process on its machine."""
    return _environment().local_rank()


def meet(resources: Resources, seconds: float = MEETING) -> None:
    """Join the processes of the other nodes and exchange one number with them; of one node Lightning does it later.

    Raises UserError where they do not come, or cannot be reached. A backend that does not return ends this process
    with the same line, and status 1.
    """
    use_same_interface(os.environ, [name for _, name in socket.if_nameindex()])
    if resources.num_nodes == 1 or dist.is_initialized():
        return
    environment = _environment()
    rank = _rank(environment, resources)
    me, backend = f"rank {rank} on {socket.gethostname()}", "nccl" if resources.on_gpu else "gloo"
    store = _store(environment, me, rank, resources.processes, seconds)
    unheard = f"{me} cannot reach the other ranks by {backend}: {_interfaces(resources)}"
    try:
        with _ended_after(seconds, unheard):
            _exchange(store, backend, rank, resources, resources.device(environment.local_rank()))
    except RuntimeError as error:
        raise UserError(f"{unheard} ({first_line(error)})") from error
    atexit.register(_leave)


def _store(environment: ClusterEnvironment, me: str, rank: int, processes: int, seconds: float) -> Any:
    """Where the processes leave their addresses, once all have come."""
    address, port = environment.main_address, environment.main_port
    try:
        return dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            address, port, processes, is_master=rank == 0, timeout=timedelta(seconds=seconds)
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{me} has met {'too few others' if rank == 0 else 'nobody'} at {address}:{port} within {seconds:.0f} s "
            f"({first_line(error)}): is that node reached from here, and do all nodes run this command?"
        ) from error


def _exchange(store: Any, backend: str, rank: int, resources: Resources, device: torch.device) -> None:
    """Open the group that training will use, and wait for one sum over it."""
    if resources.on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=resources.processes,
        timeout=resources.patience,
        device_id=device if resources.on_gpu else None,
    )
    one = torch.ones(1, device=device)
    dist.all_reduce(one)
    assert one.item() == resources.processes


def use_same_interface(environment: MutableMapping[str, str], present: Sequence[str]) -> None:
    """Let gloo, which carries small messages beside NCCL, take the network interface that NCCL was given.

    By itself it takes the one that the host's name stands for, which on many nodes is the loopback or a slow network.
    """
    asked = environment.get("NCCL_SOCKET_IFNAME", "")
    if not asked or "GLOO_SOCKET_IFNAME" in environment:
        return
    names = asked.lstrip("^=").split(",")
    if asked.startswith("^"):  # NCCL's sign for all but these
        chosen = [name for name in present if name != "lo" and not name.startswith(tuple(names))]
    elif asked.startswith("="):
        chosen = [name for name in present if name in names]
    else:
        chosen = [name for name in present if name.startswith(tuple(names))]
    if chosen:
        environment["GLOO_SOCKET_IFNAME"] = chosen[0]


def _environment() -> ClusterEnvironment:
    """Who has started the processes, as Lightning finds out."""
    if SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def _rank(environment: ClusterEnvironment, resources: Resources) -> int:
    if isinstance(environment, LightningEnvironment):  # which is told its rank later
        return environment.node_rank() * resources.local_processes + environment.local_rank()
    return environment.global_rank()


def _interfaces(resources: Resources) -> str:
    variables = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME") if resources.on_gpu else ("GLOO_SOCKET_IFNAME",)
    given = ", ".join(
        f"{name}={os.environ[name]}" if name in os.environ else f"{name} is not set" for name in variables
    )
    present = ", ".join(name for _, name in socket.if_nameindex())
    return (
        f"{given}, the interfaces here are {present}; name the one that joins the nodes, as "
        f"slurm.env.{variables[0]}=ib0" + (", NCCL_DEBUG=INFO shows what NCCL tries" if resources.on_gpu else "")
    )


@contextmanager
def _ended_after(seconds: float, line: str) -> Iterator[None]:
    """Inside, a call that does not return within ``seconds`` ends the process: what waits in C cannot be interrupted."""

    def end() -> None:
        if not leave_outcome(UserError(line)):
            os.write(2, f"moda train: error: {line} (no answer within {seconds:.0f} s)\n".encode())
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
