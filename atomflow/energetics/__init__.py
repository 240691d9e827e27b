"""Binding and dissociation energies of molecules and ions: plain functions on plain objects."""

from atomflow.energetics.binding import (
    BindingEnergy,
    DissociationEnergy,
    between_the_same_minima,
    binding_energy,
    dissociation_energy,
)
from atomflow.energetics.ladder import Ladder, build_spec, ladder, method_label, quick
from atomflow.energetics.minima import Minimum, TaskRunner, find_minima, run_serially
from atomflow.energetics.relax import Relaxed, relax, single_point
from atomflow.energetics.vibrations import Vibrations, vibrations

__all__ = [
    "BindingEnergy",
    "DissociationEnergy",
    "Ladder",
    "Minimum",
    "Relaxed",
    "TaskRunner",
    "Vibrations",
    "between_the_same_minima",
    "binding_energy",
    "build_spec",
    "dissociation_energy",
    "find_minima",
    "ladder",
    "method_label",
    "quick",
    "relax",
    "run_serially",
    "single_point",
    "vibrations",
]
