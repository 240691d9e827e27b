"""Importable tasks for worker processes."""

import os
import signal
from pathlib import Path

from atomflow.energetics import Relaxed
from atomflow.errors import SCFError


def count_and_square(number, log):
    with Path(log).open("a") as handle:
        handle.write("x\n")
    return number * number


def fails(number):
    raise SCFError("HF", f"system {number}", "the log")


def kills_itself(number):
    os.kill(os.getpid(), signal.SIGKILL)


def cannot_relax(atoms, log):
    with Path(log).open("a") as handle:
        handle.write("x\n")
    return Relaxed(atoms, float("nan"), False, 0, failure="no")
