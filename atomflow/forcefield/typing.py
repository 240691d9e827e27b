"""Which atom type each atom of a molecule has, and which charge: SMARTS patterns, whose first atom is the typed one.

A molecule is typed once, however often it stands in a box. Where several patterns fit an atom, one must say ``over``
the others, or lie in a higher layer; nothing is chosen by the order of a file.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rdkit import Chem

from atomflow.errors import AmbiguousParameterError, MissingParameterError, UnbalancedChargeError
from atomflow.forcefield.library import Parameters, TypeRule
from atomflow.model import Molecule, Origin, residues_of

#: How far the partial charges of a molecule may add up to something else than its charge.
MOST_CHARGE_OFF_E = 1e-6

#: A chain of 100 units has more matches than RDKit's default of 1000.
_ALL_MATCHES = 10_000_000


def type_atoms(molecule: Molecule, parameters: Parameters) -> list[TypeRule]:
    """Type of each atom.

    Raises
    ------
    MissingParameterError
        When no pattern fits an atom.
    AmbiguousParameterError
        When several do, and none stands over the others.
    """
    graph = _prepared(molecule.graph)
    matching: list[list[TypeRule]] = [[] for _atom in molecule.graph.GetAtoms()]
    for rule in parameters.types.values():
        if not rule.role or rule.role == molecule.role:
            for index in _matches(graph, rule.smarts):
                matching[index].append(rule)
    missing = [index for index, rules in enumerate(matching) if not rules]
    if missing:
        atom = molecule.graph.GetAtomWithIdx(missing[0])
        raise MissingParameterError(
            f"atom type for {_surroundings(atom)}",
            f"{molecule.name}, atom {atom_label(molecule, missing[0])}",
            parameters.folder,
            len(missing) - 1,
        )
    return [_winner(rules, molecule, index) for index, rules in enumerate(matching)]


def charges_of(
    molecule: Molecule, types: list[TypeRule], parameters: Parameters
) -> tuple[NDArray[np.float64], tuple[Origin, ...]]:
    """Partial charges, e, (n_atoms,), and where they come from: those of the types, and what each bond moves.

    Raises
    ------
    UnbalancedChargeError
        When they do not add up to the charge of the molecule.
    """
    atoms = molecule.graph.GetAtoms()
    charges = np.array(
        [
            float(atom.GetFormalCharge()) if rule.charge_e is None else rule.charge_e
            for atom, rule in zip(atoms, types, strict=True)
        ]
    )
    origins = dict.fromkeys(rule.charge_origin for rule in types)
    moves = parameters.terms["bond_charges"]
    if moves:
        for bond in molecule.graph.GetBonds():
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            for i, j in (ends, ends[::-1]):
                move = moves.get((types[i].class_, types[j].class_))
                if move is not None and types[i].class_ != types[j].class_:
                    charges[i] += move.numbers[0]
                    charges[j] -= move.numbers[0]
                    origins[move.origin] = None
    if abs(charges.sum() - molecule.charge) > MOST_CHARGE_OFF_E:
        raise UnbalancedChargeError(
            molecule.name, float(charges.sum()), molecule.charge, _where_off(molecule, types, charges)
        )
    return charges, tuple(origins)


def atom_label(molecule: Molecule, index: int) -> str:
    """An atom as errors name it: element, number from 1, and residue where there are several."""
    atom = molecule.graph.GetAtomWithIdx(int(index))
    label = f"{atom.GetSymbol()}{index + 1}"
    info = atom.GetPDBResidueInfo()
    return f"{label} of {info.GetResidueName().strip()}{info.GetResidueNumber()}" if info is not None else label


def _prepared(graph: Chem.Mol) -> Chem.Mol:
    """A copy that SMARTS can be asked about, however the graph was made."""
    graph = Chem.Mol(graph)
    graph.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(graph)
    return graph


@lru_cache(maxsize=4096)
def _pattern(smarts: str) -> Any:
    return Chem.MolFromSmarts(smarts)


def _matches(graph: Chem.Mol, smarts: str) -> set[int]:
    options: Any = Chem.SubstructMatchParameters()
    # Unique sets of atoms would hide the other direction of a symmetric pattern.
    options.uniquify = False
    options.maxMatches = options.maxRecursiveMatches = _ALL_MATCHES
    return {match[0] for match in graph.GetSubstructMatches(_pattern(smarts), options)}


def _winner(rules: list[TypeRule], molecule: Molecule, index: int) -> TypeRule:
    if len(rules) > 1 and any(rule.role for rule in rules):
        rules = [rule for rule in rules if rule.role]
    beaten = {name for rule in rules for name in rule.over}
    left = [rule for rule in rules if rule.name not in beaten]
    left = [rule for rule in left if rule.layer == max(other.layer for other in left)]
    if len(left) == 1:
        return left[0]
    names = ", ".join(sorted(rule.name for rule in left or rules))
    raise AmbiguousParameterError(
        f"several atom types fit {molecule.name}, atom {atom_label(molecule, index)}: {names}; "
        f"let one of them say over: [...] in {(left or rules)[0].path}"
    )


def _surroundings(atom: Any) -> str:
    """An element with its neighbours, such as ``C(C2H2)``."""
    beside = Counter(other.GetSymbol() for other in atom.GetNeighbors())
    charge = atom.GetFormalCharge()
    told = "".join(f"{symbol}{many if many > 1 else ''}" for symbol, many in sorted(beside.items()))
    name = chemical_symbols[atom.GetAtomicNum()] + (f"{charge:+d}" if charge else "")
    return f"{name} bonded to {told}" if told else f"a lone {name}"


def _where_off(molecule: Molecule, types: list[TypeRule], charges: NDArray[np.float64]) -> str:
    """Residues whose charge is no whole number, or the types where there is one residue only."""
    residue, names = residues_of(molecule)
    if len(names) > 1:
        sums = np.bincount(residue, weights=charges)
        off = [f"{names[i]}{i + 1} {sums[i]:+.4f}" for i in np.flatnonzero(np.abs(sums - np.round(sums)) > 1e-6)]
        shown = f"{len(off)} residues are not whole: {', '.join(off[:5])}"
        return shown + (", ..." if len(off) > 5 else "")
    counts = Counter((rule.name, round(float(q), 6)) for rule, q in zip(types, charges, strict=True))
    return ", ".join(f"{many} {name} {q:+.4f}" for (name, q), many in counts.most_common(12))
