"""Tasks on a Ray cluster, or on one that Ray makes of this machine."""

from functools import cache
from pathlib import Path
from typing import Any

from moda.data_prep.extract import Extractor
from moda.data_prep.journal import shown
from moda.data_prep.local import POLL, write_errors_to
from moda.data_prep.tasks import MAX_TRIES, WorkFolder, WorkList, models_of, run_task
from moda.errors import UserError


def run_on_ray(work: WorkFolder, plan: WorkList) -> None:
    """Run the tasks where Ray has room; one whose worker dies is begun again, anywhere.

    The cluster is the one that RAY_ADDRESS names or that runs here already, else this machine. ``out`` and
    ``source`` must have the same paths on all of its nodes.
    """
    ray = _ray()
    began = not ray.is_initialized()
    if began:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        resources = ray.cluster_resources()
        share = min(1.0, resources.get("GPU", 0) / max(resources.get("CPU", 1), 1))  # GPUs are shared evenly
        remote = ray.remote(_task).options(num_cpus=1, num_gpus=share, max_retries=MAX_TRIES * (len(plan.tasks[0]) + 1))
        waiting = iter(range(len(plan.tasks)))
        at_a_time = plan.settings.workers or len(plan.tasks)
        running = [remote.remote(str(work.path), number) for number, _ in zip(waiting, range(at_a_time), strict=False)]
        with shown(work.journal, plan.videos) as poll:
            while running:
                done, running = ray.wait(running, timeout=POLL)
                for task in done:
                    _result(ray, task)
                    running += [remote.remote(str(work.path), number) for number in _next(waiting)]
                poll()
    finally:
        if began:
            ray.shutdown()


def _next(waiting: Any) -> list[int]:
    number = next(waiting, None)
    return [] if number is None else [number]


def _result(ray: Any, task: Any) -> None:
    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise UserError(f"the workers of Ray die one after the other ({error}); its logs say why") from error


def _task(folder: str, number: int) -> None:
    """What a worker of Ray does; its models stay for the next task."""
    plan, extractor = _loaded(folder, (Path(folder) / "run.json").stat().st_mtime_ns)
    run_task(WorkFolder(Path(folder)), plan, number, extractor)


@cache
def _loaded(folder: str, _: int) -> tuple[WorkList, Extractor]:
    import cv2

    cv2.setNumThreads(1)
    work = WorkFolder(Path(folder))
    write_errors_to(work)
    plan = work.load()
    return plan, models_of(plan)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("launcher=ray needs Ray; run: pip install 'moda[ray]'") from error
    return ray
