"""Energies of reactions between assemblies of molecules, every species treated alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from atomflow.build import donor_atoms
from atomflow.calculators import build_calculator, refusal
from atomflow.energetics.ladder import Ladder, method_label
from atomflow.energetics.minima import MinimaSearch, Minimum, TaskRunner, find_minima
from atomflow.energetics.placement import assemble
from atomflow.energetics.relax import single_point
from atomflow.errors import BadOptionError, SCFError, UnsupportedSystemError
from atomflow.model import Molecule, Notice

Assembly = tuple[Molecule, ...]


@dataclass(frozen=True)
class SearchSettings:
    """How hard to look for minima; the same for every species of a reaction.

    ``starts`` is for assemblies; a single molecule has at most ``starts`` conformers tried.
    """

    starts: int = 4
    keep: int = 1
    seed: int = 0


@dataclass(frozen=True)
class ReactionEnergy:
    """Reactants -> products: energy and what it is made of (eV)."""

    energy_eV: float
    zero_point_eV: float | None
    enthalpy_eV: float | None
    gibbs_eV: float | None
    temperature_K: float | None
    reactants: tuple[MinimaSearch, ...]
    products: tuple[MinimaSearch, ...]
    ladder: Ladder
    notices: tuple[Notice, ...]


def reaction_energy(
    reactants: Sequence[Assembly],
    products: Sequence[Assembly],
    ladder: Ladder,
    settings: SearchSettings,
    run: TaskRunner,
) -> ReactionEnergy:
    """Energy of a reaction, eV, from the lowest minimum of every species.

    When an SCF fails for good, the *whole* reaction is repeated with the calculator's fallback settings: temperatures
    or methods are never mixed within one reaction.

    Raises
    ------
    UnsupportedSystemError
        When the calculator must not be used for one of the species.
    SCFError, RelaxationError
        When all fallbacks are used up.
    """
    # The largest first: what takes longest should not start last.
    species = sorted(dict.fromkeys([*reactants, *products]), key=lambda s: -sum(len(part) for part in s))
    _check_balance(reactants, products)
    _check_support(species, ladder)
    attempts = [(ladder, ""), *ladder.fallbacks()]
    for number, (rung, warning) in enumerate(attempts):
        try:
            found = {
                s: find_minima(s, rung, starts=settings.starts, keep=settings.keep, seed=settings.seed, run=run)
                for s in species
            }
        except SCFError:
            if number + 1 == len(attempts):
                raise
            continue
        notices = [Notice("fallback-settings", warning)] if warning else []
        notices += [n for search in found.values() for n in search.notices]
        return _sum_up([found[s] for s in reactants], [found[s] for s in products], rung, notices)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _sum_up(
    reactants: list[MinimaSearch], products: list[MinimaSearch], ladder: Ladder, notices: list[Notice]
) -> ReactionEnergy:
    def difference(term: str | None) -> float | None:
        total = 0.0
        for sign, searches in ((1.0, products), (-1.0, reactants)):
            for search in searches:
                best = search.best
                if term is None:
                    total += sign * best.energy_eV
                elif best.vibrations is not None:
                    total += sign * getattr(best.vibrations, term)
                else:
                    return None
        return total

    electronic = difference(None)
    assert electronic is not None
    zero, enthalpy, gibbs = (difference(t) for t in ("zero_point_eV", "enthalpy_eV", "gibbs_eV"))
    temperature = next((m.best.vibrations.temperature_K for m in reactants + products if m.best.vibrations), None)
    return ReactionEnergy(
        electronic,
        zero,
        None if enthalpy is None else electronic + enthalpy,
        None if gibbs is None else electronic + gibbs,
        temperature,
        tuple(reactants),
        tuple(products),
        ladder,
        tuple(dict.fromkeys(notices)),
    )


def _check_balance(reactants: Sequence[Assembly], products: Sequence[Assembly]) -> None:
    def composition(side: Sequence[Assembly]) -> tuple[list[int], int]:
        numbers = sorted(int(z) for assembly in side for part in assembly for z in part.atoms.numbers)
        return numbers, sum(part.charge for assembly in side for part in assembly)

    if composition(reactants) != composition(products):
        raise BadOptionError("the two sides of the reaction differ in atoms or charge")


def _check_support(species: Sequence[Assembly], ladder: Ladder) -> None:
    for spec, purpose in ((ladder.energy, "difference"), (ladder.geometry, "geometry"), (ladder.screen, "geometry")):
        if spec is None:
            continue
        calc = build_calculator(spec)
        for assembly in dict.fromkeys(species):
            atoms = assemble([part.atoms for part in assembly], assembly)
            if reason := refusal(calc, atoms, purpose):
                raise UnsupportedSystemError(spec.name, reason, "--calculator dft")


def counterpoise(minimum: Minimum, parts: Assembly, ladder: Ladder, run: TaskRunner) -> float:
    """Basis-set superposition error of an assembly, eV, positive.

    Boys-Bernardi: each part is computed at the geometry it has in the complex, once with its own basis functions and
    once with everybody's (doi:10.1080/00268977000101561, known to us through textbooks).

    Raises
    ------
    BadOptionError
        When the calculator cannot leave out nuclei but keep their basis functions.
    """
    if not getattr(build_calculator(ladder.energy), "supports_ghosts", False):
        raise BadOptionError(
            f"{method_label(ladder.energy)} has no basis set to correct: leave out --counterpoise or use --calculator dft"
        )
    alone = [_part_atoms(minimum.atoms, parts, i, ghosts=False) for i in range(len(parts))]
    dressed = [_part_atoms(minimum.atoms, parts, i, ghosts=True) for i in range(len(parts))]
    energies = run(single_point, [(atoms, ladder.energy) for atoms in alone + dressed])
    return float(sum(energies[: len(parts)]) - sum(energies[len(parts) :]))


def deformation_energy(
    minimum: Minimum, parts: Assembly, alone: Sequence[Minimum], ladder: Ladder, run: TaskRunner
) -> float:
    """What it costs, eV, to bring each part from its own minimum into the shape it has in the assembly.

    By the geometry calculator: the minima are minima of that calculator, so the energy cannot come out negative by
    a mismatch of methods.
    """
    shapes = [
        (_part_atoms(minimum.atoms, parts, i, ghosts=False), ladder.geometry)
        for i in range(len(parts))
        if len(parts[i]) > 1
    ]
    relaxed = [m.geometry_energy_eV for m, part in zip(alone, parts, strict=True) if len(part) > 1]
    return float(sum(run(single_point, shapes)) - sum(relaxed))


def _part_atoms(atoms: Atoms, parts: Assembly, index: int, *, ghosts: bool) -> Atoms:
    inside = atoms.arrays["part"] == index
    chosen = (
        Atoms(atoms.numbers, atoms.get_positions())
        if ghosts
        else Atoms(atoms.numbers[inside], atoms.get_positions()[inside])
    )
    if ghosts:
        chosen.set_array("ghost", ~inside)
    chosen.info.update(charge=parts[index].charge, spin=parts[index].multiplicity, name=parts[index].name)
    return chosen


def contacts(atoms: Atoms, parts: Assembly) -> list[tuple[str, float, str]]:
    """Bonds between the single-atom cation of an assembly and the donor atoms of the other parts.

    Returns
    -------
    list of (label, distance_A, part name)
        Such as ``("Li-O", 1.69, "DMF")``, nearest first, within 1.25 times the summed covalent radii. Empty without a
        single-atom part.
    """
    single = [i for i, part in enumerate(parts) if len(part) == 1]
    if not single:
        return []
    centre = int(np.flatnonzero(atoms.arrays["part"] == single[0])[0])
    rows, offset = [], 0
    for part in parts:
        donors = donor_atoms(part) if len(part) > 1 else {}
        for index in (offset + donor for donor in donors):
            distance = float(np.linalg.norm(atoms.positions[index] - atoms.positions[centre]))
            if distance < 1.25 * (covalent_radii[atoms.numbers[centre]] + covalent_radii[atoms.numbers[index]]):
                rows.append((f"{atoms.symbols[centre]}-{atoms.symbols[index]}", distance, part.name))
        offset += len(part)
    return sorted(rows, key=lambda row: row[1])
