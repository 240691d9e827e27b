"""From a bond graph to coordinates: distance-geometry embedding, force-field clean-up, distinct conformers.

The same graph and seed give the same coordinates. RDKit does the work (ETKDGv3: doi 10.1021/acs.jcim.0c00025;
MMFF94s: doi 10.1002/(SICI)1096-987X(199905)20:7<720::AID-JCC7>3.0.CO;2-X); what it cannot do, five or six equal
ligands around one atom, is placed on the ideal polyhedron.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolAlign

from atomflow.errors import BadOptionError, BadStructureError
from atomflow.model import Molecule

#: Two conformers nearer than this (heavy atoms and polar hydrogens, angstrom) are one.
SAME_CONFORMER_RMSD_A = 0.3

_LARGEST_SEED = 2**31 - 1
_MAX_ATOMS = 500
_TIMEOUT_S = 60  # so that a knotted cage cannot hang a study
_CLEAN_UP_STEPS = 5000
_STARTS_PER_CONFORMER = 4
# Symmetric permutations tried for one RMSD; long polymers have millions.
_MAX_MATCHES = 1000

_TRIGONAL_BIPYRAMID = np.array(
    [(0, 0, 1), (0, 0, -1), (1, 0, 0), (-0.5, np.sqrt(0.75), 0), (-0.5, -np.sqrt(0.75), 0)], dtype=float
)
_OCTAHEDRON = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], dtype=float)
_POLYHEDRA = {5: _TRIGONAL_BIPYRAMID, 6: _OCTAHEDRON}


def embed(graph: Chem.Mol, seed: int, what: str) -> Chem.Mol:
    """Copy of ``graph`` with explicit hydrogens and one cleaned-up conformer.

    Parameters
    ----------
    graph : rdkit.Chem.Mol
        Sanitised, one connected molecule.
    seed : int
        0 to 2^31 - 1.
    what : str
        How errors call the molecule.

    Raises
    ------
    BadOptionError
        For an impossible seed.
    BadStructureError
        When there are no coordinates that satisfy the graph, or the molecule is too large.
    """
    check_seed(seed)
    full = Chem.AddHs(graph)
    full.RemoveAllConformers()
    if full.GetNumAtoms() > _MAX_ATOMS:
        raise BadStructureError(
            f"{what}: {full.GetNumAtoms()} atoms is too much to embed, at most {_MAX_ATOMS}; give a structure file"
        )
    if (ideal := _ideal_positions(full)) is not None:
        return _with_positions(full, ideal)
    with rdBase.BlockLogs():
        start = _add_start(full, seed, 0)
    if start is None:
        raise BadStructureError(f"{what}: RDKit found no 3-D geometry for this graph; give a structure file instead")
    return full


def conformers(molecule: Molecule, n: int, seed: int) -> list[Atoms]:
    """Up to ``n`` distinct conformers; the first is the molecule's own geometry.

    Parameters
    ----------
    molecule : Molecule
        A rigid one (from a file) gives only its own geometry.
    n : int
        How many are wanted; a molecule may have fewer.
    seed : int
        Same seed, same conformers.

    Returns
    -------
    list of ase.Atoms
        Angstrom, atoms in the molecule's order, each with ``info["charge"]``, ``info["spin"]``, ``info["name"]``. They differ
        pairwise by :data:`SAME_CONFORMER_RMSD_A` or more, and keep the configuration of every stereocentre.
    """
    check_seed(seed)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise BadOptionError(f"{n!r} conformers make no sense; ask for 1 or more")
    own = molecule.atoms
    if n == 1 or molecule.rigid or len(molecule) < 4 or _ideal_positions(molecule.graph) is not None:
        return [own]
    trial = _with_stereo(molecule.graph)
    if trial is None:  # a graph without sound valences cannot be embedded anew
        return [own]
    kept = [trial.AddConformer(molecule.graph.GetConformer(), assignId=True)]
    with rdBase.BlockLogs():
        # Several starts fall into one minimum, so more are tried than asked for.
        for attempt in range(1, _STARTS_PER_CONFORMER * int(n) + 1):
            if len(kept) == n:
                break
            candidate = _add_start(trial, seed, attempt)
            if candidate is not None and _differs(trial, candidate, kept):
                kept.append(candidate)
    out = [own]
    for conformer_id in kept[1:]:
        atoms = molecule.atoms
        atoms.set_positions(trial.GetConformer(conformer_id).GetPositions())
        out.append(atoms)
    return out


def check_seed(seed: int) -> None:
    """Raise BadOptionError unless RDKit can take this seed."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= _LARGEST_SEED:
        raise BadOptionError(f"seed {seed!r} is not a whole number from 0 to {_LARGEST_SEED}")


def _add_start(graph: Chem.Mol, seed: int, attempt: int) -> int | None:
    """Add the ``attempt``-th embedded and relaxed conformer of this seed; its id, or None when embedding failed."""
    for random_start in (False, True):  # random coordinates rescue crowded and caged molecules
        settings: Any = rdDistGeom.ETKDGv3()  # RDKit's stubs give its fields a wrong type
        # Neighbouring seeds of the user must not share starts, hence the hash.
        settings.randomSeed = 1 + int(np.random.SeedSequence((int(seed), attempt)).generate_state(1)[0]) % _LARGEST_SEED
        settings.clearConfs = False
        settings.timeout = _TIMEOUT_S
        settings.useRandomCoords = random_start
        conformer_id = int(rdDistGeom.EmbedMolecule(graph, settings))
        if conformer_id >= 0:
            _clean_up(graph, conformer_id)
            return conformer_id
    return None


def _clean_up(graph: Chem.Mol, conformer_id: int) -> None:
    """Relax one conformer: MMFF94s, or UFF where it lacks parameters, or not at all where both do."""
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(graph):
        terms = rdForceFieldHelpers.MMFFGetMoleculeProperties(graph, mmffVariant="MMFF94s")
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(graph, terms, confId=conformer_id)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(graph):
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(graph, confId=conformer_id)
    else:
        return
    field.Initialize()
    field.Minimize(maxIts=_CLEAN_UP_STEPS)


def _ideal_positions(graph: Chem.Mol) -> np.ndarray | None:
    """Coordinates of a lone atom, or of one centre with five or six equal terminal ligands; else None."""
    count = graph.GetNumAtoms()
    if count == 1:
        return np.zeros((1, 3))
    centre = next((atom for atom in graph.GetAtoms() if atom.GetDegree() == count - 1), None)
    if centre is None or count - 1 not in _POLYHEDRA or graph.GetNumBonds() != count - 1:
        return None
    ligands = [atom for atom in graph.GetAtoms() if atom.GetIdx() != centre.GetIdx()]
    if len({atom.GetAtomicNum() for atom in ligands}) > 1:
        return None
    positions = np.zeros((count, 3))
    length = covalent_radii[centre.GetAtomicNum()] + covalent_radii[ligands[0].GetAtomicNum()]
    positions[[atom.GetIdx() for atom in ligands]] = length * _POLYHEDRA[count - 1]
    return positions


def _with_positions(graph: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    conformer = Chem.Conformer(len(positions))
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float))
    graph.AddConformer(conformer, assignId=True)
    return graph


def _with_stereo(graph: Chem.Mol) -> Chem.Mol | None:
    """Sanitised copy whose stereocentres are those of the coordinates, without conformers; None if it cannot be."""
    copy = Chem.Mol(graph)
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(copy, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            return None
        Chem.AssignStereochemistryFrom3D(copy)
    copy.RemoveAllConformers()
    return copy


def _differs(graph: Chem.Mol, candidate: int, kept: list[int]) -> bool:
    """Whether a conformer is none of the kept ones, up to symmetry; hydrogens on carbon do not count."""
    bare = Chem.RWMol(graph)
    bare.BeginBatchEdit()
    for atom in graph.GetAtoms():
        if atom.GetAtomicNum() == 1 and any(other.GetAtomicNum() == 6 for other in atom.GetNeighbors()):
            bare.RemoveAtom(atom.GetIdx())
    bare.CommitBatchEdit()
    probe = Chem.Mol(bare)  # GetBestRMS moves the conformer it fits
    return all(
        rdMolAlign.GetBestRMS(probe, bare, candidate, other, maxMatches=_MAX_MATCHES) >= SAME_CONFORMER_RMSD_A
        for other in kept
    )
