"""The nouns: molecules, results, and the one codec that files share. Lies under every other room."""

from atomflow.model.codec import content_key, decode, dumps, encode, load_file, loads, record
from atomflow.model.molecule import Molecule, check_electrons, check_geometry
from atomflow.model.results import Notice, Result
from atomflow.model.writing import write_atomically

__all__ = [
    "Molecule",
    "Notice",
    "Result",
    "check_electrons",
    "check_geometry",
    "content_key",
    "decode",
    "dumps",
    "encode",
    "load_file",
    "loads",
    "record",
    "write_atomically",
]
