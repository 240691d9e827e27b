"""Work in progress: a folder that one worker owns until it becomes an entry, or waits for the next worker.

A checkpointing step's folder rests as ``KEY.part`` and is taken by renaming it to ``KEY.xxxxxxxx.part``: a rename has
one winner, on NFS too, so there are no locks. The owner keeps touching a file. A folder whose owner has died, seen by
its process on this host or by the untouched file from another, is taken over the same way.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

PART = ".part"
_OWNER = "owner.json"
#: Seconds between two touches, and after how many without one an owner on another host is taken for dead.
_TOUCH_S, DEAD_S = 10.0, 120.0


class Part:
    """A folder of work in progress.

    Attributes
    ----------
    folder : Path
    files : Path
        Where the step itself works.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self._over = threading.Event()

    def _own(self) -> Part:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "began": _process_start(os.getpid())}
        (self.folder / _OWNER).write_text(json.dumps(about), encoding="utf-8")
        self.files.mkdir(exist_ok=True)
        threading.Thread(target=self._keep_touching, daemon=True).start()
        return self

    def _keep_touching(self) -> None:
        while not self._over.wait(_TOUCH_S):
            with suppress(OSError):
                os.utime(self.folder / _OWNER)

    def let_go(self) -> None:
        """No longer the owner."""
        self._over.set()
        (self.folder / _OWNER).unlink(missing_ok=True)

    def rest(self) -> None:
        """Leave it for the next worker; of two such folders the one that was there first stays."""
        self.let_go()
        place = self.folder.with_name(self.folder.name.split(".")[0] + PART)
        try:
            self.folder.rename(place)
        except OSError:
            self.discard()

    def discard(self) -> None:
        """Delete it."""
        self._over.set()
        shutil.rmtree(self.folder, ignore_errors=True)


def new_part(place: Path) -> Part:
    """A fresh folder beside the place of an entry."""
    folder = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}{PART}")
    folder.mkdir(parents=True)
    return Part(folder)


def take_part(place: Path) -> Part:
    """The folder in which an earlier worker left its checkpoints, or a fresh one."""
    mine = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}{PART}")
    place.parent.mkdir(parents=True, exist_ok=True)
    left = place.with_name(place.name + PART)
    orphans = (p for p in sorted(place.parent.glob(f"{place.name}.*{PART}")) if _is_orphan(p))
    for folder in (left, *orphans):
        with suppress(OSError):  # not there, or another worker was faster
            folder.rename(mine)
            return Part(mine)._own()
    mine.mkdir()
    return Part(mine)._own()


def _is_orphan(folder: Path) -> bool:
    """Whether a checkpointing step's owner is dead."""
    try:
        about = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        touched = (folder / _OWNER).stat().st_mtime
        if about["host"] == socket.gethostname():
            return _process_start(int(about["pid"])) != about["began"]
    except FileNotFoundError:
        return False  # no checkpointing step's, or not any more
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return time.time() - touched > DEAD_S


def _process_start(pid: int) -> str | None:
    """Tells a process from a later one of the same number; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
