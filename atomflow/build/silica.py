"""Amorphous silica: a periodic random network, and slabs and particles of it with silanols and lithium sulfonate grafts.

Nothing is stored: a seed and a density make the network (:mod:`atomflow.build.silica_network`), a cut opens it, and
condensation (2 Si-OH -> Si-O-Si + H2O) or hydrolysis brings the silanols to the density asked for.

A graft is -(CH2)3-SO3Li on a surface silicon that had one hydroxyl group, in the place of that group: a T3 site,
silicon with three bridges and one carbon. This is what a 3-mercaptopropyl trimethoxysilane leaves behind once all its
methoxy groups have condensed, its silicon then being part of the network, and once the thiol is oxidised and
lithiated. A silane perched on top of the network would have the same groups and one geometry of many. Once these sites
are used up, a graft takes one hydroxyl group of a geminal pair: T2, as from a silane with one hydroxyl group left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from atomflow.build.embedding import check_seed
from atomflow.build.silica_grafts import Added, add_grafts, add_hydrogen, environment, formal_dipole, network_bonds
from atomflow.build.silica_network import (
    Network,
    check_lengths,
    constants,
    cut,
    hydroxylated,
    minimum_image,
    random_network,
    sound,
    terminal,
    volume_per_silicon,
    worst_grade,
)
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Resources, Result, record, step

_DENSITIES = (1.9, 2.5)  # g/cm3; beyond, the network with these constants tears or overlaps
_SILICON = (64, 4096)
_SIZES_A = (14.0, 60.0)
_THICKNESSES_A = (8.0, 50.0)
_RADII_A = (6.0, 25.0)
_MOST_SILANOLS = 10.0  # per nm2, before the network itself says no
_GAP_A = 20.0  # vacuum during relaxation
_NETWORK_ATOMS = {14, 8}


@record("atomflow.silica/1")
@dataclass(frozen=True)
class Silica(Result):
    """A model of amorphous silica and what it is.

    Parameters
    ----------
    kind : str
        ``"bulk"``, ``"slab"`` (open along z) or ``"particle"``.
    atoms : ase.Atoms
        With oxidation states as initial charges (e) and ``arrays["site_label"]``.
    bonds : ndarray (n, 2)
        Covalent bonds. Li+ has none: it is held by two sulfonate oxygen atoms.
    charge_e : float
        Sum of the oxidation states.
    dipole_eA : ndarray (3,)
        Of the oxidation states, summed bond by bond, so that it does not depend on periodic images; only the z component
        of a slab, and the vector of a particle, are dipoles in the usual sense.
    area_A2, thickness_A, radius_A, density_g_cm3 : float or None
        True surface: both faces of a slab, the sphere of a particle. Thickness and radius are those of the kept SiO2 at
        the density of the bulk (the Gibbs dividing surface), so that the density is exact.
    silanols, grafts : int
        Groups there are: a graft has taken the place of a silanol.
    silanols_per_nm2, grafts_per_nm2 : float or None
        The same per ``area_A2``.
    requested_silanols_per_nm2, requested_grafts_per_nm2 : float or None
        As asked for. The silanols are those before grafting: grafts and remaining silanols together.
    silicon_sites : dict
        Number of silicon by environment: Qn has n bridges and 4 - n OH; Tn has n bridges and a carbon.
    network_energy_eV : float
        Of the Keating-like potential: strain of the network.
    grade : str
        The lowest among the constants of ``structures/silica.yaml``.
    warnings : tuple of Notice
    """

    kind: str
    atoms: Atoms = field(metadata={"shown": False})
    bonds: np.ndarray = field(metadata={"shown": False})
    formula: str
    charge_e: float
    dipole_eA: np.ndarray
    density_g_cm3: float
    area_A2: float | None
    thickness_A: float | None
    radius_A: float | None
    silanols: int
    grafts: int
    silanols_per_nm2: float | None
    grafts_per_nm2: float | None
    requested_silanols_per_nm2: float | None
    requested_grafts_per_nm2: float | None
    silicon_sites: dict[str, int]
    network_energy_eV: float
    seed: int
    method: str
    grade: str
    warnings: tuple[Notice, ...] = ()


@step(version="1", resources=Resources(estimate_s=30.0))
def amorphous_silica(silicon: int = 216, *, density_g_cm3: float = 2.20, seed: int = 0) -> Silica:
    """Periodic continuous random network of SiO2.

    Parameters
    ----------
    silicon : int
        8 a b c with whole a, b, c of 2 or more: 64, 96, 144, 216, 512, ...; a cube when a = b = c.
    density_g_cm3 : float
        Exact in the result. Vitreous silica has 2.20.
    seed : int
        Same seed, same network on the same machine.

    Raises
    ------
    BadOptionError
        A number of silicon, density or seed that cannot be built; the message gives the nearest that can.

    Examples
    --------
    >>> from atomflow.build.silica import amorphous_silica
    >>> glass = amorphous_silica(64, seed=1)
    >>> glass.formula, glass.silicon_sites, len(glass.bonds)
    ('O128Si64', {'Q4': 64}, 256)
    """
    check_seed(seed)
    _check_range("density_g_cm3", density_g_cm3, _DENSITIES)
    cells = _cells(silicon)
    edge = (8 * volume_per_silicon(density_g_cm3)) ** (1 / 3)
    box = tuple(edge * n for n in cells)
    network = random_network(cells, box, int(seed))
    return _result("bulk", network, Added(), seed=int(seed), density=float(density_g_cm3))


@step(version="1", resources=Resources(estimate_s=30.0))
def silica_slab(
    thickness_A: float = 12.0,
    size_A: float = 20.0,
    *,
    silanols_per_nm2: float | None = None,
    grafts_per_nm2: float = 0.0,
    vacuum_A: float = 15.0,
    seed: int = 0,
) -> Silica:
    """Slab of amorphous silica, periodic in x and y, with silanols and -(CH2)3-SO3Li grafts on both faces.

    Parameters
    ----------
    thickness_A : float
        Of the oxide; met within a few per cent, the result says what it is.
    size_A : float
        Edge of the square cell, exact.
    silanols_per_nm2 : float, optional
        Before grafting, per area of both faces. Default: Zhuravlev's 4.6.
    grafts_per_nm2 : float
        How many of those become -(CH2)3-SO3Li.
    vacuum_A : float
        Empty space between periodic images along z, should a code need a period.
    seed : int
        Of the network, the sites and the conformers.

    Raises
    ------
    BadOptionError
        For what cannot be built; the message says the largest or smallest that can.
    """
    check_seed(seed)
    _check_range("thickness_A", thickness_A, _THICKNESSES_A)
    _check_range("size_A", size_A, _SIZES_A)
    _check_range("vacuum_A", vacuum_A, (1.0, 1000.0))
    silanols, grafts = _densities(silanols_per_nm2, grafts_per_nm2)
    volume = volume_per_silicon(_density())
    edge = (8 * volume) ** (1 / 3)
    across = max(2, round(size_A / edge))
    layer = 8 * across**2 * volume / size_A**2
    layers = max(2, math.ceil(1.15 * thickness_A / layer))
    network = random_network((across, across, layers), (size_A, size_A, layer * layers), int(seed))
    wanted = round(thickness_A * size_A**2 / volume)
    area = 2 * float(size_A) ** 2
    gap = np.array([0.0, 0.0, thickness_A * 1.5 + _GAP_A])
    z, height = network.positions[: network.silicon, 2], network.box[2]
    choices = []
    for start in np.linspace(0, height, 16, endpoint=False):
        place = network.positions[: network.silicon].copy()
        place[:, 2] = (z - start) % height
        choices += [(place, place[:, 2] < w) for w in thickness_A * np.linspace(0.85, 1.3, 19) if w <= height]
    body = _best_cut(network, choices, gap, wanted)
    return _dressed("slab", body, gap, area, silanols, grafts, int(seed), float(vacuum_A))


@step(version="1", resources=Resources(estimate_s=30.0))
def silica_particle(
    radius_A: float = 10.0, *, silanols_per_nm2: float | None = None, grafts_per_nm2: float = 0.0, seed: int = 0
) -> Silica:
    """Sphere of amorphous silica with silanols and -(CH2)3-SO3Li grafts; not periodic.

    Parameters are those of :func:`silica_slab`; the area is that of the sphere. ``radius_A`` is met within a few per cent.

    Raises
    ------
    BadOptionError
        For what cannot be built; the message says the largest or smallest that can.
    """
    check_seed(seed)
    _check_range("radius_A", radius_A, _RADII_A)
    silanols, grafts = _densities(silanols_per_nm2, grafts_per_nm2)
    volume = volume_per_silicon(_density())
    edge = (8 * volume) ** (1 / 3)
    across = max(2, math.ceil(2.14 * radius_A / edge))
    network = random_network((across,) * 3, (across * edge,) * 3, int(seed))
    wanted = max(1, round(4 / 3 * math.pi * radius_A**3 / volume))
    choices = []
    for centre in np.random.default_rng(seed).random((24, 3)) * network.box:
        place = minimum_image(network.positions[: network.silicon] - centre, network.box)
        distance = np.linalg.norm(place, axis=1)
        choices += [(place, distance < r) for r in radius_A * np.linspace(0.9, 1.2, 13) if r <= network.box[0] / 2]
    gap = np.full(3, 2.6 * radius_A + _GAP_A)
    body = _best_cut(network, choices, gap, wanted)
    return _dressed("particle", body, gap, None, silanols, grafts, int(seed), 0.0)


# ---------------------------------------------------------------- what may be asked for


def _density() -> float:
    return float(constants()["surface"]["density_g_cm3"]["value"])


def _check_range(what: str, value: float, limits: tuple[float, float]) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise BadOptionError(f"{what} {value!r} is not a number; give one from {limits[0]:g} to {limits[1]:g}")
    if not limits[0] <= value <= limits[1]:
        raise BadOptionError(f"{what} {value:g} cannot be built; give one from {limits[0]:g} to {limits[1]:g}")


def _densities(silanols: float | None, grafts: float) -> tuple[float, float]:
    if silanols is None:
        silanols = float(constants()["surface"]["silanols_per_nm2"]["value"])
    _check_range("silanols_per_nm2", silanols, (0.0, _MOST_SILANOLS))
    _check_range("grafts_per_nm2", grafts, (0.0, _MOST_SILANOLS))
    if grafts > silanols:
        raise BadOptionError(
            f"grafts_per_nm2 {grafts:g} is more than the {silanols:g} silanols per nm2 they replace; "
            f"the largest possible is {silanols:g}"
        )
    return float(silanols), float(grafts)


def _cells(silicon: int) -> tuple[int, int, int]:
    """The most cubic a, b, c with 8 a b c = silicon."""
    if isinstance(silicon, bool) or not isinstance(silicon, (int, np.integer)):
        raise BadOptionError(f"silicon {silicon!r} is not a whole number; 216 is a cube of 21.4 A")
    _check_range("silicon", silicon, _SILICON)
    found = _factors(int(silicon))
    if found is None:
        near = [n for n in range(_SILICON[0], _SILICON[1] + 1, 8) if _factors(n)]
        near = sorted(sorted(near, key=lambda n: abs(n - silicon))[:2])
        raise BadOptionError(
            f"silicon {silicon} is not 8 a b c with a, b, c of 2 or more and of like size; the nearest are "
            f"{near[0]} and {near[1]}"
        )
    return found


def _factors(silicon: int) -> tuple[int, int, int] | None:
    if silicon % 8:
        return None
    n = silicon // 8
    shapes = [
        (a, b, n // (a * b))
        for a in range(2, n + 1)
        if n % a == 0
        for b in range(a, n // a + 1)
        if n % (a * b) == 0 and b <= n // (a * b) <= 2 * a
    ]
    return min(shapes, key=lambda s: s[2] / s[0]) if shapes else None


# ---------------------------------------------------------------- cut and hydroxylation


def _best_cut(network: Network, choices: list[Any], gap: np.ndarray, wanted: int) -> Network:
    """The cut whose sound part has the wanted number of silicon, and among those the fewest broken bonds."""
    kept = [(place, sound(network, place, inside, gap)) for place, inside in choices]
    counts = np.array([inside.sum() for _, inside in kept])
    off = np.abs(counts - wanted)
    near = np.flatnonzero(off <= max(off.min(), round(0.01 * wanted)))
    bodies = [cut(network, kept[i][0], kept[i][1], gap) for i in near[:12]]
    return min(bodies, key=lambda body: len(body.o_si))


def _dressed(
    kind: str,
    body: Network,
    gap: np.ndarray,
    area: float | None,
    silanols: float,
    grafts: float,
    seed: int,
    vacuum: float,
) -> Silica:
    """Hydroxylate, graft and report a body that was cut out."""
    volume = volume_per_silicon(_density())
    radius = (3 * body.silicon * volume / (4 * math.pi)) ** (1 / 3)
    area = area if area is not None else 4 * math.pi * radius**2
    n_silanols, n_grafts = 2 * round(silanols * area / 200), round(grafts * area / 100)
    body = hydroxylated(body, kind, n_silanols, area)
    check_lengths(body.positions, body.box, body.si_o)
    open_box = np.where(gap > 0, 1e9, body.box)
    added = Added()
    rng = np.random.default_rng(np.random.SeedSequence((seed, 7)))
    add_grafts(body, kind, open_box, n_grafts, area, added, rng)
    add_hydrogen(body, kind, open_box, added)
    return _result(
        kind,
        body,
        added,
        seed=seed,
        density=_density(),
        area=area,
        radius=radius,
        requested=(silanols, grafts),
        vacuum=vacuum,
    )


# ---------------------------------------------------------------- what it is


def _result(
    kind: str,
    body: Network,
    added: Added,
    *,
    seed: int,
    density: float,
    area: float | None = None,
    radius: float | None = None,
    requested: tuple[float | None, float | None] = (None, None),
    vacuum: float = 0.0,
) -> Silica:
    """The atoms and their description."""
    n_si = body.silicon
    numbers, positions = environment(body, added)
    dipole, charges = formal_dipole(body, added, [], np.zeros((0, 3)))
    bonds = np.array(network_bonds(body) + added.bonds, np.int64)
    sites, labels = _sites(body, added)
    atoms = Atoms(numbers, positions)
    atoms.set_array("site_label", np.array(labels))
    atoms.set_initial_charges(charges)
    if kind == "bulk":
        atoms.set_cell(body.box)
        atoms.pbc = True
    elif kind == "slab":
        low, high = positions[:, 2].min(), positions[:, 2].max()
        atoms.set_cell((*body.box[:2], high - low + vacuum))
        atoms.positions[:, 2] -= low - vacuum / 2
        atoms.pbc = (True, True, False)
    else:
        atoms.positions -= positions[:n_si].mean(axis=0)
    atoms.wrap()
    silanols, grafts = sum(label == "H_silanol" for label in labels), len(added.lithium)
    per_nm2 = 100 / area if area else None
    atoms.info.update(charge=0, spin=1, name=f"amorphous silica {kind}")
    return Silica(
        kind=kind,
        formula=atoms.get_chemical_formula(),
        charge_e=float(round(charges.sum(), 6)) + 0.0,
        dipole_eA=dipole,
        density_g_cm3=density,
        area_A2=area,
        thickness_A=2 * n_si * volume_per_silicon(density) / area if kind == "slab" and area else None,
        radius_A=radius if kind == "particle" else None,
        silanols=silanols,
        grafts=grafts,
        silanols_per_nm2=silanols * per_nm2 if per_nm2 else None,
        grafts_per_nm2=grafts * per_nm2 if per_nm2 else None,
        requested_silanols_per_nm2=requested[0],
        requested_grafts_per_nm2=requested[1],
        silicon_sites=sites,
        network_energy_eV=body.energy_eV,
        seed=seed,
        grade=worst_grade(),
        method="bond-switched random network, Tu-Tersoff form (constants graded in structures/silica.yaml)"
        + ("" if kind == "bulk" else "; cut, condensed or hydrolysed to the silanol density; grafts by torsion trials"),
        warnings=_warnings(atoms, bonds, added),
        atoms=atoms,
        bonds=bonds,
    )


def _sites(body: Network, added: Added) -> tuple[dict[str, int], list[str]]:
    """Counts of silicon by environment, and the label of every atom."""
    n_si = body.silicon
    ends = {n_si + int(o) for o in terminal(body)}
    sites: dict[str, int] = {}
    labels = []
    for row in body.si_o:
        grafted = any(int(o) in added.carbons for o in row)
        bridges = 4 - sum(int(o) in ends for o in row)
        name = f"{'T' if grafted else 'Q'}{bridges}"
        sites[name] = sites.get(name, 0) + 1
        labels.append("Si_graft" if grafted else "Si_bulk" if bridges == 4 else "Si_silanol")
    for o in range(n_si, len(body.positions)):
        labels.append("C_graft" if o in added.carbons else "O_silanol" if o in ends else "O_bridge")
    return dict(sorted(sites.items())), labels + added.labels


def _warnings(atoms: Atoms, bonds: np.ndarray, added: Added) -> tuple[Notice, ...]:
    """A notice when atoms three bonds or more apart are nearer than 1.6 A (with hydrogen) or 2.2 A."""
    from ase.neighborlist import neighbor_list

    first, second, distance = neighbor_list("ijd", atoms, 2.2)
    joined = [set() for _ in range(len(atoms))]  # type: list[set[int]]
    for a, b in [*bonds.tolist(), *((li, o) for li, oxygen in added.lithium for o in oxygen)]:
        joined[a].add(b)
        joined[b].add(a)
    close = [
        (d, i, j)
        for i, j, d in zip(first, second, distance, strict=True)
        if i < j
        and j not in joined[i]
        and not joined[i] & joined[j]
        and (d < 1.6 or (1 not in atoms.numbers[[i, j]] and 3 not in atoms.numbers[[i, j]]))
    ]
    if not close:
        return ()
    d, i, j = min(close)
    pair = f"{atoms.symbols[i]}{i} and {atoms.symbols[j]}{j}"
    return (Notice("close-contact", f"{len(close)} close contacts, the nearest {d:.2f} A ({pair}); relax before use"),)
