"""Coordination numbers: how many atoms of one species are within a cutoff of each atom of another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.analysis.base import FrameAnalysis, Progress
from atomflow.analysis.blocks import Blocks, independent_blocks, ratio_error
from atomflow.analysis.gathering import gathered
from atomflow.analysis.pairs import brick_of, check_radius, near_pairs, parse_pair
from atomflow.analysis.rdf import RDF
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Independent blocks below which a standard error is said to be too small.
_INDEPENDENT = 10


@record("atomflow.coordination-pair/1")
@dataclass(frozen=True, eq=False)
class PairCoordination:
    """Atoms of the second species around one of the first.

    Attributes
    ----------
    cutoff_A : float
    cutoff_from : str
        ``"given"``, or ``"first minimum of g(r)"``.
    mean, mean_error : float
        Over centres and frames; the standard error allows for the correlation of frames, None for a few frames.
    distribution, distribution_error : dict of str to float
        Fraction of centres with 0, 1, 2, ... neighbours.
    n_centres : int
    by_frame : (n_frames,) array or None
        Mean of every frame, where asked for.
    """

    cutoff_A: float
    cutoff_from: str
    mean: float
    mean_error: float | None
    distribution: dict[str, float]
    distribution_error: dict[str, float] | None
    n_centres: int
    by_frame: NDArray[np.float64] | None = None


@record("atomflow.coordination/1")
@dataclass(frozen=True, eq=False)
class CoordinationResult(Result):
    """Coordination numbers by pair, ``results["Li:O"]``.

    Attributes
    ----------
    pairs : dict of str to PairCoordination
    n_frames : int
    """

    pairs: dict[str, PairCoordination]
    n_frames: int
    warnings: tuple[Notice, ...] = ()

    def __getitem__(self, pair: str) -> PairCoordination:
        return self.pairs[pair]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each number of neighbours of each pair."""
        import pandas as pd

        rows = [
            {
                "pair": name,
                "cutoff_A": pair.cutoff_A,
                "mean": pair.mean,
                "mean_error": pair.mean_error,
                "neighbours": int(neighbours),
                "fraction": fraction,
                "fraction_error": None if pair.distribution_error is None else pair.distribution_error[neighbours],
            }
            for name, pair in self.pairs.items()
            for neighbours, fraction in pair.distribution.items()
        ]
        return pd.DataFrame(rows)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the distributions as bars side by side."""
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        width = 0.8 / len(self.pairs)
        for place, (name, pair) in enumerate(self.pairs.items()):
            at = np.array([int(k) for k in pair.distribution]) + (place - (len(self.pairs) - 1) / 2) * width
            error = None if pair.distribution_error is None else list(pair.distribution_error.values())
            axes.bar(at, list(pair.distribution.values()), width, yerr=error, label=f"{name}, mean {pair.mean:.3g}")
        axes.set(xlabel="neighbours", ylabel="fraction of centres")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


@dataclass
class _Tally:
    #: Centres by (pair, number of neighbours).
    blocks: Blocks[Counter[tuple[int, int]]] = field(default_factory=Blocks)
    by_frame: dict[int, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Search:
    """One list of neighbours for all pairs with the same first species; who belongs to which pair."""

    centres: NDArray[np.intp]
    others: NDArray[np.intp]
    members: dict[int, NDArray[np.bool_]]


def _searches(groups: Mapping[str, NDArray[np.intp]], labels: Sequence[tuple[str, str]]) -> list[_Search]:
    searches = []
    for centre in dict.fromkeys(first for first, _ in labels):
        seconds = {number: second for number, (first, second) in enumerate(labels) if first == centre}
        others = np.unique(np.concatenate([groups[second] for second in seconds.values()]))
        members = {number: np.isin(others, groups[second]) for number, second in seconds.items()}
        searches.append(_Search(groups[centre], others, members))
    return searches


class Coordination(FrameAnalysis[CoordinationResult]):
    """Coordination numbers of pairs of species.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes.
    pairs : mapping of str to float or None, or sequence of str
        Cutoffs in A, ``{"Li:O_TFSI": 2.8}``. Without one the first minimum of g(r) over the same frames is taken:
        :meth:`run` reads them once more for that.
    species : mapping of str to selection
        MDAnalysis selections, or atom indices.
    exclude_molecules : bool
        Leave out neighbours in the centre's own molecule.
    by_frame : bool
        Keep the mean of every frame.

    Raises
    ------
    TrajectoryError
        There is no cell, or a cutoff reaches beyond half of its shortest period.
    SelectionError, UnknownNameError, BadOptionError
        Species, pairs or cutoffs that make no sense.
    """

    def __init__(
        self,
        trajectory: Any,
        pairs: Mapping[str, float | None] | Sequence[str],
        species: Mapping[str, Any],
        *,
        exclude_molecules: bool = False,
        by_frame: bool = False,
    ) -> None:
        super().__init__(trajectory)
        if isinstance(pairs, str):
            pairs = [pairs]
        cutoffs = dict(pairs) if isinstance(pairs, Mapping) else dict.fromkeys(pairs)
        if not cutoffs:
            raise BadOptionError("no pairs: give pairs={'Li:O': 2.8}")
        self._given: dict[str, float] = {
            name: checked_cutoff(name, cutoff) for name, cutoff in cutoffs.items() if cutoff is not None
        }
        #: Those given, and those that the run in progress found.
        self._cutoffs: dict[str, float | None] = {name: self._given.get(name) for name in cutoffs}
        self._species = {label: species[label] for name in cutoffs for label in parse_pair(name, species)}
        topology = self.trajectory.topology
        groups = {label: topology.select(selection) for label, selection in self._species.items()}
        labels = [parse_pair(name, species) for name in cutoffs]
        self._n_centres = [len(groups[centre]) for centre, _ in labels]
        self._searches = _searches(groups, labels)
        self._molecules = topology.molecules if exclude_molecules else None
        self._by_frame = by_frame
        self._source = self.trajectory.name

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
        """Analyse the frames ``start:stop:step``; see :meth:`atomflow.analysis.base.Analysis.run`.

        Raises
        ------
        BadOptionError
            g(r) has no first minimum to take as cutoff.
        """
        if wanted := [name for name in self._cutoffs if name not in self._given]:
            rdf = RDF(self.trajectory, wanted, self._species, exclude_molecules=self._molecules is not None)
            rdf.run(start, stop, step, workers=workers, executor=executor)
            for name in wanted:
                self._cutoffs[name] = minimum_as_cutoff(name, rdf.results[name].first_minimum_A)
        return super().run(start, stop, step, workers=workers, executor=executor, progress=progress)

    def _begin(self) -> _Tally:
        if unknown := [name for name, cutoff in self._cutoffs.items() if cutoff is None]:
            raise TrajectoryError(
                f"the cutoff of {unknown[0]} is not known yet: give it, or call .run(), which finds it"
            )
        return _Tally()

    def _look(self, tally: _Tally, frame: Frame) -> None:
        where = f"{self._source}: frame {frame.index}"
        brick = brick_of(frame.cell_A, where)
        cutoffs = [float(cutoff or 0.0) for cutoff in self._cutoffs.values()]
        seen: Counter[tuple[int, int]] = Counter()
        means = np.zeros(len(cutoffs))
        for search in self._searches:
            reach = max(cutoffs[number] for number in search.members)
            check_radius(reach, brick, where, "cutoff")
            i, j, distance = near_pairs(frame.positions_A, brick, search.centres, search.others, reach, where)
            if self._molecules is not None:
                apart = self._molecules[search.centres[i]] != self._molecules[search.others[j]]
                i, j, distance = i[apart], j[apart], distance[apart]
            for number, member in search.members.items():
                inside = member[j] & (distance <= cutoffs[number])
                neighbours = np.bincount(i[inside], minlength=len(search.centres))
                means[number] = neighbours.mean()
                for k, times in enumerate(np.bincount(neighbours).tolist()):
                    if times:
                        seen[number, k] = times
        tally.blocks.add(frame.index, seen)
        if self._by_frame:
            tally.by_frame[frame.index] = means

    def _merge(self, tally: _Tally, other: _Tally) -> _Tally:
        tally.blocks.join(other.blocks)
        tally.by_frame |= other.by_frame
        return tally

    def _conclude(self, tally: _Tally, frames: Sequence[int]) -> CoordinationResult:
        blocks, lengths = tally.blocks.in_order()
        results: dict[str, PairCoordination] = {}
        notices: list[Notice] = []
        for number, (name, cutoff) in enumerate(self._cutoffs.items()):
            most = max(k for block in blocks for p, k in block if p == number)
            centres = np.array([[block[number, k] for k in range(most + 1)] for block in blocks], dtype=float)
            weights = lengths * float(self._n_centres[number])
            fractions = centres.sum(axis=0) / weights.sum()
            neighbours = centres @ np.arange(most + 1)
            spread, error = ratio_error(centres, weights), ratio_error(neighbours, weights)
            notices += doubts(name, neighbours, weights)
            series = None
            if self._by_frame:
                series = np.array([tally.by_frame[frame][number] for frame in frames])
            results[name] = PairCoordination(
                cutoff_A=float(cutoff or 0.0),
                cutoff_from="given" if name in self._given else "first minimum of g(r)",
                mean=float(neighbours.sum() / weights.sum()),
                mean_error=None if error is None else float(error),
                distribution={str(k): float(f) for k, f in enumerate(fractions)},
                distribution_error=None if spread is None else {str(k): float(e) for k, e in enumerate(spread)},
                n_centres=self._n_centres[number],
                by_frame=series,
            )
        return CoordinationResult(
            pairs=results,
            n_frames=len(frames),
            warnings=gathered((*self.trajectory.notices, *notices)),
        )


def checked_cutoff(name: str, cutoff_A: float) -> float:
    """A cutoff as a number above zero.

    Raises
    ------
    BadOptionError
    """
    if not (math.isfinite(cutoff_A) and cutoff_A > 0):
        raise BadOptionError(f"cutoff {cutoff_A} of {name}: give a distance in A above zero")
    return float(cutoff_A)


def minimum_as_cutoff(name: str, minimum_A: float | None) -> float:
    """The first minimum of g(r), if there is one.

    Raises
    ------
    BadOptionError
    """
    if minimum_A is None:
        raise BadOptionError(f"{name}: g(r) shows no first minimum to take as cutoff; give one, as in {name}@3.0")
    return minimum_A


def doubts(name: str, sums: ArrayLike, weights: ArrayLike) -> list[Notice]:
    """Warnings about the standard error of a mean from these blocks of frames."""
    if ratio_error(sums, weights) is None:
        return [Notice("few-frames", f"{name}: too few frames for a standard error")]
    blocks = independent_blocks(sums, weights)
    if blocks >= _INDEPENDENT:
        return []
    text = f"{name} (about {blocks:.0f}): the run is worth few independent blocks; the standard error may be too small"
    return [Notice("few-independent-frames", text)]
