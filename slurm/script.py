"""The batch script of a job: settings as ``#SBATCH`` lines and variables, then shell text that never changes.

No value of the user becomes shell text: each is quoted as one word. The scripts in ``body/`` only use
the variables that are set above them.
"""

import hashlib
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from moda.errors import UserError
from moda.files import atomic_path
from moda.slurm.container import wrap
from moda.slurm.settings import JobSettings, refuse_newlines

SCRIPT = "job.sbatch"
LINE = 100  # characters, of what is better read on one line


@dataclass(frozen=True)
class Job:
    """One batch script to write.

    folder: where it and its logs go; place: the run or sweep it belongs to. argv: what follows ``moda``
    in the command; resources: what follows it in the part that runs on all tasks. typed: the line that
    asked for all this. array: indices of an array job, as ``0-9%2``; phases: its tasks are called three
    times, with begin, run and end.
    """

    settings: JobSettings
    folder: Path
    place: Path
    argv: tuple[str, ...]
    typed: str
    resources: tuple[str, ...] = ()
    array: str | None = None
    phases: bool = True

    @property
    def script(self) -> Path:
        return self.folder.absolute() / SCRIPT

    @property
    def name(self) -> str:
        """Of its place, so that two jobs of one run have the same and two runs never do."""
        place = str(self.place.absolute())
        return self.settings.job_name or f"moda-{self.place.name}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"

    @property
    def log(self) -> str:
        return str(self.folder.absolute() / ("%A_%a.log" if self.array else "%j.log"))


def write(job: Job) -> Path:
    """Write the script into ``job.folder``; returns its path."""
    text = render(job)
    with atomic_path(job.script) as temporary:
        temporary.write_text(text)
    return job.script


def render(job: Job) -> str:
    """The script's text."""
    refuse_newlines([job.typed, *job.argv, *job.resources, str(job.folder.absolute()), str(Path.cwd())])
    lines = [
        "#!/bin/bash",
        f"# {job.typed}",
        f"# To go on by hand, edited or not: sbatch {shlex.quote(str(job.script))}",
        *(f"#SBATCH {option}" for option in _options(job)),
        "",
        *_environment(job.settings),
        *_variables(job),
    ]
    body = "single.sh" if not job.array else "trial.sh" if job.phases else "task.sh"
    return "\n".join(lines) + "\n" + "".join(_body(name) for name in ("common.sh", body))


def _options(job: Job) -> list[str]:
    settings = job.settings
    values = {
        "job-name": job.name,
        "nodes": settings.nodes,
        "ntasks-per-node": settings.tasks,
        "gpus-per-node": settings.gpus_per_node or None,
        "cpus-per-task": settings.cpus_per_task,
        "mem": settings.mem,
        "time": settings.time,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "array": job.array,
        "chdir": Path.cwd(),
        "output": _pattern(job),
        "open-mode": "append",
        # to the tasks, not to this script, which must live on to requeue
        "signal": f"USR1@{settings.signal_seconds}" if settings.signal_seconds else None,
        # a second job of the same run waits for the first; names of one's own promise no such thing
        "dependency": None if settings.job_name else "singleton",
    }
    options = [f"--{name}={shlex.quote(str(value))}" for name, value in values.items() if value is not None]
    return [*options, "--requeue" if settings.max_restarts else "--no-requeue", *map(shlex.quote, settings.extra)]


def _pattern(job: Job) -> str:
    folder = str(job.folder.absolute())
    if "\\" in folder:
        raise UserError(f"{folder} holds a backslash, which SLURM reads as its own sign; choose another folder")
    return job.log.replace(folder, folder.replace("%", "%%"), 1)


def _environment(settings: JobSettings) -> list[str]:
    modules = [f"module load {shlex.join(settings.modules)}"] if settings.modules else []
    exports = [f"export {name}={shlex.quote(value)}" for name, value in settings.env.items()]
    return [*modules, *settings.setup, *exports]


def _variables(job: Job) -> list[str]:
    settings = job.settings
    gpus = bool(settings.gpus_per_node)
    inside = wrap(settings.container, str(Path.cwd()), (str(job.place.absolute()),), gpus)
    # SLURM 22.05 and later do not hand --cpus-per-task on to srun. When one task has ended, the others
    # get time to end by themselves: killed at once, they could not finish saving, nor keep their status.
    common = (f"--cpus-per-task={settings.cpus_per_task}", "--kill-on-bad-exit=0", f"--wait={settings.wait}")
    label = ("--label",) if settings.world_size > 1 else ()
    # every task sees all GPUs of its node, as Lightning and NCCL want it, whatever the site binds by default
    bind = ("--gpu-bind=none",) if gpus else ()
    python = settings.python or ("python3" if settings.container.image else sys.executable)
    arrays = {
        "srun": ("srun", *label, *common, *bind, *inside.srun, *inside.prefix),
        "command": (python, "-m", "moda.cli.main", *job.argv),
    }
    if job.array and job.phases:
        one = ("--nodes=1", "--ntasks=1", "--ntasks-per-node=1")
        arrays["srun_one"] = ("srun", *one, *common[:1], *inside.srun, *inside.prefix)
        arrays["resources"] = job.resources
    scalars = [f"script={shlex.quote(str(job.script))}", f"max_restarts={settings.max_restarts}"]
    return [*scalars, *(_array(name, words) for name, words in arrays.items())]


def _array(name: str, words: Iterable[str]) -> str:
    """A bash array; on several lines where it is long, an override a line."""
    quoted = [shlex.quote(word) for word in words]
    line = f"{name}=({' '.join(quoted)})"
    if len(line) <= LINE:
        return line
    lines = [""]
    for word in quoted:
        fits = len(lines[-1]) + len(word) < LINE and (word.startswith("-") or "=" not in word)
        lines[-1:] = [f"{lines[-1]} {word}"] if fits else [lines[-1], f" {word}"]
    return "\n ".join([f"{name}=(", *lines]) + "\n)"


def _body(name: str) -> str:
    return (files("moda.slurm") / "body" / name).read_text()
