"""The examples run in an empty folder and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
EXPECTED = {
    "order_a_garnet.py": r"Li6\.25Al0\.25La3Zr2O12: 3 of 3 searches(.|\n)*LALZO-1: 0\.0 meV/atom, \d+ of 25 Li on 24d",
    "bind_one.py": r"Li\+ \+ DMF: -2\.9\d\d eV \(GFN2-xTB\)",
    "own_calculator.py": r"water \+ DMF: -0\.\d\d\d eV",
    "transference.py": r"t\+ = 0\.39 \+- 0\.01",
    "own_species.py": r"THF: C4H8O, 13 atoms, grade secondary",
}


def test_no_example_is_forgotten():
    assert {path.name for path in (HOME / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(name, tmp_path):
    if name in ("bind_one.py", "own_calculator.py"):
        pytest.importorskip("tblite")
    done = subprocess.run(
        [sys.executable, str(HOME / "examples" / name)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(EXPECTED[name], done.stdout)
    assert list(tmp_path.iterdir()) == []
