"""Tasks for worker processes, which import them by name."""

import os
import signal
import time
from pathlib import Path


def square(folder, number):
    Path(folder, f"square-{number}-{os.getpid()}").touch()
    return number * number


def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)


def say_who_and_wait(folder):
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(600)
