"""What stands on a silica surface: sulfonate grafts and hydrogen, placed clash-free, and the charges of it all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atomflow.build.silica_network import Network, constants, minimum_image, terminal
from atomflow.errors import BadOptionError

#: Nearest contact allowed between atoms without a bond or an angle, by pair of elements (A); what is built keeps to it.
CONTACTS_A = {"heavy": 2.6, "H": 1.9, "HH": 1.8, "LiO": 1.85, "LiH": 1.9}
_GRAFT_NUMBERS = np.array([6, 1, 1, 6, 1, 1, 6, 1, 1, 16, 8, 8, 8, 3])
_GRAFT_LABELS = ["C_graft", "H_graft", "H_graft"] * 3 + ["S", "O_sulfonate", "O_sulfonate", "O_sulfonate", "Li"]
_GRAFT_BONDS = [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6), (6, 7), (6, 8), (6, 9), (9, 10), (9, 11), (9, 12)]


@dataclass
class Added:
    """What stands on the network. The first carbon of a graft takes the place (and number) of a terminal oxygen."""

    carbons: dict[int, np.ndarray] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    bonds: list[tuple[int, int]] = field(default_factory=list)
    lithium: list[tuple[int, tuple[int, int, int]]] = field(default_factory=list)


def add_grafts(
    body: Network, kind: str, box: np.ndarray, wanted: int, area: float, added: Added, rng: np.random.Generator
) -> None:
    """Grow ``wanted`` grafts, far from each other and, on a slab, alike on both faces."""
    n_si, ends = body.silicon, terminal(body)
    groups = np.bincount(body.o_si[ends, 0], minlength=n_si)
    singles = [int(o) for o in rng.permutation(ends[groups[body.o_si[ends, 0]] == 1])]
    paired = ends[groups[body.o_si[ends, 0]] == 2]
    _, first = np.unique(body.o_si[paired, 0], return_index=True)
    geminals = [int(o) for o in rng.permutation(paired[first])]
    left = singles or geminals
    up = body.positions[:, 2] > body.positions[:n_si, 2].mean()
    placed: list[int] = []
    while len(placed) < wanted:
        if not left and geminals and left is not geminals:
            left = geminals
        if not left:
            raise BadOptionError(
                f"grafts_per_nm2: no silanol is left that could take another graft without a clash; "
                f"the largest possible here is {math.floor(len(placed) / area * 1e4) / 100:g}"
            )
        side = left
        if kind == "slab":
            fewer = 2 * sum(up[n_si + o] for o in placed) < len(placed)
            side = [o for o in left if up[n_si + o] == fewer] or left
        here = body.positions[n_si + np.array(side)]
        there = body.positions[n_si + np.array(placed, int)]
        away = np.linalg.norm(minimum_image(here[:, None] - there[None], box), axis=2).min(axis=1, initial=np.inf)
        site = side[int(np.argmax(away))]
        left.remove(site)
        if _grow_graft(body, site, box, added, rng):
            placed.append(site)


def _grow_graft(body: Network, end: int, box: np.ndarray, added: Added, rng: np.random.Generator) -> bool:
    """Put a graft in the place of terminal oxygen ``end``; False when every conformer clashes."""
    n_si, shape = body.silicon, constants()["geometry"]
    s = int(body.o_si[end, 0])
    base = body.positions[s]
    bridges = [int(o) for o in body.si_o[s] if o != n_si + end]
    start = minimum_image(body.positions[bridges[0]] - base, box) + base
    arm = minimum_image(body.positions[n_si + end] - base, box)
    trials = _conformers(start, base, base + arm * shape["si_c_A"] / np.linalg.norm(arm), rng)
    numbers, positions = environment(body, added)
    others = np.setdiff1d(np.arange(len(numbers)), [s, n_si + end])
    others = others[np.linalg.norm(minimum_image(positions[others] - base, box), axis=1) < 13.0]
    clearance = _inner_clearance(trials)
    for k, number in enumerate(_GRAFT_NUMBERS):
        limits = contact_limits(number, numbers[others])
        if k in (0, 1, 2, 3):  # 1-3 and 1-4 neighbours of the three bridges; staggered by construction
            limits = np.where(np.isin(others, bridges), 1e-3, limits)
        distances = np.linalg.norm(minimum_image(trials[:, k, None] - positions[None, others], box), axis=2)
        clearance = np.minimum(clearance, (distances / limits).min(axis=1))
    clear = np.flatnonzero(clearance >= 1.0)
    if not len(clear):
        return False
    chosen = trials[int(rng.choice(clear))]
    first = len(body.positions) + len(added.numbers) - 1  # number of the second atom of the graft, less one
    at = [n_si + end] + [first + k for k in range(1, len(chosen))]
    added.carbons[n_si + end] = chosen[0]
    added.numbers += [int(z) for z in _GRAFT_NUMBERS[1:]]
    added.positions += list(chosen[1:])
    added.labels += _GRAFT_LABELS[1:]
    added.bonds += [(at[a], at[b]) for a, b in _GRAFT_BONDS]
    added.lithium.append((at[13], (at[10], at[11], at[12])))
    return True


def _conformers(o: np.ndarray, si: np.ndarray, c1: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Trial geometries (n, 14, 3) of a graft whose first carbon is at ``c1``: staggered torsions with some play."""
    g = constants()["geometry"]
    thirds = np.radians([60.0, 180.0, 300.0])
    grid = np.array(np.meshgrid(thirds, [-1.0, 0.0, 1.0], thirds, thirds, [0.0, 1.0, 2.0], [0, 1, 2])).reshape(6, -1)
    play = np.radians(rng.uniform(-15.0, 15.0, (4, grid.shape[1])))
    turns = (grid[0] + np.radians(20.0) * grid[1], grid[2], grid[3], np.radians(40.0) * grid[4])
    first, second, third, last = (turn + p for turn, p in zip(turns, play, strict=True))
    n = grid.shape[1]
    o, si, c1 = (np.broadcast_to(point, (n, 3)) for point in (o, si, c1))
    c2 = _attach(o, si, c1, g["c_c_A"], g["si_c_c_deg"], first)
    c3 = _attach(si, c1, c2, g["c_c_A"], g["c_c_c_deg"], second)
    s = _attach(c1, c2, c3, g["c_s_A"], g["c_c_s_deg"], third)
    oxygen = np.stack(
        [_attach(c2, c3, s, g["s_o_A"], g["c_s_o_deg"], last + k * 2 * np.pi / 3) for k in range(3)], axis=1
    )
    # Li+ lies in the plane of S and two oxygen atoms, on the far side of them.
    pair = np.stack([grid[5].astype(int), (grid[5].astype(int) + 1) % 3], axis=1)
    held = np.take_along_axis(oxygen, pair[..., None], axis=1)
    middle = held.mean(axis=1)
    half = np.linalg.norm(held[:, 0] - held[:, 1], axis=1) / 2
    li = middle + np.sqrt(g["li_o_A"] ** 2 - half**2)[:, None] * _unit(middle - s)
    h = [_methylene(a, b, c) for a, b, c in ((si, c1, c2), (c1, c2, c3), (c2, c3, s))]
    return np.stack([c1, *h[0], c2, *h[1], c3, *h[2], s, *oxygen.transpose(1, 0, 2), li], axis=1)


def _attach(a: Any, b: Any, c: Any, length: float, angle_deg: float, torsion: np.ndarray) -> np.ndarray:
    """Point at ``length`` from c, at an angle to b and a torsion (rad) to a."""
    bc = _unit(c - b)
    normal = _unit(np.cross(b - a, bc))
    across = np.cross(normal, bc)
    angle = math.radians(angle_deg)
    return c + length * (
        -math.cos(angle) * bc
        + math.sin(angle) * (np.cos(torsion)[:, None] * across + np.sin(torsion)[:, None] * normal)
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _methylene(before: np.ndarray, carbon: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    g = constants()["geometry"]
    u, v = _unit(before - carbon), _unit(after - carbon)
    half = math.radians(g["h_c_h_deg"]) / 2
    back, side = math.cos(half) * _unit(-(u + v)), math.sin(half) * _unit(np.cross(u, v))
    return carbon + g["c_h_A"] * (back + side), carbon + g["c_h_A"] * (back - side)


def _inner_clearance(trials: np.ndarray) -> np.ndarray:
    """Smallest distance over limit among atoms of one graft four bonds or more apart."""
    steps = np.full((14, 14), 9)
    np.fill_diagonal(steps, 0)
    ties = [*_GRAFT_BONDS, (10, 13), (11, 13), (12, 13)]
    for a, b in ties:
        steps[a, b] = steps[b, a] = 1
    for k in range(14):
        steps = np.minimum(steps, steps[:, k, None] + steps[None, k])
    out = np.full(len(trials), np.inf)
    for a, b in zip(*np.nonzero(np.triu(steps >= 4)), strict=True):
        limit = 0.95 * float(contact_limits(_GRAFT_NUMBERS[a], _GRAFT_NUMBERS[[b]])[0])
        out = np.minimum(out, np.linalg.norm(trials[:, a] - trials[:, b], axis=1) / limit)
    return out


def contact_limits(number: int, others: np.ndarray) -> np.ndarray:
    """Nearest allowed distances (A) of an element to others."""
    near = CONTACTS_A
    if number == 1:
        return np.select([others == 1, others == 3], [near["HH"], near["LiH"]], near["H"])
    if number == 3:
        return np.select([others == 1, others == 8], [near["LiH"], near["LiO"]], near["heavy"])
    lithium = near["LiO"] if number == 8 else near["heavy"]
    return np.select([others == 1, others == 3], [near["H"], lithium], near["heavy"])


def environment(body: Network, added: Added) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and positions of everything there is so far."""
    numbers = np.where(np.arange(len(body.positions)) < body.silicon, 14, 8)
    positions = body.positions.copy()
    for index, place in added.carbons.items():
        numbers[index], positions[index] = 6, place
    if not added.numbers:
        return numbers, positions
    return np.append(numbers, added.numbers), np.vstack([positions, np.array(added.positions)])


def add_hydrogen(body: Network, kind: str, box: np.ndarray, added: Added) -> None:
    """One hydrogen on every silanol oxygen: of the torsions without a clash, those that make the dipole small."""
    g, n_si = constants()["geometry"], body.silicon
    oxygen = [n_si + int(o) for o in terminal(body) if n_si + int(o) not in added.carbons]
    numbers, positions = environment(body, added)
    turns = np.radians(np.arange(0.0, 360.0, 15.0))
    options: list[np.ndarray] = []
    for o in oxygen:
        s = int(body.o_si[o - n_si, 0])
        bridge = next(int(k) for k in body.si_o[s] if k != o)
        at = positions[o]
        si = at + minimum_image(positions[s] - at, box)
        behind = si + minimum_image(positions[bridge] - si, box)
        trials = _attach(behind[None], si[None], at[None], g["o_h_A"], g["si_o_h_deg"], turns)
        others = np.setdiff1d(np.arange(len(numbers)), [o, s])
        limits = np.where(numbers[others] == 8, 1.7, contact_limits(1, numbers[others]))  # a hydrogen bond is no clash
        distances = np.linalg.norm(minimum_image(trials[:, None] - positions[None, others], box), axis=2)
        clearance = (distances / limits).min(axis=1)
        enough = clearance >= min(1.0, clearance.max())
        options.append(trials[enough])
    chosen = np.array([trials[0] for trials in options]).reshape(-1, 3)
    for sweep in range(4):
        dipole = formal_dipole(body, added, oxygen, chosen)[0]
        for k, trials in enumerate(options):
            rest = np.delete(chosen, k, axis=0)
            crowd = np.linalg.norm(minimum_image(trials[:, None] - rest[None], box), axis=2).min(axis=1, initial=9.0)
            total = dipole - chosen[k] + trials
            size = np.abs(total[:, 2]) if kind == "slab" else np.linalg.norm(total, axis=1)
            # The first sweep only keeps hydrogen atoms apart; the others weigh the dipole among what is apart.
            cost = np.where(crowd >= CONTACTS_A["HH"], 0.0, 1e3 * (CONTACTS_A["HH"] - crowd)) + (size if sweep else 0.0)
            best = int(np.argmin(cost))
            dipole = dipole - chosen[k] + trials[best]
            chosen[k] = trials[best]
    for o, place in zip(oxygen, chosen, strict=True):
        added.bonds.append((o, len(body.positions) + len(added.numbers)))
        added.numbers.append(1)
        added.positions.append(place)
        added.labels.append("H_silanol")


def oxidation_states(
    numbers: np.ndarray, bonds: np.ndarray, lithium: Any
) -> tuple[np.ndarray, list[tuple[int, int, float]]]:
    """Oxidation states (e), and the transfers (from, to, electrons) they are sums of.

    Each bond gives one electron per order to its more electronegative end (Pauling's scale: O, S, C, H, Si). The three
    S-O bonds of a sulfonate are alike, of order 5/3, and each of its oxygen atoms has a third of lithium's electron.
    """
    rank = {14: 0, 1: 1, 6: 2, 16: 3, 8: 4}
    transfers = []
    for a, b in bonds:
        za, zb = int(numbers[a]), int(numbers[b])
        if za != zb:
            giver, taker = (a, b) if rank[za] < rank[zb] else (b, a)
            transfers.append((int(giver), int(taker), 5 / 3 if {za, zb} == {16, 8} else 1.0))
    transfers += [(li, o, 1 / 3) for li, oxygen in lithium for o in oxygen]
    charges = np.zeros(len(numbers))
    for giver, taker, electrons in transfers:
        charges[giver] += electrons
        charges[taker] -= electrons
    return np.round(charges, 9) + 0.0, transfers


def formal_dipole(
    body: Network, added: Added, oxygen: list[int], hydrogen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dipole (e A) and charges, with hydrogen (not yet added) at ``hydrogen`` on ``oxygen``."""
    numbers, positions = environment(body, added)
    bonds = network_bonds(body) + added.bonds + [(o, len(numbers) + k) for k, o in enumerate(oxygen)]
    numbers = np.append(numbers, np.ones(len(oxygen), int))
    positions = np.vstack([positions, hydrogen.reshape(-1, 3)])
    charges, transfers = oxidation_states(numbers, np.array(bonds), added.lithium)
    giver, taker = np.array([t[:2] for t in transfers]).T
    arms = minimum_image(positions[giver] - positions[taker], body.box)
    return (np.array([t[2] for t in transfers])[:, None] * arms).sum(axis=0), charges


def network_bonds(body: Network) -> list[tuple[int, int]]:
    """Pairs of bonded atoms of the bare network, silicon first."""
    n_si = body.silicon
    return [(int(s), n_si + o) for o, ends in enumerate(body.o_si) for s in ends if s >= 0]
