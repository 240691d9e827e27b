"""What moves: atoms or centres of mass of molecules; and the frame of reference they move in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadOptionError, SelectionError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.cells import lattice_of
from atomflow.trajectory.frames import Frame, Trajectory
from atomflow.trajectory.unwrapping import minimum_image

#: A total charge above this (e) says that the file does not hold the whole system.
_CHARGED = 0.1


@dataclass(frozen=True)
class Particles:
    """Particles as atoms, or as weighted sums of atoms.

    Attributes
    ----------
    atoms : int array
        Atoms that are needed, sorted.
    groups : dict of str to slice
        Rows of each group among the particles.
    members : dict of str to int array
        Atoms of each group, for messages and for judging jumps.
    rows : int array
        Places of the particles' atoms among those that are read.
    bounds : (n_particles + 1,) int array or None
        Where in ``rows`` each molecule begins; None for atoms.
    weights : float array or None
        Share of each of ``rows`` in its molecule's mass.
    """

    atoms: NDArray[np.intp]
    groups: dict[str, slice]
    members: dict[str, NDArray[np.intp]]
    rows: NDArray[np.intp]
    bounds: NDArray[np.intp] | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def count(self) -> int:
        """Particles in all groups."""
        return len(self.rows) if self.bounds is None else len(self.bounds) - 1

    def among(self, read: NDArray[np.intp]) -> Particles:
        """The same, with ``rows`` counted among the atoms that are read (sorted)."""
        return replace(self, rows=np.searchsorted(read, self.rows))

    def add(self, moved_A: NDArray[np.float64], positions_A: NDArray[np.float64]) -> None:
        """Add displacements of the atoms that are read to the positions of the particles."""
        from atomflow.trajectory import _unwrap_kernels as kernels

        if self.bounds is None or self.weights is None:
            kernels.add_rows(moved_A, self.rows, positions_A)
        else:
            kernels.add_by_molecule(moved_A, self.rows, self.bounds, self.weights, positions_A)

    def place(self, frame: Frame) -> NDArray[np.float64]:
        """Where the particles are in one frame, wrapped into its cell; without one, relative to their mean."""
        atoms = np.asarray(frame.positions_A, dtype=np.float64)[self.rows]
        if self.bounds is None or self.weights is None:
            places = atoms
        else:
            # Whole around each molecule's first atom; this decides where a path starts, not how it goes on.
            first = np.repeat(atoms[self.bounds[:-1]], np.diff(self.bounds), axis=0)
            apart = atoms - first if frame.cell_A is None else minimum_image(atoms - first, frame.cell_A)
            places = np.add.reduceat(self.weights[:, None] * (first + apart), self.bounds[:-1], axis=0)
        return (
            places - places.mean(axis=0) if frame.cell_A is None else lattice_of(frame.cell_A, frame.index).wrap(places)
        )


def choose_particles(
    trajectory: Trajectory, groups: Mapping[str, NDArray[np.intp]], *, molecules: bool = False
) -> Particles:
    """The particles of some groups of atoms.

    Parameters
    ----------
    trajectory : Trajectory
    groups : mapping of str to int array
    molecules : bool
        Take the centres of mass of the whole molecules that have an atom in the group.

    Raises
    ------
    BadOptionError
        No groups, or an atom that does not exist.
    SelectionError
        An empty group.
    TrajectoryError
        Molecules without masses.
    """
    if not groups:
        raise BadOptionError('no group of atoms was given; name at least one with --species "Li=type 5"')
    chosen: dict[str, NDArray[np.intp]] = {}
    for name, atoms in groups.items():
        chosen[name] = np.asarray(atoms, dtype=np.intp)
        if not len(chosen[name]):
            raise SelectionError(f"group {name!r} has no atoms; correct its selection")
        if chosen[name].min() < 0 or chosen[name].max() >= trajectory.n_atoms:
            raise BadOptionError(
                f"group {name!r} has atom {chosen[name].max()}, but the trajectory has atoms 0 to {trajectory.n_atoms - 1}"
            )
    if not molecules:
        rows = np.concatenate(list(chosen.values()))
        ends = np.cumsum([len(atoms) for atoms in chosen.values()])
        slices = {name: slice(int(end) - len(chosen[name]), int(end)) for name, end in zip(chosen, ends, strict=True)}
        return Particles(np.unique(rows), slices, chosen, rows)

    masses = trajectory.topology.masses_u
    if masses is None:
        raise _no_masses(trajectory)
    of_atom = trajectory.topology.molecules
    order = np.argsort(of_atom, kind="stable")
    sorted_molecules = of_atom[order]
    rows_of, bounds, slices, members = [], [0], {}, {}
    for name, atoms in chosen.items():
        numbers = np.unique(of_atom[atoms])
        first, last = (np.searchsorted(sorted_molecules, numbers, side=side) for side in ("left", "right"))
        runs = [order[a:b] for a, b in zip(first, last, strict=True)]
        slices[name] = slice(len(bounds) - 1, len(bounds) - 1 + len(runs))
        members[name] = np.concatenate(runs)
        bounds += (bounds[-1] + np.cumsum(last - first)).tolist()
        rows_of += runs
    rows, edges = np.concatenate(rows_of), np.array(bounds, dtype=np.intp)
    # Virtual sites, such as MW of four-site water, have no mass; their molecules have.
    sums = np.add.reduceat(masses[rows], edges[:-1])
    if not ((masses[rows] >= 0).all() and (sums > 0).all()):
        raise _no_masses(trajectory)
    weights = masses[rows] / np.repeat(sums, np.diff(edges))
    return Particles(np.unique(rows), slices, members, rows, edges, weights)


def _no_masses(trajectory: Trajectory) -> TrajectoryError:
    return TrajectoryError(
        f"{trajectory.name}: centres of mass need the masses of all atoms; give a topology that has them (--top)"
    )


@dataclass(frozen=True)
class Drift:
    """The frame of reference: what is subtracted from all paths.

    Attributes
    ----------
    atoms : int array or None
        Atoms whose barycentre it is; None for nothing.
    weights : float array or None
        Their shares.
    told : str
        For people.
    notices : tuple of Notice
    """

    atoms: NDArray[np.intp] | None
    weights: NDArray[np.float64] | None
    told: str
    notices: tuple[Notice, ...] = ()

    def among(self, read: NDArray[np.intp]) -> Drift:
        """The same, with a weight for every atom that is read (zero for others)."""
        if self.atoms is None or self.weights is None:
            return self
        weights = np.zeros(len(read))
        weights[np.searchsorted(read, self.atoms)] = self.weights
        return replace(self, weights=weights)


def choose_drift(
    trajectory: Trajectory, groups: Mapping[str, NDArray[np.intp]], particles: Particles, drift: str
) -> Drift:
    """The frame of reference that ``drift`` means.

    Parameters
    ----------
    trajectory : Trajectory
    groups : mapping of str to int array
    particles : Particles
        Of these groups.
    drift : str
        ``auto``, ``none``, ``barycentre``, ``framework``, a group's name or a selection.

    Raises
    ------
    BadOptionError
        A framework where every atom is in a group.
    SelectionError
        Neither a group nor a selection.
    """
    everything = np.arange(trajectory.n_atoms)
    if drift == "auto":
        return _automatic(trajectory, everything)
    if drift == "none":
        return Drift(None, None, "none")
    if drift == "barycentre":
        return _barycentre(trajectory, everything, f"all {trajectory.n_atoms} atoms")
    if drift == "framework":
        rest = np.setdiff1d(everything, particles.atoms)
        if not len(rest):
            raise BadOptionError(
                "--drift framework: every atom is in a group, none is left as the framework; use --drift barycentre or "
                "name one of the groups"
            )
        return _barycentre(trajectory, rest, f"the framework ({len(rest)} atoms in no group)")
    if drift in groups:
        return _barycentre(trajectory, np.unique(particles.members[drift]), f"{drift} ({len(groups[drift])} atoms)")
    atoms = np.unique(trajectory.topology.select(drift))
    return _barycentre(trajectory, atoms, f'"{drift}" ({len(atoms)} atoms)')


def _automatic(trajectory: Trajectory, everything: NDArray[np.intp]) -> Drift:
    topology = trajectory.topology
    kinds = next((names for names in (topology.elements, topology.types, topology.names) if names is not None), None)
    if topology.masses_u is None or not topology.masses_u.sum() > 0:
        why, mend = "masses are not known", "give a topology that has masses, or --drift barycentre"
    elif kinds is None or len(np.unique(kinds)) < 2:
        why, mend = "all atoms are of one kind, perhaps not the whole system", "if it is, use --drift barycentre"
    elif topology.charges_e is not None and abs(float(topology.charges_e.sum())) > _CHARGED:
        charge = float(topology.charges_e.sum())
        why = f"the atoms have a charge of {charge:+.3g} e, so the file seems not to hold the whole system"
        mend = "if it does, use --drift barycentre"
    else:
        return _barycentre(trajectory, everything, f"all {trajectory.n_atoms} atoms")
    return Drift(None, None, "none", (Notice("drift-not-removed", f"no drift was subtracted: {why}; {mend}"),))


def _barycentre(trajectory: Trajectory, atoms: NDArray[np.intp], told: str) -> Drift:
    masses = trajectory.topology.masses_u
    if masses is not None and masses[atoms].sum() > 0:
        return Drift(atoms, masses[atoms] / masses[atoms].sum(), f"barycentre of {told}, by mass")
    return Drift(atoms, np.full(len(atoms), 1 / len(atoms)), f"mean of {told}, unweighted as masses are not known")
