"""Which format a file has: by its first bytes, then by its name."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from atomflow.errors import BadFileError
from atomflow.trajectory.textfiles import check_file, open_bytes, packing, plain_name

#: Formats of ours, and the names of MDAnalysis for those that it reads; by suffix, where the content does not tell.
_BY_SUFFIX = {
    ".trz": "TRZ",
    ".gsd": "GSD",
    ".mdcrd": "TRJ",
    ".crdbox": "TRJ",
    ".trj": "TRJ",
    ".tng": "TNG",
    ".trc": "TRC",
    ".arc": "TXYZ",
    ".txyz": "TXYZ",
    ".mol2": "MOL2",
    ".pqr": "PQR",
}
#: Topologies; the names are MDAnalysis'.
_TOPOLOGIES = {
    ".psf": "PSF",
    ".tpr": "TPR",
    ".prmtop": "PRMTOP",
    ".parm7": "PRMTOP",
    ".top": "PRMTOP",
    ".mol2": "MOL2",
    ".pqr": "PQR",
    ".txyz": "TXYZ",
    ".arc": "TXYZ",
    ".pdb": "PDB",
    ".ent": "PDB",
    ".gro": "GRO",
    ".gsd": "GSD",
}
#: Structure files that ASE reads.
_STRUCTURES = {".cif": "cif", ".vasp": "vasp", ".poscar": "vasp", ".xyz": "extxyz", ".extxyz": "extxyz"}
_LOOK = 1 << 14
_PDB_LINES = (
    "ATOM  ", "HETATM", "CRYST1", "HEADER", "REMARK", "TITLE ", "MODEL ", "COMPND", "EXPDTA", "AUTHOR", "SEQRES"
)  # fmt: skip


def trajectory_format(path: Path) -> str:
    """Format of a trajectory: ``dump``, ``dcd``, ``xtc``, ``trr``, ``xyz``, ``xdatcar``, ``gro``, ``pdb``, ``netcdf``,
    ``h5md``, ``traj``, ``npy``, ``npz``, ``data``, or a name of MDAnalysis in capitals.

    Raises
    ------
    BadFileError
        No format that is read; with the way to convert it where there is one.
    """  # noqa: D205
    check_file(path)
    head = _head(path)
    name = plain_name(path)
    binary = _binary_format(path, head, name)
    if binary:
        if packing(path) and binary not in ("dump", "xyz"):
            raise BadFileError(path, f"a packed {binary} file; unpack it first")
        return binary
    text = head.decode("utf-8", "replace")
    if name.endswith((".pqr", ".mol2", ".txyz", ".arc")):
        return _BY_SUFFIX[Path(name).suffix]
    if kind := _text_format(text, name):
        if packing(path) and kind in ("pdb",):
            raise BadFileError(path, f"a packed {kind} file; unpack it first")
        return kind
    if kind := _BY_SUFFIX.get(Path(name).suffix, ""):
        return kind
    raise BadFileError(path, "the format is not known; convert it to a LAMMPS dump, dcd, xtc, xyz, NetCDF or H5MD file")


def _head(path: Path) -> bytes:
    with open_bytes(path) as stream:
        return stream.read(_LOOK)


def _binary_format(path: Path, head: bytes, name: str) -> str:
    if head[:4] in (b"\0\0\x07\xcb", b"\0\0\x07\xe7"):
        return "xtc"
    if head[:4] == b"\0\0\x07\xc9":
        return "trr"
    if head[4:8] == b"CORD" or head[8:12] == b"CORD":
        return "dcd"
    if head[:3] == b"CDF" and head[3:4] in (b"\x01", b"\x02", b"\x05"):
        return "netcdf"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "netcdf" if name.endswith((".nc", ".ncdf", ".nc4")) else "h5md"
    if head[:8] == b"- of Ulm":
        return "traj"
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if head[:4] == b"PK\x03\x04":
        if name.endswith(".npz"):
            return "npz"
        raise BadFileError(path, "a zip archive; unpack it first")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise BadFileError(path, "a Python pickle; opening one can run anything, save the coordinates as .npy or .xyz")
    # A binary dump begins with minus the length of its style's name, as a 64-bit number.
    if len(head) > 16 and -32 <= struct.unpack("<q", head[:8])[0] < 0 and head[8:12] == b"DUMP":
        raise BadFileError(path, "a binary LAMMPS dump; convert it with LAMMPS' binary2txt")
    return ""


def _text_format(text: str, name: str) -> str:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("ITEM:"):
        return "dump"
    if "\0" in text[:2000] or not lines:
        return ""
    if re.search(r"^[ \t]*(Direct|Cartesian) configuration", text, re.MULTILINE):
        return "xdatcar"
    if re.fullmatch(r"\s*[0-9]{1,10}\s*", lines[0]) and len(lines) > 2 and len(lines[2].split()) >= 4:
        return "xyz"
    if first[:6] in _PDB_LINES or name.endswith((".pdb", ".ent")):
        return "pdb"
    if len(lines) > 2 and re.fullmatch(r"\s*[0-9]{1,10}\s*", lines[1]) and _is_gro_atom(lines[2]):
        return "gro"
    if _is_data(lines):
        return "data"
    return ""


def _is_gro_atom(line: str) -> bool:
    return bool(re.match(r"[ 0-9]{5}.{10}[ 0-9]{5}\s*-?[0-9]+\.[0-9]+", line))


def _is_data(lines: list[str]) -> bool:
    """Whether these lines begin a LAMMPS data file."""
    header = [line.partition("#")[0].split() for line in lines[1:60]]
    return any(len(words) == 2 and words[0].isdigit() and words[1] == "atoms" for words in header)


def topology_format(path: Path) -> str:
    """Format of a topology: ``data``, a name of MDAnalysis in capitals, or of ASE in small letters behind ``ase:``.

    Raises
    ------
    BadFileError
    """
    check_file(path)
    name = plain_name(path)
    suffix = Path(name).suffix
    text = _head(path).decode("utf-8", "replace")
    if "\0" not in text[:2000] and _is_data(text.splitlines()):
        return "data"
    if suffix in _TOPOLOGIES:
        if packing(path):
            raise BadFileError(path, "a packed topology; unpack it first")
        return _TOPOLOGIES[suffix]
    if suffix in _STRUCTURES:
        return "ase:" + _STRUCTURES[suffix]
    if name.startswith(("poscar", "contcar", "xdatcar")):
        return "ase:vasp"
    raise BadFileError(
        path, "not a topology that is read: give a LAMMPS data, PSF, GRO, PDB, TPR, PRMTOP or POSCAR file"
    )
