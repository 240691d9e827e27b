"""Near pairs of atoms in a periodic cell: counted by distance for many pairs of groups at once, or listed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.trajectory.cells import lattice_of

#: Atoms that a run of the sorted atoms should hold: long enough to fill vectors, short enough to hold few that are far.
_RUN = 40
#: How far beyond the largest radius a frame may be, for cells that breathe: images are counted rightly all the same.
_BREATH = 1.02


@dataclass(frozen=True, eq=False)
class Brick:
    """A lattice as the kernels see it; see :mod:`atomflow.analysis._pair_kernels`.

    Attributes
    ----------
    vectors_A : tuple of 6 floats
        ``a, bu, bv, cu, cv, cw``.
    rotation : (3, 3) float64 array
        From the frame's axes to the brick's.
    rotated : bool
        Whether they differ.
    volume_A3 : float
    limit_A : float
        Half the shortest lattice vector: within this radius every atom has at most one image.
    """

    vectors_A: tuple[float, float, float, float, float, float]
    rotation: NDArray[np.float64]
    rotated: bool
    volume_A3: float
    limit_A: float


def brick_of(cell_A: ArrayLike | None, where: str = "") -> Brick:
    """The brick of a cell that is periodic in all directions.

    Parameters
    ----------
    cell_A : (3, 3) array or None
        Vectors in rows, of any handedness and orientation, however tilted.
    where : str
        For messages: the trajectory and frame.

    Raises
    ------
    TrajectoryError
        There is no cell, or it has no volume.
    """
    told = f"{where}: " if where else ""
    if cell_A is None:
        raise TrajectoryError(f"{told}no cell is stored, and pairs need one; give it with cell_A")
    cell = np.ascontiguousarray(cell_A, dtype=np.float64)
    if cell.shape != (3, 3) or not np.isfinite(cell).all() or not cell.any(axis=1).all():
        raise TrajectoryError(
            f"{told}the cell {cell.tolist()} A is not periodic in three directions; give it with cell_A"
        )
    return _brick(cell.tobytes())


# A run at constant volume has one cell, and one at constant pressure a new one in every frame.
@lru_cache(maxsize=4)
def _brick(content: bytes) -> Brick:
    cell = np.frombuffer(content).reshape(3, 3)
    edges = (float(cell[0, 0]), float(cell[1, 1]), float(cell[2, 2]))
    if np.count_nonzero(cell) == 3 and min(edges) > 1e-9:
        a, b, c = edges
        return Brick((a, 0.0, b, 0.0, 0.0, c), np.eye(3), False, a * b * c, min(edges) / 2)
    basis = cell if _is_reduced(cell) else lattice_of(cell).reduced[0]
    lower = basis
    rotation = np.eye(3)
    rotated = bool(np.triu(basis, 1).any() or (np.diag(basis) <= 0).any())
    if rotated:
        q, r = np.linalg.qr(basis.T)
        signs = np.sign(np.diag(r))
        rotation = q * signs
        lower = (r * signs[:, None]).T
    a, bu, bv, cu, cv, cw = (float(lower[i, j]) for i, j in ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)))
    limit = math.sqrt(float((basis**2).sum(axis=1).min())) / 2
    return Brick((a, bu, bv, cu, cv, cw), np.ascontiguousarray(rotation), rotated, a * bv * cw, limit)


def _is_reduced(cell: NDArray[np.float64]) -> bool:
    """Whether the basis is Minkowski-reduced: no vector gets shorter by adding the others; the first is the shortest.

    Asked before a reduction, which takes longer than the pairs of a small frame.
    """
    gram = (cell @ cell.T).tolist()
    order = sorted(range(3), key=lambda k: gram[k][k])
    (aa, ab, ac), (_, bb, bc), (_, _, cc) = ([gram[i][j] for j in order] for i in order)
    if not min(aa, bb, cc) > 0 or not abs(np.linalg.det(cell)) > 1e-6 * math.sqrt(aa * bb * cc):
        return False
    if 2 * abs(ab) > aa or 2 * abs(ac) > aa or 2 * abs(bc) > bb:
        return False
    return all(aa + bb + 2 * (s * t * ab + s * ac + t * bc) >= 0 for s in (1, -1) for t in (1, -1))


def check_radius(radius_A: float, brick: Brick, where: str, what: str = "r_max_A") -> None:
    """Refuse a radius within which an atom would meet its own images.

    Raises
    ------
    TrajectoryError
        With the largest radius that is allowed.
    """
    if radius_A > brick.limit_A * _BREATH:
        allowed = math.floor(brick.limit_A * 1000) / 1000
        raise TrajectoryError(
            f"{where}: {what} {radius_A:g} A reaches beyond half the shortest period of the cell; "
            f"the largest allowed is {allowed:g} A"
        )


@dataclass(frozen=True, eq=False)
class SortedAtoms:
    """Atoms of one frame, wrapped into a brick and sorted."""

    places: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    order: NDArray[np.int32]
    start: NDArray[np.int32]
    shape: tuple[int, int, int]

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates without the padding."""
        n = len(self.order)
        u, v, w = self.places
        return u[:n], v[:n], w[:n]


def sort_atoms(
    positions_A: NDArray[np.floating], atoms: NDArray[np.intp], brick: Brick, reach_A: float, where: str = ""
) -> SortedAtoms:
    """Wrap and sort some atoms of a frame, to look for neighbours within ``reach_A``.

    Raises
    ------
    TrajectoryError
        A coordinate that is not a number, or is absurd.
    """
    from atomflow.analysis import _pair_kernels as kernels

    if positions_A.dtype not in (np.float32, np.float64) or not positions_A.flags.c_contiguous:
        positions_A = np.ascontiguousarray(positions_A, dtype=np.float64)
    shape = _shape(len(atoms), brick, reach_A)
    u, v, w, order, start, lost = kernels.sort_into_brick(
        positions_A, atoms, brick.rotation, brick.rotated, brick.vectors_A, shape
    )
    if lost:
        far = 1e6 * max(brick.vectors_A)
        bad = atoms[~(np.abs(positions_A[atoms]) < far).all(axis=1)]
        named = f"atom {bad[0] + 1} has" if len(bad) else "there are atoms with"
        raise TrajectoryError(
            f"{where or 'positions'}: {named} a coordinate that is not a number or a million cells away; "
            "the run broke there: analyse the frames before it with stop"
        )
    return SortedAtoms((u, v, w), order, start, shape)


def _shape(n: int, brick: Brick, reach_A: float) -> tuple[int, int, int]:
    a, _, bv, _, _, cw = brick.vectors_A
    density = max(n, 1) / brick.volume_A3
    width = min(max(math.sqrt(_RUN / (1.3 * density * reach_A)), reach_A / 4), reach_A)
    depth = min(max(2 / (density * width**2), reach_A / 50), reach_A)
    # In a very large and empty cell bins of that size would be many more than atoms.
    cells = [max(1.0, a / depth), max(1.0, bv / width), max(1.0, cw / width)]
    while math.prod(cells) > 4 * n + 64:
        largest = cells.index(max(cells))
        cells[largest] = max(1.0, cells[largest] / 2)
    return int(cells[0]), int(cells[1]), int(cells[2])


def parse_pair(text: str, known: Iterable[str]) -> tuple[str, str]:
    """The two labels of ``"Li:O_TFSI"``.

    Raises
    ------
    BadOptionError
        Not two labels.
    UnknownNameError
        A label that is no species.
    """
    labels = tuple(part.strip() for part in text.split(":"))
    if len(labels) != 2 or not all(labels):
        raise BadOptionError(f"pair {text!r}: give two species, as in 'Li:O'")
    for label in labels:
        if label not in (names := list(known)):
            raise UnknownNameError("species", label, names, f"name it with species, as in {{{label!r}: 'type 1'}}")
    return labels[0], labels[1]


@dataclass(frozen=True, eq=False)
class _Sheet:
    """One sweep: centres against others, or (others is None) the centres among themselves, each pair once."""

    centres: NDArray[np.intp]
    row: NDArray[np.int32]
    others: NDArray[np.intp] | None
    column: NDArray[np.int32]
    n_rows: int
    n_columns: int


@dataclass(frozen=True, eq=False)
class PairPlan:
    """How to count all wanted pairs of groups with the fewest distances; groups may overlap.

    Atoms are told apart by the groups they belong to. The rarer side of each pair is the centre.

    Attributes
    ----------
    pairs : tuple of (str, str)
    sizes : dict of str to int
    n_pairs : tuple of int
        Ordered pairs of different atoms that each pair can have (without those within a molecule, if left out).
    molecules : (n_atoms,) int32 array or None
        Molecules whose inner pairs are left out.
    """

    pairs: tuple[tuple[str, str], ...]
    sizes: dict[str, int]
    n_pairs: tuple[int, ...]
    molecules: NDArray[np.int32] | None
    sheets: tuple[_Sheet, ...]
    #: For each pair: (sheet, row, column, how often).
    parts: tuple[tuple[tuple[int, int, int, int], ...], ...]


def plan_pairs(
    groups: Mapping[str, NDArray[np.intp]],
    pairs: Sequence[tuple[str, str]],
    n_atoms: int,
    molecules: NDArray[np.intp] | None = None,
) -> PairPlan:
    """Plan the counting of pairs of groups of atoms.

    Parameters
    ----------
    groups : mapping of str to (m,) int arrays
        Indices; one that comes twice counts once.
    pairs : sequence of (str, str)
    molecules : (n_atoms,) int array, optional
        Leave out pairs with equal numbers.
    """
    used = sorted({label for pair in pairs for label in pair})
    inside = np.zeros((n_atoms, len(used)), bool)
    for number, label in enumerate(used):
        inside[groups[label], number] = True
    signatures, kind = np.unique(inside, axis=0, return_inverse=True)
    kind = kind.ravel()
    members = [np.flatnonzero(kind == k) for k in range(len(signatures))]
    kinds = {label: np.flatnonzero(signatures[:, number]).tolist() for number, label in enumerate(used)}
    edges = {(min(k, m), max(k, m)) for a, b in pairs for k in kinds[a] for m in kinds[b]}
    centres = _cover(edges, [len(atoms) for atoms in members])

    sheets: list[_Sheet] = []
    place: dict[tuple[int, int], tuple[int, int, int]] = {}
    if any(k in centres and m in centres for k, m in edges):
        ranks = {k: rank for rank, k in enumerate(centres)}
        atoms, row = _together(members, centres)
        place |= {(k, m): (len(sheets), ranks[k], ranks[m]) for k in centres for m in centres}
        sheets.append(_Sheet(atoms, row, None, row, len(centres), len(centres)))
    partners: dict[tuple[int, ...], list[int]] = {}
    for k in centres:
        others = tuple(m for m in range(len(members)) if m not in centres and (min(k, m), max(k, m)) in edges)
        partners.setdefault(others, []).append(k)
    for others, mine in partners.items():
        if others:
            place |= {(k, m): (len(sheets), r, c) for r, k in enumerate(mine) for c, m in enumerate(others)}
            atoms, row = _together(members, mine)
            far, column = _together(members, others)
            sheets.append(_Sheet(atoms, row, far, column, len(mine), len(others)))

    parts = []
    for a, b in pairs:
        found: dict[tuple[int, int, int], int] = {}
        for k in kinds[a]:
            for m in kinds[b]:
                for key in ((k, m), (m, k)):
                    if key in place:
                        found[place[key]] = found.get(place[key], 0) + 1
        parts.append(tuple((*spot, times) for spot, times in found.items()))
    return PairPlan(
        pairs=tuple(pairs),
        sizes={label: int(inside[:, number].sum()) for number, label in enumerate(used)},
        n_pairs=tuple(_possible(inside[:, used.index(a)], inside[:, used.index(b)], molecules) for a, b in pairs),
        molecules=None if molecules is None else np.unique(molecules, return_inverse=True)[1].astype(np.int32),
        sheets=tuple(sheets),
        parts=tuple(parts),
    )


def _cover(edges: set[tuple[int, int]], sizes: Sequence[int]) -> list[int]:
    """Kinds that touch every edge, few atoms in all: the smaller side of each, less what the others make needless."""
    chosen = {k for k, m in edges if k == m}
    for k, m in sorted(edges, key=lambda edge: min(sizes[edge[0]], sizes[edge[1]])):
        if k not in chosen and m not in chosen:
            chosen.add(k if sizes[k] <= sizes[m] else m)
    for k in sorted(chosen, key=lambda k: -sizes[k]):
        mine = [edge for edge in edges if k in edge]
        if all(a != b and (b if a == k else a) in chosen for a, b in mine):
            chosen.discard(k)
    return sorted(chosen)


def _together(members: Sequence[NDArray[np.intp]], kinds: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    atoms = np.concatenate([members[k] for k in kinds])
    rank = np.repeat(np.arange(len(kinds), dtype=np.int32), [len(members[k]) for k in kinds])
    order = np.argsort(atoms)
    return atoms[order], rank[order]


def _possible(a: NDArray[np.bool_], b: NDArray[np.bool_], molecules: NDArray[np.intp] | None) -> int:
    total = int(a.sum()) * int(b.sum())
    if molecules is None:
        return total - int((a & b).sum())
    number = np.unique(molecules, return_inverse=True)[1]
    return total - int(np.bincount(number, a) @ np.bincount(number, b))


def count_pairs(
    positions_A: NDArray[np.floating], brick: Brick, plan: PairPlan, r_max_A: float, n_bins: int, where: str = ""
) -> NDArray[np.int64]:
    """Ordered pairs of different atoms in ``n_bins`` equal bins of their distance from 0 to ``r_max_A``.

    Distances are put into bins in double precision. Images are counted, each by itself, should ``r_max_A`` reach
    beyond ``brick.limit_A``.

    Returns
    -------
    (n_pairs, n_bins) int64 array

    Raises
    ------
    TrajectoryError
        A coordinate that is not a number.
    """
    from atomflow.analysis import _pair_kernels as kernels

    wide = n_bins + kernels.BEYOND
    counted = []
    for sheet in plan.sheets:
        centres = sort_atoms(positions_A, sheet.centres, brick, r_max_A, where)
        others = centres if sheet.others is None else sort_atoms(positions_A, sheet.others, brick, r_max_A, where)
        far = sheet.centres if sheet.others is None else sheet.others
        column = np.zeros(len(far) + kernels.PADDING, np.int32)
        np.multiply(sheet.column[others.order], wide, out=column[: len(far)])
        mine = theirs = np.empty(0, np.int32)
        if plan.molecules is not None:
            mine = plan.molecules[sheet.centres[centres.order]]
            theirs = np.pad(plan.molecules[far[others.order]], (0, kernels.PADDING))
        counts = np.zeros((sheet.n_rows, sheet.n_columns * wide), np.int64)
        kernels.count_into_bins(
            sheet.others is None, *centres.centres, sheet.row[centres.order], mine,
            *others.places, column, theirs, others.start, brick.vectors_A, others.shape, r_max_A, n_bins, counts,
        )  # fmt: skip
        counted.append(counts.reshape(sheet.n_rows, sheet.n_columns, wide)[:, :, :n_bins])
    total = np.zeros((len(plan.pairs), n_bins), np.int64)
    for number, parts in enumerate(plan.parts):
        for sheet_number, row, column_number, times in parts:
            total[number] += times * counted[sheet_number][row, column_number]
    return total


def near_pairs(
    positions_A: NDArray[np.floating],
    brick: Brick,
    centres: NDArray[np.intp],
    others: NDArray[np.intp],
    cutoff_A: float,
    where: str = "",
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """All pairs of a centre and another atom not further than ``cutoff_A`` apart; no atom with itself.

    Returns
    -------
    centre, other : int arrays
        Places in ``centres`` and ``others``.
    distance_A : float64 array

    Raises
    ------
    TrajectoryError
        A coordinate that is not a number.
    """
    from atomflow.analysis import _pair_kernels as kernels

    inner = sort_atoms(positions_A, centres, brick, cutoff_A, where)
    outer = sort_atoms(positions_A, others, brick, cutoff_A, where)
    centre, other, distance = kernels.list_near(
        *inner.centres, centres[inner.order], *outer.places, others[outer.order], outer.start,
        brick.vectors_A, outer.shape, cutoff_A,
    )  # fmt: skip
    return inner.order[centre].astype(np.intp), outer.order[other].astype(np.intp), distance
