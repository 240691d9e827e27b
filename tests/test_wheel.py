"""The wheel alone is enough: its own data, its own studies, in an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HOME = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder with the installed wheel and nothing else."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    _python(folder, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(HOME))
    (wheel,) = (folder / "dist").glob("atomflow-*.whl")
    target = folder / "site"
    _python(folder, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target), str(wheel))
    return target


def _python(cwd, *arguments, path=""):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_data_come_from_the_wheel(installed, tmp_path):
    code = (
        "import json; from atomflow.library import library_folder; from atomflow.build import find_species;"
        "print(json.dumps([str(library_folder(n)) for n in ('structures', 'workflows', 'published')]"
        " + [str(find_species('DMF').path)]))"
    )
    library = installed / "atomflow" / "_library"
    *folders, species = map(Path, json.loads(_python(tmp_path, "-c", code, path=installed)))
    assert folders == [library / name for name in ("structures", "workflows", "published")]
    assert species.is_relative_to(library)
    assert len(list((library / "published" / "rows").glob("*.yaml"))) == len(
        list((HOME / "published" / "rows").glob("*.yaml"))
    )


def test_species_are_listed(installed, tmp_path):
    rows = json.loads(_python(tmp_path, "-m", "atomflow", "list", "species", "--json", path=installed))
    assert {"Li+", "DMF", "TFSI-"} <= {row["name"] for row in rows}


def test_study_runs_from_an_empty_folder(installed, tmp_path):
    pytest.importorskip("tblite")
    arguments = [
        "-m",
        "atomflow",
        "run",
        "cation-anchor",
        "--calculator",
        "xtb",
        "--ions",
        "Li+",
        "--jobs",
        "1",
        "--out",
        "x",
    ]
    _python(tmp_path, *arguments, path=installed)
    result = json.loads((tmp_path / "x" / "result.json").read_text(encoding="utf-8"))
    (binding,) = result["results"]["binding"]
    assert binding["binding_energy_eV"] == pytest.approx(-2.91, abs=0.03)
    assert "3Dmol" in (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
