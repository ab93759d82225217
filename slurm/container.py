"""How a task is started inside a container, for each runtime."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from moda.slurm.settings import ContainerSettings


@dataclass(frozen=True)
class Wrapping:
    """``srun``: options that srun itself takes; ``prefix``: the program put before the command."""

    srun: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()


def wrap(container: ContainerSettings, workdir: str, folders: tuple[str, ...], gpus: bool) -> Wrapping:
    """The wrapping of a command that runs in ``workdir`` and writes to ``folders``, all of them mounted.

    The prefix replaces no process by a shell, so that SLURM's signals reach the training.
    """
    if container.image is None:
        return Wrapping()
    outside = [folder for folder in folders if not Path(folder).is_relative_to(workdir)]
    mounts = [*(f"{folder}:{folder}" for folder in (workdir, *outside)), *container.mounts]
    if container.runtime == "pyxis":
        return Wrapping(
            srun=(
                f"--container-image={container.image}",
                f"--container-mounts={','.join(mounts)}",
                f"--container-workdir={workdir}",
            )
        )
    if container.runtime == "enroot":
        # enroot starts in the image's own directory: it has no option for another
        binds = [part for mount in mounts for part in ("--mount", mount)]
        enter = ("sh", "-c", f'cd {shlex.quote(workdir)} && exec "$@"', "sh")
        return Wrapping(prefix=("enroot", "start", *binds, container.image, *enter))
    binds = [f"--bind={mount}" for mount in mounts]
    driver = ("--nv",) if gpus else ()
    return Wrapping(prefix=(container.runtime, "exec", *driver, *binds, f"--pwd={workdir}", container.image))
