"""Ionic conductivity from the motion of ions: each by itself (Nernst-Einstein), and together (Einstein-Helfand).

Nernst-Einstein: ``sigma = e^2 / (V k T) * sum N z^2 D``. Einstein-Helfand: ``sigma = e^2 / (2 d V k T)`` times the slope of
``<|sum z (r(t) - r(0))|^2>`` (the form that France-Lanord and Grossman, Phys. Rev. Lett. 122, 136001 (2019),
doi:10.1103/PhysRevLett.122.136001, compare; read in secondary texts). Their ratio, Nernst-Einstein over Einstein-Helfand,
is the Haven ratio: above one where ions of opposite charge move together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import units
from numpy.typing import NDArray

from atomflow.analysis.base import Analysis, Progress, strict
from atomflow.analysis.diffusion import Estimate, estimate
from atomflow.analysis.motion import Motion, motion_of_paths, of_one
from atomflow.analysis.msd import MSDResults, msd_of_motions
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Scheme, gather_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Square displacements of the charges together, over those of each by itself, below which they are rounding.
_STILL = 1e-12
#: Net charge of all particles that is still called neutral, e.
_NEUTRAL_E = 1e-2

_Interval = tuple[float, float]


@record("atomflow.conductivity-md/1")
@dataclass(frozen=True, eq=False)
class ConductivityResult(Result):
    """Conductivities, each with its interval, or None where the data do not determine it.

    Attributes
    ----------
    nernst_einstein_S_per_cm, nernst_einstein_ci95_S_per_cm
        As if every ion moved independently.
    einstein_helfand_S_per_cm : float or None
        With all correlations; None while its interval reaches zero or the collective motion is not diffusive.
    einstein_helfand_ci95_S_per_cm : pair of float or None
    haven_ratio, haven_ratio_ci95
        Nernst-Einstein over Einstein-Helfand.
    charges_e : dict of str to float
        Of one particle.
    n_particles : dict of str to int
    temperature_K, volume_A3 : float
    """

    nernst_einstein_S_per_cm: float | None
    nernst_einstein_ci95_S_per_cm: _Interval | None
    einstein_helfand_S_per_cm: float | None
    einstein_helfand_ci95_S_per_cm: _Interval | None
    haven_ratio: float | None
    haven_ratio_ci95: _Interval | None
    charges_e: dict[str, float]
    n_particles: dict[str, int]
    temperature_K: float
    volume_A3: float
    warnings: tuple[Notice, ...] = ()

    def to_json(self, indent: int | None = 2) -> str:
        """As JSON; null for a limit that is not finite."""
        return json.dumps(strict(self.to_dict()), indent=indent, ensure_ascii=False, allow_nan=False)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw both with their intervals."""
        import matplotlib.pyplot as plt

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        for place, (value, interval) in enumerate(
            (
                (self.nernst_einstein_S_per_cm, self.nernst_einstein_ci95_S_per_cm),
                (self.einstein_helfand_S_per_cm, self.einstein_helfand_ci95_S_per_cm),
            )
        ):
            if interval is not None:
                axes.vlines(place, *interval)
            if value is not None:
                axes.plot(place, value, "o")
        axes.set_xticks([0, 1], ["Nernst-Einstein", "Einstein-Helfand"])
        axes.set(ylabel="conductivity (S/cm)", xlim=(-0.5, 1.5))
        axes.set_ylim(bottom=0)
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


class Conductivity(Analysis[ConductivityResult]):
    """Nernst-Einstein and Einstein-Helfand conductivity and their ratio.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes.
    species : mapping of str to selection
        MDAnalysis selections, or atom indices.
    charges_e : mapping of str to float
        Charge of one particle of each species: of an ion, or of a molecule with ``molecules``.
    temperature_K : float
    molecules : bool
        Follow centres of mass of molecules.
    unwrap, drift, memory_GB
        See :func:`atomflow.trajectory.gather_paths`.

    Raises
    ------
    BadOptionError, UnknownNameError, SelectionError
        Options that make no sense; a charge of no species.
    """

    def __init__(
        self,
        trajectory: Any,
        species: Mapping[str, Any],
        charges_e: Mapping[str, float],
        *,
        temperature_K: float = 298.15,
        molecules: bool = True,
        unwrap: Scheme = "auto",
        drift: str = "auto",
        memory_GB: float = 1.0,
    ) -> None:
        super().__init__(trajectory)
        check_charges(charges_e, species, temperature_K)
        self._groups = {name: self.trajectory.topology.select(species[name]) for name in charges_e}
        self._charges, self._temperature = dict(charges_e), temperature_K
        self._paths: dict[str, Any] = {
            "molecules": molecules, "unwrap": unwrap, "drift": drift, "memory_GB": memory_GB,
        }  # fmt: skip

    def run(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Analyse the frames ``start:stop:step``; see :meth:`atomflow.analysis.base.Analysis.run`."""
        how: dict[str, Any] = {"workers": workers, "executor": executor, "progress": progress, **self._paths}
        with gather_paths(self.trajectory, self._groups, start=start, stop=stop, step=step, **how) as paths:
            motion = motion_of_paths(paths, workers=workers)
        msd = msd_of_motions([motion], notices=self.trajectory.notices)
        self._results = conductivity_of_motions([motion], msd, self._charges, self._temperature)
        return self


def check_charges(charges_e: Mapping[str, float], species: Mapping[str, Any], temperature_K: float) -> None:
    """Refuse charges and temperatures that make no sense.

    Raises
    ------
    BadOptionError, UnknownNameError
    """
    if not (math.isfinite(temperature_K) and temperature_K > 0):
        raise BadOptionError(f"temperature {temperature_K:g} K: give one above zero")
    if not any(charges_e.values()) or not all(math.isfinite(charge) for charge in charges_e.values()):
        raise BadOptionError(f"charges {dict(charges_e)}: give the charge of each ion, such as Li=1 and TFSI=-1")
    for name in charges_e:
        if name not in species:
            raise UnknownNameError("species", name, species, "charges are of species whose motion is followed")


def conductivity_of_motions(
    motions: Sequence[Motion], msd: MSDResults, charges_e: Mapping[str, float], temperature_K: float
) -> ConductivityResult:
    """Turn the motion in one trajectory, or in replicas of it, into conductivities.

    Parameters
    ----------
    motions : sequence of Motion
    msd : MSDResults
        Of the same motions: its diffusivities go into Nernst-Einstein.
    charges_e : mapping of str to float
    temperature_K : float

    Raises
    ------
    TrajectoryError
        As :func:`why_no_conductivity` says.
    """
    check_charges(charges_e, msd.species, temperature_K)
    volumes = [motion.volume_A3 for motion in motions if motion.volume_A3 is not None]
    spacing = motions[0].grid.spacing_ps
    if spacing is None or len(volumes) < len(motions):
        raise TrajectoryError(why_no_conductivity(motions))
    volume = float(np.mean(volumes))
    counts = {name: motions[0].counts[name] for name in charges_e}
    notices: list[Notice] = []
    net = sum(counts[name] * charge for name, charge in charges_e.items())
    if abs(net) > _NEUTRAL_E:
        text = f"the particles that carry charge have {net:+g} e in all: an ion is missing, or a charge is wrong"
        notices.append(Notice("not-neutral", text))
    # e^2 / (V k T), for a sum of charge^2 * diffusivity in A^2/ps: to S/m, then to S/cm.
    factor = units._e**2 / (volume * 1e-30 * units._k * temperature_K) * 1e-8 / 100
    independent = _independent(msd, charges_e, counts, factor, notices)
    collective = _collective(motions, charges_e)
    axes = len(motions[0].axes)
    together = _together(collective, factor / (2 * axes * spacing), notices)
    ratio = _haven(independent, together, notices)
    return ConductivityResult(
        nernst_einstein_S_per_cm=independent[0],
        nernst_einstein_ci95_S_per_cm=independent[1],
        einstein_helfand_S_per_cm=together[0],
        einstein_helfand_ci95_S_per_cm=together[1],
        haven_ratio=ratio[0],
        haven_ratio_ci95=ratio[1],
        charges_e=dict(charges_e),
        n_particles=counts,
        temperature_K=temperature_K,
        volume_A3=volume,
        warnings=tuple(notices),
    )


def why_no_conductivity(motions: Sequence[Motion]) -> str:
    """What keeps these trajectories from having a conductivity, and its mend; empty if nothing does."""
    if not all(motion.grid.even for motion in motions):
        return "a conductivity needs evenly spaced frames; choose them with start, stop and step (--frames)"
    if any(motion.grid.spacing_ps is None for motion in motions):
        return "a conductivity needs the frame spacing; give it, as in dt_ps=10 or --dt 10ps"
    if any(motion.volume_A3 is None for motion in motions):
        return "a conductivity needs the volume, and the trajectory has no cell; give it, as in cell_A"
    return ""


_Value = tuple[float | None, _Interval | None]


def _charge_path(motion: Motion, charges_e: Mapping[str, float]) -> NDArray[np.float64]:
    return np.sum([charge * motion.sums_A[name] for name, charge in charges_e.items()], axis=0)


def _collective(motions: Sequence[Motion], charges_e: Mapping[str, float]) -> Estimate | None:
    """Fit of all charges' motion together; None where they stand still, as after their own drift was subtracted."""
    paths = [of_one(_charge_path(motion, charges_e), motion.grid) for motion in motions]
    apart = sum(
        charge**2 * motions[0].counts[name] * float(np.nanmax(motions[0].species[name].total_A2))
        for name, charge in charges_e.items()
    )
    if max(float(np.nanmax(path.total_A2)) for path in paths) <= _STILL * apart:
        return None
    return estimate(paths)


def _independent(
    msd: MSDResults, charges_e: Mapping[str, float], counts: Mapping[str, int], factor: float, notices: list[Notice]
) -> _Value:
    value = below = above = 0.0
    for name, charge in charges_e.items():
        if charge == 0:
            continue
        one = msd.species[name]
        if one.diffusivity_cm2_per_s is None or one.diffusivity_ci95_cm2_per_s is None:
            text = f"Nernst-Einstein is undetermined: {name} has no diffusivity ({one.why_not or 'too few frames'})"
            notices.append(Notice("nernst-einstein-undetermined", text))
            return None, None
        share = factor * counts[name] * charge**2 * 1e4  # cm^2/s to A^2/ps
        low, high = one.diffusivity_ci95_cm2_per_s
        value += share * one.diffusivity_cm2_per_s
        below += (share * (one.diffusivity_cm2_per_s - low)) ** 2
        above += (share * (high - one.diffusivity_cm2_per_s)) ** 2
    return value, (value - math.sqrt(below), value + math.sqrt(above))


def _together(found: Estimate | None, factor: float, notices: list[Notice]) -> _Value:
    """Einstein-Helfand; ``factor`` takes a slope in A^2 a frame."""
    if found is None:
        text = (
            "Einstein-Helfand is undetermined: too few frames, or the charges as a whole stand still (perhaps since their "
            "own drift was subtracted: then choose another frame of reference)"
        )
        notices.append(Notice("einstein-helfand-undetermined", text))
        return None, None
    interval = (max(found.ci95[0], 0.0) * factor, found.ci95[1] * factor)
    if found.slope <= 0 or found.ci95[0] <= 0 or not found.diffusive:
        why = (
            "its interval reaches zero"
            if found.ci95[0] <= 0 or found.slope <= 0
            else f"collective motion: {found.why_not}"
        )
        text = f"Einstein-Helfand is undetermined: {why}; run longer, or more replicas"
        notices.append(Notice("einstein-helfand-undetermined", text))
        return None, interval
    return float(found.slope) * factor, interval


def _haven(independent: _Value, together: _Value, notices: list[Notice]) -> _Value:
    (one, one_range), (all_, all_range) = independent, together
    if one is None or all_ is None or one_range is None or all_range is None or one_range[0] <= 0:
        text = "the Haven ratio is undetermined, since a conductivity is"
        notices.append(Notice("haven-undetermined", text))
        return None, None
    ratio = one / all_
    # Relative errors of the two, taken as independent.
    down = math.hypot(math.log(one / one_range[0]), math.log(all_range[1] / all_))
    up = math.hypot(math.log(one_range[1] / one), math.log(all_ / all_range[0]))
    return ratio, (ratio * math.exp(-down), ratio * math.exp(up))
