"""Compiled inner loops of unwrapping; ``tests/trajectory/test_unwrapping.py`` says in plain numpy what they compute."""

from __future__ import annotations

import numpy as np
from numba import njit

#: A shorter image must be shorter by more than rounding, or two equally near ones would alternate for ever.
_GAIN = 1e-12
_MOST_ROUNDS = 16
#: Bounds Selling's algorithm, which needs a handful of rounds for any cell that is not absurd.
_MOST_FLIPS = 10_000


@njit(cache=True, nogil=True)
def take_nearest_orthogonal(vectors, lengths, inverse):  # type: ignore[no-untyped-def]
    """Replace (n, 3) vectors by their shortest images in a box along the axes; a zero ``inverse`` is not periodic."""
    lx, ly, lz = lengths[0], lengths[1], lengths[2]
    ix, iy, iz = inverse[0], inverse[1], inverse[2]
    for i in range(len(vectors)):
        vectors[i, 0] -= lx * np.rint(vectors[i, 0] * ix)
        vectors[i, 1] -= ly * np.rint(vectors[i, 1] * iy)
        vectors[i, 2] -= lz * np.rint(vectors[i, 2] * iz)


@njit(cache=True, nogil=True)
def take_nearest(vectors, basis, inverse, neighbours, half_squares, safe_square):  # type: ignore[no-untyped-def]
    """Replace (n, 3) vectors by their shortest images in any lattice.

    All Voronoi-relevant lattice vectors are among ``neighbours``: a vector that none of them shortens is the shortest.
    ``half_squares`` holds half of their squares; no vector within ``safe_square`` has a shorter image.
    """
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        if x * x + y * y + z * z <= safe_square:
            continue
        a = np.rint(x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0])
        b = np.rint(x * inverse[0, 1] + y * inverse[1, 1] + z * inverse[2, 1])
        c = np.rint(x * inverse[0, 2] + y * inverse[1, 2] + z * inverse[2, 2])
        x -= a * basis[0, 0] + b * basis[1, 0] + c * basis[2, 0]
        y -= a * basis[0, 1] + b * basis[1, 1] + c * basis[2, 1]
        z -= a * basis[0, 2] + b * basis[1, 2] + c * basis[2, 2]
        # One or two rounds do; the bound is for numbers so huge that subtracting a lattice vector changes nothing.
        for _ in range(_MOST_ROUNDS):
            if not x * x + y * y + z * z > safe_square:
                break
            best = -1
            gain = _GAIN * safe_square
            for k in range(len(neighbours)):
                more = x * neighbours[k, 0] + y * neighbours[k, 1] + z * neighbours[k, 2] - half_squares[k]
                if more > gain:
                    gain = more
                    best = k
            if best < 0:
                break
            x -= neighbours[best, 0]
            y -= neighbours[best, 1]
            z -= neighbours[best, 2]
        vectors[i, 0], vectors[i, 1], vectors[i, 2] = x, y, z


@njit(cache=True, nogil=True)
def differences(previous, current, out):  # type: ignore[no-untyped-def]
    """``current - previous`` in doubles, whatever the precision of the input."""
    for i in range(len(out)):
        for k in range(3):
            out[i, k] = np.float64(current[i, k]) - np.float64(previous[i, k])


@njit(cache=True, nogil=True)
def add_images(vectors, images, cell, sign):  # type: ignore[no-untyped-def]
    """Add ``sign * images @ cell`` to (n, 3) vectors."""
    for i in range(len(vectors)):
        a, b, c = images[i, 0], images[i, 1], images[i, 2]
        for k in range(3):
            vectors[i, k] += sign * (a * cell[0, k] + b * cell[1, k] + c * cell[2, k])


@njit(cache=True, nogil=True)
def take_strain(vectors, places, inverse, change, whole):  # type: ignore[no-untyped-def]
    """Subtract what the change of the cell did to each atom: ``a @ change``.

    ``a`` are the fractional coordinates of ``places`` (their inverse cell is ``inverse``), or with ``whole`` the number
    of cells they are away from the home cell.
    """
    for i in range(len(vectors)):
        x, y, z = np.float64(places[i, 0]), np.float64(places[i, 1]), np.float64(places[i, 2])
        a = x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0]
        b = x * inverse[0, 1] + y * inverse[1, 1] + z * inverse[2, 1]
        c = x * inverse[0, 2] + y * inverse[1, 2] + z * inverse[2, 2]
        if whole:
            a, b, c = np.floor(a), np.floor(b), np.floor(c)
        for k in range(3):
            vectors[i, k] -= a * change[0, k] + b * change[1, k] + c * change[2, k]


@njit(cache=True, nogil=True)
def add_rows(vectors, rows, out):  # type: ignore[no-untyped-def]
    """Add ``vectors[rows]`` to ``out``."""
    for m in range(len(out)):
        i = rows[m]
        out[m, 0] += vectors[i, 0]
        out[m, 1] += vectors[i, 1]
        out[m, 2] += vectors[i, 2]


@njit(cache=True, nogil=True)
def take_rows(positions, rows, shift, out):  # type: ignore[no-untyped-def]
    """``positions[rows] - shift`` in doubles."""
    for m in range(len(out)):
        i = rows[m]
        out[m, 0] = np.float64(positions[i, 0]) - shift[m, 0]
        out[m, 1] = np.float64(positions[i, 1]) - shift[m, 1]
        out[m, 2] = np.float64(positions[i, 2]) - shift[m, 2]


@njit(cache=True, nogil=True)
def add_by_molecule(vectors, rows, bounds, weights, out):  # type: ignore[no-untyped-def]
    """Add weighted sums over runs of ``rows``: the run of ``out[m]`` is ``bounds[m]`` to ``bounds[m + 1]``."""
    for m in range(len(out)):
        x = y = z = 0.0
        for j in range(bounds[m], bounds[m + 1]):
            i, w = rows[j], weights[j]
            x += w * vectors[i, 0]
            y += w * vectors[i, 1]
            z += w * vectors[i, 2]
        out[m, 0] += x
        out[m, 1] += y
        out[m, 2] += z


@njit(cache=True, nogil=True)
def weighted_sum(vectors, weights):  # type: ignore[no-untyped-def]
    """``weights @ vectors``, without a detour over BLAS threads."""
    x = y = z = 0.0
    for i in range(len(vectors)):
        x += weights[i] * vectors[i, 0]
        y += weights[i] * vectors[i, 1]
        z += weights[i] * vectors[i, 2]
    return x, y, z


@njit(cache=True, nogil=True)
def longest(vectors):  # type: ignore[no-untyped-def]
    """Largest component; NaN or infinite if any component is."""
    most = 0.0
    total = 0.0
    for i in range(len(vectors)):
        for k in range(3):
            most = max(most, abs(vectors[i, k]))
            total += 0.0 * vectors[i, k]
    return most + total


@njit(cache=True, nogil=True)
def measure_jumps(vectors, rows, along, long, edge, squares):  # type: ignore[no-untyped-def]
    """Add squares of the components of ``vectors[rows] @ along`` to ``squares``; count long ones.

    Returns how many components are longer than ``long`` and than ``edge``, how many vectors are longer than half a cell
    along any axis, and the longest component.
    """
    many_long = many_edge = beyond = 0
    most = 0.0
    for i in rows:
        far = False
        for k in range(3):
            part = abs(vectors[i, 0] * along[0, k] + vectors[i, 1] * along[1, k] + vectors[i, 2] * along[2, k])
            squares[k] += part * part
            many_long += part > long
            many_edge += part > edge
            far |= part > 0.5 + 1e-9
            most = max(most, part)
        beyond += far
    return many_long, many_edge, beyond, most


@njit(cache=True, nogil=True)
def turn_block(block, shift, out):  # type: ignore[no-untyped-def]
    """Copy (b, n, 3), less the shift of each particle (n, 3), to (n, b, 3)."""
    for m in range(block.shape[1]):
        x, y, z = shift[m]
        for t in range(block.shape[0]):
            out[m, t, 0] = block[t, m, 0] - x
            out[m, t, 1] = block[t, m, 1] - y
            out[m, t, 2] = block[t, m, 2] - z


@njit(cache=True, nogil=True)
def voronoi_vectors(cell):  # type: ignore[no-untyped-def]
    """Lattice vectors, up to sign, that bound the Voronoi cell of a lattice: (7, 3), some perhaps only touching it.

    Selling's algorithm makes the basis and minus its sum obtuse; the sums over subsets of them are these vectors.
    Conway and Sloane, Proc. R. Soc. Lond. A 436, 55 (1992), doi 10.1098/rspa.1992.0004.
    """
    base = np.empty((4, 3))
    base[:3] = cell
    base[3] = -(cell[0] + cell[1] + cell[2])
    rounding = 1e-12 * np.sum(cell * cell)
    for _ in range(_MOST_FLIPS):
        obtuse = True
        for i in range(4):
            for j in range(i):
                dot = base[i, 0] * base[j, 0] + base[i, 1] * base[j, 1] + base[i, 2] * base[j, 2]
                if dot > rounding:
                    obtuse = False
                    for k in range(4):
                        if k not in (i, j):
                            base[k] += base[i]
                    base[i] *= -1.0
        if obtuse:
            break
    found = np.empty((7, 3))
    found[:4] = base
    for k in range(3):
        found[4 + k] = base[k] + base[3]
    return found
