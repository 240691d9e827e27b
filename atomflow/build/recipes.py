"""The library of membranes, liquids and melts: what a box is made of, in YAML files, each figure with its source.

A recipe says how much there is of what, never how many molecules: :mod:`atomflow.build.composing` counts them for a box
of a wanted size. A user's folder stands before the shipped one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from atomflow.build.datafiles import Values, check_keys, find_entry, list_entries, read_yaml, search_path
from atomflow.errors import BadOptionError, CompositionError, UnknownNameError
from atomflow.model import GRADES

#: Environment variable with more folders of recipes, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_MEMBRANES_PATH"

FAMILIES = ("membrane", "liquid", "melt")
ROLES = ("polymer", "salt", "solvent", "filler")
#: How much: weight percent of the whole box; mol per litre of it; moles for each mole of another component (of its
#: repeat unit, when that is a polymer); or parts by weight, which share what the others leave.
UNITS = ("wt_percent", "molar_M", "per_mole", "parts")

_LARGEST_FILE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Figure:
    """One number of a recipe, where it comes from and how far to trust it."""

    value: float
    source: str
    grade: str


@dataclass(frozen=True)
class Amount:
    """How much of a component; ``unit`` is one of :data:`UNITS`, ``of`` the other component of ``per_mole``."""

    value: float
    unit: str
    source: str
    grade: str
    of: str = ""

    def __str__(self) -> str:
        shown = {"wt_percent": "wt%", "molar_M": "mol/L", "per_mole": f"mol per mol {self.of}", "parts": "parts"}
        return f"{self.value:g} {shown[self.unit]}"


@dataclass(frozen=True)
class Component:
    """One constituent.

    Parameters
    ----------
    name : str
        Within the recipe.
    role : str
        One of :data:`ROLES`.
    made_of : mapping of str to int
        Species and how many make one formula unit: ``{"Li+": 1, "TFSI-": 1}``; one polymer or one crystal.
    amount : Amount
    density_g_cm3 : Figure
        For volumes, which are taken as additive unless the recipe states its own density.
    units : Figure or None
        Wanted length of a chain.
    radius_A : Figure or None
        Wanted size of a particle; without it one particle holds all of the filler.
    options : mapping
        Handed to :func:`atomflow.build.polymer`, for example ``hfp_fraction``.
    """

    name: str
    role: str
    made_of: Mapping[str, int]
    amount: Amount
    density_g_cm3: Figure
    units: Figure | None = None
    radius_A: Figure | None = None
    options: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """The polymer or the crystal."""
        return next(iter(self.made_of))


@dataclass(frozen=True)
class Recipe:
    """One entry of the library, as its file says it."""

    name: str
    aliases: tuple[str, ...]
    title: str
    family: str
    components: tuple[Component, ...]
    published: str
    note: str = ""
    density_g_cm3: Figure | None = None
    path: Path | None = field(default=None, compare=False)

    def component(self, name: str) -> Component:
        """Component of that name.

        Raises
        ------
        UnknownNameError
        """
        for one in self.components:
            if one.name.casefold() == name.casefold():
                return one
        raise UnknownNameError(f"component of {self.name}", name, [one.name for one in self.components])

    def figures(self) -> list[tuple[str, Amount | Figure]]:
        """Every number of the recipe and what it is."""
        found: list[tuple[str, Amount | Figure]] = []
        for one in self.components:
            found.append((f"{one.name} amount", one.amount))
            found.append((f"{one.name} density", one.density_g_cm3))
            found += [(f"{one.name} chain length", one.units)] if one.units else []
            found += [(f"{one.name} radius", one.radius_A)] if one.radius_A else []
            found += [(f"{one.name} {key}", value) for key, value in one.options.items()]
        return found + ([("density", self.density_g_cm3)] if self.density_g_cm3 else [])

    @property
    def worst_grade(self) -> str:
        """The grade of the least trustworthy number."""
        return max((figure.grade for _what, figure in self.figures()), key=GRADES.index)


def find_recipe(name: str, folders: Iterable[str | Path] = ()) -> Recipe:
    """Recipe called ``name``, by name or alias, case ignored.

    Parameters
    ----------
    name : str
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_MEMBRANES_PATH``, then the shipped library.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadFileError
        When a recipe in these folders is malformed.
    """
    mend = "see `atomflow list membranes`"
    return find_entry(name, search_path(folders, PATH_VARIABLE, "membranes"), _read, "membrane", mend)


def list_recipes(folders: Iterable[str | Path] = ()) -> list[Recipe]:
    """Every recipe that :func:`find_recipe` can reach, membranes first."""
    found = list_entries(search_path(folders, PATH_VARIABLE, "membranes"), _read)
    return sorted(found, key=lambda recipe: (FAMILIES.index(recipe.family), recipe.name.lower()))


_AMOUNT = re.compile(r"\s*(?P<value>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>%|wt%|M|parts)\s*")


def parse_amount(text: str, where: str) -> Amount:
    """Amount from ``10%`` (of the whole weight), ``0.8M`` or ``20parts``.

    Raises
    ------
    BadOptionError
        For anything else; ``where`` leads the message.
    """
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise BadOptionError(
            f"{where} {text[:40]!r}: give 10% of the weight, 0.8M (mol per litre) or 20parts by weight"
        )
    unit = {"%": "wt_percent", "wt%": "wt_percent", "M": "molar_M", "parts": "parts"}[found["unit"]]
    return Amount(float(found["value"]), unit, f"asked for by {where}", "assumed")


def changed(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """The recipe with other amounts.

    Parameters
    ----------
    recipe : Recipe
    changes : mapping
        Name of a component, or a role (its first component), to an amount such as ``"10%"`` or ``"0.8M"``. None of a
        component takes it out.

    Raises
    ------
    CompositionError
        When the recipe has no such component.
    BadOptionError
        When an amount cannot be read.
    """
    components = list(recipe.components)
    for wanted, text in changes.items():
        places = [n for n, one in enumerate(components) if wanted.casefold() in (one.name.casefold(), one.role)]
        if not places:
            has = ", ".join(f"{one.name} ({one.role})" for one in recipe.components)
            raise CompositionError(
                f"{recipe.name} has no {wanted[:40]}, only {has}; take another membrane, or add it to a recipe of your own"
            )
        amount = parse_amount(text, f"the change of {wanted}")
        components[places[0]] = replace(components[places[0]], amount=amount)
    for one in components:
        others = [other.name for other in components if other.amount.unit == "per_mole" and other.amount.of == one.name]
        if one.amount.value == 0 and others:
            raise CompositionError(f"{recipe.name}: {', '.join(others)} is counted by {one.name}, which is taken out")
    return replace(recipe, components=tuple(one for one in components if one.amount.value > 0))


@lru_cache(maxsize=256)
def _read(path: Path, mtime_ns: int, size: int) -> Recipe:
    """Read one file; time and size are in the key so that an edited file is read again."""
    check = Values(path)
    data = dict(check.mapping(read_yaml(path, "membrane", _LARGEST_FILE_BYTES), "a recipe"))
    required = ("name", "title", "family", "components", "published")
    check_keys(path, data, required, ("aliases", "note", "density_g_cm3"), "")
    components = tuple(_component(check, item) for item in check.items(data["components"], "components"))
    names = [one.name.casefold() for one in components]
    if not components or len(set(names)) < len(names):
        raise check.fail("components must be one or more, each with a name of its own")
    for one in components:
        if one.amount.of and one.amount.of not in [other.name for other in components if other is not one]:
            raise check.fail(f"{one.name} is counted by a component that is not there")
    density = data.get("density_g_cm3")
    return Recipe(
        name=check.text(data["name"], "name"),
        aliases=tuple(check.text(item, "an alias") for item in check.items(data.get("aliases", []), "aliases")),
        title=check.text(data["title"], "title"),
        family=check.choice(data["family"], "family", FAMILIES),
        components=components,
        published=check.text(data["published"], "published", long=True),
        note=check.text(data.get("note", ""), "note", empty=True, long=True),
        density_g_cm3=None if density is None else _figure(check, density, "density_g_cm3", 0.01, 25.0),
        path=path,
    )


def _component(check: Values, item: Any) -> Component:
    item = dict(check.mapping(item, "a component"))
    optional = ("polymer", "species", "ions", "crystal", "units", "radius_A", "options")
    check_keys(check.path, item, ("name", "role", "amount", "density_g_cm3"), optional, " of a component")
    name = check.text(item["name"], "name of a component")
    role = check.choice(item["role"], f"role of {name}", ROLES)
    key = {"polymer": "polymer", "salt": "ions", "solvent": "species", "filler": "crystal"}[role]
    given = [one for one in ("polymer", "species", "ions", "crystal") if one in item]
    if given != [key]:
        raise check.fail(f"{name} is a {role}: say what it is by the key {key!r} alone")
    if key == "ions":
        ions = check.mapping(item["ions"], f"ions of {name}")
        made_of = {
            check.text(ion, f"an ion of {name}"): int(check.number(many, f"ions of {name}", 1, 100, whole=True))
            for ion, many in ions.items()
        }
        if not made_of:
            raise check.fail(f"{name} has no ions")
    else:
        made_of = {check.text(item[key], f"{key} of {name}"): 1}
    for extra, only in (("units", "polymer"), ("options", "polymer"), ("radius_A", "filler")):
        if extra in item and role != only:
            raise check.fail(f"{name}: {extra} is for a {only}")
    options = check.mapping(item.get("options", {}), f"options of {name}")
    return Component(
        name=name,
        role=role,
        made_of=made_of,
        amount=_amount(check, item["amount"], name),
        density_g_cm3=_figure(check, item["density_g_cm3"], f"density of {name}", 0.01, 25.0),
        units=_figure(check, item["units"], f"units of {name}", 1, 10000, True) if "units" in item else None,
        radius_A=_figure(check, item["radius_A"], f"radius of {name}", 1, 1000) if "radius_A" in item else None,
        options={
            check.text(key, f"an option of {name}"): _figure(check, value, f"an option of {name}", -1e6, 1e6)
            for key, value in options.items()
        },
    )


def _amount(check: Values, data: Any, name: str) -> Amount:
    what = f"amount of {name}"
    data = dict(check.mapping(data, what))
    given = [unit for unit in UNITS if unit in data]
    if len(given) != 1:
        raise check.fail(f"{what} must have one of {', '.join(UNITS)}")
    unit = given[0]
    check_keys(check.path, data, (unit, "source", "grade"), ("of",), f" of the {what}")
    if ("of" in data) != (unit == "per_mole"):
        raise check.fail(f"{what}: 'of' names the other component of per_mole")
    most = 100.0 if unit in ("wt_percent", "molar_M") else 1e6
    return Amount(
        value=float(check.number(data[unit], what, 0, most)),
        unit=unit,
        source=check.text(data["source"], f"source of the {what}", long=True),
        grade=check.choice(data["grade"], f"grade of the {what}", GRADES),
        of=check.text(data.get("of", ""), what, empty=True),
    )


def _figure(check: Values, data: Any, what: str, low: float, high: float, whole: bool = False) -> Figure:
    data = dict(check.mapping(data, what))
    check_keys(check.path, data, ("value", "source", "grade"), (), f" of the {what}")
    return Figure(
        value=check.number(data["value"], what, low, high, whole),
        source=check.text(data["source"], f"source of the {what}", long=True),
        grade=check.choice(data["grade"], f"grade of the {what}", GRADES),
    )
