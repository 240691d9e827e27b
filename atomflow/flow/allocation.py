"""Steps on the cores of the allocation that the driver itself runs in; executorlib starts them with srun."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from atomflow.errors import BadOptionError, MissingBackendError
from atomflow.model import Resources


class AllocationExecutor(Executor):
    """Steps on the cores of the allocation that the driver itself runs in, by ``srun``.

    Raises
    ------
    BadOptionError
        Outside of an allocation.
    """

    threads = 1

    def __init__(self, cores: int | None = None) -> None:
        if "SLURM_JOB_ID" not in os.environ:
            raise BadOptionError("--engine allocation works inside a job of Slurm; use --engine slurm or local here")
        self._cores = cores or _cores_of(os.environ.get("SLURM_JOB_CPUS_PER_NODE", "1"))
        self._library = executorlib().SlurmJobExecutor(max_cores=self._cores)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a task over."""
        needs: Resources = args[0].resources
        if needs.all_cores > self._cores:  # executorlib would wait for them for ever
            raise BadOptionError(
                f"{args[0].step} asks for {needs.all_cores} cores and this allocation has {self._cores}; say less with "
                "--resources"
            )
        asked: dict[str, Any] = {"cores": 1, "threads_per_core": needs.all_cores}
        if needs.gpus:
            asked["gpus_per_core"] = needs.gpus
        future: Future[Any] = self._library.submit(fn, *args, resource_dict=asked, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers."""
        self._library.shutdown(wait=wait, cancel_futures=cancel_futures)


def _cores_of(per_node: str) -> int:
    """Cores of an allocation, from Slurm's ``72(x2),36``."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", per_node)
    return sum(int(cores) * int(nodes or 1) for cores, nodes in parts) or 1


def executorlib() -> Any:
    """The library, or how to get it."""
    try:
        import executorlib as library
        import h5py  # noqa: F401
        import pysqa  # noqa: F401
    except ImportError as error:
        raise MissingBackendError("slurm", "executorlib, h5py and pysqa", "pip install 'atomflow[slurm]'") from error
    return library
