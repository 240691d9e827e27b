"""Local processes: one task each, as many at a time as there are cores for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from functools import partial
from typing import Any

from pebble import ProcessPool

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalExecutor(Executor):
    """Processes on this machine; one that dies takes its own task with it and no other.

    Parameters
    ----------
    jobs : int
        Tasks at a time. A task whose resources say so takes the place of several.

    Notes
    -----
    A script needs the usual ``if __name__ == "__main__":`` guard, since workers import it.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.threads = max(1, available_cores() // jobs)
        _set_thread_variables(self.threads)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(jobs, initializer=_start_worker, context=context)
        self._free = jobs
        self._waiting: deque[tuple[int, Callable[..., Any], tuple[Any, ...], Future[Any]]] = deque()
        self._futures: set[Future[Any]] = set()
        self._lock = threading.RLock()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args)`` in a process."""
        if kwargs:
            raise TypeError("arguments of a task are positional")
        future: Future[Any] = Future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        places = min(self.jobs, _places(args, self.threads))
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append((places, fn, args, future))
        self._start()
        return future

    def _start(self) -> None:
        with self._lock:
            # In order: a large task is not overtaken for ever by small ones.
            while self._waiting and self._waiting[0][0] <= self._free:
                places, fn, args, future = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self._free -= places
                running = self._pool.submit(fn, None, *args)
                running.add_done_callback(partial(self._finish, future, places))

    def _finish(self, future: Future[Any], places: int, done: Future[Any]) -> None:
        with self._lock:
            self._free += places
        if done.cancelled():
            future.set_exception(RuntimeError("stopped"))
        elif (error := done.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())
        if not self._closed:
            self._start()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; with ``cancel_futures`` in the middle of what they do."""
        if wait and not cancel_futures:
            wait_for(list(self._futures))
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting = [row[3] for row in self._waiting] if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for future in waiting:
            future.cancel()
        if cancel_futures:
            self._pool.stop()
        else:
            self._pool.close()
        if wait or cancel_futures:
            self._pool.join()
        _unset_thread_variables()


_environment_lock = threading.Lock()
_users = 0
_before: dict[str, str | None] = {}


def _set_thread_variables(threads: int) -> None:
    """Libraries read these when they load; a fork would inherit ours already loaded, hence "spawn"."""
    global _users
    with _environment_lock:
        if _users == 0:
            _before.update({name: os.environ.get(name) for name in _THREAD_VARIABLES})
        _users += 1
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))


def _unset_thread_variables() -> None:
    """The last executor to end gives back what was there before the first."""
    global _users
    with _environment_lock:
        _users -= 1
        if _users:
            return
        for name, value in _before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _places(args: tuple[Any, ...], threads: int) -> int:
    """How many tasks' places the resources of a task take."""
    resources = getattr(args[0], "resources", None) if args else None
    return -(-resources.all_cores // threads) if resources is not None else 1


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    threading.Thread(target=_follow_driver, daemon=True).start()


def _follow_driver() -> None:
    """End with the driver: a worker of a killed driver would otherwise wait for work for ever."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
