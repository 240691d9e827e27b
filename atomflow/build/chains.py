"""Polymer chains: from a name, a number of units and a seed to a molecule, with an account of what was built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from atomflow.build.chain_graph import Centre, Link, assemble
from atomflow.build.embedding import check_seed
from atomflow.build.growth import CONTACT_SCALES, grow, ideal_sizes
from atomflow.build.local_geometry import centre_sign, local_geometry
from atomflow.build.polymers import Polymer, find_polymer, meso_probability
from atomflow.build.residues import Residue, find_residue
from atomflow.build.sequences import (
    SEQUENCES,
    chain_lengths,
    check_units,
    draw_sequence,
    parse_sequence,
    with_fractions,
)
from atomflow.errors import BadOptionError, UnknownNameError
from atomflow.model import GRADES, Molecule, Notice, Result, record

#: Mw/Mn when only the average is given: Flory's most probable distribution.
_MOST_PROBABLE = 2.0


@record("atomflow.chain/1")
@dataclass(frozen=True, eq=False)
class Chain(Result):
    """One polymer chain and what it is.

    Parameters
    ----------
    molecule : Molecule
        Atoms carry residue information: numbers from 1 at the head, codes of the residues, names of the atoms.
    polymer : str
        Name of the polymer.
    sequence : tuple of str
        Codes of the units from head to tail; a minus sign stands before a unit that is turned round.
    mole_fractions, weight_fractions : dict
        By code; weights without the end groups.
    molar_mass_g_mol : float
        With the end groups.
    tacticity : str
        As asked for.
    dyads : dict
        Meso and racemo dyads by code, counted in the coordinates: of each centre and the next one of its kind.
    turned_units : int
        Units the other way round (head-to-head defects).
    end_to_end_A, gyration_radius_A : float
        Of the backbone, all its atoms alike.
    ideal_end_to_end_A, ideal_gyration_radius_A : float
        Root mean squares of the same chain without excluded volume.
    backbone : (n,) int array
        Its atoms, head to tail.
    contact_scale : float
        Atoms more than three bonds apart are farther than this part of the sum of their van der Waals radii.
    seed : int
    source, grade : str
        Of the polymer's description. ``torsions_grade`` is the worst grade of the torsion weights.
    """

    molecule: Molecule
    polymer: str
    sequence: tuple[str, ...]
    mole_fractions: dict[str, float]
    weight_fractions: dict[str, float]
    molar_mass_g_mol: float
    tacticity: str
    dyads: dict[str, dict[str, int]]
    turned_units: int
    end_to_end_A: float
    gyration_radius_A: float
    ideal_end_to_end_A: float
    ideal_gyration_radius_A: float
    backbone: NDArray[np.intp] = field(repr=False, metadata={"shown": False})
    contact_scale: float = 0.0
    seed: int = 0
    source: str = ""
    grade: str = "assumed"
    torsions_grade: str = "assumed"
    warnings: tuple[Notice, ...] = ()


def polymer(what: str | Polymer, *, units: int | None = None, seed: int = 0, **options: Any) -> Molecule:
    """One chain of a polymer as a molecule; options and errors are those of :func:`polymer_chain`.

    Examples
    --------
    >>> from atomflow import build
    >>> build.polymer("PVDF-HFP", units=10, hfp_fraction=0.1, seed=1).formula
    'C21H19F25'
    """
    return polymer_chain(what, units=units, seed=seed, **options).molecule


def polymer_chain(
    what: str | Polymer,
    *,
    units: int | None = None,
    seed: int = 0,
    fractions: Mapping[str, float] | None = None,
    hfp_fraction: float | None = None,
    sequence: str | Sequence[str] | None = None,
    block_length: int | None = None,
    head_head_fraction: float | None = None,
    tacticity: str | float | None = None,
    head: str | None = None,
    tail: str | None = None,
    mn_g_mol: float | None = None,
    dispersity: float | None = None,
    folders: Iterable[str | Path] = (),
) -> Chain:
    """One chain of a polymer, with an account of it.

    Parameters
    ----------
    what : str or Polymer
        A name from `atomflow list polymers`, a SMILES with two attachment points (a homopolymer), or a polymer of your
        own.
    units : int
        Repeat units; without it, the polymer's own length.
    seed : int
        Of sequence, tacticity and torsions, each with its own stream: chains that differ in one keep the others.
    fractions : mapping
        Mole fractions of units, weight fractions of blocks, parts substituted, by code or block name.
    hfp_fraction : float
        Short for ``fractions={"HFP": ...}``.
    sequence : str or list of str
        ``"random"``, ``"blocky"``, ``"alternating"``, ``"blocks"``, or the residues themselves, ``"VDF*3 HFP -VDF VDF"``.
    block_length : int
        Units of a block of a blocky sequence.
    head_head_fraction : float
        Part of the first kind of units that is turned round.
    tacticity : str or float
        ``"isotactic"``, ``"syndiotactic"``, ``"atactic"`` or the probability of a meso dyad. The chain has a warning
        where this decides nothing.
    head, tail : str
        End groups, SMILES with one attachment point.
    mn_g_mol, dispersity : float
        Instead of ``units``: draw the length from the Schulz-Zimm distribution of this number average and Mw/Mn, which is
        2 when it is not said. No dispersity without an average.
    folders : paths
        The user's polymers, and their residues in a folder ``residues`` inside.

    Raises
    ------
    UnknownNameError
        For a polymer, residue or unit that is not there.
    BadOptionError, BadFileError
        For a number, sequence, SMILES or file that makes no sense.
    GrowthError
        When no chain without overlaps was found.
    """
    check_seed(seed)
    folders = [folders] if isinstance(folders, (str, Path)) else list(folders)
    spec = find_polymer(what, folders) if isinstance(what, str) else what
    given = dict(fractions or {})
    if hfp_fraction is not None:
        given["HFP"] = hfp_fraction
    spec = with_fractions(spec, given)
    changes: dict[str, Any] = {
        "sequence": " ".join(sequence) if sequence is not None and not isinstance(sequence, str) else sequence,
        "block_length": None if block_length is None else check_units(block_length),
        "head_head_fraction": head_head_fraction,
        "tacticity": tacticity,
        "head": head,
        "tail": tail,
    }
    spec = replace(spec, **{key: value for key, value in changes.items() if value is not None})
    residues = _residues(spec, folders)
    streams = np.random.SeedSequence(seed).spawn(4)
    length = _length(spec, residues, units, mn_g_mol, dispersity, streams[0])
    masses = {name: _mass(residue.unit.graph) for name, residue in residues.items()}
    row = draw_sequence(spec, length, np.random.default_rng(streams[1]), masses)
    return _built(spec, row, residues, seed, streams, tacticity is not None)


def _residues(spec: Polymer, folders: list[str | Path]) -> dict[str, Residue]:
    names = list(spec.residues)
    if spec.sequence not in SEQUENCES:
        names = [*names, *(name.removeprefix("-") for name in parse_sequence(spec.sequence))]
    found: dict[str, Residue] = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = find_residue(name, folders)
        except UnknownNameError as error:
            if spec.sequence in SEQUENCES and name in spec.residues:
                raise
            raise UnknownNameError(
                "residue",
                name,
                [*spec.residues, *error.near],
                mend="the sequence names it; see `atomflow list polymers --residues`",
            ) from error
    return found


def _length(
    spec: Polymer,
    residues: Mapping[str, Residue],
    units: int | None,
    mn_g_mol: float | None,
    dispersity: float | None,
    stream: np.random.SeedSequence,
) -> int:
    if mn_g_mol is None:
        if dispersity is not None:
            raise BadOptionError(
                f"dispersity {dispersity}: it spreads the lengths about a number-average molar mass; give that, too "
                "(--mn), or leave it away"
            )
        return check_units(spec.length if units is None else units)
    if units is not None:
        raise BadOptionError("units and a molar mass are both given; give one of them")
    if spec.sequence not in SEQUENCES:
        raise BadOptionError("an explicit sequence has its own length; leave the molar mass away")
    # The mean mass of a unit, from a chain long enough that rounding does not matter.
    trial = draw_sequence(
        replace(spec, head_head_fraction=0.0),
        2000,
        np.random.default_rng(0),
        {name: _mass(residue.unit.graph) for name, residue in residues.items()},
    )
    mean = float(np.mean([_mass(residues[name].unit.graph) for name in trial]))
    seed = int(stream.generate_state(1)[0])
    spread = _MOST_PROBABLE if dispersity is None else dispersity
    return int(chain_lengths(1, mn_g_mol=mn_g_mol, dispersity=spread, unit_mass_g_mol=mean, seed=seed)[0])


def _built(
    spec: Polymer,
    row: tuple[str, ...],
    residues: Mapping[str, Residue],
    seed: int,
    streams: list[np.random.SeedSequence],
    tactic: bool,
) -> Chain:
    links = [Link(residues[name.removeprefix("-")], name.startswith("-")) for name in row]
    chain = assemble(links, spec.head, spec.tail)
    signs = _signs(chain.centres, meso_probability(spec.tacticity), np.random.default_rng(streams[2]))
    geometry = local_geometry(chain, signs)
    positions, _, scale = grow(chain, geometry, seed=int(streams[3].generate_state(1)[0]))
    conformer = Chem.Conformer(chain.graph.GetNumAtoms())
    conformer.SetPositions(positions)
    chain.graph.AddConformer(conformer, assignId=True)
    charge = Chem.GetFormalCharge(chain.graph)
    molecule = Molecule(
        name=spec.name,
        graph=chain.graph,
        charge=charge,
        role="polymer",
        source=f"chain of {len(row)} units, seed {seed}; {spec.source}",
        grade=spec.grade,
    )
    codes = [link.residue.code for link in links]
    counts = Counter(codes)
    masses = {link.residue.code: _mass(link.residue.unit.graph) for link in links}
    total = sum(masses[code] * many for code, many in counts.items())
    spine = positions[chain.backbone]
    end_to_end, gyration = ideal_sizes(chain, geometry)
    return Chain(
        molecule=molecule,
        polymer=spec.name,
        sequence=tuple(str(link) for link in links),
        mole_fractions={code: many / len(row) for code, many in counts.items()},
        weight_fractions={code: many * masses[code] / total for code, many in counts.items()},
        molar_mass_g_mol=_mass(chain.graph),
        tacticity=str(spec.tacticity),
        dyads=_dyads(chain.centres, chain.backbone, positions),
        turned_units=sum(link.turned for link in links),
        end_to_end_A=float(np.linalg.norm(spine[-1] - spine[0])),
        gyration_radius_A=float(np.sqrt(((spine - spine.mean(axis=0)) ** 2).sum(axis=1).mean())),
        ideal_end_to_end_A=end_to_end,
        ideal_gyration_radius_A=gyration,
        backbone=chain.backbone,
        contact_scale=scale,
        seed=seed,
        source=spec.source,
        grade=spec.grade,
        warnings=(*_crowding(scale), *(_idle_tacticity(spec, chain.centres) if tactic else ())),
        torsions_grade=max((link.residue.torsions_grade for link in links), key=GRADES.index),
    )


def _crowding(scale: float) -> tuple[Notice, ...]:
    if scale >= CONTACT_SCALES[0]:
        return ()
    return (
        Notice(
            "crowded",
            f"the chain is crowded: atoms come as near as {scale:.2f} of the sum of their van der Waals radii; relax it "
            "before use",
        ),
    )


def _idle_tacticity(spec: Polymer, centres: Sequence[Centre]) -> tuple[Notice, ...]:
    if any(not centre.sign for centre in centres):
        return ()
    why = "the SMILES of its units states them all" if centres else "its backbone has none"
    return (
        Notice(
            "no-stereocentres",
            f"the tacticity {spec.tacticity} decides nothing: {spec.name} has no stereocentres to choose, {why}",
        ),
    )


def _signs(centres: Sequence[Centre], meso: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Handedness of each centre: each kind is a chain of dyads of its own."""
    last: dict[tuple[str, int], int] = {}
    signs = []
    for centre in centres:
        draw = rng.random()
        before = last.get(centre.kind)
        if centre.sign:
            sign = centre.sign
        elif before is None:
            sign = 1 if draw < 0.5 else -1
        else:
            sign = before if draw < meso else -before
        last[centre.kind] = sign
        signs.append(sign)
    return np.array(signs, np.int64)


def _dyads(
    centres: Sequence[Centre], backbone: NDArray[np.intp], positions: NDArray[np.float64]
) -> dict[str, dict[str, int]]:
    last: dict[tuple[str, int], int] = {}
    found: dict[str, dict[str, int]] = {}
    for centre in centres:
        before, here, behind = positions[backbone[centre.bead - 1 : centre.bead + 2]]
        sign = centre_sign(before, here, behind, positions[centre.first])
        counts = found.setdefault(centre.kind[0], {"meso": 0, "racemo": 0})
        if centre.kind in last:
            counts["meso" if last[centre.kind] == sign else "racemo"] += 1
        last[centre.kind] = sign
    return found


def _mass(graph: Chem.Mol) -> float:
    """Molar mass by RDKit's weights, g/mol, as chemists will check it."""
    table = Chem.GetPeriodicTable()
    return float(sum(table.GetAtomicWeight(atom.GetAtomicNum()) for atom in graph.GetAtoms()))
