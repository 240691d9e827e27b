"""Hot loops of the silica network: energy and forces, relaxation, bond switches.

Silicon atoms come first (``0 .. n_si - 1``), then oxygen. ``si_o[s]`` holds the four oxygen atoms of silicon ``s``,
``o_si[o - n_si]`` the two silicon atoms of oxygen ``o``; the second is -1 for a terminal oxygen (a silanol's). Boxes are
orthorhombic. The plain numpy twin of the energy is :func:`atomflow.build.silica_network.reference_energy`.

``terms`` are, in this order: bond constant (eV/A^2), bond length (A), O-Si-O constant (eV), its cosine, Si-O-Si
constant (eV), its cosine, repulsion (eV/A^3), and its ranges Si-Si, Si-O and O-O (A).
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Room for the neighbours of one atom within range and skin; ten times the mean number in glass would not fill it.
WIDTH = 192
#: How far pairs are listed beyond the range of the repulsion (A), so that a list outlives some steps.
SKIN_A = 0.45
_FIRE_START_STEP, _FIRE_LONGEST_STEP, _FIRE_MIX = 0.06, 0.18, 0.15
_LONGEST_MOVE_A = 0.15
_FIRST_JUDGED = 8  # steps of a trial before the estimate of its end is trusted
_RELIST_EVERY = 10


@njit(cache=True)
def _shift(delta: float, length: float) -> float:
    return delta - length * np.floor(delta / length + 0.5)


@njit(cache=True)
def bin_atoms(x, box, reach, head, following, counts):  # type: ignore[no-untyped-def]
    """Linked lists of the atoms in cells no smaller than ``reach``."""
    for axis in range(3):
        counts[axis] = max(1, min(head.shape[axis], int(box[axis] / reach)))
    head[: counts[0], : counts[1], : counts[2]] = -1
    cell = np.empty(3, np.int64)
    for i in range(len(x)):
        for axis in range(3):
            fraction = x[i, axis] / box[axis]
            fraction -= np.floor(fraction)
            cell[axis] = min(int(fraction * counts[axis]), counts[axis] - 1)
        following[i] = head[cell[0], cell[1], cell[2]]
        head[cell[0], cell[1], cell[2]] = i


@njit(cache=True)
def _span(centre: int, count: int):  # type: ignore[no-untyped-def]
    # With one or two cells the neighbours on both sides are the same cells and must be visited once.
    if count < 3:
        return 0, count
    return centre - 1, centre + 2


@njit(cache=True)
def list_pairs(x, box, reach, active, head, following, counts, near, n_near):  # type: ignore[no-untyped-def]
    """Atoms within ``reach`` of each active atom; False when there were more than WIDTH."""
    cell = np.empty(3, np.int64)
    complete = True
    for i in active:
        for axis in range(3):
            fraction = x[i, axis] / box[axis]
            fraction -= np.floor(fraction)
            cell[axis] = min(int(fraction * counts[axis]), counts[axis] - 1)
        found = 0
        a0, a1 = _span(cell[0], counts[0])
        b0, b1 = _span(cell[1], counts[1])
        c0, c1 = _span(cell[2], counts[2])
        for a in range(a0, a1):
            for b in range(b0, b1):
                for c in range(c0, c1):
                    j = head[a % counts[0], b % counts[1], c % counts[2]]
                    while j >= 0:
                        if j != i:
                            dx = _shift(x[j, 0] - x[i, 0], box[0])
                            dy = _shift(x[j, 1] - x[i, 1], box[1])
                            dz = _shift(x[j, 2] - x[i, 2], box[2])
                            if dx * dx + dy * dy + dz * dz < reach * reach:
                                if found < WIDTH:
                                    near[i, found] = j
                                    found += 1
                                else:
                                    complete = False
                        j = following[j]
        n_near[i] = found
    return complete


@njit(cache=True)
def _bonded_or_siblings(i, j, si_o, o_si):  # type: ignore[no-untyped-def]
    """Whether two atoms share a bond or a bonded neighbour: these pairs do not repel."""
    n_si = len(si_o)
    if i > j:
        i, j = j, i
    if j < n_si:
        for k in range(4):
            o = si_o[i, k] - n_si
            if o_si[o, 0] == j or o_si[o, 1] == j:
                return True
        return False
    if i < n_si:
        return o_si[j - n_si, 0] == i or o_si[j - n_si, 1] == i
    for a in range(2):
        s = o_si[i - n_si, a]
        if s >= 0 and (s == o_si[j - n_si, 0] or s == o_si[j - n_si, 1]):
            return True
    return False


@njit(cache=True)
def _bend(u, ru, v, rv, constant, cosine, f, i, centre, j):  # type: ignore[no-untyped-def]
    """Energy of one angle; ``u`` and ``v`` are unit vectors from the centre."""
    c = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
    slope = constant * (c - cosine)
    for axis in range(3):
        fi = -slope * (v[axis] - c * u[axis]) / ru
        fj = -slope * (u[axis] - c * v[axis]) / rv
        f[i, axis] += fi
        f[j, axis] += fj
        f[centre, axis] -= fi + fj
    return 0.5 * constant * (c - cosine) ** 2


@njit(cache=True)
def evaluate(x, box, si_o, o_si, centres, active, moves, near, n_near, terms, f):  # type: ignore[no-untyped-def]
    """Energy (eV) of every term that touches an active atom; forces (eV/A) on the active atoms into ``f``."""
    n_si = len(si_o)
    energy = 0.0
    unit = np.empty((4, 3))
    length = np.empty(4)
    for i in active:
        f[i, 0] = f[i, 1] = f[i, 2] = 0.0
    for s in centres:
        for k in range(4):
            o = si_o[s, k]
            for axis in range(3):
                unit[k, axis] = _shift(x[o, axis] - x[s, axis], box[axis])
            r = np.sqrt(unit[k, 0] ** 2 + unit[k, 1] ** 2 + unit[k, 2] ** 2)
            r = max(r, 1e-6)
            length[k] = r
            energy += 0.5 * terms[0] * (r - terms[1]) ** 2
            for axis in range(3):
                unit[k, axis] /= r
                pull = terms[0] * (r - terms[1]) * unit[k, axis]
                f[s, axis] += pull
                f[o, axis] -= pull
        for k in range(3):
            for m in range(k + 1, 4):
                energy += _bend(
                    unit[k], length[k], unit[m], length[m], terms[2], terms[3], f, si_o[s, k], s, si_o[s, m]
                )
    for o in active:
        if o < n_si or o_si[o - n_si, 1] < 0:
            continue
        for k in range(2):
            s = o_si[o - n_si, k]
            for axis in range(3):
                unit[k, axis] = _shift(x[s, axis] - x[o, axis], box[axis])
            r = np.sqrt(unit[k, 0] ** 2 + unit[k, 1] ** 2 + unit[k, 2] ** 2)
            r = max(r, 1e-6)
            length[k] = r
            for axis in range(3):
                unit[k, axis] /= r
        energy += _bend(
            unit[0], length[0], unit[1], length[1], terms[4], terms[5], f, o_si[o - n_si, 0], o, o_si[o - n_si, 1]
        )
    for i in active:
        for k in range(n_near[i]):
            j = near[i, k]
            if moves[j] and j < i:
                continue  # counted from the other side
            reach = terms[9] if i >= n_si and j >= n_si else (terms[7] if i < n_si and j < n_si else terms[8])
            dx = _shift(x[j, 0] - x[i, 0], box[0])
            dy = _shift(x[j, 1] - x[i, 1], box[1])
            dz = _shift(x[j, 2] - x[i, 2], box[2])
            square = dx * dx + dy * dy + dz * dz
            if square >= reach * reach or _bonded_or_siblings(i, j, si_o, o_si):
                continue
            r = max(np.sqrt(square), 1e-6)
            energy += terms[6] * (reach - r) ** 3
            push = 3.0 * terms[6] * (reach - r) ** 2 / r
            f[i, 0] -= push * dx
            f[i, 1] -= push * dy
            f[i, 2] -= push * dz
            if moves[j]:
                f[j, 0] += push * dx
                f[j, 1] += push * dy
                f[j, 2] += push * dz
    return energy


@njit(cache=True)
def relax(  # type: ignore[no-untyped-def]
    x, box, si_o, o_si, centres, active, moves, work, terms, steps, tolerance, ceiling, softness
):
    """Relax the active atoms in place by FIRE; the energy, or infinity once ``ceiling`` is out of reach.

    FIRE: doi 10.1103/PhysRevLett.97.170201. A trial is given up when energy - softness * |force|^2, an estimate of
    where the relaxation would end, lies above the ceiling: Barkema and Mousseau's early rejection.
    """
    f, v, near, n_near, head, following, counts = work
    reach = max(terms[7], terms[8], terms[9]) + SKIN_A
    for i in active:
        v[i, 0] = v[i, 1] = v[i, 2] = 0.0
    step, mix, good = _FIRE_START_STEP, _FIRE_MIX, 0
    energy = np.inf
    for count in range(steps):
        if count % _RELIST_EVERY == 0:
            bin_atoms(x, box, reach, head, following, counts)
            list_pairs(x, box, reach, active, head, following, counts, near, n_near)
        energy = evaluate(x, box, si_o, o_si, centres, active, moves, near, n_near, terms, f)
        power = force = speed = largest = 0.0
        for i in active:
            for axis in range(3):
                power += f[i, axis] * v[i, axis]
                force += f[i, axis] ** 2
                speed += v[i, axis] ** 2
                largest = max(largest, abs(f[i, axis]))
        if largest < tolerance:
            break
        if count >= _FIRST_JUDGED and energy - softness * force > ceiling:
            return np.inf
        if power > 0.0 or count == 0:
            scale = mix * np.sqrt(speed / force)
            for i in active:
                for axis in range(3):
                    v[i, axis] = (1.0 - mix) * v[i, axis] + scale * f[i, axis]
            good += 1
            if good > 5:
                step = min(step * 1.1, _FIRE_LONGEST_STEP)
                mix *= 0.99
        else:
            for i in active:
                v[i, 0] = v[i, 1] = v[i, 2] = 0.0
            step, mix, good = 0.5 * step, _FIRE_MIX, 0
        for i in active:
            for axis in range(3):
                v[i, axis] += step * f[i, axis]
                move = step * v[i, axis]
                x[i, axis] += min(max(move, -_LONGEST_MOVE_A), _LONGEST_MOVE_A)
    return energy


@njit(cache=True)
def _other(o, s, o_si, n_si):  # type: ignore[no-untyped-def]
    return o_si[o - n_si, 1] if o_si[o - n_si, 0] == s else o_si[o - n_si, 0]


@njit(cache=True)
def _joined(a, b, si_o, o_si):  # type: ignore[no-untyped-def]
    for k in range(4):  # noqa: SIM110 - numba has no any()
        if _other(si_o[a, k], a, o_si, len(si_o)) == b:
            return True
    return False


@njit(cache=True)
def _three_ring(a, c, b, si_o, o_si):  # type: ignore[no-untyped-def]
    """Whether a bond a-c would close a ring of three silicon, once the bond a-b is gone. They are rare in the glass."""
    for k in range(4):
        t = _other(si_o[a, k], a, o_si, len(si_o))
        if t != b and _joined(t, c, si_o, o_si):
            return True
    return False


@njit(cache=True)
def _surroundings(roots, shells, si_o, o_si, moves, queue, active, centres):  # type: ignore[no-untyped-def]
    """Active atoms (silicon within ``shells`` bonds of the roots, and its oxygen) and the silicon whose angles change."""
    n_si = len(si_o)
    n_queue = 0
    for s in roots:
        moves[s] = True
        queue[n_queue] = s
        n_queue += 1
    start = 0
    for _ in range(shells):
        end = n_queue
        for q in range(start, end):
            for k in range(4):
                t = _other(si_o[queue[q], k], queue[q], o_si, n_si)
                if not moves[t]:
                    moves[t] = True
                    queue[n_queue] = t
                    n_queue += 1
        start = end
    n_active = n_centres = 0
    for q in range(n_queue):
        active[n_active] = queue[q]
        centres[n_centres] = queue[q]
        n_active += 1
        n_centres += 1
    seen_border = n_queue
    for q in range(n_queue):
        for k in range(4):
            o = si_o[queue[q], k]
            if not moves[o]:
                moves[o] = True
                active[n_active] = o
                n_active += 1
            t = _other(o, queue[q], o_si, n_si)
            if not moves[t]:
                fresh = True
                for p in range(n_queue, seen_border):
                    if queue[p] == t:
                        fresh = False
                        break
                if fresh:
                    queue[seen_border] = t
                    seen_border += 1
                    centres[n_centres] = t
                    n_centres += 1
    return n_active, n_centres


@njit(cache=True)
def _rebond(b, c, o_ab, o_cd, si_o, o_si):  # type: ignore[no-untyped-def]
    """Hand oxygen ``o_ab`` from silicon b to c, and ``o_cd`` from c to b; its own inverse with b and c exchanged."""
    n_si = len(si_o)
    for k in range(4):
        if si_o[b, k] == o_ab:
            si_o[b, k] = o_cd
            break
    for k in range(4):
        if si_o[c, k] == o_cd:
            si_o[c, k] = o_ab
            break
    for k in range(2):
        if o_si[o_ab - n_si, k] == b:
            o_si[o_ab - n_si, k] = c
            break
    for k in range(2):
        if o_si[o_cd - n_si, k] == c:
            o_si[o_cd - n_si, k] = b
            break


@njit(cache=True)
def _to_midpoint(o, x, box, o_si, n_si):  # type: ignore[no-untyped-def]
    a, b = o_si[o - n_si, 0], o_si[o - n_si, 1]
    for axis in range(3):
        x[o, axis] = x[a, axis] + 0.5 * _shift(x[b, axis] - x[a, axis], box[axis])


@njit(cache=True)
def switch_bonds(  # type: ignore[no-untyped-def]
    x, box, si_o, o_si, work, terms, rng, temperature, attempts, wanted, shells, steps, softness
):
    """Wooten-Winer-Weaire switches at ``temperature`` (eV), until ``attempts`` are made or ``wanted`` are accepted.

    A chain A-B-C-D of silicon becomes A-C, B-D with B-C kept. The ceiling of the energy is drawn before the trial
    (E_before - kT ln u), which is Metropolis' rule in another order and lets hopeless trials stop early. Returns the
    number of accepted switches and of attempts.
    """
    f, _v, near, n_near, head, following, counts = work
    n_si = len(si_o)
    reach = max(terms[7], terms[8], terms[9]) + SKIN_A
    moves = np.zeros(len(x), np.bool_)
    queue = np.empty(n_si, np.int64)
    active_room = np.empty(len(x), np.int64)
    centres_room = np.empty(n_si, np.int64)
    before = np.empty_like(x)
    roots = np.empty(4, np.int64)
    accepted = made = 0
    while made < attempts and accepted < wanted:
        made += 1
        b = rng.integers(0, n_si)
        c = _other(si_o[b, rng.integers(0, 4)], b, o_si, n_si)
        o_ab = si_o[b, rng.integers(0, 4)]
        o_cd = si_o[c, rng.integers(0, 4)]
        a = _other(o_ab, b, o_si, n_si)
        d = _other(o_cd, c, o_si, n_si)
        draw = rng.random()
        if a in (c, d) or b == d or _joined(a, c, si_o, o_si) or _joined(b, d, si_o, o_si):
            continue  # edge-sharing tetrahedra are not silica: no pair of silicon may share two oxygen atoms
        if _three_ring(a, c, b, si_o, o_si) or _three_ring(d, b, c, si_o, o_si):
            continue
        roots[0], roots[1], roots[2], roots[3] = a, b, c, d
        n_active, n_centres = _surroundings(roots, shells, si_o, o_si, moves, queue, active_room, centres_room)
        active, centres = active_room[:n_active], centres_room[:n_centres]
        bin_atoms(x, box, reach, head, following, counts)
        list_pairs(x, box, reach, active, head, following, counts, near, n_near)
        energy = evaluate(x, box, si_o, o_si, centres, active, moves, near, n_near, terms, f)
        ceiling = energy - temperature * np.log(1.0 - draw)
        for i in active:
            before[i] = x[i]
        _rebond(b, c, o_ab, o_cd, si_o, o_si)
        _to_midpoint(o_ab, x, box, o_si, n_si)
        _to_midpoint(o_cd, x, box, o_si, n_si)
        after = relax(x, box, si_o, o_si, centres, active, moves, work, terms, steps, 0.02, ceiling, softness)
        if after < np.inf:  # the lists may have aged within the last steps
            bin_atoms(x, box, reach, head, following, counts)
            list_pairs(x, box, reach, active, head, following, counts, near, n_near)
            after = evaluate(x, box, si_o, o_si, centres, active, moves, near, n_near, terms, f)
        if after <= ceiling:
            accepted += 1
        else:
            _rebond(c, b, o_ab, o_cd, si_o, o_si)
            for i in active:
                x[i] = before[i]
        for i in active:
            moves[i] = False
    return accepted, made
