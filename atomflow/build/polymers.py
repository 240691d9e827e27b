"""The library of polymers: which units, in what sequence, with which ends; YAML files or a :class:`Polymer` of one's own.

A polymer says what its chains *are*; :mod:`atomflow.build.sequences` draws one, :mod:`atomflow.build.chains` builds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from atomflow.build.datafiles import Values, check_keys, find_entry, list_entries, read_yaml, search_path
from atomflow.build.residues import PATH_VARIABLE, end_of, split_shipped, unit_of
from atomflow.errors import BadFileError, BadOptionError
from atomflow.model import GRADES

_LARGEST_FILE_BYTES = 64 * 1024
#: Ways to make a sequence; anything else is the sequence itself.
SEQUENCES = ("random", "blocky", "alternating", "blocks")
#: Probability of a meso dyad.
TACTICITIES: Mapping[str, float] = {"isotactic": 1.0, "syndiotactic": 0.0, "atactic": 0.5}


@dataclass(frozen=True)
class Share:
    """A repeat unit and its mole fraction (None for the rest); ``apart`` units stand between units of the first kind."""

    residue: str
    fraction: float | None = None
    apart: bool = False


@dataclass(frozen=True)
class Substitution:
    """``fraction`` of the units ``replaces`` that follow a unit ``after`` become ``residue``."""

    residue: str
    replaces: str
    after: str
    fraction: float


@dataclass(frozen=True)
class Block:
    """One kind of block: residues that begin it, the repeated one, residues that finish it.

    ``weight_fraction`` (None for the rest) counts all of the block; ``block_length`` is the number of repeated units,
    and one block of a polymer must have it.
    """

    name: str
    residue: str
    start: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    weight_fraction: float | None = None
    block_length: int | None = None


@dataclass(frozen=True)
class Polymer:
    """What the chains of a polymer are.

    Parameters
    ----------
    name : str
    units : tuple of Share
        Repeat units; the first takes the rest of the mole fractions.
    blocks : tuple of Block
        Instead of units, for block copolymers.
    substitutions : tuple of Substitution
        Units changed after the sequence is drawn.
    sequence : str
        ``"random"``, ``"blocky"``, ``"alternating"``, ``"blocks"``, or residues such as ``"VDF*3 HFP -VDF VDF"``
        (a minus sign turns a unit round).
    block_length : int
        Units in one block of a blocky sequence.
    length : int
        Units of a chain when the caller does not say.
    head, tail : str
        End groups: SMILES with one attachment point.
    head_head_fraction : float
        Part of the units of the first kind that are turned round.
    tacticity : str or float
        ``"isotactic"``, ``"syndiotactic"``, ``"atactic"``, or the probability of a meso dyad.
    source, grade : str
        Where this comes from and how far to trust it.
    """

    name: str
    units: tuple[Share, ...] = ()
    blocks: tuple[Block, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    sequence: str = "random"
    block_length: int = 6
    length: int = 20
    head: str = "[*][H]"
    tail: str = "[*][H]"
    head_head_fraction: float = 0.0
    tacticity: str | float = "atactic"
    aliases: tuple[str, ...] = ()
    source: str = "by the user"
    grade: str = "assumed"
    note: str = ""
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if bool(self.units) == bool(self.blocks):
            raise BadOptionError(f"polymer {self.name}: give either units or blocks")
        check_fraction("head_head_fraction", self.head_head_fraction)
        meso_probability(self.tacticity)
        for share in self.units:
            if share.fraction is not None:
                check_fraction(f"fraction of {share.residue}", share.fraction)
        for block in self.blocks:
            if block.weight_fraction is not None:
                check_fraction(f"weight fraction of {block.name}", block.weight_fraction)
        if self.blocks and all(block.block_length is None for block in self.blocks):
            raise BadOptionError(f"polymer {self.name}: one block must have a block_length")

    @property
    def residues(self) -> tuple[str, ...]:
        """Names of all residues it may have."""
        of_blocks = [name for block in self.blocks for name in (*block.start, block.residue, *block.finish)]
        names = [share.residue for share in self.units] + of_blocks + [s.residue for s in self.substitutions]
        return tuple(dict.fromkeys(names))


def check_fraction(what: str, value: float) -> float:
    """The value, if it is between 0 and 1."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise BadOptionError(f"{what} is {value}: give a fraction between 0 and 1, such as 0.05 for 5 %")
    return float(value)


def meso_probability(tacticity: str | float) -> float:
    """Probability of a meso dyad.

    Raises
    ------
    BadOptionError
        For an unknown word, or a number outside 0..1.
    """
    if isinstance(tacticity, str):
        if tacticity in TACTICITIES:
            return TACTICITIES[tacticity]
        try:
            tacticity = float(tacticity)
        except ValueError:
            raise BadOptionError(
                f"tacticity {tacticity!r}: use {', '.join(TACTICITIES)}, or the probability of a meso dyad"
            ) from None
    return check_fraction("tacticity", tacticity)


def find_polymer(name: str, folders: Iterable[str | Path] = ()) -> Polymer:
    """Polymer called ``name``, by name or alias; or the homopolymer of a SMILES with two attachment points.

    Parameters
    ----------
    name : str
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_POLYMERS_PATH``, then the shipped library. Residues
        of their own are in a folder ``residues`` inside them.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadFileError, BadOptionError
        When a file or the SMILES is malformed.
    """
    if "*" in name:
        unit_of(name)
        return Polymer(name=name, units=(Share(name),))
    mend = "give a SMILES with two attachment points such as [*:1]CC[*:2], or see `atomflow list polymers`"
    return find_entry(name, _folders(folders), _read, "polymer", mend)


def list_polymers(folders: Iterable[str | Path] = ()) -> list[Polymer]:
    """Every polymer that :func:`find_polymer` can reach by its name, sorted."""
    return sorted(list_entries(_folders(folders), _read), key=lambda polymer: polymer.name.lower())


def _folders(folders: Iterable[str | Path]) -> list[Path]:
    own, shipped = split_shipped(search_path(folders, PATH_VARIABLE, "polymers"))
    return [*own, shipped]


_REQUIRED = ("name", "ends", "length", "source", "grade")
_OPTIONAL = (
    "aliases",
    "units",
    "blocks",
    "substitutions",
    "sequence",
    "block_length",
    "head_head_fraction",
    "tacticity",
    "note",
)


@lru_cache(maxsize=1024)
def _read(path: Path, mtime_ns: int, size: int) -> Polymer:
    """Read one file; time and size are in the key so that an edited file is read again."""
    values = Values(path)
    data = dict(values.mapping(read_yaml(path, "polymer", _LARGEST_FILE_BYTES), "a polymer"))
    check_keys(path, data, _REQUIRED, _OPTIONAL, "")
    ends = dict(values.mapping(data["ends"], "ends"))
    check_keys(path, ends, ("head", "tail"), (), " in ends")
    head, tail = (values.text(ends[key], f"ends: {key}") for key in ("head", "tail"))
    tacticity = data.get("tacticity", "atactic")
    if not isinstance(tacticity, str):
        tacticity = values.number(tacticity, "tacticity", 0, 1)
    try:
        end_of(head), end_of(tail)
        return Polymer(
            name=values.text(data["name"], "name"),
            aliases=tuple(values.text(a, "an alias") for a in values.items(data.get("aliases", []), "aliases")),
            units=tuple(_share(values, entry) for entry in values.items(data.get("units", []), "units")),
            blocks=tuple(_block(values, entry) for entry in values.items(data.get("blocks", []), "blocks")),
            substitutions=tuple(
                _substitution(values, entry) for entry in values.items(data.get("substitutions", []), "substitutions")
            ),
            sequence=values.text(data.get("sequence", "random"), "sequence"),
            block_length=int(values.number(data.get("block_length", 6), "block_length", 1, 1e6, whole=True)),
            length=int(values.number(data["length"], "length", 1, 1e6, whole=True)),
            head=head,
            tail=tail,
            head_head_fraction=values.number(data.get("head_head_fraction", 0), "head_head_fraction", 0, 1),
            tacticity=tacticity,
            source=values.text(data["source"], "source", long=True),
            grade=values.choice(data["grade"], "grade", GRADES),
            note=values.text(data.get("note", ""), "note", empty=True, long=True),
            path=path,
        )
    except BadOptionError as error:
        raise BadFileError(path, str(error)) from error


def _share(values: Values, entry: Any) -> Share:
    data = dict(values.mapping(entry, "an entry of units"))
    check_keys(values.path, data, ("residue",), ("fraction", "apart"), " in units")
    fraction = values.number(data["fraction"], "fraction", 0, 1) if "fraction" in data else None
    apart = data.get("apart", False)
    if not isinstance(apart, bool):
        raise values.fail("apart must be true or false")
    return Share(values.text(data["residue"], "residue"), fraction, apart)


def _substitution(values: Values, entry: Any) -> Substitution:
    data = dict(values.mapping(entry, "an entry of substitutions"))
    check_keys(values.path, data, ("residue", "replaces", "after", "fraction"), (), " in substitutions")
    residue, replaces, after = (values.text(data[key], key) for key in ("residue", "replaces", "after"))
    return Substitution(residue, replaces, after, values.number(data["fraction"], "fraction", 0, 1))


def _block(values: Values, entry: Any) -> Block:
    data = dict(values.mapping(entry, "an entry of blocks"))
    optional = ("start", "finish", "weight_fraction", "block_length")
    check_keys(values.path, data, ("name", "residue"), optional, " in blocks")
    weight = values.number(data["weight_fraction"], "weight_fraction", 0, 1) if "weight_fraction" in data else None
    length = values.number(data["block_length"], "block_length", 1, 1e6, whole=True) if "block_length" in data else None
    start, finish = (
        tuple(values.text(name, key) for name in values.items(data.get(key, []), key)) for key in ("start", "finish")
    )
    return Block(
        values.text(data["name"], "name"),
        values.text(data["residue"], "residue"),
        start,
        finish,
        weight,
        None if length is None else int(length),
    )
