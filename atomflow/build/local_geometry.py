"""Bond lengths, angles and side groups of a chain, taken from small relaxed pieces of it.

Each unit is cut out of the chain with everything within two bonds of it, the cuts closed by hydrogen, embedded by RDKit
and relaxed with MMFF94 (UFF where that has no parameters). Such pieces repeat along a chain, and are made once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from atomflow.build.chain_graph import ChainGraph
from atomflow.errors import BadStructureError

_EMBEDDING_SEED = 20260711  # of the templates, which must not depend on the seed of a chain
_CONFORMERS, _CONFORMERS_OF_SIDE_GROUPS = 3, 8
_REACH_BONDS = 2
_LARGEST_ANGLE = np.deg2rad(175)


@dataclass(frozen=True, eq=False)
class LocalGeometry:
    """What does not change when a backbone turns.

    Parameters
    ----------
    lengths_A : (n_beads,) float array
        From each bead to the one before.
    angles_rad : (n_beads,) float array
        At each bead; of the ends, zero.
    side_start, side_atoms : int arrays
        Side atoms of bead k are ``side_atoms[side_start[k]:side_start[k + 1]]``.
    side_A : (n_rows, 3) float array
        In the frame of their bead: x along the bond before it, y in the plane of both its bonds.
    variants, variant_start : (n_beads,) int arrays
        Conformers of the side atoms of each bead, and the row of ``side_A`` where they begin, one after the other.
    ring_torsions_rad : dict of int to float
        Torsions that a ring of the backbone fixes, by the bead they set.
    """

    lengths_A: NDArray[np.float64]
    angles_rad: NDArray[np.float64]
    side_start: NDArray[np.intp]
    side_atoms: NDArray[np.intp]
    side_A: NDArray[np.float64]
    variants: NDArray[np.intp]
    variant_start: NDArray[np.intp]
    ring_torsions_rad: dict[int, float]


def local_geometry(chain: ChainGraph, signs: NDArray[np.int64]) -> LocalGeometry:
    """Geometry of every bead; centre n of the chain gets the handedness ``signs[n]``."""
    beads = chain.backbone
    n_beads = len(beads)
    neighbours = [[n.GetIdx() for n in atom.GetNeighbors()] for atom in chain.graph.GetAtoms()]
    lengths, angles = np.zeros(n_beads), np.zeros(n_beads)
    side: list[NDArray[np.float64]] = [np.zeros((1, 0, 3)) for _ in beads]
    wanted = {centre.bead: int(sign) for centre, sign in zip(chain.centres, signs, strict=True)}
    ring_torsions = {}
    cutter = _Cutter(chain, neighbours)
    owners = _side_groups(chain, neighbours)
    known: dict[tuple[tuple[str, bool] | None, ...], list[_Bead]] = {}
    firsts = {centre.bead: centre.first for centre in chain.centres}
    padded = (None, None, *chain.piece_kinds, None, None)
    for piece in range(len(chain.piece_kinds)):
        own = np.flatnonzero(chain.piece_of_bead == piece).tolist()
        # What is cut out reaches no further than two pieces to either side.
        about = padded[piece : piece + 5]
        if about not in known:
            known[about] = _beads(chain, cutter, piece, own, owners, firsts)
        for k, bead in zip(own, known[about], strict=True):
            lengths[k], angles[k] = bead.length_A, bead.angle_rad
            side[k] = bead.side_A
            if k in wanted:
                side[k] = side[k].copy()
                # The mirror image has the same lengths and angles.
                side[k][bead.signs != wanted[k], :, 2] *= -1
            if bead.ring_torsion_rad is not None:
                ring_torsions[k + 2] = bead.ring_torsion_rad
    return LocalGeometry(
        lengths,
        angles,
        np.concatenate(([0], np.cumsum([len(atoms) for atoms in owners]))).astype(np.intp),
        np.array([atom for atoms in owners for atom in atoms], np.intp),
        np.concatenate([variants.reshape(-1, 3) for variants in side]),
        np.array([len(variants) for variants in side], np.intp),
        np.concatenate(([0], np.cumsum([variants.size // 3 for variants in side])))[:-1].astype(np.intp),
        ring_torsions,
    )


@dataclass(frozen=True, eq=False)
class _Bead:
    """Geometry of one bead: conformers of its side atoms, and the handedness each of them has."""

    length_A: float = 0.0
    angle_rad: float = 0.0
    side_A: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 0, 3)))
    signs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    ring_torsion_rad: float | None = None


def _beads(
    chain: ChainGraph, cutter: _Cutter, piece: int, own: list[int], owners: list[list[int]], firsts: dict[int, int]
) -> list[_Bead]:
    beads = chain.backbone.tolist()
    rings = chain.graph.GetRingInfo()
    # Side atoms that close a ring of the backbone fit the conformer of its torsions only.
    moving = [
        not rings.NumAtomRings(beads[k]) and any(len(cutter.neighbours[atom]) > 1 for atom in owners[k]) for k in own
    ]
    at, conformers = cutter.coordinates(piece, _CONFORMERS_OF_SIDE_GROUPS if any(moving) else _CONFORMERS)
    x = conformers[0]
    found = []
    for k, moves in zip(own, moving, strict=True):
        here = x[at[beads[k]]]
        length = float(np.linalg.norm(here - x[at[beads[k - 1]]])) if k else 0.0
        if not 0 < k < len(beads) - 1:
            found.append(_Bead(length))
            continue
        three = [at[beads[k + shift]] for shift in (-1, 0, 1)]
        angle = _angle(*x[three])
        if angle > _LARGEST_ANGLE:
            raise BadStructureError(
                f"residue {max(piece, 1)}: the backbone is straight at an atom of element "
                f"{chain.graph.GetAtomWithIdx(beads[k]).GetSymbol()} (a triple bond?); chains cannot grow through it"
            )
        atoms = [at[atom] for atom in owners[k]]
        some = conformers if moves else conformers[:1]
        signs = [
            centre_sign(each[three[0]], each[three[1]], each[three[2]], each[at[firsts[k]]]) if k in firsts else 0
            for each in some
        ]
        ring = None
        if k + 2 in chain.ring_bonds and beads[k + 2] in at:
            ring = _torsion(x[three[0]], x[three[1]], x[three[2]], x[at[beads[k + 2]]])
        found.append(_Bead(length, angle, np.array([_side(e, three, atoms) for e in some]), np.array(signs), ring))
    return found


def centre_sign(
    before: NDArray[np.float64], centre: NDArray[np.float64], behind: NDArray[np.float64], first: NDArray[np.float64]
) -> int:
    """Handedness of a backbone centre: the sign of the volume of its three bonds, walking along the chain.

    Two centres of one kind with equal signs are a meso dyad, with opposite signs a racemo dyad, whatever lies between.
    """
    return 1 if np.dot(np.cross(before - centre, behind - centre), first - centre) > 0 else -1


class _Cutter:
    """Cuts pieces with their surroundings out of one chain."""

    def __init__(self, chain: ChainGraph, neighbours: list[list[int]]) -> None:
        self.chain, self.neighbours = chain, neighbours
        self.graph = Chem.RWMol(chain.graph)
        self.numbers = [atom.GetAtomicNum() for atom in self.graph.GetAtoms()]
        for atom in self.graph.GetAtoms():
            atom.SetNoImplicit(False)
        self.rings = [set(ring) for ring in chain.graph.GetRingInfo().AtomRings()]
        self.ring_atoms = set().union(*self.rings) if self.rings else set()

    def coordinates(self, piece: int, conformers: int) -> tuple[dict[int, int], NDArray[np.float64]]:
        """Row of each atom of the piece and of the beads about it, and their coordinates in each conformer."""
        first, end = self.chain.first_atoms[piece : piece + 2].tolist()
        own = list(range(first, end))
        inside, edge = set(own), set(own)
        for _ in range(_REACH_BONDS):
            edge = {n for atom in edge for n in self.neighbours[atom]} - inside
            inside |= edge
        beads = self.chain.backbone
        places = np.flatnonzero(self.chain.piece_of_bead == piece)
        near = [beads[p] for p in range(places[0] - 2, places[-1] + 3) if 0 <= p < len(beads)]
        named = own + [int(atom) for atom in near if atom in inside and not first <= atom < end]
        if inside & self.ring_atoms:
            for ring in self.rings:
                if ring & inside:
                    inside |= ring
        # Hydrogen that no number points to comes back by itself; with it, equal pieces would have unequal texts.
        atoms = [a for a in inside if self.numbers[a] != 1 or a in named]
        at = {atom: row for row, atom in enumerate(named)}
        for atom, row in at.items():
            self.graph.GetAtomWithIdx(atom).SetAtomMapNum(row + 1)
        text = Chem.MolFragmentToSmiles(self.graph, atoms, isomericSmiles=True)
        for atom in named:
            self.graph.GetAtomWithIdx(atom).SetAtomMapNum(0)
        return at, relaxed_piece(text, len(named), conformers)


@lru_cache(maxsize=4096)
def relaxed_piece(smiles: str, count: int, conformers: int) -> NDArray[np.float64]:
    """Coordinates (A) of the ``count`` numbered atoms of a piece: (at most ``conformers``, count, 3), the lowest first.

    Raises
    ------
    BadStructureError
        When RDKit cannot embed the piece.
    """
    options: Any = Chem.SmilesParserParams()
    options.removeHs = False
    graph = Chem.AddHs(Chem.MolFromSmiles(smiles, options))
    rows = {atom.GetAtomMapNum() - 1: atom.GetIdx() for atom in graph.GetAtoms() if atom.GetAtomMapNum()}
    for atom in graph.GetAtoms():
        atom.SetAtomMapNum(0)
    settings: Any = rdDistGeom.ETKDGv3()
    settings.randomSeed = _EMBEDDING_SEED
    with rdBase.BlockLogs():
        found = list(rdDistGeom.EmbedMultipleConfs(graph, conformers, settings))
        if not found:
            settings.useRandomCoords = True
            found = list(rdDistGeom.EmbedMultipleConfs(graph, conformers, settings))
        if not found:
            raise BadStructureError(f"RDKit cannot embed the unit {smiles[:80]!r}; check its SMILES for strained rings")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(graph):
            ends = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(graph, maxIters=500)
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(graph):
            ends = rdForceFieldHelpers.UFFOptimizeMoleculeConfs(graph, maxIters=500)
        else:
            ends = [(0, 0.0)] * len(found)
    order = sorted(range(len(found)), key=lambda n: (ends[n][1], n))
    kept = np.array([graph.GetConformer(found[n]).GetPositions() for n in order], dtype=np.float64)
    kept = kept[:, [rows[row] for row in range(count)]]
    kept.flags.writeable = False  # shared by all chains
    return kept


def _side_groups(chain: ChainGraph, neighbours: list[list[int]]) -> list[list[int]]:
    """Atoms that go with each bead: those nearer to it, in bonds, than to another bead of the piece."""
    owner = np.full(len(neighbours), -1)
    owner[chain.backbone] = np.arange(len(chain.backbone))
    groups: list[list[int]] = [[] for _ in chain.backbone]
    edge = chain.backbone.tolist()
    while edge:
        further = []
        for atom in edge:
            for other in neighbours[atom]:
                if owner[other] < 0:
                    owner[other] = owner[atom]
                    groups[owner[atom]].append(other)
                    further.append(other)
        edge = further
    return groups


def _side(x: NDArray[np.float64], three: list[int], atoms: list[int]) -> NDArray[np.float64]:
    """Coordinates of some atoms in the frame of the middle one of three beads."""
    before, here, behind = x[three]
    return (x[atoms] - here) @ _frame(before, here, behind).T


def _frame(before: NDArray[np.float64], here: NDArray[np.float64], behind: NDArray[np.float64]) -> NDArray[np.float64]:
    x = (here - before) / np.linalg.norm(here - before)
    z = np.cross(x, behind - here)
    z /= np.linalg.norm(z)
    return np.array([x, np.cross(z, x), z])


def _angle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    u, v = a - b, c - b
    return float(np.arctan2(np.linalg.norm(np.cross(u, v)), np.dot(u, v)))


def _torsion(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]) -> float:
    """IUPAC sign, radian."""
    n, m = np.cross(b - a, c - b), np.cross(c - b, d - c)
    axis = (c - b) / np.linalg.norm(c - b)
    return float(np.arctan2(np.dot(np.cross(n, m), axis), np.dot(n, m)))
