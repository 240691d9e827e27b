"""Bonds that pass through a ring: a knot that no minimiser unties, and that must not enter a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadStructureError

_MOST_FOUND = 10_000


@dataclass(frozen=True)
class PiercedRing:
    """Atoms of a ring, in order around it, and of the bond that passes through its face."""

    ring: tuple[int, ...]
    bond: tuple[int, int]

    def __str__(self) -> str:
        return f"bond {self.bond[0]}-{self.bond[1]} through the ring {'-'.join(map(str, self.ring))}"


def pierced_rings(bonds: Any, positions_A: Any, cell_A: Any = None, *, largest_ring: int = 8) -> list[PiercedRing]:
    """Rings with a bond through their face, in a molecule or a whole periodic box.

    The face is the fan of triangles about the ring's centre. Rings are the shortest ones through each bond.

    Parameters
    ----------
    bonds : (n_bonds, 2) int array
    positions_A : (n_atoms, 3) float array
        Wrapped or whole: bonds are taken to the nearest image.
    cell_A : (3, 3) float array or None
        Rows are the cell vectors; None for a molecule.
    largest_ring : int
        Atoms of the largest ring looked at, 3 to 12.

    Raises
    ------
    BadStructureError
        When the arrays do not fit each other, or the cell has no volume.
    """
    from atomflow.build._piercing_kernels import find_crossings

    x = np.ascontiguousarray(positions_A, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != 3 or not np.isfinite(x).all():
        raise BadStructureError(f"positions of shape {x.shape} are not n finite points; give an (n, 3) array")
    pairs = _checked_bonds(bonds, len(x))
    rings = small_rings(pairs, len(x), largest_ring)
    if not rings:
        return []
    cell, inverse, heights = np.eye(3), np.eye(3), np.ones(3)
    if cell_A is not None:
        cell = np.ascontiguousarray(cell_A, dtype=np.float64)
        if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
            raise BadStructureError("the cell must be three vectors that span a volume")
        inverse = np.ascontiguousarray(np.linalg.inv(cell))
        heights = 1 / np.linalg.norm(inverse, axis=0)
    table = np.full((len(rings), largest_ring), -1, np.int64)
    for row, ring in zip(table, rings, strict=True):
        row[: len(ring)] = ring
    sizes = np.array([len(ring) for ring in rings], np.int64)
    found = np.empty((_MOST_FOUND, 2), np.int64)
    many = find_crossings(table, sizes, pairs, x, cell, inverse, heights, cell_A is not None, found)
    return [
        PiercedRing(rings[ring], (int(pairs[bond, 0]), int(pairs[bond, 1])))
        for ring, bond in found[: min(many, _MOST_FOUND)].tolist()
    ]


def small_rings(bonds: Any, n_atoms: int, largest: int = 8) -> list[tuple[int, ...]]:
    """Shortest rings through each bond with at most ``largest`` atoms, each once; atoms in order around the ring."""
    from atomflow.build._piercing_kernels import rings_of_bonds

    if not 3 <= largest <= 12:
        raise BadStructureError(f"rings of at most {largest} atoms: give a number between 3 and 12")
    pairs = _checked_bonds(bonds, n_atoms)
    if not len(pairs):
        return []
    ends = np.concatenate((pairs, pairs[:, ::-1]))
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    start = np.concatenate(([0], np.cumsum(np.bincount(ends[:, 0], minlength=n_atoms)))).astype(np.int64)
    out = np.empty((len(pairs), largest), np.int64)
    used = rings_of_bonds(pairs, start, np.ascontiguousarray(ends[:, 1]), n_atoms, largest, out)
    return list(_distinct(tuple(atom for atom in row if atom >= 0) for row in out[:used].tolist()))


def _distinct(rings: Iterable[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
    seen = set()
    for ring in rings:
        if (key := frozenset(ring)) not in seen:
            seen.add(key)
            yield ring


def _checked_bonds(bonds: Any, n_atoms: int) -> NDArray[np.int64]:
    pairs = np.ascontiguousarray(np.asarray(bonds, dtype=np.int64).reshape(-1, 2))
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < n_atoms:
        raise BadStructureError(f"a bond names an atom that is not among the {n_atoms}; count from 0")
    return pairs
