"""Molecular dynamics with LAMMPS: pushing apart, protocols, runs that can be trusted and resumed, their judgement."""

from atomflow.dynamics.engine_input import EngineInput, engine_input, user_engine_input
from atomflow.dynamics.estimating import Estimate, estimate_md
from atomflow.dynamics.protocols import Protocol, Stage, find_protocol, protocol_names
from atomflow.dynamics.pushing import NEAREST_A, push_off, shortest_contact
from atomflow.dynamics.records import MDResult, RunSettings, StageRecord
from atomflow.dynamics.running import resume_md, run_md
from atomflow.dynamics.stage_runner import Progress
from atomflow.dynamics.watching import Limits
from atomflow.errors import BusyError, DynamicsError, PushOffError

__all__ = [
    "NEAREST_A",
    "BusyError",
    "DynamicsError",
    "EngineInput",
    "Estimate",
    "Limits",
    "MDResult",
    "Progress",
    "Protocol",
    "PushOffError",
    "RunSettings",
    "Stage",
    "StageRecord",
    "engine_input",
    "estimate_md",
    "find_protocol",
    "protocol_names",
    "push_off",
    "resume_md",
    "run_md",
    "shortest_contact",
    "user_engine_input",
]
