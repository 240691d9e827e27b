"""Starting geometries: an assembly of molecules placed at random, without clashes, donors towards the cation.

Orientations are drawn uniformly over rotations. The cation sits at the origin; each host is turned at random and moved
so that one of its donor atoms (or two, for half of the starts) is at bonding distance.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from atomflow.build import conformers, donor_atoms
from atomflow.errors import BadStructureError
from atomflow.model import Molecule

#: Contacts shorter than this share of the summed covalent radii plus :data:`_GAP_A` are clashes.
_GAP_A = 0.6
_STRETCH = 1.05
_TRIES = 400
_CONFORMERS = 12
_CHELATE_SHARE = 0.5
_CHELATE_REACH_A = 3.6
_STEP_A = 0.2


def starts(parts: Sequence[Molecule], count: int, seed: int) -> list[Atoms]:
    """Random starting geometries of an assembly.

    Parameters
    ----------
    parts : sequence of Molecule
        A cation first where there is one; order decides only who is placed first.
    count : int
        How many starts; the first n of a longer list are the list of length n.
    seed : int

    Returns
    -------
    list of ase.Atoms
        With ``info["charge"]``, ``info["spin"]``, ``info["name"]`` and an integer array ``"part"`` that tells which
        molecule an atom belongs to. A single molecule gives its conformers, at most ``count``.
    """
    label = " + ".join(part.name for part in parts)
    key = zlib.crc32(label.encode())
    shapes = [conformers(part, _CONFORMERS if len(part) > 1 else 1, seed) for part in parts]
    if len(parts) == 1:
        return [assemble([atoms], parts) for atoms in shapes[0][:count]]
    return [_place(parts, shapes, np.random.default_rng([seed, key, index])) for index in range(count)]


def assemble(placed: Sequence[Atoms], parts: Sequence[Molecule]) -> Atoms:
    """Join placed molecules into one Atoms that knows its charge, spin and parts."""
    joined = Atoms()
    for atoms in placed:
        joined += Atoms(atoms.numbers, atoms.get_positions())
    joined.set_array("part", np.repeat(np.arange(len(placed)), [len(atoms) for atoms in placed]))
    joined.info["charge"] = sum(part.charge for part in parts)
    # High-spin coupling is the simple choice; closed-shell parts give a closed-shell assembly.
    joined.info["spin"] = sum(part.multiplicity - 1 for part in parts) + 1
    joined.info["name"] = " + ".join(part.name for part in parts)
    return joined


def _place(parts: Sequence[Molecule], shapes: Sequence[list[Atoms]], rng: np.random.Generator) -> Atoms:
    # The cation goes first, then the most charged, so that donors find it wherever it stood in the list.
    order = sorted(range(len(parts)), key=lambda i: (not _is_cation(parts[i]), -abs(parts[i].charge)))
    placed: dict[int, Atoms] = {}
    for index in order:
        shape = shapes[index][rng.integers(len(shapes[index]))].copy()
        if not placed:
            shape.positions -= shape.positions.mean(axis=0)
            placed[index] = shape
            continue
        centre = order[0] if _is_cation(parts[order[0]]) and len(parts[order[0]]) == 1 else None
        placed[index] = _dock(parts[index], shape, placed, centre, rng)
    return assemble([placed[i] for i in range(len(parts))], parts)


def _is_cation(part: Molecule) -> bool:
    return part.charge > 0


def _dock(
    part: Molecule, shape: Atoms, placed: dict[int, Atoms], centre: int | None, rng: np.random.Generator
) -> Atoms:
    others_xyz = np.vstack([atoms.positions for atoms in placed.values()])
    others_z = np.concatenate([atoms.numbers for atoms in placed.values()])
    donors = donor_atoms(part)
    for attempt in range(_TRIES):
        slack = 1.0 + attempt / _TRIES  # crowded cations need more room
        turned = shape.copy()
        turned.positions = Rotation.random(rng=rng).apply(shape.positions - shape.positions.mean(axis=0))
        if centre is not None and donors:
            _bring_donor(turned, donors, int(placed[centre].numbers[0]), placed[centre].positions[0], slack, rng)
        else:
            _bring_surface(turned, others_xyz, others_z, rng)
        if not _clashes(turned, others_xyz, others_z):
            return turned
    raise BadStructureError(
        f"{part.name} cannot be placed without overlap beside {len(others_xyz)} atoms; use fewer or smaller hosts"
    )


def _bring_donor(
    atoms: Atoms, donors: dict[int, float], metal: int, at: np.ndarray, slack: float, rng: np.random.Generator
) -> None:
    """Move a molecule so that the cation is at bonding distance from one donor, or equally far from two."""
    indices = np.array(sorted(donors))
    weights = np.array([donors[i] for i in indices])
    first = rng.choice(indices, p=weights / weights.sum())
    reach = _STRETCH * slack * (covalent_radii[metal] + covalent_radii[atoms.numbers[first]])
    origin = atoms.positions[first]
    near = [i for i in indices if i != first and np.linalg.norm(atoms.positions[i] - origin) < _CHELATE_REACH_A]
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    spot = origin + reach * direction
    if near and rng.random() < _CHELATE_SHARE:
        second = atoms.positions[rng.choice(near)]
        axis = second - origin
        half = np.linalg.norm(axis) / 2
        across = direction - axis * (direction @ axis) / (axis @ axis)
        across /= np.linalg.norm(across)
        spot = origin + axis / 2 + across * np.sqrt(max(reach**2 - half**2, 0.25))
    atoms.positions += at - spot


def _bring_surface(atoms: Atoms, others: np.ndarray, other_numbers: np.ndarray, rng: np.random.Generator) -> None:
    """Move a molecule in from far away along a random direction until one more step would be a clash."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    middle = others.mean(axis=0)
    reach = np.linalg.norm(others - middle, axis=1).max() + np.linalg.norm(atoms.positions, axis=1).max() + 6.0
    atoms.positions += middle + reach * direction
    for _ in range(int(reach / _STEP_A)):
        atoms.positions -= _STEP_A * direction
        if _clashes(atoms, others, other_numbers):
            atoms.positions += _STEP_A * direction
            return


def _clashes(atoms: Atoms, others: np.ndarray, other_numbers: np.ndarray) -> bool:
    limit = covalent_radii[atoms.numbers][:, None] + covalent_radii[other_numbers][None, :] + _GAP_A
    # A donor bonded to the cation is nearer than a van der Waals contact; hydrogens and carbons must keep off.
    donors = np.isin(atoms.numbers, (7, 8, 9, 16, 17))[:, None]
    metals = ~np.isin(other_numbers, (1, 6, 7, 8, 9, 16, 17))[None, :]
    limit = np.where(donors & metals, 0.8 * (limit - _GAP_A), limit)
    return bool((cdist(atoms.positions, others) < limit).any())
