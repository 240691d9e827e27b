"""Mean square displacements and diffusivities of species, with their intervals and the question whether it is diffusion."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from atomflow.analysis.base import Analysis, Progress, strict
from atomflow.analysis.diffusion import Estimate, estimate
from atomflow.analysis.finite_size import size_correction_cm2_per_s
from atomflow.analysis.gathering import gathered
from atomflow.analysis.line_fit import Curve
from atomflow.analysis.motion import Motion, axis_columns, motion_of_paths
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Scheme, gather_paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: 1 A^2/ps in cm^2/s.
A2_PER_PS = 1e-4
#: Mean square displacements below this are rounding: nothing moves.
_STILL_A2 = 1e-14


@record("atomflow.msd-species/1")
@dataclass(frozen=True, eq=False)
class SpeciesMSD:
    """Motion of one species.

    Attributes
    ----------
    lag_ps : (L,) array or None
        From zero; None when nobody knows the frame spacing.
    lag_frames : (L,) array
    msd_A2 : (L,) array
        Summed over the axes, averaged over particles and time origins; NaN at lags that no two frames have.
    msd_by_axis_A2 : (d, L) array
    pairs : (L,) array
        Pairs of frames times particles behind each lag.
    n_particles : int
    slope_A2_per_ps : float or None
        Of the fitted line; given whether or not the motion is diffusive.
    slope_ci95_A2_per_ps : pair of float or None
    offset_A2 : float or None
        Of that line.
    fit_window_ps : pair of float or None
        First and last lag that were fitted.
    diffusivity_cm2_per_s : float or None
        Slope over twice the number of axes; None when the motion is not diffusive or the times are unknown.
    diffusivity_ci95_cm2_per_s : pair of float or None
        Credible interval.
    diffusivity_by_axis_cm2_per_s : dict of str to float, or None
    apparent_diffusivity_cm2_per_s : float or None
        The same division, whatever the motion.
    corrected_diffusivity_cm2_per_s : float or None
        With the correction for the size of a cubic box; see :mod:`atomflow.analysis.finite_size`.
    loglog_slope, loglog_slope_error : float or None
        Of log MSD over log lag in the fitted window; one is diffusion.
    diffusive : bool
    why_not : str
    widening : float or None
        Variance of the slope over that of independent, alike particles.
    """

    lag_ps: NDArray[np.float64] | None
    lag_frames: NDArray[np.float64]
    msd_A2: NDArray[np.float64]
    msd_by_axis_A2: NDArray[np.float64]
    pairs: NDArray[np.float64]
    n_particles: int
    slope_A2_per_ps: float | None
    slope_ci95_A2_per_ps: tuple[float, float] | None
    offset_A2: float | None
    fit_window_ps: tuple[float, float] | None
    diffusivity_cm2_per_s: float | None
    diffusivity_ci95_cm2_per_s: tuple[float, float] | None
    diffusivity_by_axis_cm2_per_s: dict[str, float] | None
    apparent_diffusivity_cm2_per_s: float | None
    corrected_diffusivity_cm2_per_s: float | None
    loglog_slope: float | None
    loglog_slope_error: float | None
    diffusive: bool
    why_not: str
    widening: float | None


@record("atomflow.msd/1")
@dataclass(frozen=True, eq=False)
class MSDResults(Result):
    """Mean square displacements by species, ``results["Li"]``.

    Attributes
    ----------
    species : dict of str to SpeciesMSD
    n_replicas, n_frames : int
    axes, unwrapping, drift : str
        How the displacements were made.
    """

    species: dict[str, SpeciesMSD]
    n_replicas: int
    n_frames: int
    axes: str
    unwrapping: str
    drift: str
    warnings: tuple[Notice, ...] = ()

    def __getitem__(self, name: str) -> SpeciesMSD:
        return self.species[name]

    def to_json(self, indent: int | None = 2) -> str:
        """As JSON; null at lags that no two frames have."""
        return json.dumps(strict(self.to_dict()), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each lag of each species."""
        import pandas as pd

        tables = []
        for name, one in self.species.items():
            columns = {"species": name, "lag_frames": one.lag_frames, "msd_A2": one.msd_A2, "pairs": one.pairs}
            if one.lag_ps is not None:
                columns["lag_ps"] = one.lag_ps
            for axis, values in zip(self.axes, one.msd_by_axis_A2, strict=True):
                columns[f"msd_{axis}_A2"] = values
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw all species with both axes logarithmic, and the fitted lines over their windows."""
        import matplotlib.pyplot as plt

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        for name, one in self.species.items():
            lag = one.lag_frames if one.lag_ps is None else one.lag_ps
            (line,) = axes.plot(lag[1:], one.msd_A2[1:], label=name)
            if one.fit_window_ps and one.slope_A2_per_ps is not None and one.offset_A2 is not None:
                ends = np.geomspace(*one.fit_window_ps, 40)
                axes.plot(ends, one.offset_A2 + one.slope_A2_per_ps * ends, "--", color=line.get_color())
        timed = all(one.lag_ps is not None for one in self.species.values())
        axes.set(xscale="log", yscale="log", xlabel="lag (ps)" if timed else "lag (frames)", ylabel="MSD (Å²)")
        axes.legend()
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


class MSD(Analysis[MSDResults]):
    """Mean square displacements and diffusivities.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes.
    species : mapping of str to selection
        MDAnalysis selections, or atom indices.
    molecules : bool
        Follow the centres of mass of the molecules that the atoms belong to.
    unwrap, drift : str
        See :func:`atomflow.trajectory.gather_paths`.
    axes : str
        Directions that count: ``"xyz"``, ``"xy"``, ``"z"``.
    fit_from_ps, fit_to_ps : float, optional
        First and last lag to fit, instead of what the data say (:mod:`atomflow.analysis.diffusion`).
    viscosity_mPa_s, temperature_K : float
        With a viscosity, diffusivities are also given corrected for the size of the box.
    memory_GB : float
        Paths larger than this go to a temporary file.

    Raises
    ------
    SelectionError, BadOptionError
        Species or options that make no sense.
    """

    def __init__(
        self,
        trajectory: Any,
        species: Mapping[str, Any],
        *,
        molecules: bool = False,
        unwrap: Scheme = "auto",
        drift: str = "auto",
        axes: str = "xyz",
        fit_from_ps: float | None = None,
        fit_to_ps: float | None = None,
        viscosity_mPa_s: float | None = None,
        temperature_K: float = 298.15,
        memory_GB: float = 1.0,
    ) -> None:
        super().__init__(trajectory)
        if not species:
            raise BadOptionError("no species: give species={'Li': 'element Li'}")
        axis_columns(axes)
        _check_fit((fit_from_ps, fit_to_ps))
        self._groups = {name: self.trajectory.topology.select(words) for name, words in species.items()}
        self._paths: dict[str, Any] = {
            "molecules": molecules, "unwrap": unwrap, "drift": drift, "memory_GB": memory_GB,
        }  # fmt: skip
        self._axes = axes
        self._fit: dict[str, Any] = {
            "fit_ps": (fit_from_ps, fit_to_ps), "viscosity_mPa_s": viscosity_mPa_s, "temperature_K": temperature_K,
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
            motion = motion_of_paths(paths, axes=self._axes, workers=workers)
        self._results = msd_of_motions([motion], notices=self.trajectory.notices, **self._fit)
        return self


def msd_of_motions(
    motions: Sequence[Motion],
    *,
    fit_ps: tuple[float | None, float | None] = (None, None),
    viscosity_mPa_s: float | None = None,
    temperature_K: float = 298.15,
    notices: Sequence[Notice] = (),
) -> MSDResults:
    """Turn the motion in one trajectory, or in replicas of it, into mean square displacements and diffusivities.

    Parameters
    ----------
    motions : sequence of Motion
        With the same species and axes.
    fit_ps : pair of float or None
        First and last lag to fit.
    viscosity_mPa_s, temperature_K : float
        For the size correction.
    notices : sequence of Notice
        To travel with the result.

    Raises
    ------
    BadOptionError
        A window to fit that makes no sense, has too few lags, or is in ps where the frame spacing is unknown.
    TrajectoryError
        Replicas with different frame spacings, or with frames at uneven times.
    """
    first = motions[0]
    _check_fit(fit_ps)
    if len(motions) > 1 and not all(motion.grid.even for motion in motions):
        raise TrajectoryError(
            "replicas with frames at uneven times have different lags and cannot be joined: analyse them one by one, or "
            "choose evenly spaced frames with start, stop and step"
        )
    if fit_ps != (None, None) and first.grid.spacing_ps is None:
        raise BadOptionError(
            "lags to fit were given in ps, but the frame spacing is unknown: give it (dt_ps, or --dt 10ps)"
        )
    told: list[Notice] = [*notices, *(notice for motion in motions for notice in motion.notices)]
    added = _correction(motions, viscosity_mPa_s, temperature_K, told)
    species = {}
    for name in first.species:
        species[name] = _one(name, motions, fit_ps, added, told)
    known = any(notice.code == "no-clock" for notice in told)
    if first.grid.spacing_ps is None and first.grid.even and not known:
        told.append(
            Notice(
                "no-clock",
                "the frame spacing is unknown: lags are counted in frames and no diffusivity is given; "
                "give it (dt_ps, or --dt 10ps)",
            )
        )
    return MSDResults(
        species=species,
        n_replicas=len(motions),
        n_frames=sum(len(motion.grid.places) for motion in motions),
        axes="".join(sorted(first.axes)),
        unwrapping=", ".join(dict.fromkeys(motion.scheme for motion in motions)),
        drift=", ".join(dict.fromkeys(motion.drift for motion in motions)),
        warnings=gathered(told),
    )


def _one(
    name: str,
    motions: Sequence[Motion],
    fit_ps: tuple[float | None, float | None],
    added: float | None,
    told: list[Notice],
) -> SpeciesMSD:
    replicas = [motion.species[name] for motion in motions]
    curve = Curve(tuple(replicas))
    grid = replicas[0].grid
    spacing = grid.spacing_ps
    lags = max((one.lags for one in replicas), key=len)
    in_frames = tuple(None if limit is None or spacing is None else limit / spacing for limit in fit_ps)
    found = None
    if np.nanmax(curve.total_A2) > _STILL_A2:
        found = estimate(replicas, fit_from=in_frames[0], fit_to=in_frames[1])
    told += _doubts(name, found, grid.even)
    per_ps = None if spacing is None or found is None else 1.0 / spacing
    axes = "".join(sorted(motions[0].axes))
    slope = interval = apparent = None
    by_axis = None
    if found is not None and per_ps is not None:
        slope, interval = float(found.slope) * per_ps, _scaled(found.ci95, per_ps)
        apparent = slope / (2 * len(axes)) * A2_PER_PS
        by_axis = {axis: float(one) * per_ps / 2 * A2_PER_PS for axis, one in zip(axes, found.axis_slopes, strict=True)}
    diffusive = found is not None and found.diffusive
    share = A2_PER_PS / (2 * len(axes))
    given = apparent if diffusive else None
    timed = spacing is not None or not grid.even
    return SpeciesMSD(
        lag_ps=lags * (spacing or 1.0) if timed else None,
        lag_frames=lags if grid.even else np.arange(len(lags), dtype=float),
        msd_A2=curve.total_A2,
        msd_by_axis_A2=curve.msd_A2,
        pairs=curve.pairs,
        n_particles=sum(motion.counts[name] for motion in motions),
        slope_A2_per_ps=slope,
        slope_ci95_A2_per_ps=interval,
        offset_A2=None if found is None else found.offset_A2,
        fit_window_ps=None if found is None or spacing is None else _scaled(found.window, spacing),
        diffusivity_cm2_per_s=given,
        diffusivity_ci95_cm2_per_s=None if given is None or interval is None else _scaled(interval, share),
        diffusivity_by_axis_cm2_per_s=by_axis if diffusive else None,
        apparent_diffusivity_cm2_per_s=apparent,
        corrected_diffusivity_cm2_per_s=None if given is None or added is None else given + added,
        loglog_slope=None if found is None else found.loglog_slope,
        loglog_slope_error=None if found is None else float(found.loglog_error),
        diffusive=diffusive,
        why_not="" if found is None else found.why_not,
        widening=None if found is None else found.widening,
    )


def _scaled(pair: tuple[float, float], by: float) -> tuple[float, float]:
    return float(pair[0]) * by, float(pair[1]) * by


def _check_fit(fit_ps: tuple[float | None, float | None]) -> None:
    first, last = fit_ps
    for limit in fit_ps:
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise BadOptionError(f"fit limit {limit:g} ps: give a lag above zero")
    if first is not None and last is not None and last <= first:
        raise BadOptionError(f"fit from {first:g} to {last:g} ps: the last lag comes before the first")


def _doubts(name: str, found: Estimate | None, even: bool) -> list[Notice]:
    if not even:
        return [Notice("uneven-frames", f"{name}: frames at uneven times; the mean square displacement has no fit")]
    if found is None:
        return [Notice("no-fit", f"{name}: too few frames, or nothing moves; there is no slope to give")]
    notices = []
    if not found.diffusive:
        about = f"{name} ({found.loglog_slope:.2f} ± {found.loglog_error:.2f})"
        text = f"{about}: not diffusive yet, as the log-log slope of the MSD is {found.fault}; run longer"
        notices.append(Notice("not-diffusive", text))
    if found.replicas_differ:
        notices.append(
            Notice(
                "replicas-differ", f"{name}: replicas scatter more than their intervals allow; the interval is widened"
            )
        )
    return notices


def _correction(
    motions: Sequence[Motion], viscosity_mPa_s: float | None, temperature_K: float, told: list[Notice]
) -> float | None:
    if viscosity_mPa_s is None:
        return None
    volumes = [motion.volume_A3 for motion in motions if motion.volume_A3 is not None]
    if not volumes:
        told.append(Notice("no-box", "there is no cell, so no correction for its size"))
        return None
    edge = float(np.mean(volumes)) ** (1 / 3)
    told.append(
        Notice(
            "size-correction", f"corrected diffusivities take the box as a cube of {edge:.2f} A, the edge of its volume"
        )
    )
    return size_correction_cm2_per_s(edge, viscosity_mPa_s, temperature_K)
