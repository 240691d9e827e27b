"""Systems put together by hand, without the typing of ``atomflow.forcefield``: an independent way to the same nouns.

Numbers are those of OPLS-AA and CL&P as the project's notes list them; here they only need to be alike in kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from rdkit import Chem
from rdkit.Geometry import Point3D

from atomflow.build import molecule
from atomflow.model import (
    AngleTerm,
    AtomType,
    Bonded,
    BondTerm,
    Box,
    CosineTerm,
    Molecule,
    Origin,
    PairTerm,
    System,
)

TABLE = Origin("test table", "secondary")
MASSES = {"C": 12.011, "H": 1.008, "O": 15.999, "N": 14.007, "F": 18.998, "S": 32.06, "Li": 6.94, "Zn": 65.38, "Mg": 24.305}  # fmt: skip

#: class -> epsilon, sigma
LJ = {
    "OD": (0.21, 2.96), "ND": (0.17, 3.25), "CD": (0.105, 3.75), "CM": (0.066, 3.5), "HM": (0.015, 2.42), "HF": (0.015, 2.42),
    "FT": (0.053, 2.95), "CF": (0.066, 3.5), "ST": (0.25, 3.55), "OT": (0.21, 2.96), "NT": (0.17, 3.25),
    "CT": (0.066, 3.5), "HC": (0.03, 2.5), "Li": (0.018279, 2.126), "Zn": (0.0125, 1.96), "Mg": (0.875, 1.6445),
    "OX": (0.06, 3.118),
}  # fmt: skip
BONDS = {
    "CD-OD": (570, 1.229), "CD-ND": (490, 1.335), "CM-ND": (337, 1.449), "CM-HM": (340, 1.09), "CD-HF": (340, 1.09),
    "NT-ST": (374.88, 1.57), "OT-ST": (637.07, 1.437), "CF-ST": (233.03, 1.818), "CF-FT": (441.92, 1.323),
    "CT-CT": (268, 1.529), "CT-HC": (340, 1.09),
}  # fmt: skip
ANGLES = {
    "ND-CD-OD": (80, 122.9), "HF-CD-OD": (35, 123), "HF-CD-ND": (40, 114), "CD-ND-CM": (50, 121.9), "CM-ND-CM": (50, 118),
    "HM-CM-ND": (35, 109.5), "HM-CM-HM": (33, 107.8),
    "FT-CF-FT": (93.33, 107.1), "FT-CF-ST": (82.93, 111.7), "OT-ST-OT": (115.8, 118.5), "CF-ST-OT": (103.97, 102.6),
    "NT-ST-OT": (94.29, 113.6), "CF-ST-NT": (91.3, 103.5), "ST-NT-ST": (80.19, 125.6),
    "CT-CT-CT": (58.35, 112.7), "CT-CT-HC": (37.5, 110.7), "HC-CT-HC": (33, 107.8),
}  # fmt: skip
#: OPLS V1 V2 V3
TORSIONS = {
    "OD-CD-ND-CM": (0, 6.089, 0), "HF-CD-ND-CM": (2.3, 6.089, 0), "CD-ND-CM-HM": (0, 0, -0.139), "CM-ND-CM-HM": (0, 0, 0),
    "OT-ST-CF-FT": (0, 0, 0.347), "NT-ST-CF-FT": (0, 0, 0.316), "OT-ST-NT-ST": (0, 0, -0.004), "ST-NT-ST-CF": (7.833, -2.49, -0.764),
    "HC-CT-CT-HC": (0, 0, 0.3), "CT-CT-CT-HC": (0, 0, 0.3), "CT-CT-CT-CT": (1.3, -0.05, 0.2),
}  # fmt: skip


@dataclass
class Kind:
    molecule: Molecule
    classes: list[str]
    charges: list[float]
    impropers: list[tuple[tuple[int, int, int, int], float]] = field(default_factory=list)
    held: bool = False


def dmf() -> Kind:
    made = molecule("DMF")
    classes = ["CM", "ND", "CM", "CD", "OD", *["HM"] * 6, "HF"]
    charges = [0.0, -0.36, 0.0, 0.57, -0.57, *[0.06] * 6, 0.0]
    # N and the formyl carbon planar: 4.6 kJ/mol, as an older topology has them.
    return Kind(made, classes, charges, [((0, 2, 1, 3), 4.6 / 4.184), ((1, 11, 3, 4), 4.6 / 4.184)])


def tfsi() -> Kind:
    made = molecule("TFSI-")
    symbols = [atom.GetSymbol() for atom in made.graph.GetAtoms()]
    classes = [{"O": "OT", "S": "ST", "N": "NT", "C": "CF", "F": "FT"}[symbol] for symbol in symbols]
    charge = {"CF": 0.35, "ST": 1.02, "NT": -0.66, "OT": -0.53, "FT": -0.16}
    return Kind(made, classes, [charge[one] for one in classes])


def propane() -> Kind:
    made = _from_smiles("propane", "CCC")
    classes = ["CT" if atom.GetSymbol() == "C" else "HC" for atom in made.graph.GetAtoms()]
    charges = [
        -0.06 * (atom.GetTotalNumHs(includeNeighbors=True)) if atom.GetSymbol() == "C" else 0.06
        for atom in made.graph.GetAtoms()
    ]
    return Kind(made, classes, charges)


def ion(name: str, charge: float) -> Kind:
    made = molecule(name)
    return Kind(made, [made.graph.GetAtomWithIdx(0).GetSymbol()], [charge])


def ball(side: int = 2, spacing: float = 2.1) -> Kind:
    """A cube of rock salt MgO, neutral for even sides."""
    places = [(i, j, k) for i in range(side) for j in range(side) for k in range(side)]
    graph = Chem.RWMol()
    conformer = Chem.Conformer(len(places))
    classes = []
    for index, place in enumerate(places):
        symbol = "OX" if sum(place) % 2 else "Mg"
        atom = Chem.Atom(symbol[0] if symbol == "OX" else "Mg")
        atom.SetFormalCharge(-2 if symbol == "OX" else 2)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
        conformer.SetAtomPosition(index, Point3D(*(spacing * x for x in place)))
        classes.append(symbol)
    graph.AddConformer(conformer)
    made = Molecule("MgO", graph.GetMol(), role="particle", rigid=True)
    return Kind(made, classes, [1.2 if one == "Mg" else -1.2 for one in classes], held=True)


def _from_smiles(name: str, smiles: str) -> Molecule:
    from rdkit.Chem import AllChem

    graph = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(graph, randomSeed=1)
    return Molecule(name, graph)


def _key(classes, tables):
    key = "-".join(classes)
    return key if key in tables else "-".join(reversed(classes))


def system_of(
    kinds: list[Kind],
    molecules: list[int],
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    pairs: tuple[PairTerm, ...] = (),
    name: str = "by hand",
) -> System:
    """A System of these molecules at these places; the terms are looked up by class in the tables above."""
    box = Box(tuple(kind.molecule for kind in kinds), np.array(molecules), positions_A, cell_A, name)
    names = sorted({one for kind in kinds for one in kind.classes})
    types = tuple(AtomType(one, _element(one), MASSES[_element(one)], LJ[one][0], LJ[one][1], TABLE) for one in names)
    classes = [one for index in molecules for one in kinds[index].classes]
    charges = np.array([q for index in molecules for q in kinds[index].charges])
    neighbours: list[list[int]] = [[] for _ in classes]
    for i, j in box.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    bonds = _bonded(classes, box.bonds.tolist(), BONDS, lambda c, v: BondTerm(c, float(v[0]), float(v[1]), TABLE), 2)
    groups = [(a, j, b) for j, near in enumerate(neighbours) for a, b in combinations(near, 2)]
    angles = _bonded(classes, groups, ANGLES, lambda c, v: AngleTerm(c, float(v[0]), float(v[1]), TABLE), 3)
    groups = [
        (a, i, j, b)
        for i, j in box.bonds.tolist()
        for a in neighbours[i]
        for b in neighbours[j]
        if len({a, i, j, b}) == 4
    ]
    torsions = _bonded(classes, groups, TORSIONS, _opls, 4)
    improper_atoms, improper_terms = [], {}
    term_of = []
    for index, first in zip(molecules, box.first_atoms, strict=False):
        for atoms, k in kinds[index].impropers:
            improper_atoms.append([first + a for a in atoms])
            term = CosineTerm(tuple(kinds[index].classes[a] for a in atoms), ((k, 2, 180.0),), TABLE)
            term_of.append(improper_terms.setdefault(term, len(improper_terms)))
    impropers = Bonded(
        np.array(improper_atoms, np.intp).reshape(-1, 4), np.array(term_of, np.intp), tuple(improper_terms)
    )
    return System(
        box, types, np.array([names.index(one) for one in classes]), charges, bonds, angles, torsions, impropers,
        pairs=pairs, charge_origins=tuple((kind.molecule.name, TABLE) for kind in kinds),
        held=tuple(m for m, index in enumerate(molecules) if kinds[index].held),
    )  # fmt: skip


def _element(one: str) -> str:
    return one if one in MASSES else one[0]


def _opls(classes, values):
    parts = tuple((v / 2, n, 180.0 if n % 2 == 0 else 0.0) for n, v in enumerate(values, start=1) if v)
    return CosineTerm(classes, parts, TABLE)


def _bonded(classes, groups, tables, make, width):
    keys = [_key([classes[a] for a in group], tables) for group in groups]
    used = sorted(set(keys))
    terms = tuple(make(tuple(key.split("-")), tables[key]) for key in used)
    return Bonded(np.array(groups, np.intp).reshape(-1, width), np.array([used.index(k) for k in keys], np.intp), terms)


def alone(*kinds: Kind, apart_A: float = 0.0, pairs: tuple[PairTerm, ...] = (), seed: int = 0) -> System:
    """Molecules side by side along x, in a large box; shaken a little, for no term to sit at its minimum."""
    rng = np.random.default_rng(seed)
    positions, shift = [], 0.0
    for kind in kinds:
        here = kind.molecule.graph.GetConformer().GetPositions()
        here = here + rng.normal(0.0, 0.0 if kind.held else 0.05, here.shape)
        here = here - here.min(axis=0) + [shift, 0.0, 0.0]
        shift = here[:, 0].max() + apart_A
        positions.append(here)
    return system_of(list(kinds), list(range(len(kinds))), np.concatenate(positions), np.eye(3) * 40.0, pairs)


def liquid(seed: int = 0, side: int = 3, spacing: float = 7.0, skew: bool = False, with_ball: bool = False) -> System:
    """DMF on a lattice, turned at random, with a Li-TFSI for every nine; ``skew`` makes the cell triclinic."""
    rng = np.random.default_rng(seed)
    kinds = [dmf(), ion("Li+", 1.0), tfsi()] + ([ball()] if with_ball else [])
    cell = np.eye(3) * side * spacing
    if skew:
        cell = cell + np.array([[0, 0, 0], [0.2, 0, 0], [-0.15, 0.1, 0]]) * side * spacing
    molecules, positions = [], []
    for index, place in enumerate(np.ndindex(side, side, side)):
        which = {0: 2, 4: 1}.get(index % 9, 0)
        if with_ball and index == 14:
            which = 3
        molecules.append(which)
        positions.append(_turned(kinds[which], rng) + (np.array(place) + 0.5) / side @ cell)
    order = np.argsort(molecules, kind="stable")
    return system_of(kinds, [molecules[i] for i in order], np.concatenate([positions[i] for i in order]), cell)


def _turned(kind: Kind, rng) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    here = kind.molecule.graph.GetConformer().GetPositions()
    return Rotation.random(random_state=rng).apply(here - here.mean(axis=0))
