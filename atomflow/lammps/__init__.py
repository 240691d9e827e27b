"""LAMMPS as a program: finding and probing it, running it, reading its logs."""

from atomflow.errors import LammpsError
from atomflow.lammps.finding import LammpsProgram, find_lammps
from atomflow.lammps.following import LogFollower
from atomflow.lammps.frames import FrameSpan, GrowingTrajectory, frame_spans, free_bytes
from atomflow.lammps.launching import LammpsRun, run_lammps, scratch_folder
from atomflow.lammps.logs import LammpsLog, ThermoTable, read_log
from atomflow.lammps.user_input import UserInput, read_user_input

__all__ = [
    "FrameSpan",
    "GrowingTrajectory",
    "LammpsError",
    "LammpsLog",
    "LammpsProgram",
    "LammpsRun",
    "LogFollower",
    "ThermoTable",
    "UserInput",
    "find_lammps",
    "frame_spans",
    "free_bytes",
    "read_log",
    "read_user_input",
    "run_lammps",
    "scratch_folder",
]
