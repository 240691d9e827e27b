"""How far atoms jump between frames, against the size of the cell: can their images be told?

Nearest images are right as long as no atom moves half a cell between two frames. For jumps that are Gaussian with
standard deviation s along an axis of length L, the share ``erfc(L / (2 sqrt(2) s))`` takes a wrong image, and each such
error takes variance away: folding the Gaussian into the cell gives a diffusivity that is too small by 0.9 % at
s = L/6, 4 % at L/5 and 14 % at L/4 (own integral; the tests repeat it by simulation). So a root-mean-square jump above
L/6 is refused, and a tail that comes near L/2 is a warning. Fast ions in a slow matrix are not hidden by it: every kind
of atom is judged by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.cells import Lattice

#: Root-mean-square jump along an axis, in cells, above which nearest images are refused.
REFUSED = 1 / 6
#: A warning when a thousandth of the jumps along an axis is longer than the first, or one in 100,000 longer than the
#: second, in cells.
LONG, MANY_LONG = 1 / 3, 1e-3
EDGE, MANY_EDGE = 0.45, 1e-5
_FEWEST = 30


@dataclass
class _Tally:
    count: int = 0
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    long: int = 0
    edge: int = 0
    beyond: int = 0
    most: float = 0.0
    #: The same sums in A2.
    squares_A2: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def rms(self) -> tuple[float, float]:
        """Root mean square along the axis where it is longest against the cell: in cells, in angstrom."""
        axis = int(self.squares.argmax())
        many = max(self.count, 1)
        return float(np.sqrt(self.squares[axis] / many)), float(np.sqrt(self.squares_A2[axis] / many))


@dataclass
class Jumps:
    """Jumps seen so far, by kind of atom; can be pickled and merged.

    Parameters
    ----------
    kinds : mapping
        Rows of the atoms of each kind.
    """

    kinds: Mapping[str, NDArray[np.intp]]
    tallies: dict[str, _Tally] = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = {kind: _Tally() for kind in self.kinds}

    def add(self, moved_A: NDArray[np.float64], lattice: Lattice) -> None:
        """Add the displacements between two frames, (n, 3)."""
        from atomflow.trajectory import _unwrap_kernels as kernels

        # Projections on the shortest lattice vectors: half of one is where the next image is as near.
        basis, inverse = lattice.reduced
        edges_A2 = (basis**2).sum(axis=1)
        along = np.ascontiguousarray((basis / edges_A2[:, None]).T * inverse.any(axis=0))
        for kind, rows in self.kinds.items():
            tally, squares = self.tallies[kind], np.zeros(3)
            long, edge, beyond, most = kernels.measure_jumps(moved_A, rows, along, LONG, EDGE, squares)
            tally.count += len(rows)
            tally.squares += squares
            with np.errstate(over="ignore"):
                tally.squares_A2 += squares * edges_A2
            tally.long += long
            tally.edge += edge
            tally.beyond += beyond
            tally.most = max(tally.most, most)

    def merge(self, other: Jumps) -> None:
        """Add what another tally of the same kinds saw."""
        for kind, theirs in other.tallies.items():
            mine = self.tallies[kind]
            mine.count += theirs.count
            mine.squares = mine.squares + theirs.squares
            mine.squares_A2 = mine.squares_A2 + theirs.squares_A2
            mine.long += theirs.long
            mine.edge += theirs.edge
            mine.beyond += theirs.beyond
            mine.most = max(mine.most, theirs.most)

    def widest(self) -> tuple[str, float, float]:
        """Kind with the longest jumps; their rms along one axis, in cells and in angstrom."""
        seen = {kind: tally.rms() for kind, tally in self.tallies.items() if tally.count >= _FEWEST}
        kind = max(seen, key=lambda name: seen[name][0], default="")
        return (kind, *seen[kind]) if kind else ("", 0.0, 0.0)

    def check(self, name: str) -> None:
        """Refuse nearest images where they are guesses.

        Raises
        ------
        TrajectoryError
        """
        kind, rms, rms_A = self.widest()
        if rms > REFUSED:
            raise TrajectoryError(
                f"{name}: {kind} moves {rms_A:.3g} A (rms, along one axis) from frame to frame, {rms:.2f} of the cell: "
                "where it crossed the faces cannot be told (from 1/6 on the diffusivity is wrong); take every frame, "
                f"write frames {_more_often(rms)} times as often, or write unwrapped coordinates or image flags"
            )

    def notices(self, *, known: bool) -> tuple[Notice, ...]:
        """What a reader has to know; ``known``: images came from the file, not from the nearest."""
        if not self.tallies:
            return ()
        if known:
            kind, tally = max(self.tallies.items(), key=lambda item: item[1].beyond)
            if not tally.beyond:
                return ()
            text = (
                f"{tally.beyond} of {tally.count} jumps of {kind} from one frame to the next are longer than half the cell "
                f"(rms of all along one axis: {tally.rms()[1]:.3g} A); right for sparse frames, but if a restart reset the "
                "image flags the paths are torn there: then use --unwrap toroidal"
            )
            return (Notice("long-jumps", text),)
        kind, tally = max(self.tallies.items(), key=lambda item: (item[1].edge + item[1].long) / max(item[1].count, 1))
        if max(tally.edge / MANY_EDGE, tally.long / MANY_LONG) <= 3 * tally.count:
            return ()
        text = (
            f"{kind} moves up to {tally.most:.2f} of the cell from frame to frame: some atoms may be taken to have moved the "
            "other way round, and the diffusivity is then too small; write frames more often, or unwrapped coordinates "
            "(xu, yu, zu) or image flags"
        )
        return (Notice("sparse-frames", text),)


def _more_often(rms: float) -> int:
    """How much shorter the spacing has to be for jumps of L/10, if they grow as its square root."""
    return int(min(np.ceil((rms / 0.1) ** 2), 1e6))
