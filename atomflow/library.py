"""Where the data folders live: ``structures``, ``workflows``, ``published``.

People edit them at the top of a checkout; a wheel carries them inside the package. One lookup serves both, and a
checkout always wins, so that an editable install never reads a stale copy.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def library_folder(name: str) -> Path:
    """Folder of shipped data called ``name`` (``"structures"``, ``"workflows"`` or ``"published"``)."""
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    return _PACKAGE / "_library" / name
