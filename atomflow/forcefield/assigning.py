"""From a box to a system: every bond, angle, torsion and improper found, looked up, and none passed over.

Each kind of molecule is dealt with once and tiled. A term that no file has is an error, never a silent zero; so is
one that two files give equally well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray
from rdkit import Chem

from atomflow.errors import AmbiguousParameterError, BadOptionError, MissingParameterError, UngradedParameterError
from atomflow.forcefield.library import ANY, Parameters, TermRule, TypeRule, canonical, find_parameters
from atomflow.forcefield.typing import atom_label, charges_of, type_atoms
from atomflow.model import (
    GRADES,
    AngleTerm,
    AtomType,
    Bonded,
    BondTerm,
    Box,
    CosineTerm,
    Molecule,
    Notice,
    Origin,
    PairTerm,
    System,
)

#: Kind of term -> (word for it, number of atoms, dataclass).
KINDS: dict[str, tuple[str, int, Any]] = {
    "bonds": ("bond", 2, BondTerm),
    "angles": ("angle", 3, AngleTerm),
    "torsions": ("torsion", 4, CosineTerm),
    "impropers": ("improper", 4, CosineTerm),
}


def parametrise(
    box: Box,
    *,
    forcefield: str = "opls-clp",
    folders: str | Path | Iterable[str | Path] = (),
    allow_assumed: bool = False,
    charge_scale: float = 1.0,
) -> System:
    """Give every atom a type and a charge, and every bonded term its numbers.

    Parameters
    ----------
    box : Box
    forcefield : str
        Name and variants, for example ``"opls-clp+dmf-1996"``; see :func:`~atomflow.forcefield.find_parameters`.
    folders : paths
        The user's files, which stand over the shipped ones.
    allow_assumed : bool
        Let numbers of grade ``assumed`` pass.
    charge_scale : float
        Factor on the charges of ions, that is of molecules with a net charge; 1 as published.

    Returns
    -------
    System

    Raises
    ------
    MissingParameterError, AmbiguousParameterError
        For an atom without a type, a term that no file has, or that several give equally well.
    UnbalancedChargeError
        When the partial charges of a molecule do not add up to its charge.
    UngradedParameterError
        When assumed numbers would be used and ``allow_assumed`` is not given.
    """
    if not 0 < charge_scale <= 1:
        raise BadOptionError(f"charge scale {charge_scale:g}: give a factor above 0 and at most 1, such as 0.75")
    parameters = find_parameters(forcefield, folders)
    kinds = [_typed(kind, parameters) for kind in box.kinds]
    used = {rule.name: rule for kind in kinds for rule in kind.types}
    types, places = _atom_types(box, kinds, used)
    by_kind = [np.array([places[rule.name] for rule in kind.types], np.intp) for kind in kinds]
    scales = [charge_scale if kind.charge and kind.role != "particle" else 1.0 for kind in box.kinds]
    origins = tuple((kind.name, _charge_origin(typed)) for kind, typed in zip(box.kinds, kinds, strict=True))
    particles = [kind.role == "particle" for kind in box.kinds]
    system = System(
        box=box,
        types=types,
        type_of_atom=box.of_atoms(by_kind).astype(np.intp),
        charges_e=box.of_atoms([kind.charges * scale for kind, scale in zip(kinds, scales, strict=True)]),
        bonds=_tiled(box, kinds, "bonds"),
        angles=_tiled(box, kinds, "angles"),
        torsions=_tiled(box, kinds, "torsions"),
        impropers=_tiled(box, kinds, "impropers"),
        pairs=_pairs(parameters, set(used)),
        charge_origins=tuple(dict.fromkeys(origins)),
        held=tuple(index for index, kind in enumerate(box.molecules.tolist()) if particles[kind]),
        forcefield=forcefield,
        charge_scale=charge_scale,
        warnings=_scale_notice(box, charge_scale),
    )
    if not allow_assumed:
        _refuse_assumed(system)
    return system


def summary(system: System) -> dict[str, Any]:
    """Counts of types, terms and grades, for people and for ``system.json``."""
    return {
        "forcefield": system.forcefield,
        "charge_scale": system.charge_scale,
        "charge_e": round(system.charge_e, 6),
        "atoms": len(system),
        "types": len(system.types),
        **{kind: len(getattr(system, kind)) for kind in KINDS},
        "terms": {kind: len(getattr(system, kind).terms) for kind in KINDS},
        "grades": system.grades(),
        "worst_grade": system.worst_grade,
    }


def audit(system: System) -> list[dict[str, Any]]:
    """Every number, one row each: what it is for, its values, how often it is used, its source and its grade."""
    rows: list[dict[str, Any]] = []
    uses = np.bincount(system.type_of_atom, minlength=len(system.types))
    for one, many in zip(system.types, uses.tolist(), strict=True):
        numbers = f"epsilon {one.epsilon_kcal_per_mol:g} kcal/mol, sigma {one.sigma_A:g} A"
        rows.append(_row("lennard-jones", one.name, numbers, many, one.origin))
    for pair in system.pairs:
        numbers = f"epsilon {pair.epsilon_kcal_per_mol:g} kcal/mol, sigma {pair.sigma_A:g} A"
        rows.append(_row("pair", "-".join(pair.types), numbers, 1, pair.origin))
    counts = system.box.count()
    for name, origin in system.charge_origins:
        rows.append(_row("charges", name, f"scaled by {system.charge_scale:g} if an ion", counts.get(name, 0), origin))
    for kind, (word, _many, _class) in KINDS.items():
        bonded = getattr(system, kind)
        times = np.bincount(bonded.term, minlength=len(bonded.terms))
        for term, many in zip(bonded.terms, times.tolist(), strict=True):
            rows.append(_row(word, "-".join(term.classes), _told(term), many, term.origin))
    return rows


def _row(kind: str, what: str, numbers: str, uses: int, origin: Origin) -> dict[str, Any]:
    return {
        "kind": kind,
        "what": what,
        "numbers": numbers,
        "uses": uses,
        "source": origin.source,
        "grade": origin.grade,
    }


def _told(term: BondTerm | AngleTerm | CosineTerm) -> str:
    if isinstance(term, BondTerm):
        return f"k {term.k_kcal_per_mol_A2:g} kcal/mol/A2, r0 {term.r0_A:g} A"
    if isinstance(term, AngleTerm):
        return f"k {term.k_kcal_per_mol_rad2:g} kcal/mol/rad2, theta0 {term.theta0_deg:g} deg"
    return " + ".join(f"{k:g}(1+cos({n}phi-{d:g}))" for k, n, d in term.parts) or "zero"


@dataclass(frozen=True, eq=False)
class _Typed:
    """One kind of molecule with its types, charges and terms."""

    types: list[TypeRule]
    charges: NDArray[np.float64]
    charge_origins: tuple[Origin, ...]
    groups: dict[str, tuple[NDArray[np.intp], list[TermRule]]]


def _typed(molecule: Molecule, parameters: Parameters) -> _Typed:
    types = type_atoms(molecule, parameters)
    charges, origins = charges_of(molecule, types, parameters)
    classes = [rule.class_ for rule in types]
    finder = _Finder(parameters)
    groups = {}
    missing: list[tuple[str, tuple[int, ...]]] = []
    for kind, atoms in perceived(molecule.graph, classes).items():
        rules = []
        for row in atoms.tolist():
            rule = finder.rule(kind, tuple(classes[index] for index in _centre_first(kind, row)))
            if rule is None:
                missing.append((kind, tuple(row)))
            else:
                rules.append(rule)
        groups[kind] = (atoms, rules)
    if missing:
        _raise_missing(molecule, types, missing)
    return _Typed(types, charges, origins, groups)


def perceived(graph: Chem.Mol, classes: list[str]) -> dict[str, NDArray[np.intp]]:
    """Every bond, angle, torsion and improper of a bond graph.

    Impropers are those of atoms with three neighbours: two of these, the centre, and the third; the neighbours are in
    the order of their classes, then of their place in the graph.
    """
    count = graph.GetNumAtoms()
    beside: list[list[int]] = [[] for _atom in range(count)]
    bonds = []
    for bond in graph.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        bonds.append((i, j))
        beside[i].append(j)
        beside[j].append(i)
    bonds.sort()
    angles = [(i, centre, k) for centre in range(count) for i, k in combinations(sorted(beside[centre]), 2)]
    torsions = [
        (i, j, k, other)
        for j, k in bonds
        for i in sorted(beside[j])
        if i != k
        for other in sorted(beside[k])
        if other not in (j, i)
    ]
    impropers = []
    for centre in range(count):
        if len(beside[centre]) == 3:
            a, b, c = sorted(beside[centre], key=lambda index: (classes[index], index))
            impropers.append((a, b, centre, c))
    found = {"bonds": bonds, "angles": angles, "torsions": torsions, "impropers": impropers}
    return {kind: np.array(rows, np.intp).reshape(-1, KINDS[kind][1]) for kind, rows in found.items()}


class _Finder:
    """Looks terms up, exact ones before those with wildcards; remembers what it has looked up."""

    def __init__(self, parameters: Parameters) -> None:
        self.terms = parameters.terms
        self.rule = lru_cache(maxsize=None)(self._rule)

    def _rule(self, kind: str, classes: tuple[str, ...]) -> TermRule | None:
        table = self.terms[kind]
        for wild in range(len(classes) + 1):
            found = {}
            for key in _keys(kind, classes, wild):
                rule = table.get(key)
                if rule is not None:
                    found[key] = rule
            highest = max((rule.layer for rule in found.values()), default=0)
            best = [rule for rule in found.values() if rule.layer == highest]
            if len({rule.numbers for rule in best}) > 1:
                told = " and ".join(f"{'-'.join(rule.classes)} in {rule.path.name}" for rule in best)
                raise AmbiguousParameterError(
                    f"several {kind} fit {'-'.join(classes)} equally well: {told}; "
                    f"add the exact {KINDS[kind][0]} to {best[0].path}"
                )
            if best:
                return best[0]
        return None


def _keys(kind: str, classes: tuple[str, ...], wild: int) -> set[tuple[str, ...]]:
    """Keys of the table that mean these classes with so many of them replaced by the wildcard."""
    # The centre of an improper is never a wildcard.
    free = range(1, 4) if kind == "impropers" else range(len(classes))
    keys = set()
    for places in combinations(free, wild):
        replaced = tuple(ANY if place in places else name for place, name in enumerate(classes))
        keys.add(canonical(kind, replaced))
    return keys


def _centre_first(kind: str, row: list[int]) -> list[int]:
    return [row[2], row[0], row[1], row[3]] if kind == "impropers" else row


def _raise_missing(molecule: Molecule, types: list[TypeRule], missing: list[tuple[str, tuple[int, ...]]]) -> None:
    named: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for kind, row in missing:
        order = _centre_first(kind, list(row))
        named.setdefault((kind, canonical(kind, tuple(types[index].class_ for index in order))), order)
    (kind, classes), order = next(iter(named.items()))
    # The set of the middle atom is where a chemist would look.
    path = types[order[0] if kind == "impropers" else order[1]].path
    where = f"{molecule.name}, atoms {'-'.join(atom_label(molecule, index) for index in order)}"
    raise MissingParameterError(f"{KINDS[kind][0]} for {'-'.join(classes)}", where, path, len(named) - 1)


def missing_terms(molecule: Molecule, forcefield: str = "opls-clp", folders: Iterable[str | Path] = ()) -> list[str]:
    """Every bonded term that a molecule lacks, such as ``"torsion CF-CT-CF-F"``, for those who write force fields."""
    parameters = find_parameters(forcefield, folders)
    types = type_atoms(molecule, parameters)
    classes = [rule.class_ for rule in types]
    finder = _Finder(parameters)
    lacking = []
    for kind, atoms in perceived(molecule.graph, classes).items():
        for row in atoms.tolist():
            names = tuple(classes[index] for index in _centre_first(kind, row))
            if finder.rule(kind, names) is None:
                lacking.append(f"{KINDS[kind][0]} {'-'.join(canonical(kind, names))}")
    return list(dict.fromkeys(lacking))


def _atom_types(
    box: Box, kinds: list[_Typed], used: dict[str, TypeRule]
) -> tuple[tuple[AtomType, ...], dict[str, int]]:
    numbers: dict[str, int] = {}
    for molecule, kind in zip(box.kinds, kinds, strict=True):
        for atom, rule in zip(molecule.graph.GetAtoms(), kind.types, strict=True):
            numbers.setdefault(rule.name, atom.GetAtomicNum())
    types = tuple(
        AtomType(
            name=name,
            element=chemical_symbols[numbers[name]],
            mass_u=float(atomic_masses[numbers[name]]),
            epsilon_kcal_per_mol=rule.epsilon_kcal_per_mol,
            sigma_A=rule.sigma_A,
            origin=rule.origin,
        )
        for name, rule in used.items()
    )
    return types, {name: index for index, name in enumerate(used)}


def _tiled(box: Box, kinds: list[_Typed], kind: str) -> Bonded[Any]:
    """Terms of the whole box, each kind's tiled over its molecules."""
    rules: dict[int, int] = {}
    unique: list[TermRule] = []
    indices = []
    for typed in kinds:
        for rule in typed.groups[kind][1]:
            if id(rule) not in rules:
                rules[id(rule)] = len(unique)
                unique.append(rule)
        indices.append(np.array([rules[id(rule)] for rule in typed.groups[kind][1]], np.intp))
    term = [indices[molecule] for molecule in box.molecules.tolist()]
    make = KINDS[kind][2]
    terms = tuple(
        make(rule.classes, rule.numbers, rule.origin)
        if make is CosineTerm
        else make(rule.classes, *(float(number) for number in rule.numbers), rule.origin)
        for rule in unique
    )
    atoms = box.tiled([typed.groups[kind][0] for typed in kinds])
    if not len(atoms):
        atoms = np.zeros((0, KINDS[kind][1]), np.intp)
    return Bonded(atoms, np.concatenate(term).astype(np.intp) if term else np.zeros(0, np.intp), terms)


def _charge_origin(typed: _Typed) -> Origin:
    """The worst grade among the charges of a molecule, and the sources of that grade."""
    origins = typed.charge_origins
    worst = max((origin.grade for origin in origins), key=GRADES.index)
    return Origin("; ".join(dict.fromkeys(o.source for o in origins if o.grade == worst)), worst)


def _pairs(parameters: Parameters, used: set[str]) -> tuple[PairTerm, ...]:
    rules = [rule for rule in parameters.terms["pairs"].values() if set(rule.classes) <= used]
    return tuple(
        PairTerm((r.classes[0], r.classes[1]), float(r.numbers[0]), float(r.numbers[1]), r.origin) for r in rules
    )


def _scale_notice(box: Box, charge_scale: float) -> tuple[Notice, ...]:
    ions = sorted({kind.name for kind in box.kinds if kind.charge and kind.role != "particle"})
    rigid = any(kind.role == "particle" for kind in box.kinds)
    if charge_scale == 1.0 or not ions:
        return ()
    text = f"Charges of ions ({', '.join(ions)}) are scaled by {charge_scale:g}; as published they are whole."
    text += " Ions of the particle keep theirs." if rigid else ""
    return (Notice("scaled-charges", text),)


def _refuse_assumed(system: System) -> None:
    assumed = [f"{kind} {what}" for kind, what, origin in system.origins() if origin.grade == "assumed"]
    if assumed:
        shown = ", ".join(assumed[:6]) + (f" and {len(assumed) - 6} more" if len(assumed) > 6 else "")
        raise UngradedParameterError(
            f"{system.box.name}: some numbers are only assumed ({shown}); allow them with --allow-assumed "
            "(allow_assumed=True), or give better ones in a file of yours"
        )
