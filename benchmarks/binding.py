"""Our xTB search against a plain ASE + tblite loop over the same starts.

Run: OMP_NUM_THREADS=1 .venv/bin/python benchmarks/binding.py --repeat 3 > benchmarks/binding.json
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import statistics
import tempfile
import time

import numpy as np
from ase.optimize import BFGS
from tblite.ase import TBLite

from atomflow.build import molecule
from atomflow.calculators import limited_threads
from atomflow.energetics import build_spec, relax
from atomflow.energetics.placement import starts
from atomflow.flow import Flow, LocalExecutor, Store

TOLERANCE = 0.01  # eV/A, for both


def make_starts(per_system):
    systems = [("Li+", "DMF"), ("Na+", "DMF"), ("K+", "DMF"), ("Li+", "TFSI-")]
    return [atoms for names in systems for atoms in starts([molecule(n) for n in names], per_system, seed=0)]


def plain(geometries):
    energies = []
    for atoms in geometries:
        work = atoms.copy()
        work.calc = TBLite(method="GFN2-xTB", charge=work.info["charge"], multiplicity=work.info["spin"], verbosity=0)
        with BFGS(work, logfile=None, maxstep=0.15) as optimizer:
            optimizer.run(fmax=TOLERANCE, steps=600)
        energies.append(work.get_potential_energy())
    return energies


def ours(geometries, jobs):
    """Seconds of the work itself and of starting the worker processes, and the energies."""
    spec = build_spec("xtb")
    with (
        tempfile.TemporaryDirectory() as folder,
        Flow(Store(folder), LocalExecutor(jobs) if jobs > 1 else None) as tasks,
    ):
        began = time.perf_counter()
        if jobs > 1:
            # Several each: one process may be up and take all of them before the other is.
            tasks.run(relax, [(molecule("CCO").atoms, spec, 0.01 + 0.001 * n) for n in range(16 * jobs)])
        ready = time.perf_counter()
        results = tasks.run(relax, [(atoms, spec, TOLERANCE) for atoms in geometries])
        done = time.perf_counter()
    return done - ready, ready - began, [r.energy_eV for r in results]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=15, help="starts per system (four systems)")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()
    geometries = make_starts(options.starts)
    # The first task of a process imports what it needs; neither side should pay for that.
    plain(geometries[:1])
    ours(geometries[:1], 1)
    rows = {"plain": [], "one": [], "two": [], "pool": []}
    with limited_threads(1):
        for _ in range(options.repeat):
            began = time.perf_counter()
            reference = plain(geometries)
            rows["plain"].append(time.perf_counter() - began)
            seconds, _, energies = ours(geometries, 1)
            rows["one"].append(seconds)
            seconds, pool, parallel = ours(geometries, 2)
            rows["two"].append(seconds)
            rows["pool"].append(pool)
            assert np.allclose(energies, reference, atol=2e-3)
            assert np.allclose(parallel, energies, atol=2e-3)
    median = {name: statistics.median(values) for name, values in rows.items()}
    print(
        json.dumps(
            {
                "starts": len(geometries),
                "repeat": options.repeat,
                "seconds": rows,
                "overhead_one_core": median["one"] / median["plain"] - 1,
                "speedup_two_cores": median["one"] / median["two"],
                "faster_than_plain_two_cores": median["plain"] / median["two"],
                "speedup_two_cores_with_pool_start": median["one"] / (median["two"] + median["pool"]),
                "load_before": load,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
