"""A library made of YAML files, one entry each: where it is looked for, how a name is found, how a file is read safely.

The rooms say what an entry is (:mod:`atomflow.build.species`, :mod:`atomflow.build.crystals`); this module knows
folders, names, and that a data file may hold anything at all.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from atomflow.errors import BadFileError, UnknownNameError
from atomflow.library import library_folder


class Entry(Protocol):
    """What an entry must have to be found."""

    @property
    def name(self) -> str:
        """How users call it."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names."""

    @property
    def path(self) -> Path | None:
        """The file."""


T = TypeVar("T", bound=Entry)
#: Reads one file; time and size are arguments so that a cache reads an edited file again.
Reader = Callable[[Path, int, int], T]


def find_entry(name: str, search: Iterable[Path], read: Reader[T], kind: str, mend: str) -> T:
    """Entry called ``name``, by name or alias, in the first folder of ``search`` that has it.

    Raises
    ------
    UnknownNameError
        With the nearest names and ``mend``.
    BadFileError
        When a file in these folders is malformed.
    """
    wanted = fold_name(name)
    known: list[str] = []
    for folder in search:
        entries = index_folder(folder, read)
        if wanted in entries:
            return entries[wanted]
        known += [text for entry in entries.values() for text in (entry.name, *entry.aliases)]
    raise UnknownNameError(kind, name, known, mend=mend)


def list_entries(search: Iterable[Path], read: Reader[T]) -> list[T]:
    """Every entry that :func:`find_entry` can reach by its name."""
    found: dict[str, T] = {}
    for folder in search:
        for entry in index_folder(folder, read).values():
            found.setdefault(fold_name(entry.name), entry)
    return list(found.values())


def fold_name(name: str) -> str:
    """One spelling for names that look the same: superscripts, minus signs, case and outer blanks."""
    text = unicodedata.normalize("NFKC", name)
    for dash in "\u2010\u2011\u2012\u2013\u2212":
        text = text.replace(dash, "-")
    return " ".join(text.casefold().split())


def search_path(folders: str | Path | Iterable[str | Path], variable: str, shipped: str) -> list[Path]:
    """Folders to look in: the given ones, those of the environment ``variable``, then ``structures/<shipped>``."""
    # A lone string would be walked letter by letter.
    given = [folders] if isinstance(folders, (str, Path)) else list(folders)
    listed = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    path = [Path(part).expanduser() for part in (*given, *listed)]
    for folder in path:
        if not folder.is_dir():
            raise BadFileError(folder, f"no such folder of {shipped}; mend the option or {variable}")
    return [*path, library_folder("structures") / shipped]


def index_folder(folder: Path, read: Reader[T]) -> dict[str, T]:
    """Folded name or alias -> entry, for one folder."""
    index: dict[str, T] = {}
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            stat = path.stat()
        except OSError as error:
            raise BadFileError(path, f"cannot be read ({error.strerror})") from error
        entry = read(path, stat.st_mtime_ns, stat.st_size)
        for text in (entry.name, *entry.aliases):
            other = index.setdefault(fold_name(text), entry)
            if other is not entry:
                raise BadFileError(path, f"the name {text!r} is taken by {other.path}; remove it from one of them")
    return index


def read_yaml(path: Path, kind: str, largest_bytes: int) -> Any:
    """Content of one YAML file of at most ``largest_bytes``; whatever is wrong with it is a one-line BadFileError."""
    try:
        with path.open("rb") as handle:
            raw = handle.read(largest_bytes + 1)
        if len(raw) > largest_bytes:
            raise BadFileError(path, f"too much for a {kind}, at most {largest_bytes} bytes")
        # The loader is PyYAML's safe one.
        return yaml.load(raw.decode("utf-8"), Loader=_Strict)  # noqa: S506
    except BadFileError:
        raise
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    # PyYAML's constructors leak built-in errors for tags such as `!!int ""` and `!!timestamp x`.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadFileError(path, f"not valid YAML ({first_line(error)})") from error


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, in C where it is built in, which takes no key twice: the last one would win in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _value in getattr(node, "value", ()):
            name = (key.tag, getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else None)
            if name[1] is not None and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name[1][:40]!r} stands twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def check_keys(path: Path, data: dict[Any, Any], required: Iterable[str], optional: Iterable[str], where: str) -> None:
    """Raise BadFileError when a key is unknown or missing; values never enter a message, they may be huge."""
    required, known = tuple(required), (*required, *optional)
    for key in data:
        if key not in known:
            shown = repr(key[:40]) if isinstance(key, str) else f"of type {type(key).__name__}"
            raise BadFileError(path, f"unknown key {shown}{where}; known are {', '.join(known)}")
    for key in required:
        if key not in data:
            raise BadFileError(path, f"missing key {key!r}{where}")


class Values:
    """Values of one parsed file, checked one by one; what is wrong is told in one line that never repeats them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, reason: str) -> BadFileError:
        """The error to raise."""
        return BadFileError(self.path, reason)

    def text(self, value: Any, what: str, empty: bool = False, long: bool = False) -> str:
        """A text, stripped; on one line unless ``long``."""
        if not isinstance(value, str):
            raise self.fail(f"{what} must be text; put numbers and yes/no in quotes")
        value = value.strip()
        if not value and not empty:
            raise self.fail(f"{what} is empty")
        if not long and not value.isprintable():
            raise self.fail(f"{what} holds a line break or another control character")
        return value

    def choice(self, value: Any, what: str, known: tuple[str, ...]) -> str:
        """One of the known texts."""
        if value not in known:
            raise self.fail(f"{what} must be one of {', '.join(known)}")
        return str(value)

    def number(self, value: Any, what: str, low: float, high: float, whole: bool = False) -> float:
        """A finite number between ``low`` and ``high``; a fraction may be written as the text 1/3."""
        kinds = (int,) if whole else (int, float)
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,3}/\d{1,3}", value.strip()) and not whole:
            numerator, _, denominator = value.partition("/")
            value = float(Fraction(int(numerator), int(denominator))) if int(denominator) else None
        # nan and numbers beyond float's range fail the comparison, too.
        if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise self.fail(f"{what} must be {kind} between {low:g} and {high:g}")
        return value

    def mapping(self, value: Any, what: str) -> Mapping[Any, Any]:
        """A mapping."""
        if not isinstance(value, Mapping):
            raise self.fail(f"{what} must be a mapping, for example {{key: value}}")
        return value

    def items(self, value: Any, what: str) -> list[Any]:
        """A list."""
        if not isinstance(value, list):
            raise self.fail(f"{what} must be a list")
        return value


def first_line(error: BaseException) -> str:
    """What went wrong, short and on one line, with the line number where a parser gives it."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error) or type(error).__name__
    where = f", line {mark.line + 1}" if mark is not None else ""
    lines = str(what).splitlines() or [type(error).__name__]
    return f"{lines[0][:120]}{where}"
