"""Molecules of a system sorted into kinds: known, unknown, polymers, framework."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from atomflow.model import Notice
from atomflow.trajectory.molecule_graphs import COVALENT, find_molecules, same_graph
from atomflow.trajectory.species_kinds import Kind, Role
from atomflow.trajectory.species_library import WORTH, Known, donors_by_element
from atomflow.trajectory.topology import Topology

#: Unknown molecules with more atoms are chains or networks.
_LARGE = 150
#: Chains of one polymer differ in length, so a little in composition.
_SAME_COMPOSITION = 0.05
#: Carbon in less than this part of the heavy atoms: a network is a glass or a ceramic, with or without grafts.
_CARBON_OF_FRAMEWORK = 0.2
ALKALI = (3, 11, 19, 37, 55)
_HALOGENS, _TRIVALENT = (9, 17, 35, 53), 3
#: Of species with one formula, those of an electrolyte are the likelier ones.
_USUAL = ("anion", "solvent", "additive")


@dataclass(frozen=True, eq=False)
class Part:
    """The atoms that count, renumbered from 0."""

    topology: Topology
    #: Index in the topology of every atom.
    index: NDArray[np.intp]
    numbers: NDArray[np.intp]
    bonds: NDArray[np.intp]
    #: Molecules of a file without bonds and coordinates; species are then told by their formula.
    together: NDArray[np.intp] | None


class Sorter:
    """Sorts the molecules of a part into kinds; the state is what is not yet sorted, and the names that are taken."""

    def __init__(self, part: Part, library: dict[int, list[Known]], notices: list[Notice]) -> None:
        self.part, self.library, self.notices = part, library, notices
        self.found = find_molecules(part.numbers, part.bonds, part.together)
        self.names: set[str] = set()

    def kinds(self) -> tuple[Kind, ...]:
        """All kinds, in the order of :attr:`FoundSpecies.kinds`."""
        keys, counts = np.unique(self.found.keys, return_counts=True)
        of_key = np.split(np.argsort(self.found.keys, kind="stable"), np.cumsum(counts)[:-1])
        known = [self._known(int(key), int(alike[0])) for key, alike in zip(keys, of_key, strict=True)]
        lattice = self._framework(of_key, known)
        done, large = [], []
        for number, molecules in enumerate(of_key):
            if number in lattice:
                continue
            size = int(self.found.sizes[molecules[0]])
            if known[number] is None and size > _LARGE:
                large.append(molecules)
            else:
                done += self._kind(molecules, known[number])
        done.sort(key=lambda kind: (not kind.is_cation, kind.role != "ion", -kind.n_molecules))
        for number, molecules in enumerate(self._polymers(large), start=1):
            done.append(self._make(f"polymer-{number}", self._composition(molecules), "polymer", molecules))
        if lattice:
            molecules = np.concatenate([of_key[number] for number in sorted(lattice)])
            done.append(self._make("framework", "", "framework", molecules, as_one=True))
        return tuple(done)

    def _known(self, key: int, molecule: int) -> Known | None:
        candidates = self.library.get(key, [])
        if not candidates:
            return None
        if self.part.together is not None:
            return self._by_formula(candidates, molecule)
        graph = self.found.graph_of(molecule)
        return next((known for known in candidates if same_graph(graph, known.graph)), None)

    def _by_formula(self, candidates: list[Known], molecule: int) -> Known | None:
        if len(candidates) == 1:
            return candidates[0]
        usual = [known for known in candidates if known.role in _USUAL]
        taken = usual[0] if len(usual) == 1 else None
        names = ", ".join(known.name for known in candidates)
        text = f"{self._formula(molecule)} may be {names}" + (f", and was taken for {taken.name}" if taken else "")
        self.notices.append(Notice("ambiguous-formula", text + "; bonds would tell"))
        return taken

    def _framework(self, of_key: list[NDArray[np.intp]], known: list[Known | None]) -> set[int]:
        """Which distinct graphs belong to a ceramic or a glass."""
        metals, lone, groups, ions, trivalent, halides, networks = (set[int]() for _ in range(7))
        organic = False
        for number, molecules in enumerate(of_key):
            elements = self.part.numbers[self.found.atoms_of(int(molecules[0]))]
            species = known[number]
            if len(elements) == 1:
                one = int(elements[0])
                if one in _HALOGENS:
                    halides.add(number)
                elif species is not None or one in ALKALI:
                    charge = species.charge if species else 1
                    (trivalent if charge >= _TRIVALENT else ions).add(number)
                elif one in COVALENT:
                    lone.add(number)
                elif one:
                    metals.add(number)
            elif species is None and not np.isin(elements, (0, 1, 6)).any():
                groups.add(number)
            elif species is None and len(elements) > _LARGE and _mineral(elements):
                networks.add(number)
            else:
                organic = True
        networks |= {number for number in groups if self.found.sizes[of_key[number][0]] > _LARGE}
        if not (metals and (lone or groups or halides)) and not (lone and (ions or trivalent)):
            return networks
        lattice = metals | lone | groups | trivalent | networks
        return lattice if organic else lattice | halides

    def _kind(self, molecules: NDArray[np.intp], known: Known | None) -> list[Kind]:
        atoms = self.found.atoms_of(int(molecules[0]))
        number = int(self.part.numbers[atoms[0]])
        if len(atoms) > 1:
            formula = self._formula(int(molecules[0]))
            name = known.label if known else self._residue_name(molecules) or formula
            return [self._make(name, formula, "molecule", molecules, known)]
        if not number:
            return self._unknown_atoms(molecules)
        symbol = chemical_symbols[number]
        charged = known is not None or number in (*ALKALI, *_HALOGENS)
        return [self._make(symbol, symbol, "ion" if charged else "element", molecules, known)]

    def _unknown_atoms(self, molecules: NDArray[np.intp]) -> list[Kind]:
        """Lone atoms without an element, by their type, else by their name."""
        topology, atoms = self.part.topology, self.part.index[self._members(molecules)]
        words = topology.types if topology.types is not None else topology.names
        of_atom = words[atoms] if words is not None else np.full(len(atoms), "unknown")
        kinds = [self._make(f"type-{word}", "", "type", molecules[of_atom == word]) for word in np.unique(of_atom)]
        names = ", ".join(kind.name for kind in kinds)
        self.notices.append(Notice("unknown-elements", f"{len(atoms)} atoms have no element; they are called {names}"))
        return kinds

    def _make(
        self,
        name: str,
        formula: str,
        role: Role,
        molecules: NDArray[np.intp],
        known: Known | None = None,
        as_one: bool = False,
    ) -> Kind:
        name = self._unused(name)
        local = self._members(molecules)
        sizes = self.found.sizes[molecules]
        starts = np.array([0, len(local)]) if as_one else np.concatenate([[0], np.cumsum(sizes)])
        numbers = self.part.numbers[local]
        if as_one:
            formula = _reduced_formula(numbers)
        if role == "ion":
            labels = {name: local}
        else:
            labels = {f"{element}_{name}": atoms for element, atoms in self._sites(molecules, known).items()}
        charge = float(known.charge) if known else None
        source = "library" if known else "unknown"
        if known is None and role == "ion":
            charge, source = (1.0 if numbers[0] in ALKALI else -1.0), "element"
        return Kind(
            name=name,
            formula=formula,
            role=role,
            species=known.name if known else None,
            charge_e=charge,
            charge_source=source,
            members=self.part.index[local],
            starts=starts.astype(np.intp),
            sites={label: np.sort(self.part.index[atoms]) for label, atoms in labels.items()},
        )

    def _sites(self, molecules: NDArray[np.intp], known: Known | None) -> dict[str, NDArray[np.intp]]:
        """Element -> donor atoms, judged on one molecule of each distinct graph."""
        charge = known.charge if known else 0
        found: dict[str, list[NDArray[np.intp]]] = {}
        weights: dict[str, float] = {}
        for key in np.unique(self.found.keys[molecules]):
            alike = molecules[self.found.keys[molecules] == key]
            rows = self._members(alike).reshape(len(alike), -1)
            if self.part.together is not None and known is not None:
                columns = {e: np.flatnonzero(self.part.numbers[rows[0]] == atomic_numbers[e]) for e in known.donors}
                best = dict.fromkeys(columns, 1.0)
            else:
                graph = self.found.graph_of(int(alike[0]))
                columns, best = donors_by_element(graph, charge, self.part.numbers[rows[0]])
            for element, chosen in columns.items():
                found.setdefault(element, []).append(rows[:, chosen].ravel())
                weights[element] = max(weights.get(element, 0.0), best[element])
        least = WORTH * max(weights.values(), default=0.0)
        order = sorted(found, key=lambda element: (-weights[element], element))
        return {element: np.concatenate(found[element]) for element in order if weights[element] >= least}

    def _polymers(self, large: list[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
        """Chains whose atoms have the same surroundings, in about the same composition, are one polymer."""
        pools: list[tuple[frozenset[int], NDArray[np.float64], list[NDArray[np.intp]]]] = []
        for molecules in large:
            atoms = self.found.atoms_of(int(molecules[0]))
            around = frozenset(self.found.surroundings[atoms].tolist())
            content = np.bincount(self.part.numbers[atoms], minlength=120) / len(atoms)
            for known, mean, chains in pools:
                if around == known and np.abs(content - mean).max() < _SAME_COMPOSITION:
                    chains.append(molecules)
                    break
            else:
                pools.append((around, content, [molecules]))
        merged = [np.concatenate(chains) for _, _, chains in pools]
        return sorted(merged, key=lambda chains: -int(self.found.sizes[chains].sum()))

    def _members(self, molecules: NDArray[np.intp]) -> NDArray[np.intp]:
        starts, sizes = self.found.starts[molecules], self.found.sizes[molecules]
        steps = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.found.members[np.repeat(starts, sizes) + steps]

    def _formula(self, molecule: int) -> str:
        return _hill(self.part.numbers[self.found.atoms_of(molecule)])

    def _composition(self, chains: NDArray[np.intp]) -> str:
        if len(np.unique(self.found.keys[chains])) == 1:
            return self._formula(int(chains[0]))
        numbers = self.part.numbers[self._members(chains)]
        counts = np.bincount(numbers, minlength=119)
        unit = counts[6] or counts.max()
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda z: (z != 6, z != 1, chemical_symbols[z]))
        return " ".join(f"{chemical_symbols[z]}{counts[z] / unit:.2f}" for z in order)

    def _residue_name(self, molecules: NDArray[np.intp]) -> str:
        """Name of the residue when all molecules of a kind have the same one."""
        resnames = self.part.topology.resnames
        if resnames is None:
            return ""
        found = np.unique(resnames[self.part.index[self._members(molecules)]])
        name = re.sub(r"[^\w.+-]", "", str(found[0])) if len(found) == 1 else ""
        return "" if name.upper() in ("UNK", "UNL", "MOL", "LIG", "RES", "SYSTEM") else name

    def _unused(self, name: str) -> str:
        free, number = name, 2
        while free in self.names:
            free, number = f"{name}-{number}", number + 1
        self.names.add(free)
        return free


def _mineral(numbers: NDArray[np.intp]) -> bool:
    """Whether a network is a ceramic or a glass: little carbon, and something that builds networks."""
    heavy = numbers[numbers > 1]
    return bool((heavy == 6).mean() < _CARBON_OF_FRAMEWORK and (~np.isin(heavy, (6, 7, 8, 9, 16, 17))).any())


def _hill(numbers: NDArray[np.intp]) -> str:
    counts = {chemical_symbols[z]: int(n) for z, n in enumerate(np.bincount(numbers)) if n}
    first = [symbol for symbol in ("C", "H") if symbol in counts and "C" in counts]
    order = first + sorted(symbol for symbol in counts if symbol not in first)
    return "".join(symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in order)


def _reduced_formula(numbers: NDArray[np.intp]) -> str:
    counts = np.bincount(numbers)
    common = int(np.gcd.reduce(counts[counts > 0]))
    return _hill(np.repeat(np.arange(len(counts)), counts // common))
