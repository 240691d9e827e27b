"""Chains in space: templates joined bead by bead, torsions drawn from their states, no two atoms on top of each other.

A backbone with fixed lengths and angles and independent torsions is an ideal chain, whose mean square end-to-end
distance and radius of gyration follow exactly from the averages of its rotation matrices (P. J. Flory, Statistical
Mechanics of Chain Molecules, 1969, chapter IV; formula rederived here and tested against sampled chains). Excluded
volume makes real ones a little wider; a chain far off that is a globule or a rod.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from scipy.sparse import csr_matrix, identity

from atomflow.build.chain_graph import ChainGraph
from atomflow.build.local_geometry import LocalGeometry
from atomflow.build.piercing import pierced_rings, small_rings
from atomflow.errors import GrowthError

#: Atoms more than three bonds apart stay farther than this part of the sum of their van der Waals radii (RDKit's):
#: near enough for a chain to find its way, far enough for a minimiser to do the rest. Crowded chains, which find none,
#: are tried again with less. A setting, not a measurement.
CONTACT_SCALES = (0.75, 0.75, 0.70, 0.70, 0.65, 0.65)
_STEPS_PER_BEAD, _FEWEST_STEPS = 100, 5000


def grow(
    chain: ChainGraph, geometry: LocalGeometry, *, seed: int, overlaps: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Coordinates of a chain (n_atoms, 3), the torsion that set each bead (n_beads,; radian), and the contact scale.

    Parameters
    ----------
    chain : ChainGraph
    geometry : LocalGeometry
    seed : int
    overlaps : bool
        False leaves overlaps in: an ideal chain, for comparison.

    Raises
    ------
    GrowthError
        When no way on was found in a few attempts.
    """
    from atomflow.build._growth_kernels import grow_beads

    atoms, beads = chain.graph.GetNumAtoms(), len(chain.backbone)
    full_radii = van_der_waals_radii(chain.graph)
    near_start, near = _within_three_bonds(chain.graph)
    starts, angles, sums, spreads = _state_tables(chain, geometry)
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in chain.graph.GetBonds()], np.intp)
    rings = small_rings(bonds, atoms) if overlaps else []
    furthest = 0
    attempts = np.random.default_rng(seed).integers(2**31, size=len(CONTACT_SCALES))
    for attempt, scale in zip(attempts, CONTACT_SCALES if overlaps else [0.0] * len(attempts), strict=True):
        radii = scale * full_radii
        positions, torsions = np.zeros((atoms, 3)), np.zeros(beads)
        done, reached = grow_beads(
            np.random.default_rng(attempt),
            max(_FEWEST_STEPS, _STEPS_PER_BEAD * beads),
            geometry.lengths_A,
            geometry.angles_rad,
            chain.backbone,
            geometry.side_start,
            geometry.side_atoms,
            geometry.side_A,
            geometry.variant_start,
            geometry.variants,
            starts,
            angles,
            sums,
            spreads,
            radii,
            near_start,
            near,
            max(2.0 * float(radii.max()), 1.0),
            positions,
            torsions,
        )
        furthest = max(furthest, reached)
        if done == beads and not (rings and pierced_rings(bonds, positions)):
            return positions - positions.mean(axis=0), torsions, scale
    unit = int(chain.piece_of_bead[min(furthest, beads - 1)])
    raise GrowthError(
        f"the chain found no way on without overlaps after {len(CONTACT_SCALES)} attempts, the furthest at unit {unit}; "
        "try another --seed, fewer units, another tacticity or sequence"
    )


def van_der_waals_radii(graph: Chem.Mol) -> NDArray[np.float64]:
    """Radius of each atom (A) as RDKit tabulates it."""
    table = Chem.GetPeriodicTable()
    return np.array([table.GetRvdw(atom.GetAtomicNum()) for atom in graph.GetAtoms()])


def reference_positions(
    chain: ChainGraph, geometry: LocalGeometry, torsions_rad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The plain numpy twin of the kernel: a chain from its torsions, side groups in their first variant, overlaps or not."""
    x = np.zeros((chain.graph.GetNumAtoms(), 3))
    beads, r, t = chain.backbone, geometry.lengths_A, geometry.angles_rad
    x[beads[1]] = [r[1], 0, 0]
    x[beads[2]] = x[beads[1]] + r[2] * np.array([-np.cos(t[1]), np.sin(t[1]), 0])
    for k in range(3, len(beads)):
        a, b, c = x[beads[k - 3 : k]]
        along = (c - b) / np.linalg.norm(c - b)
        normal = np.cross(b - a, along)
        normal /= np.linalg.norm(normal)
        across = np.cos(torsions_rad[k]) * np.cross(normal, along) + np.sin(torsions_rad[k]) * normal
        x[beads[k]] = c + r[k] * (-np.cos(t[k - 1]) * along + np.sin(t[k - 1]) * across)
    for k in range(1, len(beads) - 1):
        before, here, behind = x[beads[k - 1 : k + 2]]
        first = (here - before) / np.linalg.norm(here - before)
        third = np.cross(first, behind - here)
        third /= np.linalg.norm(third)
        atoms = geometry.side_atoms[geometry.side_start[k] : geometry.side_start[k + 1]]
        local = geometry.side_A[geometry.variant_start[k] :][: len(atoms)]
        x[atoms] = here + local @ np.array([first, np.cross(third, first), third])
    return x - x.mean(axis=0)


def ideal_sizes(chain: ChainGraph, geometry: LocalGeometry) -> tuple[float, float]:
    """Root mean square end-to-end distance and radius of gyration (A) of the backbone as an ideal chain."""
    starts, angles, sums, spreads = _state_tables(chain, geometry)
    beads, lengths = len(chain.backbone), geometry.lengths_A
    # Row k: sum over bonds a <= b of l_a times the mean rotation from bond a to the present one, for a chain that
    # begins at bead k; bonds are numbered by the bead they lead to.
    sums_from = np.zeros((beads, 3))
    squares = np.zeros(beads)
    total, end_to_end = 0.0, 0.0
    for b in range(1, beads):
        squares[:b] += lengths[b] ** 2 + 2 * lengths[b] * sums_from[:b, 0]
        total += float(squares[:b].sum())
        end_to_end = float(squares[0])
        sums_from[:b, 0] += lengths[b]
        if b + 1 < beads:
            rotation = _mean_rotation(b + 1, geometry.angles_rad[b], starts, angles, sums, spreads)
            sums_from[:b] = sums_from[:b] @ rotation
    return float(np.sqrt(max(end_to_end, 0.0))), float(np.sqrt(total) / beads)


def _mean_rotation(k, angle, starts, angles, sums, spreads):  # type: ignore[no-untyped-def]
    """Mean of the matrix whose columns are the axes of bond k in those of bond k - 1 (x along, y towards bond k - 2)."""
    rows = slice(starts[k], starts[k + 1])
    weights = np.diff(sums[rows], prepend=0.0)
    damped = np.exp(-0.5 * spreads[rows] ** 2)  # mean cosine and sine of a normal spread
    cosine, sine = (float((weights * damped * f(angles[rows])).sum()) for f in (np.cos, np.sin))
    u, v = -np.cos(angle), np.sin(angle)
    c, s = (-cosine, -sine) if k > 2 else (1.0, 0.0)
    return np.array([[u, v, 0], [v * c, -u * c, s], [v * s, -u * s, -c]])


def _state_tables(chain: ChainGraph, geometry: LocalGeometry):  # type: ignore[no-untyped-def]
    """States of all beads in one row: starts, angles (radian), cumulated weights, spreads (radian)."""
    states = []
    for k, given in enumerate(chain.states):
        fixed = geometry.ring_torsions_rad.get(k)
        if fixed is not None:
            states.append(([fixed], [1.0], [0.0]))
            continue
        weights = np.array(given.weights) / sum(given.weights)
        spread = [np.deg2rad(given.spread_deg)] * len(weights)
        states.append((np.deg2rad(given.angles_deg).tolist(), np.cumsum(weights).tolist(), spread))
    starts = np.array([0, *itertools.accumulate(len(state[0]) for state in states)], np.intp)
    return starts, *(np.array([value for state in states for value in state[column]], float) for column in range(3))


def _within_three_bonds(graph: Chem.Mol) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row starts and atoms: those within three bonds of each atom, itself among them."""
    n = graph.GetNumAtoms()
    pairs = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in graph.GetBonds()], np.intp).reshape(-1, 2)
    step = csr_matrix((np.ones(len(pairs), np.int32), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    step = step + step.T + identity(n, dtype=np.int32, format="csr")
    reach = (step @ step @ step).tocsr()
    return reach.indptr.astype(np.intp), reach.indices.astype(np.intp)
