"""Name -> ASE calculator. Knows energies, never workflows.

``calculator("xtb")``, ``calculator("dft", functional="pbe", basis="def2-svp")``, ``calculator("orca", ...)`` and, for
one typed box, ``calculator("lammps", system=system)`` each return an ASE calculator; any other ASE calculator object
can be passed wherever atomflow asks for one.
"""

from atomflow.calculators.registry import (
    BackendStatus,
    as_spec,
    backend_status,
    build_calculator,
    calculator,
    refusal,
)
from atomflow.calculators.spec import CalculatorSpec, parse_spec
from atomflow.calculators.threads import limited_threads, suitable_threads

__all__ = [
    "BackendStatus",
    "CalculatorSpec",
    "as_spec",
    "backend_status",
    "build_calculator",
    "calculator",
    "limited_threads",
    "parse_spec",
    "refusal",
    "suitable_threads",
]
