"""A periodic cell as a lattice: its reduced basis, what is periodic, and how it changed between two frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import TrajectoryError

#: ``tilted``: so far from orthogonal that the same lattice has a shorter basis.
BoxKind = Literal["none", "orthogonal", "triclinic", "tilted"]

_SHORTEST_A, _LONGEST_A = 1e-6, 1e9


@dataclass(frozen=True, eq=False)
class Lattice:
    """One cell.

    Attributes
    ----------
    cell_A : (3, 3) float64 array
        Vectors in rows; where the frame has none (a slab, a wire), one at right angles to the others.
    inverse : (3, 3) float64 array
        ``positions_A @ inverse`` are fractional coordinates; zero along directions that are not periodic.
    periodic : (3,) bool array
    """

    cell_A: NDArray[np.float64]
    inverse: NDArray[np.float64]
    periodic: NDArray[np.bool_]

    @cached_property
    def lengths_A(self) -> NDArray[np.float64] | None:
        """Edges of a box along the axes; None for any other cell."""
        edges = np.diag(self.cell_A)
        off = self.cell_A[~np.eye(3, dtype=bool)]
        return edges.copy() if not off.any() and (edges > 0).all() else None

    @cached_property
    def volume_A3(self) -> float:
        """Volume."""
        return float(abs(np.linalg.det(self.cell_A)))

    @cached_property
    def _bounding(self) -> NDArray[np.float64]:
        """Lattice vectors that bound the Voronoi cell, up to sign, shortest first, along what is periodic only."""
        from atomflow.trajectory import _unwrap_kernels as kernels

        vectors = kernels.voronoi_vectors(self.cell_A)
        steps = vectors @ np.linalg.inv(self.cell_A)
        vectors = vectors[(np.abs(steps[:, ~self.periodic]) < 0.5).all(axis=1)]
        return vectors[np.argsort((vectors**2).sum(axis=1), kind="stable")]

    @cached_property
    def reduced(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The basis of shortest vectors (Minkowski's), what is not periodic last, and its inverse.

        The inverse is zero along what is not periodic.
        """
        if self.lengths_A is not None and self.periodic.all():
            return self.cell_A, self.inverse
        chosen: list[NDArray[np.float64]] = []
        for vector in self._bounding:
            # A vector of the same plane, or one that skips lattice points, is no use.
            trial = np.array([*chosen, vector])
            gram = np.linalg.det(trial @ trial.T)
            if len(trial) < self.periodic.sum():
                if gram > 1e-9 * np.prod((trial**2).sum(axis=1)):
                    chosen.append(vector)
            elif 0.5 < gram / self._periodic_gram < 2:
                chosen.append(vector)
                break
        basis = np.array([*chosen, *self.cell_A[~self.periodic]])
        return basis, np.asarray(np.linalg.inv(basis) * (np.arange(3) < len(chosen)), dtype=np.float64)

    @property
    def _periodic_gram(self) -> float:
        rows = self.cell_A[self.periodic]
        return float(np.linalg.det(rows @ rows.T))

    @cached_property
    def neighbours(self) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Lattice vectors around zero, half of their squares, and the square of the safe radius.

        A vector that none of them shortens is the shortest; one that is shorter than half of the shortest of them has no
        shorter image.
        """
        vectors = np.concatenate([self._bounding, -self._bounding])
        squares = (vectors**2).sum(axis=1)
        return vectors, squares / 2, float(squares.min()) / 4

    @cached_property
    def kind(self) -> BoxKind:
        """What kind of box this is."""
        if self.lengths_A is not None:
            return "orthogonal"
        gram = self.cell_A @ self.cell_A.T
        edges = np.sqrt(np.diag(gram))
        if (np.abs(gram - np.diag(edges**2)) < 1e-6 * np.outer(edges, edges)).all():
            return "orthogonal"
        shortened = np.sort(np.linalg.norm(self.reduced[0], axis=1)) < np.sort(edges) * (1 - 1e-6)
        return "tilted" if shortened.any() else "triclinic"

    def fractions(self, positions_A: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) fractional coordinates; zero along what is not periodic."""
        return np.asarray(positions_A, dtype=np.float64) @ self.inverse

    def wrap(self, positions_A: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) images of the positions within the cell."""
        return np.asarray(positions_A, dtype=np.float64) - np.floor(self.fractions(positions_A)) @ self.cell_A


def lattice_of(cell_A: ArrayLike, frame: int | None = None) -> Lattice:
    """The lattice of a cell, computed once.

    Parameters
    ----------
    cell_A : (3, 3) array
        Vectors in rows; a row of zeros is a direction that is not periodic.
    frame : int, optional
        For messages.

    Raises
    ------
    TrajectoryError
        A cell without volume, or with something that is not a number.
    """
    cell = np.ascontiguousarray(cell_A, dtype=np.float64)
    lattice = _lattice(cell.tobytes())
    if lattice is None:
        where = "" if frame is None else f"frame {frame}: "
        raise TrajectoryError(f"{where}a cell of {cell.tolist()} A has no volume; give the right one with cell_A")
    return lattice


# An NPT run has a new cell in every frame; two are in use at a time.
@lru_cache(maxsize=16)
def _lattice(content: bytes) -> Lattice | None:
    from ase.geometry import complete_cell

    cell = np.frombuffer(content).reshape(3, 3).copy()
    # A box beyond these edges is a damaged number, and its square has no place in a double.
    if not (np.abs(cell) < _LONGEST_A).all():
        return None
    edges = np.linalg.norm(cell, axis=1)
    periodic = edges > _SHORTEST_A
    if not periodic.any():
        return None
    if not periodic.all():
        cell = np.array(complete_cell(cell * periodic[:, None]), dtype=np.float64)
        edges = np.linalg.norm(cell, axis=1)
    if not abs(np.linalg.det(cell / edges[:, None])) > 1e-9:
        return None
    return Lattice(cell, np.linalg.inv(cell) * periodic, periodic)


def cell_change(before: Lattice, after: Lattice) -> NDArray[np.float64] | None:
    """How much each cell vector changed, (3, 3); None for the same cell.

    A cell whose vectors were only chosen anew (LAMMPS flips a box that has become too tilted) is compared in the basis
    of the one before.
    """
    if before is after or np.array_equal(before.cell_A, after.cell_A):
        return None
    renamed = np.rint(before.cell_A @ after.inverse)
    if not after.periodic.all() or abs(abs(np.linalg.det(renamed)) - 1) > 1e-6:
        return after.cell_A - before.cell_A
    return renamed @ after.cell_A - before.cell_A
