"""Hot loops of the ring check: the shortest ring through each bond, and bonds that cross a ring's face.

Their plain twins are in the tests: networkx finds the rings, a loop in numpy the crossings.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_NONE = -1


@njit(cache=True)
def rings_of_bonds(bonds, start, neighbours, n_atoms, largest, out):  # type: ignore[no-untyped-def]
    """Row b of ``out``: a shortest ring of at most ``largest`` atoms through bond b, filled up with -1; rows in use."""
    # Atoms of chains and side groups are peeled off: what is left has two ways out.
    degree = np.zeros(n_atoms, np.int64)
    for a in range(n_atoms):
        degree[a] = start[a + 1] - start[a]
    queue = np.empty(n_atoms, np.int64)
    last = 0
    for a in range(n_atoms):
        if degree[a] == 1:
            queue[last] = a
            last += 1
    done = 0
    while done < last:
        a = queue[done]
        done += 1
        degree[a] = 0
        for k in range(start[a], start[a + 1]):
            other = neighbours[k]
            if degree[other] > 0:
                degree[other] -= 1
                if degree[other] == 1:
                    queue[last] = other
                    last += 1
    seen = np.full(n_atoms, _NONE, np.int64)
    before = np.empty(n_atoms, np.int64)
    depth = np.empty(n_atoms, np.int64)
    used = 0
    for b in range(len(bonds)):
        source, goal = bonds[b, 0], bonds[b, 1]
        if degree[source] < 2 or degree[goal] < 2:
            continue
        first, last = 0, 1
        queue[0] = source
        seen[source], depth[source], before[source] = b, 1, _NONE
        found = False
        while first < last and not found:
            a = queue[first]
            first += 1
            if depth[a] >= largest:
                break
            for k in range(start[a], start[a + 1]):
                other = neighbours[k]
                if seen[other] == b or degree[other] < 2 or (a == source and other == goal):
                    continue
                seen[other], depth[other], before[other] = b, depth[a] + 1, a
                if other == goal:
                    found = True
                    break
                queue[last] = other
                last += 1
        if found:
            for place in range(largest):
                out[used, place] = _NONE
            a, place = goal, 0
            while a != _NONE:
                out[used, place] = a
                a = before[a]
                place += 1
            used += 1
    return used


@njit(cache=True)
def _nearest(delta, cell, inverse, periodic, out):  # type: ignore[no-untyped-def]
    for axis in range(3):
        out[axis] = delta[axis]
    if periodic:
        for v in range(3):
            fraction = 0.0
            for axis in range(3):
                fraction += delta[axis] * inverse[axis, v]
            turns = np.floor(fraction + 0.5)
            if turns != 0.0:
                for axis in range(3):
                    out[axis] -= turns * cell[v, axis]


@njit(cache=True)
def _cross(a, b, out):  # type: ignore[no-untyped-def]
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@njit(cache=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True)
def crosses(begin, end, a, b, c):  # type: ignore[no-untyped-def]
    """Does the segment pass through the triangle? By signs of volumes; touching in its plane does not count."""
    u, v, w = np.empty(3), np.empty(3), np.empty(3)
    for axis in range(3):
        u[axis], v[axis] = b[axis] - a[axis], c[axis] - a[axis]
    _cross(u, v, w)
    low = high = 0.0
    for axis in range(3):
        low += w[axis] * (begin[axis] - a[axis])
        high += w[axis] * (end[axis] - a[axis])
    if low * high >= 0.0:
        return False
    t = low / (low - high)
    point, n = np.empty(3), np.empty(3)
    for axis in range(3):
        point[axis] = begin[axis] + t * (end[axis] - begin[axis])
    for corner in range(3):
        p = a if corner == 0 else b if corner == 1 else c
        q = b if corner == 0 else c if corner == 1 else a
        for axis in range(3):
            u[axis], v[axis] = q[axis] - p[axis], point[axis] - p[axis]
        _cross(u, v, n)
        if _dot(n, w) < 0.0:
            return False
    return True


@njit(cache=True)
def find_crossings(rings, sizes, bonds, x, cell, inverse, heights, periodic, out):  # type: ignore[no-untyped-def]
    """Pairs (ring, bond) where the bond passes through the ring's face; how many, which may be more than fit in."""
    many = 0
    corner = np.empty((rings.shape[1], 3))
    vector, delta, begin, end = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    middles, halves = np.empty((len(bonds), 3)), np.empty((len(bonds), 3))
    raw, centre = np.empty(3), np.empty(3)
    longest = 0.0
    for b in range(len(bonds)):
        for axis in range(3):
            raw[axis] = x[bonds[b, 1], axis] - x[bonds[b, 0], axis]
        _nearest(raw, cell, inverse, periodic, vector)
        for axis in range(3):
            halves[b, axis] = 0.5 * vector[axis]
            middles[b, axis] = x[bonds[b, 0], axis] + halves[b, axis]
        longest = max(longest, _dot(halves[b], halves[b]))
    longest = np.sqrt(longest)
    images = np.zeros(3, np.int64)
    for r in range(len(rings)):
        size = sizes[r]
        for axis in range(3):
            centre[axis] = 0.0
        for axis in range(3):
            corner[0, axis] = x[rings[r, 0], axis]
        for k in range(1, size):
            for axis in range(3):
                raw[axis] = x[rings[r, k], axis] - corner[k - 1, axis]
            _nearest(raw, cell, inverse, periodic, vector)
            for axis in range(3):
                corner[k, axis] = corner[k - 1, axis] + vector[axis]
        for k in range(size):
            for axis in range(3):
                centre[axis] += corner[k, axis] / size
        reach = 0.0
        for k in range(size):
            for axis in range(3):
                vector[axis] = corner[k, axis] - centre[axis]
            reach = max(reach, _dot(vector, vector))
        reach = np.sqrt(reach) + longest
        for v in range(3):
            # Rounding finds the nearest image up to half a cell; in a cell narrower than that, more must be looked at.
            images[v] = 0
            if periodic and heights[v] < 2.0 * reach:
                images[v] = int(np.ceil(reach / heights[v] + 0.5))
        for b in range(len(bonds)):
            member = False
            for k in range(size):
                if rings[r, k] == bonds[b, 0] or rings[r, k] == bonds[b, 1]:
                    member = True
                    break
            if member:
                continue
            for axis in range(3):
                vector[axis] = middles[b, axis] - centre[axis]
            _nearest(vector, cell, inverse, periodic, delta)
            hit = False
            for i in range(-images[0], images[0] + 1):
                for j in range(-images[1], images[1] + 1):
                    for m in range(-images[2], images[2] + 1):
                        for axis in range(3):
                            vector[axis] = delta[axis] + i * cell[0, axis] + j * cell[1, axis] + m * cell[2, axis]
                        if hit or _dot(vector, vector) > reach * reach:
                            continue
                        for axis in range(3):
                            begin[axis] = centre[axis] + vector[axis] - halves[b, axis]
                            end[axis] = centre[axis] + vector[axis] + halves[b, axis]
                        for k in range(size):
                            if crosses(begin, end, centre, corner[k], corner[(k + 1) % size]):
                                hit = True
                                break
            if hit:
                if many < len(out):
                    out[many, 0], out[many, 1] = r, b
                many += 1
    return many
