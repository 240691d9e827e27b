"""Residue templates of polymers: what a repeat unit is, as small YAML files or a SMILES with two attachment points.

``[*:1]`` is the head and ``[*:2]`` the tail of a unit; a chain joins tail to head. The shortest path from head to tail is
the backbone, whose bonds are turned when a chain grows (:mod:`atomflow.build.growth`); all other atoms are side groups.
An end group is a SMILES with one attachment point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from atomflow.build.datafiles import Values, check_keys, find_entry, list_entries, read_yaml, search_path
from atomflow.errors import BadFileError, BadOptionError
from atomflow.model import GRADES

#: Environment variable with more folders of polymers and residues, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_POLYMERS_PATH"

_LARGEST_FILE_BYTES = 64 * 1024
_LONGEST_SMILES = 2000
_MEND = "give a SMILES with two attachment points such as [*:1]CC[*:2], or see `atomflow list polymers --residues`"


@dataclass(frozen=True)
class TorsionStates:
    """What a backbone bond is turned to: angles (degrees, 180 is trans) with weights, each with a normal spread."""

    angles_deg: tuple[float, ...] = (180.0, 60.0, -60.0)
    weights: tuple[float, ...] = (0.6, 0.2, 0.2)
    spread_deg: float = 12.0


#: For end groups and a user's SMILES: a threefold bond that is trans three times in five. Our assumption.
THREEFOLD = TorsionStates()
#: Double bonds and amide, ester and acid bonds, which stay planar.
PLANAR = TorsionStates((180.0,), (1.0,), 0.0)


@dataclass(frozen=True)
class Residue:
    """One repeat unit.

    Parameters
    ----------
    name, code : str
        In words, and the residue name of at most four letters and digits that PDB files carry.
    smiles : str
        With the attachment points ``[*:1]`` (head) and ``[*:2]`` (tail).
    aliases : tuple of str
        Other names; the code is one of them.
    torsions : tuple of TorsionStates
        One for all bonds of the backbone, or one for each of its atoms from head to tail: of the bond before that atom.
    source, grade : str
        Where the constitution comes from and how far to trust it.
    torsions_source, torsions_grade : str
        The same for the weights of the torsions.
    note : str
    path : Path or None
        The file.
    """

    name: str
    code: str
    smiles: str
    aliases: tuple[str, ...] = ()
    torsions: tuple[TorsionStates, ...] = (THREEFOLD,)
    source: str = "SMILES by the user"
    grade: str = "assumed"
    torsions_source: str = "our assumption: a threefold bond, trans three times in five"
    torsions_grade: str = "assumed"
    note: str = ""
    path: Path | None = field(default=None, compare=False)

    @property
    def unit(self) -> Unit:
        """Graph and backbone."""
        return unit_of(self.smiles)


@dataclass(frozen=True, eq=False)
class Unit:
    """Graph of a repeat unit or an end group, without its attachment points, all hydrogens explicit.

    Parameters
    ----------
    graph : rdkit.Chem.Mol
    backbone : tuple of int
        Atoms from head to tail; of an end group, from a terminal atom to the one that is attached.
    ranks : tuple of int
        Symmetry classes of the atoms: equal for atoms that the unit cannot tell apart.
    cis : frozenset of (int, int)
        Double bonds of the backbone that are cis along it.
    handed : dict of int to int
        Sign of the centres of the backbone whose chirality the SMILES states (see :func:`centre_arms`).
    """

    graph: Chem.Mol
    backbone: tuple[int, ...]
    ranks: tuple[int, ...]
    cis: frozenset[tuple[int, int]] = frozenset()
    handed: Mapping[int, int] = field(default_factory=dict)

    def arms(self, atom: int) -> tuple[int, int] | None:
        """Both side atoms of a tetrahedral backbone atom if they differ, the higher rank first: a tactic centre."""
        centre = self.graph.GetAtomWithIdx(atom)
        side = [n.GetIdx() for n in centre.GetNeighbors() if n.GetIdx() not in self.backbone]
        if centre.GetHybridization() != Chem.HybridizationType.SP3 or len(side) != 2:
            return None
        rings = self.graph.GetRingInfo()
        if any(rings.AreAtomsInSameRing(atom, other) for other in side):
            return None  # turning it over would tear the ring
        first, second = sorted(side, key=lambda index: self.ranks[index], reverse=True)
        return (first, second) if self.ranks[first] != self.ranks[second] else None


@lru_cache(maxsize=512)
def unit_of(smiles: str) -> Unit:
    """Unit of a SMILES with two attachment points.

    Raises
    ------
    BadOptionError
        When RDKit cannot read it, or it has not two attachment points with single bonds; the reason says which.
    """
    graph, points = _parsed(smiles, 2)
    head, tail = (graph.GetAtomWithIdx(p).GetNeighbors()[0].GetIdx() for p in points)
    path = Chem.GetShortestPath(graph, points[0], points[1])
    ring = graph.GetRingInfo()
    if {head, tail} & set(points):
        raise BadOptionError(
            f"residue {smiles[:60]!r}: its attachment points are bonded to each other; put atoms between"
        )
    cis = frozenset(
        (path[k], path[k + 1])
        for k in range(1, len(path) - 2)
        if not ring.NumBondRings(graph.GetBondBetweenAtoms(path[k], path[k + 1]).GetIdx())
        and _is_cis(graph, path[k - 1 : k + 3])
    )
    return _trimmed(graph, points, tuple(path[1:-1]), cis, _handed(smiles, graph, path))


@lru_cache(maxsize=128)
def end_of(smiles: str) -> Unit:
    """Unit of an end group: a SMILES with one attachment point. Errors as of :func:`unit_of`."""
    graph, points = _parsed(smiles, 1)
    anchor = graph.GetAtomWithIdx(points[0]).GetNeighbors()[0].GetIdx()
    leaves = [a.GetIdx() for a in graph.GetAtoms() if a.GetDegree() == 1 and a.GetIdx() != points[0]]
    # The backbone runs on to a terminal atom, which has no side groups to be placed without a frame.
    paths = [Chem.GetShortestPath(graph, leaf, points[0])[:-1] for leaf in leaves if leaf != anchor]
    longest = max(paths, key=len) if paths else (anchor,)
    return _trimmed(graph, points, tuple(longest), frozenset(), {})


def _parsed(smiles: str, wanted: int) -> tuple[Chem.Mol, list[int]]:
    what = "residue" if wanted == 2 else "end group"
    example = "[*:1]CC(F)(F)[*:2]" if wanted == 2 else "[*]OC"
    if len(smiles) > _LONGEST_SMILES:
        raise BadOptionError(f"{what} {smiles[:60]!r}...: longer than {_LONGEST_SMILES} characters")
    with rdBase.BlockLogs():
        graph = Chem.MolFromSmiles(smiles)
    if graph is None:
        raise BadOptionError(f"{what} {smiles[:60]!r}: RDKit cannot read this SMILES; an example is {example}")
    graph = Chem.AddHs(graph)
    points = [atom for atom in graph.GetAtoms() if atom.GetAtomicNum() == 0]
    maps = sorted(atom.GetAtomMapNum() for atom in points)
    if len(points) != wanted:
        raise BadOptionError(
            f"{what} {smiles[:60]!r}: has {len(points)} attachment points, needs {wanted}; an example is {example}"
        )
    if wanted == 2 and maps not in ([0, 0], [1, 2]):
        has = " and ".join(str(number) if number else "none" for number in maps)
        raise BadOptionError(
            f"{what} {smiles[:60]!r}: its attachment points need the numbers 1 (head) and 2 (tail), not {has}; an "
            f"example is {example}"
        )
    for point in points:
        bonds = point.GetBonds()
        if len(bonds) != 1 or bonds[0].GetBondType() != Chem.BondType.SINGLE:
            raise BadOptionError(f"{what} {smiles[:60]!r}: an attachment point needs one single bond; see {example}")
    if len(Chem.GetMolFrags(graph)) > 1:
        raise BadOptionError(f"{what} {smiles[:60]!r}: holds more than one molecule; write one connected unit")
    if graph.GetNumAtoms() == wanted or any(a.GetNumRadicalElectrons() for a in graph.GetAtoms()):
        raise BadOptionError(f"{what} {smiles[:60]!r}: has no atoms, or an unpaired electron; an example is {example}")
    return graph, [atom.GetIdx() for atom in sorted(points, key=lambda a: a.GetAtomMapNum())]


def _trimmed(
    graph: Chem.Mol,
    points: list[int],
    backbone: tuple[int, ...],
    cis: frozenset[tuple[int, int]],
    handed: dict[int, int],
) -> Unit:
    """Take the attachment points away and number the rest anew."""
    ranks = list(Chem.CanonicalRankAtoms(graph, breakTies=False, includeChirality=False))
    kept = [index for index in range(graph.GetNumAtoms()) if index not in points]
    new = {old: index for index, old in enumerate(kept)}
    editable = Chem.RWMol(graph)
    for atom in editable.GetAtoms():
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        atom.SetAtomMapNum(0)
        # The bond that is cut comes back in the chain; no hydrogen may be thought to take its place.
        atom.SetNoImplicit(True)
    for bond in editable.GetBonds():
        bond.SetStereo(Chem.BondStereo.STEREONONE)
        bond.SetBondDir(Chem.BondDir.NONE)
    for point in sorted(points, reverse=True):
        editable.RemoveAtom(point)
    bare = editable.GetMol()
    bare.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(bare)
    return Unit(
        bare,
        tuple(new[index] for index in backbone),
        tuple(ranks[index] for index in kept),
        frozenset((new[a], new[b]) for a, b in cis),
        {new[a]: sign for a, sign in handed.items()},
    )


def _is_cis(graph: Chem.Mol, four: tuple[int, ...]) -> bool:
    before, first, second, behind = four
    bond = graph.GetBondBetweenAtoms(first, second)
    cis = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
    trans = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
    if bond.GetBondType() != Chem.BondType.DOUBLE or bond.GetStereo() not in cis + trans:
        return False
    ends = set(bond.GetStereoAtoms())
    # RDKit names the atoms that its letter speaks of; each that is not of the backbone turns the meaning round.
    turned = (before not in ends) != (behind not in ends)
    return (bond.GetStereo() in cis) != turned


def _handed(smiles: str, graph: Chem.Mol, path: tuple[int, ...]) -> dict[int, int]:
    """Signs of the centres whose chirality is stated, as :func:`centre_sign` gives them from coordinates."""
    signs = {}
    ranks = list(Chem.CanonicalRankAtoms(graph, breakTies=False, includeChirality=False))
    for atom in graph.GetAtoms():
        if atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
            continue
        place = path.index(atom.GetIdx()) if atom.GetIdx() in path else -1
        if place < 0 or atom.GetDegree() != 4:
            raise BadOptionError(
                f"residue {smiles[:60]!r}: a stated chirality off the backbone is not supported; leave the @ away"
            )
        order = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
        before, behind = path[place - 1], path[place + 1]
        side = sorted((n for n in order if n not in (before, behind)), key=lambda n: ranks[n], reverse=True)
        wanted = [before, behind, *side]
        swaps = sum(order.index(wanted[a]) > order.index(wanted[b]) for a in range(4) for b in range(a + 1, 4))
        anticlockwise = (atom.GetChiralTag() == Chem.ChiralType.CHI_TETRAHEDRAL_CCW) == (swaps % 2 == 0)
        signs[atom.GetIdx()] = 1 if anticlockwise else -1
    return signs


def find_residue(name: str, folders: Iterable[str | Path] = ()) -> Residue:
    """Residue called ``name`` (code, name or alias), or made from a SMILES with two attachment points.

    Parameters
    ----------
    name : str
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_POLYMERS_PATH``, then the shipped library. A folder
        may hold residues itself or in a folder ``residues`` of its own.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadFileError, BadOptionError
        When a file or the SMILES is malformed.
    """
    if "*" in name:
        unit_of(name)
        return Residue(name=name, code="UNK", smiles=name)
    return find_entry(name, residue_folders(folders), _read, "residue", _MEND)


def list_residues(folders: Iterable[str | Path] = ()) -> list[Residue]:
    """Every residue that :func:`find_residue` can reach, sorted by code."""
    return sorted(list_entries(residue_folders(folders), _read), key=lambda residue: residue.code)


def residue_folders(folders: Iterable[str | Path]) -> list[Path]:
    """Where residues are looked for: the folder ``residues`` of each of the user's folders, then the library."""
    own, shipped = split_shipped(search_path(folders, PATH_VARIABLE, "residues"))
    return [*(folder / "residues" for folder in own if (folder / "residues").is_dir()), shipped]


def split_shipped(path: list[Path]) -> tuple[list[Path], Path]:
    """The user's folders, and the shipped one, which is last."""
    return path[:-1], path[-1]


_REQUIRED = ("name", "code", "smiles", "source", "grade")
_OPTIONAL = ("aliases", "torsions", "torsions_source", "torsions_grade", "note")


@lru_cache(maxsize=1024)
def _read(path: Path, mtime_ns: int, size: int) -> Residue:
    """Read one file; time and size are in the key so that an edited file is read again."""
    values = Values(path)
    data = dict(values.mapping(read_yaml(path, "residue", _LARGEST_FILE_BYTES), "a residue"))
    check_keys(path, data, _REQUIRED, _OPTIONAL, "")
    code = values.text(data["code"], "code")
    if not (code.isascii() and code.isalnum() and len(code) <= 4):
        raise values.fail("code must be at most four letters and digits")
    smiles = values.text(data["smiles"], "smiles")
    try:
        unit = unit_of(smiles)
    except BadOptionError as error:
        raise BadFileError(path, str(error)) from error
    torsions = tuple(
        _states(values, entry, f"torsions, entry {n}")
        for n, entry in enumerate(values.items(data.get("torsions", []), "torsions"), 1)
    )
    if len(torsions) not in (0, 1, len(unit.backbone)):
        raise values.fail(f"torsions must have one entry, or one for each of the {len(unit.backbone)} backbone atoms")
    if torsions and not {"torsions_source", "torsions_grade"} <= set(data):
        raise values.fail("torsions need torsions_source and torsions_grade")
    aliases = tuple(values.text(item, "an alias") for item in values.items(data.get("aliases", []), "aliases"))
    texts = {
        key: values.text(data[key], key, long=True) for key in ("torsions_source", "torsions_grade") if key in data
    }
    values.choice(texts.get("torsions_grade", "assumed"), "torsions_grade", GRADES)
    return Residue(
        name=values.text(data["name"], "name"),
        code=code,
        smiles=smiles,
        aliases=(code, *aliases),
        torsions=torsions or (THREEFOLD,),
        source=values.text(data["source"], "source", long=True),
        grade=values.choice(data["grade"], "grade", GRADES),
        note=values.text(data.get("note", ""), "note", empty=True, long=True),
        path=path,
        **texts,
    )


def _states(values: Values, entry: Any, what: str) -> TorsionStates:
    data = dict(values.mapping(entry, what))
    check_keys(values.path, data, ("angles_deg", "weights"), ("spread_deg",), f" in {what}")
    angles = [values.number(a, f"{what}: an angle", -360, 360) for a in values.items(data["angles_deg"], what)]
    weights = [values.number(w, f"{what}: a weight", 0, 1e6) for w in values.items(data["weights"], what)]
    if not angles or len(angles) != len(weights) or not math.fsum(weights) > 0:
        raise values.fail(f"{what}: give as many weights as angles, not all of them zero")
    spread = values.number(data.get("spread_deg", 12), f"{what}: spread_deg", 0, 90)
    return TorsionStates(tuple(map(float, angles)), tuple(map(float, weights)), float(spread))
