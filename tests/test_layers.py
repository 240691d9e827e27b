"""A lower room never imports a higher one."""

import ast
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1] / "atomflow"
#: Which rooms each room may import.
ALLOWED = {
    "errors": set(),
    "library": set(),
    "model": {"errors"},
    "build": {"errors", "library", "model"},
    "calculators": {"errors", "model", "lammps", "forcefield"},
    "lammps": {"errors", "model"},
    "forcefield": {"errors", "library", "model", "build", "lammps"},
    "dynamics": {"errors", "model", "build", "forcefield", "lammps"},
    "energetics": {"errors", "model", "build", "calculators"},
    "trajectory": {"errors", "library", "model", "build"},
    "analysis": {"errors", "model", "build", "trajectory"},
    "electrochem": {"errors", "model"},
    "report": {"errors", "library", "model", "build", "energetics", "analysis", "trajectory"},
    "flow": {"errors", "library", "model", "calculators"},
}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_downwards(room):
    home = HOME / room
    files = sorted(home.rglob("*.py")) if home.is_dir() else [HOME / f"{room}.py"]
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("atomflow."):
                    assert name.split(".")[1] in ALLOWED[room] | {room}, f"{path.name} imports {name}"
