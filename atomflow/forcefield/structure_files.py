"""Boxes and systems as structure files that other programs show: PDB, GRO, extended XYZ."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atomflow.forcefield.pairing import lower_cell
from atomflow.model import Box, System, write_atomically


def write_pdb(model: Box | System, path: str | Path) -> Path:
    """PDB with residues, elements, cell and a CONECT record for every bond (written by MDAnalysis)."""
    import MDAnalysis as mda

    universe = _standing(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about chains and occupancies, which there are none of
        text = mda.lib.util.NamedStream(io.StringIO(), "box.pdb")
        with mda.Writer(text, multiframe=False, bonds="all", n_atoms=len(universe.atoms), reindex=True) as writer:
            writer.write(universe.atoms)
        return write_atomically(path, text.stream.getvalue())


def write_gro(model: Box | System, path: str | Path) -> Path:
    """GRO with nine decimals (of nm), as many as other programs read; residues and molecules' order kept."""
    box = _box(model)
    cell, rotation = lower_cell(box.cell_A)
    residue, names = box.residues
    elements = box.atoms.get_chemical_symbols()
    lines = [" ".join(box.name.split()) or "box", str(len(box))]
    for index, (x, y, z) in enumerate((box.positions_A @ rotation / 10).tolist()):
        place = int(residue[index])
        head = f"{(place + 1) % 100000:5d}{names[place][:5]:<5}{elements[index]:>5}{(index + 1) % 100000:5d}"
        lines.append(f"{head}{x:14.9f}{y:14.9f}{z:14.9f}")
    edges = [cell[0, 0], cell[1, 1], cell[2, 2]]
    if np.any(np.tril(cell, -1)):
        edges += [0.0, 0.0, cell[1, 0], 0.0, cell[2, 0], cell[2, 1]]
    lines.append(" ".join(f"{edge / 10:.9f}" for edge in edges))
    return write_atomically(path, "\n".join(lines) + "\n")


def write_extxyz(model: Box | System, path: str | Path) -> Path:
    """Extended XYZ of ASE: cell, molecule of each atom; of a system also its partial charges as ``initial_charges``."""
    from ase.io import write

    atoms = _box(model).atoms
    if isinstance(model, System):
        atoms.set_initial_charges(model.charges_e)
        atoms.info["forcefield"] = model.forcefield
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    return write_atomically(path, text.getvalue())


def _box(model: Box | System) -> Box:
    return model.box if isinstance(model, System) else model


def _standing(model: Box | System) -> Any:
    """The universe with the cell turned as its lengths and angles imply, which is all that a PDB says of it."""
    box = _box(model)
    cell, rotation = lower_cell(box.cell_A)
    turned = Box(box.kinds, box.molecules, box.positions_A @ rotation, cell, box.name)
    return model.moved(turned.positions_A, cell).universe if isinstance(model, System) else turned.universe
