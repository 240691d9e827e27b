"""Frames from ASE's and pymatgen's own objects, and from ASE's ``.traj`` files."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from atomflow.errors import BadFileError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.array_source import ArraySource
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.textfiles import check_file, first_line

if TYPE_CHECKING:
    from ase import Atoms


def notice_of_periodicity(pbc: Any) -> tuple[Notice, ...]:
    """What to say of a cell that is periodic in some directions only."""
    flags = np.broadcast_to(np.asarray(pbc, bool), 3)
    if flags.all() or not flags.any():
        return ()
    open_ones = ", ".join(axis for axis, periodic in zip("abc", flags, strict=True) if not periodic)
    return (Notice("partly-periodic", f"the file says not periodic along {open_ones}; it is treated as periodic"),)


class AseSource:
    """Frames of a list of ``ase.Atoms``, or of an ASE ``.traj`` file read frame by frame.

    Parameters
    ----------
    images : sequence of ase.Atoms, or path of a ``.traj`` file

    Raises
    ------
    BadFileError, TrajectoryError
        A file that is none, no images, or images of different atoms.
    """

    layout: Layout = "unknown"

    def __init__(self, images: Sequence[Atoms] | str | Path) -> None:
        self._path: Path | None = check_file(images) if isinstance(images, (str, Path)) else None
        # An opened .traj has one place in its file; threads may share this source.
        self._lock = threading.Lock()
        opened: Any = images if self._path is None else _open_traj(self._path)
        self._images = opened
        self.name = str(self._path) if self._path else "list of ase.Atoms"
        self.n_frames = len(opened)
        if not self.n_frames:
            raise TrajectoryError(f"{self.name}: there are no frames in it")
        self.first: Atoms = self._image(0)
        self.n_atoms = len(self.first)
        if not self.n_atoms:
            raise TrajectoryError(f"{self.name}: the first frame has no atoms")
        if not ((self.first.numbers >= 0) & (self.first.numbers < len(chemical_symbols))).all():
            raise TrajectoryError(f"{self.name}: the first frame has atoms of no element")
        if self._path is None:
            self._check_atoms()
        self.notices = notice_of_periodicity(self.first.pbc)

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.__dict__.items() if key != "_lock"}
        return kept | ({"_images": None} if self._path else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        if self._path:
            self._images = _open_traj(self._path)

    def _check_atoms(self) -> None:
        numbers = self.first.numbers
        for index, image in enumerate(self._images):
            if len(image) != self.n_atoms:
                raise TrajectoryError(f"frame {index} has {len(image)} atoms, the first has {self.n_atoms}")
            if not np.array_equal(image.numbers, numbers):
                raise TrajectoryError(f"frame {index} has its elements in another order than the first; sort the atoms")

    def _image(self, index: int) -> Atoms:
        try:
            with self._lock:
                return self._images[index]
        except Exception as error:  # a damaged .traj raises whatever it meets
            raise BadFileError(self.name, f"frame {index} cannot be read ({first_line(error)})") from error

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        for index in indices:
            image = self._image(index)
            if len(image) != self.n_atoms:
                raise BadFileError(self.name, f"frame {index} has {len(image)} atoms, the first has {self.n_atoms}")
            positions = image.positions if atoms is None else image.positions[atoms]
            cell = np.array(image.cell) if image.pbc.any() and image.cell.rank == 3 else None
            yield Frame(index=int(index), positions_A=positions, cell_A=cell)


def _open_traj(path: Path) -> Any:
    from ase.io.trajectory import Trajectory

    try:
        return Trajectory(path)
    except Exception as error:
        raise BadFileError(path, f"cannot be read as an ASE .traj file ({first_line(error)})") from error


def pymatgen_source(given: Any) -> tuple[ArraySource, list[str]]:
    """Frames of a pymatgen ``Trajectory`` or of a list of ``Structure``, and the elements.

    The coordinates are taken as they are: ``Trajectory.get_structure`` would wrap those that left the cell.

    Raises
    ------
    TrajectoryError
        No structures, structures of different atoms, or sites that several species share.
    """
    if hasattr(given, "coords_are_displacement"):
        coordinates = np.asarray(given.coords, float)
        if given.coords_are_displacement:
            if given.base_positions is None:
                raise TrajectoryError("a pymatgen Trajectory of displacements needs base_positions")
            coordinates = np.asarray(given.base_positions) + np.cumsum(coordinates, axis=0)
        if not len(coordinates):
            raise TrajectoryError("a pymatgen Trajectory without frames")
        if given.lattice is None:
            return ArraySource(coordinates, name="pymatgen Trajectory"), _symbols(given.species)
        cells = np.asarray(given.lattice, float)
        places = coordinates @ cells
        return ArraySource(places, cells, name="pymatgen Trajectory"), _symbols(given.species)
    structures = list(given)
    symbols = _symbols(structures[0].species_and_occu)
    for index, structure in enumerate(structures):
        if len(structure) != len(symbols):
            raise TrajectoryError(f"structure {index} has {len(structure)} sites, the first has {len(symbols)}")
        if _symbols(structure.species_and_occu) != symbols:
            raise TrajectoryError(f"structure {index} has its elements in another order than the first; sort the sites")
    places = np.array([structure.cart_coords for structure in structures])
    periodic = all(hasattr(structure, "lattice") for structure in structures)
    cells_or_none = np.array([structure.lattice.matrix for structure in structures]) if periodic else None
    if cells_or_none is not None and len(structures) == 1:
        cells_or_none = cells_or_none[0]
    return ArraySource(places, cells_or_none, name="pymatgen structures"), symbols


def _symbols(species: Any) -> list[str]:
    """Element of every site."""
    from pymatgen.core import Composition

    symbols = []
    for one in species:
        elements = Composition(one).elements if not hasattr(one, "elements") else one.elements
        if len(elements) != 1:
            raise TrajectoryError("a site is shared by several species; order the structure before analysing it")
        symbols.append(getattr(getattr(elements[0], "element", elements[0]), "symbol", str(elements[0])))
    return symbols
