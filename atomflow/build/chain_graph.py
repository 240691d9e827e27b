"""The bond graph of a chain from its units: which atom belongs to which unit, the backbone, its bonds and its centres."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from atomflow.build.residues import PLANAR, THREEFOLD, Residue, TorsionStates, end_of

_MATCHES = 1_000_000
#: Amides, esters, acids, carbonates, urethanes and their sulphur kin.
_PLANAR_BONDS = Chem.MolFromSmarts("[CX3](=[O,S])-[NX3,OX2,SX2]")


@dataclass(frozen=True)
class Link:
    """One unit of a sequence: a residue, head first, or tail first when ``turned`` (a head-to-head defect)."""

    residue: Residue
    turned: bool = False

    def __str__(self) -> str:
        return f"-{self.residue.code}" if self.turned else self.residue.code


@dataclass(frozen=True)
class Centre:
    """A tetrahedral backbone atom with two different side atoms.

    ``sign`` is what the residue's SMILES states, 0 where it is free; ``kind`` is the same for centres that may be
    compared.
    """

    bead: int
    first: int
    kind: tuple[str, int]
    sign: int = 0


@dataclass(frozen=True, eq=False)
class ChainGraph:
    """A chain without coordinates.

    Parameters
    ----------
    graph : rdkit.Chem.Mol
        Sanitised, with residue information.
    first_atoms : (n_pieces + 1,) int array
        Pieces are the head group, each unit, and the tail group; their atoms stand in one row.
    backbone : (n_beads,) int array
        Atoms from one end of the chain to the other; the first and the last have one neighbour.
    piece_of_bead : (n_beads,) int array
    piece_kinds : tuple of (str, bool)
        SMILES and direction of each piece: pieces alike in this are alike in everything.
    states : tuple of TorsionStates, one for each bead
        Of the bond between beads k - 2 and k - 1, which sets bead k.
    ring_bonds : frozenset of int
        Beads k whose bond k - 2 to k - 1 is in a ring: its torsion is the template's.
    centres : tuple of Centre
    """

    graph: Chem.Mol = field(repr=False)
    first_atoms: NDArray[np.intp]
    backbone: NDArray[np.intp]
    piece_of_bead: NDArray[np.intp]
    piece_kinds: tuple[tuple[str, bool], ...]
    states: tuple[TorsionStates, ...]
    ring_bonds: frozenset[int]
    centres: tuple[Centre, ...]


def assemble(links: Sequence[Link], head: str, tail: str) -> ChainGraph:
    """Join units tail to head between two end groups (SMILES), whose atoms count to the first and last residue."""
    whole = Chem.RWMol()
    first_atoms, piece_of_bead = [0], []
    backbone: list[int] = []
    states: list[TorsionStates] = []
    cis: set[tuple[int, int]] = set()
    centres: list[Centre] = []
    pieces = [(end_of(head), None), *((link.residue.unit, link) for link in links), (end_of(tail), None)]
    for number, (unit, link) in enumerate(pieces):
        start = whole.GetNumAtoms()
        whole.InsertMol(unit.graph)
        turned = number == len(pieces) - 1 or (link is not None and link.turned)
        path = unit.backbone[::-1] if turned else unit.backbone
        if backbone:
            whole.AddBond(int(backbone[-1]), start + path[0], Chem.BondType.SINGLE)
        for place, atom in enumerate(path):
            if link is not None and (arms := unit.arms(atom)):
                stated = unit.handed.get(atom, 0)
                centres.append(
                    Centre(len(backbone), start + arms[0], (link.residue.code, atom), -stated if turned else stated)
                )
            backbone.append(start + atom)
            piece_of_bead.append(number)
            states.append(THREEFOLD if link is None else _states_before(link, place, len(path)))
        cis |= {(start + a, start + b) for a, b in unit.cis}
        first_atoms.append(whole.GetNumAtoms())
    _name_atoms(whole, links, first_atoms)
    graph = whole.GetMol()
    Chem.SanitizeMol(graph)
    kinds, rings = _bond_states(graph, backbone, states, cis)
    atoms, beads, pieces_of = (np.array(values, np.intp) for values in (first_atoms, backbone, piece_of_bead))
    piece_kinds = ((head, False), *((link.residue.smiles, link.turned) for link in links), (tail, True))
    return ChainGraph(graph, atoms, beads, pieces_of, piece_kinds, kinds, rings, tuple(centres))


def _states_before(link: Link, place: int, count: int) -> TorsionStates:
    """States of the bond before the ``place``-th atom of a unit as it stands in the chain."""
    given = link.residue.torsions
    if len(given) == 1:
        return given[0]
    return given[0 if place == 0 else count - place] if link.turned else given[place]


def _bond_states(
    graph: Chem.Mol, backbone: list[int], before: list[TorsionStates], cis: set[tuple[int, int]]
) -> tuple[tuple[TorsionStates, ...], frozenset[int]]:
    """States that set each bead, and the beads that are set by a bond of a ring."""
    planar = {
        frozenset((match[0], match[2]))
        for match in graph.GetSubstructMatches(_PLANAR_BONDS, uniquify=False, maxMatches=_MATCHES)
    }
    rings = graph.GetRingInfo()
    kinds, in_rings = [THREEFOLD] * len(backbone), set()
    for k in range(3, len(backbone)):
        pair = (backbone[k - 2], backbone[k - 1])
        bond = graph.GetBondBetweenAtoms(*pair)
        if rings.NumBondRings(bond.GetIdx()):
            in_rings.add(k)
        elif bond.GetBondTypeAsDouble() > 1 or frozenset(pair) in planar:
            turned = pair in cis or pair[::-1] in cis
            kinds[k] = TorsionStates((0.0,), (1.0,), 0.0) if turned else PLANAR
        else:
            kinds[k] = before[k - 1]
    return tuple(kinds), frozenset(in_rings)


def _name_atoms(whole: Chem.RWMol, links: Sequence[Link], first_atoms: list[int]) -> None:
    """Residue information: numbers from 1, names unique in a residue (element and a running number)."""
    counts: Counter[tuple[int, str]] = Counter()
    pieces = np.repeat(np.arange(len(links) + 2), np.diff(first_atoms))
    for atom, piece in zip(whole.GetAtoms(), pieces, strict=True):
        number = min(max(int(piece), 1), len(links))
        symbol = atom.GetSymbol()
        counts[number, symbol] += 1
        # Columns 13-14 of a PDB line are the element's, so a one-letter element begins in the second.
        name = f"{symbol}{counts[number, symbol]}"
        name = f" {name:<3}" if len(symbol) == 1 and len(name) < 4 else f"{name:<4}"
        info = Chem.AtomPDBResidueInfo(name[:4], residueName=links[number - 1].residue.code, residueNumber=number)
        info.SetIsHeteroAtom(True)
        info.SetChainId("A")
        atom.SetMonomerInfo(info)
