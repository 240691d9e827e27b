"""What a run will cost and give, before it is started: time, core hours, disk, and how well D will be known.

Speeds and sizes were measured and stand in ``structures/estimates``; how they are carried over to another box, another
cutoff and more processes is assumed, and every estimate says so. A speed that was measured for the very box counts more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.build import Values, check_keys, read_yaml, search_path
from atomflow.build.datafiles import find_entry
from atomflow.dynamics.protocols import Protocol
from atomflow.errors import BadOptionError
from atomflow.model import GRADES

#: Environment variable with folders of measured speeds, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_ESTIMATES_PATH"

#: Standard error of a slope fitted to mean square displacements from the onset on, over that of the best estimate from
#: independent displacements of the onset's length. It is 1.65 for a run of ten onsets and 1.52 for a thousand, by the
#: covariance that the analysis uses (Bullerjahn, von Buelow, Hummer, doi:10.1063/5.0008312).
LINE_FIT_FACTOR = 1.55
#: A run must hold so many onsets: the analysis lets a fit start at a tenth of the run at the latest.
FEWEST_ONSETS = 10.0

_LARGEST_FILE_BYTES = 64 * 1024
_SECONDS_PER_DAY = 86_400.0
_PS_PER_NS = 1000.0
_FS_PER_PS = 1000.0
_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Estimate:
    """What is to be expected of a run.

    Parameters
    ----------
    wall_s : float
        All stages and the production.
    core_hours : float
    disk_MB : float
        Trajectory, restart files and the topology, in units of 10^6 bytes.
    frames : int
        Of the production's trajectory, its first included.
    ns_per_day : float
        Of the production.
    relative_precision_D : float or None
        Expected relative standard error of the carriers' self-diffusion coefficient; None where the run is too short
        for one, or nothing is carried. ``assumptions`` says why.
    assumptions : tuple of str
        For people.
    """

    wall_s: float
    core_hours: float
    disk_MB: float
    frames: int
    ns_per_day: float
    relative_precision_D: float | None
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class _Figure:
    value: float
    source: str
    grade: str


@dataclass(frozen=True)
class _Measured:
    """One file of speeds and sizes."""

    name: str
    aliases: tuple[str, ...]
    path: Path
    atoms: tuple[float, ...]
    ns_per_day: tuple[float, ...]
    timestep_fs: float
    cutoff_A: float
    ranks: float
    source: str
    grade: str
    figures: dict[str, _Figure]


#: Numbers of a file beside its speeds, and their limits.
_FIGURES = {
    "pair_share": (0.0, 1.0),
    "half_efficient_atoms_per_rank": (0.0, 1e5),
    "minimise_evaluations": (0.0, 1e6),
    "bytes_per_atom_and_frame": (0.1, 100.0),
    "bytes_per_atom_of_restart": (1.0, 1e4),
    "bytes_per_atom_of_topology": (1.0, 1e4),
    "onset_ps": (1e-3, 1e7),
}


def estimate_md(
    atoms: int,
    protocol: Protocol,
    *,
    time_ps: float,
    timestep_fs: float,
    frame_spacing_ps: float,
    ranks: int,
    carriers: int,
    cutoff_A: float,
    ns_per_day: float | None = None,
    onset_ps: float | None = None,
    machine: str = "lammps",
    folders: str | Path | Iterable[str | Path] = (),
) -> Estimate:
    r"""Time, core hours and disk of a run, and how well its diffusion coefficient will be known.

    Parameters
    ----------
    atoms : int
    protocol : Protocol
        The equilibration before it.
    time_ps : float
        Of the production.
    timestep_fs : float
        The run's own; a stage that has one of its own keeps that.
    frame_spacing_ps : float
        Between frames of the production.
    ranks : int
        MPI processes.
    carriers : int
        Ions whose diffusion is wanted, of one species.
    cutoff_A : float
    ns_per_day : float, optional
        Speed measured before for this box, cutoff and processes, with ``timestep_fs``; then nothing is scaled.
    onset_ps : float, optional
        Time after which the carriers' motion is diffusive; without it the file's assumption.
    machine : str
        Name of the file of measured speeds.
    folders : paths
        The user's folders of such files; then those of ``ATOMFLOW_ESTIMATES_PATH``, then the shipped one.

    Returns
    -------
    Estimate

    Raises
    ------
    BadOptionError
        For a number that makes no sense.
    UnknownNameError, BadFileError
        Of the file of measured speeds.

    Notes
    -----
    Displacements of a diffusing particle over separate spans of the onset's length :math:`\tau` are independent and
    Gaussian with variance :math:`2 D \tau` along each axis. N carriers in a run of length T give
    :math:`n = 3 N T / \tau` of them. The best estimate of D, their mean square over :math:`2 \tau`, is a chi-square
    variable of n degrees of freedom over n, with a relative standard error of :math:`\sqrt{2 / n}` (the Cramer-Rao
    bound). A fitted line also has to find its offset, which costs :data:`LINE_FIT_FACTOR`. Carriers that move together,
    or in different places differently, make it worse.
    """
    _check_counts(atoms=atoms, ranks=ranks)
    _check_numbers(timestep_fs=timestep_fs, frame_spacing_ps=frame_spacing_ps, cutoff_A=cutoff_A)
    for name, value in (("ns_per_day", ns_per_day), ("onset_ps", onset_ps)):
        if value is not None:
            _check_numbers(**{name: value})
    if carriers < 0 or not 0 <= time_ps < math.inf:
        raise BadOptionError(f"carriers and time_ps must not be below zero, not {carriers!r} and {time_ps!r}")
    measured = find_entry(
        machine, search_path(folders, PATH_VARIABLE, "estimates"), _read, "file of measured speeds", "see docs/md.md"
    )
    told: list[str] = []
    if ns_per_day is None:
        per_day = _steps_per_day(measured, atoms, ranks, cutoff_A)
        told.append(_told_speed(measured, atoms, ranks, cutoff_A))
    else:
        per_day = ns_per_day * _PS_PER_NS * _FS_PER_PS / timestep_fs
        told.append(f"speed: {ns_per_day:g} ns/day, as measured before for this box")
    steps = _steps(protocol, time_ps, timestep_fs, measured)
    wall_s = steps / per_day * _SECONDS_PER_DAY
    frames = math.floor(time_ps / frame_spacing_ps + 1e-9) + 1
    precision, why = _precision(measured, time_ps, frame_spacing_ps, carriers, onset_ps)
    disk = _disk_bytes(measured, atoms, frames, len(protocol.stages))
    per_frame = measured.figures["bytes_per_atom_and_frame"]
    told.append(
        f"disk: {per_frame.value:g} bytes per atom and frame ({per_frame.source}); one restart file for each stage and "
        "two of the production are kept"
    )
    return Estimate(
        wall_s=wall_s,
        core_hours=wall_s * ranks / 3600.0,
        disk_MB=disk / _BYTES_PER_MB,
        frames=frames,
        ns_per_day=per_day * timestep_fs / _FS_PER_PS / _PS_PER_NS,
        relative_precision_D=precision,
        assumptions=(*told, why),
    )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise BadOptionError(f"{name} must be at least 1, not {value!r}")


def _check_numbers(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise BadOptionError(f"{name} must be above zero, not {value!r}")


def _steps_per_day(measured: _Measured, atoms: int, ranks: int, cutoff_A: float) -> float:
    """Steps of a day: the measured rate of boxes about as large, for another cutoff and number of processes."""
    # Time of a step is a little beside what every atom takes: a straight line between and beyond the measured boxes.
    days = measured.timestep_fs / _FS_PER_PS / _PS_PER_NS / np.array(measured.ns_per_day)
    per_day = 1.0 / _along(atoms, np.array(measured.atoms), days)
    share = measured.figures["pair_share"].value
    per_day /= 1.0 - share + share * (cutoff_A / measured.cutoff_A) ** 3
    loss = _efficiency(measured, atoms, ranks) / _efficiency(measured, atoms, measured.ranks)
    # Fewer processes are not taken as better than those measured: the machine is the same.
    return per_day * ranks / measured.ranks * min(1.0, loss)


def _along(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    """Value at x between the points; outside along the line of the two nearest, or in proportion where that is more."""
    if xs[0] <= x <= xs[-1]:
        return float(np.interp(x, xs, ys))
    end, inner = (0, 1) if x < xs[0] else (-1, -2)
    in_proportion = float(ys[end] * x / xs[end])
    if len(xs) == 1:
        return in_proportion
    line = float(ys[end] + (ys[inner] - ys[end]) / (xs[inner] - xs[end]) * (x - xs[end]))
    return max(line, in_proportion)


def _efficiency(measured: _Measured, atoms: int, ranks: float) -> float:
    """Share of a process' time that goes into its atoms rather than into talking to the others."""
    each = atoms / ranks
    return each / (each + measured.figures["half_efficient_atoms_per_rank"].value)


def _told_speed(measured: _Measured, atoms: int, ranks: int, cutoff_A: float) -> str:
    boxes = ", ".join(f"{number:,.0f}" for number in measured.atoms)
    share = measured.figures["pair_share"].value
    text = (
        f"speed: from boxes of {boxes} atoms on {measured.ranks:g} processes with a cutoff of {measured.cutoff_A:g} A and "
        f"{measured.timestep_fs:g} fs ({measured.source}); as many steps a day at any timestep, nothing else running"
    )
    if cutoff_A != measured.cutoff_A:
        text += f"; assumed: {share:.0%} of the work grows with the cutoff's cube"
    if ranks > measured.ranks:
        half = measured.figures["half_efficient_atoms_per_rank"].value
        text += f"; assumed: processes are half as efficient at {half:g} atoms each"
    elif ranks < measured.ranks:
        text += "; assumed: speed in proportion to the processes"
    if not measured.atoms[0] <= atoms <= measured.atoms[-1]:
        text += "; assumed: time grows evenly with the atoms beyond these sizes, too"
    return text


def _steps(protocol: Protocol, time_ps: float, timestep_fs: float, measured: _Measured) -> float:
    """Steps of all stages and the production; a minimisation counts by its evaluations of the forces."""
    total = time_ps * _FS_PER_PS / timestep_fs
    for stage in protocol.stages:
        if stage.ensemble == "minimise":
            total += measured.figures["minimise_evaluations"].value
        else:
            total += stage.time_ps * _FS_PER_PS / (stage.timestep_fs or timestep_fs)
    return total


def _disk_bytes(measured: _Measured, atoms: int, frames: int, stages: int) -> float:
    figures = measured.figures
    per_atom = frames * figures["bytes_per_atom_and_frame"].value
    per_atom += (stages + 2) * figures["bytes_per_atom_of_restart"].value
    return atoms * (per_atom + figures["bytes_per_atom_of_topology"].value)


def _precision(
    measured: _Measured, time_ps: float, frame_spacing_ps: float, carriers: int, onset_ps: float | None
) -> tuple[float | None, str]:
    """Expected relative standard error of D, or None, and what is assumed or missing."""
    assumed = measured.figures["onset_ps"]
    onset = assumed.value if onset_ps is None else onset_ps
    whose = f"assumed: {assumed.source}" if onset_ps is None else "given"
    # Nothing shorter than the spacing of frames is seen.
    span = max(onset, frame_spacing_ps)
    if carriers == 0:
        return None, "precision of D: no carriers"
    needed = FEWEST_ONSETS * span
    if time_ps < needed * (1 - 1e-9):
        return None, (
            f"precision of D: none to be expected from {time_ps:g} ps; with diffusion from {span:g} ps on ({whose}) at least "
            f"{needed:g} ps are needed"
        )
    precision = LINE_FIT_FACTOR * math.sqrt(2.0 * span / (3.0 * carriers * time_ps))
    return precision, (
        f"precision of D: {carriers} carriers that move independently and diffuse from {span:g} ps on ({whose}); slower "
        "onset or common motion make it worse, and it says nothing about the force field or the size of the box"
    )


@lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int, size: int) -> _Measured:
    """Read one file; time and size are in the key so that an edited file is read again."""
    check = Values(path)
    what = "file of measured speeds"
    data = dict(check.mapping(read_yaml(path, what, _LARGEST_FILE_BYTES), f"a {what}"))
    check_keys(path, data, ("name", "speeds", *_FIGURES), ("note",), "")
    speeds = dict(check.mapping(data["speeds"], "speeds"))
    check_keys(path, speeds, ("points", "timestep_fs", "cutoff_A", "ranks", "source", "grade"), (), " of speeds")
    points = [_point(check, item) for item in check.items(speeds["points"], "points")]
    if not points or any(after[0] <= before[0] for before, after in itertools.pairwise(points)):
        raise check.fail("points of speeds must be one or more, with growing numbers of atoms")
    check.text(data.get("note", ""), "note", empty=True, long=True)
    return _Measured(
        name=check.text(data["name"], "name"),
        aliases=(),
        path=path,
        atoms=tuple(point[0] for point in points),
        ns_per_day=tuple(point[1] for point in points),
        timestep_fs=float(check.number(speeds["timestep_fs"], "timestep_fs", 0.01, 10)),
        cutoff_A=float(check.number(speeds["cutoff_A"], "cutoff_A", 1, 100)),
        ranks=float(check.number(speeds["ranks"], "ranks", 1, 1e6, whole=True)),
        source=check.text(speeds["source"], "source of the speeds", long=True),
        grade=check.choice(speeds["grade"], "grade of the speeds", GRADES),
        figures={key: _figure(check, data[key], key, *limits) for key, limits in _FIGURES.items()},
    )


def _point(check: Values, item: Any) -> tuple[float, float]:
    item = dict(check.mapping(item, "a point of speeds"))
    check_keys(check.path, item, ("atoms", "ns_per_day"), (), " of a point of speeds")
    atoms = check.number(item["atoms"], "atoms of a point", 1, 1e9, whole=True)
    return float(atoms), float(check.number(item["ns_per_day"], "ns_per_day of a point", 1e-6, 1e6))


def _figure(check: Values, data: Any, what: str, low: float, high: float) -> _Figure:
    data = dict(check.mapping(data, what))
    check_keys(check.path, data, ("value", "source", "grade"), (), f" of {what}")
    return _Figure(
        value=float(check.number(data["value"], what, low, high)),
        source=check.text(data["source"], f"source of {what}", long=True),
        grade=check.choice(data["grade"], f"grade of {what}", GRADES),
    )
