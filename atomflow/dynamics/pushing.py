"""Removing overlaps from a packed box: soft spheres first, then the force field itself, by LAMMPS.

Soft spheres have no Coulomb force and no singularity, so that atoms lying on each other come apart slowly. They are
made stiff before anything moves by heat: a chain that is pushed downhill and then shaken between stiff spheres does not
find a way through a ring. Then the force field takes over with limited steps, and ends with a minimisation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atomflow.build import pierced_rings
from atomflow.errors import BadOptionError, PushOffError
from atomflow.forcefield import (
    bodies,
    data_text,
    held_of_atom,
    lammps_settings,
    lower_cell,
    neighbours,
    pair_exceptions,
    pair_tables,
)
from atomflow.lammps import run_lammps, scratch_folder
from atomflow.model import System, write_atomically

#: Shortest distance allowed afterwards between atoms more than three bonds apart. Hydrogen bonds begin at about 1.6 A
#: and Al-O at 1.7 A; nothing that is not bonded lies nearer.
NEAREST_A = 1.5
#: A bond longer than its rest length by more than this was torn or caught on something.
MOST_STRETCH_A = 0.4
#: Diameter of a soft sphere in those of the Lennard-Jones minimum, and its limits for types without Lennard-Jones
#: and for very large ones, A.
_SOFT, _SOFT_LIMITS = 0.9, (1.8, 3.2)
#: Heights of the soft spheres in turn, kcal/mol; kT at 300 K is 0.6.
_STIFFNESS = (10.0, 60.0, 300.0)


def push_off(
    system: System,
    *,
    seed: int = 0,
    ranks: int = 1,
    temperature_K: float = 300.0,
    steps: int = 300,
    cutoff_A: float = 9.0,
    folder: str | Path | None = None,
    timeout_s: float | None = None,
) -> System:
    """The system with its molecules moved off each other.

    Parameters
    ----------
    system : System
        Molecules whole, as boxes are packed. Held molecules stay exactly where they are.
    seed : int
        The same seed, system and ``ranks`` give the same positions.
    ranks : int
    temperature_K : float
        Of the short runs between the minimisations.
    steps : int
        Of 1 fs, of the short run with the force field.
    cutoff_A : float
    folder : str or Path, optional
        Keeps LAMMPS' files there.
    timeout_s : float, optional

    Returns
    -------
    System
        Molecules are whole: unwrapped, in the frame they came in.

    Raises
    ------
    PushOffError
        Two atoms more than three bonds apart are still nearer than :data:`NEAREST_A`, a bond is stretched by more
        than :data:`MOST_STRETCH_A`, or it passes through a ring through which it did not pass before.
    LammpsError
        What LAMMPS says.
    """
    for name, value in (("temperature_K", temperature_K), ("cutoff_A", cutoff_A)):
        if not 0 < value < float("inf"):
            raise BadOptionError(f"{name} must be above zero, not {value!r}")
    if steps < 0 or seed < 0:
        raise BadOptionError(f"seed and steps must not be negative, not {seed} and {steps}")
    if len(bodies(system)) == len(system.box.molecules):
        return _proven(system)
    script = _script(system, seed, temperature_K, steps, cutoff_A)
    with scratch_folder(folder, "atomflow-push-") as place:
        write_atomically(place / "push.data", data_text(system))
        run_lammps("\n".join(script) + "\n", place, ranks=ranks, timeout_s=timeout_s, suffix="opt", name="push")
        moved = _read_positions(place / "push.dump", len(system))
    _cell, rotation = lower_cell(system.box.cell_A)
    positions = moved @ rotation.T
    held = np.isin(system.box.molecule_of_atom, bodies(system))
    positions[held] = system.box.positions_A[held]
    return _proven(_unpierced(system, system.moved(positions)))


def _script(system: System, seed: int, temperature_K: float, steps: int, cutoff_A: float) -> list[str]:
    lines = lammps_settings(system, "push.data", cutoff_A=cutoff_A, kspace_accuracy=1e-4)
    epsilons, sigmas = pair_tables(system)
    field = [line for line in lines if line.startswith(("pair_style", "pair_modify", "kspace_style", "special_bonds"))]
    # Another pair style in between has made LAMMPS forget the coefficients of the data file.
    field += [
        f"pair_coeff {i + 1} {i + 1} {float(epsilons[i, i])!r} {float(sigmas[i, i])!r}"
        for i in range(len(system.types))
    ]
    field += pair_exceptions(system)
    held = bool(bodies(system))
    group = "free" if held else "all"
    seeds = [1 + (seed * 7919 + number * 104_729) % 800_000_000 for number in range(3)]
    heat = f"{temperature_K!r} {temperature_K!r}"
    lines += ["comm_modify cutoff 14.0", "thermo 100", "timestep 1.0", "min_style cg", "min_modify dmax 0.1"]
    lines += ["fix still held setforce 0.0 0.0 0.0"] if held else []
    lines += ["kspace_style none", f"pair_style soft {_SOFT_LIMITS[1]!r}", "special_bonds lj/coul 0.0 0.0 0.0"]
    diameters = np.clip(_SOFT * 2 ** (1 / 6) * sigmas, *_SOFT_LIMITS)
    for height in _STIFFNESS:
        lines += _soft_spheres(height, diameters)
        lines.append("minimize 1.0e-5 1.0e-4 200 2000")
    lines += [
        f"velocity {group} create {heat.split()[0]} {seeds[0]}",
        f"fix bath {group} langevin {heat} 50.0 {seeds[1]}",
    ]
    lines += [f"fix move {group} nve/limit 0.05", "run 100", "unfix move", "unfix bath"]
    lines += ["minimize 1.0e-5 1.0e-4 200 2000", *field, "minimize 1.0e-5 1.0e-4 100 1000"]
    if steps:
        lines += [f"velocity {group} create {heat.split()[0]} {seeds[0]}"]
        lines += [f"fix bath {group} langevin {heat} 50.0 {seeds[2]}", f"fix move {group} nve/limit 0.1"]
        lines += [f"run {steps}", "unfix move", "unfix bath", "minimize 1.0e-5 1.0e-4 150 1500"]
    return [*lines, "write_dump all custom push.dump id xu yu zu modify sort id format float %.17g"]


def _soft_spheres(height: float, diameters: NDArray[np.float64]) -> list[str]:
    many = len(diameters)
    return [
        f"pair_coeff {i + 1} {j + 1} {height!r} {float(diameters[i, j])!r}" for i in range(many) for j in range(i, many)
    ]


def _read_positions(path: Path, atoms: int) -> NDArray[np.float64]:
    """Unwrapped positions in the order of the ids."""
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("ITEM: ATOMS")) + 1
    rows = np.array([line.split() for line in lines[start:]], dtype=np.float64).reshape(-1, 4)
    if len(rows) != atoms or not np.isfinite(rows).all():
        raise PushOffError(f"LAMMPS left {len(rows)} of {atoms} atoms, or some without a place, in {path}")
    return rows[:, 1:]


def shortest_contact(system: System, within_A: float = 3.0) -> tuple[float, int, int]:
    """The nearest two atoms more than three bonds apart, over periodic images; infinite when none is ``within_A``.

    Returns
    -------
    distance_A : float
    i, j : int
        Atoms, -1 when there are none. Pairs inside a held molecule do not count.
    """
    from ase import Atoms
    from MDAnalysis.lib.distances import self_capped_distance

    cell, rotation = lower_cell(system.box.cell_A)
    positions = system.box.positions_A @ rotation
    # Single precision wants small numbers: wrap first.
    positions = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    cellpar = Atoms(cell=cell).cell.cellpar().astype(np.float32)
    pairs, distances = self_capped_distance(positions.astype(np.float32), within_A, box=cellpar)
    near = neighbours(system)
    known = np.concatenate((near.excluded, near.one_four))
    held = held_of_atom(system)
    pairs = np.sort(pairs, axis=1)
    number = pairs[:, 0].astype(np.int64) * len(system) + pairs[:, 1]
    seen = ~np.isin(number, known[:, 0] * len(system) + known[:, 1])
    seen &= (held[pairs[:, 0]] < 0) | (held[pairs[:, 0]] != held[pairs[:, 1]])
    if not seen.any():
        return float("inf"), -1, -1
    best = int(np.argmin(np.where(seen, distances, np.inf)))
    return float(distances[best]), int(pairs[best, 0]), int(pairs[best, 1])


def _proven(system: System) -> System:
    """The system, once it is sure that nothing overlaps and no bond is torn."""
    distance, i, j = shortest_contact(system)
    if distance < NEAREST_A:
        raise PushOffError(
            f"{system.box.name}: {_told(system, i)} and {_told(system, j)} are still {distance:.2f} A apart after the "
            "push-off; pack the box more loosely or with another seed",
            distance,
        )
    if len(system.bonds):
        ends = system.box.positions_A[system.bonds.atoms]
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        rest = np.array([term.r0_A for term in system.bonds.terms])[system.bonds.term]
        worst = int(np.argmax(lengths - rest))
        if lengths[worst] - rest[worst] > MOST_STRETCH_A:
            i, j = system.bonds.atoms[worst].tolist()
            raise PushOffError(
                f"{system.box.name}: the bond of {_told(system, i)} and {_told(system, j)} is {lengths[worst]:.2f} A "
                f"long instead of {rest[worst]:.2f} A after the push-off; it is caught on another molecule: pack with "
                "another seed",
                distance,
            )
    return system


def _unpierced(before: System, after: System) -> System:
    """The system after, once no bond passes through a ring that it did not pass through before."""
    old, new = (set(pierced_rings(s.box.bonds, s.box.positions_A, s.box.cell_A)) for s in (before, after))
    for knot in new - old:
        raise PushOffError(
            f"{after.box.name}: the push-off drew the bond of {_told(after, knot.bond[0])} and "
            f"{_told(after, knot.bond[1])} through a ring at {_told(after, knot.ring[0])}; pack with another seed"
        )
    return after


def _told(system: System, atom: int) -> str:
    """An atom in a user's words: type, number from 1, molecule."""
    molecule = int(system.box.molecule_of_atom[atom])
    kind = system.box.kinds[system.box.molecules[molecule]].name
    return f"atom {atom + 1} ({system.types[system.type_of_atom[atom]].name} of {kind} {molecule + 1})"
