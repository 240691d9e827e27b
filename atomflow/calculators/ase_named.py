"""Calculators that ASE itself can start (ORCA, Gaussian, ...), found through ASE's own configuration."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from functools import cache
from typing import Any

from ase import Atoms
from ase.calculators.calculator import (
    BadConfiguration,
    Calculator,
    FileIOCalculator,
    all_changes,
    get_calculator_class,
    names,
)
from ase.calculators.calculator import EnvironmentError as NotSetUpError

from atomflow.calculators.charge_state import ChargeAware
from atomflow.errors import BadOptionError, MissingBackendError

#: How each program calls the total charge and the multiplicity; ASE leaves both to the user.
_CHARGE_KEYS = {
    "gaussian": ("charge", "mult"),
    "orca": ("charge", "mult"),
    "psi4": ("charge", "multiplicity"),
    "nwchem": ("charge", None),
    "mopac": ("charge", None),
    "qchem": ("charge", "multiplicity"),
}


@cache
def ase_names() -> frozenset[str]:
    """Names of the calculators ASE knows."""
    return frozenset(names)


def ase_calculator(name: str, options: dict[str, Any]) -> Calculator:
    """One of ASE's calculators, told the charge and spin of each molecule it is given.

    Raises
    ------
    MissingBackendError
        When ASE has no configuration for the program.
    """
    return NamedASE(name, options)


class NamedASE(ChargeAware, Calculator):
    """Forwards to an ASE file calculator, setting its charge and multiplicity from ``atoms.info``."""

    implemented_properties = ("energy", "forces")

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._name, self._options = name, options
        self._inner: Calculator | None = None
        self._inner_state: tuple[int, int] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._build(0, 1)  # a missing program is found now, not after the screening

    def _build(self, charge: int, multiplicity: int) -> Calculator:
        if self._inner is not None and self._inner_state == (charge, multiplicity):
            return self._inner
        extra = {}
        for key, value in zip(_CHARGE_KEYS.get(self._name, ()), (charge, multiplicity), strict=False):
            if key is not None:
                extra[key] = value
        try:
            inner = get_calculator_class(self._name)(**{**extra, **self._options})
            _check_program(inner)
        except (BadConfiguration, NotSetUpError, ImportError, KeyError, OSError) as error:
            raise MissingBackendError(
                self._name,
                f"a program ASE can start ({error})",
                f"a [{self._name}] section in ASE's configuration file (https://ase-lib.org, 'Configuration')",
            ) from error
        except Exception as error:  # each of ASE's classes checks its options in its own way
            raise BadOptionError(f"ASE cannot set up {self._name!r}: {type(error).__name__}: {error}") from error
        if isinstance(inner, FileIOCalculator) and not {"directory", "label"} & self._options.keys():
            # Programs write files of fixed names, and starts run side by side.
            self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix=f"atomflow-{self._name}-")
            inner.directory = self._scratch.name
        self._inner = inner
        self._inner_state = (charge, multiplicity)
        return self._inner

    @property
    def method_label(self) -> str:
        """The program and its options, as one line."""
        return " ".join([self._name, *(f"{key}={value}" for key, value in self._options.items())])

    def supports(self, atoms: Atoms, purpose: str = "difference") -> str | None:
        """Refuse charged or open-shell systems when the program could not be told about them."""
        charged = int(atoms.info.get("charge", 0)) or int(atoms.info.get("spin", 1)) != 1
        if charged and self._name not in _CHARGE_KEYS:
            return f"atomflow does not know how to tell {self._name!r} a charge or a spin"
        return None

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Run the program; see ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        inner = self._build(int(self.atoms.info.get("charge", 0)), int(self.atoms.info.get("spin", 1)))
        plain = self.atoms.copy()
        self.results = {name: inner.get_property(name, plain) for name in properties or ["energy"]}


def _check_program(calc: Calculator) -> None:
    """Find out now whether the program is there: ASE has default commands and tries them only when it computes."""
    command = getattr(getattr(calc, "profile", None), "command", None)
    words = shlex.split(command) if isinstance(command, str) else list(command or ())
    program = next((word for word in words if "=" not in word), None)
    if program is not None and shutil.which(program) is None:
        raise NotSetUpError(f"there is no program {program!r}")
