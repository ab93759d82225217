"""Who runs the tasks. The tasks are the same, and so is what they leave behind."""

from moda.data_prep import local, slurm_array
from moda.data_prep.extract import Extractor
from moda.data_prep.on_ray import run_on_ray
from moda.data_prep.tasks import WorkFolder, WorkList


def run(work: WorkFolder, plan: WorkList, models: Extractor, cluster: slurm_array.Cluster | None) -> bool:
    """Have the tasks of ``plan`` done; False where they go on elsewhere, and this process need not wait.

    models: those of this process, which does the work itself where ``settings.workers`` is 0.
    """
    settings = plan.settings
    if settings.launcher == "slurm":
        assert cluster is not None
        slurm_array.submit(work, plan, cluster)
        return False
    if settings.launcher == "ray":
        run_on_ray(work, plan)
    elif settings.workers == 0:
        local.run_here(work, plan, models)
    else:
        local.run_in_processes(work, plan)
    return True
