"""What LAMMPS' unit styles mean in angstrom, picoseconds, elementary charges and atomic mass units."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scipy import constants

from atomflow.errors import BadOptionError, UnknownNameError

_U_KG = constants.physical_constants["atomic mass constant"][0]
_BOHR_A = constants.physical_constants["Bohr radius"][0] * 1e10
#: One statcoulomb is 10/c coulomb with c in cm/s (CGS-ESU).
_STATCOULOMB_C = 10 / (constants.c * 100)


@dataclass(frozen=True)
class LammpsUnits:
    """One unit style (https://docs.lammps.org/units.html) as factors into ours.

    Attributes
    ----------
    name : str
    length_A, time_ps, charge_e, mass_u : float
        One LAMMPS unit of each in ours.
    """

    name: str
    length_A: float
    time_ps: float
    charge_e: float
    mass_u: float


_STYLES = {
    style.name: style
    for style in (
        LammpsUnits("real", 1.0, 1e-3, 1.0, 1.0),
        LammpsUnits("metal", 1.0, 1.0, 1.0, 1.0),
        LammpsUnits("si", 1e10, 1e12, 1 / constants.e, 1 / _U_KG),
        LammpsUnits("cgs", 1e8, 1e12, _STATCOULOMB_C / constants.e, 1e-3 / _U_KG),
        LammpsUnits("electron", _BOHR_A, 1e-3, 1.0, 1.0),
        LammpsUnits("micro", 1e4, 1e6, 1e-12 / constants.e, 1e-15 / _U_KG),
        LammpsUnits("nano", 10.0, 1e3, 1.0, 1e-21 / _U_KG),
    )
}


def lammps_units(name: str) -> LammpsUnits:
    """The unit style called ``name``.

    Raises
    ------
    BadOptionError
        ``lj``: reduced units have no length.
    UnknownNameError
        Anything else that LAMMPS does not have.
    """
    key = name.strip().lower()
    if key == "lj":
        raise BadOptionError(
            "units lj are reduced, they have no length in angstrom and no time in ps; multiply the coordinates by your "
            "sigma and hand over the array with cell_A and dt_ps"
        )
    if key not in _STYLES:
        raise UnknownNameError(
            "LAMMPS units", name[:40], _STYLES, mend="give real, metal, si, cgs, electron, micro or nano"
        )
    return _STYLES[key]


def units_in_title(title: str) -> str | None:
    """The unit style that ``write_data`` notes in the first line of a data file, such as ``units = real``."""
    found = re.search(r"\bunits\s*=\s*([a-z]+)\b", title)
    return found.group(1) if found else None
