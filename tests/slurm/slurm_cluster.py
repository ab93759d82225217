"""A real SLURM cluster on the loopback interface: munged, slurmctld and a slurmd for each node.

Nothing outside its folder is touched: clients find it through SLURM_CONF. The nodes are called 127.0.0.1,
127.0.0.2 and so on, names that resolve everywhere, and claim four CPUs each whatever the machine has.
A job in partition ``high`` preempts one in ``debug``, which has 30 s to leave.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "setpriv")

CONFIGURATION = """\
ClusterName=test
FirstJobId={first_job}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=300
ReturnToService=2
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why no cluster can be started here."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)}; apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmd needs root"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.1)


class Cluster:
    """``with Cluster(2) as cluster``; its daemons end with the block, or with the process that runs it."""

    def __init__(self, nodes: int):
        self.nodes = [f"127.0.0.{number}" for number in range(1, nodes + 1)]
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._requeued: dict[str, float] = {}  # jobs that wait after a requeue, and since when

    def __enter__(self) -> "Cluster":
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._daemons) > 1:
            self._cancel_everything()
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, env={**os.environ, **self.environment}
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """The fields of ``scontrol show job``, also of one that ended in the last minutes."""
        words = self.run("scontrol", "show", "job", "-o", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def is_queued(self, number: str) -> bool:
        """Whether anything of a job, also an array's, is left in the queue.

        A requeued job waits two minutes, a time that no setting of SLURM changes. Here two seconds must do;
        in the second of its requeue a node would refuse it ("already killed").
        """
        lines = self.run("squeue", "--noheader", "--states=PENDING", "--array", "--format=%i %r").splitlines()
        waiting = [own for own, reason in (line.split(None, 1) for line in lines) if reason == "BeginTime"]
        self._requeued = {own: self._requeued.get(own, time.monotonic()) for own in waiting}
        for own, since in self._requeued.items():
            if time.monotonic() > since + 2:
                self.run("scontrol", "update", f"JobId={own}", "StartTime=now")
        return number in self.run("squeue", "--noheader", "--format=%F").split()

    def wait(self, number: str, seconds: float = 240) -> dict[str, str]:
        """Until a job has left the queue; returns its fields."""
        wait_until(f"job {number} has ended", lambda: not self.is_queued(number), seconds)
        return self.job(number)

    def _start(self) -> None:
        ports = free_ports(len(self.nodes) + 1)
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000 State=UNKNOWN"
            for name, port in zip(self.nodes, ports[1:], strict=True)
        ]
        # Ports of training follow from the job's number: not the same as another cluster's here.
        text = CONFIGURATION.format(folder=self.folder, host=host, port=ports[0], first_job=1000 + os.getpid() % 50000)
        nodes, partitions = text.split("PartitionName", 1)
        (self.folder / "slurm.conf").write_text("\n".join([nodes, *lines, "PartitionName" + partitions]))
        self.folder.chmod(0o755)  # munged wants a folder that others may read, and not write
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        (self.folder / "state").mkdir()
        own = {"key-file": key, "socket": self.folder / "munge.sock", "pid-file": self.folder / "munged.pid",
               "log-file": self.folder / "munged.log", "seed-file": self.folder / "munged.seed"}  # fmt: skip
        self._daemon("munged", "--foreground", *(f"--{name}={path}" for name, path in own.items()))
        wait_until("munged listens", (self.folder / "munge.sock").exists, 20)
        self._daemon("slurmctld", "-D", "-c", "-i")
        for name in self.nodes:
            (self.folder / f"spool.{name}").mkdir()
            self._daemon("slurmd", "-D", "-N", name)
        wait_until("all nodes are idle", self._is_up, 60)

    def _daemon(self, *command: str) -> None:
        log = open(self.folder / f"{command[0]}-{len(self._daemons)}.out", "wb")  # noqa: SIM115
        with log:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig=TERM", *command],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **self.environment},
                    start_new_session=True,  # an interrupt of the tests is not theirs
                )
            )

    def _is_up(self) -> bool:
        for daemon in self._daemons:
            if daemon.poll() is not None:
                said = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.out"))
                raise AssertionError(f"{daemon.args} ended: {said}")
        done = subprocess.run(
            ["sinfo", "--noheader", "--partition=debug", "--Node", "--format=%t"],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
        )
        return done.stdout.split() == ["idle"] * len(self.nodes)

    def _cancel_everything(self) -> None:
        environment = {**os.environ, **self.environment}
        for _ in range(100):
            left = subprocess.run(
                ["squeue", "--noheader", "--format=%F"], capture_output=True, text=True, timeout=30, env=environment
            ).stdout.split()
            if not left:
                return
            subprocess.run(["scancel", "--quiet", *set(left)], timeout=30, env=environment)
            time.sleep(0.2)
