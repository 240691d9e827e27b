"""The only way into ``published/records``, and the check that nothing got in by another.

A recorded study leaves two things behind: one small JSON file per published row in ``records/``, and in
``results/<study>-<hash>/`` the ``result.json`` it came from with the files that one lists. Reading builds every record
again from the kept ``result.json`` and compares, so a number edited by hand in either place is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from atomflow.errors import AtomflowError, BadFileError, DamagedRecordError, OutputError, UserError
from atomflow.library import library_folder
from atomflow.report.published_records import Record, parse_result, read_result
from atomflow.report.published_rows import find_row, load_rows

_RECORD_NAME = re.compile(r"(?P<row>P\d+\.[a-z])__(?P<study>[a-z0-9-]+)__(?P<sha>[0-9a-f]{8})\.json")


class ScoreboardFolderError(OutputError):
    """A ``published`` folder that cannot be written; the mend is another folder or a checkout, not ``--out``."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = Path(path)
        UserError.__init__(
            self, f"cannot write {path}: {reason}; run in a source checkout or pass a folder with --into"
        )


def record_study(folder: Path, published: Path | None = None) -> list[Record]:
    """Take the values of a finished study into the scoreboard.

    A folder under ``published/results`` is itself a finished study's, so a record that was lost can be made again.

    Parameters
    ----------
    folder : path
        The study's folder, with ``result.json`` and the files that it lists.
    published : path, optional
        The ``published`` folder to write into; default is the source checkout's.

    Returns
    -------
    list of Record
        One per published row that the study states.

    Raises
    ------
    BadFileError
        When the study has not finished, or its result or a listed file is not as it should be.
    UnknownNameError
        When it states a row that is not in ``published/rows``.
    OutputError
        When the folder cannot be written, an installed copy's among them.
    """
    folder = Path(folder)
    target = _writable_folder(published)
    result_path = folder / "result.json"
    records = read_result(result_path)
    known = load_rows(target if (target / "rows").is_dir() else None)
    for item in records:
        row = find_row(known, item.row)
        if row.study != item.study:
            done_by = f"recomputed by the study {row.study!r}" if row.study else "not recomputed by any study yet"
            raise BadFileError(
                result_path,
                f"row {row.id} is {done_by}, not by {item.study!r}; correct rows/{row.id}.yaml if that has changed",
            )
    evidence = {name: _verified(folder, name, digest) for name, digest in records[0].files.items()}
    content = result_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != records[0].result_sha256:
        raise BadFileError(result_path, "it changed while it was being read; record it when the study is done")
    try:
        _keep(target / "results" / records[0].evidence_name, {**evidence, "result.json": content})
        for item in records:
            _write(
                target / "records" / item.file_name,
                (json.dumps(item.to_dict(), indent=2, ensure_ascii=False) + "\n").encode(),
            )
    except AtomflowError:
        raise
    except OSError as error:
        raise ScoreboardFolderError(target, error.strerror or str(error)) from error
    return records


def load_records(folder: Path | None = None) -> list[Record]:
    """Read our recomputed values, the newest last, and check each against its evidence.

    Parameters
    ----------
    folder : path, optional
        A ``published`` folder; default is the one atomflow ships. Without records in it the list is empty.

    Raises
    ------
    DamagedRecordError
        When a record, the result it came from, or a file of its evidence is not what was recorded.
    """
    folder = folder or library_folder("published")
    checked: dict[Path, dict[str, Record]] = {}
    records = []
    for path in sorted((folder / "records").glob("*.json")):
        match = _RECORD_NAME.fullmatch(path.name)
        if not match:
            raise DamagedRecordError(
                f"{path}: not a record's name; records come only from `atomflow published --record DIR`"
            )
        kept = folder / "results" / f"{match['study']}-{match['sha']}"
        if kept not in checked:
            checked[kept] = _load_evidence(path, kept)
        records.append(_check(path, kept, checked[kept].get(match["row"])))
    return sorted(records, key=lambda item: (item.moment, item.file_name))


def _load_evidence(path: Path, kept: Path) -> dict[str, Record]:
    """Read the records that the kept result gives, by row, once every kept file matched its hash."""
    try:
        records = read_result(kept / "result.json")
        for name, digest in records[0].files.items():
            _verified(kept, name, digest)
    except BadFileError as error:
        raise DamagedRecordError(f"{path}: its evidence is damaged: {error}") from error
    if records[0].evidence_name != kept.name:
        raise DamagedRecordError(
            f"{path}: {kept / 'result.json'} is not the result that was recorded (its SHA-256 is {records[0].result_sha256[:8]}...)"
        )
    return {item.row: item for item in records}


def _check(path: Path, kept: Path, rebuilt: Record | None) -> Record:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise DamagedRecordError(f"{path}: cannot be read ({error}); record {kept} again") from error
    if rebuilt is None or not isinstance(stated, dict):
        raise DamagedRecordError(
            f"{path}: {kept / 'result.json'} states nothing of the kind; remove the record or record the study again"
        )
    expected = rebuilt.to_dict()
    differing = [
        key
        for key in sorted({*expected, *stated})
        if key not in expected or key not in stated or _text(expected[key]) != _text(stated[key])
    ]
    if differing:
        raise DamagedRecordError(
            f"{path}: {differing[0]} is not what {kept / 'result.json'} says; it was changed after recording, so record {kept} again"
        )
    return rebuilt


def _text(data: Any) -> str:
    # Compared as text, because in Python 1 == True == 1.0 and an edited type is an edit; the order of keys is not.
    return json.dumps(data, sort_keys=True)


def _writable_folder(published: Path | None) -> Path:
    target = Path(published) if published is not None else library_folder("published")
    if published is None and target.parent.name == "_library":
        raise ScoreboardFolderError(target, "it is the read-only part of an installed atomflow")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScoreboardFolderError(target, error.strerror or str(error)) from error
    return target


def _verified(folder: Path, name: str, digest: str) -> bytes:
    """Content of a listed file, if it is inside the folder and has this SHA-256."""
    parts = PurePosixPath(name)
    if (
        not parts.parts
        or parts.is_absolute()
        or ".." in parts.parts
        or "\\" in name
        or "\0" in name
        or parts == PurePosixPath("result.json")
    ):
        raise BadFileError(
            folder / "result.json", f"files: {name!r} is not the relative path of a file in the study's folder"
        )
    path = folder / parts
    if not path.is_file():
        raise BadFileError(path, "the result lists this file, but it is not there; run the study's command again")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadFileError(path, "leads out of the study's folder; evidence must lie inside it")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BadFileError(
            path,
            "changed after the study finished (its SHA-256 is not the one in result.json); run the study's command again",
        )
    return content


def _keep(kept: Path, files: dict[str, bytes]) -> None:
    """Put the evidence in place with one rename. The bytes are those that were verified, not a second reading."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        # The name holds the result's hash and the result holds the files': there is nothing to add, only to check.
        try:
            same = parse_result(kept / "result.json", (kept / "result.json").read_bytes())[0].evidence_name == kept.name
            intact = same and all((kept / name).read_bytes() == content for name, content in files.items())
        except (OSError, BadFileError):
            intact = False
        if not intact:
            raise DamagedRecordError(
                f"{kept}: kept evidence of this very result is damaged; remove that folder and record again"
            )
        return
    part = Path(tempfile.mkdtemp(prefix=f".{kept.name}.", dir=kept.parent))
    try:
        for name, content in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
        part.chmod(0o755)  # mkdtemp makes it private, and these files are there to be read by everyone
        part.rename(kept)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _removed_on_failure(path.with_name(f".{path.name}.{os.getpid()}.part")) as part:
        part.write_bytes(content)
        part.replace(path)


@contextlib.contextmanager
def _removed_on_failure(part: Path) -> Iterator[Path]:
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
