"""From a crystal with partly filled sites to ordered cells: exact composition, several distinct orderings, by Ewald."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from ase import Atoms

from atomflow.build.composition import (
    deviation,
    formula_text,
    nearest_counts,
    smallest_multiple,
)
from atomflow.build.crystal_models import (
    CrystalModel,
    CrystalModels,
    model_of,
)
from atomflow.build.crystals import Crystal, find_crystal
from atomflow.build.cutting import shells
from atomflow.build.doping import targeted
from atomflow.build.filling import Fillings, Sites, fill
from atomflow.build.parent import Parent, formula_units, parent_of, permutations, roundest, supercell
from atomflow.errors import BadOptionError, CompositionError
from atomflow.model import Notice

#: A cell of more atoms than this is made only when asked for.
MOST_ATOMS = 600
#: Attempts of a search, for each replica and site with a choice.
SWEEPS = 6000
#: Searches within this of the lowest have found it, meV/atom.
FOUND_MEV_PER_ATOM = 1.0

METHOD = (
    "Electrostatic (Ewald) energy of formal charges on the ideal sites, minimised by replica exchange (24 replicas, "
    "0.06 to 4 eV) of exchanges of two sites; ions on sites that exclude each other cost 8 eV and occur in no model. "
    "Relaxation and covalent bonding are left out: rank the distinct orderings again with a better calculator."
)

#: Runs a step for each tuple of inputs, as ``Bench.run`` does.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]


def one_by_one(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run a step for each tuple of inputs, here and now."""
    return [function(*each) for each in arguments]


def order(
    crystal: str | Crystal,
    composition: str | None = None,
    *,
    dope: Sequence[str] = (),
    cell: str | int | Sequence[int] | np.ndarray | None = None,
    most_atoms: int = MOST_ATOMS,
    seeds: int = 4,
    seed: int = 0,
    sweeps: int = SWEEPS,
    keep: int = 5,
    run: Run = one_by_one,
) -> CrystalModels:
    """Ordered cells of a crystal.

    Parameters
    ----------
    crystal : str or Crystal
        A name of the library, or what :func:`~atomflow.build.crystals.load_crystal` returned.
    composition : str, optional
        Formula to reach instead of the crystal's own, of elements that its sites hold.
    dope : sequence of str
        ``"Al=0.25@24d"``: so much per formula unit, on sites of that Wyckoff letter or label. The ions with vacancies
        (lithium) make up the charge.
    cell : optional
        ``"primitive"``, ``"conventional"``, a number of primitive cells, three multiples of the conventional cell or a
        3 x 3 matrix of it; without it, the smallest cell that holds the composition exactly.
    most_atoms : int
        No exact cell above this is made unless ``cell`` asks for it.
    seeds, seed : int
        Number of searches, and the first seed.
    sweeps : int
        Budget of each search, see :func:`~atomflow.build.filling.fill`.
    keep : int
        Distinct orderings to return.
    run : callable
        How the searches are run; ``Bench.run`` keeps and distributes them.

    Returns
    -------
    CrystalModels

    Raises
    ------
    UnknownNameError
        For a crystal that is not in the library.
    CompositionError
        When no cell below ``most_atoms`` holds the composition (it names the nearest), or it is not neutral.
    BadOptionError
        For a cell or a dopant that makes no sense.
    """
    check_budget(seeds, seed, sweeps, keep)
    named = find_crystal(crystal) if isinstance(crystal, str) else crystal
    parent = targeted(parent_of(named), composition, dope)
    places, cells = _cell(parent, cell, most_atoms)
    units = formula_units(parent, places)
    counts = nearest_counts(parent.formula, units, parent.charges, parent.families(places))
    problem = parent.sites(places, counts)
    found = run(fill, [(problem, seed + n, sweeps, 4 * keep) for n in range(seeds)])
    models = _distinct(parent, places, problem, found, keep)
    warnings: tuple[Notice, ...] = ()
    if problem.too_near(min(found, key=lambda each: float(each.energies_eV.min())).states[0]):
        warnings = (Notice("sites-crowded", "some ions sit nearer to each other than this crystal's sites allow"),)
    return gathered(parent, named, models, counts, units, found, (seeds, sweeps), METHOD, cells, warnings)


def check_budget(seeds: int, seed: int, sweeps: int, keep: int) -> None:
    """Raise BadOptionError for a search of nothing."""
    if min(seeds, sweeps, keep) < 1 or seed < 0:
        raise BadOptionError("seeds, sweeps and keep must be 1 or more, and the seed 0 or more")


def gathered(
    parent: Parent,
    crystal: Crystal,
    models: tuple[CrystalModel, ...],
    counts: Mapping[str, int],
    units: Fraction | int,
    found: Sequence[Fillings],
    budget: tuple[int, int],
    method: str,
    cells: tuple[Mapping[str, object], ...] = (),
    warnings: tuple[Notice, ...] = (),
) -> CrystalModels:
    """Models with what the searches for them say, and what may mislead about them.

    Parameters
    ----------
    counts : mapping
        Ions of each species in a model of ``units`` formula units.
    found : sequence of Fillings
        Of every search.
    budget : tuple of two ints
        Seeds, and sweeps of each search.
    """
    best = lowest_by_seed(found, models[0].atom_count)
    return CrystalModels(
        crystal=parent.name,
        kind=models[0].kind,
        target=formula_text(parent.formula),
        formula=formula_text({name: Fraction(count, units) for name, count in counts.items()}),
        formula_units=float(units),
        models=models,
        seeds=budget[0],
        sweeps=budget[1],
        lowest_by_seed_meV_per_atom=best,
        hits=sum(value is not None and value <= FOUND_MEV_PER_ATOM for value in best),
        cells=cells,
        method=method,
        source=source_text(crystal),
        grade=crystal.grade,
        warnings=warnings + composition_notices(parent, counts, units) + library_notices(crystal),
    )


def _cell(
    parent: Parent, cell: str | int | Sequence[int] | np.ndarray | None, most_atoms: int
) -> tuple[Atoms, tuple[Mapping[str, object], ...]]:
    """The sites to fill, and which cells were considered."""
    exact = smallest_multiple(parent.formula, parent.per_primitive)
    per_unit = float(sum(parent.formula.values()))
    looked_at = [*range(1, min(exact, 12) + 1), *([exact] if exact > 12 else [])]
    cells = tuple(about for n in looked_at if (about := _about_cell(parent, n)) is not None)
    if cell is None:
        atoms = round(exact * parent.per_primitive * per_unit)
        if atoms > most_atoms:
            largest = max(1, int(most_atoms / (parent.per_primitive * per_unit)))
            nearest = _about_cell(parent, largest)
            needs = f"{formula_text(parent.formula)} needs {atoms} atoms, more than {most_atoms}; raise --max-atoms"
            if nearest is None:
                raise CompositionError(needs)
            raise CompositionError(
                f"{needs}, or take --cell {largest} ({nearest['atoms']} atoms)", str(nearest["formula"])
            )
        return roundest(parent.primitive, exact), cells
    if cell == "primitive":
        return parent.primitive, cells
    if cell == "conventional":
        return parent.conventional, cells
    if isinstance(cell, str):
        raise BadOptionError(f"--cell {cell}: give primitive, conventional, a number of primitive cells, or a,b,c")
    given = np.array(cell, dtype=float)
    shape = given.round().astype(int)
    if (given != shape).any() or (shape.ndim < 2 and (shape < 1).any()):
        raise BadOptionError(f"--cell {cell}: give whole numbers above zero")
    if shape.shape == () and shape > 0:
        return roundest(parent.primitive, int(shape)), cells
    matrix = np.diag(shape) if shape.shape == (3,) else shape
    if matrix.shape != (3, 3) or round(np.linalg.det(matrix)) < 1:
        raise BadOptionError(f"--cell {cell}: multiples of the conventional cell must be above zero")
    return supercell(parent.conventional, matrix), cells


def _about_cell(parent: Parent, copies: int) -> dict[str, object] | None:
    """What so many primitive cells hold; None when nothing neutral fits."""
    places = parent.primitive if copies == 1 else parent.primitive.repeat((copies, 1, 1))
    units = parent.per_primitive * copies
    try:
        counts = nearest_counts(parent.formula, units, parent.charges, parent.families(places))
    except CompositionError:
        return None
    return {
        "primitive_cells": copies,
        "formula_units": float(units),
        "atoms": sum(counts.values()),
        "formula": formula_text({name: Fraction(count, units) for name, count in counts.items()}),
        "exact": not deviation(parent.formula, counts, units),
    }


def composition_notices(parent: Parent, counts: Mapping[str, int], units: Fraction | int) -> tuple[Notice, ...]:
    """A warning when the model is a neighbour of the composition, not the composition."""
    off = deviation(parent.formula, counts, units)
    if not off:
        return ()
    held = formula_text({name: Fraction(count, units) for name, count in counts.items()})
    told = ", ".join(f"{name} {value:+.3f}" for name, value in off.items())
    return (
        Notice(
            "nearest-composition",
            f"{units} formula units cannot hold {formula_text(parent.formula)} exactly; this is {held} ({told} per formula unit)",
        ),
    )


def library_notices(crystal: Crystal) -> tuple[Notice, ...]:
    """A warning when nobody has read the source of the crystal's coordinates."""
    if crystal.read != "memory" and crystal.grade != "assumed":
        return ()
    return (
        Notice("assumed-coordinates", f"the coordinates of {crystal.name} are {crystal.grade}: {source_text(crystal)}"),
    )


def source_text(crystal: Crystal) -> str:
    """Where a crystal's coordinates come from, and what of it was read."""
    doi = f", doi {crystal.doi}" if crystal.doi else ""
    return f"{crystal.citation}{doi} (read: {crystal.read}; {crystal.where})"


def lowest_by_seed(found: Sequence[Fillings], atoms: int) -> tuple[float | None, ...]:
    """Lowest energy of each search above the lowest of all, meV/atom; None for one that found nothing."""
    lowest = np.array([each.energies_eV.min(initial=np.inf) for each in found])
    above = np.round((lowest - lowest.min()) / atoms * 1e3, 6)
    return tuple(float(value) if np.isfinite(value) else None for value in above)


def _distinct(
    parent: Parent, places: Atoms, problem: Sites, found: Sequence[Fillings], keep: int
) -> tuple[CrystalModel, ...]:
    images = permutations(places)
    candidates = sorted(
        (
            (energy, each.seed, state)
            for each in found
            for energy, state in zip(each.energies_eV, each.states, strict=True)
        ),
        key=lambda item: (round(item[0], 4), item[1]),
    )
    met: dict[bytes, dict[str, Any]] = {}
    for energy, seed, state in candidates:
        orbit = np.unique(state.astype(np.int8)[images], axis=0)
        name = orbit[0].tobytes()  # np.unique sorts: the first row stands for all
        if name in met:
            met[name]["seeds"].add(seed)
        else:
            # Always the same image, whichever of them the search met: the last bits of an energy decide that.
            met[name] = {"energy": energy, "state": orbit[0].astype(int), "degeneracy": len(orbit), "seeds": {seed}}
    chosen = sorted(met.values(), key=lambda item: item["energy"])[:keep]
    lowest = chosen[0]["energy"]
    reach = shells(parent)
    return tuple(
        model_of(
            problem,
            item["state"],
            name=f"{parent.name}-{number}",
            kind="bulk",
            energy_eV=item["energy"],
            lowest_eV=lowest,
            found_by=len(item["seeds"]),
            shells=reach,
            degeneracy=item["degeneracy"],
        )
        for number, item in enumerate(chosen, start=1)
    )


def rescore(models: CrystalModels, energies_eV: Sequence[float], method: str) -> CrystalModels:
    """The same models, ranked by another energy.

    Parameters
    ----------
    models : CrystalModels
    energies_eV : sequence of float
        One for each model, in their order.
    method : str
        What gave them, in words.

    Raises
    ------
    BadOptionError
        When there are more or fewer energies than models.

    Examples
    --------
    >>> from ase.calculators.lj import LennardJones
    >>> found = order("LiF", cell=2, seeds=1, sweeps=10)
    >>> energies = [LennardJones().get_potential_energy(model.atoms) for model in found.models]
    >>> rescore(found, energies, "Lennard-Jones").models[0].above_lowest_meV_per_atom
    0.0
    """
    if len(energies_eV) != len(models.models):
        raise BadOptionError(f"{len(energies_eV)} energies for {len(models.models)} models")
    lowest = min(energies_eV)
    ranked = sorted(zip(energies_eV, models.models, strict=True), key=lambda pair: pair[0])
    return replace(
        models,
        models=tuple(
            replace(
                model,
                rescored_eV=float(energy),
                above_lowest_meV_per_atom=float((energy - lowest) / model.atom_count * 1e3),
            )
            for energy, model in ranked
        ),
        method=f"{models.method} Ranked again by {method}.",
    )
