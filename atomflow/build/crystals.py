"""The library of named crystals, and crystals from a user's own file.

A crystal is what a refinement gives: space group, asymmetric unit, partial occupancies kept. What an exact model needs
beside that stands with it: the formula to reach, the oxidation states, which polyhedra are never cut and which cations
never sit close together. :mod:`atomflow.build.ordering` makes ordered models of it. pymatgen is imported when a
structure is built, so that listing the library stays fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ase.data import atomic_numbers

from atomflow.build.crystalfiles import (
    FULL_SITE,
    build_structure,
    name_wyckoff,
    overlap,
    parse_structure,
    set_oxidation,
)
from atomflow.build.datafiles import Values, check_keys, find_entry, list_entries, read_yaml, search_path
from atomflow.errors import BadStructureError
from atomflow.model import GRADES

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Environment variable with more folders of crystals, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_CRYSTALS_PATH"
#: What was actually read of a source.
READS = ("full", "abstract", "secondary", "memory")

_LARGEST_FILE_BYTES = 64 * 1024
_LENGTHS, _ANGLES = ("a_A", "b_A", "c_A"), ("alpha_deg", "beta_deg", "gamma_deg")


@dataclass(frozen=True)
class Unit:
    """A polyhedron that a cut must leave whole.

    Parameters
    ----------
    centre : tuple of str
        Elements at its centre, for example ``("Zr", "Ta")``.
    ligand : str
        Element at its corners.
    within_A : float
        A ligand nearer than this to the centre belongs to it.
    """

    centre: tuple[str, ...]
    ligand: str
    within_A: float


class Apart(NamedTuple):
    """Cations of these elements are never nearer to each other than ``within_A`` in an ordered model."""

    of: frozenset[str]
    within_A: float


@dataclass(frozen=True)
class Crystal:
    """A crystal with its partial occupancies, and what an exact model of it must satisfy.

    Parameters
    ----------
    name, aliases, title : str, tuple of str, str
        How users call it, other names, and one line for people.
    formula : str
        What an ordered model must have per formula unit, without brackets: ``Li6.25Al0.25La3Zr2O12``.
    space_group, number : str, int
        As pymatgen's tables write it (their setting counts), and its number.
    oxidation : dict
        Element -> oxidation state; the formula is neutral under it.
    units, apart : tuple of Unit, tuple of Apart
        Polyhedra never cut; cations never close.
    citation, doi, read, where : str
        The source, what was read of it (one of :data:`READS`) and in which document.
    grade, note : str
        How far to trust it (one of :data:`~atomflow.model.GRADES`), and what a user should know.
    checks : dict
        Density, bond lengths and coordination numbers that the structure must show.
    path : Path or None
        The file.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    formula: str
    space_group: str
    number: int
    oxidation: dict[str, float] = field(hash=False)
    units: tuple[Unit, ...]
    apart: tuple[Apart, ...]
    citation: str
    doi: str
    read: str
    where: str
    grade: str
    note: str = ""
    checks: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    path: Path | None = field(default=None, compare=False)
    _build: Callable[[], Structure] | None = field(default=None, repr=False, compare=False)

    @property
    def structure(self) -> Structure:
        """The crystal as published, a new copy at each call.

        Species carry oxidation states and partial occupancies; ``site.label`` is the name of the asymmetric site
        (``"Li1"``), ``site_properties["wyckoff"]`` its Wyckoff position with multiplicity (``"24d"``).

        Raises
        ------
        BadFileError
            When a site's multiplicity is not that of its Wyckoff position, or atoms overlap.
        """
        return self._structure.copy()

    @cached_property
    def _structure(self) -> Structure:
        if self._build is None:
            raise BadStructureError(f"{self.name} was made without a structure; use find_crystal or load_crystal")
        return self._build()


def find_crystal(name: str, folders: Iterable[str | Path] = ()) -> Crystal:
    """Crystal called ``name``, by name or alias; case does not matter.

    Parameters
    ----------
    name : str
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_CRYSTALS_PATH``, then the shipped library.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadFileError
        When a crystal file in these folders is malformed.
    """
    mend = "give a CIF or POSCAR file, or see `atomflow list crystals`"
    found = find_entry(name, search_path(folders, PATH_VARIABLE, "crystals"), _read, "crystal", mend)
    _ = found._structure  # a file that cannot be built is told here, not later
    return found


def list_crystals(folders: Iterable[str | Path] = ()) -> list[Crystal]:
    """Every crystal that :func:`find_crystal` can reach by its name, sorted by name."""
    return sorted(list_entries(search_path(folders, PATH_VARIABLE, "crystals"), _read), key=lambda c: c.name.lower())


@lru_cache(maxsize=1024)
def _read(path: Path, mtime_ns: int, size: int) -> Crystal:
    """Read one file; time and size are in the key so that an edited file is read again."""
    return _Reader(path).crystal(read_yaml(path, "crystal", _LARGEST_FILE_BYTES))


class _Reader(Values):
    """Turns the parsed YAML of one file into a Crystal; the values themselves never enter a message."""

    def crystal(self, data: Any) -> Crystal:
        if not isinstance(data, Mapping):
            raise self.fail("not a crystal: expected keys such as name, cell, sites")
        required = "name aliases title formula space_group number cell oxidation sites units apart source grade"
        check_keys(self.path, dict(data), required.split(), ("checks", "note"), "")
        group = self.text(data["space_group"], "space_group")
        number = int(self.number(data["number"], "number", 1, 230, whole=True))
        oxidation = {
            self.element(key): self.number(value, "oxidation", -9, 9)
            for key, value in self.mapping(data["oxidation"], "oxidation").items()
        }
        sites = [self.site(item, oxidation) for item in self.items(data["sites"], "sites")]
        if len({site[0] for site in sites}) < len(sites):
            raise self.fail("two sites have the same label")
        formula = self.text(data["formula"], "formula")
        held = {element for site in sites for element in site[3]}
        self.check_formula(formula, oxidation, held)
        source = self.mapping(data["source"], "source")
        check_keys(self.path, dict(source), ("citation", "doi", "read", "where"), (), " in source")
        aliases = tuple(self.text(item, "aliases") for item in self.items(data["aliases"], "aliases"))
        return Crystal(
            name=self.text(data["name"], "name"),
            aliases=aliases,
            title=self.text(data["title"], "title"),
            formula=formula,
            space_group=group,
            number=number,
            oxidation=oxidation,
            units=tuple(self.unit(item) for item in self.items(data["units"], "units")),
            apart=tuple(self.rule(item) for item in self.items(data["apart"], "apart")),
            citation=self.text(source["citation"], "citation"),
            doi=self.text(source["doi"], "doi", empty=True),
            read=self.choice(source["read"], "read", READS),
            where=self.text(source["where"], "where"),
            grade=self.choice(data["grade"], "grade", GRADES),
            note=self.text(data.get("note", ""), "note", empty=True, long=True),
            checks=dict(self.mapping(data.get("checks", {}), "checks")),
            path=self.path,
            _build=partial(
                build_structure, self.path, group, number, self.cell(data["cell"], number), tuple(sites), oxidation
            ),
        )

    def element(self, value: Any) -> str:
        if not isinstance(value, str) or not atomic_numbers.get(value):
            raise self.fail("an element symbol is not one of the periodic table; put No and other YAML words in quotes")
        return value

    def site(self, item: Any, oxidation: Mapping[str, float]) -> tuple[Any, ...]:
        """(label, wyckoff, xyz, occupancy) of one site."""
        item = self.mapping(item, "a site")
        check_keys(self.path, dict(item), ("label", "wyckoff", "xyz", "occupancy"), (), " in a site")
        label = self.text(item["label"], "label")
        wyckoff = self.text(item["wyckoff"], f"wyckoff of {label[:20]}")
        if not re.fullmatch(r"[1-9]\d{0,2}[a-zA-Z]", wyckoff):
            raise self.fail(f"wyckoff of {label[:20]} must be a multiplicity and a letter, such as 24d")
        xyz = self.items(item["xyz"], "xyz")
        if len(xyz) != 3:
            raise self.fail(f"xyz of {label[:20]} must be three numbers")
        place = tuple(self.number(value, f"xyz of {label[:20]}", -2, 2) for value in xyz)
        shares = self.mapping(item["occupancy"], "occupancy").items()
        occupancy = {self.element(key): self.number(value, "occupancy", 1e-6, 1) for key, value in shares}
        if not occupancy or sum(occupancy.values()) > FULL_SITE:
            raise self.fail(f"the occupancies of {label[:20]} must sum to more than 0 and at most 1")
        if missing := sorted(set(occupancy) - set(oxidation)):
            raise self.fail(f"no oxidation state for {', '.join(missing)}")
        return label, wyckoff, place, occupancy

    def unit(self, item: Any) -> Unit:
        item = self.mapping(item, "a unit")
        check_keys(self.path, dict(item), ("centre", "ligand", "within_A"), (), " in a unit")
        centres = item["centre"] if isinstance(item["centre"], list) else [item["centre"]]
        centre = tuple(self.element(value) for value in centres)
        return Unit(centre, self.element(item["ligand"]), self.number(item["within_A"], "within_A", 0.1, 10))

    def rule(self, item: Any) -> Apart:
        item = self.mapping(item, "an entry of apart")
        check_keys(self.path, dict(item), ("of", "within_A"), (), " in apart")
        of = frozenset(self.element(value) for value in self.items(item["of"], "of"))
        return Apart(of, self.number(item["within_A"], "within_A", 0.1, 10))

    def cell(self, data: Any, number: int) -> tuple[float, ...]:
        """a, b, c, alpha, beta, gamma; what the crystal system fixes is filled in."""
        data = self.mapping(data, "cell")
        check_keys(self.path, dict(data), ("a_A",), (*_LENGTHS[1:], *_ANGLES), " in cell")
        lengths = {key: self.number(data[key], key, 0.5, 1000) for key in _LENGTHS if key in data}
        angles = {key: self.number(data[key], key, 1, 179) for key in _ANGLES if key in data}
        if number >= 75:  # tetragonal, trigonal, hexagonal, cubic
            lengths.setdefault("b_A", lengths["a_A"])
        if number >= 195:
            lengths.setdefault("c_A", lengths["a_A"])
        if number >= 16:  # only triclinic and monoclinic cells have free angles
            for key in _ANGLES:
                angles.setdefault(key, 120.0 if key == "gamma_deg" and 143 <= number <= 194 else 90.0)
        elif number >= 3:
            angles = {"alpha_deg": 90.0, "gamma_deg": 90.0, **angles}
        if missing := [key for key in (*_LENGTHS, *_ANGLES) if key not in {**lengths, **angles}]:
            raise self.fail(f"cell needs {', '.join(missing)} as well in this space group")
        return tuple({**lengths, **angles}[key] for key in (*_LENGTHS, *_ANGLES))

    def check_formula(self, formula: str, oxidation: Mapping[str, float], held: set[str]) -> None:
        """Raise BadFileError unless the formula names the elements of the sites and is neutral."""
        amounts = formula_amounts(formula)
        if amounts is None or not amounts:
            raise self.fail("formula must be elements and amounts without brackets, such as Li7La3Zr2O12")
        if set(amounts) != held:
            raise self.fail("formula and sites do not hold the same elements")
        charge = sum(amount * oxidation[element] for element, amount in amounts.items())
        if abs(charge) > 1e-6:
            raise self.fail(f"formula has charge {charge:+.3g} under these oxidation states")


def formula_amounts(formula: str) -> dict[str, float] | None:
    """Element -> amount of a formula without brackets; None when it is not one."""
    parts = re.findall(r"([A-Z][a-z]?)(\d{1,6}(?:\.\d{1,6})?)?", formula)
    if "".join(symbol + amount for symbol, amount in parts) != formula:
        return None
    amounts: dict[str, float] = {}
    for symbol, amount in parts:
        value = float(amount or 1)
        if not atomic_numbers.get(symbol) or value <= 0 or symbol in amounts:
            return None
        amounts[symbol] = value
    return amounts


def load_crystal(path: str | Path, oxidation: Mapping[str, float] | None = None, formula: str | None = None) -> Crystal:
    """Crystal from a user's file: CIF, POSCAR or anything else that pymatgen reads.

    Partial occupancies and labels are kept; Wyckoff positions come from spglib.

    Parameters
    ----------
    path : path
    oxidation : dict, optional
        Element -> oxidation state; stands above what the file says. An element that neither gives has the only
        common state of the element, if there is just one; a crystal of a single element has 0.
    formula : str, optional
        What an ordered model must have per formula unit; the refined occupancies when absent.

    Raises
    ------
    BadFileError
        A file that cannot be read, is larger than 5 MB or has more than 20,000 sites.
    BadStructureError
        Overlapping sites, an element without oxidation state, a formula that does not fit.
    """
    path = Path(path)
    structure = parse_structure(path)
    if clash := overlap(structure):
        raise BadStructureError(f"{path}: {clash}")
    states = set_oxidation(path, structure, oxidation or {})
    group, number = name_wyckoff(structure)
    held = {str(element.symbol) for element in structure.composition.element_composition}
    amounts = formula_amounts(formula) if formula is not None else _refined_amounts(structure)
    if amounts is None or set(amounts) != held:
        raise BadStructureError(f"{path}: formula must name {', '.join(sorted(held))} and amounts, without brackets")
    charge = sum(amount * states[element] for element, amount in amounts.items())
    if formula is not None and abs(charge) > 1e-3:
        raise BadStructureError(f"{path}: formula {formula} has charge {charge:+.3g}; correct it or --oxidation")
    text = formula or "".join(f"{symbol}{amount:.6g}" if amount != 1 else symbol for symbol, amount in amounts.items())
    note = "Read from a user's file; its source is not known to atomflow."
    if abs(charge) > 1e-3:
        note += (
            f" The occupancies leave a charge of {charge:+.3g} per formula unit; give a neutral formula to order it."
        )
    return Crystal(
        name=path.stem,
        aliases=(),
        title=f"{text} from {path.name}",
        formula=text,
        space_group=group,
        number=number,
        oxidation=states,
        units=(),
        apart=(),
        citation=f"file {path.name}",
        doi="",
        read="full",
        where=str(path),
        grade="assumed",
        note=note,
        path=path,
        _build=structure.copy,
    )


def _refined_amounts(structure: Structure) -> dict[str, float]:
    """Element -> amount per formula unit, as the occupancies give it."""
    ordered = sorted(structure.composition.element_composition.items(), key=lambda item: (item[0].X, item[0].symbol))
    amounts = {str(element.symbol): float(amount) for element, amount in ordered}
    whole = [round(n) for n in amounts.values() if abs(n - round(n)) < 1e-3 and round(n) > 0]
    units = gcd(*whole) if whole else 1
    return {symbol: round(amounts[symbol] / units, 4) for symbol in amounts}
