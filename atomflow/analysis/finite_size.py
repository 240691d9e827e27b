"""What a small periodic box takes off a diffusivity, and how to put it back."""

from __future__ import annotations

import math

from ase import units

from atomflow.errors import BadOptionError

#: Madelung-like constant of a cubic lattice in the correction of Yeh and Hummer, doi:10.1021/jp0477147 (read in
#: secondary texts).
CUBIC_LATTICE = 2.837297


def size_correction_cm2_per_s(edge_A: float, viscosity_mPa_s: float, temperature_K: float) -> float:
    """What to add to the diffusivity in a cubic box for that in an infinite one: ``2.837297 kT / (6 pi eta L)``.

    Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004), doi:10.1021/jp0477147. For a fluid in a cubic box, with the
    viscosity of the same model (it does not depend on the box).

    Raises
    ------
    BadOptionError
        A value that is not above zero.
    """
    for name, value in (("edge", edge_A), ("viscosity", viscosity_mPa_s), ("temperature", temperature_K)):
        if not (math.isfinite(value) and value > 0):
            raise BadOptionError(f"size correction: {name} {value:g}; give a number above zero")
    metres, pascal_seconds = edge_A * 1e-10, viscosity_mPa_s * 1e-3
    per_second_m2 = CUBIC_LATTICE * units._k * temperature_K / (6 * math.pi * pascal_seconds * metres)
    return per_second_m2 * 1e4
