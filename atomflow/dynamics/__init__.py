"""Molecular dynamics of systems with LAMMPS; so far, pushing apart what overlaps after packing."""

from atomflow.dynamics.pushing import NEAREST_A, push_off, shortest_contact
from atomflow.errors import PushOffError

__all__ = ["NEAREST_A", "PushOffError", "push_off", "shortest_contact"]
