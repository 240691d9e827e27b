"""Files that appear complete or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path

from atomflow.errors import OutputError


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write a file under a temporary name beside it, then rename; parents are made.

    Raises
    ------
    OutputError
        When the folder cannot be made or the file not be written.
    """
    path = Path(path)
    # Text from users may hold lone surrogates, which UTF-8 cannot carry; one bad name must not cost the report.
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="replace")
    # Not tempfile: its files are private (mode 600) and would stay so after the rename.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    return path
