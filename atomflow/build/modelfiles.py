"""Models as files that other programs read: CIF, extended XYZ, POSCAR, LAMMPS data with charges, PDB."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms

from atomflow.errors import BadOptionError

#: Room around a particle in formats that need a box, A.
_ROOM_A = 10.0


def model_text(atoms: Atoms, suffix: str) -> str:
    """A model in the format of a file suffix.

    Parameters
    ----------
    atoms : Atoms
        Charges are its initial charges; arrays ``site_label`` and ``wyckoff`` go where the format has a place for them.
    suffix : str
        One of :data:`FORMATS`, such as ``".cif"``.

    Raises
    ------
    BadOptionError
        For a suffix without a writer, or a particle as CIF.
    """
    return FORMATS[model_format(Path("model" + suffix), bool(atoms.pbc.any()))](atoms)


def model_format(path: Path, periodic: bool = True) -> str:
    """Suffix that stands for the format of a file.

    Raises
    ------
    BadOptionError
        When there is no writer for it, or it is CIF and the model has no cell.
    """
    suffix = ".vasp" if path.name.upper() in ("POSCAR", "CONTCAR") else path.suffix.lower()
    if suffix not in FORMATS:
        raise BadOptionError(f"no writer for {suffix or 'a name without a suffix'}; use {', '.join(FORMATS)} or POSCAR")
    if suffix == ".cif" and not periodic:
        raise BadOptionError("a particle has no cell, which CIF needs; write it as .extxyz, .pdb or .data")
    return suffix


def _cif(atoms: Atoms) -> str:
    from ase.io import write

    # Labels must differ in a CIF: the name of the site, then a running number.
    labels = atoms.arrays.get("site_label")
    names = [f"{label}_{n}" for n, label in enumerate(labels, 1)] if labels is not None else None
    text = io.BytesIO()
    if names is None:
        write(text, atoms, format="cif")
    else:
        letters = [str(position) or "?" for position in atoms.arrays["wyckoff"]]
        write(text, atoms, format="cif", labels=[names], loop_keys={"atom_site_atomflow_wyckoff": [letters]})
    return text.getvalue().decode()


def _extxyz(atoms: Atoms) -> str:
    return _by_ase(atoms, "extxyz")


def _poscar(atoms: Atoms) -> str:
    return _by_ase(_boxed(atoms), "vasp", direct=True, sort=True)


def _pdb(atoms: Atoms) -> str:
    return _by_ase(atoms, "proteindatabank")


def _lammps(atoms: Atoms) -> str:
    boxed = _boxed(atoms)
    order = list(dict.fromkeys(boxed.get_chemical_symbols()))
    return _by_ase(boxed, "lammps-data", atom_style="charge", masses=True, specorder=order, units="metal")


def _boxed(atoms: Atoms) -> Atoms:
    """A particle with a box around it; anything else as it is."""
    if atoms.cell.rank == 3:
        return atoms
    boxed = atoms.copy()
    low = boxed.positions.min(axis=0)
    boxed.set_cell(np.ptp(boxed.positions, axis=0) + 2 * _ROOM_A)
    boxed.positions += _ROOM_A - low
    return boxed


def _by_ase(atoms: Atoms, kind: str, **options: object) -> str:
    from ase.io import write

    text = io.StringIO()
    write(text, atoms, format=kind, **options)
    return text.getvalue()


#: Suffix -> writer.
FORMATS: dict[str, Callable[[Atoms], str]] = {
    ".cif": _cif,
    ".extxyz": _extxyz,
    ".xyz": _extxyz,
    ".vasp": _poscar,
    ".poscar": _poscar,
    ".data": _lammps,
    ".lmp": _lammps,
    ".pdb": _pdb,
}
