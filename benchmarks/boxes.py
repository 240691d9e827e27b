"""Every shipped membrane, liquid and melt: built by the command, then minimised and run 1,000 steps by plain LAMMPS.

Run: python benchmarks/boxes.py --out benchmarks/boxes.json        (an hour on two cores; --atoms 3000 alone: 15 minutes)

For each box: wall and processor seconds of `atomflow build box` from command to LAMMPS data (kernels compiled before),
what it checked (neutral, composition, nearest contact, pierced rings, a term for every group of atoms), the grades of
its numbers; then of `lmp -in system.in` the warnings, the temperatures of the last half of the run, and whether every
energy is finite.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def children_cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command, folder=None):
    began, cpu = time.perf_counter(), children_cpu_s()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = {"wall_s": round(time.perf_counter() - began, 1), "cpu_s": round(children_cpu_s() - cpu, 1)}
    if done.returncode:
        told["failed"] = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return told


def built(name, atoms, ranks, folder):
    command = [sys.executable, "-W", "ignore", "-m", "atomflow", "build", "box", name, "--atoms", str(atoms), "--seed", "1",
               "--ranks", str(ranks), "--quiet", "--out", str(folder)]  # fmt: skip
    row = timed(command)
    if "failed" in row:
        return row
    about = json.loads((folder / "system.json").read_text(encoding="utf-8"))
    return row | {
        "seconds": about["run"].get("seconds"),
        "atoms": about["atoms"],
        "charge_e": about["charge_e"],
        "packed_density_g_cm3": round(about["packed_density_g_cm3"], 3),
        "shortest_contact_A": round(about["checks"]["shortest_contact_A"], 2),
        "most_off_molecules": max(map(abs, about["checks"]["off_molecules"].values()), default=0.0),
        "pierced_rings": about["checks"]["pierced_rings"],
        "terms": about["terms"],
        "grades": about["grades"],
    }


def ran(folder, ranks):
    """1,000 steps by plain LAMMPS, as a user without atomflow would."""
    from atomflow.lammps import find_lammps, read_log

    lmp = find_lammps()
    row = timed([str(lmp.mpirun), "-n", str(ranks), str(lmp.path), "-in", "system.in"], folder)
    if "failed" in row:
        return row
    log = read_log(folder / "log.lammps")
    table = log.tables[-1]
    temperatures = np.asarray(table["Temp"])[len(table["Temp"]) // 2 :]
    energies = np.array([np.asarray(table[key]) for key in table.columns if key in ("PotEng", "TotEng", "E_pair")])
    return row | {
        "warnings": log.warnings,
        "steps": int(table["Step"][-1]),
        "temperature_K": [round(float(temperatures.min()), 1), round(float(temperatures.max()), 1)],
        "finite": bool(np.isfinite(energies).all()),
    }


def chains():
    """100 units of every polymer, the second of its kind (templates and kernels are there)."""
    from atomflow.build import list_polymers, polymer

    found = {}
    for one in list_polymers():
        polymer(one.name, units=50, seed=0)
        began = time.process_time()
        chain = polymer(one.name, units=100, seed=1)
        found[one.name] = {"atoms": len(chain), "cpu_s": round(time.process_time() - began, 2)}
        print(one.name, found[one.name], flush=True)
    return found


def main():
    from atomflow.build import list_recipes

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--atoms", type=int, action="append", help="[3000 and 10000]")
    parser.add_argument("--name", action="append", help="only these")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    found = {"packages": {name: version(name) for name in ("lammps", "rdkit", "numba")}, "chains_100_units": chains()}
    for atoms in options.atoms or (3000, 10000):
        for name in options.name or [one.name for one in list_recipes()]:
            with tempfile.TemporaryDirectory() as home:
                folder = Path(home) / "box"
                row = {"build": built(name, atoms, options.ranks, folder)}
                if "failed" not in row["build"]:
                    row["lammps"] = ran(folder, options.ranks)
            found[f"{name} {atoms}"] = row
            print(name, atoms, row, flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
