"""Compiled loops over near pairs of atoms; :func:`reference_counts` says in plain numpy what they count.

Every lattice has a box with right angles as its cell: with the first vector along u, the second in the plane of u and v
and all of them wrapped in the order w, v, u, atoms fill the brick ``a`` x ``bv`` x ``cw``, and only its copies are
shifted against each other. Atoms are sorted into columns along u, and within a column into short bins of u. The atoms
that can be near one centre are then a few contiguous runs of the sorted arrays.

A brick is ``(a, bu, bv, cu, cv, cw)``: the vectors ``(a, 0, 0)``, ``(bu, bv, 0)``, ``(cu, cv, cw)``, in A.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Distances are put into bins this many at a time, ...
_BATCH = 2048
#: ... in single precision, eight by eight: sorted arrays and buffers are longer than their content by this.
PADDING = 8
#: Bins beyond the last that take what is too far; several, since a counter is slow when hit again at once.
BEYOND = 16
#: Fractional coordinates further out than this are an error in the file rather than diffusion.
_FAR = 1e6


def reference_counts(
    positions_A: NDArray[np.floating],
    cell_A: NDArray[np.float64],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    r_max_A: float,
    n_bins: int,
    molecules: NDArray[np.intp] | None = None,
) -> NDArray[np.int64]:
    """Ordered pairs (first, second) in bins of their distance, the plain way: all images, no atom with itself."""
    positions = np.asarray(positions_A, dtype=np.float64)
    heights = np.abs(np.linalg.det(cell_A)) / np.linalg.norm(np.cross(cell_A[[1, 2, 0]], cell_A[[2, 0, 1]]), axis=1)
    away = np.ceil(r_max_A / heights).astype(int) + 1
    images = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in away), indexing="ij"), axis=-1).reshape(-1, 3)
    counts = np.zeros(n_bins, np.int64)
    for i in first:
        others = second[second != i]
        if molecules is not None:
            others = others[molecules[others] != molecules[i]]
        apart = positions[others] - positions[i]
        apart -= np.floor(apart @ np.linalg.inv(cell_A)) @ cell_A
        distances = np.linalg.norm(apart[:, None] + (images @ cell_A)[None], axis=2).ravel()
        bins = (distances * (n_bins / r_max_A)).astype(int)
        counts += np.bincount(bins[bins < n_bins], minlength=n_bins)
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def sort_into_brick(positions, atoms, rotation, rotated, brick, shape):  # type: ignore[no-untyped-def]
    """Wrap atoms into the brick and sort them by column and bin.

    Parameters
    ----------
    positions : float array (n, 3)
    atoms : int array (m,)
        Which of them.
    rotation : float array (3, 3)
        ``positions @ rotation`` has the brick's axes; not looked at unless ``rotated``.
    brick : tuple of 6 floats
    shape : tuple of 3 ints
        Bins along u, columns along v and along w.

    Returns
    -------
    U, V, W : float arrays (m + PADDING,)
        Coordinates within the brick, sorted.
    order : int32 array (m,)
        ``atoms[order]`` are the sorted atoms.
    start : int32 array (bins + 1,)
        Where each bin begins.
    lost : int
        Atoms that are not a number, or absurdly far out: nothing above can then be relied on.
    """
    a, bu, bv, cu, cv, cw = brick
    nu, nv, nw = shape
    n = len(atoms)
    U = np.empty(n)
    V = np.empty(n)
    W = np.empty(n)
    for t in range(n):
        i = np.uintp(atoms[t])
        U[t] = positions[i, 0]
        V[t] = positions[i, 1]
        W[t] = positions[i, 2]
    if rotated:
        q = rotation
        for t in range(n):
            x = U[t]
            y = V[t]
            z = W[t]
            U[t] = x * q[0, 0] + y * q[1, 0] + z * q[2, 0]
            V[t] = x * q[0, 1] + y * q[1, 1] + z * q[2, 1]
            W[t] = x * q[0, 2] + y * q[1, 2] + z * q[2, 2]
    cell = np.empty(n, np.int32)
    per_a, per_b, per_c = 1.0 / a, 1.0 / bv, 1.0 / cw
    fu, fv, fw = nu / a, nv / bv, nw / cw
    zero, one = np.int32(0), np.int32(1)
    mu, mv, mw = np.int32(nu - 1), np.int32(nv - 1), np.int32(nw - 1)
    lost = 0
    for t in range(n):
        u = U[t]
        v = V[t]
        w = W[t]
        near = (abs(u * per_a) < _FAR) & (abs(v * per_b) < _FAR) & (abs(w * per_c) < _FAR)
        lost += 0 if near else 1
        k = np.floor(w * per_c)
        w -= k * cw
        v -= k * cv
        u -= k * cu
        k = np.floor(v * per_b)
        v -= k * bv
        u -= k * bu
        k = np.floor(u * per_a)
        u -= k * a
        U[t] = u
        V[t] = v
        W[t] = w
        # Rounding leaves some atoms a hair outside: they belong to the nearest bin, as they are.
        x = min(max(np.int32(u * fu), zero), mu)
        y = min(max(np.int32(v * fv), zero), mv)
        z = min(max(np.int32(w * fw), zero), mw)
        cell[t] = np.int32((z * np.int32(nv) + y) * np.int32(nu) + x)
    start = np.zeros(nu * nv * nw + 1, np.int32)
    order = np.empty(n, np.int32)
    sU = np.zeros(n + PADDING)
    sV = np.zeros(n + PADDING)
    sW = np.zeros(n + PADDING)
    if lost:
        return sU, sV, sW, order, start, lost
    for t in range(n):
        start[np.uintp(cell[t]) + np.uintp(1)] += one
    for c in range(nu * nv * nw):
        start[c + 1] += start[c]
    fill = start[:-1].copy()
    for t in range(n):
        bin_ = np.uintp(cell[t])
        order[np.uintp(fill[bin_])] = t
        fill[bin_] += one
    for place in range(n):
        old = np.uintp(order[place])
        sU[place] = U[old]
        sV[place] = V[old]
        sW[place] = W[old]
    return sU, sV, sW, order, start, lost


@njit(cache=True, nogil=True, error_model="numpy")
def _run_limit(reach, brick, shape):  # type: ignore[no-untyped-def]
    a, _, bv, _, _, cw = brick
    _, nv, nw = shape
    return (int(2.0 * reach * nw / cw) + 3) * (int(2.0 * reach * nv / bv) + 3) * (int(2.0 * reach / a) + 3)


@njit(cache=True, nogil=True, error_model="numpy")
def _find_runs(u, v, w, own, reach, brick, shape, start, first, last, ru, rv, rw):  # type: ignore[no-untyped-def]
    """Runs of sorted atoms that hold all within ``reach`` of a point; each with the point as its image sees it.

    With ``own`` >= 0 the point is that sorted atom, and of every pair only one side is given.
    """
    a, bu, bv, cu, cv, cw = brick
    nu, nv, nw = shape
    fu, fv, fw = nu / a, nv / bv, nw / cw
    hv, hw = bv / nv, cw / nw
    half = own >= 0
    row0 = int(np.floor((w - reach) * fw))
    col0 = 0
    if half:
        row0 = min(max(int(w * fw), 0), nw - 1)
        col0 = min(max(int(v * fv), 0), nv - 1)
    count = 0
    for iw in range(row0, int(np.floor((w + reach) * fw)) + 1):
        low = iw * hw
        gap = max(0.0, max(low - w, w - low - hw))
        rest = reach * reach - gap * gap
        if rest < 0.0:
            continue
        row = iw
        kw = 0
        while row < 0:
            row += nw
            kw -= 1
        while row >= nw:
            row -= nw
            kw += 1
        u1 = u - kw * cu
        v1 = v - kw * cv
        w1 = w - kw * cw
        wide = math.sqrt(rest)
        from_col = int(np.floor((v1 - wide) * fv))
        if half and iw == row0:
            from_col = col0
        for iv in range(from_col, int(np.floor((v1 + wide) * fv)) + 1):
            low = iv * hv
            gap = max(0.0, max(low - v1, v1 - low - hv))
            left = rest - gap * gap
            if left < 0.0:
                continue
            col = iv
            kv = 0
            while col < 0:
                col += nv
                kv -= 1
            while col >= nv:
                col -= nv
                kv += 1
            chord = math.sqrt(left)
            u2 = u1 - kv * bu
            v2 = v1 - kv * bv
            b0 = int(np.floor((u2 - chord) * fu))
            b1 = int(np.floor((u2 + chord) * fu))
            mine = half and iw == row0 and iv == col0
            if mine:
                b0 = min(max(int(u * fu), 0), nu - 1)
            ku = 0
            while b0 < 0:
                b0 += nu
                b1 += nu
                ku -= 1
            while b0 >= nu:
                b0 -= nu
                b1 -= nu
                ku += 1
            base = (row * nv + col) * nu
            while b1 >= b0:
                s = start[base + b0]
                e = start[base + min(b1, nu - 1) + 1]
                if mine and ku == 0:
                    s = own + 1
                if e > s:
                    first[count] = s
                    last[count] = e
                    ru[count] = u2 - ku * a
                    rv[count] = v2
                    rw[count] = w1
                    count += 1
                b0 = 0
                b1 -= nu
                ku += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _add_up(slots, n, at, origin, runs, first, ru, rv, rw, U, V, W, column, per_A, n_bins, row):  # type: ignore[no-untyped-def]
    """Count slots; a distance too near an edge for single precision (a negative slot) is taken again in double."""
    j = origin
    for t in range(n):
        slot = slots[t]
        if slot < 0:
            while j + 1 < runs and at[j + 1] <= t:
                j += 1
            q = np.uintp(first[j] + (t - at[j]))
            x = U[q] - ru[j]
            y = V[q] - rv[j]
            z = W[q] - rw[j]
            far = math.sqrt(x * x + y * y + z * z) * per_A
            slot = column[q] + (np.int64(far) if far < n_bins else n_bins)
        row[np.uintp(slot)] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def count_into_bins(  # type: ignore[no-untyped-def]
    half, cU, cV, cW, c_row, c_molecule, U, V, W, column, molecule, start, brick, shape, r_max, n_bins, counts
):
    """Add the pairs (centre, sorted atom) to bins of their distance.

    Parameters
    ----------
    half : bool
        The centres are the sorted atoms themselves: every pair is counted once.
    cU, cV, cW : float arrays
        Centres, within the brick.
    c_row : int array
        Row of ``counts`` of each centre.
    U, V, W : float arrays (n + PADDING,)
        From :func:`sort_into_brick`.
    column : int32 array (n + PADDING,)
        Where the bins of each sorted atom begin in a row of ``counts``.
    c_molecule, molecule : int32 arrays
        Pairs within one molecule are left out; of length zero: all are counted.
    counts : int64 array (rows, columns * (n_bins + BEYOND))
        Changed in place.
    """
    a, _, bv, _, _, cw = brick
    per_A = n_bins / r_max
    reach = r_max + 1e-7 * (r_max + a + bv + cw)
    size = _run_limit(reach, brick, shape)
    first = np.empty(size, np.int32)
    last = np.empty(size, np.int32)
    at = np.empty(size, np.int32)
    ru = np.empty(size)
    rv = np.empty(size)
    rw = np.empty(size)
    slots = np.empty(_BATCH + PADDING, np.int32)
    U4 = U.astype(np.float32)
    V4 = V.astype(np.float32)
    W4 = W.astype(np.float32)
    # How wrong a distance in single precision can be, in bins: rounded coordinates, and the arithmetic on them.
    rounded = (2.0 * (a + bv + cw) + 12.0 * reach) * 2.0**-24
    doubt = min(per_A * rounded + 5e-7 * (n_bins + 1), 1.0)
    low4 = np.float32(doubt)
    high4 = np.float32(1.0 - doubt)
    per_A4 = np.float32(per_A)
    bins4 = np.uint32(n_bins)
    beyond4 = np.int32(n_bins)
    spread = np.int32(BEYOND - 1)
    unsure = np.int32(-1)
    apart = len(molecule) > 0
    for c in range(len(cU)):
        own = c if half else -1
        runs = _find_runs(cU[c], cV[c], cW[c], own, reach, brick, shape, start, first, last, ru, rv, rw)
        row = counts[c_row[c]]
        n = 0
        origin = 0
        j = 0
        while j < runs:
            if n > 0 and n + last[j] - first[j] > _BATCH:
                _add_up(slots, n, at, origin, j, first, ru, rv, rw, U, V, W, column, per_A, n_bins, row)
                n = 0
                origin = j
            m = min(last[j] - first[j], _BATCH)
            at[j] = n
            x4 = np.float32(ru[j])
            y4 = np.float32(rv[j])
            z4 = np.float32(rw[j])
            base = np.uintp(first[j])
            into = np.uintp(n)
            # Rounded up to whole vectors: what is written past the end is overwritten or never read.
            for t in range(np.uintp((m + PADDING - 1) // PADDING * PADDING)):
                q = base + t
                dx = U4[q] - x4
                dy = V4[q] - y4
                dz = W4[q] - z4
                far = np.sqrt(dx * dx + dy * dy + dz * dz) * per_A4
                b = np.int32(far)
                part = far - np.float32(b)
                slot = b if np.uint32(b) < bins4 else np.int32(beyond4 + (b & spread))
                sure = (part > low4) & (part < high4)
                slots[into + t] = np.int32(column[q] + slot) if sure else unsure
            if apart:
                for t in range(m):
                    q = base + np.uintp(t)
                    if molecule[q] == c_molecule[c]:
                        slots[into + np.uintp(t)] = column[q] + beyond4
            n += m
            if m < last[j] - first[j]:
                _add_up(slots, n, at, origin, j + 1, first, ru, rv, rw, U, V, W, column, per_A, n_bins, row)
                first[j] += m
                n = 0
                origin = j
            else:
                j += 1
        _add_up(slots, n, at, origin, runs, first, ru, rv, rw, U, V, W, column, per_A, n_bins, row)


@njit(cache=True, nogil=True, error_model="numpy")
def list_near(cU, cV, cW, c_atom, U, V, W, atom, start, brick, shape, cutoff):  # type: ignore[no-untyped-def]
    """All pairs (centre, sorted atom) within the cutoff, no atom with itself.

    Returns
    -------
    centre, other : int32 arrays
        Places among the centres and among the sorted atoms.
    distance : float64 array
    """
    a, _, bv, _, _, cw = brick
    reach = cutoff + 1e-7 * (cutoff + a + bv + cw)
    size = _run_limit(reach, brick, shape)
    first = np.empty(size, np.int32)
    last = np.empty(size, np.int32)
    ru = np.empty(size)
    rv = np.empty(size)
    rw = np.empty(size)
    room = 16 * len(cU) + 64
    centre = np.empty(room, np.int32)
    other = np.empty(room, np.int32)
    distance = np.empty(room)
    count = 0
    for c in range(len(cU)):
        runs = _find_runs(cU[c], cV[c], cW[c], -1, reach, brick, shape, start, first, last, ru, rv, rw)
        for j in range(runs):
            if count + last[j] - first[j] > room:
                room = 2 * room + last[j] - first[j]
                centre = _longer(centre, room)
                other = _longer(other, room)
                distance = _longer(distance, room)
            for q in range(first[j], last[j]):
                x = U[q] - ru[j]
                y = V[q] - rv[j]
                z = W[q] - rw[j]
                d = math.sqrt(x * x + y * y + z * z)
                if d <= cutoff and atom[q] != c_atom[c]:
                    centre[count] = c
                    other[count] = q
                    distance[count] = d
                    count += 1
    return centre[:count], other[:count], distance[:count]


@njit(cache=True, nogil=True)
def _longer(values, room):  # type: ignore[no-untyped-def]
    more = np.empty(room, values.dtype)
    more[: len(values)] = values
    return more
