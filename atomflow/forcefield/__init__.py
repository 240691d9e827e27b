"""Force fields: atom types by SMARTS, charges, and every bonded term with its source and grade."""

from atomflow.forcefield.assigning import audit, missing_terms, parametrise, summary
from atomflow.forcefield.energies import TermEnergies, lammps_energies, openmm_energies
from atomflow.forcefield.gromacs_files import GromacsFiles, write_gromacs
from atomflow.forcefield.importing_gromacs import import_gromacs
from atomflow.forcefield.importing_lammps import import_lammps
from atomflow.forcefield.lammps_files import (
    LammpsFiles,
    bodies,
    data_text,
    lammps_settings,
    neutrality,
    pair_exceptions,
    write_lammps,
)
from atomflow.forcefield.library import Parameters, find_parameters, variants_of
from atomflow.forcefield.openmm_system import OpenMMSystem, openmm_system
from atomflow.forcefield.pairing import held_of_atom, lower_cell, neighbours, pair_tables
from atomflow.forcefield.structure_files import write_extxyz, write_gro, write_pdb

__all__ = [
    "GromacsFiles",
    "LammpsFiles",
    "OpenMMSystem",
    "Parameters",
    "TermEnergies",
    "audit",
    "bodies",
    "data_text",
    "find_parameters",
    "held_of_atom",
    "import_gromacs",
    "import_lammps",
    "lammps_energies",
    "lammps_settings",
    "lower_cell",
    "missing_terms",
    "neighbours",
    "neutrality",
    "openmm_energies",
    "openmm_system",
    "pair_exceptions",
    "pair_tables",
    "parametrise",
    "summary",
    "variants_of",
    "write_extxyz",
    "write_gro",
    "write_gromacs",
    "write_lammps",
    "write_pdb",
]
