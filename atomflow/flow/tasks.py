"""Carry out independent tasks on local processes; what a store knows already is not done again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, TypeVar

from atomflow import __version__
from atomflow.calculators import limited_threads
from atomflow.errors import CalculationError
from atomflow.flow.store import Store
from atomflow.model import content_key

_T = TypeVar("_T")

#: Called after every change with (finished, known so far, what finished last).
ProgressHook = Callable[[int, int, str], None]


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class TaskPool:
    """Runs tasks; a task finished before, with the same inputs, is read instead of repeated.

    Parameters
    ----------
    store : Store or None
        Where finished tasks are kept and looked for; None keeps nothing.
    jobs : int
        Local processes. With 1, tasks run in this process, which can then use all cores for each of them.
    on_progress : callable, optional

    Notes
    -----
    With ``jobs > 1`` a script needs the usual ``if __name__ == "__main__":`` guard, since workers import it.
    """

    def __init__(self, store: Store | None = None, jobs: int = 1, on_progress: ProgressHook | None = None) -> None:
        self._store = store
        self._jobs = max(1, jobs)
        self._threads = max(1, available_cores() // self._jobs)
        self._on_progress = on_progress
        self._pool: ProcessPoolExecutor | None = None
        self._flying: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self._done = self._known = 0
        #: Sum of the time spent inside tasks, by this run and by those it goes on from, seconds.
        self.task_seconds = 0.0

    def __enter__(self) -> TaskPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if kind is not None:  # do not wait for work nobody will collect; what is finished is on disk
                self._pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results of ``function(*args)`` for each tuple, in order.

        Raises
        ------
        CalculationError
            When a worker process dies (out of memory, killed).
        """
        self._count(0, len(arguments), "")
        keys = [_key(function, args) for args in arguments]
        try:
            # A pool that broke under another reaction refuses new tasks the same way.
            futures = [self._future(key, function, args) for key, args in zip(keys, arguments, strict=True)]
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise CalculationError(
                "a worker process died, perhaps for want of memory; the same command goes on from what is finished, "
                "try fewer --jobs"
            ) from error
        except CancelledError as error:
            raise CalculationError("the study was stopped") from error

    def together(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Results of several calls that each run tasks of their own, side by side when there are several jobs."""
        if self._jobs == 1 or len(calls) < 2:
            return [call() for call in calls]
        pool = ThreadPoolExecutor(max_workers=min(len(calls), 4 * self._jobs))
        try:
            futures = [pool.submit(call) for call in calls]
            return [future.result() for future in futures]
        except BaseException:
            self.__exit__(KeyboardInterrupt, None, None)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _future(self, key: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            if key and key in self._flying:
                future = self._flying[key]
                self._count_later(future, function)
                return future
            future = Future()
            kept = self._recall(key, function)
            if kept is not None:
                future.set_result(kept[0])
            elif self._jobs > 1:
                self._executor().submit(_execute, function, args, self._threads).add_done_callback(
                    lambda done: self._collect(done, future, key, function, args)
                )
            if key:
                self._flying[key] = future
        if kept is None and self._jobs == 1:
            self._run_here(future, key, function, args)
        self._count_later(future, function)
        return future

    def _run_here(self, future: Future[Any], key: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result, seconds = _execute(function, args, self._threads)
            self._remember(key, function, args, result, seconds)
        except Exception as error:
            self._flying.pop(key, None)
            future.set_exception(error)
        else:
            future.set_result(result)

    def _collect(
        self, done: Future[Any], future: Future[Any], key: str, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        try:
            result, seconds = done.result()
            self._remember(key, function, args, result, seconds)
        except BaseException as error:
            self._flying.pop(key, None)
            future.set_exception(error)
        else:
            future.set_result(result)

    def _count_later(self, future: Future[Any], function: Callable[..., Any]) -> None:
        future.add_done_callback(lambda _: self._count(1, 0, function.__name__.replace("_", " ")))

    def _count(self, done: int, known: int, what: str) -> None:
        self._done += done
        self._known += known
        if self._on_progress is not None:
            self._on_progress(self._done, self._known, what)

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Libraries read these when they load; a fork would inherit ours already loaded, hence "spawn".
            before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
            os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(self._threads)))
            try:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_start_worker)
                # Processes are started at the first submit, one per submit: start them all while the variables stand.
                for future in [self._pool.submit(_nothing) for _ in range(self._jobs)]:
                    future.result()
            finally:
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
        return self._pool

    def _remember(
        self, key: str, function: Callable[..., Any], args: tuple[Any, ...], result: Any, seconds: float
    ) -> None:
        self.task_seconds += seconds
        # A failure is tried again next time, not replayed.
        if self._store is not None and key and not getattr(result, "failure", None):
            self._store.add(_name(function), key, list(args), result, seconds, __version__)

    def _recall(self, key: str, function: Callable[..., Any]) -> tuple[Any] | None:
        found = None if self._store is None or not key else self._store.get(_name(function), key)
        if found is None:
            return None
        entry, result = found
        self.task_seconds += entry.seconds
        return (result,)


def _key(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What a task is known by; empty for one that cannot be told from others, as with a calculator *object*."""
    try:
        return content_key([_name(function), __version__, list(args)])
    except TypeError:
        return ""


def _name(function: Callable[..., Any]) -> str:
    """What a step is called in the store."""
    return f"{function.__module__}.{function.__qualname__}"


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _nothing() -> None:
    """Bring a worker process up."""


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    threading.Thread(target=_follow_driver, daemon=True).start()


def _follow_driver() -> None:
    """End with the driver: a worker of a killed driver would otherwise wait for work for ever."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _execute(function: Callable[..., _T], args: tuple[Any, ...], threads: int) -> tuple[_T, float]:
    began = time.perf_counter()
    with limited_threads(threads):
        result = function(*args)
    return result, time.perf_counter() - began
