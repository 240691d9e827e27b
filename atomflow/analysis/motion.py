"""What is kept of the paths of particles: square displacements of each, and the sum over all of a species."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atomflow.analysis.correlation import Array, Grid, frame_grid, msd_from_spectra, msd_uneven, spectra, uneven_lags
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.paths import Paths

Progress = Callable[[int, int], None]

#: Groups of particles whose own mean square displacements are kept, to see how much particles differ.
_GROUPS = 32
#: Displacements, evenly over the run, by which the likeness of particles' paths is judged, at every length of window.
_SAMPLES = 32
#: From one such length to the next.
_SHORTER = 4


@dataclass(frozen=True, eq=False)
class SquareDisplacements:
    """Mean square displacements of the particles of one species in one trajectory.

    Attributes
    ----------
    grid : Grid
    lags : (L,) array
        In spacings of the grid; for uneven frames, in ps.
    msd_A2 : (d, L) array
        Of every axis; averaged over particles and time origins, NaN at lags that no two frames have.
    pairs : (L,) array
        Pairs of frames at each lag.
    n_particles : int
        As many as count as independent.
    group_msd_A2 : (G, K) array
        Of consecutive particles taken together, summed over axes, at the lags ``ladder(length)``.
    group_sizes : (G,) int array
    likeness : tuple of (int, float)
        For windows of so many frames: how many times larger the likeness of particles' paths makes the variance of
        their average, over that of independent ones.
    change : float
        How many standard errors the second half's mean square displacement lies above the first's.
    """

    grid: Grid
    lags: Array
    msd_A2: Array
    pairs: Array
    n_particles: int
    group_msd_A2: Array
    group_sizes: NDArray[np.intp]
    likeness: tuple[tuple[int, float], ...] = ()
    change: float = 0.0

    @property
    def total_A2(self) -> Array:
        """(L,) summed over the axes."""
        return self.msd_A2.sum(axis=0)


@dataclass(frozen=True, eq=False)
class Motion:
    """What one trajectory's paths come to.

    Attributes
    ----------
    grid : Grid
        Where its frames lie in time.
    axes : str
    species : dict of str to SquareDisplacements
    sums_A : dict of str to (n_frames, d) array
        Sum over the particles of each species of their positions, each from its own mean.
    counts : dict of str to int
        Particles.
    volume_A3 : float or None
    notices : tuple of Notice
    drift, scheme : str
        How the paths were made.
    """

    grid: Grid
    axes: str
    species: dict[str, SquareDisplacements]
    sums_A: dict[str, Array]
    counts: dict[str, int]
    volume_A3: float | None
    notices: tuple[Notice, ...] = field(default=())
    drift: str = ""
    scheme: str = ""


def ladder(longest: int) -> NDArray[np.intp]:
    """Lags in frames that fits use: 1, 2, 3, 4, 6, 8, 12, ... up to ``longest``."""
    powers = 2 ** np.arange(max(int(longest), 1).bit_length())
    lags = np.union1d(powers, 3 * powers)
    return lags[lags <= longest]


def motion_of_paths(paths: Paths, *, axes: str = "xyz", workers: int = 1, progress: Progress | None = None) -> Motion:
    """Read paths once and keep what diffusivities and conductivities need.

    Parameters
    ----------
    paths : Paths
    axes : str
        Among ``xyz``: the directions that count.
    workers : int
        Threads; numbers do not depend on it.
    progress : callable, optional
        Called with particles done and particles in all.

    Raises
    ------
    BadOptionError
        Other axes.
    TrajectoryError
        Fewer than two frames; times that do not ascend, or of too many uneven frames.
    """
    columns = axis_columns(axes)
    if paths.n_frames < 2:
        raise TrajectoryError(f"{paths.n_frames} frame: displacements need two or more; check start, stop and step")
    grid = frame_grid(paths.times_ps, paths.n_frames)
    parts = [(name, rows) for name, group in paths.groups.items() for rows in _shares(group)]
    total, done = sum(rows.stop - rows.start for _, rows in parts), 0
    tallies: dict[str, list[_Part]] = {name: [] for name in paths.groups}
    for (name, rows), part in zip(parts, _all_parts(paths, parts, columns, grid, workers), strict=True):
        tallies[name].append(part)
        done += rows.stop - rows.start
        if progress:
            progress(done, total)
    return Motion(
        grid=grid,
        axes=axes,
        species={name: _join(found, grid) for name, found in tallies.items()},
        sums_A={name: np.sum([part.sum_A for part in found], axis=0) for name, found in tallies.items()},
        counts={name: group.stop - group.start for name, group in paths.groups.items()},
        volume_A3=paths.volume_A3,
        notices=tuple(paths.notices),
        drift=paths.drift,
        scheme=paths.scheme,
    )


def of_one(path_A: Array, grid: Grid) -> SquareDisplacements:
    """Square displacements of one path, (n_frames, d), such as a sum over particles."""
    return _join([_part(path_A[None], grid)], grid)


def axis_columns(axes: str) -> list[int]:
    """Columns of the axes' coordinates.

    Raises
    ------
    BadOptionError
        Not some of x, y and z, each once.
    """
    if not axes or set(axes) - set("xyz") or len(set(axes)) != len(axes):
        raise BadOptionError(f"axes {axes!r}: give some of x, y and z, such as 'xyz' or 'xy'")
    return ["xyz".index(axis) for axis in sorted(axes)]


@dataclass(frozen=True, eq=False)
class _Part:
    """What some particles add to their species."""

    n: int
    sum_A: Array
    spectra: tuple[Array, Array] | None = None
    grams: tuple[tuple[int, Array], ...] = ()
    uneven: Array | None = None


def _shares(group: slice) -> list[slice]:
    """Runs of consecutive particles: neighbours in the file may belong together, so that runs differ as molecules do."""
    bounds = np.linspace(group.start, group.stop, min(_GROUPS, group.stop - group.start) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]


def _all_parts(
    paths: Paths, parts: Sequence[tuple[str, slice]], columns: list[int], grid: Grid, workers: int
) -> Iterator[_Part]:
    def one(rows: slice) -> _Part:
        joined: _Part | None = None
        # Within a part at most so many particles are in memory at once.
        at_once = max(1, 2**25 // (24 * paths.n_frames))
        for first in range(rows.start, rows.stop, at_once):
            block = paths.block(slice(first, min(first + at_once, rows.stop)))
            found = _part(block if len(columns) == 3 else block[:, :, columns], grid)
            joined = found if joined is None else _add(joined, found)
        assert joined is not None
        return joined

    if workers <= 1:
        yield from (one(rows) for _, rows in parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, [rows for _, rows in parts])


def _part(block_A: Array, grid: Grid) -> _Part:
    # A product with ones: numpy's mean over a middle axis of rows of three is ten times slower.
    means = np.matmul(np.full(block_A.shape[1], 1.0 / block_A.shape[1]), block_A)
    moved = block_A.sum(axis=0) - means.sum(axis=0)
    if not grid.even:
        assert grid.times_ps is not None
        return _Part(len(block_A), moved, uneven=msd_uneven(block_A, grid.times_ps))
    return _Part(len(block_A), moved, spectra(block_A, grid), _grams(block_A, grid) if grid.whole else ())


def _add(a: _Part, b: _Part) -> _Part:
    n = a.n + b.n
    if a.uneven is not None and b.uneven is not None:
        return _Part(n, a.sum_A + b.sum_A, uneven=(a.n * a.uneven + b.n * b.uneven) / n)
    assert a.spectra is not None and b.spectra is not None
    joined = (a.spectra[0] + b.spectra[0], a.spectra[1] + b.spectra[1])
    grams = tuple((lag, one + other) for (lag, one), (_, other) in zip(a.grams, b.grams, strict=True))
    return _Part(n, a.sum_A + b.sum_A, joined, grams)


def _join(parts: list[_Part], grid: Grid) -> SquareDisplacements:
    sizes = np.array([part.n for part in parts])
    whole = parts[0]
    for part in parts[1:]:
        whole = _add(whole, part)
    if whole.uneven is not None:
        assert grid.times_ps is not None
        lags_ps, pairs, _ = uneven_lags(grid.times_ps)
        msd = np.hstack([np.zeros((len(whole.uneven), 1)), whole.uneven])
        pairs = np.concatenate([[len(grid.times_ps)], pairs])
        return SquareDisplacements(grid, np.concatenate([[0.0], lags_ps]), msd, pairs, whole.n, np.empty((0, 0)), sizes)
    assert whole.spectra is not None
    msd = msd_from_spectra(*whole.spectra, whole.n, grid)
    kept = ladder(grid.length - 1)
    groups = np.empty((len(parts), len(kept)))
    for number, part in enumerate(parts):
        assert part.spectra is not None
        power, squares = part.spectra
        groups[number] = msd_from_spectra(power.sum(axis=0), squares.sum(axis=0), part.n, grid)[kept]
    likeness = tuple((lag, _likeness(gram, whole.n, len(msd))) for lag, gram in whole.grams) if whole.n > 1 else ()
    change = _change(whole.grams[0][1], len(msd)) if whole.grams else 0.0
    lags = np.arange(grid.length, dtype=float)
    return SquareDisplacements(grid, lags, msd, grid.pairs, whole.n, groups, sizes, likeness, change)


def _grams(block_A: Array, grid: Grid) -> tuple[tuple[int, Array], ...]:
    """Products of displacements summed over particles, for every two of some windows, one matrix for each length."""
    n, n_frames, d = block_A.shape
    starts = np.unique(np.arange(_SAMPLES) * (n_frames - 1) // _SAMPLES)
    lag = max((n_frames - 1) // _SAMPLES, 1)
    found = []
    while True:
        moved = (block_A[:, starts + lag] - block_A[:, starts]).reshape(n, len(starts) * d)
        found.append((lag, moved.T @ moved))
        if lag == 1:
            return tuple(found)
        lag = max(lag // _SHORTER, 1)


def _likeness(gram: Array, n_particles: int, d: int) -> float:
    """N tr(S^2) / tr(S)^2 of the covariance S of N particles' displacements: 1 when they are alike and independent.

    Products of displacements in different windows give tr(S^2) without bias.
    """
    size = len(gram)
    scale = np.array([np.trace(gram[axis::d, axis::d]) for axis in range(d)]) / (size // d)
    if size <= d or not np.all(scale > 0):
        return 1.0
    scaled = gram / np.sqrt(np.outer(np.tile(scale, size // d), np.tile(scale, size // d)))
    apart = np.kron(np.eye(size // d), np.ones((d, d))) == 0
    own = np.diag(scaled)
    return float(n_particles * (scaled[apart] ** 2).mean() / np.outer(own, own)[apart].mean())


def _change(gram: Array, d: int) -> float:
    """How many standard errors later square displacements lie above earlier ones."""
    squares = np.diag(gram).reshape(-1, d).sum(axis=1)
    half = len(squares) // 2
    if half < 4:
        return 0.0
    first, second = squares[:half], squares[-half:]
    error = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / half)
    return float((second.mean() - first.mean()) / error) if error > 0 else 0.0
