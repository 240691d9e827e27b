"""What the atoms of a trajectory are: types, elements, masses, charges, bonds, molecules; and MDAnalysis selections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadOptionError, SelectionError
from atomflow.model import Notice
from atomflow.trajectory.elements import (
    MASSLESS,
    elements_of_atoms,
    elements_of_types,
    known_symbols,
    masses_of_elements,
    symbols_of_names,
)
from atomflow.trajectory.lammps_units import LammpsUnits, lammps_units

if TYPE_CHECKING:
    from ase import Atoms

    from atomflow.trajectory.datafile import DataFile

_PER_ATOM = ("elements", "names", "types", "resnames", "masses_u", "charges_e", "residues", "ids")


@dataclass(frozen=True, eq=False)
class Topology:
    """What is known of the atoms; None for what is not.

    Attributes
    ----------
    n_atoms : int
    elements : (n,) str array or None
        Chemical symbols, "" where unknown.
    names, types, resnames : (n,) str arrays or None
        As the topology file has them; a LAMMPS type is ``"5"``.
    masses_u, charges_e : (n,) float64 arrays or None
        Atomic mass units and elementary charges; nan where the file has none for this atom.
    residues : (n,) int array or None
        Residue (LAMMPS: molecule id) of every atom; 0 where it has none.
    bonds : (m, 2) int array or None
        Atom indices from 0.
    source : str
        Where this comes from, for people.
    ids : (n,) int array or None
        LAMMPS' numbers of the atoms.
    """

    n_atoms: int
    elements: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    types: NDArray[np.str_] | None = None
    resnames: NDArray[np.str_] | None = None
    masses_u: NDArray[np.float64] | None = None
    charges_e: NDArray[np.float64] | None = None
    residues: NDArray[np.intp] | None = None
    bonds: NDArray[np.intp] | None = None
    source: str = ""
    ids: NDArray[np.int64] | None = None
    #: A Universe or AtomGroup that the user handed over, with these atoms; selections go to it.
    given: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in _PER_ATOM:
            if (values := getattr(self, name)) is not None and len(values) != self.n_atoms:
                raise BadOptionError(f"topology with {self.n_atoms} atoms: {name} has {len(values)} entries")
        if self.bonds is not None and len(self.bonds) and not 0 <= self.bonds.min() <= self.bonds.max() < self.n_atoms:
            raise BadOptionError(f"topology with {self.n_atoms} atoms: a bond names an atom that is not there")

    def __getstate__(self) -> dict[str, Any]:
        # A worker process selects nothing, and a Universe may hold a whole trajectory.
        return {key: value for key, value in self.__dict__.items() if key != "universe"} | {"given": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @classmethod
    def from_universe(cls, universe: Any) -> Topology:
        """What an MDAnalysis Universe or AtomGroup knows, without what MDAnalysis guessed."""
        from atomflow.trajectory.mda_topology import from_universe

        return from_universe(universe)

    @classmethod
    def from_ase(cls, atoms: Atoms, source: str = "ase.Atoms") -> Topology:
        """Symbols of an ``ase.Atoms``, with its masses, tags of residues and initial charges where it has them."""
        symbols = atoms.get_chemical_symbols()
        elements = np.array(["" if symbol == "X" else symbol for symbol in symbols], dtype=str)
        charges = atoms.get_initial_charges()
        residues = atoms.arrays.get("residuenumbers")
        resnames = atoms.arrays.get("residuenames")
        return cls(
            n_atoms=len(atoms),
            elements=elements,
            names=np.array(symbols, dtype=str),
            types=np.array(symbols, dtype=str),
            resnames=None if resnames is None else np.array([str(name).strip() for name in resnames], dtype=str),
            masses_u=np.asarray(atoms.get_masses(), float),
            charges_e=np.asarray(charges, float) if np.any(charges) else None,
            residues=None if residues is None else np.asarray(residues, np.intp),
            source=source,
        )

    @classmethod
    def from_symbols(cls, symbols: Sequence[str], source: str = "given elements") -> Topology:
        """Atoms of these names; ``C1`` or ``CT`` is a name without an element."""
        names = np.array([str(name) for name in symbols], dtype=str)
        elements = symbols_of_names(names.tolist())
        masses = masses_of_elements(elements)
        return cls(
            n_atoms=len(names),
            elements=np.array(elements, dtype=str) if any(elements) else None,
            names=names,
            types=names,
            masses_u=None if np.isnan(masses).any() else masses,
            source=source,
        )

    @classmethod
    def from_data_file(cls, path: str | Path | DataFile, units: str | None = None) -> Topology:
        """What a LAMMPS data file says; elements from the masses of the types where those leave no doubt.

        Parameters
        ----------
        path : path, or a file that was read
        units : str, optional
            LAMMPS unit style; without it the one that ``write_data`` noted in the file, else ``real``.

        Raises
        ------
        BadFileError
        """
        from atomflow.trajectory.datafile import DataFile, read_data_file

        data = path if isinstance(path, DataFile) else read_data_file(path)
        factors = lammps_units(units or data.units or "real")
        masses = {kind: mass * factors.mass_u for kind, mass in data.masses.items()}
        labels = {kind: label for kind, label in data.labels.items() if kind in masses}
        symbols = elements_of_types(masses, labels)
        types = data.types
        return cls(
            n_atoms=len(data.ids),
            elements=_of_types(types, symbols, "") if any(symbols.values()) else None,
            names=_of_types(types, data.labels, "") if data.labels else None,
            types=types,
            masses_u=_of_types(types, masses, np.nan) if masses else None,
            charges_e=None if data.charges is None else data.charges * factors.charge_e,
            residues=None if data.molecules is None else data.molecules.astype(np.intp),
            bonds=data.bonds,
            source=str(data.path),
            ids=data.ids,
        )

    @classmethod
    def from_dump(
        cls, columns: Mapping[str, NDArray[Any]], n_atoms: int, source: str = "", units: LammpsUnits | None = None
    ) -> Topology:
        """What the columns of a LAMMPS dump say of the atoms: ``id``, ``type``, ``element``, ``mass``, ``mol``, ``q``."""
        factors = units or lammps_units("real")
        known = {name: values for name, values in columns.items() if len(values) == n_atoms}
        types = np.array([str(kind) for kind in known["type"]], dtype=str) if "type" in known else None
        masses = np.asarray(known["mass"], float) * factors.mass_u if "mass" in known else None
        names = np.array([str(name) for name in known["element"]], dtype=str) if "element" in known else None
        elements = None if names is None else np.array(symbols_of_names(names.tolist()), dtype=str)
        if (elements is None or not elements.any()) and masses is not None:
            keys = [f"{mass:.4f}" for mass in masses]
            symbols = elements_of_types({key: float(key) for key in set(keys)})
            elements = np.array([symbols[key] for key in keys], dtype=str)
        return cls(
            n_atoms=n_atoms,
            elements=elements if elements is not None and elements.any() else None,
            names=names,
            types=types,
            masses_u=masses,
            charges_e=np.asarray(known["q"], float) * factors.charge_e if "q" in known else None,
            residues=np.asarray(known["mol"]).astype(np.intp) if "mol" in known else None,
            source=source,
            ids=np.asarray(known["id"]).astype(np.int64) if "id" in known else None,
        )

    def subset(self, indices: NDArray[np.intp]) -> Topology:
        """The same for these atoms only, in this order; bonds to others are left out."""
        place = np.full(self.n_atoms, -1)
        place[indices] = np.arange(len(indices))
        bonds = self.bonds
        if bonds is not None and len(bonds):
            bonds = place[bonds]
            bonds = bonds[(bonds >= 0).all(axis=1)]
        parts: dict[str, Any] = {name: None if (v := getattr(self, name)) is None else v[indices] for name in _PER_ATOM}
        return replace(self, n_atoms=len(indices), bonds=bonds, given=None, **parts)

    def with_elements(self, type_map: Mapping[Any, str]) -> Topology:
        """The same with the elements of these types: ``{"1": "Li", "2": "O"}``; masses follow where there are none.

        Raises
        ------
        BadOptionError
            A type that no atom has, or what is not an element.
        """
        if self.types is None:
            raise BadOptionError(f"type map: {self.source or 'this trajectory'} has no atom types; give a topology")
        there = set(self.types.tolist())
        wanted = {str(kind): str(symbol) for kind, symbol in type_map.items()}
        for kind, symbol in wanted.items():
            if kind not in there:
                raise BadOptionError(f"type map: no atom has type {kind[:20]!r}; there are {_listed(there)}")
            if not known_symbols([symbol])[0]:
                raise BadOptionError(f"type map: {symbol[:20]!r} of type {kind} is not an element")
        old = self.elements if self.elements is not None else np.full(self.n_atoms, "", dtype="<U2")
        proper = {kind: known_symbols([symbol])[0] for kind, symbol in wanted.items()}
        elements = np.array([proper.get(kind, was) for kind, was in zip(self.types, old, strict=True)], dtype=str)
        masses = self.masses_u
        if masses is None or np.isnan(masses).any():
            standard = masses_of_elements(elements.tolist())
            masses = standard if masses is None else np.where(np.isnan(masses), standard, masses)
        return replace(self, elements=elements, masses_u=None if np.isnan(masses).all() else masses, given=None)

    def with_guessed_elements(self) -> tuple[Topology, tuple[Notice, ...]]:
        """The same with elements guessed from atom names where there are none, and what was guessed."""
        if self.names is None or (self.elements is not None and self.elements.all()):
            return self, ()
        known = self.elements if self.elements is not None else np.full(self.n_atoms, "", dtype="<U2")
        resnames = None if self.resnames is None else self.resnames.tolist()
        residues = None if self.residues is None else self.residues.tolist()
        guesses = np.array(elements_of_atoms(self.names.tolist(), resnames, residues), dtype=str)
        elements = np.where(known != "", known, guesses)
        strange = any(not name.upper().startswith(MASSLESS) for name in set(self.names[elements == ""].tolist()))
        # Beads have names such as C1A, PO4 and GL1: one name that is no atom's makes all of them doubtful, unless the
        # file itself has elements.
        if (strange and not known.any()) or np.array_equal(elements, known):
            return self, ()
        masses = self.masses_u
        if masses is None and not strange:
            # What has no element here is a site without mass.
            masses = np.nan_to_num(masses_of_elements(elements.tolist()))
        notice = Notice("elements-guessed", self._told_of_guesses(known == "", elements))
        return replace(self, elements=elements, masses_u=masses), (notice,)

    def _told_of_guesses(self, guessed: NDArray[np.bool_], elements: NDArray[np.str_]) -> str:
        assert self.names is not None
        pairs = dict.fromkeys(zip(self.names[guessed].tolist(), elements[guessed].tolist(), strict=True))
        shown = [f"{name} {symbol}" for name, symbol in pairs if symbol and symbol != name]
        told = ", ".join(shown[:15]) + (" and so on" if len(shown) > 15 else "")
        lacks = "no elements" if guessed.all() else f"no elements for {guessed.sum()} of its {self.n_atoms} atoms"
        return f"{self.source} has {lacks}; they are guessed from the names of its atoms" + (told and f": {told}")

    def filled_from(self, other: Topology) -> Topology:
        """The same, with what this one does not know taken from ``other``, which has the same atoms."""
        names = (*_PER_ATOM, "bonds")
        return replace(self, **{name: getattr(other, name) for name in names if getattr(self, name) is None})

    @cached_property
    def universe(self) -> Any:
        """MDAnalysis Universe (without coordinates unless it was handed over), for selections."""
        from atomflow.trajectory.mda_topology import make_universe

        return make_universe(self)

    def select(self, selection: str | Sequence[int] | NDArray[Any] | Any) -> NDArray[np.intp]:
        """Indices (sorted) of an MDAnalysis selection, such as ``"type 5"`` or ``"element O and resname TFSI"``.

        An array of indices, a mask or an AtomGroup is checked and comes back as indices.

        Raises
        ------
        SelectionError
            The selection cannot be read, asks for what the topology does not have, or finds nothing; the message
            lists the types, elements and residue names there are.
        """
        from atomflow.trajectory.mda_topology import select_text

        if isinstance(selection, str):
            return select_text(self, selection)
        if hasattr(selection, "ix") and hasattr(selection, "universe"):
            return self._indices_of_group(selection)
        return self._checked_indices(selection)

    def _indices_of_group(self, group: Any) -> NDArray[np.intp]:
        if self.given is None or group.universe is not self.given.universe:
            raise SelectionError("this AtomGroup belongs to another Universe than the trajectory; select by text")
        place = np.full(len(group.universe.atoms), -1)
        place[self.given.atoms.ix] = np.arange(self.n_atoms)
        found = place[group.atoms.ix]
        if not len(found) or (found < 0).any():
            raise SelectionError("this AtomGroup is empty or has atoms that the trajectory does not have")
        return np.unique(found)

    def _checked_indices(self, selection: Any) -> NDArray[np.intp]:
        array = np.asarray(selection)
        if array.dtype == bool and array.shape == (self.n_atoms,):
            array = np.flatnonzero(array)
        if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer):
            raise SelectionError(
                "a selection is a text such as 'type 5', an array of atom indices, or a mask with one entry for each "
                f"of the {self.n_atoms} atoms"
            )
        if array.min() < 0 or array.max() >= self.n_atoms:
            raise SelectionError(
                f"atom indices run from {array.min()} to {array.max()}, there are {self.n_atoms} atoms"
            )
        found = np.unique(array).astype(np.intp)
        if len(found) < len(array):
            raise SelectionError("an atom index comes twice in a selection; name each atom once")
        return found

    def vocabulary(self) -> dict[str, list[str]]:
        """Values of ``type``, ``element``, ``resname`` and ``name`` that there are."""
        kinds = {"type": self.types, "element": self.elements, "resname": self.resnames, "name": self.names}
        return {
            key: sorted(set(values.tolist()) - {""}, key=lambda text: (len(text) if text.isdigit() else 0, text))
            for key, values in kinds.items()
            if values is not None
        }

    @cached_property
    def molecules(self) -> NDArray[np.intp]:
        """(n,) number of the molecule of every atom: connected by bonds, else the residues, else each atom alone.

        Molecules are numbered by their first atoms. A residue that holds every atom says nothing; residue 0 is
        none.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if self.bonds is not None and len(self.bonds):
            ones = np.ones(len(self.bonds), np.int8)
            graph = coo_array((ones, tuple(self.bonds.T)), shape=(self.n_atoms, self.n_atoms))
            return _by_first_atom(connected_components(graph, directed=False)[1])
        if self.residues is None or (self.residues == self.residues[:1]).all():
            return np.arange(self.n_atoms, dtype=np.intp)
        return _by_first_atom(np.where(self.residues == 0, -1 - np.arange(self.n_atoms), self.residues))


def _by_first_atom(labels: NDArray[Any]) -> NDArray[np.intp]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _of_types(types: NDArray[np.str_], values: Mapping[str, Any], unknown: Any) -> NDArray[Any]:
    kinds, inverse = np.unique(types, return_inverse=True)
    return np.array([values.get(kind, unknown) for kind in kinds.tolist()])[inverse]


def _listed(values: Any, most: int = 15) -> str:
    ordered = sorted(values, key=lambda text: (len(text), text))
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
