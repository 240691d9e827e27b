"""Loops of the packing: which atoms of different bodies are too near, and how the bodies give way.

Every overlap is shared between its two bodies, the lighter one moving more, as displacements rather than forces: no time
step has to be chosen, and a chain does not wait for its inertia. Plain references are in ``tests/build/test_packing.py``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Largest turn of a body in one step, rad.
_LARGEST_TURN = 0.15


@njit(cache=True)
def _cell(positions: NDArray[np.float64], i: int, edge: float, many: int, at: NDArray[np.int64]) -> None:
    """Cell of one atom along each axis, into ``at``; positions are wrapped into the cube."""
    for c in range(3):
        x = positions[i, c] / edge
        at[c] = min(int((x - np.floor(x)) * many), many - 1)


@njit(cache=True)
def _file(
    positions: NDArray[np.float64],
    i: int,
    edge: float,
    many: int,
    first: NDArray[np.int64],
    behind: NDArray[np.int64],
    at: NDArray[np.int64],
) -> None:
    """Add one atom to the cells."""
    _cell(positions, i, edge, many, at)
    cell = (at[0] * many + at[1]) * many + at[2]
    behind[i] = first[cell]
    first[cell] = i


@njit(cache=True)
def _sorted_into_cells(
    positions: NDArray[np.float64], edge: float, many: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First atom of each cell and the atom behind each, -1 where the list ends; ``many`` cells along each axis."""
    first = np.full(many * many * many, -1, np.int64)
    behind = np.full(len(positions), -1, np.int64)
    at = np.empty(3, np.int64)
    for i in range(len(positions)):
        _file(positions, i, edge, many, first, behind, at)
    return first, behind


@njit(cache=True)
def overlaps(
    positions: NDArray[np.float64], body: NDArray[np.int64], edge: float, within: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of atoms nearer than ``within``, of two bodies or of two images of one, and the vectors between them.

    Parameters
    ----------
    positions : (n, 3) float array
        Bodies whole, A; wrapped on the fly into the cube.
    body : (n,) int array
    edge, within : float
        A; ``within`` at most half the edge.

    Returns
    -------
    (m, 2) int array, (m, 3) float array
        From the second atom to the first, by the nearest image.
    """
    many = int(edge / within)
    # With fewer than three cells along an axis a neighbour would be met twice.
    reach = 1 if many >= 3 else 0
    many = many if reach else 1
    first, behind = _sorted_into_cells(positions, edge, many)
    room = 1024
    pairs = np.empty((room, 2), np.int64)
    vectors = np.empty((room, 3), np.float64)
    found = 0
    for x in range(many):
        for y in range(many):
            for z in range(many):
                here = (x * many + y) * many + z
                if first[here] < 0:
                    continue
                for dx in range(-reach, reach + 1):
                    u = (x + dx) % many
                    for dy in range(-reach, reach + 1):
                        v = (y + dy) % many
                        for dz in range(-reach, reach + 1):
                            there = (u * many + v) * many + (z + dz) % many
                            if there < here or first[there] < 0:
                                continue
                            i = first[here]
                            while i >= 0:
                                j = behind[i] if there == here else first[there]
                                while j >= 0:
                                    a = positions[i, 0] - positions[j, 0]
                                    b = positions[i, 1] - positions[j, 1]
                                    c = positions[i, 2] - positions[j, 2]
                                    p, q, r = np.rint(a / edge), np.rint(b / edge), np.rint(c / edge)
                                    if body[i] != body[j] or p != 0.0 or q != 0.0 or r != 0.0:
                                        a -= p * edge
                                        b -= q * edge
                                        c -= r * edge
                                        if a * a + b * b + c * c < within * within:
                                            if found == room:
                                                room *= 2
                                                more_pairs = np.empty((room, 2), np.int64)
                                                more_pairs[:found] = pairs
                                                pairs = more_pairs
                                                more = np.empty((room, 3), np.float64)
                                                more[:found] = vectors
                                                vectors = more
                                            pairs[found, 0], pairs[found, 1] = i, j
                                            vectors[found, 0], vectors[found, 1], vectors[found, 2] = a, b, c
                                            found += 1
                                    j = behind[j]
                                i = behind[i]
    return pairs[:found], vectors[:found]


@njit(cache=True)
def place(
    positions: NDArray[np.float64],
    starts: NDArray[np.int64],
    placed: NDArray[np.bool_],
    which: NDArray[np.int64],
    spots: NDArray[np.float64],
    turns: NDArray[np.float64],
    edge: float,
    within: float,
) -> NDArray[np.int64]:
    """Put bodies one by one where they overlap least with those placed before; positions and ``placed`` in place.

    Parameters
    ----------
    positions : (n, 3) float array
        Of placed bodies as they are, of the others around the origin.
    starts : (bodies + 1,) int array
    placed : (bodies,) bool array
    which : (m,) int array
        Bodies to place, in this order.
    spots, turns : (m, tries, 3), (m, tries, 3, 3) float array
        Where each is tried, A, and turned how.
    edge, within : float

    Returns
    -------
    (m,) int array
        The try that was taken.
    """
    many = max(1, int(edge / within))
    reach = 1 if many >= 3 else 0
    many = many if reach else 1
    first = np.full(many * many * many, -1, np.int64)
    behind = np.full(len(positions), -1, np.int64)
    at = np.empty(3, np.int64)
    for k in range(len(placed)):
        if placed[k]:
            for i in range(starts[k], starts[k + 1]):
                _file(positions, i, edge, many, first, behind, at)
    taken = np.zeros(len(which), np.int64)
    for m in range(len(which)):
        k = which[m]
        size = starts[k + 1] - starts[k]
        fewest = size * 1000
        best = np.empty((size, 3))
        trial = np.empty((size, 3))
        for t in range(spots.shape[1]):
            count = 0
            for i in range(size):
                for c in range(3):
                    trial[i, c] = spots[m, t, c]
                    for d in range(3):
                        trial[i, c] += turns[m, t, c, d] * positions[starts[k] + i, d]
                _cell(trial, i, edge, many, at)
                for dx in range(-reach, reach + 1):
                    for dy in range(-reach, reach + 1):
                        for dz in range(-reach, reach + 1):
                            there = (((at[0] + dx) % many) * many + (at[1] + dy) % many) * many + (at[2] + dz) % many
                            j = first[there]
                            while j >= 0:
                                apart = 0.0
                                for c in range(3):
                                    a = trial[i, c] - positions[j, c]
                                    a -= np.rint(a / edge) * edge
                                    apart += a * a
                                if apart < within * within:
                                    count += 1
                                j = behind[j]
                if count >= fewest:
                    break
            if count < fewest:
                fewest = count
                best[:] = trial
                taken[m] = t
            if fewest == 0:
                break
        for i in range(size):
            positions[starts[k] + i] = best[i]
        placed[k] = True
        for i in range(starts[k], starts[k + 1]):
            _file(positions, i, edge, many, first, behind, at)
    return taken


@njit(cache=True)
def give_way(
    positions: NDArray[np.float64],
    body: NDArray[np.int64],
    starts: NDArray[np.int64],
    centres: NDArray[np.float64],
    mobility: NDArray[np.float64],
    edge: float,
    within: float,
    wanted: float,
    steps: int,
) -> tuple[int, NDArray[np.int64]]:
    """Move rigid bodies until no two of their atoms are nearer than ``within``; positions and centres in place.

    Parameters
    ----------
    positions, body, edge
        As in :func:`overlaps`; atoms of one body stand together.
    starts : (bodies + 1,) int array
        First atom of each body.
    centres : (bodies, 3) float array
        Points the bodies turn around.
    mobility : (bodies,) float array
        Share of an overlap that a body takes; zero for one that stays.
    within, wanted : float
        What is enough, and what is aimed at (a little more), A.
    steps : int
        At most so many.

    Returns
    -------
    int, (bodies,) int array
        Steps made, and how many overlaps each body still has.
    """
    bodies = len(starts) - 1
    contacts = np.zeros(bodies, np.int64)
    for step in range(steps):
        pairs, vectors = overlaps(positions, body, edge, wanted)
        contacts[:] = 0
        move = np.zeros((bodies, 3))
        turn = np.zeros((bodies, 3))
        lever = np.zeros(bodies)
        touched = np.zeros(bodies)
        over = 0
        for n in range(len(pairs)):
            i, j = pairs[n]
            one, other = body[i], body[j]
            away = np.sqrt(vectors[n, 0] ** 2 + vectors[n, 1] ** 2 + vectors[n, 2] ** 2)
            if away < within:
                over += 1
                contacts[one] += 1
                contacts[other] += 1
            both = mobility[one] + mobility[other]
            if both == 0.0:
                continue
            for side in range(2):
                atom, mine = (i, one) if side == 0 else (j, other)
                sign = 1.0 if side == 0 else -1.0
                share = sign * mobility[mine] / both * (wanted - away) / max(away, 1e-6)
                if share == 0.0:
                    continue
                s = share * vectors[n]
                arm = positions[atom] - centres[mine]
                move[mine] += s
                turn[mine, 0] += arm[1] * s[2] - arm[2] * s[1]
                turn[mine, 1] += arm[2] * s[0] - arm[0] * s[2]
                turn[mine, 2] += arm[0] * s[1] - arm[1] * s[0]
                lever[mine] += arm[0] ** 2 + arm[1] ** 2 + arm[2] ** 2
                touched[mine] += 1.0
        if over == 0:
            return step, contacts
        for k in range(bodies):
            if touched[k] == 0.0:
                continue
            shift = move[k] / touched[k]
            w = turn[k] / (lever[k] + touched[k])
            angle = np.sqrt(w[0] ** 2 + w[1] ** 2 + w[2] ** 2)
            if angle > _LARGEST_TURN:
                w *= _LARGEST_TURN / angle
                angle = _LARGEST_TURN
            centre = centres[k].copy()
            centres[k] += shift
            # A turn by Rodrigues' formula keeps the body rigid to rounding.
            sine = np.sin(angle) / angle if angle > 1e-9 else 1.0
            cosine = (1.0 - np.cos(angle)) / (angle * angle) if angle > 1e-9 else 0.5
            for i in range(starts[k], starts[k + 1]):
                a = positions[i] - centre
                c0 = w[1] * a[2] - w[2] * a[1]
                c1 = w[2] * a[0] - w[0] * a[2]
                c2 = w[0] * a[1] - w[1] * a[0]
                d0 = w[1] * c2 - w[2] * c1
                d1 = w[2] * c0 - w[0] * c2
                d2 = w[0] * c1 - w[1] * c0
                positions[i, 0] = centres[k, 0] + a[0] + sine * c0 + cosine * d0
                positions[i, 1] = centres[k, 1] + a[1] + sine * c1 + cosine * d1
                positions[i, 2] = centres[k, 2] + a[2] + sine * c2 + cosine * d2
    pairs, _ = overlaps(positions, body, edge, within)
    contacts[:] = 0
    for n in range(len(pairs)):
        contacts[body[pairs[n, 0]]] += 1
        contacts[body[pairs[n, 1]]] += 1
    return steps, contacts
