"""A result with everything it came from, as an RO-Crate: a folder or zip that other programs can read, too.

RO-Crate 1.1 (doi:10.3233/DS-210053, known to us through the documentation of ``rocrate``): a ``ro-crate-metadata.json``
says of every file what it is, and of every step what went in and what came out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from atomflow.errors import BadFileError, BadOptionError, MissingBackendError, OutputError
from atomflow.flow.store import Entry, Store


def with_ancestors(store: Store, wanted: Iterable[tuple[str, str]]) -> list[Entry]:
    """Entries of the wanted steps and of all steps whose outputs they were given.

    Raises
    ------
    BadOptionError
        When one is not in the store.
    """
    found: dict[tuple[str, str], Entry] = {}
    left = list(wanted)
    while left:
        step, key = left.pop()
        if (step, key) in found:
            continue
        entry = store.find(step, key)
        if entry is None:
            raise BadOptionError(f"{step} {key[:12]} is not in {store.folder}; name the store it is in with --store")
        found[step, key] = entry
        left += parents(store, entry)
    return sorted(found.values(), key=lambda entry: (entry.created, entry.step, entry.key))


def parents(store: Store, entry: Entry) -> list[tuple[str, str]]:
    """Steps whose outputs a step was given, and those it is made of.

    Raises
    ------
    BadFileError
        When its inputs are damaged.
    """
    try:
        given = _outputs_in(json.loads(store.read(entry, "inputs.json")))
        return list(dict.fromkeys([*given, *entry.made_of]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadFileError(entry.folder, f"{error}; the next run that needs it computes it again") from error


def _outputs_in(data: Any) -> Iterator[tuple[str, str]]:
    if isinstance(data, dict):
        if data.get("$type") == "atomflow.output-of/1":
            yield data["step"], data["key"]
        for item in data.values():
            yield from _outputs_in(item)
    elif isinstance(data, list):
        for item in data:
            yield from _outputs_in(item)


def export_crate(
    store: Store,
    entries: Iterable[Entry],
    target: Path,
    title: str,
    description: str,
    results: Mapping[str, Path] | None = None,
) -> None:
    """Write a crate.

    Parameters
    ----------
    store : Store
    entries : iterable of Entry
        Steps, each with its inputs, result and files.
    target : Path
        A folder, or a zip when it ends in ``.zip``; must not be there yet.
    title, description : str
    results : mapping of str to Path, optional
        Further files, such as a study's report, by their place in the crate.

    Raises
    ------
    OutputError, MissingBackendError
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise MissingBackendError("export", "rocrate", "pip install 'atomflow[export]'") from error
    if target.exists():
        raise OutputError(target, "it is there already")
    crate = ROCrate()
    crate.name, crate.description = title, description
    software = _add(crate, "#atomflow", "SoftwareApplication", name="atomflow")
    made = {
        place: crate.add_file(str(path), place, properties={"name": path.name})
        for place, path in (results or {}).items()
    }
    actions: dict[tuple[str, str], tuple[Entry, Any, Any]] = {}
    for entry in entries:
        place = f"steps/{entry.step}/{entry.key}"
        files = {
            name: crate.add_file(
                str(entry.folder / name), f"{place}/{name}", properties={"sha256": about["sha256"], "name": name}
            )
            for name, about in entry.files.items()
        }
        crate.add_file(str(entry.folder / "entry.json"), f"{place}/entry.json", properties={"name": "entry.json"})
        given = files.pop("inputs.json")
        action = _add(
            crate,
            f"#{entry.step}/{entry.key}",
            "CreateAction",
            name=f"{entry.step}, version {entry.version}",
            endTime=entry.created,
            description=f"{entry.seconds} s on {entry.host}, atomflow {entry.atomflow_version}",
        )
        action["instrument"], action["result"] = software, list(files.values())
        actions[entry.step, entry.key] = (entry, given, action)
    for entry, given, action in actions.values():
        found = [actions[parent][2]["result"][0] for parent in parents(store, entry) if parent in actions]
        action["object"] = [given, *found]
    if made:
        study = _add(crate, "#study", "CreateAction", name=title)
        study["instrument"], study["result"] = software, list(made.values())
        study["object"] = [result for _, _, action in actions.values() for result in action["result"]]
    try:
        if target.suffix == ".zip":
            crate.write_zip(target)
        else:
            crate.write(target)
    except OSError as error:
        raise OutputError(target, error.strerror or str(error)) from error


def _add(crate: Any, identifier: str, kind: str, **properties: str) -> Any:
    from rocrate.model.contextentity import ContextEntity

    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))
