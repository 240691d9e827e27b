"""Compiled inner loops of filling sites; :func:`energy_reference` says in plain numpy what they minimise.

The energy of a state is ``q.M.q + w.R.w / 2``, where ``q`` are the charges of what sits on each site, ``M`` the
electrostatic matrix, ``w`` is one for species that keep apart and ``R`` the penalty of two such on neighbouring sites.
Only exchanges of two sites are tried, so counts never change. ``phi = 2 M q`` and ``psi = R w`` are kept up to date:
an attempt costs a handful of operations, whatever the size, and only an accepted one walks over all sites.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Below this gain an exchange is rounding, eV.
_GAIN_EV = 1e-9
#: Energies nearer than this are the same minimum, eV.
_SAME_EV = 1e-5
#: Sweeps after which the fields are computed afresh, against drift of the sums.
_REFRESH = 200


def energy_reference(M: np.ndarray, R: np.ndarray, q: np.ndarray, w: np.ndarray, state: np.ndarray) -> float:
    """Energy (eV) of one state, the plain way."""
    return float(q[state] @ M @ q[state] + 0.5 * w[state] @ R @ w[state])


@njit(cache=True)
def _change(M, R, q, w, phi, psi, state, i, j):  # type: ignore[no-untyped-def]
    a = q[state[j]] - q[state[i]]
    u = w[state[j]] - w[state[i]]
    return a * (phi[i] - phi[j]) + a * a * (M[i, i] + M[j, j] - 2.0 * M[i, j]) + u * (psi[i] - psi[j]) - u * u * R[i, j]


@njit(cache=True)
def _exchange(M, R, q, w, phi, psi, state, i, j):  # type: ignore[no-untyped-def]
    a = q[state[j]] - q[state[i]]
    u = w[state[j]] - w[state[i]]
    if a != 0.0:
        for k in range(len(state)):
            phi[k] += 2.0 * a * (M[i, k] - M[j, k])
    if u != 0.0:
        for k in range(len(state)):
            psi[k] += u * (R[i, k] - R[j, k])
    state[i], state[j] = state[j], state[i]


@njit(cache=True)
def _fields(M, R, q, w, state, phi, psi):  # type: ignore[no-untyped-def]
    energy = 0.0
    for i in range(len(state)):
        potential = 0.0
        crowd = 0.0
        for k in range(len(state)):
            potential += M[i, k] * q[state[k]]
            crowd += R[i, k] * w[state[k]]
        phi[i] = 2.0 * potential
        psi[i] = crowd
        energy += q[state[i]] * potential + 0.5 * w[state[i]] * crowd
    return energy


@njit(cache=True)
def _exchangeable(allowed, state, i, j):  # type: ignore[no-untyped-def]
    return state[i] != state[j] and allowed[i, state[j]] and allowed[j, state[i]]


@njit(cache=True)
def quench(M, R, q, w, allowed, active, state, phi, psi, energy):  # type: ignore[no-untyped-def]
    """Make exchanges that gain until there are none; ``state``, ``phi``, ``psi`` change in place; the energy (eV)."""
    gained = True
    while gained:
        gained = False
        for x in range(len(active)):
            i = active[x]
            for y in range(x + 1, len(active)):
                j = active[y]
                if _exchangeable(allowed, state, i, j):
                    change = _change(M, R, q, w, phi, psi, state, i, j)
                    if change < -_GAIN_EV:
                        _exchange(M, R, q, w, phi, psi, state, i, j)
                        energy += change
                        gained = True
    return energy


@njit(cache=True)
def exchange_replicas(  # type: ignore[no-untyped-def]
    M, R, q, w, allowed, active, near, near_count, start, temperatures_eV, sweeps, every, keep, rng
):
    """Replica exchange from one start; the lowest distinct minima met on the way.

    Parameters
    ----------
    M, R : array (n, n)
        Electrostatics (eV/e^2) and penalties (eV); symmetric.
    q, w : array (k,)
        Charge (e) and whether it keeps apart (0 or 1), for each kind.
    allowed : bool array (n, k)
    active : int array
        Sites with a choice.
    near, near_count : int arrays (n, m), (n,)
        Active neighbours of each site: half of the exchanges are tried there.
    start : int array (n,)
    temperatures_eV : array
        Ascending.
    sweeps : int
        Attempts on every replica, in units of the number of active sites.
    every : int
        Sweeps between two harvests: the coldest quarter of the replicas is copied and quenched.
    keep : int
    rng : numpy.random.Generator

    Returns
    -------
    energies : array (keep,)
        eV, ascending; infinite where fewer minima were met.
    states : int array (keep, n)
    """
    replicas, n, choices = len(temperatures_eV), len(start), len(active)
    state = np.empty((replicas, n), np.int64)
    phi = np.empty((replicas, n))
    psi = np.empty((replicas, n))
    energy = np.empty(replicas)
    at = np.arange(replicas)  # which replica is at each temperature
    for r in range(replicas):
        state[r] = start
        energy[r] = _fields(M, R, q, w, state[r], phi[r], psi[r])
    energies = np.full(keep, np.inf)
    states = np.zeros((keep, n), np.int64)
    for sweep in range(sweeps):
        for t in range(replicas):
            r, temperature = at[t], temperatures_eV[t]
            for _ in range(choices):
                i = active[int(rng.random() * choices)]
                if near_count[i] > 0 and rng.random() < 0.5:
                    j = near[i, int(rng.random() * near_count[i])]
                else:
                    j = active[int(rng.random() * choices)]
                if not _exchangeable(allowed, state[r], i, j):
                    continue
                change = _change(M, R, q, w, phi[r], psi[r], state[r], i, j)
                if change <= 0.0 or rng.random() < np.exp(-change / temperature):
                    _exchange(M, R, q, w, phi[r], psi[r], state[r], i, j)
                    energy[r] += change
        for t in range(sweep % 2, replicas - 1, 2):
            gain = (energy[at[t]] - energy[at[t + 1]]) * (1.0 / temperatures_eV[t] - 1.0 / temperatures_eV[t + 1])
            if gain >= 0.0 or rng.random() < np.exp(gain):
                at[t], at[t + 1] = at[t + 1], at[t]
        if sweep % _REFRESH == 0:
            for r in range(replicas):
                energy[r] = _fields(M, R, q, w, state[r], phi[r], psi[r])
        if sweep % every == every - 1 or sweep == sweeps - 1:
            for t in range(1 + replicas // 4):
                r = at[t]
                _harvest(M, R, q, w, allowed, active, state[r], phi[r], psi[r], energy[r], energies, states)
    return energies, states


@njit(cache=True)
def _harvest(M, R, q, w, allowed, active, state, phi, psi, energy, energies, states):  # type: ignore[no-untyped-def]
    state, phi, psi = state.copy(), phi.copy(), psi.copy()
    energy = quench(M, R, q, w, allowed, active, state, phi, psi, energy)
    place = len(energies) - 1
    if energy >= energies[place]:
        return
    for k in range(len(energies)):
        if abs(energies[k] - energy) < _SAME_EV:
            return
    while place > 0 and energies[place - 1] > energy:
        energies[place] = energies[place - 1]
        states[place] = states[place - 1]
        place -= 1
    energies[place] = energy
    states[place] = state
