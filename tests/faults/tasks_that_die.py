"""Tasks for worker processes, which import them by name."""

import os
import signal
import time
from pathlib import Path

from atomflow.flow import step


@step(version="1")
def square(folder: object, number: object):
    Path(folder, f"square-{number}-{os.getpid()}").touch()
    return number * number


@step(version="1")
def die(folder: object):
    os.kill(os.getpid(), signal.SIGKILL)


@step(version="1")
def say_who_and_wait(folder: object):
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(600)
