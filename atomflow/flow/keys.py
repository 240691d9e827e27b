"""What a step is known by: its name, its version and its inputs, whoever runs it and wherever.

An input that another step is still to produce stands by that step's key, so that a whole graph has keys before any of
it has run. A file stands by its content.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from atomflow.errors import BadFileError, BadOptionError
from atomflow.model import encode, record, step_info


@record("atomflow.output-of/1")
@dataclass(frozen=True)
class OutputOf:
    """The result of another step, in the inputs of one."""

    step: str
    key: str


def module_of(function: Callable[..., Any]) -> str:
    """Module that a worker imports to find a function; a script's own is known by its file's name."""
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else Path(getattr(main, "__file__", None) or "__main__").stem


def step_name(function: Callable[..., Any]) -> str:
    """What a step is called in the store."""
    name = f"{module_of(function)}.{function.__qualname__}".replace(".<locals>", "")
    parts = (re.sub(r"\W", "_", part) for part in name.split("."))
    return ".".join(part if part[:1].isidentifier() else f"_{part}" for part in parts)


def reference(function: Callable[..., Any]) -> str:
    """``module:name`` by which another process finds a function.

    Raises
    ------
    BadOptionError
        When it cannot be found that way.
    """
    if "<" in function.__qualname__:
        raise BadOptionError(
            f"step {function.__qualname__} is defined inside a function; processes find steps by name, so move it to "
            "the top of a module"
        )
    return f"{function.__module__}:{function.__qualname__}"


def resolve(name: str) -> Callable[..., Any]:
    """The step of a reference."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    step_info(found)
    function: Callable[..., Any] = found
    return function


def bound_inputs(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Inputs by name, defaults among them: called this way or that, a step is the same step."""
    parameters = [p for p in _signature(function).parameters.values() if p.name != "work"]
    bound = inspect.Signature(parameters).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def frozen_inputs(inputs: dict[str, Any]) -> tuple[str, str]:
    """Inputs as JSON: as they are now, whatever is done to them later, and as they stand in the key.

    Returns
    -------
    frozen : str
        Files by their absolute paths.
    kept : str
        Canonical; files by their content.

    Raises
    ------
    TypeError
        When an input has no exact form in JSON, as a calculator *object*.
    BadFileError
        When a file is not there.
    """
    encoded = encode(inputs)
    paths = list(_nodes(encoded, "path"))
    for node in paths:
        node["value"] = str(Path(node["value"]).absolute())
    frozen = json.dumps(encoded, allow_nan=False)
    for node in paths:
        path = Path(node.pop("value"))
        node.update({"$type": "file", "sha256": file_digest(path), "suffix": path.suffix})
    return frozen, json.dumps(encoded, sort_keys=True, separators=(",", ":"), allow_nan=False)


def step_key(name: str, version: str, inputs: str) -> str:
    """SHA-256 (hex) of a step's name, version and canonical inputs."""
    return hashlib.sha256(json.dumps([name, version, inputs]).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content.

    Raises
    ------
    BadFileError
        When it cannot be read.
    """
    try:
        about = path.stat()
        if not path.is_file():
            raise BadFileError(path, "a step's input must be a file; name the files of a folder one by one")
        return _digest(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise BadFileError(path, error.strerror or str(error)) from error


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, time_ns: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _nodes(data: Any, tag: str) -> Iterator[dict[str, Any]]:
    """Objects of one type anywhere in encoded data."""
    if isinstance(data, dict):
        if data.get("$type") == tag:
            yield data
        else:
            for item in data.values():
                yield from _nodes(item, tag)
    elif isinstance(data, list):
        for item in data:
            yield from _nodes(item, tag)


def files_to_names(encoded: Any, folder: Path | None, store: Path) -> list[str]:
    """Replace paths of files in a folder by their names there, in place; returns the names.

    A path of a file that another step keeps in the store stays, by its place there.

    Raises
    ------
    TypeError
        When a path is elsewhere, or no file.
    """
    names = []
    for node in list(_nodes(encoded, "path")):
        path = Path(node.pop("value"))
        if path.is_symlink() or not path.is_file():
            raise TypeError(f"the result names {path}, which is not a file")
        inside = _place_in(path, folder) if folder is not None else None
        kept = _place_in(path, store)
        if inside is not None:
            node.update({"$type": "file", "name": inside})
            names.append(inside)
        elif kept is not None and _KEPT.fullmatch(kept):
            node.update({"$type": "kept-file", "place": kept})
        else:
            raise TypeError(f"the result names {path}, which is not in the step's own folder")
    return names


_KEPT = re.compile(r"[A-Za-z_][\w.]*/[0-9a-f]{64}/files/(?!\.\.?(/|$))[^\0]+")


def _place_in(path: Path, folder: Path) -> str | None:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return None


def names_to_files(encoded: Any, folder: Path, known: Collection[str], store: Path) -> Any:
    """The reverse of :func:`files_to_names`, for names of ``known`` files.

    Raises
    ------
    ValueError
        For other names: a result may be anybody's.
    """
    for node in list(_nodes(encoded, "file")):
        name = node.pop("name")
        if name not in known:
            raise ValueError(f"it names a file {name!r} that it does not have")
        node.update({"$type": "path", "value": str(folder / name)})
    for node in list(_nodes(encoded, "kept-file")):
        place = node.pop("place")
        if not _KEPT.fullmatch(place) or ".." in place.split("/"):
            raise ValueError(f"it names a file {place!r} that is in no step's folder")
        node.update({"$type": "path", "value": str(store / place)})
    return encoded
