"""A flow: steps and what they wait for, found in the store or sent to an engine, each in its turn.

The engine is any ``concurrent.futures.Executor``; without one, steps run in this process as they are submitted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pickle import PicklingError
from types import TracebackType
from typing import Any, Literal, TypeVar

from atomflow.errors import (
    BranchesFailedError,
    CalculationError,
    SkippedError,
    UserError,
    WorkerLostError,
)
from atomflow.flow.futures import Call, StepFuture, as_output, futures_in, replaced
from atomflow.flow.keys import OutputOf, bound_inputs, frozen_inputs, reference, step_key, step_name
from atomflow.flow.local import available_cores
from atomflow.flow.store import Entry, Store
from atomflow.flow.work import Outcome, Task, carry_out, perform
from atomflow.model import LAUNCHER, Resources, dumps, loads, step_info

_T = TypeVar("_T")
#: How often a step is started when what fails is the machine, not the step.
_ATTEMPTS = 3
#: How often a checkpointing step may come back without having got any further.
_STUCK = 2

State = Literal["found", "waiting", "running", "done", "failed", "skipped", "again"]
#: Called at every change of a step's state with the step's name, its key and the state.
Hook = Callable[[str, str, State], None]


@dataclass
class _Run:
    """A step on its way."""

    function: Callable[..., Any]
    inputs: dict[str, Any]
    frozen: str
    awaited: list[StepFuture]
    task: Task
    future: StepFuture
    made_of: list[StepFuture] = field(default_factory=list)
    losses: int = 0
    memory_raised: bool = False
    progress: float = -1.0
    stuck: int = 0


class Flow:
    """Runs steps; one finished before, with the same inputs, is read instead of repeated.

    Parameters
    ----------
    store : Store or None
        Where finished steps are kept and looked for; None keeps nothing.
    engine : Executor or None
        Carries steps out: :class:`LocalExecutor`, an executor of Slurm, Dask, Parsl, the standard library. Without
        one a step runs in this process when it is submitted. The flow shuts it down at its end.
    on_change : callable, optional
        Told of every change of a step's state.
    resources : dict, optional
        Changes to what steps ask for: ``{"relax": {"cores": 4}}``; the last word of a step's name is enough.
    launcher : tuple of str
        Words before a program that a step starts on its ranks.

    Examples
    --------
    >>> from atomflow.flow import Flow, step
    >>> @step(version="1")
    ... def square(x: float) -> float:
    ...     return x * x
    >>> @step(version="1")
    ... def total(terms: list) -> float:
    ...     return sum(terms)
    >>> with Flow() as flow:
    ...     flow.submit(total, flow.map(square, [1.0, 2.0, 3.0])).result()
    14.0
    """

    def __init__(
        self,
        store: Store | None = None,
        engine: Executor | None = None,
        *,
        on_change: Hook | None = None,
        resources: dict[str, dict[str, Any]] | None = None,
        launcher: tuple[str, ...] = LAUNCHER,
    ) -> None:
        self.store = store
        self._engine = engine
        self._on_change = on_change
        self._changes = resources or {}
        self._unmatched = set(self._changes)
        self._launcher = launcher
        self._threads = getattr(engine, "threads", 1) if engine is not None else available_cores()
        # One thread does the bookkeeping of all engines' threads, in order.
        self._desk = ThreadPoolExecutor(1, thread_name_prefix="atomflow-flow") if engine is not None else None
        self._futures: dict[str, StepFuture] = {}
        self._open: set[StepFuture] = set()
        self._lock = threading.RLock()
        self._stopped = False
        #: Time inside steps, by this run and by those it goes on from, seconds.
        self.task_seconds = 0.0
        #: (step, key) of every kept step that was used.
        self.used: dict[tuple[str, str], None] = {}

    # --- what users call -------------------------------------------------------------------------------------------

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> StepFuture:
        """Start a step when its inputs are there.

        Inputs may be futures of other steps, alone or in lists, tuples and dictionaries.

        Raises
        ------
        TypeError
            When the function is no step, or its inputs do not fit it.
        """
        inputs = bound_inputs(function, args, kwargs)
        info, name = step_info(function), step_name(function)
        frozen = kept = key = ""
        with suppress(TypeError):  # an input that cannot be told from another, as a calculator object: nothing is kept
            if getattr(function, "__closure__", None):
                raise TypeError("what a function has closed over is not among its inputs")
            frozen, kept = frozen_inputs(replaced(inputs, StepFuture, as_output))
            key = step_key(name, info.version, kept)
        with self._lock:
            if key in self._futures:
                return self._futures[key]
            future = StepFuture(name, key)
            self._open.add(future)
            if key:
                self._futures[key] = future
        future.add_done_callback(self._close_future)
        try:
            if self._stopped:
                future.cancel()
            elif not self._recall(future):
                folder = None if self.store is None else str(self.store.folder.absolute())
                task = Task(name, key, info.version, "", "", kept, folder)
                self._tell(future, "waiting")
                self._wait_for_inputs(_Run(function, inputs, frozen, futures_in(inputs), task, future))
        except Exception as error:
            self._forget(future, error, "failed")
        return future

    def _close_future(self, future: Future[Any]) -> None:
        with self._lock:
            self._open.discard(future)

    def map(self, function: Callable[..., Any], *inputs: Iterable[Any]) -> list[StepFuture]:
        """Fan out: one step for each set of inputs."""
        return [self.submit(function, *row) for row in zip(*inputs, strict=True)]

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of ``function(*args)`` for each tuple, in order; raises what the first failed one raised."""
        futures = [self.submit(function, *args) for args in arguments]
        return [future.result() for future in futures]

    def together(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Results of several calls that each run steps of their own, side by side when there is an engine.

        Raises
        ------
        UserError
            At once.
        BranchesFailedError
            When calculations failed, after all the others have been completed.
        """
        results, errors = self.survivors(calls)
        if errors:
            raise errors[0] if len(errors) == 1 else BranchesFailedError(errors, len(calls))
        return results

    def survivors(self, calls: Sequence[Callable[[], _T]]) -> tuple[list[_T], list[CalculationError]]:
        """Results of the calls that succeed, in order, and the errors of those that do not.

        Raises
        ------
        UserError
            At once: what comes of a mistake is not worth waiting for.
        """
        results: list[_T] = []
        errors: list[CalculationError] = []
        if self._engine is None or len(calls) < 2:
            for each in calls:
                try:
                    results.append(each())
                except CalculationError as error:
                    errors.append(error)
            return results, errors
        pool = ThreadPoolExecutor(max_workers=min(len(calls), 64))
        try:
            futures = [pool.submit(each) for each in calls]
            for future in as_completed(futures):
                if not isinstance(future.exception(), CalculationError):
                    future.result()
            for future in futures:
                failure = future.exception()
                if isinstance(failure, CalculationError):
                    errors.append(failure)
                else:
                    results.append(future.result())
        except BaseException:
            self.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return results, errors

    def __enter__(self) -> Flow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        self.close()

    @property
    def unmatched(self) -> list[str]:
        """Names in ``resources`` that no step that ran has."""
        return sorted(self._unmatched)

    def stop(self) -> None:
        """End what runs; what is finished is in the store."""
        self._stopped = True
        if self._engine is not None:
            _shut(self._engine, wait=False, cancel=True)
        with self._lock:
            futures = list(self._open)
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """Wait for what was submitted and end the engine."""
        while self._open and not self._stopped:  # a step made of steps may have asked for more meanwhile
            wait_for(list(self._open))
        if self._engine is not None:
            _shut(self._engine, wait=not self._stopped, cancel=self._stopped)
        if self._desk is not None:
            self._desk.shutdown(wait=not self._stopped, cancel_futures=self._stopped)

    # --- how a step gets its inputs --------------------------------------------------------------------------------

    def _recall(self, future: StepFuture) -> bool:
        if self.store is None or not future.key:
            return False
        found = self.store.get(future.step, future.key)
        if found is None:
            return False
        entry, result = found
        self.task_seconds += entry.seconds
        self._use_children(entry)
        self._settle(future, result, "found")
        return True

    def _use_children(self, entry: Entry) -> None:
        """What a step made of steps rests on is used with it."""
        for step, key in entry.made_of:
            child = self.store.find(step, key) if self.store is not None else None
            if child is not None and (step, key) not in self.used:
                self.used[step, key] = None
                self._use_children(child)

    def _wait_for_inputs(self, run: _Run) -> None:
        if not self._when_all(run.awaited, self._start_with_inputs, run):
            self._start_with_inputs(run)

    def _when_all(self, futures: Sequence[Future[Any]], then: Callable[..., None], run: _Run, *args: Any) -> bool:
        """Go on at the desk when futures are done; False, and nothing arranged, when they are already."""
        pending = [future for future in dict.fromkeys(futures) if not future.done()]
        left = [len(pending)]

        def one_is_there(_: Future[Any]) -> None:
            with self._lock:
                left[0] -= 1
                if left[0]:
                    return
            self._at_desk(then, run, *args)

        for future in pending:
            future.add_done_callback(one_is_there)
        return bool(pending)

    def _start_with_inputs(self, run: _Run) -> None:
        for future in run.awaited:
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, CancelledError):
                self._forget(run.future, error, "skipped")
                return
            if error is not None:
                cause = error.cause if isinstance(error, SkippedError) else error
                self._forget(run.future, SkippedError(run.future.step, future.step, cause), "skipped")
                return
        if run.frozen:  # what the inputs were when they were handed over
            there = {(future.step, future.key): future for future in run.awaited}
            run.inputs = replaced(loads(run.frozen), OutputOf, lambda o: there[o.step, o.key].copy_of_result())
        else:
            run.inputs = replaced(run.inputs, StepFuture, lambda future: future.result())
        if step_info(run.function).expands:
            self._tell(run.future, "running")
            self._expand(run, run.function(**run.inputs), None, None)
        else:
            self._launch(run)

    # --- how it is carried out -------------------------------------------------------------------------------------

    def _launch(self, run: _Run) -> None:
        try:
            run.task = replace(run.task, resources=self._needs(run), launcher=self._launcher)
            self._tell(run.future, "running")
            if self._engine is None:
                outcome, result = perform(run.function, run.inputs, run.task, self.store if run.task.key else None)
                self._conclude(run, outcome, lambda: result)
            else:
                self._engine.submit(carry_out, *self._as_task(run)).add_done_callback(
                    lambda done: self._at_desk(self._collect, run, done)
                )
        except Exception as error:
            self._forget(run.future, error, "failed")

    def _needs(self, run: _Run) -> Resources:
        needs = step_info(run.function).needs(**run.inputs)
        needs = replace(needs, cores=max(needs.cores, self._threads if needs.ranks == 1 else 1))
        for name, changes in self._changes.items():
            if run.task.step == name or run.task.step.endswith("." + name):
                needs = replace(needs, **changes)
                self._unmatched.discard(name)
        if run.memory_raised and needs.memory_GB is not None:
            needs = replace(needs, memory_GB=2 * needs.memory_GB)
        return needs

    def _as_task(self, run: _Run) -> tuple[Any, ...]:
        task = replace(run.task, function=reference(run.function))
        if not task.key:
            return (task, run.inputs)
        return (replace(task, inputs=dumps(run.inputs)),)

    def _collect(self, run: _Run, done: Future[Any]) -> None:
        if self._stopped or done.cancelled():
            self._forget(run.future, CancelledError(), "failed")
            return
        error = done.exception()
        if error is None:
            outcome: Outcome = done.result()
            self._conclude(run, outcome, lambda: loads(outcome.result) if outcome.result else outcome.value)
            return
        if isinstance(error, (PicklingError, TypeError, AttributeError, UserError)):  # it never left
            self._fail(run, error, "")
            return
        # A worker raises nothing of its own: something happened to it.
        if self._recall(run.future):  # after it had finished
            return
        lost = (
            error if isinstance(error, WorkerLostError) else WorkerLostError(run.task.step, str(error) or repr(error))
        )
        run.losses += 1
        if lost.again and run.losses < _ATTEMPTS:
            self._again(run)
        else:
            self._fail(run, lost, "")

    def _conclude(self, run: _Run, outcome: Outcome, result: Callable[[], Any]) -> None:
        self.task_seconds += outcome.seconds
        if outcome.state in ("done", "found"):
            self._settle(run.future, result(), "done")
        elif outcome.state == "unfinished" and not self._stopped:
            run.stuck = 0 if outcome.progress > run.progress else run.stuck + 1
            run.progress = outcome.progress
            if run.stuck < _STUCK:
                self._again(run)
            else:
                self._fail(run, CalculationError(f"{run.task.step} came back twice without any progress"), "")
        elif outcome.state == "out-of-memory" and not run.memory_raised:
            run.memory_raised = True
            self._again(run)
        else:
            error = outcome.error or CalculationError(f"{run.task.step} failed")
            if isinstance(error, MemoryError):
                error = CalculationError(f"{run.task.step} ran out of memory twice; give it more with --resources")
            self._fail(run, error, outcome.log)

    def _again(self, run: _Run) -> None:
        run.task = replace(run.task, attempt=run.task.attempt + 1)
        self._tell(run.future, "again")
        self._launch(run)

    def _fail(self, run: _Run, error: BaseException, log: str) -> None:
        if self._stopped:
            error = CancelledError()
        elif self.store is not None and run.task.key:
            self.store.add_failure(
                run.task.step, run.task.key, {"error": str(error), "kind": type(error).__name__, "log": log}
            )
        self._forget(run.future, error, "failed")

    def _expand(self, run: _Run, steps: Generator[Any, Any, Any], results: Any, error: BaseException | None) -> None:
        """Go on with a step that is made of steps, until it has its result or waits for some of them."""
        while True:
            if self._stopped:
                steps.close()
                self._forget(run.future, CancelledError(), "failed")
                return
            try:
                asked = steps.throw(error) if error is not None else steps.send(results)
            except StopIteration as end:
                self._finish_expansion(run, end.value)
                return
            except Exception as failure:
                self._fail(run, failure, "")
                return
            calls = [asked] if isinstance(asked, Call) else list(asked)
            futures = [self.submit(c.function, *c.args, **c.kwargs) for c in calls]
            run.made_of += futures

            is_single = isinstance(asked, Call)
            if self._when_all(futures, self._go_on, run, steps, futures, is_single):
                return
            results, error = _results_of(futures, is_single)

    def _go_on(
        self, run: _Run, steps: Generator[Any, Any, Any], futures: Sequence[StepFuture], is_single: bool
    ) -> None:
        self._expand(run, steps, *_results_of(futures, is_single))

    def _finish_expansion(self, run: _Run, result: Any) -> None:
        try:
            if self.store is not None and run.task.key and not getattr(result, "failure", None):
                task = run.task
                children = dict.fromkeys((child.step, child.key) for child in run.made_of if child.key)
                self.store.add(
                    task.step, task.key, task.kept_inputs.encode(), result, 0.0, task.version, made_of=children
                )
            self._settle(run.future, result, "done")
        except Exception as error:
            self._forget(run.future, error, "failed")

    # --- bookkeeping -----------------------------------------------------------------------------------------------

    def _settle(self, future: StepFuture, result: Any, state: State) -> None:
        if future.key:
            if self.store is not None:
                self.used[(future.step, future.key)] = None
            with suppress(TypeError):  # without a store a result may be anything
                future.text = dumps(result)
        if not future.done():
            future.set_result(result)
        self._tell(future, state)

    def _forget(self, future: StepFuture, error: BaseException, state: State) -> None:
        """A step that failed; asked for again, it is tried again."""
        with self._lock:
            if self._futures.get(future.key) is future:
                del self._futures[future.key]
        if not future.done():
            future.set_exception(error)
        self._tell(future, state)

    def _tell(self, future: StepFuture, state: State) -> None:
        if self._on_change is not None:
            self._on_change(future.step, future.key or f"({id(future):x})", state)

    def _at_desk(self, work: Callable[..., None], run: _Run, *args: Any) -> None:
        if self._desk is None:
            self._safely(work, run, *args)
            return
        try:
            self._desk.submit(self._safely, work, run, *args)
        except RuntimeError:  # the flow is over
            run.future.cancel()

    def _safely(self, work: Callable[..., None], run: _Run, *args: Any) -> None:
        try:
            work(run, *args)
        except BaseException as error:
            self._forget(run.future, error, "failed")


def _shut(engine: Executor, *, wait: bool, cancel: bool) -> None:
    if cancel:
        try:
            engine.shutdown(wait=wait, cancel_futures=True)
            return
        except TypeError:  # Dask's takes no such word
            pass
    engine.shutdown(wait=wait)


def _results_of(futures: Sequence[StepFuture], is_single: bool) -> tuple[Any, BaseException | None]:
    """What a step made of steps is sent, or the first error that is thrown into it."""
    for future in futures:
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            return None, error
    found = [future.result() for future in futures]
    return (found[0] if is_single else found), None
