"""When each frame was: from options, from the file, from the inputs beside it, or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import BadOptionError
from atomflow.model import Notice
from atomflow.trajectory.beside import Beside, look_beside

#: Spacings closer than this (relative) are one: files print times with few digits.
_SAME = 1e-3
#: Apart by more than this (relative), two sources of the spacing contradict each other.
_APART = 1e-2


@dataclass(frozen=True)
class Clock:
    """Time of every frame.

    Attributes
    ----------
    times_ps : (n_frames,) float64 array or None
        From zero; None when nobody knows the spacing. Lags are then counted in frames and diffusivities withheld.
        A duplicated frame has the time of the one before it; a gap in the file is a gap here.
    source : str
        Where that is known from, for people: ``"--dt"``, ``"header of the dcd"``, ``"timestep in log.lammps"``.
    """

    times_ps: NDArray[np.float64] | None
    source: str

    @property
    def spacing_ps(self) -> float | None:
        """The uniform spacing; None when unknown or not uniform (within 1e-4 of it)."""
        if self.times_ps is None or len(self.times_ps) < 2:
            return None
        gaps = np.diff(self.times_ps)
        usual = float(np.median(gaps))
        return usual if usual > 0 and np.allclose(gaps, usual, rtol=1e-4, atol=0) else None


def find_clock(
    n_frames: int,
    file_times_ps: ArrayLike | None = None,
    steps: ArrayLike | None = None,
    *,
    dt_ps: float | None = None,
    timestep_ps: float | None = None,
    near: Path | None = None,
) -> tuple[Clock, tuple[Notice, ...]]:
    """Find out when each frame was.

    What the user says comes first, then what the file says, then what the inputs and logs beside it say. Gaps between
    the file's own step numbers (or times) are honoured, whoever gives the spacing.

    Parameters
    ----------
    n_frames : int
    file_times_ps : (n_frames,) floats, optional
        As the file has them; times that are all equal or not finite count as none.
    steps : (n_frames,) ints, optional
        Number of the MD step of every frame (LAMMPS' TIMESTEP).
    dt_ps : float, optional
        Spacing of the frames.
    timestep_ps : float, optional
        The MD step; multiplied with ``steps``.
    near : Path, optional
        The trajectory, whose folder is searched for a log, an input or an ``md.json``.

    Returns
    -------
    clock : Clock
    notices : tuple of Notice
        Codes ``no-clock``, ``clock-found`` (beside the file), ``clock-doubt`` (two sources contradict each other),
        ``missing-frames``, ``duplicate-frames``, ``uneven-frames``, ``steps-go-back``.

    Raises
    ------
    BadOptionError
        A spacing or a time step that is zero, negative or not a number; both at once; a time step without step
        numbers to multiply it with.
    """
    _check("frame spacing (--dt)", dt_ps)
    _check("time step (--timestep)", timestep_ps)
    if dt_ps is not None and timestep_ps is not None:
        raise BadOptionError("--dt and --timestep were both given: one of them decides; leave the other out")
    if n_frames < 2:
        return Clock(np.zeros(n_frames), "a single frame"), ()

    numbers = _usable(steps, n_frames, "step numbers")
    said = _usable(file_times_ps, n_frames, "times")
    grid = _lay_out(numbers, "step number") if numbers is not None else None
    own = _lay_out(said, "time") if said is not None else None
    places = grid or own or _Grid(np.arange(n_frames, dtype=np.float64), 1.0, ())

    if dt_ps is not None:
        doubt = _doubt(dt_ps, own.spacing, "--dt", "the file itself") if own else ()
        return Clock(places.places * dt_ps, "--dt"), (*places.notices, *doubt)
    if timestep_ps is not None:
        if grid is None:
            raise BadOptionError(
                "--timestep was given, but the frames have no step numbers that grow; give their spacing with --dt"
            )
        return Clock(grid.places * (grid.spacing * timestep_ps), "--timestep"), grid.notices

    found = look_beside(near) if near is not None else ()
    if own is not None:
        doubt = ()
        for other in found:
            if not doubt and (spacing := _spacing(other, grid, exact=True)):
                doubt = _doubt(own.spacing, spacing, "the file itself", other.where)
        return Clock(own.places * own.spacing, "the file"), (*own.notices, *doubt)
    return _from_beside(found, grid, places)


def _from_beside(found: Sequence[Beside], grid: _Grid | None, places: _Grid) -> tuple[Clock, tuple[Notice, ...]]:
    known = [(spacing, each.where) for each in found if (spacing := _spacing(each, grid, exact=False))]
    mend = "give the spacing of the frames with --dt, such as --dt 10ps"
    if not known:
        text = f"the time between frames is not known: lags are counted in frames and no diffusivity is given; {mend}"
        return Clock(None, "unknown"), (*places.notices, Notice("no-clock", text))
    spacing, where = known[0]
    others = [(value, place) for value, place in known if abs(value / spacing - 1) > _APART]
    if others:
        text = (
            f"the time between frames is not known: {where} means {spacing:g} ps, but {others[0][1]} means "
            f"{others[0][0]:g} ps; {mend}"
        )
        return Clock(None, "unknown"), (*places.notices, Notice("no-clock", text))
    text = f"the frames are taken to be {spacing:g} ps apart, from the {where}; if that is another run's, {mend}"
    return Clock(places.places * spacing, where), (*places.notices, Notice("clock-found", text))


def _spacing(found: Beside, grid: _Grid | None, *, exact: bool) -> float | None:
    """Spacing (ps) that a file beside the trajectory means; exactly: only what is about this very trajectory."""
    if found.spacing_ps is not None:
        return found.spacing_ps
    if found.timestep_ps is not None and grid is not None and not (exact and not found.names_it):
        return found.timestep_ps * grid.spacing
    return None


def _doubt(taken: float, other: float, from_one: str, from_other: str) -> tuple[Notice, ...]:
    if abs(taken / other - 1) <= _APART:
        return ()
    text = (
        f"{from_one} puts the frames {taken:g} ps apart, {from_other} {other:g} ps: the first is used, and diffusivities "
        f"are wrong by a factor of {max(taken / other, other / taken):.4g} if it is the wrong one; settle it with --dt"
    )
    return (Notice("clock-doubt", text),)


def _check(name: str, value: float | None) -> None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise BadOptionError(f"{name} of {value:g} ps: give a time above zero")


def _usable(values: ArrayLike | None, n_frames: int, what: str) -> NDArray[np.float64] | None:
    """The values as doubles; None where they say nothing: absent, not finite, or all equal."""
    if values is None:
        return None
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (n_frames,):
        raise ValueError(f"{what} of {numbers.shape} for {n_frames} frames")
    return numbers if np.isfinite(numbers).all() and (np.diff(numbers) > 0).any() else None


@dataclass(frozen=True)
class _Grid:
    """Where each frame lies: ``places`` in units of the usual ``spacing``, from zero, never falling."""

    places: NDArray[np.float64]
    spacing: float
    notices: tuple[Notice, ...]


def _lay_out(values: NDArray[np.float64], what: str) -> _Grid:
    """Place the frames by their step numbers or times, and tell what is irregular about them."""
    gaps = np.diff(values)
    places = np.arange(len(values), dtype=np.float64)
    mean = float(values[-1] - values[0]) / (len(values) - 1)
    # xtc and trr keep times in single precision: far from zero they jitter about a straight line. A missing frame is off
    # it by half a spacing at least.
    rounding = float(np.spacing(np.float32(np.abs(values).max()))) / 2
    if mean > 0 and np.abs(values - values[0] - mean * places).max() <= min(2 * rounding, 0.45 * mean) + _SAME * mean:
        return _Grid(places, mean, ())
    usual = float(np.median(gaps[gaps > 0]))
    jitter = min(max(_SAME * usual, 4 * rounding), 0.1 * usual)
    notices = []
    if (back := np.flatnonzero(gaps < -jitter)).size:
        text = (
            f"the {what} goes back after frame {back[0]}"
            + (f" and {back.size - 1} more times" if back.size > 1 else "")
            + " (runs that were joined?): these frames are taken to follow at the usual spacing; "
            "if the runs overlap, analyse them one by one"
        )
        notices.append(Notice("steps-go-back", text))
        gaps = np.where(gaps < -jitter, usual, gaps)
    if (same := np.flatnonzero(np.abs(gaps) <= jitter)).size:
        text = (
            f"{_count(same.size, 'frame repeats', 'frames repeat')} the {what} of the one before "
            f"(the first is frame {same[0] + 1}); analyses leave {'it' if same.size == 1 else 'them'} out"
        )
        notices.append(Notice("duplicate-frames", text))
        gaps = np.where(np.abs(gaps) <= jitter, 0.0, gaps)
    strides = gaps / usual
    whole = np.rint(strides)
    uneven = np.abs(strides - whole) > jitter / usual
    if uneven.any():
        text = (
            f"the frames are not evenly spaced: {np.count_nonzero(uneven)} of {len(gaps)} gaps differ from the usual one "
            f"(the first follows frame {np.flatnonzero(uneven)[0]}); choose an even part with --frames"
        )
        notices.append(Notice("uneven-frames", text))
    else:
        strides = whole
    wide = np.flatnonzero((whole > 1.5) & ~uneven)
    if wide.size:
        text = (
            f"{_count(int((whole[wide] - 1).sum()), 'frame is', 'frames are')} missing, in "
            f"{_count(wide.size, 'gap', 'gaps')} (the first after frame {wide[0]}); the gaps are honoured in the times"
        )
        notices.append(Notice("missing-frames", text))
    places = np.concatenate([[0.0], np.cumsum(strides)])
    if not uneven.any() and not back.size:
        usual = float(values[-1] - values[0]) / float(places[-1])
    return _Grid(places, usual, tuple(notices))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
