"""Finished steps in a folder: found by their key, verified when read, never half there.

``<store>/<step>/<key>/`` holds ``entry.json`` (what, when, where, how long, and a checksum of every other file),
``inputs.json`` and ``result.json``. An entry is written beside its place under a name that ends in ``.part`` and
renamed when all of it is on the disk: a folder of the right name is complete. There are no locks; of two drivers that
finish the same step the later one drops its copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atomflow.errors import StoreError
from atomflow.model import decode, encode

#: Raised by one when an older atomflow could misread what a newer one wrote.
LAYOUT = 1
_STEP = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY, _INPUTS, _RESULT, _MARK = "entry.json", "inputs.json", "result.json", "store.json"
_QUARANTINE, _PART = "quarantine", ".part"


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
    atomflow_version : str
    files : dict
        ``{name: {"bytes": int, "sha256": str}}`` of every file beside ``entry.json``.
    """

    step: str
    key: str
    folder: Path
    created: str
    seconds: float
    host: str
    atomflow_version: str
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
            if folder.is_dir():
                self._put_aside(step, key, "it has no entry.json")
            return None
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
                atomflow_version=about["atomflow_version"],
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
        """A finished step and its result, verified; None when there is none or it was damaged (then put aside)."""
        entry = self.find(step, key)
        if entry is None:
            return None
        try:
            return entry, decode(json.loads(self.read(entry, _RESULT)))
        except (ValueError, KeyError, RecursionError) as error:
            self._put_aside(step, key, str(error))
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
        except OSError as error:
            raise ValueError(f"{name} cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != entry.files[name]["sha256"]:
            raise ValueError(f"{name} does not match its checksum")
        return content

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
        return sorted(p for step in self.steps() for p in (self.folder / step).iterdir() if p.name.endswith(_PART))

    def put_aside(self) -> list[Path]:
        """Folders of damaged entries in quarantine."""
        return sorted((self.folder / _QUARANTINE).glob("*/*"))

    # --- writing ---------------------------------------------------------------------------------------------------

    def add(self, step: str, key: str, inputs: Any, result: Any, seconds: float, version: str) -> Entry:
        """Keep a finished step, durably. When another driver was faster, its entry stays.

        Raises
        ------
        StoreError
            When the store cannot be written; what was there before is untouched.
        TypeError
            When inputs or result hold something that could not be read back.
        """
        place = self._place(step, key)
        contents = {_INPUTS: _json(inputs), _RESULT: _json(result)}
        about = {
            "layout": LAYOUT,
            "step": step,
            "key": key,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "host": socket.gethostname(),
            "atomflow_version": version,
            "files": {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()},
        }
        part = place.with_name(f"{key}.{uuid.uuid4().hex[:8]}{_PART}")
        try:
            self._mark()
            part.mkdir(parents=True)
            written = {**contents, _ENTRY: _json(about)}
            for name, content in written.items():
                (part / name).write_bytes(content)
            for name in (*written, "."):  # after all are written: the first takes most of the others with it
                _sync(part / name)
            try:
                part.rename(place)
            except OSError:
                # A folder that is not empty is never replaced: somebody else has finished this step.
                if not (place / _ENTRY).is_file():
                    raise
            else:
                _sync(place.parent)
        except OSError as error:
            raise StoreError(self.folder, f"cannot be written: {error.strerror or error}") from error
        finally:
            if part.exists():
                shutil.rmtree(part, ignore_errors=True)
        entry = self.find(step, key)
        if entry is None:  # what was in the way was damaged; find has put it aside
            if place.exists():
                raise StoreError(self.folder, f"holds a damaged {place}, which cannot be moved")
            return self.add(step, key, inputs, result, seconds, version)
        return entry

    def _mark(self) -> None:
        mark = self.folder / _MARK
        if not mark.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = mark.with_name(f".{_MARK}.{uuid.uuid4().hex[:8]}{_PART}")
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
    if name in ("", ".", "..", _ENTRY) or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is no file name")
    return name


def _json(obj: Any) -> bytes:
    return (json.dumps(encode(obj), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", errors="replace")


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
