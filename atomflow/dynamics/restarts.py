"""Restart files of a stage: which are whole, which to go on from, which may go."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from atomflow.errors import BadFileError

#: LAMMPS begins and ends a restart file with these words (its src/lmprestart.h); one that was cut short lacks the second.
_MAGIC = b"LammpS RestartT\0"
_NAME = "state.*.restart"


@dataclass(frozen=True)
class Restart:
    """A file to begin with.

    Attributes
    ----------
    path : str
        As seen from the stage's folder.
    step : int
        Of the stage, at which it stands.
    own : bool
        It is a state within the stage, not what came before.
    data : bool
        It is the data file, not a restart file.
    """

    path: str
    step: int
    own: bool = True
    data: bool = False


def is_whole(path: Path) -> bool:
    """Whether a restart file was written to its end."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                return False
            stream.seek(-len(_MAGIC), os.SEEK_END)
            return stream.tell() > 0 and stream.read() == _MAGIC
    except OSError:
        return False


def states(folder: Path) -> list[tuple[int, Path]]:
    """Restart files of a stage by step, the newest first, whole or not."""
    found = []
    for path in folder.glob(_NAME):
        with contextlib.suppress(ValueError, IndexError):
            found.append((int(path.name.split(".")[1]), path))
    return sorted(found, reverse=True)


def newest(folder: Path, *, every: int = 0, reached: int | None = None) -> Restart | None:
    """The newest whole restart file, None without one.

    Parameters
    ----------
    folder : Path
    every : int
        Steps between frames; 0 where no frames are written.
    reached : int, optional
        Step of the last frame on the disk: a restart file that would leave a gap behind it is passed over.
    """
    for step, path in states(folder):
        if every and (reached is None or step // every * every > reached):
            continue
        if is_whole(path):
            return Restart(path.name, step)
    return None


def start_of(before: Path, folder: Path) -> Restart:
    """The end of the stage before, as the start of this one.

    Raises
    ------
    BadFileError
        It is gone.
    """
    found = newest(before)
    if found is None:
        raise BadFileError(before, "has no whole restart file; remove its stage.json, and the stage is run again")
    return Restart(os.path.relpath(before / found.path, folder), 0, own=False)


def drop_older(folder: Path, keep: int) -> None:
    """Remove restart files but for the newest whole ones; damaged ones that are older go, too."""
    whole = 0
    for _step, path in states(folder):
        if whole >= keep:
            path.unlink(missing_ok=True)
        elif is_whole(path):
            whole += 1


def drop_behind(folder: Path, step: int) -> None:
    """Remove restart files behind a step."""
    for number, path in states(folder):
        if number > step:
            path.unlink(missing_ok=True)
