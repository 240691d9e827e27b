"""One driver in a folder, and wishes to stop: a lock, signals that wait until LAMMPS has saved, a flag for LAMMPS."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atomflow.errors import BusyError, OutputError

#: How long LAMMPS may take to stop after it was asked to, s.
_PATIENCE_S = 60.0


@contextlib.contextmanager
def alone(out: Path, patience_s: float = 10.0) -> Iterator[int]:
    """The folder's lock; LAMMPS inherits it, so that it lasts as long as anything works in the folder."""
    until = time.monotonic() + patience_s
    try:
        descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(out, error.strerror or str(error)) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                # The LAMMPS of a driver that was killed needs a moment to end.
                if time.monotonic() > until:
                    raise BusyError(f"another process is running MD in {out}; wait for it, or end it first") from error
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Within the block Ctrl-C and SIGTERM are only noted; at its end they do what they would have done.

    A second one of them does it at once.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            os.kill(os.getpid(), came[0])


class StopError(Exception):
    """LAMMPS did not stop in good time."""


class Stopping:
    """Asks LAMMPS to stop once somebody wishes it, and gives it time to."""

    def __init__(self, flag: Path, wished: Callable[[], bool]) -> None:
        self._flag, self._wished = flag, wished
        self._since: float | None = None

    def __call__(self) -> None:
        """Look whether somebody wishes it.

        Raises
        ------
        StopError
            LAMMPS was asked, and has had its time.
        """
        if self._since is None:
            if self._wished():
                self._since = time.monotonic()
                with contextlib.suppress(OSError):
                    self._flag.touch()
        elif time.monotonic() - self._since > _PATIENCE_S:
            raise StopError
