"""A force field as a folder of YAML files: read, checked, and laid one over another.

A file ("set") holds what belongs to one chemistry: atom types found by SMARTS, bonded terms by classes, charges that
a bond moves, and where every number was read. Sets lie in layers: one that says ``over: [other]`` stands above those,
a user's folder above all that is shipped; a higher number replaces a lower one for the same classes. Nothing is
replaced otherwise: the same term twice in one layer is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from atomflow.build import Values, check_keys, read_yaml, search_path
from atomflow.errors import BadFileError, UnknownNameError
from atomflow.model import GRADES, Origin

#: Environment variable with more folders of force-field files, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_FORCEFIELDS_PATH"

#: Any class, in a bonded term.
ANY = "X"

_LARGEST_FILE_BYTES = 512 * 1024
#: Layer of a user's files: above every shipped one.
_USER_LAYER = 1000

#: One bonded term: (k, x0) of a bond or an angle, ((k, n, d), ...) of a torsion or an improper.
Numbers = tuple[Any, ...]


@dataclass(frozen=True)
class TypeRule:
    """One atom type and the pattern that finds it.

    ``charge_e`` is None when the atom's formal charge is meant; ``over`` names the types that this one wins against;
    a rule with a ``role`` is for molecules of that role only, and is then preferred.
    """

    name: str
    smarts: str
    class_: str
    charge_e: float | None
    epsilon_kcal_per_mol: float
    sigma_A: float
    origin: Origin
    charge_origin: Origin
    over: tuple[str, ...]
    role: str
    layer: int
    path: Path


@dataclass(frozen=True)
class TermRule:
    """One bonded term (or charge of a bond, or pair of types) as its file says it."""

    classes: tuple[str, ...]
    numbers: Numbers
    origin: Origin
    layer: int
    path: Path


@dataclass(frozen=True, eq=False)
class Parameters:
    """Everything that the files of one force field say together.

    ``terms`` has a table for each of ``bonds``, ``angles``, ``torsions``, ``impropers``, ``bond_charges``, ``pairs``:
    classes in :func:`canonical` order -> the rule of the highest layer.
    """

    name: str
    types: Mapping[str, TypeRule]
    terms: Mapping[str, Mapping[tuple[str, ...], TermRule]] = field(repr=False)
    sources: Mapping[str, str] = field(repr=False)
    folder: Path = field(default_factory=Path)


def find_parameters(name: str = "opls-clp", folders: str | Path | Iterable[str | Path] = ()) -> Parameters:
    """Force field called ``name``, with the user's files over it.

    Parameters
    ----------
    name : str
        A folder of ``structures/forcefields`` (or of one of ``folders``), and the variants wanted, for example
        ``"opls-clp"`` or ``"opls-clp+dmf-1996+oxides-b"``.
    folders : paths
        Each holds YAML files of the same form, which stand over the shipped ones, or a folder called ``name`` that
        stands in its place. Those of ``ATOMFLOW_FORCEFIELDS_PATH`` come after them.

    Raises
    ------
    UnknownNameError
        For an unknown force field or variant, with the nearest names.
    BadFileError
        When a file is malformed, or two files of a layer say different things.
    """
    base, *variants = [part.strip() for part in name.split("+")]
    search = search_path(folders, PATH_VARIABLE, "forcefields")
    found = [folder / base for folder in search if base and (folder / base).is_dir()]
    if not found:
        known = {path.name for folder in search for path in folder.iterdir() if path.is_dir()}
        raise UnknownNameError("force field", base, known, mend="see structures/forcefields, or give your folder")
    files = [(path, False) for path in _files(found[0])]
    # The first folder wins, so it comes last.
    files += [(path, True) for folder in reversed(search[:-1]) for path in _files(folder)]
    stamps = tuple((path, user, path.stat().st_mtime_ns, path.stat().st_size) for path, user in files)
    return _laid_over(name, found[0], tuple(variants), stamps)


def variants_of(name: str = "opls-clp", folders: str | Path | Iterable[str | Path] = ()) -> dict[str, str]:
    """Variants of a force field and what each is about."""
    search = search_path(folders, PATH_VARIABLE, "forcefields")
    paths = [path for folder in search for part in (folder, folder / name) for path in _files(part)]
    sets = [_read(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths]
    return {each.variant: each.about for each in sets if each.variant}


def canonical(kind: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """One order for classes that mean the same term.

    Bonds, angles and torsions read both ways; an improper has its centre first and the others sorted.
    """
    if kind == "impropers":
        return (classes[0], *sorted(classes[1:]))
    if kind == "bond_charges":
        return classes
    return min(classes, classes[::-1])


def _files(folder: Path) -> list[Path]:
    return sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))


@dataclass(frozen=True)
class _Set:
    name: str
    about: str
    variant: str
    over: tuple[str, ...]
    sources: dict[str, str]
    types: tuple[TypeRule, ...]
    terms: dict[str, tuple[TermRule, ...]]
    path: Path


@lru_cache(maxsize=16)
def _laid_over(
    name: str, folder: Path, variants: tuple[str, ...], stamps: tuple[tuple[Path, bool, int, int], ...]
) -> Parameters:
    sets = [(_read(path, time, size), user) for path, user, time, size in stamps]
    known = {each.variant for each, _user in sets if each.variant}
    for variant in variants:
        if variant not in known:
            raise UnknownNameError("variant", variant, known, mend=f"variants of {folder.name} are {sorted(known)}")
    chosen = [(each, user) for each, user in sets if not each.variant or each.variant in variants]
    layers = _layers(chosen)
    types: dict[str, TypeRule] = {}
    terms: dict[str, dict[tuple[str, ...], TermRule]] = {kind: {} for kind in _TERMS}
    sources: dict[str, str] = {}
    for index in sorted(range(len(chosen)), key=lambda i: layers[i]):
        each, _user = chosen[index]
        sources |= each.sources
        for rule in each.types:
            _put(types, rule.name, _raised(rule, layers[index]), f"type {rule.name}")
        for kind, rules in each.terms.items():
            for term in rules:
                key = canonical(kind, term.classes)
                _put(terms[kind], key, _raised(term, layers[index]), f"{_TERMS[kind][0]} {'-'.join(term.classes)}")
    for rule in types.values():
        for other in rule.over:
            if other not in types:
                raise BadFileError(rule.path, f"type {rule.name} stands over {other[:40]!r}, which no file has")
    return Parameters(name, types, terms, sources, folder)


def _layers(sets: list[tuple[_Set, bool]]) -> list[int]:
    """Layer of each set: one above the highest that it stands over."""
    names = {each.name: index for index, (each, _user) in enumerate(sets)}
    layers = [_USER_LAYER + index if user else 0 for index, (_each, user) in enumerate(sets)]
    for _round in sets:
        for index, (each, user) in enumerate(sets):
            for other in each.over:
                if other not in names:
                    raise BadFileError(each.path, f"stands over the set {other[:40]!r}, which no file has")
                if not user:
                    layers[index] = max(layers[index], layers[names[other]] + 1)
    if any(_USER_LAYER > layer > len(sets) for layer in layers):
        raise BadFileError(sets[0][0].path.parent, "sets stand over each other in a circle; mend their key 'over'")
    return layers


def _raised(rule: Any, layer: int) -> Any:
    return replace(rule, layer=layer)


def _put(table: dict[Any, Any], key: Any, rule: Any, what: str) -> None:
    old = table.get(key)
    if old is not None and old.layer == rule.layer:
        where = "twice" if old.path == rule.path else f"in {old.path}, too"
        raise BadFileError(rule.path, f"{what} is given {where}; remove one, or say over: [...] in one of the files")
    table[key] = rule


#: Kind of term -> (word for it, number of classes, its keys).
_TERMS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "bonds": ("bond", 2, ("k", "r0")),
    "angles": ("angle", 3, ("k", "theta0")),
    "torsions": ("torsion", 4, ()),
    "impropers": ("improper", 4, ()),
    "bond_charges": ("bond charge", 2, ("e",)),
    "pairs": ("pair", 2, ("epsilon", "sigma")),
}
#: Ways to write a torsion, and how many numbers each may have.
_FORMS = {"opls": 4, "one_minus_cos": 6, "cosines": 12}
_LIMITS = {
    "k": (0.0, 1e4),
    "r0": (0.3, 10.0),
    "theta0": (1.0, 180.0),
    "e": (-5.0, 5.0),
    "epsilon": (0.0, 100.0),
    "sigma": (0.0, 20.0),
}


@lru_cache(maxsize=256)
def _read(path: Path, mtime_ns: int, size: int) -> _Set:
    """Read one file; time and size are in the key so that an edited file is read again."""
    data = read_yaml(path, "force-field file", _LARGEST_FILE_BYTES)
    values = Values(path)
    if not isinstance(data, dict):
        raise BadFileError(path, "not a force-field file: expected keys such as name, sources, types")
    check_keys(path, data, ("name", "about", "sources"), ("variant", "over", "types", *_TERMS), "")
    sources = {
        values.text(key, "a key of sources"): values.text(text, "a source", long=True)
        for key, text in values.mapping(data["sources"], "sources").items()
    }
    name = values.text(data["name"], "name")
    types = tuple(_type(values, item, sources) for item in values.items(data.get("types", []), "types"))
    terms = {
        kind: tuple(_term(values, kind, item, sources) for item in values.items(data.get(kind, []), kind))
        for kind in _TERMS
    }
    return _Set(
        name=name,
        about=values.text(data["about"], "about", long=True),
        variant=values.text(data.get("variant", ""), "variant", empty=True),
        over=_names(values, data.get("over", []), "over"),
        sources=sources,
        types=types,
        terms=terms,
        path=path,
    )


def _type(values: Values, item: Any, sources: dict[str, str]) -> TypeRule:
    data = dict(values.mapping(item, "an entry of types"))
    name = values.text(data.get("name"), "the name of a type")
    where = f" of type {name[:40]}"
    required = ("name", "smarts", "class", "charge", "epsilon", "sigma", "source", "grade")
    check_keys(values.path, data, required, ("over", "role", "charge_source", "charge_grade", "note"), where)
    smarts = values.text(data["smarts"], f"smarts{where}")
    with rdBase.BlockLogs():
        pattern = Chem.MolFromSmarts(smarts)
    if pattern is None or pattern.GetNumAtoms() == 0 or len(Chem.GetMolFrags(pattern)) > 1:
        raise values.fail(f"smarts{where} is not one connected SMARTS pattern")
    charge = data["charge"]
    origin = _origin(values, data, "source", "grade", sources, where)
    charged = {"source": data.get("charge_source", data["source"]), "grade": data.get("charge_grade", data["grade"])}
    return TypeRule(
        name=name,
        smarts=smarts,
        class_=_class(values, data["class"], f"class{where}", wild=False),
        charge_e=None if charge == "formal" else values.number(charge, f"charge{where}", -8, 8),
        epsilon_kcal_per_mol=values.number(data["epsilon"], f"epsilon{where}", *_LIMITS["epsilon"]),
        sigma_A=values.number(data["sigma"], f"sigma{where}", *_LIMITS["sigma"]),
        origin=origin,
        charge_origin=_origin(values, charged, "source", "grade", sources, where),
        over=_names(values, data.get("over", []), f"over{where}"),
        role=values.text(data.get("role", ""), f"role{where}", empty=True),
        layer=0,
        path=values.path,
    )


def _term(values: Values, kind: str, item: Any, sources: dict[str, str]) -> TermRule:
    word, many, keys = _TERMS[kind]
    data = dict(values.mapping(item, f"an entry of {kind}"))
    label = "types" if kind == "pairs" else "classes"
    text = values.text(data.get(label), f"{label} of a {word}")
    where = f" of {word} {text[:60]}"
    classes = tuple(
        _class(values, part, f"{label}{where}", wild=kind not in ("pairs", "bond_charges")) for part in text.split("-")
    )
    if len(classes) != many:
        raise values.fail(f"{label}{where}: {many} names joined by - are expected")
    common = (label, "source", "grade")
    if keys:
        check_keys(values.path, data, (*common, *keys), ("note",), where)
        numbers: Numbers = tuple(values.number(data[key], f"{key}{where}", *_LIMITS[key]) for key in keys)
    else:
        check_keys(values.path, data, common, (*_FORMS, "note"), where)
        numbers = _cosines(values, data, where)
    return TermRule(classes, numbers, _origin(values, data, "source", "grade", sources, where), 0, values.path)


def _cosines(values: Values, data: dict[str, Any], where: str) -> Numbers:
    """Parts (k, n, d) of sum k (1 + cos(n phi - d)), without those that are zero.

    ``opls``: sum over n of V_n/2 (1 - (-1)^n cos n phi), J. Am. Chem. Soc. 118, 11225 (1996). ``one_minus_cos``: sum
    over n of k_n (1 - cos n phi), the form of Byutner and Smith and of impropers. ``cosines``: the parts themselves.
    """
    given = [key for key in _FORMS if key in data]
    if len(given) != 1:
        raise values.fail(
            f"give one of opls: [V1, V2, V3, V4], one_minus_cos: [k1, k2, ...], cosines: [[k, n, d], ...]{where}"
        )
    key = given[0]
    listed = values.items(data[key], f"{key}{where}")
    if len(listed) > _FORMS[key]:
        raise values.fail(f"{key}{where}: too many numbers")
    if key == "cosines":
        return tuple(_part(values, part, where) for part in listed)
    ks = [values.number(k, f"{key}{where}", -100, 100) for k in listed]
    if key == "opls":
        return tuple((0.5 * k, n, 0.0 if n % 2 else 180.0) for n, k in enumerate(ks, 1) if k)
    return tuple((k, n, 180.0) for n, k in enumerate(ks, 1) if k)


def _part(values: Values, part: Any, where: str) -> tuple[float, int, float]:
    """One ``[k, n, d]``; a phase between 0 and 180 would tell left from right."""
    items = values.items(part, f"a part of cosines{where}")
    if len(items) != 3 or items[2] not in (0, 180):
        raise values.fail(f"a part of cosines{where} must be [k, n, d] with d of 0 or 180")
    k = values.number(items[0], f"k{where}", -100, 100)
    return k, int(values.number(items[1], f"n{where}", 1, 6, whole=True)), float(items[2])


def _origin(
    values: Values, data: Mapping[str, Any], source: str, grade: str, sources: dict[str, str], where: str
) -> Origin:
    key = values.text(data[source], f"source{where}")
    if key not in sources:
        raise values.fail(f"source{where} is {key[:40]!r}, which is not among the sources of the file")
    return Origin(sources[key], values.choice(data[grade], f"grade{where}", GRADES))


def _names(values: Values, value: Any, what: str) -> tuple[str, ...]:
    return tuple(values.text(item, what) for item in values.items(value, what))


def _class(values: Values, value: Any, what: str, wild: bool = True) -> str:
    text = values.text(value, what)
    if "-" in text or any(letter.isspace() for letter in text) or (text == ANY and not wild):
        raise values.fail(f"{what} must have no dash and no blank, and {ANY} stands for any class of a bonded term")
    return text
