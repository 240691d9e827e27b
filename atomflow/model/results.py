"""What every result has in common: a schema, warnings that travel with it, and ways out of Python."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atomflow.model.codec import record

if TYPE_CHECKING:
    import pandas as pd


@record("atomflow.notice/1")
@dataclass(frozen=True)
class Notice:
    """Something that could mislead a reader of the result: a stable code and one sentence."""

    code: str
    text: str


class Result:
    """Mixin of frozen result dataclasses: ``to_dict``, ``to_json``, ``to_dataframe``.

    Units are in the field names (``energy_eV``, ``distance_A``). The class is registered with
    :func:`atomflow.model.record`, which gives it ``schema``. A field with metadata ``{"shown": False}`` (bulky
    geometry) stays out of :meth:`to_dict`.
    """

    schema: str
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings, led by ``"schema"``; for people and other programs."""
        shown = [f for f in dataclasses.fields(self) if f.metadata.get("shown", True)]  # type: ignore[arg-type]
        body = {f.name: _plain(getattr(self, f.name)) for f in shown}
        return {"schema": self.schema, **body}

    def to_json(self, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row with the result's scalar fields."""
        import pandas as pd

        return pd.DataFrame(
            [{key: value for key, value in self.to_dict().items() if not isinstance(value, (list, dict))}]
        )


def _plain(value: Any) -> Any:
    from ase import Atoms

    from atomflow.model.molecule import Molecule

    if isinstance(value, Result):
        return {key: item for key, item in value.to_dict().items() if key != "schema"}
    if isinstance(value, Atoms):
        return {"symbols": value.get_chemical_symbols(), "positions_A": value.get_positions().tolist()}
    if isinstance(value, Molecule):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
