from collections.abc import Iterator

import pytest
from slurm_cluster import Cluster, missing


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A SLURM cluster of two nodes, or a skipped test where there cannot be one."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Cluster(2) as cluster:
        yield cluster
