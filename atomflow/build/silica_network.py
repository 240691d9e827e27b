"""Continuous random networks of SiO2: crystal, switch, anneal, relax; then cut, condense or hydrolyse.

The bond list is the model: every silicon has four oxygen atoms and every oxygen two silicon atoms at all times, so no
cutoff ever has to guess a bond. Method: Wooten, Winer and Weaire's bond switches (doi 10.1103/PhysRevLett.54.1392) from
beta-cristobalite, scored by a Keating-like energy of Tu and Tersoff's form (doi 10.1103/PhysRevLett.84.4393), with
local relaxation and early rejection after Barkema and Mousseau (doi 10.1103/PhysRevB.62.4985). Constants, and how far
each may be trusted, are in ``structures/silica.yaml``.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import yaml
from ase import units
from ase.data import atomic_masses
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atomflow.errors import BadOptionError, CalculationError
from atomflow.library import library_folder
from atomflow.model import GRADES

#: Mass of one SiO2 (u).
SILICA_MASS_U = float(atomic_masses[14] + 2 * atomic_masses[8])

_TERMS = (
    "bond_eV_per_A2",
    "bond_length_A",
    "o_si_o_eV",
    "o_si_o_cosine",
    "si_o_si_eV",
    "si_o_si_cosine",
    "repulsion_eV_per_A3",
    "range_si_si_A",
    "range_si_o_A",
    "range_o_o_A",
)
# One cubic cell of diamond in fractions of its edge, and the bonds of the even sites.
_DIAMOND_FCC = np.array([(0, 0, 0), (0, 2, 2), (2, 0, 2), (2, 2, 0)])
_DIAMOND_BONDS = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
# A trial relaxes what lies within this many bonds of the switch, for at most so many steps.
_SHELLS = 1
_TRIAL_STEPS = 60
# A^2/eV; energy - softness * |force|^2 estimates the end of a relaxation.
_SOFTNESS = 0.15
_CONDENSE_WITHIN_A = 7.0  # oxygen to oxygen; a ring of three silicon is made only when nothing else is left
_HYDROLYSE_WITHIN_A = 4.0  # below the outermost silicon
_STRAIN_EV = 3.0  # a condensation that costs more is undone
_FINAL_STEPS = 6000
_FINAL_FORCE_EV_PER_A = 1e-3


@dataclass(frozen=True)
class Network:
    """Silicon atoms first, then oxygen, in an orthorhombic periodic box.

    Parameters
    ----------
    positions : ndarray (3 N, 3)
        Angstrom, wrapped into the box.
    box : ndarray (3,)
        Edges (A).
    si_o : ndarray (N, 4)
        Oxygen atoms of each silicon.
    o_si : ndarray (number of oxygen, 2)
        Silicon atoms of each oxygen; the second is -1 for a terminal oxygen.
    energy_eV : float
        Of the Keating-like potential, after relaxation; 0 for an unstrained network.
    """

    positions: np.ndarray
    box: np.ndarray
    si_o: np.ndarray
    o_si: np.ndarray
    energy_eV: float

    @property
    def silicon(self) -> int:
        """Number of silicon atoms."""
        return len(self.si_o)


@lru_cache(maxsize=1)
def constants() -> dict[str, Any]:
    """What ``structures/silica.yaml`` says."""
    path = library_folder("structures") / "silica.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def worst_grade() -> str:
    """The lowest grade among the constants: what a model built with them can be trusted for."""

    def grades(table: Any) -> list[str]:
        if not isinstance(table, dict):
            return []
        own = [table["grade"]] if isinstance(table.get("grade"), str) else []
        return own + [grade for value in table.values() for grade in grades(value)]

    return max(grades(constants()), key=GRADES.index)


def terms() -> np.ndarray:
    """Constants of the energy in the order the kernels take them."""
    table = constants()["network"]
    return np.array([float(table[name]["value"]) for name in _TERMS])


def volume_per_silicon(density_g_cm3: float) -> float:
    """Volume of one SiO2 (A^3)."""
    return SILICA_MASS_U * units._amu * 1e3 / density_g_cm3 * 1e24


def crystal(cells: tuple[int, int, int], box: np.ndarray) -> Network:
    """Ideal beta-cristobalite of ``cells`` cubic cells (8 silicon each), stretched to ``box`` (A)."""
    counts = 4 * np.array(cells)
    origins = np.array([(i, j, k) for i in range(cells[0]) for j in range(cells[1]) for k in range(cells[2])])
    even = (4 * origins[:, None] + _DIAMOND_FCC).reshape(-1, 3)
    index = {tuple(site): number for number, site in enumerate(np.vstack([even, even + 1]))}
    pairs = [(index[tuple(s)], index[tuple((s + b) % counts)]) for s in even for b in _DIAMOND_BONDS]
    middles = np.array([s + b / 2 for s in even for b in _DIAMOND_BONDS])
    n_si = 2 * len(even)
    positions = np.vstack([even, even + 1, middles]) / counts * box
    return Network(positions, np.asarray(box, float), _oxygen_of(n_si, pairs), np.array(pairs, np.int64), np.nan)


def _oxygen_of(n_si: int, pairs: Any) -> np.ndarray:
    rows: list[list[int]] = [[] for _ in range(n_si)]
    for oxygen, ends in enumerate(pairs):
        for s in ends:
            if s >= 0:
                rows[s].append(n_si + oxygen)
    return np.array(rows, np.int64).reshape(n_si, 4)


@lru_cache(maxsize=8)
def random_network(cells: tuple[int, int, int], box: tuple[float, float, float], seed: int) -> Network:
    """Random network of ``8 * prod(cells)`` silicon atoms in a periodic ``box``.

    Parameters
    ----------
    cells : three int
        Cubic cells of the crystal it starts from, 2 or more along each edge.
    box : three float
        Edges (A); they set the density.
    seed : int
        Same seed, same network on the same machine.

    Returns
    -------
    Network
        Cached; its arrays cannot be written.

    Raises
    ------
    CalculationError
        When the final relaxation leaves a broken geometry.
    """
    from atomflow.build._silica_kernels import switch_bonds

    start = crystal(cells, np.array(box))
    plan, constant = constants()["schedule"], terms()
    rng = np.random.default_rng(np.random.SeedSequence((seed, *cells)))
    x, si_o, o_si = start.positions.copy(), start.si_o.copy(), start.o_si.copy()
    n_si, work = len(si_o), _work(len(x))

    def switch(temperature: float, attempts: int, wanted: int) -> int:
        accepted, _ = switch_bonds(
            x,
            start.box,
            si_o,
            o_si,
            work,
            constant,
            rng,
            temperature,
            attempts,
            wanted,
            _SHELLS,
            _TRIAL_STEPS,
            _SOFTNESS,
        )
        _relax(x, start.box, si_o, o_si, constant, 200, 0.02)
        return int(accepted)

    hot = int(plan["hot_accepted_per_silicon"] * n_si)
    if switch(float(plan["hot_eV"]), 200 * hot, hot) < hot:
        raise CalculationError(
            "the silica network could not be randomised: hardly any bond switch was accepted; try a density nearer 2.2 g/cm3"
        )
    for temperature in plan["anneal_eV"]:
        attempts = int(plan["anneal_attempts_per_silicon"] * n_si)
        switch(float(temperature), attempts, attempts)
    energy = _relax(x, start.box, si_o, o_si, constant, _FINAL_STEPS, _FINAL_FORCE_EV_PER_A)
    x %= start.box
    check_lengths(x, start.box, si_o)
    for array in (x, start.box, si_o, o_si):
        array.setflags(write=False)
    return Network(x, start.box, si_o, o_si, energy)


def _work(atoms: int) -> tuple[np.ndarray, ...]:
    from atomflow.build._silica_kernels import WIDTH

    # At most 24 cells along an edge: beyond, they are only larger than they need be.
    return (
        np.zeros((atoms, 3)),
        np.zeros((atoms, 3)),
        np.zeros((atoms, WIDTH), np.int32),
        np.zeros(atoms, np.int64),
        np.zeros((24, 24, 24), np.int64),
        np.zeros(atoms, np.int64),
        np.zeros(3, np.int64),
    )


def _relax(
    x: np.ndarray, box: np.ndarray, si_o: np.ndarray, o_si: np.ndarray, constant: np.ndarray, steps: int, force: float
) -> float:
    """Relax every atom in place; the energy (eV)."""
    from atomflow.build._silica_kernels import WIDTH, relax

    every = np.arange(len(x))
    moves = np.ones(len(x), np.bool_)
    silicon, work = np.arange(len(si_o)), _work(len(x))
    energy = relax(x, box, si_o, o_si, silicon, every, moves, work, constant, steps, force, np.inf, 0.0)
    if work[3].max() >= WIDTH or not np.isfinite(energy):
        raise CalculationError(
            "the silica network collapsed during relaxation; try another seed, or a density nearer 2.2 g/cm3"
        )
    return float(energy)


def relaxed(positions: np.ndarray, box: np.ndarray, o_si: np.ndarray, n_si: int, *, steps: int = 3000) -> Network:
    """Network with these bonds, relaxed; terminal oxygen atoms have -1 as their second silicon.

    A direction that is not periodic needs a box edge that leaves a gap of 5 A or more.
    """
    x, box = positions.copy(), np.asarray(box, float)
    o_si = np.ascontiguousarray(o_si, np.int64)
    si_o = _oxygen_of(n_si, o_si)
    energy = _relax(x, box, si_o, o_si, terms(), steps, 0.01)
    return Network(x, box, si_o, o_si, energy)


def check_lengths(x: np.ndarray, box: np.ndarray, si_o: np.ndarray) -> None:
    """Raise CalculationError when a bond is torn."""
    lengths = np.linalg.norm(minimum_image(x[si_o] - x[: len(si_o), None], box), axis=-1)
    if not (lengths.min() > 1.4 and lengths.max() < 1.85):
        raise CalculationError(
            f"the silica network did not relax: its Si-O bonds span {lengths.min():.2f} to {lengths.max():.2f} A; "
            "try another seed, or a density nearer 2.2 g/cm3"
        )


def minimum_image(vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Shortest periodic images of vectors (A) in an orthorhombic box."""
    return vectors - box * np.round(vectors / box)


def reference_energy(network: Network) -> float:
    """Energy (eV) in plain numpy: what the kernels must give."""
    kb, b0, k_osio, c_osio, k_siosi, c_siosi, gamma, *ranges = terms()
    x, box, n_si = network.positions, network.box, network.silicon
    arms = minimum_image(x[network.si_o] - x[:n_si, None], box)
    length = np.linalg.norm(arms, axis=-1)
    energy = 0.5 * kb * np.sum((length - b0) ** 2)
    unit = arms / length[..., None]
    first, second = np.triu_indices(4, 1)
    energy += 0.5 * k_osio * np.sum((np.sum(unit[:, first] * unit[:, second], axis=-1) - c_osio) ** 2)
    bridges = np.flatnonzero(network.o_si[:, 1] >= 0)
    arms = minimum_image(x[network.o_si[bridges]] - x[n_si + bridges, None], box)
    unit = arms / np.linalg.norm(arms, axis=-1)[..., None]
    energy += 0.5 * k_siosi * np.sum((np.sum(unit[:, 0] * unit[:, 1], axis=-1) - c_siosi) ** 2)
    bonded = np.zeros((len(x), len(x)), bool)
    bonded[np.repeat(np.arange(n_si), 4), network.si_o.ravel()] = True
    bonded |= bonded.T
    near = bonded | ((bonded.astype(float) @ bonded.astype(float)) > 0)
    distance = np.linalg.norm(minimum_image(x[:, None] - x[None], box), axis=-1)
    kind = (np.arange(len(x)) >= n_si).astype(int)
    reach = np.array(ranges)[kind[:, None] + kind[None]]
    overlap = np.where(near, 0.0, np.clip(reach - distance, 0.0, None))
    return float(energy + gamma * np.sum(np.triu(overlap, 1) ** 3))


def ring_sizes(network: Network) -> dict[int, int]:
    """Number of rings by size (silicon atoms per ring): King's shortest rings, one for each pair of bonds of a silicon.

    Every ring is counted once for each pair of bonds it is shortest for. The crystal has rings of six only.
    """
    neighbours = silicon_neighbours(network.o_si, network.silicon)
    counts: dict[int, int] = {}
    for s, around in enumerate(neighbours):
        for a in range(len(around)):
            for b in range(a + 1, len(around)):
                steps = _path_around(neighbours, s, around[a], around[b])
                if steps is not None:
                    counts[steps + 2] = counts.get(steps + 2, 0) + 1
    return dict(sorted(counts.items()))


def silicon_neighbours(o_si: np.ndarray, n_si: int) -> list[list[int]]:
    """Silicon atoms joined to each silicon by an oxygen."""
    neighbours: list[list[int]] = [[] for _ in range(n_si)]
    for a, b in o_si:
        if b >= 0:
            neighbours[a].append(int(b))
            neighbours[b].append(int(a))
    return neighbours


def _path_around(neighbours: list[list[int]], avoided: int, start: int, end: int, longest: int = 12) -> int | None:
    """Bonds on the shortest path that does not pass through ``avoided``."""
    seen, queue = {avoided, start}, deque([(start, 0)])
    while queue:
        here, steps = queue.popleft()
        if here == end:
            return steps
        if steps < longest:
            for other in neighbours[here]:
                if other not in seen:
                    seen.add(other)
                    queue.append((other, steps + 1))
    return None


def cut(network: Network, place: np.ndarray, inside: np.ndarray, gap: np.ndarray) -> Network:
    """What is left of a network when only the silicon ``inside`` is kept; it has terminal oxygen where bonds were cut.

    Parameters
    ----------
    network : Network
        Periodic, without terminal oxygen.
    place : ndarray (N, 3)
        Where each silicon stands once the model is open (A): the image that belongs to the body that is cut out.
    inside : ndarray (N,) of bool
        See :func:`sound`; every silicon kept needs two bridges or more.
    gap : ndarray (3,)
        Edge of the new box in open directions (A), 0 in periodic ones.
    """
    whole = _unbroken(network, place, gap) & inside[network.o_si].all(axis=1)
    number = np.cumsum(inside) - 1
    n_old, si_o_length = network.silicon, float(constants()["geometry"]["si_o_A"])
    bonds, oxygen = [], []
    for o, (a, b) in enumerate(network.o_si):
        if whole[o]:
            bonds.append((number[a], number[b]))
        for s in (a, b):
            if inside[s]:
                arm = minimum_image(network.positions[n_old + o] - network.positions[s], network.box)
                if not whole[o]:
                    bonds.append((number[s], -1))
                    arm *= si_o_length / np.linalg.norm(arm)
                elif s == b:
                    continue
                oxygen.append(place[s] + arm)
    box = np.where(gap > 0, gap, network.box)
    positions = np.vstack([place[inside], np.array(oxygen)])
    o_si = np.array(bonds, np.int64)
    return Network(positions, box, _oxygen_of(int(inside.sum()), o_si), o_si, np.nan)


def sound(network: Network, place: np.ndarray, inside: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The largest connected part of ``inside`` whose every silicon keeps two bridges or more.

    Silicon with three hydroxyl groups or a loose fragment would be washed off a real surface.
    """
    whole, o_si = _unbroken(network, place, gap), network.o_si
    kept = inside.copy()
    while True:
        held = whole & kept[o_si].all(axis=1)
        weak = kept & (np.bincount(o_si[held].ravel(), minlength=len(kept)) < 2)
        if not weak.any():
            break
        kept &= ~weak
    a, b = o_si[held].T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(kept), len(kept)))
    _, part = connected_components(graph, directed=False)
    return kept & (part == np.bincount(part[kept]).argmax()) if kept.any() else kept


def _unbroken(network: Network, place: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Which bridges do not run through an opened face of the periodic box."""
    a, b = network.o_si.T
    straight = place[b] - place[a]
    shortest = minimum_image(network.positions[b] - network.positions[a], network.box)
    return (np.abs(straight - shortest)[:, gap > 0] < 1e-6).all(axis=1)


def terminal(body: Network) -> np.ndarray:
    """Which oxygen atoms (counted from the first oxygen) have one silicon only."""
    return np.flatnonzero(body.o_si[:, 1] < 0)


def _depth(body: Network, kind: str, points: np.ndarray) -> np.ndarray:
    """How far points lie below the outermost silicon (A), smaller is nearer to the surface."""
    x = body.positions[: body.silicon]
    if kind == "particle":
        centre = x.mean(axis=0)
        return np.linalg.norm(x - centre, axis=1).max() - np.linalg.norm(points - centre, axis=1)
    return np.minimum(points[:, 2] - x[:, 2].min(), x[:, 2].max() - points[:, 2])


def hydroxylated(body: Network, kind: str, wanted: int, area: float) -> Network:
    """The body with ``wanted`` terminal oxygen atoms, an even number: condensation and hydrolysis work by pairs."""
    body = relaxed(body.positions, body.box, body.o_si, body.silicon)
    tried: set[tuple[int, int]] = set()
    while len(terminal(body)) > wanted:
        step = _condensed(body, kind, tried)
        if step is None:
            least = math.ceil(len(terminal(body)) / area * 1e4) / 100
            raise BadOptionError(
                f"silanols_per_nm2: no two silanols are left that could condense; the smallest possible here is {least:g}"
            )
        body = step
    while len(terminal(body)) < wanted:
        step = _hydrolysed(body, kind)
        if step is None:
            most = math.floor(len(terminal(body)) / area * 1e4) / 100
            raise BadOptionError(
                f"silanols_per_nm2: every silicon at the surface has its hydroxyl groups; the largest possible here is {most:g}"
            )
        body = step
    return relaxed(body.positions, body.box, body.o_si, body.silicon, steps=6000)


def _condensed(body: Network, kind: str, tried: set[tuple[int, int]]) -> Network | None:
    """The body after the shortest condensation that does not strain it; None when there is none."""
    n_si = body.silicon
    neighbours = [set(row) for row in silicon_neighbours(body.o_si, n_si)]
    ends = terminal(body)
    x = body.positions[n_si + ends]
    z = x[:, 2] - body.positions[:n_si, 2].mean()
    fuller = np.sign(np.sum(np.sign(z)))  # of a slab: keep the faces alike
    options = []
    for i, a in enumerate(ends):
        s = int(body.o_si[a, 0])
        distances = np.linalg.norm(minimum_image(x[i + 1 :] - x[i], body.box), axis=1)
        for j in np.flatnonzero(distances < _CONDENSE_WITHIN_A) + i + 1:
            t = int(body.o_si[ends[j], 0])
            pair = (min(s, t), max(s, t))
            if s == t or t in neighbours[s] or pair in tried:
                continue  # edge-sharing tetrahedra are not made
            score = distances[j - i - 1] + (2 * _CONDENSE_WITHIN_A if neighbours[s] & neighbours[t] else 0.0)
            if kind == "slab" and fuller and np.sign(z[i]) != fuller:
                score += _CONDENSE_WITHIN_A
            options.append((score, pair, a, ends[j]))
    for _, pair, a, b in sorted(options):
        tried.add(pair)
        positions, o_si = body.positions.copy(), body.o_si.copy()
        middle = minimum_image(positions[n_si + b] - positions[n_si + a], body.box) / 2
        positions[n_si + a] += middle
        o_si[a, 1] = o_si[b, 0]
        keep = np.arange(len(o_si)) != b
        positions = np.vstack([positions[:n_si], positions[n_si:][keep]])
        step = relaxed(positions, body.box, o_si[keep], n_si, steps=400)
        if step.energy_eV - body.energy_eV < _STRAIN_EV:
            return step
    return None


def _hydrolysed(body: Network, kind: str) -> Network | None:
    """The body after opening the siloxane bridge nearest to the surface; None when no bridge may be opened."""
    n_si = body.silicon
    groups = np.bincount(body.o_si[terminal(body), 0], minlength=n_si)
    bridges = np.flatnonzero(body.o_si[:, 1] >= 0)
    depth = _depth(body, kind, body.positions[n_si + bridges])
    for k in np.argsort(depth):
        o = bridges[k]
        a, b = body.o_si[o]
        if depth[k] > _HYDROLYSE_WITHIN_A or groups[a] > 1 or groups[b] > 1 or groups[a] + groups[b] > 2:
            continue
        if not _connected(np.delete(body.o_si, o, axis=0), n_si):
            continue
        positions = body.positions.copy()
        axis = minimum_image(positions[b] - positions[a], body.box)
        side = np.cross(axis, (0.3, 0.5, 0.8))
        side *= 1.2 / np.linalg.norm(side)
        other = positions[n_si + o] - side
        positions[n_si + o] += side
        o_si = np.vstack([body.o_si, (b, -1)])
        o_si[o] = (a, -1)
        return relaxed(np.vstack([positions, other]), body.box, o_si, n_si, steps=400)
    return None


def _connected(o_si: np.ndarray, n_si: int) -> bool:
    neighbours = silicon_neighbours(o_si, n_si)
    seen, stack = {0}, [0]
    while stack:
        for other in neighbours[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return len(seen) == n_si
