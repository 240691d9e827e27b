"""Crystals as pymatgen structures: built from an asymmetric unit, or read from a user's file and made complete.

pymatgen is imported inside the functions, so that naming a crystal does not cost its import.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers

from atomflow.build.datafiles import first_line
from atomflow.errors import BadFileError, BadStructureError

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Occupancies of one position sum to at most this, rounding included.
FULL_SITE = 1.0 + 1e-3
#: Two sites nearer than this are one position; together they may hold one atom at most.
SAME_PLACE_A = 0.5
#: The largest structure file that is read, and the most sites it may hold.
LARGEST_FILE_BYTES, MOST_SITES = 5_000_000, 20_000


def build_structure(
    path: Path,
    group: str,
    number: int,
    cell: tuple[float, ...],
    sites: tuple[tuple[Any, ...], ...],
    oxidation: Mapping[str, float],
) -> Structure:
    """The conventional cell: every site's orbit, as many atoms as its Wyckoff position says."""
    from pymatgen.core import Lattice, Species, Structure

    try:
        symmetry = _space_group(group)
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(path, f"pymatgen does not know this space group ({first_line(error)})") from error
    if symmetry.int_number != number:
        raise BadFileError(path, f"space_group is number {symmetry.int_number}, not {number}")
    lattice = Lattice.from_parameters(*cell)
    volume = lattice.volume
    if not math.isfinite(volume) or volume < 1 or not symmetry.is_compatible(lattice):
        raise BadFileError(path, f"the cell is not one of space group {symmetry.symbol}")
    species: list[Any] = []
    places: list[Any] = []
    labels: list[str] = []
    letters: list[str] = []
    for label, wyckoff, xyz, occupancy in sites:
        # Sorted, since a seed must mean the same sites in every run and pymatgen keeps the operations in a set.
        orbit = sorted(tuple(float(x) for x in place) for place in symmetry.get_orbit(xyz))
        if len(orbit) != int(wyckoff[:-1]):
            raise BadFileError(
                path, f"site {label} is called {wyckoff} but its coordinates make {len(orbit)} positions"
            )
        places += orbit
        species += [{Species(key, oxidation[key]): share for key, share in occupancy.items()}] * len(orbit)
        labels += [label] * len(orbit)
        letters += [wyckoff] * len(orbit)
    built = Structure(lattice, species, places, labels=labels, site_properties={"wyckoff": letters}, to_unit_cell=True)
    if clash := overlap(built):
        raise BadFileError(path, clash)
    return built


@lru_cache(maxsize=32)
def _space_group(symbol: str) -> Any:
    """The group; pymatgen takes a second to write out the operations of a face-centred cubic one."""
    from pymatgen.symmetry.groups import SpaceGroup

    return SpaceGroup(symbol)


def overlap(structure: Structure) -> str:
    """Which sites are one position yet hold more than one atom together; empty when none do."""
    for site in structure:
        if site.species.num_atoms > FULL_SITE:
            return f"site {site.label} holds {site.species.num_atoms:.2f} atoms; lower its occupancies to 1 in all"
    first, second, _, distances = structure.get_neighbor_list(SAME_PLACE_A, numerical_tol=1e-8, exclude_self=True)
    occupancy = np.array([site.species.num_atoms for site in structure])
    full = occupancy[first] + occupancy[second] > FULL_SITE
    if not full.any():
        return ""
    pair = int(np.flatnonzero(full)[0])
    one, other = structure[int(first[pair])].label, structure[int(second[pair])].label
    return (
        f"sites {one} and {other} are {distances[pair]:.2f} A apart and both occupied; remove one or lower occupancies"
    )


def parse_structure(path: Path) -> Structure:
    """Structure in a file, whatever its format; BadFileError when it cannot be read, is empty or too large."""
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser

    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    if not path.is_file() or size > LARGEST_FILE_BYTES:
        raise BadFileError(path, f"not a structure file of at most {LARGEST_FILE_BYTES} bytes")
    mend = "give a CIF or POSCAR with coordinates"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix.lower() in (".cif", ".mcif"):
                parser = CifParser(path)
                # Occupancies over 1 are judged by overlap(), with the labels in the message.
                structure = parser.parse_structures(primitive=False, check_occu=False, on_error="raise")[0]
                _check_symmetry_was_read(path, parser.warnings)
            else:
                structure = Structure.from_file(path)
    except BadFileError:
        raise
    except Exception as error:  # parsers of foreign formats raise whatever they meet
        raise BadFileError(path, f"cannot be read as a crystal ({first_line(error)}); {mend}") from error
    if len(structure) > MOST_SITES:
        raise BadFileError(path, f"{len(structure)} sites are too many for a crystal, at most {MOST_SITES}")
    if not len(structure) or not np.isfinite(structure.cart_coords).all() or structure.volume < 1:
        raise BadFileError(path, "holds no atoms in a cell of finite volume; " + mend)
    for symbol in structure.symbol_set:
        if not atomic_numbers.get(symbol):
            raise BadFileError(path, f"{symbol[:8]!r} is not an element")
    return structure


def _check_symmetry_was_read(path: Path, told: list[str]) -> None:
    """Raise BadFileError when pymatgen took P1 for a group that it does not know: most atoms would be missing."""
    if not any("Defaulting to P1" in text for text in told):
        return
    named = re.search(r"^_\S*space_group_name_H-M\S*[ \t]+(.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
    symbol = re.sub(r"[\s'\"]", "", named.group(1)) if named else "?"
    if symbol not in ("P1", "?", "."):
        mend = "add the operations as _symmetry_equiv_pos_as_xyz"
        raise BadFileError(path, f"space group {symbol[:20]!r} is not in pymatgen's tables; {mend}")


def set_oxidation(path: Path, structure: Structure, given: Mapping[str, float]) -> dict[str, float]:
    """Decorate the species in place; element -> state."""
    elements = structure.composition.element_composition.elements
    stated: dict[str, float] = {}
    for specie in structure.composition:
        state = getattr(specie, "oxi_state", None)
        if state is not None and stated.setdefault(specie.symbol, float(state)) != state and specie.symbol not in given:
            mend = f"give one for all with --oxidation {specie.symbol}={state:g}"
            raise BadStructureError(f"{path}: {specie.symbol} has several oxidation states; {mend}")
    common = {e.symbol: float(e.common_oxidation_states[0]) for e in elements if len(e.common_oxidation_states) == 1}
    alone = {elements[0].symbol: 0.0} if len(elements) == 1 else {}
    states = {**common, **alone, **stated, **{key: float(value) for key, value in given.items()}}
    if wild := sorted(symbol for symbol, state in states.items() if not abs(state) <= 9):
        raise BadStructureError(f"{path}: the oxidation state of {', '.join(wild)} must be a number from -9 to 9")
    if unknown := sorted(set(given) - {e.symbol for e in elements}):
        raise BadStructureError(f"{path}: oxidation states for {', '.join(unknown)}, which it does not hold")
    if missing := [e for e in elements if e.symbol not in states]:
        guesses = [(e.symbol, min((s for s in e.common_oxidation_states if s > 0), default=0)) for e in missing]
        shown = " ".join(f"--oxidation {symbol}={state}" for symbol, state in guesses)
        names = ", ".join(symbol for symbol, _ in guesses)
        raise BadStructureError(f"{path}: no oxidation state for {names}; give it with, for example, {shown}")
    states = {e.symbol: states[e.symbol] for e in elements}
    structure.remove_oxidation_states()
    structure.add_oxidation_state_by_element(states)
    return states


def name_wyckoff(structure: Structure) -> tuple[str, int]:
    """Set the site property ``wyckoff`` in place; symbol and number of the space group that spglib finds."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    found = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = SpacegroupAnalyzer(structure, symprec=0.01).get_symmetry_dataset()
        except Exception:  # spglib's failures have no common base
            found = None
    if found is None:
        structure.add_site_property("wyckoff", ["1a"] * len(structure))
        return "P1", 1
    _, orbit, counts = np.unique(found.equivalent_atoms, return_inverse=True, return_counts=True)
    # Positions are counted in the conventional cell, whatever cell the file has.
    scale = len(found.std_types) / len(structure)
    letters = [f"{round(counts[k] * scale)}{letter}" for k, letter in zip(orbit, found.wyckoffs, strict=True)]
    structure.add_site_property("wyckoff", letters)
    return str(found.international), int(found.number)
