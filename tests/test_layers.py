"""The rooms of the house: a lower one never knows a higher one."""

import ast
from pathlib import Path

import pytest

import atomflow

PACKAGE = Path(atomflow.__file__).parent

#: What each room may import besides itself; errors and the package's version are open to all.
ALLOWED = {
    "errors": set(),
    "library": set(),
    "model": set(),
    "build": {"model", "library"},
    "calculators": {"model"},
    "energetics": {"model", "build", "calculators"},
    "report": {"model", "library", "build", "calculators", "energetics"},
    "flow": {"model", "library", "calculators"},
    "cli": {"model", "library", "build", "calculators", "energetics", "report", "flow"},
}


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_rooms(path):
    """Rooms of atomflow that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "atomflow" and len(parts) > 1:
                yield parts[1]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_library" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = room(path)
    found = set(imported_rooms(path)) - {own, "errors", "__version__"}
    if own == "__init__":
        assert not found, "the package itself imports nothing, so that `atomflow --help` answers at once"
    else:
        assert found <= ALLOWED[own], f"{own} may not import {sorted(found - ALLOWED[own])}"


def test_every_room_is_named():
    assert {room(path) for path in FILES} - {"__init__"} == set(ALLOWED)


def test_the_check_sees_an_upward_import(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from atomflow.cli.main import main\n    import atomflow.flow\n")
    assert list(imported_rooms(path)) == ["cli", "flow"]


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "workflows").glob("*.py")), ids=lambda path: path.name)
def test_workflows_do_not_know_the_command_line(path):
    assert "cli" not in set(imported_rooms(path))
