"""Molecular dynamics of systems with LAMMPS; so far, pushing apart what overlaps after packing."""

from atomflow.dynamics.pushing import push_off, shortest_contact
from atomflow.errors import PushOffError

__all__ = ["PushOffError", "push_off", "shortest_contact"]
