"""GFN1-xTB and GFN2-xTB through tblite, with a ladder of ways to converge the SCF.

Methods: GFN2-xTB, doi:10.1021/acs.jctc.8b01176; GFN1-xTB, doi:10.1021/acs.jctc.7b00118 (citations as tblite's
documentation gives them).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError, all_changes
from tblite.ase import TBLite

from atomflow.calculators.charge_state import ChargeAware
from atomflow.calculators.spec import CalculatorSpec
from atomflow.errors import BadOptionError, SCFError

_METHODS = {"gfn2": "GFN2-xTB", "gfn1": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB"}

#: Ways to the same SCF solution, tried in turn; none of them changes a converged energy.
_LADDER: tuple[dict[str, Any], ...] = (
    {},
    {"mixer_damping": 0.2, "mixer_memory": 10},
    {"mixer_damping": 0.2, "mixer_memory": 10, "guess": "eeq"},
)

#: Electronic temperature of the last resort, K. It shifts energies by tenths of an eV, so the caller must use it for
#: every species of a reaction or for none.
HOT_ELECTRONS_K = 1000.0
ROOM_ELECTRONS_K = 300.0


class XTB(ChargeAware, TBLite):
    """GFN1-xTB and GFN2-xTB (tblite): molecules and ions, in vacuum or an implicit solvent.

    Parameters
    ----------
    method : {"gfn2", "gfn1"}
    solvent : str, optional
        ``"alpb:dmf"``, ``"gbsa:water"`` (GFN1 and GFN2) or ``"cpcm:36.7"``; vacuum when absent.
    electronic_temperature_K : float
        Fermi smearing of the occupations.
    accuracy : float
        tblite's accuracy factor; smaller is tighter.

    Notes
    -----
    Charge and multiplicity are read from ``atoms.info["charge"]`` and ``atoms.info["spin"]``. Energies in eV, forces in
    eV/angstrom.
    """

    #: Molecules of this size lose more to waiting threads than they gain.
    single_threaded = True

    def __init__(
        self,
        method: str = "gfn2",
        solvent: str | None = None,
        electronic_temperature_K: float = ROOM_ELECTRONS_K,
        accuracy: float = 1.0,
    ) -> None:
        if str(method).lower() not in _METHODS:
            raise BadOptionError(f"xtb has no method {method!r}; it has gfn1 and gfn2")
        self._method_name = _METHODS[str(method).lower()]
        self._solvent = solvent
        self._temperature_K, accuracy = float(electronic_temperature_K), float(accuracy)
        if not (accuracy > 0 and self._temperature_K >= 0):
            raise BadOptionError("xtb: accuracy must be positive and electronic_temperature_K must not be negative")
        options: dict[str, Any] = {"method": self._method_name.removesuffix("-xTB").lower(), "solvent": solvent}
        options |= {"electronic_temperature_K": self._temperature_K, "accuracy": accuracy}
        self.spec = CalculatorSpec("xtb", {key: value for key, value in options.items() if value is not None})
        self._rung = 0
        super().__init__(
            method=self._method_name,
            solvation=_solvation(solvent),
            electronic_temperature=self._temperature_K,
            accuracy=accuracy,
            verbosity=0,
            cache_api=True,
        )

    @property
    def method_label(self) -> str:
        """Short name of the method, as tables print it."""
        hot = f", electrons at {self._temperature_K:.0f} K" if self._temperature_K != ROOM_ELECTRONS_K else ""
        solvent = f", {self._solvent}" if self._solvent else ""
        return f"{self._method_name}{solvent}{hot}"

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """What to cite: (text, doi)."""
        if self._method_name == "GFN2-xTB":
            return (("Bannwarth, Ehlert, Grimme, GFN2-xTB, J. Chem. Theory Comput. 2019", "10.1021/acs.jctc.8b01176"),)
        return (("Grimme, Bannwarth, Shushkov, GFN1-xTB, J. Chem. Theory Comput. 2017", "10.1021/acs.jctc.7b00118"),)

    def supports(self, atoms: Atoms, purpose: str = "difference") -> str | None:
        """Refuse energy differences with a bare dication: the reference energy of the ion is wrong by many eV."""
        if purpose == "difference" and len(atoms) == 1 and int(atoms.info.get("charge", 0)) >= 2:
            return (
                f"{self._method_name} describes the bare ion {atoms.info.get('name', atoms.symbols[0])} so badly that any energy "
                "difference with it is meaningless (the second ionisation energy of Zn is off by about 27 eV)"
            )
        if purpose == "difference" and atoms.pbc.any():
            return f"{self._method_name} energies of periodic cells are not consistent between cells"
        return None

    def fallbacks(self) -> list[tuple[CalculatorSpec, str]]:
        """Other settings a whole reaction may be repeated with when some SCF fails, each with its warning."""
        hot = self.spec.with_options(electronic_temperature_K=HOT_ELECTRONS_K)
        first = self.spec.with_options(method="gfn1")
        rows = []
        if self._temperature_K < HOT_ELECTRONS_K:
            rows.append(
                (
                    hot,
                    f"an SCF did not converge: every species was repeated with electrons at {HOT_ELECTRONS_K:.0f} K, which shifts energies by 0.2-1.2 eV",
                )
            )
        if self._method_name != "GFN1-xTB":
            rows.append(
                (first, "GFN2-xTB did not converge even with hot electrons: every species was repeated with GFN1-xTB")
            )
        return rows

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Energy and forces, climbing the SCF ladder when needed.

        Raises
        ------
        SCFError
            After the last rung, with tblite's own log.
        """
        if atoms is not None:
            self._tell_charge(atoms)
        # The rung that worked last time first; then the others, lower ones too: none converges more than all others.
        for rung in dict.fromkeys((self._rung, *range(len(_LADDER)))):
            if rung != self._rung:
                self._stand_on(rung)
            try:
                super().calculate(atoms, properties, system_changes)
                return
            except CalculationFailed as error:
                reason = str(error)
            except InputError as error:
                raise BadOptionError(f"tblite refuses this system: {error}") from error
            self._xtb = self._res = None
        log = self._failing_log(reason)
        self._stand_on(0)  # the next system starts afresh
        raise SCFError(self.method_label, _name(self.atoms), log)

    def _stand_on(self, rung: int) -> None:
        self._rung = rung
        self.parameters.update(
            {key: TBLite.default_parameters[key] for step in _LADDER for key in step} | _LADDER[rung]
        )
        self._xtb = self._res = None

    def _tell_charge(self, atoms: Atoms) -> None:
        charge, multiplicity = int(atoms.info.get("charge", 0)), int(atoms.info.get("spin", 1))
        if (charge, multiplicity) != (self.parameters.charge, self.parameters.multiplicity):
            self.parameters.charge, self.parameters.multiplicity = charge, multiplicity
            self._xtb = self._res = None

    def _failing_log(self, reason: str) -> str:
        """Repeat the failing point aloud: tblite prints its SCF table with Python's ``print`` only."""
        said = io.StringIO()
        self.parameters.verbosity = 2
        try:
            with contextlib.redirect_stdout(said):
                super().calculate(self.atoms, ["energy"], all_changes)
        except CalculationFailed as error:
            reason = str(error)
        finally:
            self.parameters.verbosity = 0
            self._xtb = self._res = None
        return f"{said.getvalue()}\n{reason}\n"


def _name(atoms: Atoms) -> str:
    return str(atoms.info.get("name") or atoms.get_chemical_formula("hill"))


def _solvation(solvent: str | None) -> tuple[Any, ...] | None:
    if not solvent:
        return None
    model, _, medium = str(solvent).partition(":")
    if model not in ("alpb", "gbsa", "cpcm", "cosmo") or not medium:
        raise BadOptionError(f"xtb: solvent {solvent!r} is not understood; write alpb:dmf, gbsa:water or cpcm:36.7")
    value: float | str
    try:
        value = float(medium)
    except ValueError:
        value = medium
    return ("ddX", value, model) if model in ("cpcm", "cosmo") else (model, value)
