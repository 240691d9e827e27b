"""Finished steps in a folder: found by their key, verified when read, never half there.

``<store>/<step>/<key>/`` holds ``entry.json`` (what, when, where, how long, and a checksum of every other file),
``inputs.json``, ``result.json`` and the step's ``files/``. An entry is written beside its place under a name that ends in ``.part`` and
renamed when all of it is on the disk: a folder of the right name is complete. There are no locks; of two drivers that
finish the same step the later one drops its copy. ``<key>.failed.json`` tells of a step that failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from atomflow import __version__
from atomflow.errors import StoreError
from atomflow.flow.keys import file_digest, files_to_names, names_to_files
from atomflow.flow.parts import PART, Part, new_part, take_part
from atomflow.model import decode, encode, write_atomically

#: Raised by one when an older atomflow could misread what a newer one wrote.
LAYOUT = 1
_STEP = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY, _INPUTS, _RESULT, _MARK = "entry.json", "inputs.json", "result.json", "store.json"
_QUARANTINE, _FAILED, _FILES = "quarantine", ".failed.json", "files"


@dataclass(frozen=True)
class Entry:
    """What is known about a finished step without reading its result.

    Attributes
    ----------
    step, key : str
    folder : Path
    created : str
        ISO 8601, UTC.
    seconds : float
        Time inside the step.
    host : str
    version : str
        Of the step.
    atomflow_version : str
    made_of : tuple of (step, key)
        The steps that a step made of steps has asked for.
    files : dict
        ``{name: {"bytes": int, "sha256": str}}`` of every file beside ``entry.json``.
    """

    step: str
    key: str
    folder: Path
    created: str
    seconds: float
    host: str
    version: str
    atomflow_version: str
    made_of: tuple[tuple[str, str], ...]
    files: dict[str, dict[str, Any]]

    @property
    def size_bytes(self) -> int:
        """Size of the files, without the entry itself."""
        return sum(int(about["bytes"]) for about in self.files.values())


class Store:
    """A folder of finished steps; it is made when the first one is added.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    StoreError
        When a newer atomflow wrote this store, or something else is in its place.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        #: (step, key, reason) of entries that were found damaged and put aside.
        self.quarantined: list[tuple[str, str, str]] = []
        self._check_layout()

    def _check_layout(self) -> None:
        try:
            layout = json.loads((self.folder / _MARK).read_text(encoding="utf-8"))["layout"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError):
                raise StoreError(self.folder, f"cannot be read: {error.strerror}") from error
            return  # a damaged mark: every entry carries the layout, too
        self._check_age(layout)

    def _check_age(self, layout: Any) -> None:
        if isinstance(layout, int) and layout > LAYOUT:
            raise StoreError(
                self.folder, f"was written by a newer atomflow (layout {layout}, this one reads {LAYOUT}); upgrade it"
            )

    # --- reading ---------------------------------------------------------------------------------------------------

    def find(self, step: str, key: str) -> Entry | None:
        """The entry of a finished step, or None. Looks at the manifest and at file sizes, not into the files."""
        folder = self._place(step, key)
        try:
            text = (folder / _ENTRY).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            if not folder.is_dir():
                return None
            if not (folder / _ENTRY).is_file():  # looked at again: it may have been finished this moment
                self._put_aside(step, key, "it has no entry.json")
                return None
            return self.find(step, key)
        except UnicodeDecodeError:
            self._put_aside(step, key, "entry.json is not text")
            return None
        except OSError as error:
            raise StoreError(folder, f"cannot be read: {error.strerror}") from error
        try:
            about = json.loads(text)
            self._check_age(about["layout"])
            entry = Entry(
                step=about["step"],
                key=about["key"],
                folder=folder,
                created=about["created"],
                seconds=float(about["seconds"]),
                host=about["host"],
                version=str(about.get("version", "")),
                atomflow_version=about["atomflow_version"],
                made_of=tuple((str(step), str(key)) for step, key in about.get("made_of", ())),
                files={_plain_name(name): dict(row) for name, row in about["files"].items()},
            )
            if (entry.step, entry.key) != (step, key):
                raise ValueError("it belongs to another step")
            for name, row in entry.files.items():
                size = (folder / name).stat().st_size
                if size != row["bytes"]:
                    raise ValueError(f"{name} has {size} bytes instead of {row['bytes']}")
        except StoreError:  # from a newer atomflow, not damaged
            raise
        except FileNotFoundError as error:
            self._put_aside(step, key, f"{Path(error.filename).name} is missing")
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._put_aside(step, key, f"entry.json is damaged ({error})")
            return None
        return entry

    def get(self, step: str, key: str) -> tuple[Entry, Any] | None:
        """A finished step and its result, verified; None when there is none or it was damaged (then put aside).

        A sound entry that this process cannot read, as one of a newer version's records, counts as not there.
        """
        entry = self.find(step, key)
        if entry is None:
            return None
        try:
            encoded = json.loads(self.read(entry, _RESULT))
            for name in entry.files:
                if name.startswith(_FILES):
                    self._check_file(entry, name)
        except StoreError:
            raise
        except (ValueError, KeyError, RecursionError) as error:
            self._put_aside(step, key, str(error))
            return None
        known = {name.removeprefix(f"{_FILES}/") for name in entry.files}
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return entry, decode(names_to_files(encoded, entry.folder / _FILES, known, self.folder))
        return None

    def read(self, entry: Entry, name: str) -> bytes:
        """Content of a file of an entry.

        Raises
        ------
        ValueError
            When it is not what was written.
        """
        try:
            content = (entry.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise ValueError(f"{name} is missing") from error
        except OSError as error:
            raise StoreError(entry.folder, f"cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != entry.files[name]["sha256"]:
            raise ValueError(f"{name} does not match its checksum")
        return content

    def _check_file(self, entry: Entry, name: str) -> None:
        try:
            with (entry.folder / name).open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise ValueError(f"{name} is missing") from error
        except OSError as error:
            raise StoreError(entry.folder, f"cannot be read: {error.strerror}") from error
        if digest != entry.files[name]["sha256"]:
            raise ValueError(f"{name} does not match its checksum")

    def steps(self) -> list[str]:
        """Names of the steps that have entries or unfinished work."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as found:
            return sorted(e.name for e in found if e.is_dir() and e.name != _QUARANTINE and _STEP.fullmatch(e.name))
        return []

    def keys(self, step: str) -> Iterator[str]:
        """Keys of a step's finished entries, in no order."""
        with suppress(FileNotFoundError), os.scandir(self.folder / _checked(_STEP, step)) as found:
            for item in found:
                if _KEY.fullmatch(item.name):
                    yield item.name

    def entries(self, steps: Iterable[str] | None = None) -> Iterator[Entry]:
        """Finished entries of the given steps, or of all."""
        for step in self.steps() if steps is None else steps:
            for key in self.keys(step):
                entry = self.find(step, key)
                if entry is not None:
                    yield entry

    def unfinished(self) -> list[Path]:
        """Folders of entries that were never completed: their driver is writing them now, or was killed."""
        return sorted(p for step in self.steps() for p in (self.folder / step).iterdir() if p.name.endswith(PART))

    def failures(self) -> list[dict[str, Any]]:
        """What is known of steps that failed and have not succeeded since."""
        found = []
        for path in sorted(self.folder.glob(f"*/*{_FAILED}")):
            with suppress(OSError, ValueError):
                about = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(about, dict):
                    found.append({**about, "step": path.parent.name, "key": path.name.removesuffix(_FAILED)})
        return found

    def put_aside(self) -> list[Path]:
        """Folders of damaged entries in quarantine."""
        return sorted((self.folder / _QUARANTINE).glob("*/*"))

    # --- writing ---------------------------------------------------------------------------------------------------

    def begin(self, step: str, key: str, *, goes_on: bool) -> Part:
        """A folder for a step to work in: a fresh one, or one to go on in.

        Raises
        ------
        StoreError
            When the store cannot be written.
        """
        place = self._place(step, key)
        try:
            self._mark()
            part = take_part(place) if goes_on else new_part(place)
            part.files.mkdir(exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return part

    def add(
        self,
        step: str,
        key: str,
        inputs: Any,
        result: Any,
        seconds: float,
        version: str,
        part: Part | None = None,
        made_of: Iterable[tuple[str, str]] = (),
    ) -> Entry:
        """Keep a finished step, durably. When another driver was faster, its entry stays.

        Parameters
        ----------
        step, key : str
        inputs : object or bytes
            Bytes are JSON already.
        result : object
            Files of ``part`` that it names, as ``Path``, are kept.
        seconds : float
        version : str
            Of the step.
        part : Part, optional
            The folder it has worked in; becomes the entry. Stays what it was when the entry cannot be written.
        made_of : iterable of (step, key)
            Steps that it has asked for.

        Raises
        ------
        StoreError
            When the store cannot be written; what was there before is untouched.
        TypeError
            When inputs or result hold something that could not be read back.
        """
        place = self._place(step, key)
        encoded = encode(result)
        names = files_to_names(encoded, None if part is None else part.files, self.folder)
        contents = {_INPUTS: inputs if isinstance(inputs, bytes) else _json(encode(inputs)), _RESULT: _json(encoded)}
        files = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()}
        own = None
        try:
            self._mark()
            work = part or (own := new_part(place))
            for name in names:
                _plain_name(f"{_FILES}/{name}")
                path = work.files / name
                files[f"{_FILES}/{name}"] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
            about = {
                "layout": LAYOUT,
                "step": step,
                "key": key,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds, 3),
                "host": socket.gethostname(),
                "version": version,
                "atomflow_version": __version__,
                "packages": _packages(),
                "made_of": [list(pair) for pair in made_of],
                "files": files,
            }
            for name, content in {**contents, _ENTRY: _json(about)}.items():
                (work.folder / name).write_bytes(content)
            for name in (*files, _ENTRY, "."):  # after all are written: the first takes most of the others with it
                _sync(work.folder / name)
            _keep_only(work.files, names)
            entry = self._put_in_place(work, place, step, key)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            if own is not None and own.folder.exists():
                own.discard()
        place.with_name(key + _FAILED).unlink(missing_ok=True)
        return entry

    def _put_in_place(self, work: Part, place: Path, step: str, key: str) -> Entry:
        for _ in range(3):
            try:
                work.folder.rename(place)
            except OSError:
                # A folder that is not empty is never replaced: somebody else has finished this step, or what is in the
                # way is damaged, and finding it puts it aside.
                entry = self.find(step, key)
                if entry is not None:
                    work.discard()
                    return entry
                continue
            work.now_in(place)
            _sync(place.parent)
            entry = self.find(step, key)
            if entry is not None:
                return entry
        raise StoreError(self.folder, f"holds a damaged {place}, which cannot be moved")

    def add_failure(self, step: str, key: str, about: dict[str, Any]) -> None:
        """Note that a step failed: for people to read. It is tried again by the next run."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):  # the failure itself is the news
            self._mark()
            place = self._place(step, key)
            place.parent.mkdir(exist_ok=True)
            text = json.dumps({**about, "created": created, "host": socket.gethostname()}, indent=1)
            write_atomically(place.with_name(key + _FAILED), text + "\n")

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(self.folder, f"cannot be written: {error.strerror or error}")

    def _mark(self) -> None:
        mark = self.folder / _MARK
        if not mark.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = mark.with_name(f".{_MARK}.{uuid.uuid4().hex[:8]}{PART}")
            part.write_bytes(_json({"layout": LAYOUT}))
            _sync(part)
            part.replace(mark)

    def _put_aside(self, step: str, key: str, reason: str) -> None:
        """Move a damaged entry to the quarantine: evidence for whoever wonders, out of the way of the next run."""
        self.quarantined.append((step, key, reason))
        target = self.folder / _QUARANTINE / step / f"{key}.{uuid.uuid4().hex[:8]}"
        with suppress(OSError):  # a read-only store, or another driver did it: it is not used either way
            target.parent.mkdir(parents=True, exist_ok=True)
            self._place(step, key).rename(target)

    def _place(self, step: str, key: str) -> Path:
        return self.folder / _checked(_STEP, step) / _checked(_KEY, key)


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text!r} cannot be part of a store")
    return text


def _plain_name(name: str) -> str:
    """Names in a manifest become paths, and a manifest may be anybody's."""
    folder, *rest = name.split("/")
    parts = rest if folder == _FILES else [name]
    if not parts or name == _ENTRY or any(p in ("", ".", "..") or "/" in p or "\\" in p or "\0" in p for p in parts):
        raise ValueError(f"{name!r} is no file name")
    return name


def _keep_only(folder: Path, names: list[str]) -> None:
    """Delete what a step leaves behind in its folder beside the files that its result names."""
    kept = {folder / name for name in names}
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path not in kept:
            path.unlink()
    if folder.is_dir() and not names:
        folder.rmdir()


@lru_cache(maxsize=1)
def _packages() -> dict[str, str]:
    """Versions of the installed packages that atomflow builds on."""
    found: dict[str, str] = {}
    try:
        needed = requires("atomflow") or []
    except PackageNotFoundError:  # used from a folder, not installed
        return found
    for requirement in needed:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _json(encoded: Any) -> bytes:
    return (json.dumps(encoded, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", errors="replace")


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
