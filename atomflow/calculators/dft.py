"""Molecular Hartree-Fock and DFT through PySCF, with dispersion, implicit solvents and ghost atoms.

PySCF: doi:10.1063/5.0006074 (citation as PySCF's documentation gives it).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Hartree
from pyscf import dft, gto, scf
from pyscf.solvent import smd

from atomflow.calculators.charge_state import ChargeAware
from atomflow.calculators.dispersion import LABELS, REFERENCES, dispersion
from atomflow.calculators.spec import CalculatorSpec
from atomflow.errors import BadOptionError, SCFError, UnknownNameError

#: Everyday names of solvents, as SMD's table calls them.
_SMD_NAMES = {"dmf": "N,N-dimethylformamide", "dmso": "dimethylsulfoxide", "thf": "tetrahydrofuran"}

#: Ways to converge, tried in turn: plain DIIS; level shift and damping; second-order (Newton) steps.
_LADDER = ("diis", "shifted", "newton")

_D3_STEP_A = 1e-3


class DFT(ChargeAware, Calculator):
    """Hartree-Fock and DFT (PySCF): molecules and ions of any charge and spin.

    Parameters
    ----------
    functional : str
        Anything PySCF knows (``"b3lyp"``, ``"pbe"``, ``"r2scan"``, ``"wb97x"``) or ``"hf"``.
    basis : str
        Any basis set PySCF has (``"def2-tzvp"``, ``"def2-svpd"``, ``"aug-cc-pvtz"``).
    dispersion : {"d3bj", "d4", None}
        ``"none"`` is accepted for None.
    density_fit : bool
        Density fitting of the Coulomb (and exchange) integrals.
    grid : int
        PySCF's grid level, 0-9.
    solvent : str, optional
        ``"smd:dmf"`` (a name in SMD's table) or ``"cpcm:36.7"`` (a dielectric constant).
    scf_tolerance_eV : float
        Change of the energy at which the SCF stops.

    Notes
    -----
    Charge and multiplicity are read from ``atoms.info["charge"]`` and ``atoms.info["spin"]``; atoms marked in a boolean
    array ``atoms.arrays["ghost"]`` carry basis functions but neither nucleus nor electrons (counterpoise). Each SCF
    starts from the last density of the same composition. ``"b3lyp"`` is PySCF's, equal to Gaussian's.
    """

    implemented_properties = ("energy", "forces")
    #: Internal coordinates: each step costs seconds, so fewer steps beat cheaper ones.
    relaxer = "geometric"
    supports_ghosts = True

    def __init__(
        self,
        functional: str = "b3lyp",
        basis: str = "def2-tzvp",
        dispersion: str | None = "d3bj",
        density_fit: bool = True,
        grid: int = 3,
        solvent: str | None = None,
        scf_tolerance_eV: float = 1e-6,
    ) -> None:
        super().__init__()
        self._functional, self._basis = str(functional).lower(), str(basis).lower()
        self._dispersion = None if str(dispersion).lower() in ("none", "false") else str(dispersion).lower()
        self._density_fit, self._grid, self._solvent = bool(density_fit), int(grid), solvent
        self._scf_tolerance_eV = float(scf_tolerance_eV)
        self._check_options()
        self.spec = CalculatorSpec(
            "dft",
            {
                "functional": self._functional,
                "basis": self._basis,
                "dispersion": self._dispersion or "none",
                "density_fit": self._density_fit,
                "grid": self._grid,
                "scf_tolerance_eV": self._scf_tolerance_eV,
                **({"solvent": solvent} if solvent else {}),
            },
        )
        self._last: tuple[tuple[Any, ...], np.ndarray, np.ndarray] | None = None

    def _check_options(self) -> None:
        if self._functional != "hf":
            try:
                dft.libxc.parse_xc(self._functional)
            except (KeyError, ValueError) as error:
                raise BadOptionError(
                    f"dft: PySCF has no functional {self._functional!r}; try b3lyp, pbe, pbe0, r2scan or hf"
                ) from error
        if self._dispersion not in (None, *LABELS):
            raise BadOptionError(f"dft: no dispersion {self._dispersion!r}; there are d3bj, d4 and none")
        try:
            gto.basis.load(self._basis, "H")
        except (gto.basis.BasisNotFoundError, KeyError) as error:
            raise BadOptionError(
                f"dft: PySCF has no basis {self._basis!r}; try def2-svp, def2-tzvp, def2-tzvpd"
            ) from error
        if not 0 <= self._grid <= 9:
            raise BadOptionError(f"dft: grid {self._grid} is not a level from 0 to 9")
        if not self._scf_tolerance_eV > 0:
            raise BadOptionError(f"dft: scf_tolerance_eV {self._scf_tolerance_eV} must be positive, for example 1e-6")
        if self._solvent:
            _read_solvent(self._solvent)

    @property
    def method_label(self) -> str:
        """Short name of the method, as tables print it."""
        name = "HF" if self._functional == "hf" else self._functional.upper()
        tail = f"-{LABELS[self._dispersion]}" if self._dispersion else ""
        solvent = f", {self._solvent}" if self._solvent else ""
        family, dash, size = self._basis.partition("-")
        basis = f"{family}{dash}{size.upper()}" if family.startswith("def2") else self._basis
        return f"{name}{tail}/{basis}{solvent}"

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """What to cite: (text, doi)."""
        rows = [("Sun et al., PySCF, J. Chem. Phys. 2020", "10.1063/5.0006074")]
        if self._dispersion:
            rows.append(REFERENCES[self._dispersion])
        return tuple(rows)

    def supports(self, atoms: Atoms, purpose: str = "difference") -> str | None:
        """Refuse periodic cells and elements without basis functions."""
        if atoms.pbc.any():
            return "this backend is for molecules, not periodic cells"
        for symbol in sorted(set(atoms.get_chemical_symbols())):
            try:
                gto.basis.load(self._basis, symbol)
            except (gto.basis.BasisNotFoundError, KeyError):
                return f"the basis {self._basis!r} has no functions for {symbol}"
        return None

    def _mole(self, atoms: Atoms, log: io.StringIO) -> gto.Mole:
        ghosts = _ghosts(atoms)
        names = [f"ghost-{s}" if ghost else s for s, ghost in zip(atoms.get_chemical_symbols(), ghosts, strict=True)]
        mole = gto.Mole()
        mole.atom = list(zip(names, (atoms.get_positions() / Bohr).tolist(), strict=True))
        mole.unit = "Bohr"
        mole.basis, mole.verbose = self._basis, 4
        mole.charge, mole.spin = int(atoms.info.get("charge", 0)), int(atoms.info.get("spin", 1)) - 1
        mole.stdout = log
        # Heavy elements of the def2 family are meant to be used with their effective core potentials.
        if self._basis.startswith(("def2", "ma-def2")) and max(atoms.numbers) > 36:
            mole.ecp = "def2-svp"
        mole.build(dump_input=False, parse_arg=False)
        return mole

    def _mean_field(self, mole: gto.Mole, rung: str) -> Any:
        restricted = mole.spin == 0
        if self._functional == "hf":
            mf = scf.RHF(mole) if restricted else scf.UHF(mole)
        else:
            mf = dft.RKS(mole, xc=self._functional) if restricted else dft.UKS(mole, xc=self._functional)
            mf.grids.level = self._grid
        if self._density_fit:
            mf = mf.density_fit()
        if self._solvent:
            model, value = _read_solvent(self._solvent)
            if model == "smd":
                mf = mf.SMD()
                mf.with_solvent.solvent = value
            else:
                mf = mf.PCM()
                mf.with_solvent.method, mf.with_solvent.eps = "C-PCM", float(value)
        mf.conv_tol = self._scf_tolerance_eV / Hartree
        mf.max_cycle = 80
        mf.conv_check = False  # the extra cycle after convergence only tidies what PySCF prints
        if rung == "shifted":
            mf.level_shift, mf.damp, mf.max_cycle = 0.3, 0.3, 200
        elif rung == "newton":
            mf = mf.newton()
        return mf

    def _converge(self, atoms: Atoms) -> Any:
        log = io.StringIO()
        mole = self._mole(atoms, log)
        composition = (tuple(a[0] for a in mole.atom), mole.charge, mole.spin)
        guess = self._carried_over(composition, mole)
        if guess is None:
            guess = self._rough_density(mole)
        for rung in _LADDER:
            mf = self._mean_field(mole, rung)
            mf.kernel(dm0=guess)
            if mf.converged:
                self._last = (composition, np.asarray(mf.make_rdm1()), mole.intor("int1e_ovlp"))
                return mf
            guess = None if rung == "diis" else np.asarray(mf.make_rdm1())
        raise SCFError(
            self.method_label, str(atoms.info.get("name") or atoms.get_chemical_formula("hill")), log.getvalue()
        )

    def _rough_density(self, mole: gto.Mole) -> np.ndarray | None:
        """A density from the coarsest grid, to spare most cycles on the real one; None where there is no grid."""
        if self._functional == "hf" or self._grid < 2:
            return None
        mf = self._mean_field(mole, "diis")
        mf.grids.level, mf.conv_tol, mf.max_cycle = 0, 1e-3, 20
        mf.kernel()
        return np.asarray(mf.make_rdm1()) if mf.converged else None

    def _carried_over(self, composition: tuple[Any, ...], mole: gto.Mole) -> np.ndarray | None:
        """The last density of the same composition, made to hold the right number of electrons in the new overlap."""
        if self._last is None or self._last[0] != composition:
            return None
        _, density, overlap = self._last
        # Loewdin: the density among orthogonalised functions is kept, the functions move.
        move = _power(mole.intor("int1e_ovlp"), -0.5) @ _power(overlap, 0.5)
        return np.asarray(move @ density @ move.T)

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Energy (eV) and, when asked for, forces (eV/angstrom).

        Raises
        ------
        SCFError
            After the last way to converge, with PySCF's log.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = properties or ["energy"]
        mf = self._converge(self.atoms)
        energy_eV = mf.e_tot * Hartree
        real = self._real(self.atoms)
        extra_eV, extra_forces = self._dispersion_of(real)
        self.results["energy"] = energy_eV + extra_eV
        if "forces" in wanted:
            gradient = mf.nuc_grad_method()
            gradient.verbose = 0
            forces = -np.asarray(gradient.kernel()) * Hartree / Bohr
            forces[~_ghosts(self.atoms)] += extra_forces
            self.results["forces"] = forces

    def _real(self, atoms: Atoms) -> Atoms:
        return atoms[~_ghosts(atoms)]

    def _dispersion_of(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        if self._dispersion is None or len(atoms) < 2:
            return 0.0, np.zeros((len(atoms), 3))
        return dispersion(self._dispersion, self._functional, atoms, int(atoms.info.get("charge", 0)))

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """Second derivatives of the energy, shape (3n, 3n), eV/angstrom^2 (analytic; dispersion by differences)."""
        mf = self._converge(atoms)
        second = mf.Hessian()
        second.verbose = 0
        n = len(atoms)
        hessian = np.asarray(second.kernel()).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) * Hartree / Bohr**2
        if self._dispersion is not None and n > 1:
            hessian = hessian + self._dispersion_hessian(atoms)
        return 0.5 * (hessian + hessian.T)

    def _dispersion_hessian(self, atoms: Atoms) -> np.ndarray:
        n = len(atoms)
        rows = np.zeros((3 * n, 3 * n))
        moved = atoms.copy()
        for column in range(3 * n):
            forces = []
            for sign in (1, -1):
                positions = atoms.get_positions()
                positions.flat[column] += sign * _D3_STEP_A
                moved.set_positions(positions)
                forces.append(self._dispersion_of(moved)[1].ravel())
            rows[column] = -(forces[0] - forces[1]) / (2 * _D3_STEP_A)
        return rows


def _ghosts(atoms: Atoms) -> np.ndarray:
    """Which atoms are only basis functions; shape (n,), bool."""
    return np.asarray(atoms.arrays.get("ghost", np.zeros(len(atoms))), dtype=bool)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-10) ** exponent) @ vectors.T)


def _read_solvent(text: str) -> tuple[str, str]:
    model, _, value = str(text).partition(":")
    if model == "smd" and value:
        name = _SMD_NAMES.get(value.lower(), value)
        known = {entry.lower(): entry for entry in smd.solvent_db}
        if name.lower() not in known:
            raise UnknownNameError("SMD solvent", value, [*known, *_SMD_NAMES])
        return "smd", known[name.lower()]
    if model == "cpcm":
        try:
            if float(value) >= 1:
                return "cpcm", value
        except ValueError:
            pass
    raise BadOptionError(f"dft: solvent {text!r} is not understood; write smd:dmf or cpcm:36.7")
