"""Results of analyses as files: JSON, a table, or arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadOptionError
from atomflow.model import Result, write_atomically


def save_result(result: Result, path: str | Path) -> Path:
    """Write a result; the ending says how.

    ``.json`` has everything, ``.csv`` the table of ``to_dataframe()``, ``.npz`` every number and array under its names
    joined with ``/``.

    Raises
    ------
    BadOptionError
        Another ending.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".json":
        return write_atomically(path, result.to_json() + "\n")
    if path.suffix == ".csv":
        return write_atomically(path, result.to_dataframe().to_csv(index=False, lineterminator="\n"))
    if path.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, **_arrays(result.to_dict()))  # type: ignore[arg-type]
        return write_atomically(path, content.getvalue())
    raise BadOptionError(f"cannot save to {path.name}: end it with .json, .csv or .npz")


def _arrays(data: dict[str, Any], above: str = "") -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for key, value in data.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            arrays |= _arrays(value, name + "/")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                arrays |= _arrays(item, f"{name}/{number}/")
        elif value is not None:
            arrays[name] = np.array(value)
    return arrays
