"""The nouns: molecules, boxes, systems, results, and the one codec that files share. Lies under every other room."""

from atomflow.model.box import G_PER_CM3, Box, bonds_of, residues_of, short_name
from atomflow.model.codec import content_key, decode, dumps, encode, load_file, loads, record
from atomflow.model.molecule import Molecule, check_electrons, check_geometry
from atomflow.model.results import Notice, Result
from atomflow.model.steps import LAUNCHER, Resources, StepInfo, Unfinished, Work, step, step_info
from atomflow.model.system import (
    GRADES,
    AngleTerm,
    AtomType,
    Bonded,
    BondTerm,
    CosineTerm,
    Origin,
    PairTerm,
    System,
)
from atomflow.model.writing import write_atomically

__all__ = [
    "GRADES",
    "G_PER_CM3",
    "LAUNCHER",
    "AngleTerm",
    "AtomType",
    "BondTerm",
    "Bonded",
    "Box",
    "CosineTerm",
    "Molecule",
    "Notice",
    "Origin",
    "PairTerm",
    "Resources",
    "Result",
    "StepInfo",
    "System",
    "Unfinished",
    "Work",
    "bonds_of",
    "check_electrons",
    "check_geometry",
    "content_key",
    "decode",
    "dumps",
    "encode",
    "load_file",
    "loads",
    "record",
    "residues_of",
    "short_name",
    "step",
    "step_info",
    "write_atomically",
]
