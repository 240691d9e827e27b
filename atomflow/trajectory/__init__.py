"""Trajectories from anywhere, as frames with a topology and a clock; checked, unwrapped, and their molecules named."""

from atomflow.trajectory.clock import Clock
from atomflow.trajectory.frame_choice import choose_frames
from atomflow.trajectory.frames import Frame, FrameSource, Trajectory
from atomflow.trajectory.opening import open_trajectory
from atomflow.trajectory.paths import Paths, gather_paths
from atomflow.trajectory.preflight import Finding, Preflight, check_trajectory
from atomflow.trajectory.species import find_species
from atomflow.trajectory.species_kinds import FoundSpecies, Kind
from atomflow.trajectory.topology import Topology
from atomflow.trajectory.unwrapping import Scheme, minimum_image
from atomflow.trajectory.workers import contiguous, part_count, pool, share, window

__all__ = [
    "Clock",
    "Finding",
    "FoundSpecies",
    "Frame",
    "FrameSource",
    "Kind",
    "Paths",
    "Preflight",
    "Scheme",
    "Topology",
    "Trajectory",
    "check_trajectory",
    "choose_frames",
    "contiguous",
    "find_species",
    "gather_paths",
    "minimum_image",
    "open_trajectory",
    "part_count",
    "pool",
    "share",
    "window",
]
