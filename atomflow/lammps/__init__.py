"""LAMMPS as a program: finding and probing it, running it, reading its logs."""

from atomflow.errors import LammpsError
from atomflow.lammps.finding import LammpsProgram, find_lammps
from atomflow.lammps.launching import LammpsRun, run_lammps, scratch_folder
from atomflow.lammps.logs import LammpsLog, ThermoTable, read_log

__all__ = [
    "LammpsError",
    "LammpsLog",
    "LammpsProgram",
    "LammpsRun",
    "ThermoTable",
    "find_lammps",
    "read_log",
    "run_lammps",
    "scratch_folder",
]
