"""ASE compares positions to decide whether a result is still good; charge, spin and ghosts matter as much."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms


class ChargeAware:
    """Mixin for ASE calculators that read ``info["charge"]``, ``info["spin"]`` and ``arrays["ghost"]``."""

    atoms: Atoms | None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's list of changes, completed."""
        changes: list[Any] = list(super().check_state(atoms, tol))  # type: ignore[misc]
        if self.atoms is not None:
            same_state = all(self.atoms.info.get(k, d) == atoms.info.get(k, d) for k, d in (("charge", 0), ("spin", 1)))
            ghosts = [a.arrays.get("ghost", np.zeros(len(a), dtype=bool)) for a in (self.atoms, atoms)]
            if not same_state or not np.array_equal(*ghosts):
                changes.append("initial_charges")
        return changes
