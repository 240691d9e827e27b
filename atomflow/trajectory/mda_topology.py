"""Topologies to and from MDAnalysis, and its selection language."""

from __future__ import annotations

import difflib
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError, SelectionError
from atomflow.trajectory.elements import elements_of_types, known_symbols, masses_of_elements
from atomflow.trajectory.textfiles import first_line
from atomflow.trajectory.topology import Topology

_LONGEST_SELECTION = 2000
_MOST_LISTED = 12
_KEYWORDS = ("type", "element", "resname", "name")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MDAnalysis' remarks on missing or guessed attributes from the terminal; what matters is said by our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: BaseException) -> str:
    """What MDAnalysis complained about; and let go, silently, of the readers that it left half made.

    They live on in the tracebacks, and complain on the terminal when they are deleted.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = first_line(chain[1] if len(chain) > 1 and "\n" in str(error) else error)
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        for one in chain:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
    finally:
        sys.unraisablehook = hook
    return text


def read_topology(path: Path, kind: str) -> Topology:
    """A topology file that MDAnalysis knows as ``kind`` (``"PSF"``, ``"GRO"``, ``"TPR"``, ...).

    Raises
    ------
    BadFileError
        In one line, whatever MDAnalysis raised.
    """
    import MDAnalysis

    try:
        with quiet():
            # Without guesses: an element guessed from a name is wrong for CA, NA, CO.
            universe = MDAnalysis.Universe(str(path), topology_format=kind, format=kind, to_guess=())
    except BadFileError:
        raise
    except Exception as error:  # parsers of foreign formats raise whatever they meet
        universe = _without_coordinates(path, kind, error)
    try:
        with quiet():
            topology = from_universe(universe, str(path))
    except Exception as error:  # bonds to atoms that are not there
        raise BadFileError(path, f"cannot be read as {kind} ({first_line(error)})") from error
    if not topology.n_atoms:
        raise BadFileError(path, "holds no atoms")
    return Topology(**{name: getattr(topology, name) for name in _FIELDS})


_FIELDS = (
    "n_atoms", "elements", "names", "types", "resnames", "masses_u", "charges_e", "residues", "bonds", "source", "ids"
)  # fmt: skip


def _without_coordinates(path: Path, kind: str, first: Exception) -> Any:
    """A PSF or a TPR has no coordinates, or none that MDAnalysis reads."""
    import MDAnalysis

    try:
        with quiet():
            return MDAnalysis.Universe(str(path), topology_format=kind, to_guess=())
    except Exception:
        raise BadFileError(path, f"cannot be read as {kind} ({reason_of(first)})") from first


def from_universe(universe: Any, source: str = "") -> Topology:
    """What a Universe or AtomGroup knows; elements from its masses when it has none."""
    atoms = universe.atoms
    n_atoms = len(atoms)
    masses = _attribute(atoms, "masses", float)
    if masses is not None and not np.isfinite(masses).any():
        masses = None
    elements = _attribute(atoms, "elements", str)
    if elements is not None:
        elements = np.array(known_symbols(elements.tolist()), dtype=str)
    if (elements is None or not elements.any()) and masses is not None and not _guessed(universe, "masses"):
        keys = [f"{mass:.4f}" for mass in masses]
        symbols = elements_of_types({key: float(key) for key in set(keys)})
        elements = np.array([symbols[key] for key in keys], dtype=str)
    if masses is None and elements is not None and elements.all():
        masses = masses_of_elements(elements.tolist())
    bonds = None
    if hasattr(atoms.universe, "bonds"):
        bonds = _bonds_within(atoms)
    return Topology(
        n_atoms=n_atoms,
        elements=elements if elements is not None and elements.any() else None,
        names=_attribute(atoms, "names", str),
        types=_attribute(atoms, "types", str),
        resnames=_attribute(atoms, "resnames", str),
        masses_u=masses,
        charges_e=_attribute(atoms, "charges", float),
        residues=np.asarray(atoms.resindices, np.intp) + 1,
        bonds=bonds,
        source=source or f"MDAnalysis {type(universe).__name__}",
        given=universe,
    )


def _guessed(universe: Any, name: str) -> bool:
    """Whether MDAnalysis guessed an attribute; a mass guessed from a name proves no element."""
    attribute = getattr(universe.atoms.universe._topology, name, None)
    return bool(getattr(attribute, "is_guessed", False))


def _attribute(atoms: Any, name: str, kind: type) -> NDArray[Any] | None:
    try:
        values = getattr(atoms, name)
    except (AttributeError, ValueError):  # NoDataError is both
        return None
    try:
        return np.array([str(v) for v in values], dtype=str) if kind is str else np.asarray(values).astype(kind)
    except (TypeError, ValueError):
        return None


def _bonds_within(atoms: Any) -> NDArray[np.intp] | None:
    try:
        pairs = np.asarray(atoms.universe.bonds.to_indices(), np.intp).reshape(-1, 2)
    except (AttributeError, ValueError):
        return None
    place = np.full(len(atoms.universe.atoms), -1)
    place[atoms.ix] = np.arange(len(atoms))
    pairs = place[pairs]
    return pairs[(pairs >= 0).all(axis=1)]


def make_universe(topology: Topology) -> Any:
    """The Universe that was handed over, when it has just these atoms; else one with the attributes that there are."""
    import MDAnalysis

    given = topology.given
    if given is not None and len(given.universe.atoms) == topology.n_atoms:
        return given.universe
    n = topology.n_atoms
    numbers = topology.residues if topology.residues is not None else np.zeros(n, np.intp)
    resids, residue_of = np.unique(numbers, return_inverse=True)
    with quiet():
        universe = MDAnalysis.Universe.empty(
            n, n_residues=len(resids), atom_resindex=residue_of, residue_segindex=np.zeros(len(resids), int)
        )
        universe.add_TopologyAttr("resids", resids)
        universe.add_TopologyAttr("ids", topology.ids if topology.ids is not None else np.arange(1, n + 1))
        for name, values in (
            ("types", topology.types),
            ("names", topology.names),
            ("elements", topology.elements),
            ("masses", topology.masses_u),
            ("charges", topology.charges_e),
        ):
            if values is not None:
                universe.add_TopologyAttr(name, values if values.dtype.kind == "f" else values.astype(object))
        if topology.resnames is not None:
            first = np.unique(residue_of, return_index=True)[1]
            universe.add_TopologyAttr("resnames", topology.resnames[first].astype(object))
        if topology.bonds is not None:
            universe.add_TopologyAttr("bonds", [tuple(pair) for pair in topology.bonds.tolist()])
    return universe


def select_text(topology: Topology, text: str) -> NDArray[np.intp]:
    """Indices of a selection text; SelectionError says what there is to select."""
    shown = " ".join(text.split())[:120]
    if len(text) > _LONGEST_SELECTION or not shown:
        raise SelectionError(
            f"a selection of {len(text)} characters; write one such as 'type 5' of at most {_LONGEST_SELECTION}"
        )
    try:
        with quiet():
            found = _found_in_given(topology, text)
            if found is None:
                own = topology if topology.given is None else replace(topology, given=None)
                found = own.universe.select_atoms(text).ix
    except Exception as error:  # MDAnalysis raises whatever its parser meets
        if re.search(r"\b(around|sphlayer|isolayer|sphzone|cyzone|cylayer|point|prop\s+(abs\s+)?[xyz])\b", text):
            mend = "selections by place change from frame to frame; select by type, element, residue, charge or bonds"
            raise SelectionError(f"selection {shown!r}: {mend}") from error
        reason = re.sub(r"^Selection failed: ", "", first_line(error)).strip(' "')
        if lacks := [what for word, what in _lacking(topology) if re.search(rf"\b{word}\b", text)]:
            reason = f"the topology has no {lacks[0]}"
        raise SelectionError(f"selection {shown!r} cannot be read: {reason}{_advice(topology, text)}") from error
    if not len(found):
        raise SelectionError(f"selection {shown!r} finds no atom{_advice(topology, text)}")
    return np.unique(found).astype(np.intp)


def _found_in_given(topology: Topology, text: str) -> NDArray[np.intp] | None:
    """What a Universe that was handed over finds; None when it cannot read the selection.

    It may lack what the topology has: elements that follow from its masses, or that a topology file added.
    """
    given = topology.given
    if given is None:
        return None
    try:
        found = given.select_atoms(text).ix
    except Exception:  # MDAnalysis raises whatever its parser meets
        return None
    place = np.full(len(given.universe.atoms), -1)
    place[given.atoms.ix] = np.arange(topology.n_atoms)
    found = place[found]
    return found[found >= 0]


def _lacking(topology: Topology) -> list[tuple[str, str]]:
    """Words of the selection language that ask for what this topology does not have."""
    kinds = {
        "type": (topology.types, "types"),
        "element": (topology.elements, "elements"),
        "resname": (topology.resnames, "residue names"),
        "name": (topology.names, "names"),
        "mass": (topology.masses_u, "masses"),
        "charge": (topology.charges_e, "charges"),
        "bonded": (topology.bonds, "bonds"),
        "fragment": (topology.bonds, "bonds"),
    }
    return [(word, what) for word, (values, what) in kinds.items() if values is None]


def _advice(topology: Topology, text: str) -> str:
    """What could have been meant, and what there is."""
    words = topology.vocabulary()
    there = [
        f"{key}s {_listed(values)}"
        for key, values in words.items()
        if values and not (key == "name" and len(values) > 30)
    ]
    told = (
        f"there are {'; '.join(there)}"
        if there
        else "the topology has no types, elements or names: give one with --top"
    )
    return f"{_meant(words, text)}; {told}"


def _meant(words: dict[str, list[str]], text: str) -> str:
    """What a word that is no value of its keyword could have meant."""
    asked = re.findall(r"\b(\w+)\s+([\w+*.-]+)", text) or [("", text.strip())]
    known = {name.lower(): f"{key} {name}" for key, values in reversed(words.items()) for name in values}
    for keyword, value in asked:
        if keyword and keyword not in _KEYWORDS:
            if near := difflib.get_close_matches(keyword, _KEYWORDS, n=1, cutoff=0.7):
                return f"; did you mean '{near[0]} {value}'?"
            continue
        near = difflib.get_close_matches(value.lower(), known, n=1, cutoff=0.6)
        if near and value not in words.get(keyword, ()) and not value.isdigit():
            return f"; did you mean '{known[near[0]]}'?"
    return ""


def _listed(values: list[str]) -> str:
    more = len(values) - _MOST_LISTED
    return ", ".join(values[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
