"""What a worker does, wherever it is: one step, from the words of its task to an entry in the store.

A task is plain data, so that any executor can carry it; a failure comes back as data, too, so that no executor's own
cache replays it.
"""

from __future__ import annotations

import json
import pickle
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from atomflow.calculators import limited_threads
from atomflow.errors import BadOptionError, CalculationError
from atomflow.flow.keys import resolve
from atomflow.flow.parts import Part
from atomflow.flow.store import Store
from atomflow.model import LAUNCHER, Resources, Unfinished, Work, decode, dumps, step_info

State = Literal["done", "found", "failed", "out-of-memory", "unfinished"]


@dataclass(frozen=True)
class Task:
    """A step to carry out.

    Attributes
    ----------
    step, key, version : str
    function : str
        ``module:name``.
    inputs : str
        JSON of the inputs by name.
    kept_inputs : str
        JSON under which they are kept: outputs of other steps by key, files by content.
    store : str or None
        Folder.
    resources : Resources
    launcher : tuple of str
    attempt : int
    """

    step: str
    key: str
    version: str
    function: str
    inputs: str
    kept_inputs: str
    store: str | None
    resources: Resources = field(default_factory=Resources)
    launcher: tuple[str, ...] = LAUNCHER
    attempt: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    state : {"done", "found", "failed", "out-of-memory", "unfinished"}
        Found: another driver had finished it meanwhile.
    result : str or None
        JSON.
    value : object
        The result, when it came from objects.
    seconds : float
        Inside the step.
    error : Exception or None
    log : str
        Traceback of the error, and what the backend had said.
    progress : float
        Of an unfinished step.
    """

    state: State
    result: str | None = None
    seconds: float = 0.0
    error: Exception | None = None
    log: str = ""
    progress: float = 0.0
    value: Any = None


def carry_out(task: Task, objects: dict[str, Any] | None = None) -> Outcome:
    """Carry out a task. Raises nothing that the step raises: see :class:`Outcome`.

    Parameters
    ----------
    task : Task
    objects : dict, optional
        Inputs that have no form in JSON; then nothing is kept.
    """
    store = Store(task.store) if task.store is not None else None
    try:
        function = resolve(task.function)  # first: its module knows the types of what the store holds
        if store is not None and task.key and (found := store.get(task.step, task.key)) is not None:
            return Outcome("found", dumps(found[1]), found[0].seconds)
        inputs = decode(json.loads(task.inputs)) if objects is None else objects
    except Exception as error:
        return _failed(error, 0.0)
    if objects is not None:
        outcome, result = perform(function, objects, task, None)
        return replace(outcome, value=result)
    outcome, result = perform(function, inputs, task, store)
    return outcome if outcome.state != "done" else Outcome("done", dumps(result), outcome.seconds)


def perform(
    function: Callable[..., Any], inputs: dict[str, Any], task: Task, store: Store | None
) -> tuple[Outcome, Any]:
    """Call a step here and now; its result as an object. With a store and a key the result is kept."""
    info = step_info(function)
    part: Part | None = None
    began = time.perf_counter()
    try:
        if info.takes_work:
            if store is None or not task.key:
                raise BadOptionError(f"step {task.step} works in a folder; give the flow a store to keep it in")
            part = store.begin(task.step, task.key, goes_on=info.checkpoints)
            inputs = {**inputs, "work": _work(task, part.files.resolve())}
        began = time.perf_counter()
        with limited_threads(task.resources.cores):
            result = function(**inputs)
        seconds = time.perf_counter() - began
        if isinstance(result, Unfinished):
            if part is not None:
                part.rest()
            return Outcome("unfinished", None, seconds, progress=result.progress), None
        # A result that says it failed is a result for its caller; the next run tries again.
        if store is not None and task.key and not getattr(result, "failure", None):
            store.add(task.step, task.key, task.kept_inputs.encode(), result, seconds, task.version, part=part)
            if part is not None and (found := store.get(task.step, task.key)) is not None:
                result = found[1]  # its files have moved
    except BaseException as error:
        if part is not None and part.folder.exists():
            # Checkpoints are worth keeping whatever happened after them.
            part.rest() if info.checkpoints else part.discard()
        if not isinstance(error, Exception):
            raise
        return _failed(error, time.perf_counter() - began), None
    return Outcome("done", seconds=seconds), result


def _work(task: Task, folder: Path) -> Work:
    wall = task.resources.walltime_s
    stop_at = None if wall is None else time.time() + wall - margin_s(wall)
    return Work(folder, task.resources, task.launcher, stop_at)


def margin_s(walltime_s: float) -> float:
    """How long before the end of its walltime a step should have stopped."""
    return min(300.0, max(10.0, 0.05 * walltime_s), 0.5 * walltime_s)


def _failed(error: Exception, seconds: float) -> Outcome:
    log = "".join(traceback.format_exception(error))
    if said := getattr(error, "log", ""):
        log += f"\n{said}"
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, just made: can it travel?
    except Exception:
        error = CalculationError(f"{type(error).__name__}: {error}")
    return Outcome("out-of-memory" if isinstance(error, MemoryError) else "failed", None, seconds, error, log)
