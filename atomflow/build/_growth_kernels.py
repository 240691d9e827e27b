"""Hot loop of chain growth: backbone atoms set one by one, side groups with them, overlaps looked up in a hashed grid.

A *bead* is a backbone atom. Setting bead ``k`` fixes the frame of bead ``k - 1`` and so its side atoms. Atoms enter the
grid in the order in which they are set and leave it in the reverse, so that going back is cheap. The plain numpy twin
of one step is :func:`atomflow.build.growth.reference_positions`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Draws of one torsion before the chain goes back some beads.
_TRIES = 12


@njit(cache=True)
def _frame(a, b, c, f):  # type: ignore[no-untyped-def]
    """Rows of ``f``: along b to c; in the plane of the three, towards where the path turns; and across it."""
    for axis in range(3):
        f[0, axis] = b[axis] - a[axis]
        f[1, axis] = c[axis] - b[axis]
    _normalise(f[0])
    _cross(f[0], f[1], f[2])
    _normalise(f[2])


@njit(cache=True)
def _cross(u, v, out):  # type: ignore[no-untyped-def]
    out[0] = u[1] * v[2] - u[2] * v[1]
    out[1] = u[2] * v[0] - u[0] * v[2]
    out[2] = u[0] * v[1] - u[1] * v[0]


@njit(cache=True)
def _normalise(u):  # type: ignore[no-untyped-def]
    norm = 1.0 / np.sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2])
    for axis in range(3):
        u[axis] *= norm


@njit(cache=True)
def place(a, b, c, length, angle, torsion, f, out):  # type: ignore[no-untyped-def]
    """Set ``out`` at ``length`` from ``c``, at ``angle`` to ``b`` and ``torsion`` (IUPAC sign, radian) to ``a``."""
    _frame(a, b, c, f)
    _normalise(f[1])
    _cross(f[2], f[1], f[0])
    along = -length * np.cos(angle)
    inward, across = length * np.sin(angle) * np.cos(torsion), length * np.sin(angle) * np.sin(torsion)
    for axis in range(3):
        out[axis] = c[axis] + along * f[1, axis] + inward * f[0, axis] + across * f[2, axis]


@njit(cache=True)
def set_side(before, centre, behind, local, first, many, f, out):  # type: ignore[no-untyped-def]
    """Side atoms of a bead, rows 1.. of ``out``, from their coordinates in the frame of the bead and its neighbours."""
    _frame(before, centre, behind, f)
    _cross(f[2], f[0], f[1])
    for i in range(many):
        for axis in range(3):
            out[1 + i, axis] = centre[axis]
            for row in range(3):
                out[1 + i, axis] += local[first + i, row] * f[row, axis]


@njit(cache=True)
def _bucket(cx: int, cy: int, cz: int, mask: int) -> int:
    return ((cx * 73856093) ^ (cy * 19349663) ^ (cz * 83492791)) & mask


@njit(cache=True)
def _clashes(atom, point, x, radii, near_start, near, head, following, cell, mask):  # type: ignore[no-untyped-def]
    cx, cy, cz = int(np.floor(point[0] / cell)), int(np.floor(point[1] / cell)), int(np.floor(point[2] / cell))
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            for dz in range(-1, 2):
                other = head[_bucket(cx + dx, cy + dy, cz + dz, mask)]
                while other >= 0:
                    reach = radii[atom] + radii[other]
                    d2 = 0.0
                    for axis in range(3):
                        d2 += (point[axis] - x[other, axis]) ** 2
                    if d2 < reach * reach:
                        bonded = False
                        for k in range(near_start[atom], near_start[atom + 1]):
                            if near[k] == other:
                                bonded = True
                                break
                        if not bonded:
                            return True
                    other = following[other]
    return False


@njit(cache=True)
def grow_beads(  # type: ignore[no-untyped-def]
    rng,
    budget,
    lengths,
    angles,
    bead_atom,
    side_start,
    side_atom,
    side_local,
    variant_start,
    variants,
    state_start,
    state_angle,
    state_sum,
    state_spread,
    radii,
    near_start,
    near,
    cell,
    x,
    torsions,
):
    """Fill ``x`` (atoms, 3); the number of beads set, and the furthest ever reached. Less than all: the budget is gone.

    ``radii`` are contact radii (A), ``near`` the atoms within three bonds, which may be nearer. The side atoms of bead k
    have ``variants[k]`` sets of coordinates, one after the other from row ``variant_start[k]`` of ``side_local``.
    """
    beads, atoms = len(bead_atom), len(x)
    size = 64
    while size < 4 * atoms:
        size *= 2
    mask = size - 1
    head = np.full(size, -1, np.int64)
    following = np.full(atoms, -1, np.int64)
    stack = np.empty(atoms, np.int64)
    slot = np.empty(atoms, np.int64)
    stacked = 0
    level = np.zeros(beads + 1, np.int64)  # atoms in the grid before bead k was set
    fails = np.zeros(beads, np.int64)
    trial, frame = np.empty((1 + _widest(side_start), 3)), np.empty((3, 3))
    k, furthest, steps = 0, 0, 0
    while k < beads:
        steps += 1
        if steps > budget:
            return k, furthest
        set_ = False
        level[k] = stacked
        for turn in range(_TRIES if k > 1 else 1):
            phi = np.pi
            if k == 0:
                trial[0, 0] = trial[0, 1] = trial[0, 2] = 0.0
            elif k == 1:
                trial[0, 0] = lengths[1]
            elif k == 2:
                trial[0, 0] = lengths[1] - lengths[2] * np.cos(angles[1])
                trial[0, 1] = lengths[2] * np.sin(angles[1])
            else:
                draw = rng.random()
                s = state_start[k]
                while s < state_start[k + 1] - 1 and draw > state_sum[s]:
                    s += 1
                # Where it is crowded, a bond may turn further from its minimum.
                phi = state_angle[s] + state_spread[s] * (1 + turn // 4) * rng.standard_normal()
                place(
                    x[bead_atom[k - 3]],
                    x[bead_atom[k - 2]],
                    x[bead_atom[k - 1]],
                    lengths[k],
                    angles[k - 1],
                    phi,
                    frame,
                    trial[0],
                )
            many = 0
            if k > 1:
                many = side_start[k] - side_start[k - 1]
                first = variant_start[k - 1]
                if variants[k - 1] > 1:
                    first += many * int(rng.random() * variants[k - 1])
                set_side(
                    x[bead_atom[k - 2]],
                    x[bead_atom[k - 1]],
                    trial[0],
                    side_local,
                    first,
                    many,
                    frame,
                    trial,
                )
            clash = False
            for i in range(1 + many):
                atom = bead_atom[k] if i == 0 else side_atom[side_start[k - 1] + i - 1]
                if _clashes(atom, trial[i], x, radii, near_start, near, head, following, cell, mask):
                    clash = True
                    break
            if not clash:
                torsions[k] = phi
                for i in range(1 + many):
                    atom = bead_atom[k] if i == 0 else side_atom[side_start[k - 1] + i - 1]
                    for axis in range(3):
                        x[atom, axis] = trial[i, axis]
                    place_ = _bucket(
                        int(np.floor(trial[i, 0] / cell)),
                        int(np.floor(trial[i, 1] / cell)),
                        int(np.floor(trial[i, 2] / cell)),
                        mask,
                    )
                    slot[atom] = place_
                    following[atom] = head[place_]
                    head[place_] = atom
                    stack[stacked] = atom
                    stacked += 1
                set_ = True
                break
        if set_:
            k += 1
            furthest = max(furthest, k)
            continue
        fails[k] += 1
        # Failures at the same place go further and further back; those ahead are forgotten.
        back = max(3, k - 1 - fails[k] // 3)
        if k <= 3:
            return k, furthest  # nothing to turn: the template clashes with itself
        for later in range(k + 1, beads):
            fails[later] = 0
        while stacked > level[back]:
            stacked -= 1
            atom = stack[stacked]
            head[slot[atom]] = following[atom]
        k = back
    return k, furthest


@njit(cache=True)
def _widest(side_start):  # type: ignore[no-untyped-def]
    widest = 0
    for k in range(len(side_start) - 1):
        widest = max(widest, side_start[k + 1] - side_start[k])
    return widest
