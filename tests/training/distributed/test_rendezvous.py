"""Processes of two nodes that meet, or do not, over gloo on this machine."""

import os
import subprocess
import sys
import threading

import pytest

from moda.errors import UserError
from moda.training.distributed import rendezvous
from moda.training.distributed.launch import free_port
from moda.training.distributed.rendezvous import use_same_interface
from moda.training.distributed.resources import Resources

PROGRAM = """
import sys
import torch.distributed as dist
from moda.errors import UserError
from moda.training.distributed.rendezvous import meet
from moda.training.distributed.resources import Resources
resources = Resources.of({"accelerator": "cpu", "devices": 1, "num_nodes": 2, "precision": "32-true"})
try:
    meet(resources, float(sys.argv[1]))
except UserError as error:
    sys.exit(f"refused: {error}")
print("rank", dist.get_rank(), "of", dist.get_world_size())
"""


def node(rank: int, port: int, seconds: float, address: str = "127.0.0.1") -> subprocess.Popen[str]:
    place = {"MASTER_ADDR": address, "MASTER_PORT": str(port), "NODE_RANK": str(rank), "LOCAL_RANK": "0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "GLOO_"))}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds)],
        env=environment | place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_nodes_meet_or_say_who_is_missing() -> None:
    port = free_port()
    together = [node(rank, port, 60) for rank in (0, 1)]
    alone = [node(0, free_port(), 1), node(1, free_port(), 1)]  # each at a port where nobody else comes
    said = [process.communicate(timeout=120) for process in (*together, *alone)]
    assert [out for out, _ in said[:2]] == ["rank 0 of 2\n", "rank 1 of 2\n"]
    first, second = (error for _, error in said[2:])
    assert "refused: rank 0 on" in first and "too few others" in first and "within 1 s" in first
    assert "refused: rank 1 on" in second and "nobody" in second
    assert all("do all nodes run this command?" in line for line in (first, second))


def test_a_backend_that_cannot_reach_the_other_node_is_one_line(monkeypatch) -> None:
    def unreachable(*arguments, **settings):
        raise RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:2092, unhandled system error\nLast error:\nno route")

    for name, value in {"MASTER_ADDR": "node1", "MASTER_PORT": "29500", "NODE_RANK": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_NTASKS", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rendezvous.dist, "TCPStore", lambda *arguments, **settings: object())
    monkeypatch.setattr(rendezvous.dist, "init_process_group", unreachable)
    resources = Resources.of({"accelerator": "cpu", "devices": 1, "num_nodes": 2, "precision": "32-true"})
    with pytest.raises(UserError) as refused:
        rendezvous.meet(resources)
    line = str(refused.value)
    assert "\n" not in line and "rank 1 on " in line and "cannot reach the other ranks by gloo" in line
    assert "GLOO_SOCKET_IFNAME is not set, the interfaces here are lo" in line and "unhandled system error" in line


def test_a_backend_that_never_answers_ends_the_process_with_the_line(monkeypatch, capfd) -> None:
    ended = threading.Event()
    statuses: list[int] = []
    monkeypatch.delenv("MODA_OUTCOME", raising=False)
    monkeypatch.setattr(rendezvous.os, "_exit", lambda status: (statuses.append(status), ended.set()))
    with rendezvous._ended_after(0.05, "nobody answers"):
        assert ended.wait(10)
    assert statuses == [1] and "error: nobody answers (no answer within 0 s)" in capfd.readouterr().err
    with rendezvous._ended_after(60, "in time"):
        pass
    assert statuses == [1]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [("ib0", "ib0"), ("ib", "ib0"), ("=ib1", "ib1"), ("eth,ib", "eth0"), ("^docker,eth", "ib0"), ("wlan", None)],
)
def test_gloo_takes_the_interface_that_nccl_was_given(asked: str, chosen: str | None) -> None:
    environment = {"NCCL_SOCKET_IFNAME": asked}
    use_same_interface(environment, ["lo", "docker0", "eth0", "ib0", "ib1"])
    assert environment.get("GLOO_SOCKET_IFNAME") == chosen


def test_an_interface_that_was_given_to_gloo_stays() -> None:
    environment = {"NCCL_SOCKET_IFNAME": "ib0", "GLOO_SOCKET_IFNAME": "eth0"}
    use_same_interface(environment, ["eth0", "ib0"])
    assert environment["GLOO_SOCKET_IFNAME"] == "eth0"
    use_same_interface(nothing := {}, ["eth0"])
    assert not nothing
