"""A system as GROMACS reads it: ``system.top`` and ``system.gro``.

Formats: the GROMACS reference manual, chapters on topologies and file formats. Each kind of molecule is described once;
bonded numbers stand behind each entry, so that no lookup by type can go astray. Lengths in nm, energies in kJ/mol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadStructureError
from atomflow.forcefield.lammps_files import heading
from atomflow.forcefield.openmm_system import KJ_PER_KCAL
from atomflow.forcefield.pairing import neighbours, pair_tables
from atomflow.forcefield.structure_files import write_gro
from atomflow.model import Bonded, System, residues_of, write_atomically


@dataclass(frozen=True)
class GromacsFiles:
    """What was written."""

    top: Path
    gro: Path


def write_gromacs(system: System, folder: str | Path) -> GromacsFiles:
    """Write ``system.top`` and ``system.gro``.

    Held molecules have all their pairs excluded; GROMACS keeps no body rigid, so freeze their atoms (``freezegrps``).

    Raises
    ------
    BadStructureError
        Two molecules of one kind have different types, charges or terms.
    OutputError
        The folder cannot be written.
    """
    folder = Path(folder)
    top = write_atomically(folder / "system.top", _top_text(system))
    return GromacsFiles(top, write_gro(system, folder / "system.gro"))


def _top_text(system: System) -> str:
    names = _distinct([one.name for one in system.types])
    lines = [line.replace("#", ";", 1) for line in heading(system)]
    lines += [
        "",
        "[ defaults ]",
        "; geometric mixing of sigma and epsilon",
        "1 3 yes " + f"{system.lj_14!r} {system.coulomb_14!r}",
    ]
    lines += ["", "[ atomtypes ]", "; name number mass charge ptype sigma epsilon"]
    numbers = dict(zip(np.asarray(system.type_of_atom).tolist(), system.box.numbers.tolist(), strict=True))
    for index, (name, one) in enumerate(zip(names, system.types, strict=True)):
        sigma, epsilon = one.sigma_A / 10, one.epsilon_kcal_per_mol * KJ_PER_KCAL
        lines.append(f"{name} {numbers.get(index, 0)} {_n(one.mass_u)} 0.0 A {_n(sigma)} {_n(epsilon)}")
    lines += _exceptions(system, names)
    kinds = sorted(set(system.box.molecules.tolist()))
    labels = _distinct([system.box.kinds[kind].name for kind in kinds])
    pieces = _Pieces(system)
    for kind, label in zip(kinds, labels, strict=True):
        lines += _molecule_type(system, pieces, kind, label, names)
    lines += ["", "[ system ]", " ".join(system.box.name.split()) or "system", "", "[ molecules ]"]
    # Molecules are counted as they stand in the coordinates: runs of one kind after another.
    order = system.box.molecules
    starts = np.flatnonzero(np.r_[True, order[1:] != order[:-1]])
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        lines.append(f"{labels[kinds.index(order[start])]} {end - start}")
    return "\n".join(lines) + "\n"


def _exceptions(system: System, names: list[str]) -> list[str]:
    """Pairs of types beside the mixing rule, and their 1-4 form, which GROMACS would otherwise mix."""
    epsilons, sigmas = pair_tables(system)
    place = {one.name: index for index, one in enumerate(system.types)}
    found = [tuple(place[name] for name in pair.types) for pair in system.pairs if set(pair.types) <= place.keys()]
    lines: list[str] = []
    for title, factor in (("nonbond_params", 1.0), ("pairtypes", system.lj_14)):
        if found:
            lines += ["", f"[ {title} ]"]
        for i, j in found:
            epsilon = epsilons[i, j] * KJ_PER_KCAL * factor
            lines.append(f"{names[i]} {names[j]} 1 {_n(sigmas[i, j] / 10)} {_n(epsilon)}")
    return lines


class _Pieces:
    """Entries of each molecule, counted from its own first atom."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.first = system.box.first_atoms
        pairs = neighbours(system).one_four
        self.rows = {
            "bonds": self._rows(system.bonds),
            "angles": self._rows(system.angles),
            "torsions": self._rows(system.torsions),
            "impropers": self._rows(system.impropers),
            "pairs": (pairs, np.zeros(len(pairs), np.intp)),
        }
        self.molecule = {name: self._molecules(name, atoms) for name, (atoms, _term) in self.rows.items()}
        self.order = {name: np.argsort(where, kind="stable") for name, where in self.molecule.items()}

    @staticmethod
    def _rows(bonded: Bonded) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return bonded.atoms, bonded.term

    def _molecules(self, name: str, atoms: NDArray[np.intp]) -> NDArray[np.intp]:
        of = self.system.box.molecule_of_atom
        if len(atoms) == 0:
            return np.zeros(0, np.intp)
        where = of[atoms]
        if (where != where[:, :1]).any():
            raise BadStructureError(
                f"{self.system.box.name}: {name} between molecules, which a GROMACS topology has none of"
            )
        return np.asarray(where[:, 0], np.intp)

    def of(self, name: str, molecule: int) -> list[tuple[tuple[int, ...], int]]:
        """Atoms and term of each entry of one molecule."""
        order, where = self.order[name], self.molecule[name]
        low, high = np.searchsorted(where[order], [molecule, molecule + 1])
        atoms, term = self.rows[name]
        chosen = order[low:high]
        local = (atoms[chosen] - self.first[molecule]).tolist()
        return [(tuple(row), index) for row, index in zip(local, term[chosen].tolist(), strict=True)]


def _molecule_type(system: System, pieces: _Pieces, kind: int, label: str, names: list[str]) -> Iterator[str]:
    box = system.box
    members = np.flatnonzero(box.molecules == kind)
    first = int(members[0])
    _check_alike(system, pieces, members)
    atoms = slice(box.first_atoms[first], box.first_atoms[first + 1])
    yield from ("", "[ moleculetype ]", f"{label} 3", "", "[ atoms ]", "; nr type resnr residue atom cgnr charge mass")
    residue, residue_names = residues_of(box.kinds[kind])
    elements = [atom.GetSymbol() for atom in box.kinds[kind].graph.GetAtoms()]
    rows = zip(system.type_of_atom[atoms], system.charges_e[atoms], residue, elements, strict=True)
    for number, (type_, charge, place, element) in enumerate(rows, start=1):
        mass = system.types[type_].mass_u
        name = residue_names[place] or "MOL"
        yield f"{number} {names[type_]} {place + 1} {name} {element} {number} {_n(charge)} {_n(mass)}"
    if first in system.held:
        yield from ("", "[ exclusions ]", "; a rigid particle does not see itself")
        count = len(box.kinds[kind])
        yield from (" ".join(map(str, range(i, count + 1))) for i in range(1, count))
    yield from _entries("pairs", (f"{_ids(a)} 1" for a, _t in pieces.of("pairs", first)))
    yield from _entries("bonds", _bond_rows(system, pieces, first))
    yield from _entries("angles", _angle_rows(system, pieces, first))
    yield from _entries("dihedrals", _cosine_rows(system.torsions, pieces.of("torsions", first), 9))
    yield from _entries("dihedrals", _cosine_rows(system.impropers, pieces.of("impropers", first), 4))


def _check_alike(system: System, pieces: _Pieces, members: NDArray[np.intp]) -> None:
    """One description must do for all molecules of a kind."""
    box = system.box
    first = int(members[0])
    size = box.first_atoms[first + 1] - box.first_atoms[first]
    rows = box.first_atoms[members][:, None] + np.arange(size)
    same = (np.asarray(system.type_of_atom)[rows] == np.asarray(system.type_of_atom)[rows[0]]).all()
    same &= bool(np.allclose(system.charges_e[rows], system.charges_e[rows[0]], atol=1e-9))
    for name in pieces.rows if len(members) > 1 else ():
        many = np.bincount(pieces.molecule[name], minlength=len(box.molecules))[members]
        same &= bool((many == many[0]).all())
    held = np.isin(members, system.held)
    if not same or held.any() != held.all():
        raise BadStructureError(
            f"{box.name}: molecules of {box.kinds[box.molecules[first]].name} differ in types, charges or terms; "
            "a GROMACS topology describes each kind once, so make them different kinds"
        )


def _bond_rows(system: System, pieces: _Pieces, molecule: int) -> Iterator[str]:
    for atoms, index in pieces.of("bonds", molecule):
        term = system.bonds.terms[index]
        yield f"{_ids(atoms)} 1 {_n(term.r0_A / 10)} {_n(2 * term.k_kcal_per_mol_A2 * KJ_PER_KCAL * 100)}"


def _angle_rows(system: System, pieces: _Pieces, molecule: int) -> Iterator[str]:
    for atoms, index in pieces.of("angles", molecule):
        term = system.angles.terms[index]
        yield f"{_ids(atoms)} 1 {_n(term.theta0_deg)} {_n(2 * term.k_kcal_per_mol_rad2 * KJ_PER_KCAL)}"


def _cosine_rows(bonded: Bonded, entries: list[tuple[tuple[int, ...], int]], function: int) -> Iterator[str]:
    for atoms, index in entries:
        for k, n, shift in bonded.terms[index].parts or ((0.0, 1, 0.0),):
            yield f"{_ids(atoms)} {function} {_n(shift)} {_n(k * KJ_PER_KCAL)} {n}"


def _entries(title: str, rows: Iterator[str]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield from ("", f"[ {title} ]", *found)


def _ids(atoms: tuple[int, ...]) -> str:
    return " ".join(str(atom + 1) for atom in atoms)


def _n(value: float) -> str:
    return repr(float(value))


def _distinct(names: list[str]) -> list[str]:
    """Names that GROMACS takes: letters, digits and ``_+-``, beginning with a letter, no two alike."""
    found: list[str] = []
    for name in names:
        plain = "".join(
            letter if letter.isascii() and (letter.isalnum() or letter in "_+-") else "_" for letter in name
        )
        plain = plain if plain[:1].isalpha() else f"t{plain}"
        number, wanted = 2, plain
        while plain in found:
            plain, number = f"{wanted}_{number}", number + 1
        found.append(plain)
    return found
