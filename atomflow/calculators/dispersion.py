"""London dispersion from the packages of the methods' authors: D3(BJ) (dftd3) and D4 (dftd4).

D3(BJ): doi:10.1002/jcc.21759; D4: doi:10.1063/1.5090222 (as the packages' documentation cites them). D3(BJ) is used
without the three-body term, as it was published.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree

from atomflow.errors import BadOptionError

LABELS = {"d3bj": "D3(BJ)", "d4": "D4"}
REFERENCES = {
    "d3bj": ("Grimme, Ehrlich, Goerigk, D3 with Becke-Johnson damping, J. Comput. Chem. 2011", "10.1002/jcc.21759"),
    "d4": ("Caldeweyher et al., D4, J. Chem. Phys. 2019", "10.1063/1.5090222"),
}


def dispersion(kind: str, functional: str, atoms: Atoms, charge: int) -> tuple[float, np.ndarray]:
    """Dispersion energy (eV) and forces (eV/angstrom, shape (n, 3)).

    Raises
    ------
    BadOptionError
        When the correction has no parameters for the functional.
    """
    numbers, positions = atoms.numbers, atoms.get_positions() / Bohr
    try:
        if kind == "d3bj":
            from dftd3.interface import DispersionModel, RationalDampingParam

            result = DispersionModel(numbers, positions).get_dispersion(
                RationalDampingParam(method=functional, atm=False), grad=True
            )
        else:
            from dftd4.interface import DampingParam
            from dftd4.interface import DispersionModel as DispersionModel4

            result = DispersionModel4(numbers, positions, charge=float(charge)).get_dispersion(
                DampingParam(method=functional), grad=True
            )
    except RuntimeError as error:
        raise BadOptionError(
            f"{LABELS[kind]} has no parameters for {functional!r} ({error}); use dispersion=none or another functional"
        ) from error
    return float(result["energy"]) * Hartree, -np.asarray(result["gradient"]) * Hartree / Bohr
