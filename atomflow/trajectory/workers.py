"""Frames shared out among processes, or on any executor that the caller brings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from atomflow.errors import BadOptionError, TrajectoryError

_T = TypeVar("_T")


def window(n_frames: int, start: int | None = None, stop: int | None = None, step: int | None = None) -> range:
    """The frames that ``start:stop:step`` means, as for a list.

    Raises
    ------
    BadOptionError
        A step below one.
    TrajectoryError
        No frame is left.
    """
    if step is not None and step < 1:
        raise BadOptionError(f"frame step {step}: give one or more; frames are taken forwards")
    frames = range(*slice(start, stop, step).indices(n_frames))
    if not frames:
        asked = ":".join("" if part is None else str(part) for part in (start, stop, step))
        raise TrajectoryError(f"frames {asked}: none of the {n_frames} frames (0 to {n_frames - 1}) is among them")
    return frames


def contiguous(frames: Sequence[int], parts: int) -> list[Sequence[int]]:
    """Split into at most ``parts`` runs of nearly equal length, in order, none empty."""
    bounds = np.linspace(0, len(frames), min(parts, len(frames)) + 1).astype(int)
    return [frames[a:b] for a, b in itertools.pairwise(bounds)]


def share(
    task: Callable[..., _T],
    parts: Sequence[tuple[Any, ...]],
    *,
    workers: int = 1,
    executor: Executor | None = None,
    done: Callable[[int], None] | None = None,
) -> list[_T]:
    """``task(*part)`` for every part, in their order.

    Parameters
    ----------
    task : callable
        An importable function.
    parts : sequence of tuples
        Its arguments; they travel to the processes.
    workers : int
        Local processes when no executor is given; with one part or one worker everything stays in this process.
    executor : concurrent.futures.Executor, optional
        Where to run instead; it is not shut down.
    done : callable, optional
        Called with the number of each part that has ended.
    """
    if executor is None and (workers <= 1 or len(parts) < 2):
        results = []
        for number, part in enumerate(parts):
            results.append(task(*part))
            if done:
                done(number)
        return results
    with pool(workers, executor) as processes:
        futures = [processes.submit(task, *part) for part in parts]
        try:
            results = []
            for number, future in enumerate(futures):
                results.append(future.result())
                if done:
                    done(number)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return results


def part_count(workers: int, executor: Executor | None) -> int:
    """Into how many parts to split.

    Raises
    ------
    BadOptionError
        Less than one worker.
    """
    if workers < 1:
        raise BadOptionError(f"workers {workers}: give one or more")
    if executor is not None and workers == 1:
        return os.cpu_count() or 1
    return workers


@contextmanager
def pool(workers: int, executor: Executor | None) -> Iterator[Executor]:
    """The executor given, left open afterwards; or one of local processes, shut down."""
    if executor is not None:
        yield executor
        return
    # loky's processes start clean (no fork of a threaded parent) and need no __main__ guard in the user's script.
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=workers) as processes:
        yield processes
