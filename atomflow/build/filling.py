"""Which species sits on which site: the one question behind ordering a crystal, ending a slab and rounding a particle.

:class:`Sites` are places, what may fill each, and how many of each species there must be. :func:`fill` looks for the
fillings of lowest electrostatic energy by replica exchange: some two dozen copies at temperatures from far above to far
below the energy of a misplaced ion, which trade places, so that none stays jammed. Formal charges on ideal sites know
nothing of relaxation or of covalent bonds, so several distinct fillings are returned, never only the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from atomflow.build._kernels import exchange_replicas, quench
from atomflow.build.electrostatics import coulomb_matrix
from atomflow.errors import BadOptionError, BadStructureError
from atomflow.model import Resources, record, step

#: Penalty of two ions on sites that exclude each other, eV. Soft, because a hard exclusion jams.
PENALTY_EV = 8.0
#: Coldest replica, eV, and the ratio of neighbouring temperatures.
COLDEST_EV = 0.06
TEMPERATURE_RATIO = 1.2
#: Half of the exchanges are tried between sites nearer than this, A: a hop in a garnet is 1.6-2.5 A (4 A: half the hits).
NEAR_A = 2.7
#: After the search every minimum is quenched once more with the penalty on its dipole multiplied by this.
_FINAL_WEIGHT = 30.0


@record("atomflow.sites/1")
@dataclass(frozen=True)
class Sites:
    """Places and what may fill them.

    Attributes
    ----------
    lattice_A : array (3, 3)
        Of a slab, with its vacuum; of a particle, anything.
    periodic : tuple of three bools
    positions_A : array (n, 3)
    kinds : tuple of str
        Element symbols; the first is ``""``, the vacancy.
    charges_e : array (k,)
    allowed : bool array (n, k)
    counts : tuple of int
        How many sites each kind fills; they sum to n.
    apart : tuple of (tuple of str, float)
        Elements that keep this distance (A) from each other.
    labels, wyckoff : tuple of str
        Of the sites, as in the parent crystal.
    dipole_weight_eV : tuple of three floats
        Cost of a dipole along each axis, eV/(e A)^2: on top of the electrostatic energy, to find unpolar models.
    """

    lattice_A: np.ndarray
    periodic: tuple[bool, bool, bool]
    positions_A: np.ndarray
    kinds: tuple[str, ...]
    charges_e: np.ndarray
    allowed: np.ndarray
    counts: tuple[int, ...]
    apart: tuple[tuple[tuple[str, ...], float], ...]
    labels: tuple[str, ...]
    wyckoff: tuple[str, ...]
    dipole_weight_eV: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __len__(self) -> int:
        """Number of sites."""
        return len(self.positions_A)

    def electrostatics(self) -> np.ndarray:
        """Matrix of the electrostatic energy, eV/e^2."""
        return coulomb_matrix(self.lattice_A, self.periodic, self.positions_A)

    def energy_eV(self, state: np.ndarray, matrix: np.ndarray | None = None) -> float:
        """Electrostatic energy of a filling, without penalties."""
        charges = self.charges_e[state]
        return float(charges @ (self.electrostatics() if matrix is None else matrix) @ charges)

    def dipole_eA(self, state: np.ndarray) -> np.ndarray:
        """Sum of charge times position, three components; meaningful along the directions that are not periodic."""
        charges = self.charges_e[state]
        filled = self.positions_A - self.positions_A.mean(axis=0)
        return np.asarray(charges @ filled)

    def crowded(self) -> np.ndarray:
        """Penalty matrix, eV."""
        penalty = np.zeros((len(self), len(self)))
        for elements, within in self.apart:
            may = np.asarray(self.allowed[:, [kind in elements for kind in self.kinds]].any(axis=1))
            pairs = _pairs(self.lattice_A, self.periodic, self.positions_A, within)
            pairs = pairs[may[pairs].all(axis=1)]
            penalty[pairs[:, 0], pairs[:, 1]] = penalty[pairs[:, 1], pairs[:, 0]] = PENALTY_EV
        return penalty

    def too_near(self, state: np.ndarray) -> int:
        """Pairs of ions that do not keep their distance."""
        keeps = self._keeping_apart()[state]
        return round(0.5 * float(keeps @ (self.crowded() > 0) @ keeps))

    def _keeping_apart(self) -> np.ndarray:
        members = {element for elements, _ in self.apart for element in elements}
        return np.array([float(kind in members) for kind in self.kinds])

    def random_state(self, rng: np.random.Generator) -> np.ndarray:
        """A random filling with the right counts; the most restricted kinds choose first, vacancies take what is left.

        Raises
        ------
        BadStructureError
            When the counts do not fit the sites.
        """
        state = np.full(len(self), -1)
        order = sorted(range(1, len(self.kinds)), key=lambda k: (int(self.allowed[:, k].sum()), k))
        for place, kind in enumerate([*order, 0]):
            free = (state < 0) & self.allowed[:, kind]
            later = [*order[place + 1 :], 0] if kind else []
            # Sites that nothing after this kind could fill come first.
            forced = np.flatnonzero(free & ~self.allowed[:, later].any(axis=1))
            rest = np.setdiff1d(np.flatnonzero(free), forced)
            wanted = self.counts[kind] - len(forced)
            if wanted < 0 or wanted > len(rest):
                name = self.kinds[kind] or "vacancies"
                raise BadStructureError(f"{self.counts[kind]} {name} do not fit the {free.sum()} sites open to them")
            state[forced] = kind
            state[rng.choice(rest, wanted, replace=False)] = kind
        return state


@record("atomflow.fillings/1")
@dataclass(frozen=True)
class Fillings:
    """What one search found, lowest first.

    Attributes
    ----------
    states : int array (m, n)
        Index into ``kinds`` for every site.
    energies_eV : array (m,)
        Electrostatic, without penalties.
    seed : int
    """

    states: np.ndarray
    energies_eV: np.ndarray
    seed: int

    def only(self, chosen: np.ndarray) -> Fillings:
        """Those that a truth value for each picks out."""
        return Fillings(self.states[chosen], self.energies_eV[chosen], self.seed)


def _needs(sites: Sites, **_: object) -> Resources:
    return Resources(cores=1, memory_GB=1.0, estimate_s=2.0 + len(sites) ** 2 / 2e4)


@step(version="1", resources=_needs)
def fill(sites: Sites, seed: int, sweeps: int = 6000, keep: int = 20, hottest_eV: float = 4.0) -> Fillings:
    """Search for the fillings of lowest energy, once, from one random start.

    Parameters
    ----------
    sites : Sites
    seed : int
    sweeps : int
        The budget: every replica makes this many attempts for each site with a choice.
    keep : int
        Distinct minima kept.
    hottest_eV : float
        Temperature of the hottest replica; 4 eV gives 24 of them. It must move the ions of highest charge.

    Returns
    -------
    Fillings
        Those in which ions keep their distance; when none does, the lowest all the same.

    Raises
    ------
    BadStructureError
        When the counts do not fit the sites.
    BadOptionError
        For a seed below zero, or a budget of nothing.

    Notes
    -----
    Replica exchange: doi 10.1143/JPSJ.65.1604. Minima of equal energy (within 1e-5 eV) count as one: images of each
    other by symmetry have the same energy.
    """
    if seed < 0 or sweeps < 1 or keep < 1 or not hottest_eV > COLDEST_EV:
        raise BadOptionError(
            f"seed must be 0 or more, sweeps and keep 1 or more, the hottest replica above {COLDEST_EV} eV"
        )
    rng = np.random.default_rng(seed)
    start = sites.random_state(rng)
    matrix, penalty = sites.electrostatics(), sites.crowded()
    centred = sites.positions_A - sites.positions_A.mean(axis=0)
    weight = np.asarray(sites.dipole_weight_eV)
    biased = matrix + (centred * weight) @ centred.T
    active = np.flatnonzero(sites.allowed.sum(axis=1) > 1)
    if not len(active):
        return Fillings(start[None, :], np.array([sites.energy_eV(start, matrix)]), seed)
    near, count = _neighbour_table(sites, active)
    replicas = 1 + round(np.log(hottest_eV / COLDEST_EV) / np.log(TEMPERATURE_RATIO))
    energies, states = exchange_replicas(
        np.ascontiguousarray(biased),
        penalty,
        np.asarray(sites.charges_e, dtype=float),
        sites._keeping_apart(),
        sites.allowed,
        active,
        near,
        count,
        start,
        np.geomspace(COLDEST_EV, hottest_eV, replicas),
        sweeps,
        max(1, min(20, sweeps // 10)),
        keep,
        rng,
    )
    states = states[np.isfinite(energies)]
    if weight.any():
        # A strong penalty from the start would forbid all moves but those that keep the dipole; now it may be strong.
        strong = np.ascontiguousarray(matrix + (centred * _FINAL_WEIGHT * weight) @ centred.T)
        unpolar = [_quenched(sites, strong, penalty, active, state) for state in states]
        states = np.unique(np.concatenate([states, unpolar]), axis=0)
    energies = np.array([sites.energy_eV(state, matrix) for state in states])
    order = np.argsort(energies, kind="stable")
    states, energies = states[order], energies[order]
    apart = np.array([sites.too_near(state) == 0 for state in states])
    chosen = apart if apart.any() else np.arange(len(states)) == 0
    return Fillings(states[chosen], energies[chosen], seed)


def _quenched(
    sites: Sites, matrix: np.ndarray, penalty: np.ndarray, active: np.ndarray, state: np.ndarray
) -> np.ndarray:
    charges, keeps = np.asarray(sites.charges_e, dtype=float), sites._keeping_apart()
    ended = state.copy()
    phi, psi = 2.0 * matrix @ charges[ended], penalty @ keeps[ended]
    quench(matrix, penalty, charges, keeps, sites.allowed, active, ended, phi, psi, 0.0)
    return ended


def _neighbour_table(sites: Sites, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = _pairs(sites.lattice_A, sites.periodic, sites.positions_A, NEAR_A)
    chosen = np.zeros(len(sites), dtype=bool)
    chosen[active] = True
    pairs = pairs[chosen[pairs].all(axis=1)]
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    count = np.bincount(pairs[:, 0], minlength=len(sites))
    table = np.zeros((len(sites), max(1, int(count.max(initial=0)))), dtype=np.int64)
    table[pairs[:, 0], np.arange(len(pairs)) - (np.cumsum(count) - count)[pairs[:, 0]]] = pairs[:, 1]
    return table, count


def _pairs(
    lattice_A: np.ndarray, periodic: tuple[bool, bool, bool], positions_A: np.ndarray, within_A: float
) -> np.ndarray:
    """Pairs of different sites (m, 2), i < j, of which some images are nearer than ``within_A``."""
    if not any(periodic):
        return cKDTree(positions_A).query_pairs(within_A, output_type="ndarray").astype(int).reshape(-1, 2)
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    atoms = Atoms(numbers=np.ones(len(positions_A), int), positions=positions_A, cell=lattice_A, pbc=periodic)
    i, j = neighbor_list("ij", atoms, within_A)
    kept = i < j
    return np.unique(np.column_stack([i[kept], j[kept]]), axis=0).reshape(-1, 2)
