"""Which atoms of a molecule can hold a cation, and how likely each is to do so.

Only elements, bonds and the total charge are read: a graph that came out of a file without bond orders gives the same
donors as one from a SMILES, and atoms that are alike by symmetry get the same weight.
"""

from __future__ import annotations

from rdkit import Chem

from atomflow.model import Molecule

# Weights are choices of ours for sharing out start placements, not energies: they decide how often a donor is tried.
_OXYGEN = 1.0
_NITROGEN = 0.5
_PLANAR_NITROGEN = 0.15  # its lone pair is in the pi system: an amide is held at O
_HALOGEN = 0.25
_SULFUR = 0.25
_ONLY_DONOR = 1.0

_HALOGENS = (9, 17, 35, 53)


def donor_atoms(molecule: Molecule) -> dict[int, float]:
    """Atoms with a lone pair for a cation, and the share of start placements each deserves.

    Parameters
    ----------
    molecule : Molecule

    Returns
    -------
    dict of int to float
        Atom index -> weight: O 1; N 0.5 (0.15 when its lone pair is conjugated, as in an amide); F, Cl, Br, I and
        thioether or thione S 0.25. The halogens of an anion that has nothing better (PF6-, BF4-, Cl-) weigh 1.
        Empty for a bare cation or a hydrocarbon.

    Examples
    --------
    >>> from atomflow.build import donor_atoms, molecule
    >>> donor_atoms(molecule("acetonitrile"))
    {2: 0.5}
    """
    weights = {atom.GetIdx(): _weight(atom) for atom in molecule.graph.GetAtoms()}
    donors = {index: weight for index, weight in weights.items() if weight > 0}
    if molecule.charge < 0 and all(_number(molecule, index) in _HALOGENS for index in donors):
        return dict.fromkeys(donors, _ONLY_DONOR)
    return donors


def _number(molecule: Molecule, index: int) -> int:
    return int(molecule.graph.GetAtomWithIdx(index).GetAtomicNum())


def _weight(atom: Chem.Atom) -> float:
    number, degree = atom.GetAtomicNum(), atom.GetDegree()
    if number == 8:
        return _OXYGEN if degree <= 2 else 0.0  # an oxonium has given its lone pair away
    if number == 7:
        return _nitrogen_weight(atom)
    if number in _HALOGENS:
        return _HALOGEN if degree <= 1 else 0.0  # the chlorine of ClO4- is buried
    if number == 16:
        return _SULFUR if degree <= 2 else 0.0  # sulfoxides and sulfonyls are held at O
    return 0.0


def _nitrogen_weight(atom: Chem.Atom) -> float:
    degree = atom.GetDegree()
    if degree <= 2:
        return _NITROGEN
    if degree > 3 or sum(_is_terminal(other, 8) for other in atom.GetNeighbors()) >= 2:
        return 0.0  # ammonium and nitro: no lone pair on N
    if any(_withdraws(other) for other in atom.GetNeighbors()):
        return _PLANAR_NITROGEN
    return _NITROGEN


def _withdraws(atom: Chem.Atom) -> bool:
    """Whether a neighbour takes the lone pair of N into conjugation: trigonal carbon, sulfonyl, phosphoryl."""
    number = atom.GetAtomicNum()
    if number == 6:
        return bool(atom.GetDegree() == 3)
    return number in (15, 16) and any(_is_terminal(other, 8) for other in atom.GetNeighbors())


def _is_terminal(atom: Chem.Atom, number: int) -> bool:
    return bool(atom.GetAtomicNum() == number and atom.GetDegree() == 1)
