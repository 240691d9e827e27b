"""Work in progress: a folder that one worker owns until it becomes an entry, or waits for the next worker.

A checkpointing step's folder ``KEY.xxxxxxxx.part`` holds ``owner.json``: who works there, or that nobody does. A worker
takes over a folder that rests, or whose owner has died, by renaming it: a rename has one winner, on NFS too, so there
are no locks. An owner is dead when its process is gone from this host, or when, on another host, it has stopped
counting its heartbeat.
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
from typing import Any

PART = ".part"
_OWNER = "owner.json"
#: Seconds between two heartbeats, and how long one from another host is watched before its owner counts as dead.
_BEAT_S, DEAD_S = 10.0, 45.0


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
        self._beat(0)
        self.files.mkdir(exist_ok=True)
        threading.Thread(target=self._keep_beating, daemon=True).start()
        return self

    def _beat(self, number: int) -> None:
        pid = os.getpid()
        about = {"host": socket.gethostname(), "pid": pid, "began": _process_start(pid), "beat": number}
        _write(self.folder / _OWNER, about)

    def _keep_beating(self) -> None:
        number = 0
        while not self._over.wait(_BEAT_S):
            number += 1
            with suppress(OSError):
                self._beat(number)

    def now_in(self, place: Path) -> None:
        """It has become an entry, which nobody owns."""
        self._over.set()
        (place / _OWNER).unlink(missing_ok=True)

    def rest(self) -> None:
        """Leave it for the next worker."""
        self._over.set()
        with suppress(OSError):
            _write(self.folder / _OWNER, {"resting": True})

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
    """The folder with an earlier worker's latest checkpoints, or a fresh one."""
    left = sorted(place.parent.glob(f"{place.name}.*{PART}"), key=last_change, reverse=True)
    for folder in left:
        if not _is_free(folder):
            continue
        mine = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}{PART}")
        with suppress(OSError):  # another worker was faster
            folder.rename(mine)
            return Part(mine)._own()
    return new_part(place)._own()


def last_change(folder: Path) -> float:
    """When anything in a folder was last written, seconds since the epoch."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def _is_free(folder: Path) -> bool:
    """Whether a checkpointing step's folder rests or its owner is dead; watches an owner on another host."""
    about = _read(folder / _OWNER)
    if about is None:
        return False  # no checkpointing step's
    if about.get("resting"):
        return True
    if about.get("host") == socket.gethostname():
        return isinstance(about.get("pid"), int) and _process_start(about["pid"]) != about.get("began")
    end = time.monotonic() + DEAD_S
    while time.monotonic() < end:
        time.sleep(min(1.0, DEAD_S / 5))
        now = _read(folder / _OWNER)
        if now != about:  # it is alive, has let go, or is somebody else's
            return bool(now and now.get("resting"))
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _write(path: Path, about: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    part.write_text(json.dumps(about), encoding="utf-8")
    part.replace(path)


def _process_start(pid: int) -> str | None:
    """Tells a process from a later one of the same number; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
