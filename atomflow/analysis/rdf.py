"""Radial distribution functions of any number of pairs of species, from one sweep over the frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atomflow.analysis.base import FrameAnalysis
from atomflow.analysis.blocks import Blocks, dispersion, ratio_error
from atomflow.analysis.gathering import gathered
from atomflow.analysis.pairs import Brick, brick_of, check_radius, count_pairs, parse_pair, plan_pairs
from atomflow.analysis.peaks import first_shell
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, SelectionError, TrajectoryError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Where the functions end unless told otherwise, A.
DEFAULT_R_MAX_A = 10.0
#: Blocks of frames below which the error is that of counting alone.
_BLOCKS = 8


@record("atomflow.rdf-pair/1")
@dataclass(frozen=True, eq=False)
class PairRDF:
    """One radial distribution function.

    Attributes
    ----------
    r_A : (n,) array
        Centres of the bins.
    g : (n,) array
        Density of the second species around one of the first, over its mean density. Pairs are counted over what a
        uniform gas of as many atoms would have, summed over frames with the volume of each; equal species have
        N (N - 1) pairs, so that an ideal gas gives 1 at any N.
    g_error : (n,) array
        Standard error: from blocks of frames, or of counting alone where there are few frames.
    counts : (n,) int array
        Ordered pairs seen, over all frames.
    edge_A : (n,) array
        Outer edges of the bins.
    number_around_first, number_around_second : (n,) arrays
        Running coordination numbers: atoms of the other species within ``edge_A`` of one of the named one.
    first_peak_A, first_peak_g, first_minimum_A, first_minimum_g : float or None
        None where the data show none.
    number_at_minimum : float or None
        ``number_around_first`` at the first minimum.
    """

    r_A: NDArray[np.float64]
    g: NDArray[np.float64]
    g_error: NDArray[np.float64]
    counts: NDArray[np.int64]
    edge_A: NDArray[np.float64]
    number_around_first: NDArray[np.float64]
    number_around_second: NDArray[np.float64]
    first_peak_A: float | None
    first_peak_g: float | None
    first_minimum_A: float | None
    first_minimum_g: float | None
    number_at_minimum: float | None


@record("atomflow.rdf/1")
@dataclass(frozen=True, eq=False)
class RDFResult(Result):
    """Radial distribution functions by pair, ``results["Li:O"]``.

    Attributes
    ----------
    pairs : dict of str to PairRDF
    n_frames : int
    r_max_A, bin_A : float
    exclude_molecules : bool
        Whether pairs within one molecule were left out.
    """

    pairs: dict[str, PairRDF]
    n_frames: int
    r_max_A: float
    bin_A: float
    exclude_molecules: bool
    warnings: tuple[Notice, ...] = ()

    def __getitem__(self, pair: str) -> PairRDF:
        return self.pairs[pair]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each bin of each pair."""
        import pandas as pd

        columns = ("r_A", "g", "g_error", "counts", "edge_A", "number_around_first", "number_around_second")
        tables = [
            pd.DataFrame({"pair": name, **{column: getattr(rdf, column) for column in columns}})
            for name, rdf in self.pairs.items()
        ]
        return pd.concat(tables, ignore_index=True)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw all pairs, with bands of one standard error and the first minima marked."""
        import matplotlib.pyplot as plt

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        for name, rdf in self.pairs.items():
            (line,) = axes.plot(rdf.r_A, rdf.g, label=name)
            axes.fill_between(
                rdf.r_A, rdf.g - rdf.g_error, rdf.g + rdf.g_error, color=line.get_color(), alpha=0.25, lw=0
            )
            if rdf.first_minimum_A is not None:
                axes.axvline(rdf.first_minimum_A, color=line.get_color(), ls=":", lw=1)
        axes.axhline(1.0, color="0.6", lw=0.8)
        axes.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0, self.r_max_A), ylim=(0, None))
        axes.legend()
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


@dataclass
class _Tally:
    blocks: Blocks[NDArray[np.int64]] = field(default_factory=Blocks)
    per_volume: dict[int, float] = field(default_factory=dict)


class RDF(FrameAnalysis[RDFResult]):
    """Radial distribution functions of pairs of species.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes.
    pairs : sequence of str
        ``["Li:O_TFSI", "Li:Li"]``; the first species is the centre of the running coordination number.
    species : mapping of str to selection
        MDAnalysis selections, or atom indices: ``{"Li": "type 5", "O_TFSI": "type 2"}``. They may overlap.
    r_max_A : float, optional
        Where the functions end; 10 A unless the cell is too small for it.
    bin_A : float
        Width of the bins; taken a little narrower where it does not divide ``r_max_A``.
    exclude_molecules : bool
        Leave out pairs within one molecule.

    Raises
    ------
    TrajectoryError
        There is no cell, or ``r_max_A`` reaches beyond half of its shortest period.
    SelectionError, UnknownNameError, BadOptionError
        Species or pairs that are not there.
    """

    def __init__(
        self,
        trajectory: Any,
        pairs: Sequence[str],
        species: Mapping[str, Any],
        *,
        r_max_A: float | None = None,
        bin_A: float = 0.02,
        exclude_molecules: bool = False,
    ) -> None:
        super().__init__(trajectory)
        if isinstance(pairs, str):
            pairs = [pairs]
        if not pairs:
            raise BadOptionError("no pairs: give pairs=['Li:O']")
        self._names = list(dict.fromkeys(pairs))
        wanted = [parse_pair(pair, species) for pair in self._names]
        topology = self.trajectory.topology
        groups = {label: topology.select(species[label]) for pair in wanted for label in pair}
        molecules = topology.molecules if exclude_molecules else None
        self._plan = plan_pairs(groups, wanted, self.trajectory.n_atoms, molecules)
        # Of equal groups every pair is counted from both of its ends.
        self._twice = [np.array_equal(groups[a], groups[b]) for a, b in wanted]
        for pair, possible in zip(self._names, self._plan.n_pairs, strict=True):
            if not possible:
                inner = " of different molecules" if exclude_molecules else ""
                raise SelectionError(f"pair {pair}: there are no two atoms{inner} to make it")
        self._exclude = exclude_molecules
        self._source = self.trajectory.name
        self._bound_r_max(r_max_A, bin_A)

    def _bound_r_max(self, r_max_A: float | None, bin_A: float) -> None:
        if not (math.isfinite(bin_A) and bin_A > 0):
            raise BadOptionError(f"bin_A {bin_A}: give a width above zero")
        where, brick = _first_brick(self)
        self._asked = r_max_A is not None
        self._shortened = False
        if r_max_A is None:
            whole = math.floor(brick.limit_A / bin_A) * bin_A
            self._shortened = whole < DEFAULT_R_MAX_A
            r_max_A = min(DEFAULT_R_MAX_A, whole)
        elif not (math.isfinite(r_max_A) and r_max_A > 0):
            raise BadOptionError(f"r_max_A {r_max_A}: give a distance above zero")
        else:
            check_radius(r_max_A, brick, where)
        self._n_bins = max(math.ceil(r_max_A / bin_A - 1e-9), 1)
        if r_max_A <= 0 or self._n_bins > 1_000_000:
            raise BadOptionError(f"bin_A {bin_A:g} A does not fit a radius of {max(r_max_A, brick.limit_A):g} A")
        self.r_max_A = float(r_max_A)

    def _begin(self) -> _Tally:
        return _Tally()

    def _look(self, tally: _Tally, frame: Frame) -> None:
        where = f"{self._source}: frame {frame.index}"
        brick = brick_of(frame.cell_A, where)
        if self._asked:
            check_radius(self.r_max_A, brick, where)
        counts = count_pairs(frame.positions_A, brick, self._plan, self.r_max_A, self._n_bins, where)
        tally.blocks.add(frame.index, counts)
        tally.per_volume[frame.index] = 1.0 / brick.volume_A3

    def _merge(self, tally: _Tally, other: _Tally) -> _Tally:
        tally.blocks.join(other.blocks)
        tally.per_volume |= other.per_volume
        return tally

    def _conclude(self, tally: _Tally, frames: Sequence[int]) -> RDFResult:
        blocks, _ = tally.blocks.in_order()
        weights = tally.blocks.by_block(tally.per_volume)
        edges = np.linspace(0.0, self.r_max_A, self._n_bins + 1)
        counts = np.stack(blocks)
        results, notices = {}, []
        for number, name in enumerate(self._names):
            results[name], more = self._one(number, counts[:, number], weights, edges, len(frames))
            notices += more
        if self._shortened:
            text = f"r_max is {self.r_max_A:.4g} A, half of the cell's shortest period"
            notices.append(Notice("r-max-shortened", text))
        return RDFResult(
            pairs=results,
            n_frames=len(frames),
            r_max_A=self.r_max_A,
            bin_A=self.r_max_A / self._n_bins,
            exclude_molecules=self._exclude,
            warnings=gathered((*self.trajectory.notices, *notices)),
        )

    def _one(
        self, number: int, blocks: NDArray[np.int64], weights: NDArray[np.float64], edges: NDArray[np.float64], n: int
    ) -> tuple[PairRDF, list[Notice]]:
        counts = blocks.sum(axis=0)
        shells = 4 / 3 * math.pi * np.diff(edges**3)
        per_weight = self._plan.n_pairs[number] * shells
        expected = per_weight * weights.sum()
        times = 2 if self._twice[number] else 1
        counting = np.sqrt(times * counts) / expected
        error, excess = counting, 1.0
        if len(blocks) >= _BLOCKS and (spread := ratio_error(blocks / per_weight, weights)) is not None:
            error = spread
            seen = counts >= 10 * times
            excess = dispersion(blocks[:, seen], weights, times * counts[seen])
        g = counts / expected
        centres = (edges[1:] + edges[:-1]) / 2
        shell = first_shell(centres, g, expected / times, excess)
        a, b = self._plan.pairs[number]
        running = np.cumsum(counts) / n
        around = running / self._plan.sizes[a]
        at_minimum = None
        if shell.minimum_A is not None:
            at_minimum = float(np.interp(shell.minimum_A, edges, np.concatenate([[0.0], around])))
        notices = []
        name = self._names[number]
        if shell.peak_A is None:
            notices.append(Notice("no-first-peak", f"{name}: g(r) shows no first peak above its noise"))
        elif shell.minimum_A is None:
            notices.append(Notice("no-first-minimum", f"{name}: g(r) shows no minimum after its first peak"))
        rdf = PairRDF(
            r_A=centres, g=g, g_error=error, counts=counts, edge_A=edges[1:],
            number_around_first=around, number_around_second=running / self._plan.sizes[b],
            first_peak_A=shell.peak_A, first_peak_g=shell.peak_g,
            first_minimum_A=shell.minimum_A, first_minimum_g=shell.minimum_g, number_at_minimum=at_minimum,
        )  # fmt: skip
        return rdf, notices


def _first_brick(analysis: FrameAnalysis[Any]) -> tuple[str, Brick]:
    trajectory = analysis.trajectory
    where = f"{trajectory.name}: frame 0"
    if trajectory.n_frames < 1:
        raise TrajectoryError(f"{trajectory.name}: there is no whole frame")
    frame = next(iter(trajectory.source.frames([0])))
    return where, brick_of(frame.cell_A, where)
