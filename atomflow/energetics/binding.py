"""Binding and dissociation energies: the public results of this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from atomflow.energetics.ladder import Ladder, method_label
from atomflow.energetics.minima import MinimaSearch, Minimum, TaskRunner, run_serially
from atomflow.energetics.reactions import (
    Assembly,
    ReactionEnergy,
    SearchSettings,
    contacts,
    counterpoise,
    deformation_energy,
    reaction_energy,
)
from atomflow.energetics.relax import relax, single_point
from atomflow.errors import RelaxationError
from atomflow.model import Molecule, Notice, Result, record

#: All free energies and enthalpies: ideal gas, rigid rotor and harmonic oscillators, 1 bar.
STANDARD_STATE = "ideal gas, rigid rotor and harmonic oscillators, 1 bar"


@record("atomflow.binding/1")
@dataclass(frozen=True)
class BindingEnergy(Result):
    """Energy of ``ion + ligands -> complex``; negative when they bind.

    Attributes
    ----------
    ion, ligands : str, tuple of str
    binding_energy_eV : float
        E(complex) - E(ion) - sum of E(ligand), all relaxed, no counterpoise correction.
    uncertainty_eV : float
        What this calculation can know of its own error: the spread of the starts that found the minimum and, when it
        was computed, the whole basis-set superposition error, added in quadrature. The error of the method itself is
        not in it.
    counterpoise_eV : float or None
        The binding energy with the counterpoise correction.
    deformation_eV : float
        What it costs to bring the ligands into the shape they have in the complex, by the geometry calculator.
    zero_point_eV, enthalpy_eV, gibbs_eV : float or None
        Change of the zero-point energy; enthalpy and free energy of binding at ``temperature_K``.
    distances_A : dict
        Shortest distance of each kind of contact, e.g. ``{"Li-O": 1.69}``; with several ligands the ligand is named.
    coordination : dict
        Number of donor atoms each ligand gives.
    true_minimum : bool or None
        Whether all vibrations of the complex are real; None when they were not computed.
    """

    ion: str
    ligands: tuple[str, ...]
    binding_energy_eV: float
    uncertainty_eV: float
    counterpoise_eV: float | None
    deformation_eV: float
    zero_point_eV: float | None
    enthalpy_eV: float | None
    gibbs_eV: float | None
    temperature_K: float | None
    standard_state: str
    method: str
    starts: int
    hit_rate: float
    distinct_minima: int
    distances_A: dict[str, float]
    coordination: dict[str, int]
    true_minimum: bool | None
    seed: int
    structure: str | None = None
    warnings: tuple[Notice, ...] = ()
    minima: tuple[Minimum, ...] = field(default=(), repr=False, metadata={"shown": False})


@record("atomflow.dissociation/1")
@dataclass(frozen=True)
class DissociationEnergy(Result):
    """Energy of ``complex -> products``; positive when the complex is bound.

    The fields mean what they mean in :class:`BindingEnergy`; ``beside`` names a neighbour (a polymer fragment) that
    keeps the cation, so that the reaction is ``salt + neighbour -> cation with neighbour + anion``.
    """

    complex: str
    products: tuple[str, ...]
    dissociation_energy_eV: float
    uncertainty_eV: float
    counterpoise_eV: float | None
    zero_point_eV: float | None
    enthalpy_eV: float | None
    gibbs_eV: float | None
    temperature_K: float | None
    standard_state: str
    method: str
    starts: int
    hit_rate: float
    distinct_minima: int
    distances_A: dict[str, float]
    coordination: dict[str, int]
    true_minimum: bool | None
    seed: int
    beside: str | None = None
    structure: str | None = None
    warnings: tuple[Notice, ...] = ()
    minima: tuple[Minimum, ...] = field(default=(), repr=False, metadata={"shown": False})
    product_minima: tuple[Minimum, ...] = field(default=(), repr=False, metadata={"shown": False})


def binding_energy(
    ion: Molecule,
    ligands: Sequence[Molecule],
    ladder: Ladder,
    *,
    starts: int = 4,
    keep: int = 1,
    seed: int = 0,
    with_counterpoise: bool = False,
    run: TaskRunner = run_serially,
) -> BindingEnergy:
    """Binding energy of an ion (or any molecule) to one or more ligands.

    Parameters
    ----------
    ion : Molecule
    ligands : sequence of Molecule
    ladder : Ladder
        Which calculators screen, relax and give the energy; see :func:`atomflow.energetics.ladder.ladder`.
    starts, keep, seed : int
        Random starting geometries, how many distinct minima are refined, and the seed.
    with_counterpoise : bool
    run : callable
        Carries out a batch of independent tasks; the default is a plain loop.

    Raises
    ------
    UnsupportedSystemError
        xTB and a bare dication, for example.
    SCFError, RelaxationError

    Examples
    --------
    >>> from atomflow.build import molecule
    >>> result = binding_energy(molecule("Li+"), [molecule("DMF")], ladder("xtb"))  # doctest: +SKIP
    """
    parts: Assembly = (ion, *ligands)
    reaction = reaction_energy([(part,) for part in parts], [parts], ladder, SearchSettings(starts, keep, seed), run)
    search = reaction.products[0]
    alone = [s.best for s in reaction.reactants]
    bsse = counterpoise(search.best, parts, reaction.ladder, run) if with_counterpoise else None
    energy = reaction.energy_eV
    distances, coordination = _describe_contacts(search, parts)
    return BindingEnergy(
        ion=ion.name,
        ligands=tuple(ligand.name for ligand in ligands),
        binding_energy_eV=energy,
        uncertainty_eV=_uncertainty(reaction, bsse),
        counterpoise_eV=None if bsse is None else energy + bsse,
        deformation_eV=deformation_energy(search.best, parts, alone, reaction.ladder, run),
        zero_point_eV=reaction.zero_point_eV,
        enthalpy_eV=reaction.enthalpy_eV,
        gibbs_eV=reaction.gibbs_eV,
        temperature_K=reaction.temperature_K,
        standard_state=STANDARD_STATE if reaction.temperature_K else "none: electronic energies",
        method=reaction.ladder.suited_to(parts).method,
        starts=search.best.starts,
        hit_rate=search.best.hit_rate,
        distinct_minima=len(search.minima),
        distances_A=distances,
        coordination=coordination,
        true_minimum=None if search.best.vibrations is None else search.best.vibrations.is_minimum,
        seed=seed,
        warnings=(*reaction.notices, *_notices(reaction.ladder, search.best, parts)),
        minima=search.minima,
    )


def dissociation_energy(
    reactants: Sequence[Assembly],
    products: Sequence[Assembly],
    ladder: Ladder,
    *,
    starts: int = 20,
    keep: int = 2,
    seed: int = 0,
    with_counterpoise: bool = False,
    beside: str | None = None,
    run: TaskRunner = run_serially,
) -> DissociationEnergy:
    """Energy to take an assembly apart.

    Parameters
    ----------
    reactants : sequence of tuples of Molecule
        Usually one assembly, for example ``[(li, tfsi)]`` or ``[(li, tfsi, fragment)]``.
    products : sequence of tuples of Molecule
        For example ``[(li,), (tfsi,)]`` or ``[(li, fragment), (tfsi,)]``.
    with_counterpoise : bool
        Corrects the basis-set superposition error of every assembly, on both sides.

    Other parameters, errors: see :func:`binding_energy`.
    """
    reaction = reaction_energy(reactants, products, ladder, SearchSettings(starts, keep, seed), run)
    search = reaction.reactants[0]
    bsse = None
    if with_counterpoise:
        bsse = 0.0
        for sign, assemblies, searches in ((1.0, reactants, reaction.reactants), (-1.0, products, reaction.products)):
            for assembly, found in zip(assemblies, searches, strict=True):
                if len(assembly) > 1:
                    bsse += sign * counterpoise(found.best, assembly, reaction.ladder, run)
    distances, coordination = _describe_contacts(search, reactants[0])
    return DissociationEnergy(
        complex=" + ".join(part.name for part in reactants[0]),
        products=tuple(" + ".join(part.name for part in assembly) for assembly in products),
        dissociation_energy_eV=reaction.energy_eV,
        uncertainty_eV=_uncertainty(reaction, bsse),
        # The complex is held together too strongly by its BSSE, so the correction lowers the dissociation energy.
        counterpoise_eV=None if bsse is None else reaction.energy_eV - bsse,
        zero_point_eV=reaction.zero_point_eV,
        enthalpy_eV=reaction.enthalpy_eV,
        gibbs_eV=reaction.gibbs_eV,
        temperature_K=reaction.temperature_K,
        standard_state=STANDARD_STATE if reaction.temperature_K else "none: electronic energies",
        method=reaction.ladder.suited_to(reactants[0]).method,
        starts=search.best.starts,
        hit_rate=search.best.hit_rate,
        distinct_minima=len(search.minima),
        distances_A=distances,
        coordination=coordination,
        true_minimum=None if search.best.vibrations is None else search.best.vibrations.is_minimum,
        seed=seed,
        beside=beside,
        warnings=(*reaction.notices, *_notices(reaction.ladder, search.best, reactants[0])),
        minima=search.minima,
        product_minima=tuple(found.best for found in reaction.products),
    )


def between_the_same_minima(
    known: DissociationEnergy, ladder: Ladder, *, relax_again: bool = False, run: TaskRunner = run_serially
) -> DissociationEnergy:
    """A dissociation energy by another method, between the lowest minima that were found before.

    Parameters
    ----------
    known : DissociationEnergy
    ladder : Ladder
        Its energy calculator gives the energies.
    relax_again : bool
        Its geometry calculator relaxes the minima first; where they are is not searched again.

    Raises
    ------
    RelaxationError, SCFError
    """
    minima = [known.minima[0], *known.product_minima]
    geometries = [minimum.atoms for minimum in minima]
    if relax_again:
        tolerance = ladder.force_tolerance_eV_per_A
        relaxed = run(relax, [(atoms, ladder.geometry, tolerance) for atoms in geometries])
        for each in relaxed:
            if each.failure:
                raise RelaxationError(each.failure)
        geometries = [each.atoms for each in relaxed]
    energies = run(single_point, [(atoms, ladder.energy) for atoms in geometries])
    found = [
        replace(minimum, atoms=atoms, energy_eV=energy)
        for minimum, atoms, energy in zip(minima, geometries, energies, strict=True)
    ]
    return replace(
        known,
        dissociation_energy_eV=sum(energies[1:]) - energies[0],
        counterpoise_eV=None,
        zero_point_eV=None,
        enthalpy_eV=None,
        gibbs_eV=None,
        temperature_K=None,
        standard_state="none: electronic energies",
        method=ladder.method,
        distinct_minima=1,
        true_minimum=None,
        minima=(found[0],),
        product_minima=tuple(found[1:]),
    )


def _uncertainty(reaction: ReactionEnergy, bsse_eV: float | None) -> float:
    spreads = [s.best.spread_eV for s in (*reaction.reactants, *reaction.products)]
    return float(np.sqrt(sum(x**2 for x in spreads) + (bsse_eV or 0.0) ** 2))


def _describe_contacts(search: MinimaSearch, parts: Assembly) -> tuple[dict[str, float], dict[str, int]]:
    distances: dict[str, float] = {}
    coordination: dict[str, int] = {part.name: 0 for part in parts if len(part) > 1}
    several = len(coordination) > 1
    for label, distance, owner in contacts(search.best.atoms, parts):
        key = f"{label}({owner})" if several else label
        distances.setdefault(key, round(distance, 4))
        coordination[owner] = coordination.get(owner, 0) + 1
    return distances, coordination


def _notices(ladder: Ladder, best: Minimum, parts: Assembly) -> list[Notice]:
    """Warnings about a complex that the calculators themselves cannot give."""
    rows = []
    highly_charged = [part.name for part in parts if len(part) == 1 and part.charge >= 2]
    if highly_charged and ladder.screen is not None and ladder.screen.name == "xtb":
        rows.append(
            Notice(
                "screened-dication",
                f"geometries with {highly_charged[0]} were screened with {method_label(ladder.suited_to(parts).first)} at fixed composition; no xTB energy enters the result",
            )
        )
    charged = " and ".join(part.name for part in parts if part.charge)
    if charged and ladder.energy.instance is not None:
        rows.append(
            Notice(
                "charge-not-passed",
                f"{ladder.energy.name}: atomflow leaves the charge of {charged} to a calculator object that was handed "
                'over; unless it reads atoms.info["charge"] or needs no charge, the result is wrong',
            )
        )
    if best.starts > 4 and best.hits == 1:
        rows.append(
            Notice(
                "single-hit",
                f"{best.atoms.info['name']}: only one of {best.starts} starts found the lowest minimum; a lower one may exist, use more --starts",
            )
        )
    graded = [part.name for part in parts if part.grade == "assumed"]
    if graded:
        rows.append(
            Notice("assumed-model", f"{', '.join(graded)}: the model itself is our assumption (grade 'assumed')")
        )
    return rows
