"""Tasks as an array job of SLURM, and a job behind it that writes the shards."""

import shlex
from dataclasses import dataclass, replace

from moda.data_prep.tasks import WorkFolder, WorkList
from moda.errors import UserError
from moda.slurm import queue, script
from moda.slurm.settings import JobSettings

COMMAND = "prepare-task"
TASKS = 256  # where their number is not given; a cluster takes 1001 at most, unless it is set up otherwise


@dataclass(frozen=True)
class Cluster:
    """What each task is given, and the line that asked for it."""

    job: JobSettings
    typed: str


def refuse_queued(work: WorkFolder) -> None:
    """Two arrays on one data set would do the same work twice."""
    folder = work.path.parent / "slurm"
    for name in ("tasks", "finish"):
        if (folder / name / script.SCRIPT).is_file():
            queue.refuse_second((folder / name / script.SCRIPT).absolute(), str(work.path.parent))


def submit(work: WorkFolder, plan: WorkList, cluster: Cluster) -> None:
    """Write and submit the array of the plan's tasks, ``settings.workers`` at a time, and the job that packs."""
    if cluster.job.world_size > 1:
        raise UserError(f"a task of moda prepare is one process, but the job has {cluster.job.world_size}; "
                        "give slurm.nodes=1 and slurm.gpus_per_node=1, or slurm=cpu")  # fmt: skip
    out = work.path.parent
    place = str(out.absolute())
    limit = f"%{plan.settings.workers}" if plan.settings.workers else ""
    array = script.Job(
        cluster.job, out / "slurm" / "tasks", out, (COMMAND, place), cluster.typed,
        array=f"0-{len(plan.tasks) - 1}{limit}", phases=False,
    )  # fmt: skip
    path = script.write(array)
    if not cluster.job.submit:
        print(path.read_text(), end="")
        print(f"# written to {path}; not submitted")
        return
    number = queue.submit(path)
    # whatever became of the tasks: it says which videos are missing
    after = replace(
        cluster.job, job_name=f"{array.name}-finish", extra=[*cluster.job.extra, f"--dependency=afterany:{number}"]
    )
    finish = script.write(script.Job(after, out / "slurm" / "finish", out, (COMMAND, place, "finish"), cluster.typed))
    last = queue.submit(finish)
    print(
        f"submitted {len(plan.tasks)} tasks as job {number}, and job {last}, which writes the shards when they have ended"
    )
    print(f"how far it is: moda prepare status {shlex.quote(str(out))}   end it: scancel {number} {last}")
