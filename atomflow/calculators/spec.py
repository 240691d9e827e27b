"""A calculator described as data, so that it can travel to another process and into a file's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from ase.calculators.calculator import Calculator

from atomflow.errors import BadOptionError
from atomflow.model import record


@record("atomflow.calculator/1")
@dataclass(frozen=True)
class CalculatorSpec:
    """The name of a backend and its options.

    Parameters
    ----------
    name : str
        A registered backend (``"xtb"``, ``"dft"``, a plug-in) or an ASE calculator name (``"orca"``).
    options : dict
        Keyword arguments of the backend; plain data.
    instance : ase Calculator, optional
        A ready object a user handed over; then name and options only describe it.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    instance: Calculator | None = field(default=None, repr=False, compare=False, metadata={"stored": False})

    def with_options(self, **options: Any) -> CalculatorSpec:
        """The same backend with some options changed."""
        return replace(self, options={**self.options, **options})

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}:" + ",".join(f"{key}={value}" for key, value in self.options.items())


def parse_spec(text: str) -> CalculatorSpec:
    """Read ``"xtb"`` or ``"dft:functional=pbe,basis=def2-svp"`` as users type it.

    Values are read as YAML scalars (``3`` is a number, ``true`` a truth value, ``alpb:dmf`` text).

    Raises
    ------
    BadOptionError
        When an option is not of the form ``key=value``.

    Examples
    --------
    >>> parse_spec("dft:functional=pbe,grid=1").options
    {'functional': 'pbe', 'grid': 1}
    """
    name, _, tail = text.strip().partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, tail.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise BadOptionError(
                f"calculator {text!r}: {part!r} is not key=value; write for example dft:functional=pbe,basis=def2-svp"
            )
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        options[key.strip()] = value if isinstance(parsed, (dict, list)) else parsed
    if not name:
        raise BadOptionError("the calculator has no name; write for example --calculator xtb")
    return CalculatorSpec(name, options)


def describe_object(calc: Calculator) -> CalculatorSpec:
    """A spec for a calculator object that did not come from the registry."""
    own = getattr(calc, "spec", None)
    if isinstance(own, CalculatorSpec):
        return own
    options = {str(k): v for k, v in _parameters(calc).items() if isinstance(v, (str, int, float, bool, type(None)))}
    return CalculatorSpec(f"{type(calc).__module__}.{type(calc).__qualname__}", options, instance=calc)


def _parameters(calc: Calculator) -> Mapping[str, Any]:
    parameters = getattr(calc, "parameters", None)
    return parameters if isinstance(parameters, Mapping) else {}
