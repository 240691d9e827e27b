"""What the 3-D viewer is told about a structure: coordinates, bonds, and contacts of metal ions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from atomflow.report.content import View

#: Two non-metals nearer than this multiple of the sum of their covalent radii are drawn bonded.
BOND_FACTOR = 1.25
#: Metal-donor contacts up to this distance are drawn dashed, A.
CONTACT_A = 2.6
#: The same for metals as large as potassium, whose first shell reaches further, A.
LONG_CONTACT_A = 3.2
#: Covalent radius above which a metal counts as large, A (ASE: Ca 1.76, K 2.03).
LARGE_RADIUS_A = 1.7

_DONORS = (7, 8, 9)
_NONMETALS = (1, 2, *range(5, 11), *range(14, 19), *range(32, 37), *range(51, 55), 85, 86)


def scene(view: View) -> dict[str, Any]:
    """Plain data of a view, ready for JSON.

    Returns
    -------
    dict
        ``label``, ``detail``, ``xyz`` (extended XYZ text, A), ``bonds`` (pairs of indices), ``contacts`` (index of the
        metal, index of the donor), ``ions`` (indices drawn as large spheres), ``cell`` (three vectors or None) and
        ``turn`` (quaternion x, y, z, w of the first sight).
    """
    atoms = view.atoms
    metal = ~np.isin(atoms.numbers, _NONMETALS)
    bonds, contacts = _neighbours(atoms, metal)
    bonded = np.zeros(len(atoms), dtype=bool)
    bonded[[index for pair in bonds for index in pair]] = True
    return {
        "label": view.label,
        "detail": view.detail,
        "xyz": xyz_text(view),
        "bonds": bonds,
        "contacts": contacts,
        "ions": np.flatnonzero(metal | ~bonded).tolist(),
        "cell": np.asarray(atoms.cell).round(6).tolist() if atoms.pbc.any() else None,
        "turn": _first_sight(atoms, metal).round(6).tolist(),
    }


def xyz_text(view: View) -> str:
    """Write a view as extended XYZ; the comment line carries its label, charge and multiplicity (``spin``)."""
    bare = Atoms(numbers=view.atoms.numbers, positions=view.atoms.positions, cell=view.atoms.cell, pbc=view.atoms.pbc)
    bare.info["label"] = " ".join(view.label.split())  # a line break would end the comment line
    for key in ("charge", "spin"):
        if key in view.atoms.info:
            bare.info[key] = int(view.atoms.info[key])
    text = io.StringIO()
    from ase.io import write  # takes half a second to import

    write(text, bare, format="extxyz")
    return text.getvalue()


def _first_sight(atoms: Atoms, metal: np.ndarray) -> np.ndarray:
    # Longest axis across the screen, shortest towards the reader, so that nothing hides a contact; metals on the
    # left, so that similar complexes look alike when one switches between them. Crystals: a corner, not a face.
    if atoms.pbc.any() or len(atoms) < 2:
        return Rotation.from_euler("yx", [-25.0, 15.0], degrees=True).as_quat()
    centred = atoms.positions - atoms.positions.mean(axis=0)
    axes = np.linalg.svd(centred)[2]
    along, up = axes[0], axes[1]
    lean = (centred[metal] @ along).sum() if metal.any() else 0.0
    along = along * (-1.0 if (lean if abs(lean) > 1e-6 else -((centred @ along) ** 3).sum()) > 0 else 1.0)
    up = up * (-1.0 if ((centred @ up) ** 3).sum() < 0 else 1.0)
    return Rotation.from_matrix([along, up, np.cross(along, up)]).as_quat()


def _neighbours(atoms: Atoms, metal: np.ndarray) -> tuple[list[list[int]], list[list[int]]]:
    # Distances as drawn: no periodic images, so that no stick crosses the whole cell.
    if len(atoms) < 2:
        return [], []
    pairs = cKDTree(atoms.positions).query_pairs(LONG_CONTACT_A, output_type="ndarray")
    if not len(pairs):
        return [], []
    pairs = np.sort(pairs, axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    distance = np.linalg.norm(atoms.positions[pairs[:, 0]] - atoms.positions[pairs[:, 1]], axis=1)
    radii = covalent_radii[atoms.numbers]
    near = distance < BOND_FACTOR * radii[pairs].sum(axis=1)
    bonds = pairs[near & ~metal[pairs].any(axis=1)]

    donor = np.isin(atoms.numbers, _DONORS)
    limit = np.where(metal & (radii > LARGE_RADIUS_A), LONG_CONTACT_A, CONTACT_A)
    ordered = np.where(metal[pairs[:, :1]], pairs, pairs[:, ::-1])  # the metal first
    held = metal[ordered[:, 0]] & donor[ordered[:, 1]] & (distance < limit[ordered[:, 0]])
    return bonds.tolist(), ordered[held].tolist()
