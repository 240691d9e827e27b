"""Ctrl-C that is always heard.

RDKit puts its own handler in the place of Python's while it embeds a molecule or searches one: a Ctrl-C, or the signal
before the end of a job's walltime, would cut its search short (with a wrong result and no error) and then be forgotten.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


def _stop(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGINT goes to a listener of its own, which stops the main thread by way of SIGUSR1.

    Threads started within the block inherit that they do not get SIGINT; those that numerical libraries start when they
    are imported do so only if that happens within, too, as it does for our subcommands. Nothing is changed outside the
    main thread, or where SIGINT is ignored (a background job of a shell).
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    main, over = threading.get_ident(), threading.Event()

    def listen() -> None:
        while True:
            signal.sigwait({signal.SIGINT})
            if over.is_set():
                return
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGUSR1, _stop)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        over.set()
        assert listener.ident is not None
        signal.pthread_kill(listener.ident, signal.SIGINT)
        listener.join()
        signal.signal(signal.SIGUSR1, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
