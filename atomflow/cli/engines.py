"""Where the steps of a command run: the options, and what they make."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from atomflow.cli.quantities import duration_s
from atomflow.errors import BadOptionError, UnknownNameError
from atomflow.flow import Flow, LocalExecutor, Resources, Store, available_cores
from atomflow.flow.batch import Cluster, clusters_file, read_clusters

_F = TypeVar("_F", bound=Callable[..., Any])
#: What can be said after ``--resources STEP:``, and the field that it sets.
_FIELDS = {
    "cores": "cores",
    "ranks": "ranks",
    "nodes": "nodes",
    "gpus": "gpus",
    "memory": "memory_GB",
    "walltime": "walltime_s",
    "estimate": "estimate_s",
}


@dataclass(frozen=True)
class Engine:
    """The options of a command that say where its steps run."""

    name: str = "local"
    jobs: int | None = None
    cluster: str | None = None
    max_jobs: int = 50
    resources: tuple[str, ...] = ()
    changes: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", parse_resources(self.resources))
        if self.name != "slurm" and self.cluster is not None:
            raise BadOptionError(f"--cluster names a profile of --engine slurm; the engine here is {self.name}")
        if self.name != "local" and self.jobs is not None:
            raise BadOptionError(f"--jobs counts local processes; the engine here is {self.name}, use --max-jobs")

    def check(self) -> None:
        """Find a mistake in the profiles before anything is written."""
        if self.name == "slurm":
            chosen_cluster(self.cluster)

    def flow(self, store: Store, on_change: Callable[[str, str, Any], None], say: Callable[[str], None]) -> Flow:
        """The flow that these options ask for."""
        launcher: tuple[str, ...] = Cluster.launcher
        executor: Executor | None = None
        if self.name == "slurm":
            from atomflow.flow.slurm import SlurmExecutor

            cluster = chosen_cluster(self.cluster)
            executor, launcher = SlurmExecutor(cluster, store, self.max_jobs), cluster.launcher
        elif self.name == "allocation":
            from atomflow.flow.allocation import AllocationExecutor

            executor = AllocationExecutor()
            if clusters_file().is_file():
                launcher = chosen_cluster(None).launcher
        elif (jobs := self.jobs or available_cores()) > 1:
            executor = LocalExecutor(jobs)
        return Flow(store, executor, on_change=on_change, resources=self.changes, launcher=launcher)


def chosen_cluster(name: str | None) -> Cluster:
    """A profile by its name; without one the first of the file."""
    path = clusters_file()
    known = read_clusters(path)
    if name is not None and name not in known:
        raise UnknownNameError("cluster", name, known, mend=f"profiles are in {path}")
    return known[name] if name is not None else next(iter(known.values()))


def engine_options(command: _F) -> _F:
    """``--engine``, ``--jobs``, ``--cluster``, ``--max-jobs``, ``--resources``, handed over as ``engine``."""
    if isinstance(command, click.Command):
        assert command.callback is not None
        command.callback = _gathered(command.callback)
    else:
        command = _gathered(command)  # type: ignore[assignment]
    for option in reversed(
        (
            click.option(
                "--engine",
                "engine_name",
                type=click.Choice(["local", "slurm", "allocation"]),
                default="local",
                help="Where steps run: processes here, jobs of Slurm, or the cores of the job we are in.",
            ),
            click.option("--jobs", type=click.IntRange(1), default=None, help="Local processes [all cores]."),
            click.option("--cluster", help="Profile for --engine slurm [the first of clusters.yaml]."),
            click.option(
                "--max-jobs", type=click.IntRange(1), default=50, help="Jobs in Slurm's queue at a time [50]."
            ),
            click.option(
                "--resources",
                multiple=True,
                metavar="STEP:NAME=VALUE,...",
                help="What a step gets: cores, ranks, nodes, gpus, memory, walltime; relax:cores=4,walltime=2h.",
            ),
        )
    ):
        command = option(command)
    return command


def _gathered(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(
        *args: Any,
        engine_name: str,
        jobs: int | None,
        cluster: str | None,
        max_jobs: int,
        resources: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        return function(*args, engine=Engine(engine_name, jobs, cluster, max_jobs, resources), **kwargs)

    return call


def parse_resources(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Changes to what steps ask for, from texts such as ``relax:cores=4,memory=8GB,walltime=2h``.

    Raises
    ------
    BadOptionError, UnknownNameError
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        step, colon, body = text.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z_][\w.]*", step) or not body:
            raise BadOptionError(f"--resources {text!r} must be STEP:NAME=VALUE,..., such as relax:cores=4,walltime=2h")
        for part in body.split(","):
            name, equals, value = part.partition("=")
            if name not in _FIELDS or not equals:
                raise UnknownNameError("resource", name, _FIELDS, mend=f"in --resources {text}")
            found.setdefault(step, {})[_FIELDS[name]] = _value(name, value, text)
        try:
            Resources(**found[step])
        except ValueError as error:
            raise BadOptionError(f"--resources {text}: {error}") from error
    return found


def _value(name: str, value: str, text: str) -> int | float:
    try:
        if name in ("cores", "ranks", "nodes", "gpus"):
            return int(value)
        if name == "memory":
            number = re.fullmatch(r"([\d.]+)(GB|G|MB|M)?", value)
            if number is not None:
                return float(number[1]) / (1024 if (number[2] or "G").startswith("M") else 1)
        elif (seconds := duration_s(value)) is not None:
            return seconds
    except ValueError:
        pass
    units = {"memory": "8GB or 500MB", "walltime": "90s, 30m, 24h or HH:MM:SS", "estimate": "90s, 30m or 2h"}
    raise BadOptionError(f"--resources {text}: {name} {value!r} must be {units.get(name, 'a whole number')}")
