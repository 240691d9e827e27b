"""A third-party calculator: installed, listed, used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "plugin-example"
CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def atomflow(tmp_path_factory):
    """The command line beside an installed plug-in."""
    place = tmp_path_factory.mktemp("plugin")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
            *("--target", str(place / "site"), str(EXAMPLE)),
        ],
        check=True,
    )
    path = os.pathsep.join([str(place / "site"), str(CHECKOUT)])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from atomflow.cli import main; main()", *arguments],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            cwd=place,
            capture_output=True,
            text=True,
        )

    return run


def test_the_plug_in_is_listed(atomflow):
    rows = {row["name"]: row for row in json.loads(atomflow("list", "calculators", "--json").stdout)}
    assert rows["springs"]["here"]
    assert "Lennard-Jones" in rows["springs"]["detail"]
    assert {"xtb", "dft"} <= set(rows)


def test_the_plug_in_binds(atomflow):
    arguments = [
        "bind",
        "[He]",
        "[He]",
        "--calculator",
        "springs:depth_eV=0.2",
        "--starts",
        "2",
        "--jobs",
        "1",
        "--json",
    ]
    done = atomflow(*arguments)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["results"]["binding"]
    assert row["binding_energy_eV"] == pytest.approx(-0.2, abs=1e-3)  # the depth of one pair
    assert row["method"] == "springs(0.2 eV)"


def test_the_plug_in_s_options_are_checked(atomflow):
    done = atomflow("bind", "[He]", "[He]", "--calculator", "springs:colour=red")
    assert done.returncode == 2
    assert "colour" in done.stderr
    assert "depth_eV" in done.stderr
    assert "Traceback" not in done.stderr
