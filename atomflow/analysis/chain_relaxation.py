"""Size and relaxation of polymer chains: radius of gyration, end-to-end distance, and how long they remember a direction.

The slowest thing about a chain is the direction of the vector between its ends. Its correlation function over all chains
and time origins, ``C(t) = <R(0).R(t)> / <R.R>`` with both means over the same pairs of frames (Doi and Edwards, The Theory of Polymer Dynamics, 1986; for a Rouse chain
``C(t) = 8/pi^2 sum over odd p of exp(-p^2 t/tau_1)/p^2``, whose integral is ``pi^2/12 tau_1``), says whether conformations
come from the dynamics or are still those that the run began with.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from atomflow.analysis.base import FrameAnalysis
from atomflow.analysis.blocks import Blocks, ratio_error
from atomflow.analysis.correlation import Grid, frame_grid
from atomflow.analysis.gathering import gathered
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Frame, find_species, minimum_image

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

#: Fewer heavy atoms along the longest path are no chain.
_LEAST_BACKBONE = 4
#: Groups of chains whose spread gives errors; fewer than four chains say nothing about it.
_GROUPS, _LEAST_CHAINS = 16, 4
#: The correlation function is integrated down to this, and its tail taken as exponential.
_CUT = 0.2
#: Runs this many relaxation times long leave 5 % of the first conformations.
_RELAXED = 3.0


@record("atomflow.chain-kind/1")
@dataclass(frozen=True, eq=False)
class ChainKind:
    """Chains of one kind. Errors are standard errors over the chains (over blocks of time for fewer than four).

    Attributes
    ----------
    n_chains : int
    backbone_bonds : float
        Bonds between the two ends, averaged over the chains.
    radius_of_gyration_A, radius_of_gyration_error_A : float, float or None
        Root of the mean square, weighed by mass.
    end_to_end_A, end_to_end_error_A : float, float or None
        Root of the mean square distance of the backbone's ends.
    lag_frames : (L,) int array
        In spacings of the frames.
    lag_ps : (L,) array or None
        None when nobody knows the times.
    correlation, correlation_error : (L,) arrays, the second may be None
        Of the end-to-end vector; NaN at lags that no two frames have.
    relaxation_time_ps, relaxation_time_error_ps : float or None
        Integral of the correlation function; None if it does not fall to 1/e in the first half of the lags.
    correlation_at_end, correlation_at_end_error : float or None
        At the longest lag.
    relaxed : bool
        The run is at least three relaxation times long.
    text : str
        One sentence for people.
    """

    n_chains: int
    backbone_bonds: float
    radius_of_gyration_A: float
    radius_of_gyration_error_A: float | None
    end_to_end_A: float
    end_to_end_error_A: float | None
    lag_frames: NDArray[np.intp]
    lag_ps: Array | None
    correlation: Array
    correlation_error: Array | None
    relaxation_time_ps: float | None
    relaxation_time_error_ps: float | None
    correlation_at_end: float | None
    correlation_at_end_error: float | None
    relaxed: bool
    text: str


@record("atomflow.chains/1")
@dataclass(frozen=True, eq=False)
class ChainResult(Result):
    """Chains by kind, ``results["polymer-1"]``."""

    kinds: dict[str, ChainKind]
    n_frames: int
    warnings: tuple[Notice, ...] = ()

    def __getitem__(self, kind: str) -> ChainKind:
        return self.kinds[kind]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each lag of each kind."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"kind": name, "lag_frames": int(lag), "lag_ps": None if kind.lag_ps is None else kind.lag_ps[place],
                 "correlation": kind.correlation[place]}
                for name, kind in self.kinds.items()
                for place, lag in enumerate(kind.lag_frames)
            ]
        )  # fmt: skip

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the correlation functions."""
        import matplotlib.pyplot as plt

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        for name, kind in self.kinds.items():
            axes.plot(kind.lag_frames if kind.lag_ps is None else kind.lag_ps, kind.correlation, label=name)
        unit = "frames" if any(kind.lag_ps is None for kind in self.kinds.values()) else "ps"
        axes.set(xlabel=f"lag ({unit})", ylabel="end-to-end correlation")
        axes.legend()
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


@dataclass
class _Tally:
    #: By frame: (n_chains, 4), the end-to-end vector and the square of the radius of gyration.
    by_frame: dict[int, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Forest:
    """All chains as trees of bonds, so that they are made whole from their first ends outwards."""

    atoms: NDArray[np.intp]
    #: Places among ``atoms``: where each chain begins, and its two ends.
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    #: Bonds (from, to) by their distance from the first end.
    bonds: NDArray[np.intp]
    levels: tuple[slice, ...]
    #: Share of each atom in its chain's mass.
    weights: Array
    backbone_bonds: NDArray[np.intp]


class ChainRelaxation(FrameAnalysis[ChainResult]):
    """Size of chains and relaxation of their end-to-end vectors.

    The ends of a chain are those of the longest of the shortest paths between its heavy atoms along bonds. Chains are
    made whole along their bonds in every frame, so the file may be wrapped, unwrapped or broken.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes, with bonds in its topology.
    chains : mapping of str to selection, or selection, optional
        Chains are the whole molecules that have an atom in the selection; all polymers by kind when not given.
    replica_frames : sequence of int, optional
        Frames of each replica when several share one :func:`~atomflow.analysis.base.sweep`.

    Raises
    ------
    TrajectoryError
        No bonds, or no polymer.
    BadOptionError
        Molecules that are no chains.
    """

    def __init__(
        self, trajectory: Any, chains: Mapping[str, Any] | Any = None, *, replica_frames: Sequence[int] = ()
    ) -> None:
        super().__init__(trajectory)
        topology = self.trajectory.topology
        if topology.bonds is None or not len(topology.bonds):
            raise TrajectoryError(
                f"{self.trajectory.name}: chains need the bonds of the topology; give one that has them (--top)"
            )
        named = self._polymers() if chains is None else chains if isinstance(chains, Mapping) else {"chains": chains}
        members = {name: _whole_molecules(topology, topology.select(selection)) for name, selection in named.items()}
        bonds = np.unique(np.sort(topology.bonds, axis=1), axis=0)
        heavy, masses = _heavy(topology), topology.masses_u
        self._notices: list[Notice] = []
        if masses is None or not (np.isfinite(masses) & (masses >= 0)).all():
            self._notices.append(Notice("no-masses", "masses are unknown: radii of gyration count every atom alike"))
            masses = np.ones(topology.n_atoms)
        self._kinds = {name: len(found) for name, found in members.items()}
        self._forest = _plant([one for found in members.values() for one in found], bonds, heavy, masses, list(named))
        self._lengths = tuple(replica_frames) or (self.trajectory.n_frames,)
        self._times = self.trajectory.clock.times_ps

    def _polymers(self) -> dict[str, NDArray[np.intp]]:
        found = find_species(self.trajectory.topology)
        polymers = {kind.name: kind.atoms for kind in found.kinds if kind.role == "polymer"}
        if not polymers:
            names = ", ".join(kind.name for kind in found.kinds)
            raise TrajectoryError(f"{self.trajectory.name}: no polymer among {names}; name the chains by a selection")
        return polymers

    def _begin(self) -> _Tally:
        return _Tally()

    def _look(self, tally: _Tally, frame: Frame) -> None:
        tree = self._forest
        positions = np.asarray(frame.positions_A, dtype=np.float64)[tree.atoms]
        if frame.images is not None and frame.cell_A is None:
            raise TrajectoryError(f"frame {frame.index} has image flags and no cell")
        steps = positions[tree.bonds[:, 1]] - positions[tree.bonds[:, 0]]
        if frame.cell_A is not None:
            steps = minimum_image(steps, frame.cell_A)
        whole = np.zeros_like(positions)
        for level in tree.levels:
            whole[tree.bonds[level, 1]] = whole[tree.bonds[level, 0]] + steps[level]
        centres = np.add.reduceat(tree.weights[:, None] * whole, tree.starts[:-1], axis=0)
        away = whole - np.repeat(centres, np.diff(tree.starts), axis=0)
        seen = np.empty((len(tree.ends), 4))
        seen[:, :3] = whole[tree.ends[:, 1]] - whole[tree.ends[:, 0]]
        seen[:, 3] = np.add.reduceat(tree.weights * (away**2).sum(axis=1), tree.starts[:-1])
        tally.by_frame[frame.index] = seen

    def _merge(self, tally: _Tally, other: _Tally) -> _Tally:
        tally.by_frame.update(other.by_frame)
        return tally

    def _conclude(self, tally: _Tally, frames: Sequence[int]) -> ChainResult:
        numbers = sorted(tally.by_frame)
        seen = np.array([tally.by_frame[number] for number in numbers])
        runs = self._runs(np.array(numbers))
        kinds, first = {}, 0
        notices = [*self.trajectory.notices, *self._notices]
        if not runs:
            notices.append(
                Notice("uneven-frames", "frames are unevenly spaced: there is no correlation of chains' ends")
            )
        for name, count in self._kinds.items():
            mine = slice(first, first + count)
            first += count
            kinds[name] = _kind_result(name, seen[:, mine], numbers, runs, self._forest.backbone_bonds[mine])
            if runs and runs[0][1].length > 1 and not kinds[name].relaxed:
                notices.append(Notice("chains-not-relaxed", kinds[name].text))
        return ChainResult(kinds=kinds, n_frames=len(frames), warnings=gathered(notices))

    def _runs(self, numbers: NDArray[np.intp]) -> list[tuple[slice, Grid]]:
        """Frames of each replica, and where they lie in time; none where that is uneven, or not alike."""
        edges = np.searchsorted(numbers, np.cumsum([0, *self._lengths]))
        runs, first = [], 0
        for (start, stop), length in zip(itertools.pairwise(edges.tolist()), self._lengths, strict=True):
            # Only the first replica's clock is at hand; the others were written alike.
            local = numbers[start:stop] - first
            known = self._times is not None and (not len(local) or local[-1] < len(self._times))
            times = self._times[local] if known and self._times is not None else None
            if stop > start:
                runs.append((slice(start, stop), frame_grid(times, stop - start)))
            first += length
        spacings = {
            None if grid.spacing_ps is None else round(grid.spacing_ps, 9) for _, grid in runs if grid.length > 1
        }
        return runs if len(spacings) <= 1 and all(grid.even for _, grid in runs) else []


def _whole_molecules(topology: Any, atoms: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    molecules = topology.molecules
    wanted = np.unique(molecules[atoms])
    inside = np.flatnonzero(np.isin(molecules, wanted))
    order = inside[np.argsort(molecules[inside], kind="stable")]
    return np.split(order, np.searchsorted(molecules[order], wanted)[1:])


def _heavy(topology: Any) -> NDArray[np.bool_]:
    """Which atoms can be an end: all but hydrogen, and sites without mass."""
    if topology.elements is not None and topology.elements.any():
        return np.asarray((topology.elements != "H") & (topology.elements != "D"))
    return np.ones(topology.n_atoms, bool) if topology.masses_u is None else np.asarray(topology.masses_u > 2.5)


def _plant(
    chains: Sequence[NDArray[np.intp]], bonds: NDArray[np.intp], heavy: NDArray[np.bool_], masses: Array, names: list[str]
) -> _Forest:  # fmt: skip
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    atoms = np.concatenate(chains)
    starts = np.concatenate([[0], np.cumsum([len(chain) for chain in chains])]).astype(np.intp)
    place = np.full(len(heavy), -1)
    place[atoms] = np.arange(len(atoms))
    inside = place[bonds]
    inside = inside[(inside >= 0).all(axis=1)]
    owner = np.repeat(np.arange(len(chains)), np.diff(starts))[inside[:, 0]]
    ends, tree, depths, lengths = [], [], [], []
    for number, chain in enumerate(chains):
        own = inside[owner == number] - starts[number]
        size = len(chain)
        graph = coo_array((np.ones(len(own)), (own[:, 0], own[:, 1])), shape=(size, size)).tocsr()
        if connected_components(graph, directed=False)[0] > 1:
            raise TrajectoryError(f"the bonds of {' or '.join(names)} do not join the molecule of atom {chain[0] + 1}")
        one, other, length = _ends(graph, heavy[chain])
        if length + 1 < _LEAST_BACKBONE:
            raise BadOptionError(
                f"the molecule of atom {chain[0] + 1} has {length + 1} heavy atoms in a row: {' or '.join(names)} are no "
                "chains; name polymers only"
            )
        order, before = breadth_first_order(graph, one, directed=False)
        depth = np.zeros(size, np.intp)
        for atom in order[1:]:
            depth[atom] = depth[before[atom]] + 1
        tree.append(np.column_stack([before[order[1:]], order[1:]]) + starts[number])
        depths.append(depth[order[1:]])
        ends.append((one + starts[number], other + starts[number]))
        lengths.append(length)
    deep, edges = np.concatenate(depths), np.concatenate(tree)
    order = np.argsort(deep, kind="stable")
    cuts = np.searchsorted(deep[order], np.arange(1, deep.max() + 2))
    levels = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(cuts))
    weights = masses[atoms] / np.repeat(np.add.reduceat(masses[atoms], starts[:-1]), np.diff(starts))
    return _Forest(atoms, starts, np.array(ends, np.intp), edges[order], levels, weights, np.array(lengths, np.intp))


def _ends(graph: Any, heavy: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The two heavy atoms that are farthest apart along bonds between heavy atoms, and how far.

    Two searches, each from the end that the one before found: exact for trees; rings along a chain do not matter.
    """
    from scipy.sparse.csgraph import dijkstra

    places = np.flatnonzero(heavy)
    if not len(places):
        return 0, 0, 0
    skeleton = graph[places][:, places]
    one, other, far = 0, 0, np.zeros(len(places))
    for _ in range(3):
        one = other
        far = dijkstra(skeleton, directed=False, indices=one, unweighted=True)
        far = np.where(np.isfinite(far), far, -1.0)
        other = int(np.argmax(far))
    low, high = sorted((int(places[one]), int(places[other])))
    return low, high, int(far[other])


def _kind_result(
    name: str, seen: Array, numbers: Sequence[int], runs: list[tuple[slice, Grid]], backbone: NDArray[np.intp]
) -> ChainKind:
    squares = (seen[..., :3] ** 2).sum(axis=2)
    gyration, gyration_error = _root_mean(seen[..., 3], numbers)
    distance, distance_error = _root_mean(squares, numbers)
    groups = np.array_split(np.arange(seen.shape[1]), min(_GROUPS, seen.shape[1]))
    length = max((grid.length for _, grid in runs), default=1)
    sums, norms, pairs = np.zeros((len(groups), length)), np.zeros((len(groups), length)), np.zeros(length)
    for rows, grid in runs:
        pairs[: grid.length] += grid.pairs
        for number, group in enumerate(groups):
            sums[number, : grid.length] += _products(seen[rows][:, group, :3], grid)
            norms[number, : grid.length] += _squares(squares[rows][:, group].sum(axis=1), grid)
    norms = np.where((pairs > 0) & (norms > 0), norms, np.nan)
    curve = sums.sum(axis=0) / norms.sum(axis=0)
    there = np.isfinite(curve)
    without: list[Array] = []
    if len(groups) >= _LEAST_CHAINS:
        without = [(sums.sum(axis=0) - sums[k]) / (norms.sum(axis=0) - norms[k]) for k in range(len(groups))]
    spacing = next((grid.spacing_ps for _, grid in runs if grid.length > 1), None)
    time = _relaxation(curve)
    tried = [_relaxation(one) for one in without]
    time_error = None if time is None or not tried or None in tried else _jackknife(np.array(tried, dtype=float))
    error = _jackknife(np.array(without)) if without else None
    last = int(np.flatnonzero(there)[-1]) if there.any() else 0
    at_end = float(curve[last]) if last else None
    relaxed = time is not None and last >= _RELAXED * time
    return ChainKind(
        n_chains=seen.shape[1],
        backbone_bonds=float(backbone.mean()),
        radius_of_gyration_A=gyration,
        radius_of_gyration_error_A=gyration_error,
        end_to_end_A=distance,
        end_to_end_error_A=distance_error,
        lag_frames=np.arange(length),
        lag_ps=None if spacing is None else np.arange(length, dtype=np.float64) * np.float64(spacing),
        correlation=curve,
        correlation_error=error,
        relaxation_time_ps=None if time is None or spacing is None else time * spacing,
        relaxation_time_error_ps=None if time_error is None or spacing is None else float(time_error) * spacing,
        correlation_at_end=at_end,
        correlation_at_end_error=None if error is None or not last else float(error[last]),
        relaxed=relaxed,
        text=_told(name, time, relaxed, at_end, last, spacing),
    )


def _products(vectors: Array, grid: Grid) -> Array:
    """Sums over chains of products of vectors a lag apart, (length,); ``vectors`` are (n_frames, n, 3)."""
    padded = scipy.fft.next_fast_len(2 * grid.length - 1, real=True)
    power = np.zeros(padded // 2 + 1)
    for chain in range(vectors.shape[1]):
        laid = np.zeros((3, grid.length))
        laid[:, grid.places] = vectors[:, chain].T
        power += (np.abs(scipy.fft.rfft(laid, padded, axis=1)) ** 2).sum(axis=0)
    return np.asarray(scipy.fft.irfft(power, padded)[: grid.length])


def _squares(squares: Array, grid: Grid) -> Array:
    """Sums of the squares at both ends of every lag, halved: with them no correlation exceeds 1."""
    padded = scipy.fft.next_fast_len(2 * grid.length - 1, real=True)
    laid = np.zeros((2, grid.length))
    laid[0, grid.places], laid[1, grid.places] = squares, 1.0
    one, mask = scipy.fft.rfft(laid, padded, axis=1)
    return np.asarray(scipy.fft.irfft((one * mask.conj()).real, padded)[: grid.length])


def _relaxation(curve: Array) -> float | None:
    """Integral of a correlation function in spacings, or None where it does not come down in the first half."""
    half = curve[: len(curve) // 2 + 1]
    if not np.isfinite(half).all() or not (half < np.exp(-1)).any():
        return None
    low = int(np.argmax(half < _CUT)) if (half < _CUT).any() else int(np.argmax(half < np.exp(-1)))
    body = float(np.trapezoid(half[: low + 1]))
    # The slope of the tail is that of the last fall by half.
    tail = np.arange(int(np.argmax(half < 2 * half[low])) if (half < 2 * half[low]).any() else 0, low + 1)
    tail = tail[half[tail] > 0]
    if half[low] <= 0 or len(tail) < 2:
        return body
    fall = -float(np.polyfit(tail, np.log(half[tail]), 1)[0])
    return body + (float(half[low]) / fall if fall > 0 else 0.0)


def _jackknife(values: Array) -> Any:
    n = len(values)
    return np.sqrt((n - 1) / n * ((values - values.mean(axis=0)) ** 2).sum(axis=0))


def _root_mean(squares: Array, numbers: Sequence[int]) -> tuple[float, float | None]:
    """Root of the mean of (n_frames, n_chains) squares, with its standard error."""
    mean = float(squares.mean())
    error: float | None = None
    if squares.shape[1] >= _LEAST_CHAINS:
        error = float(squares.mean(axis=0).std(ddof=1) / np.sqrt(squares.shape[1]))
    else:
        blocks: Blocks[float] = Blocks()
        for number, value in zip(numbers, squares.mean(axis=1).tolist(), strict=True):
            blocks.add(number, value)
        found = ratio_error(*blocks.in_order())
        error = None if found is None else float(found)
    root = float(np.sqrt(mean))
    return root, None if error is None or not root else error / (2 * root)


def _told(name: str, time: float | None, relaxed: bool, at_end: float | None, last: int, spacing: float | None) -> str:
    def span(lags: float) -> str:
        return f"{lags:.3g} frames" if spacing is None else f"{lags * spacing:.3g} ps"

    if at_end is None:
        return f"{name}: nothing can be said about relaxation from one frame"
    if time is None:
        return (
            f"{name}: chains are not relaxed; the correlation of their ends is still {at_end:.2f} after {span(last)}, "
            "so conformations are those that the run began with"
        )
    if not relaxed:
        return (
            f"{name}: chains are hardly relaxed; their ends' vector decays in {span(time)} and the run is only "
            f"{last / time:.1f} times as long, so conformations remember those that it began with"
        )
    return f"{name}: the ends' vector decays in {span(time)}, and the run is {last / time:.1f} times as long"
