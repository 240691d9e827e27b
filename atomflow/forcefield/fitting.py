"""Fits that make force-field numbers: charges to an electrostatic potential, cosine terms to an energy profile.

Linear algebra on plain arrays; it knows neither how the reference was computed nor which file the numbers go into
(``benchmarks/forcefield_reference.py`` and ``benchmarks/forcefield_fits.py`` do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from ase.data.vdw import vdw_radii
from ase.units import Bohr, Debye, Hartree
from numpy.typing import NDArray

from atomflow.errors import BadOptionError

#: Potential of two unit charges one angstrom apart, V (e^2 / 4 pi eps0 in eV angstrom).
COULOMB_V_A = Hartree * Bohr
#: Shells of the grid, in van der Waals radii, and points on each, as Merz and Kollman choose them
#: (doi:10.1002/jcc.540110404, Besler, Merz and Kollman).
SHELLS = (1.4, 1.6, 1.8, 2.0)


def shell_points(
    symbols: Sequence[str],
    positions_A: NDArray[np.float64],
    *,
    shells: Sequence[float] = SHELLS,
    per_A2: float = 1.0,
) -> NDArray[np.float64]:
    """Points on scaled van der Waals surfaces of a molecule.

    Parameters
    ----------
    symbols : sequence of str
    positions_A : (n, 3) float array
    shells : sequence of float
        Factors on the van der Waals radii (ASE's, most of them Bondi's).
    per_A2 : float
        Points for each square angstrom of surface.

    Returns
    -------
    (m, 3) float array
        Angstrom; points within another atom's sphere of the same shell are left out.
    """
    radii = np.array([vdw_radii[atomic_numbers[symbol]] for symbol in symbols])
    positions = np.asarray(positions_A, dtype=np.float64)
    found = []
    for factor in shells:
        for centre, radius in zip(positions, factor * radii, strict=True):
            points = centre + radius * _sphere(max(round(4 * np.pi * radius**2 * per_A2), 8))
            away = np.linalg.norm(points[:, None] - positions, axis=2)
            found.append(points[(away > factor * radii - 1e-9).all(axis=1)])
    return np.concatenate(found)


def _sphere(count: int) -> NDArray[np.float64]:
    """Nearly even points on the unit sphere, on a spiral of golden angles."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)


@dataclass(frozen=True, eq=False)
class Potential:
    """Electrostatic potential around one conformer.

    Parameters
    ----------
    positions_A : (n, 3) float array
    points_A : (m, 3) float array
    potential_V : (m,) float array
    """

    positions_A: NDArray[np.float64]
    points_A: NDArray[np.float64]
    potential_V: NDArray[np.float64]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Potential at each point of a unit charge on each atom, V/e, (m, n)."""
        away = np.linalg.norm(self.points_A[:, None] - self.positions_A, axis=2)
        return np.asarray(COULOMB_V_A / away)


@dataclass(frozen=True, eq=False)
class ChargeFit:
    """Charges that a fit found.

    ``changes`` are in the order of the columns of the design; ``relative_rms`` is that of the potential's deviation over
    the potential itself, ``relative_rms_before`` the same with the charges that the fit started from.
    """

    changes: NDArray[np.float64]
    charges_e: NDArray[np.float64]
    rms_V: float
    relative_rms: float
    relative_rms_before: float


def fit_charges(
    potentials: Sequence[Potential],
    start_e: NDArray[np.float64],
    design: NDArray[np.float64],
    *,
    restraint: float = 0.0,
) -> ChargeFit:
    """Charges ``start_e + design @ changes`` that reproduce electrostatic potentials best.

    The sum over all points of the squared deviation (V^2), averaged, plus ``restraint`` times the sum of the squared
    changes, is the least possible: the quadratic form of the restraint of Bayly et al. (doi:10.1021/j100142a004), about
    the starting charges instead of zero.

    Parameters
    ----------
    potentials : sequence of Potential
        Conformers, which share the charges.
    start_e : (n,) float array
        Charges to start from; those that no column of the design touches stay.
    design : (n, k) float array
        What each of the k free numbers adds to each charge. Columns that add up to zero keep the total.
    restraint : float
        V^2/e^2.

    Raises
    ------
    BadOptionError
        When shapes do not fit, or the points do not determine the charges and no restraint does.
    """
    start, columns = np.asarray(start_e, dtype=np.float64), np.asarray(design, dtype=np.float64)
    if columns.ndim != 2 or len(columns) != len(start):
        raise BadOptionError(f"fit_charges: design of shape {columns.shape} for {len(start)} atoms; give (atoms, free)")
    if restraint < 0:
        raise BadOptionError(f"fit_charges: restraint {restraint:g} V2/e2 is negative; give 0 or more")
    for number, each in enumerate(potentials):
        if len(each.positions_A) != len(start) or len(each.points_A) != len(each.potential_V):
            raise BadOptionError(f"fit_charges: conformer {number + 1} does not have the atoms or points of the others")
    matrix = np.concatenate([each.matrix for each in potentials])
    wanted = np.concatenate([each.potential_V for each in potentials])
    left = wanted - matrix @ start
    seen = matrix @ columns
    normal = seen.T @ seen / len(wanted) + restraint * np.eye(columns.shape[1])
    if columns.shape[1] and np.linalg.cond(normal) > 1e12:
        raise BadOptionError("fit_charges: the potential does not determine all charges; take fewer, or a restraint")
    changes = np.asarray(np.linalg.solve(normal, seen.T @ left / len(wanted)), dtype=np.float64)
    scale = float(np.sqrt(np.mean(wanted**2)))
    rms = float(np.sqrt(np.mean((left - seen @ changes) ** 2)))
    return ChargeFit(
        changes=changes,
        charges_e=start + columns @ changes,
        rms_V=rms,
        relative_rms=rms / scale,
        relative_rms_before=float(np.sqrt(np.mean(left**2))) / scale,
    )


def dipole_D(positions_A: NDArray[np.float64], charges_e: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dipole of a neutral molecule of point charges, debye, (3,)."""
    return np.asarray(charges_e @ positions_A / Debye)


@dataclass(frozen=True, eq=False)
class CosineFit:
    """Cosine terms that a fit found.

    ``barriers_kcal_per_mol`` are V1, V2 ... of sum V_n/2 (1 - (-1)^n cos n phi), the starting ones and the change
    together; the RMS are those of the profile about the reference, the constant between them left out.
    """

    barriers_kcal_per_mol: NDArray[np.float64]
    rms_before_kcal_per_mol: float
    rms_kcal_per_mol: float


def fit_cosines(
    dihedrals_deg: NDArray[np.float64],
    reference_kcal_per_mol: NDArray[np.float64],
    model_kcal_per_mol: NDArray[np.float64],
    start_kcal_per_mol: Sequence[float],
    *,
    ridge: float = 0.0,
    anchor_kcal_per_mol: Sequence[float] | None = None,
    orders: Sequence[int] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> CosineFit:
    """V1 ... Vn of one torsion term so that a model's profile follows a reference.

    Parameters
    ----------
    dihedrals_deg : (points, instances) float array
        Every dihedral of the term in each geometry of the model.
    reference_kcal_per_mol, model_kcal_per_mol : (points,) float array
        Profiles; the model's with the starting term in it. Their constants do not matter.
    start_kcal_per_mol : sequence of float
        V1 ... Vn in the model.
    ridge : float
        Weight of the squared change from the anchor beside the mean squared deviation; numbers that the profile does not
        determine stay where the anchor is.
    anchor_kcal_per_mol : sequence of float, optional
        By default the starting numbers.
    orders : sequence of int, optional
        Those of V1 ... Vn that may change; by default all.
    weights : (points,) float array, optional
        Of the points, for example Boltzmann's.

    Raises
    ------
    BadOptionError
        When shapes do not fit, or the profile does not determine the numbers and no ridge does.
    """
    angles = np.radians(np.asarray(dihedrals_deg, dtype=np.float64))
    start = np.asarray(start_kcal_per_mol, dtype=np.float64)
    anchor = start if anchor_kcal_per_mol is None else np.asarray(anchor_kcal_per_mol, dtype=np.float64)
    if angles.ndim != 2 or not len(angles) == len(reference_kcal_per_mol) == len(model_kcal_per_mol):
        raise BadOptionError("fit_cosines: give dihedrals of shape (points, instances) and one energy for each point")
    share = np.ones(len(angles)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    free = np.arange(1, len(start) + 1) if orders is None else np.asarray(orders, dtype=np.intp)
    if len(free) and not 1 <= free.min() <= free.max() <= len(start):
        raise BadOptionError(f"fit_cosines: orders {free.tolist()} of {len(start)} barriers; count from 1")
    shapes = np.stack([0.5 * (1 - (-1) ** n * np.cos(n * angles)).sum(axis=1) for n in free.tolist()], axis=1)
    shapes = shapes - share @ shapes
    left = np.asarray(reference_kcal_per_mol, dtype=np.float64) - np.asarray(model_kcal_per_mol, dtype=np.float64)
    left = left - share @ left
    normal = shapes.T @ (share[:, None] * shapes) + ridge * np.eye(len(free))
    if np.linalg.cond(normal) > 1e12:
        raise BadOptionError("fit_cosines: the profile does not determine all barriers; take fewer, or a ridge")
    change = np.linalg.solve(normal, shapes.T @ (share * left) + ridge * (anchor - start)[free - 1])
    after = left - shapes @ change
    barriers = start.copy()
    barriers[free - 1] += change
    return CosineFit(barriers, float(np.sqrt(share @ left**2)), float(np.sqrt(share @ after**2)))


def fit_angle(
    angles_deg: NDArray[np.float64],
    reference_kcal_per_mol: NDArray[np.float64],
    rest_kcal_per_mol: NDArray[np.float64],
) -> tuple[float, float]:
    """Force constant (kcal/mol/rad^2, without the 1/2) and rest angle (degrees) of an angle term.

    Parameters
    ----------
    angles_deg : (points,) float array
    reference_kcal_per_mol : (points,) float array
    rest_kcal_per_mol : (points,) float array
        The model's profile without the term.

    Raises
    ------
    BadOptionError
        When what is left for the term has no minimum.
    """
    angles = np.radians(np.asarray(angles_deg, dtype=np.float64))
    middle = float(angles.mean())
    left = np.asarray(reference_kcal_per_mol) - np.asarray(rest_kcal_per_mol)
    k, slope, _constant = np.polyfit(angles - middle, left, 2)
    if not k > 0:
        raise BadOptionError("fit_angle: the rest of the model is stiffer than the reference; there is no term to fit")
    return float(k), float(np.degrees(middle - slope / (2 * k)))
