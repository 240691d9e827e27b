"""First coordination shells: which molecules are in them, how they hold on, and how ions are paired.

Classes of a centre (a cation), by the anions in its first shell:

- ``solvent_separated``: none.
- ``contact``: one, and that anion is in the first shell of no other centre: an isolated pair.
- ``aggregate``: two or more, or one that it shares with other centres.

This is how Hou, Fong, Wang and Persson, Chem. Sci. 12, 14740 (2021), doi 10.1039/D1SC04265C, and their program mdgo
count, and the same as the isolated, paired and networked solutes of solvation-analysis (Cohen et al., J. Open Source
Softw. 8, 5183 (2023), doi 10.21105/joss.05183). An anion in contact is one molecule, whichever of its atoms touch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from atomflow.analysis.base import FrameAnalysis, Progress
from atomflow.analysis.blocks import Blocks, ratio_error
from atomflow.analysis.coordination import checked_cutoff, doubts, minimum_as_cutoff
from atomflow.analysis.gathering import gathered
from atomflow.analysis.pairs import brick_of, check_radius, near_pairs
from atomflow.analysis.rdf import RDF
from atomflow.analysis.saving import save_result
from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import Frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CLASSES = ("solvent_separated", "contact", "aggregate")


@record("atomflow.shell-composition/1")
@dataclass(frozen=True)
class Composition:
    """One kind of shell.

    Attributes
    ----------
    molecules : dict of str to int
        Molecules of each ligand.
    fraction, fraction_error : float
        Of all shells; the error is None for a few frames.
    """

    molecules: dict[str, int]
    fraction: float
    fraction_error: float | None


@record("atomflow.shell-ligand/1")
@dataclass(frozen=True)
class Ligand:
    """One ligand in the shells.

    Attributes
    ----------
    cutoff_A : float
    cutoff_from : str
        ``"given"``, or ``"first minimum of g(r)"``.
    n_molecules : int
        In the whole cell.
    mean_molecules, mean_atoms : float
        In a shell.
    mean_molecules_error : float or None
    denticity : dict of str to float
        Of the molecules in shells, the fraction that holds its centre with 1, 2, ... atoms.
    centres : dict of str to float
        Of all molecules, the fraction in the shells of 0, 1, 2, ... centres; "0" are free.
    free_fraction, free_fraction_error : float
    """

    cutoff_A: float
    cutoff_from: str
    n_molecules: int
    mean_molecules: float
    mean_molecules_error: float | None
    mean_atoms: float
    denticity: dict[str, float]
    centres: dict[str, float]
    free_fraction: float
    free_fraction_error: float | None


@record("atomflow.shell-class/1")
@dataclass(frozen=True)
class Share:
    """Fraction of centres in a class, with its standard error (None for a few frames)."""

    fraction: float
    fraction_error: float | None


@record("atomflow.shells/1")
@dataclass(frozen=True, eq=False)
class ShellsResult(Result):
    """Composition of the first shells.

    Attributes
    ----------
    centre : str
    n_centres, n_frames : int
    anions : tuple of str
        Which of the ligands are anions.
    ligands : dict of str to Ligand
    compositions : tuple of Composition
        The most frequent first.
    ion_pairing : dict of str to Share, or None
        ``solvent_separated``, ``contact`` and ``aggregate``; None without anions. The module says what they mean.
    """

    centre: str
    n_centres: int
    n_frames: int
    anions: tuple[str, ...]
    ligands: dict[str, Ligand]
    compositions: tuple[Composition, ...]
    ion_pairing: dict[str, Share] | None
    warnings: tuple[Notice, ...] = ()

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each composition."""
        import pandas as pd

        return pd.DataFrame(
            [{**c.molecules, "fraction": c.fraction, "fraction_error": c.fraction_error} for c in self.compositions]
        )

    def plot(self, axes: Axes | None = None, most: int = 12) -> Axes:
        """Draw the most frequent compositions as bars."""
        import matplotlib.pyplot as plt

        axes = axes if axes is not None else plt.subplots(layout="constrained")[1]
        shown = self.compositions[:most][::-1]
        names = [" ".join(f"{n} {name}" for name, n in c.molecules.items() if n) or "bare" for c in shown]
        error = None if any(c.fraction_error is None for c in shown) else [c.fraction_error for c in shown]
        axes.barh(names, [c.fraction for c in shown], xerr=error)
        axes.set(xlabel=f"fraction of {self.centre} shells")
        return axes

    def save(self, path: str | Path) -> Path:
        """Write ``.json``, ``.csv`` or ``.npz``; see :func:`atomflow.analysis.saving.save_result`."""
        return save_result(self, path)


#: What is counted: ("shell", molecules of each ligand), ("atoms", ligand, atoms of one molecule), ("held", ligand,
#: centres of one molecule), ("class", number).
_Counts = Counter[tuple[Any, ...]]


@dataclass
class _Tally:
    blocks: Blocks[_Counts] = field(default_factory=Blocks)


class Shells(FrameAnalysis[ShellsResult]):
    """First shells around a species.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes. Molecules are those of its topology.
    centre : str
        Label in ``species``, or a selection.
    ligands : mapping of str to selection, or sequence of str
        Coordinating atoms of each kind of molecule, ``{"DMF": "type 3", "TFSI": "type 2"}``; the values may be labels
        in ``species``, and a sequence is of such labels.
    cutoffs_A : float, or mapping of str to float or None, optional
        How near an atom of each ligand is to be. Without one the first minimum of g(r) between molecules, over the
        same frames, is taken: :meth:`run` reads them once more for that.
    species : mapping of str to selection, optional
        MDAnalysis selections, or atom indices.
    anions : sequence of str
        Ligands that are anions; with them ions are sorted into pairs and aggregates.

    Raises
    ------
    TrajectoryError
        There is no cell, or a cutoff reaches beyond half of its shortest period.
    SelectionError, UnknownNameError, BadOptionError
        Names or cutoffs that make no sense; ligands that share atoms.
    """

    def __init__(
        self,
        trajectory: Any,
        centre: str,
        ligands: Mapping[str, Any] | Sequence[str],
        cutoffs_A: float | Mapping[str, float | None] | None = None,
        *,
        species: Mapping[str, Any] | None = None,
        anions: Sequence[str] = (),
    ) -> None:
        super().__init__(trajectory)
        topology = self.trajectory.topology
        known = dict(species or {})
        named = dict(ligands) if isinstance(ligands, Mapping) else {name: name for name in _list_of(ligands)}
        if not named:
            raise BadOptionError("no ligands: give ligands={'DMF': 'type 3'}")
        self._centre = centre
        self._names = list(named)
        self._centres = topology.select(_resolved(centre, known))
        groups = [topology.select(_resolved(selection, known)) for selection in named.values()]
        self._atoms = np.concatenate(groups)
        self._ligand = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        if len(np.unique(self._atoms)) < len(self._atoms):
            raise BadOptionError("an atom belongs to two ligands: each coordinating atom needs one name")
        molecules = topology.molecules
        self._own = molecules[self._centres]
        self._molecule = molecules[self._atoms]
        self._n_molecules = [len(np.unique(molecules[group])) for group in groups]
        self._loose = len(np.unique(molecules)) == topology.n_atoms
        self._anions = tuple(_list_of(anions))
        for name in self._anions:
            if name not in named:
                raise UnknownNameError("ligand", name, named, "anions are named as in ligands")
        # A slot is one molecule as one ligand; a molecule can be two ligands with different atoms.
        slots, slot = np.unique(np.stack([self._ligand, self._molecule], axis=1), axis=0, return_inverse=True)
        self._slot, self._slot_ligand = slot.ravel(), slots[:, 0]
        is_anion = np.isin(self._slot_ligand, [self._names.index(name) for name in self._anions])
        self._slot_anion = np.where(is_anion, np.unique(slots[:, 1], return_inverse=True)[1].ravel(), -1)
        given = cutoffs_A if isinstance(cutoffs_A, Mapping) else dict.fromkeys(named, cutoffs_A)
        for name in given:
            if name not in named:
                raise UnknownNameError("ligand", name, named, "cutoffs are named as in ligands")
        self._given: dict[str, float] = {
            name: checked_cutoff(name, cutoff) for name in named if (cutoff := given.get(name)) is not None
        }
        #: Those given, and those that the run in progress found.
        self._cutoffs: dict[str, float | None] = {name: self._given.get(name) for name in named}
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
        wanted = [number for number, name in enumerate(self._names) if name not in self._given]
        if wanted:
            labels = {f"ligand {number}": self._atoms[self._ligand == number] for number in wanted}
            pairs = {number: f"centre:ligand {number}" for number in wanted}
            rdf = RDF(self.trajectory, list(pairs.values()), {"centre": self._centres, **labels},
                      exclude_molecules=True)  # fmt: skip
            rdf.run(start, stop, step, workers=workers, executor=executor)
            for number, pair in pairs.items():
                name = self._names[number]
                found = rdf.results[pair].first_minimum_A
                self._cutoffs[name] = minimum_as_cutoff(f"{self._centre}:{name}", found)
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
        cutoffs = np.array([float(cutoff or 0.0) for cutoff in self._cutoffs.values()])
        check_radius(cutoffs.max(), brick, where, "cutoff")
        i, j, distance = near_pairs(frame.positions_A, brick, self._centres, self._atoms, cutoffs.max(), where)
        near = (distance <= cutoffs[self._ligand[j]]) & (self._own[i] != self._molecule[j])
        tally.blocks.add(frame.index, self._count(i[near], j[near]))

    def _count(self, centre: NDArray[np.intp], atom: NDArray[np.intp]) -> _Counts:
        """What one frame has: the neighbours of each centre are given as pairs (centre, atom)."""
        n, ligands, n_slots = len(self._centres), len(self._names), len(self._slot_ligand)
        # Each molecule in a shell once, and how many of its atoms hold the centre.
        keys, atoms = np.unique(centre * n_slots + self._slot[atom], return_counts=True)
        centre_of, slot_of = np.divmod(keys, n_slots)
        ligand_of = self._slot_ligand[slot_of]
        seen: _Counts = Counter()
        _add(seen, "atoms", ligand_of, atoms)
        _add(seen, "held", self._slot_ligand, np.bincount(slot_of, minlength=n_slots))
        shells = np.bincount(centre_of * ligands + ligand_of, minlength=n * ligands).reshape(n, ligands)
        for shell, times in Counter(map(tuple, shells.tolist())).items():
            seen["shell", shell] = times
        if self._anions:
            kinds = self._classes(centre_of, self._slot_anion[slot_of], n)
            for number, times in enumerate(np.bincount(kinds, minlength=len(CLASSES)).tolist()):
                seen["class", number] = times
        return seen

    @staticmethod
    def _classes(centre: NDArray[np.intp], anion: NDArray[np.intp], n_centres: int) -> NDArray[np.intp]:
        """Class of each centre, from its contacts with anions (-1: with something else)."""
        centre, anion = centre[anion >= 0], anion[anion >= 0]
        n = int(anion.max(initial=0)) + 1
        centre, anion = np.divmod(np.unique(centre * n + anion), n)
        anions = np.bincount(centre, minlength=n_centres)
        shares = np.zeros(n_centres, bool)
        shares[centre[np.bincount(anion, minlength=n)[anion] > 1]] = True
        return np.where(anions == 0, 0, np.where((anions == 1) & ~shares, 1, 2))

    def _merge(self, tally: _Tally, other: _Tally) -> _Tally:
        tally.blocks.join(other.blocks)
        return tally

    def _conclude(self, tally: _Tally, frames: Sequence[int]) -> ShellsResult:
        blocks, lengths = tally.blocks.in_order()
        weights = lengths * float(len(self._centres))
        keys = sorted({key for block in blocks for key in block if key[0] == "shell"})
        sums = _table(blocks, keys)
        errors = ratio_error(sums, weights)
        fractions = sums.sum(axis=0) / weights.sum()
        order = np.argsort(-fractions, kind="stable")
        compositions = tuple(
            Composition(dict(zip(self._names, keys[k][1], strict=True)), float(fractions[k]), _at(errors, k))
            for k in order.tolist()
        )
        notices = [Notice("molecules-unknown", "the topology has neither bonds nor residues: every atom counts as a "
                          "molecule of its own")] if self._loose else []  # fmt: skip
        ligands = {}
        for number, name in enumerate(self._names):
            molecules = sums @ np.array([key[1][number] for key in keys])
            ligands[name] = self._ligand_result(number, blocks, lengths, molecules, weights)
            notices += doubts(f"{self._centre}:{name}", molecules, weights)
        pairing = None
        if self._anions:
            classes = _table(blocks, [("class", number) for number in range(len(CLASSES))])
            spread = ratio_error(classes, weights)
            shares = classes.sum(axis=0) / weights.sum()
            pairing = {name: Share(float(shares[k]), _at(spread, k)) for k, name in enumerate(CLASSES)}
        return ShellsResult(
            centre=self._centre,
            n_centres=len(self._centres),
            n_frames=len(frames),
            anions=self._anions,
            ligands=ligands,
            compositions=compositions,
            ion_pairing=pairing,
            warnings=gathered((*self.trajectory.notices, *notices)),
        )

    def _ligand_result(
        self, number: int, blocks: list[_Counts], lengths: NDArray[np.int64], molecules: NDArray[Any],
        weights: NDArray[Any],
    ) -> Ligand:  # fmt: skip
        name = self._names[number]
        atoms = _histogram(blocks, "atoms", number, 1)
        held = _histogram(blocks, "held", number, 0)
        in_shells = atoms.sum()
        everywhere = lengths * float(self._n_molecules[number])
        free = ratio_error(held[:, 0], everywhere)
        shares = held.sum(axis=0) / everywhere.sum()
        error = ratio_error(molecules, weights)
        return Ligand(
            cutoff_A=float(self._cutoffs[name] or 0.0),
            cutoff_from="given" if name in self._given else "first minimum of g(r)",
            n_molecules=self._n_molecules[number],
            mean_molecules=float(molecules.sum() / weights.sum()),
            mean_molecules_error=None if error is None else float(error),
            mean_atoms=float((atoms @ np.arange(1, atoms.shape[1] + 1)).sum() / weights.sum()),
            denticity={str(k + 1): float(s / in_shells) for k, s in enumerate(atoms.sum(axis=0)) if in_shells},
            centres={str(k): float(share) for k, share in enumerate(shares)},
            free_fraction=float(shares[0]),
            free_fraction_error=None if free is None else float(free),
        )


def _list_of(names: Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _resolved(selection: Any, species: Mapping[str, Any]) -> Any:
    return species.get(selection, selection) if isinstance(selection, str) else selection


def _add(seen: _Counts, what: str, ligand: NDArray[np.intp], number: NDArray[np.intp]) -> None:
    """Count how often each number comes with each ligand."""
    wide = int(number.max(initial=0)) + 1
    table = np.bincount(ligand * wide + number)
    for place in np.flatnonzero(table).tolist():
        seen[what, place // wide, place % wide] = int(table[place])


def _table(blocks: Sequence[_Counts], keys: Sequence[tuple[Any, ...]]) -> NDArray[np.float64]:
    return np.array([[block[key] for key in keys] for block in blocks], dtype=float).reshape(len(blocks), len(keys))


def _histogram(blocks: Sequence[_Counts], what: str, ligand: int, lowest: int) -> NDArray[np.float64]:
    numbers = [key[2] for block in blocks for key in block if key[:2] == (what, ligand)]
    return _table(blocks, [(what, ligand, k) for k in range(lowest, max(numbers, default=lowest) + 1)])


def _at(errors: NDArray[np.float64] | None, place: int) -> float | None:
    return None if errors is None else float(errors[place])
