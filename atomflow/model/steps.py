"""What a function says about itself so that it can be a step of a study: a version, and what it needs.

Saying so changes nothing: a step is called like any function. What is made of it (looking it up in a store, sending it
to a cluster) is ``atomflow.flow``'s business.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
#: Words before a program that runs on several ranks, unless a cluster's profile says otherwise.
LAUNCHER = ("mpirun", "-n", "{ranks}")


@dataclass(frozen=True)
class Resources:
    """What a step needs from a machine.

    Attributes
    ----------
    cores : int
        For every rank.
    ranks : int
        Processes that the step itself launches, see :meth:`Work.launch`. The step's own function runs once.
    nodes : int
        Over which the ranks are spread.
    memory_GB : float or None
    walltime_s : float or None
        After which a batch system ends it.
    gpus : int
    estimate_s : float or None
        How long it will take, roughly; short steps share a job.
    """

    cores: int = 1
    ranks: int = 1
    nodes: int = 1
    memory_GB: float | None = None
    walltime_s: float | None = None
    gpus: int = 0
    estimate_s: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("cores", 1), ("ranks", 1), ("nodes", 1), ("gpus", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        for name in ("memory_GB", "walltime_s", "estimate_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be above zero, not {value!r}")

    @property
    def all_cores(self) -> int:
        """Cores of all ranks together."""
        return self.cores * self.ranks


@dataclass(frozen=True)
class Work:
    """Where and with what a step works; a step that has a parameter ``work`` is given one by whoever runs it.

    Attributes
    ----------
    folder : Path
        The step's own. A checkpointing step finds there what it left when it was last stopped. Files that are to be
        kept are named, as ``Path``, in the result.
    resources : Resources
    launcher : tuple of str
        Words before a program that is to run on all ranks, such as ``("mpirun", "-n", "{ranks}")``.
    stop_at : float or None
        Time (``time.time()``) at which a checkpointing step must have stopped.
    """

    folder: Path
    resources: Resources = field(default_factory=Resources)
    launcher: tuple[str, ...] = LAUNCHER
    stop_at: float | None = None

    def launch(self, *words: str) -> list[str]:
        """The command that runs a program on this step's ranks; with one rank, just the program."""
        if self.resources.ranks == 1:
            return list(words)
        numbers = {name: str(getattr(self.resources, name)) for name in ("ranks", "cores", "nodes")}
        return [*(word.format(**numbers) for word in self.launcher), *words]

    def must_stop(self) -> bool:
        """Whether it is time to write the last checkpoint and return :class:`Unfinished`."""
        return self.stop_at is not None and time.time() >= self.stop_at


@dataclass(frozen=True)
class Unfinished:
    """Returned by a checkpointing step that stopped in good time; it is started again with the same folder.

    Attributes
    ----------
    progress : float
        Between 0 and 1. A step that comes back twice without any is stuck, and fails.
    """

    progress: float


@dataclass(frozen=True)
class StepInfo:
    """What :func:`step` notes about a function."""

    version: str
    resources: Resources | Callable[..., Resources]
    checkpoints: bool
    takes_work: bool
    expands: bool

    def needs(self, *args: Any, **inputs: Any) -> Resources:
        """Resources for these inputs."""
        return self.resources if isinstance(self.resources, Resources) else self.resources(*args, **inputs)


def step(
    *,
    version: str,
    resources: Resources | Callable[..., Resources] | None = None,
    checkpoints: bool = False,
) -> Callable[[_F], _F]:
    """Declare a function a step.

    Parameters
    ----------
    version : str
        To be changed whenever the function's results change: finished steps of another version are not used.
    resources : Resources or callable, optional
        What it needs; a function of the step's inputs, given by name, when it depends on them.
    checkpoints : bool
        It goes on from what it finds in its work folder, and returns :class:`Unfinished` when its time is over.

    Returns
    -------
    callable
        The function itself, callable as before.

    Raises
    ------
    TypeError
        When a parameter has no annotation, or a checkpointing step no parameter ``work``.

    Notes
    -----
    A generator function is a step made of steps: it yields calls (:func:`atomflow.flow.call`) or lists of them, is
    given their results, and returns its own.

    Examples
    --------
    >>> @step(version="1", resources=Resources(cores=2))
    ... def double(number: float) -> float:
    ...     return 2 * number
    >>> double(4.0)
    8.0
    """

    def declare(function: _F) -> _F:
        parameters = inspect.signature(function).parameters
        for name, parameter in parameters.items():
            if parameter.annotation is inspect.Parameter.empty:
                raise TypeError(f"step {function.__qualname__}: parameter {name!r} has no type")
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"step {function.__qualname__}: *{name} cannot be an input, name each of them")
        if checkpoints and "work" not in parameters:
            raise TypeError(f"step {function.__qualname__}: it checkpoints, so it needs a parameter 'work'")
        function.__step__ = StepInfo(  # type: ignore[attr-defined]
            version,
            resources if resources is not None else Resources(),
            checkpoints,
            "work" in parameters,
            inspect.isgeneratorfunction(function),
        )
        return function

    return declare


def step_info(function: Callable[..., Any]) -> StepInfo:
    """What a step says about itself.

    Raises
    ------
    TypeError
        When it is none.
    """
    info = getattr(function, "__step__", None)
    if not isinstance(info, StepInfo):
        raise TypeError(
            f"{getattr(function, '__qualname__', function)!s} is not a step; declare it with @step(version=...)"
        )
    return info
