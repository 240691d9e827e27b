"""Force fields through LAMMPS, in this process: the numbers of ``lmp``, without files and processes for each geometry.

LAMMPS: doi:10.1016/j.cpc.2021.108171.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_masses_iupac2016, chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from atomflow.calculators.lammps_engine import LammpsEngine, load_library
from atomflow.calculators.lammps_source import paths_of_files, source_of_files, source_of_system
from atomflow.calculators.spec import CalculatorSpec
from atomflow.errors import BadFileError, BadOptionError, BadStructureError, UnsupportedSystemError
from atomflow.model import System

#: As :func:`atomflow.forcefield.write_lammps` has them, so that its files give the same numbers.
_DEFAULTS: dict[str, Any] = {
    "cutoff_A": 12.0,
    "kspace": "pppm",
    "kspace_accuracy": 1e-4,
    "tail": True,
    "coulomb_tables": True,
}
_KSPACE = ("pppm", "ewald")
#: An atom fits a type that weighs as much as its element within this, u: tables of weights differ in the last digits.
_SAME_WEIGHT_U = 0.25


class LAMMPS(Calculator):
    """Force field of one typed, periodic box (LAMMPS, in this process): energy, forces and stress.

    Parameters
    ----------
    system : System, optional
        The typed box. Else give files.
    data : path, optional
        A LAMMPS data file, or a folder that ``atomflow build box`` wrote.
    input : path, optional
        The input that goes with it; by default the file beside the data that ends in ``.in``. Its settings are taken
        up to the first ``run`` or ``minimize``; fixes that move atoms, and whatever prints, are left out. So bonds that
        the run would hold with SHAKE are springs here.
    content : str, optional
        Digest of the two files, as a stored :class:`CalculatorSpec` has it: files changed since are refused.
    cutoff_A : float
        Of Lennard-Jones and of the direct part of Coulomb [12].
    kspace : {"pppm", "ewald"}
        [pppm]
    kspace_accuracy : float
        Relative error of the forces of the reciprocal part [1e-4].
    tail : bool
        Add what Lennard-Jones loses beyond the cutoff to energy and stress [true].
    coulomb_tables : bool
        Read the error function from tables, as ``lmp`` does: faster, good to 1e-6 of a pair's energy [true].

    Attributes
    ----------
    spec : CalculatorSpec
    method_label : str

    Raises
    ------
    BadOptionError
        Neither or both of ``system`` and files; settings beside files, whose input has them.
    BadFileError
        Files that cannot be read as such.
    MissingBackendError
        No LAMMPS module here.

    Notes
    -----
    Atoms must be those of the box in its order (:meth:`starting_atoms`); they may stand anywhere, in any image, and the
    cell may be of any length, shape and direction. When the cell changes, LAMMPS is set up anew and PPPM may choose
    another mesh: energies along a changing cell have small steps (docs/calculators-lammps.md has figures), which a
    smaller ``kspace_accuracy`` makes smaller.

    Stress is LAMMPS' pressure without motion. At the cutoff Lennard-Jones ends with a step, which no force knows of;
    with ``tail`` the stress makes good for it on average. So energy along a strain follows the stress up to pairs that
    enter or leave, and the slope of the tail itself.

    The atoms of a rigid particle (:attr:`held_atoms`) do not see each other, but for their share in the reciprocal sum,
    whose forces cancel over the particle. Keep them in place (``ase.constraints.FixAtoms``) or in shape, and do not
    relax the cell: that share, which is in the stress, too, is no constant when the volume changes.

    The instance opens with the first calculation and belongs to one process and one geometry at a time. A copy, a
    pickle or a forked child opens its own. :meth:`close` ends it; so does ``with``.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    #: LAMMPS runs here with one process and one thread.
    single_threaded = True
    references = (("Thompson et al., LAMMPS, Comput. Phys. Commun. 2022", "10.1016/j.cpc.2021.108171"),)

    def __init__(
        self,
        system: System | None = None,
        data: str | None = None,
        input: str | None = None,
        content: str | None = None,
        cutoff_A: float | None = None,
        kspace: str | None = None,
        kspace_accuracy: float | None = None,
        tail: bool | None = None,
        coulomb_tables: bool | None = None,
    ) -> None:
        super().__init__()
        self._engine: LammpsEngine | None = None
        self._terms_eV: dict[str, float] = {}
        given = {
            "cutoff_A": cutoff_A, "kspace": kspace, "kspace_accuracy": kspace_accuracy, "tail": tail,
            "coulomb_tables": coulomb_tables,
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        files = data is not None or input is not None
        if files == (system is not None):
            raise BadOptionError("calculator 'lammps' needs either system=, or data= and input= of a box on disk")
        load_library()
        if system is not None:
            if not isinstance(system, System):
                raise BadOptionError(f"system= must be a typed System, not {type(system).__name__}; or give data=FILE")
            settings = _checked({**_DEFAULTS, **given})
            self._source = source_of_system(system, **settings)
            options = {"system": system.box.name, "content": self._source.content, **settings}
            self.spec = CalculatorSpec("lammps", options, instance=self)
        else:
            if given:
                raise BadOptionError(f"{', '.join(given)}: the input file says it; change it there")
            self._source = source_of_files(data, input)
            options = {**paths_of_files(data, input), "content": self._source.content}
            self.spec = CalculatorSpec("lammps", options)
        if content is not None and content != self._source.content:
            raise BadFileError(self._source.name, "has changed since; leave content= out to take it as it is")

    @property
    def method_label(self) -> str:
        """Short name of the method, as tables print it."""
        return f"{self._source.method} (LAMMPS)"

    @property
    def held_atoms(self) -> NDArray[np.intp]:
        """Atoms of rigid particles, counted from 0, (n,)."""
        return self._opened().held.copy()

    def starting_atoms(self) -> Atoms:
        """The box as built: molecules whole, periodic, with the masses of the force field; a fresh object each time."""
        return (self._source.start or self._opened().start).copy()

    def term_energies(self, atoms: Atoms | None = None) -> dict[str, float]:
        """Energies by term, eV: bond, angle, torsion, improper, lennard_jones (with its tail), coulomb (all of it)."""
        self.get_property("energy", atoms or self.atoms or self.starting_atoms())
        return dict(self._terms_eV)

    def supports(self, atoms: Atoms, purpose: str = "difference") -> str | None:
        """Why these are not the atoms of the box, or None."""
        expected = self._source.start or self._opened().start
        if len(atoms) != len(expected):
            return f"{self._source.name} has {len(expected)} atoms, these are {len(atoms)}"
        if not atoms.pbc.all():
            return f"{self._source.name} is periodic in all directions, these atoms are not; set atoms.pbc = True"
        if wrong := self._misfit(atoms, expected):
            return wrong
        if not abs(np.linalg.det(atoms.cell.array)) > 0:
            return "their cell has no volume; set atoms.cell"
        return None

    def _misfit(self, atoms: Atoms, expected: Atoms) -> str | None:
        if self._source.start is not None:
            other = atoms.numbers != expected.numbers
        else:
            # A data file has masses only. Types that weigh as no element (united atoms, heavy hydrogens) may be any.
            weights = expected.get_masses()
            other = np.abs(atomic_masses_iupac2016[atoms.numbers] - weights) > _SAME_WEIGHT_U
            other &= expected.numbers > 0
        if not other.any():
            return None
        first = int(np.argmax(other))
        wanted = chemical_symbols[expected.numbers[first]]
        return (
            f"atom {first} (counted from 0) of {self._source.name} is {wanted}, here it is {atoms.symbols[first]}; "
            "keep the order of the box"
        )

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """All properties at once.

        Raises
        ------
        UnsupportedSystemError
            Atoms that are not those of the box.
        BadStructureError
            A coordinate that is not a finite number.
        CalculationError
            LAMMPS stops, or its energy makes no sense; the message has its words.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.results = {}
        if reason := self.supports(self.atoms, "geometry"):
            raise UnsupportedSystemError(
                "lammps", reason, "calc.starting_atoms(), or a calculator of these atoms' own box"
            )
        positions = self.atoms.get_positions()
        if not (np.isfinite(positions).all() and np.isfinite(self.atoms.cell.array).all()):
            raise BadStructureError(f"{self._source.name}: a coordinate is not a finite number; look at the last step")
        found = self._opened().evaluate(positions, self.atoms.cell.array)
        self._terms_eV = found.terms_eV
        self.results = {
            "energy": found.energy_eV,
            "free_energy": found.energy_eV,
            "forces": found.forces_eV_per_A,
            "stress": full_3x3_to_voigt_6_stress(found.stress_eV_per_A3),
        }

    def _opened(self) -> LammpsEngine:
        """The instance of this process; opened anew after :meth:`close`, an error, a copy or a fork."""
        if self._engine is None or not self._engine.usable:
            self._engine = LammpsEngine(self._source)
        return self._engine

    def close(self) -> None:
        """End LAMMPS' instance and free its memory; the next calculation opens another."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def __enter__(self) -> LAMMPS:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the instance: copies, pickles and other processes open their own."""
        return {**self.__dict__, "_engine": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> LAMMPS:
        return self._copied()

    def __copy__(self) -> LAMMPS:
        return self._copied()

    def _copied(self) -> LAMMPS:
        """A calculator of the same box, that knows the last result, too."""
        other = LAMMPS.__new__(LAMMPS)
        other.__dict__.update(self.__getstate__())
        other.results = {name: np.copy(value) if np.ndim(value) else value for name, value in self.results.items()}
        other.atoms = None if self.atoms is None else self.atoms.copy()
        if self.spec.instance is not None:
            other.spec = CalculatorSpec(self.spec.name, dict(self.spec.options), instance=other)
        return other


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    for name in ("cutoff_A", "kspace_accuracy"):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise BadOptionError(f"lammps: {name} must be a number above zero, not {value!r}")
        settings[name] = float(value)
    if settings["kspace"] not in _KSPACE:
        raise BadOptionError(f"lammps: kspace {settings['kspace']!r}: give pppm or ewald")
    for name in ("tail", "coulomb_tables"):
        if not isinstance(settings[name], bool):
            raise BadOptionError(f"lammps: {name} is true or false, not {settings[name]!r}")
    return settings
