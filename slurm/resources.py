"""The settings of a training that follow from the resources of its job."""

from collections.abc import Collection, Mapping
from typing import Any

from moda.errors import UserError
from moda.slurm.settings import JobSettings


def training_overrides(job: JobSettings, config: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """Overrides that make ``moda train`` use what ``job`` asks for.

    config: the training's composed settings; given: the keys that the user set. A given setting that
    contradicts the resources is a UserError; one that agrees is left alone.
    """
    trainer = config["trainer"]
    accelerator = "gpu" if job.gpus_per_node else "cpu"
    source = f"slurm.gpus_per_node={job.gpus_per_node}"
    wanted = {"accelerator": accelerator, "devices": job.tasks, "num_nodes": job.nodes}
    sources = {"accelerator": source, "devices": _tasks_source(job), "num_nodes": f"slurm.nodes={job.nodes}"}
    overrides = []
    for name, value in wanted.items():
        if f"trainer.{name}" in given and not _agrees(trainer[name], value):
            raise UserError(f"trainer.{name}={trainer[name]} contradicts {sources[name]}; leave one of them out")
        overrides.append(f"trainer.{name}={value}")
    if accelerator == "cpu" and trainer["accelerator"] in ("gpu", "cuda"):
        raise UserError(f"the trainer asks for GPUs (trainer=gpu), but {source}; give slurm.gpus_per_node=...")
    if accelerator == "gpu" and "trainer" in given and trainer["accelerator"] == "cpu" and trainer["devices"] == 1:
        raise UserError(f"the trainer chosen with trainer=... runs on a CPU, but {source}; use trainer=gpu")
    if job.world_size > 1 and str(config["strategy"].get("_target_", "")).endswith(".single"):
        if "strategy" in given:
            raise UserError(
                f"strategy=single trains in one process, but the job has {job.world_size} tasks; "
                "leave it out or choose ddp or deepspeed_2"
            )
        overrides.append("strategy=ddp")
    if job.max_restarts and config.get("resume") is False:
        raise UserError("resume=false cannot be requeued: the second start would be refused; give slurm.max_restarts=0")
    return overrides


def _agrees(given: Any, wanted: Any) -> bool:
    return given in (wanted, "auto") or (wanted == "gpu" and given == "cuda") or str(given) == str(wanted)


def _tasks_source(job: JobSettings) -> str:
    if job.gpus_per_node:
        return f"slurm.gpus_per_node={job.gpus_per_node}"
    return f"slurm.tasks_per_node={job.tasks}"
