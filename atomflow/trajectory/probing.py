"""A file tried in a process of its own, before a C library that may crash or hang on it gets it in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from atomflow.errors import BadFileError

#: An honest file opens in a second; the disk may be slow.
DEADLINE_SECONDS = 40
_TRIAL = """
import sys, warnings
warnings.simplefilter("ignore")
from atomflow.trajectory.hierarchical_source import H5mdSource, NetcdfSource
source = {"H5mdSource": H5mdSource, "NetcdfSource": NetcdfSource}[sys.argv[1]](sys.argv[2], probe=False)
for frame in source.frames([0, source.n_frames - 1]):
    pass
"""


def probe(path: Path, source: str) -> None:
    """Open a file and read its first and last frame elsewhere.

    The HDF5 library goes round in circles on some damaged files, with no way to stop it from Python.

    Parameters
    ----------
    path : Path
    source : str
        Name of the class that reads it.

    Raises
    ------
    BadFileError
        That process hangs or crashes. An error that it reports is left to be met, and told, in this one.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRIAL, source, str(path.resolve())]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and text
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=DEADLINE_SECONDS, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BadFileError(
            path, f"is damaged: the HDF5 library does not end reading it in {DEADLINE_SECONDS} s"
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BadFileError(path, f"is damaged: the HDF5 library crashes on it ({name})")
