"""The nouns: molecules, results, and the one codec that files share. Lies under every other room."""

from atomflow.model.codec import content_key, decode, dumps, encode, load_file, loads, record
from atomflow.model.molecule import Molecule, check_electrons, check_geometry
from atomflow.model.results import Notice, Result
from atomflow.model.steps import LAUNCHER, Resources, StepInfo, Unfinished, Work, step, step_info
from atomflow.model.writing import write_atomically

__all__ = [
    "LAUNCHER",
    "Molecule",
    "Notice",
    "Resources",
    "Result",
    "StepInfo",
    "Unfinished",
    "Work",
    "check_electrons",
    "check_geometry",
    "content_key",
    "decode",
    "dumps",
    "encode",
    "load_file",
    "loads",
    "record",
    "step",
    "step_info",
    "write_atomically",
]
