"""Reading, RDF, MSD and shells beside the peers: processor time on the same files, reading included, one thread.

Run: python benchmarks/analysis.py --out benchmarks/analysis.json        (15 minutes; --quick: 2)

Needs the peers beside atomflow: freud-analysis, tidynamics, solvation-analysis, mdtraj, ovito. One that is missing is
left out and named. Every measurement runs in a process of its own, the median of ``--repeat``. What a reader costs
alone stands beside each ratio, as does reading the bytes (`cat` into a buffer).

The input is fixed here: random positions at 0.1 atoms/A3 in five species, of which two are rare (2 % each) and three
abundant (32 % each), in cubic boxes of 5k, 20k and 100k atoms; r_max 10 A, 200 bins. *Rare*: the five pairs of the
first rare species with each species. *All*: the fifteen pairs.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import multiprocessing as mp
import resource
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
SHARES = {"1": 0.02, "2": 0.02, "3": 0.32, "4": 0.32, "5": 0.32}
DENSITY_PER_A3 = 0.1
R_MAX_A, BINS = 10.0, 200
RARE = [("1", other) for other in SHARES]
ALL = [(a, b) for a in SHARES for b in SHARES if a <= b]


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_MB():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ------------------------------------------------------------------ the input


def composition(n_atoms):
    counts = [round(share * n_atoms) for share in SHARES.values()]
    counts[-1] += n_atoms - sum(counts)
    return np.repeat(list(SHARES), counts)


def write_gas(folder, n_atoms, n_frames, with_dump=True):
    """The same random frames as dcd and as a LAMMPS dump; a data file names the types."""
    import MDAnalysis as mda

    edge = (n_atoms / DENSITY_PER_A3) ** (1 / 3)
    types = composition(n_atoms)
    rng = np.random.default_rng(n_atoms)
    stem = folder / f"gas-{n_atoms}"
    universe = mda.Universe.empty(n_atoms, trajectory=True)
    with (
        mda.Writer(f"{stem}.dcd", n_atoms, dt=1.0) as dcd,
        open(f"{stem}.lammpstrj", "w", encoding="ascii") as dump,
    ):
        for frame in range(n_frames):
            positions = (rng.random((n_atoms, 3)) * edge).astype(np.float32)
            universe.atoms.positions = positions
            universe.dimensions = [edge, edge, edge, 90, 90, 90]
            dcd.write(universe.atoms)
            if not with_dump:
                continue
            dump.write(
                f"ITEM: TIMESTEP\n{frame * 1000}\nITEM: NUMBER OF ATOMS\n{n_atoms}\nITEM: BOX BOUNDS pp pp pp\n"
                + f"0 {edge:.8f}\n" * 3
                + "ITEM: ATOMS id type x y z\n"
            )
            rows = zip(range(1, n_atoms + 1), types, *positions.T.astype(float), strict=True)
            dump.write("".join(f"{i} {t} {x:.6f} {y:.6f} {z:.6f}\n" for i, t, x, y, z in rows))
    write_data(Path(f"{stem}.data"), types, edge, positions)
    return stem


def write_data(path, types, edge, positions):
    lines = ["random gas", "", f"{len(types)} atoms", f"{len(SHARES)} atom types", ""]
    lines += [f"0 {edge:.8f} {axis}lo {axis}hi" for axis in "xyz"]
    lines += ["", "Masses", ""] + [f"{kind} {10.0 * int(kind)}" for kind in SHARES] + ["", "Atoms # atomic", ""]
    lines += [
        f"{i + 1} {t} {x:.5f} {y:.5f} {z:.5f}" for i, (t, (x, y, z)) in enumerate(zip(types, positions, strict=True))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def write_walk(folder, n_particles, n_frames):
    """A Brownian walk, unwrapped, without a cell, as dcd."""
    import MDAnalysis as mda

    rng = np.random.default_rng(1)
    path = folder / f"walk-{n_particles}-{n_frames}.dcd"
    universe = mda.Universe.empty(n_particles, trajectory=True)
    positions = rng.random((n_particles, 3)) * 50
    with mda.Writer(str(path), n_particles, dt=1.0) as dcd:
        for _ in range(n_frames):
            universe.atoms.positions = positions
            dcd.write(universe.atoms)
            positions += rng.normal(0.0, 0.3, positions.shape)
    return path


# ------------------------------------------------------------------ reading


def bytes_alone(path):
    began = cpu()
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return cpu() - began


def read_atomflow(path, top, n):
    from atomflow.trajectory.dump import LammpsDump

    began = cpu()
    source = LammpsDump(path)
    total = sum(float(frame.positions_A[0, 0]) for frame in source.frames(range(n)))
    return {"cpu_s": cpu() - began, "check": total}


def read_mdanalysis(path, top, n):
    import MDAnalysis as mda

    began = cpu()
    universe = mda.Universe(str(path), format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
    total = sum(float(ts.positions[0, 0]) for ts in universe.trajectory[:n])
    return {"cpu_s": cpu() - began, "check": total}


def read_ase(path, top, n):
    from ase.io import iread

    began = cpu()
    total = sum(float(atoms.positions[0, 0]) for atoms in iread(str(path), f":{n}", format="lammps-dump-text"))
    return {"cpu_s": cpu() - began, "check": total}


def read_mdtraj(path, top, n):
    from mdtraj.formats import LAMMPSTrajectoryFile

    began = cpu()
    total = 0.0
    with LAMMPSTrajectoryFile(str(path)) as file:
        for _ in range(n):
            xyz, *_ = file.read(n_frames=1)
            total += float(xyz[0, 0, 0])
    return {"cpu_s": cpu() - began, "check": total}


def read_ovito(path, top, n):
    from ovito.io import import_file

    began = cpu()
    pipeline = import_file(str(path), sort_particles=True)
    total = 0.0
    for frame in range(n):
        total += float(pipeline.compute(frame).particles.positions[0, 0])
    return {"cpu_s": cpu() - began, "check": total}


# ------------------------------------------------------------------ radial distributions


def species_of(pairs):
    return {name: f"type {name}" for name in sorted({name for pair in pairs for name in pair})}


def rdf_atomflow(path, top, n, pairs):
    from atomflow.analysis import RDF
    from atomflow.trajectory import open_trajectory

    began = cpu()
    trajectory = open_trajectory(path, top, dt_ps=1.0)
    names = [f"{a}:{b}" for a, b in pairs]
    found = RDF(trajectory, names, species_of(pairs), r_max_A=R_MAX_A, bin_A=R_MAX_A / BINS).run(stop=n).results
    return {"cpu_s": cpu() - began, "check": float(found[names[-1]].counts.sum())}


def rdf_mdanalysis(path, top, n, pairs):
    import MDAnalysis as mda
    from MDAnalysis.analysis.rdf import InterRDF

    began = cpu()
    universe = mda.Universe(str(top), str(path), topology_format="DATA", atom_style="id type x y z")
    groups = {name: universe.select_atoms(words) for name, words in species_of(pairs).items()}
    for a, b in pairs:
        block = (1, 1) if a == b else None
        rdf = InterRDF(groups[a], groups[b], nbins=BINS, range=(0.0, R_MAX_A), exclusion_block=block).run(stop=n)
    return {"cpu_s": cpu() - began, "check": float(rdf.results.count.sum())}


def rdf_freud(path, top, n, pairs):
    import freud
    import MDAnalysis as mda

    freud.parallel.set_num_threads(1)
    began = cpu()
    universe = mda.Universe(str(top), str(path), topology_format="DATA", atom_style="id type x y z")
    groups = {name: universe.select_atoms(words).indices for name, words in species_of(pairs).items()}
    rdfs = {pair: freud.density.RDF(bins=BINS, r_max=R_MAX_A) for pair in pairs}
    for ts in universe.trajectory[:n]:
        box = freud.box.Box.cube(ts.dimensions[0])
        trees = {}
        for a, b in pairs:
            # A tree for each species and frame, shared by its pairs.
            if b not in trees:
                trees[b] = freud.locality.AABBQuery(box, ts.positions[groups[b]])
            query = None if a == b else ts.positions[groups[a]]
            rdfs[a, b].compute(trees[b], query_points=query, reset=False)
    return {"cpu_s": cpu() - began, "check": float(rdfs[pairs[-1]].bin_counts.sum())}


# ------------------------------------------------------------------ mean square displacement


def msd_atomflow(path, top, n):
    from atomflow.analysis import MSD
    from atomflow.trajectory import open_trajectory

    began = cpu()
    trajectory = open_trajectory(path, dt_ps=1.0)
    found = MSD(trajectory, species={"all": "all"}, unwrap="none", drift="none").run(stop=n).results
    return {"cpu_s": cpu() - began, "check": float(found.species["all"].msd_A2[10])}


def unnamed(path):
    """A Universe of a dcd without a topology."""
    import MDAnalysis as mda
    from MDAnalysis.lib.formats.libdcd import DCDFile

    with DCDFile(str(path)) as file:
        universe = mda.Universe.empty(file.header["natoms"])
    return universe.load_new(str(path))


def msd_tidynamics(path, top, n):
    import tidynamics

    began = cpu()
    universe = unnamed(path)
    positions = universe.trajectory.timeseries(order="afc", stop=n).astype(float)
    # tidynamics takes one particle at a time; its mean over them is what both report.
    total = sum(tidynamics.msd(one) for one in positions) / len(positions)
    return {"cpu_s": cpu() - began, "check": float(total[10])}


def msd_mdanalysis(path, top, n):
    from MDAnalysis.analysis.msd import EinsteinMSD

    began = cpu()
    universe = unnamed(path)
    found = EinsteinMSD(universe, select="all", msd_type="xyz", fft=True).run(stop=n)
    return {"cpu_s": cpu() - began, "check": float(found.results.timeseries[10])}


# ------------------------------------------------------------------ shells


def electrolyte(folder, copies):
    """LiPF6 in butyronitrile and FEC, from solvation-analysis' own data, its few frames repeated."""
    import MDAnalysis as mda
    import solvation_analysis

    home = Path(solvation_analysis.__file__).parent / "tests" / "data" / "bn_fec_data"
    universe = mda.Universe(str(home / "bn_fec.data"), str(home / "bn_fec_short_wrap.dcd"))
    path = folder / "bn_fec.dcd"
    with mda.Writer(str(path), universe.atoms.n_atoms, dt=1.0) as dcd:
        for _ in range(copies):
            for _ in universe.trajectory:
                dcd.write(universe.atoms)
    return home / "bn_fec.data", path, copies * len(universe.trajectory)


#: As in solvation-analysis' own tests: all atoms of a molecule may hold the ion, by these radii.
SHELL = {
    "PF6": (2.8, "byres element P"),
    "BN": (2.61468, "byres element N"),
    "FEC": (2.43158, "byres (element C and bonded (element F and not bonded element P))"),
}


def shell_groups(universe):
    """Lithium, and the molecules by the number of their atoms."""
    counts = np.bincount(universe.atoms.resindices)
    sizes = counts[universe.atoms.resindices]
    groups = {"PF6": 7, "BN": 12, "FEC": 10}
    return universe.atoms[sizes == 1], {name: universe.atoms[sizes == size] for name, size in groups.items()}


def shells_atomflow(path, top, n):
    import MDAnalysis as mda

    from atomflow.analysis import Shells
    from atomflow.trajectory import open_trajectory

    began = cpu()
    lithium, ligands = shell_groups(mda.Universe(str(top)))
    trajectory = open_trajectory(path, top, dt_ps=1.0)
    found = Shells(
        trajectory, "Li", {name: group.indices for name, group in ligands.items()},
        {name: SHELL[name][0] for name in ligands}, species={"Li": lithium.indices}, anions=["PF6"],
    ).run(stop=n).results  # fmt: skip
    return {"cpu_s": cpu() - began, "check": found.ligands["BN"].mean_molecules}


def shells_solvation_analysis(path, top, n):
    import MDAnalysis as mda
    from solvation_analysis.solute import Solute

    began = cpu()
    universe = mda.Universe(str(top), str(path))
    lithium, ligands = shell_groups(universe)
    solute = Solute.from_atoms(
        lithium, ligands, radii={name: SHELL[name][0] for name in ligands}, skip_rdf=True,
        analysis_classes=["speciation", "coordination"],
    )  # fmt: skip
    solute.run(stop=n)
    return {"cpu_s": cpu() - began, "check": float(solute.coordination.coordination_numbers["BN"])}


# ------------------------------------------------------------------ workers and memory


def two_workers(path, top, n):
    """Wall time of one and two local processes, started and warmed before."""
    from loky import get_reusable_executor

    from atomflow.analysis import RDF
    from atomflow.trajectory import open_trajectory

    trajectory = open_trajectory(path, top, dt_ps=1.0)
    names = [f"{a}:{b}" for a, b in ALL]
    rdf = RDF(trajectory, names, species_of(ALL), r_max_A=R_MAX_A, bin_A=R_MAX_A / BINS)
    pool = get_reusable_executor(max_workers=2, timeout=600)
    rdf.run(stop=4, workers=2, executor=pool)
    found = {}
    for workers in (1, 2):
        began = time.perf_counter()
        rdf.run(stop=n, workers=workers, executor=pool if workers > 1 else None)
        found[f"wall_s_{workers}"] = time.perf_counter() - began
    pool.shutdown()
    began = time.perf_counter()
    rdf.run(stop=n, workers=2)
    found["wall_s_2_started_anew"] = time.perf_counter() - began
    return {**found, "ratio": found["wall_s_1"] / found["wall_s_2"], "load": os.getloadavg()[0]}


def memory_of_rdf(path, top, n):
    return {**rdf_atomflow(path, top, n, RARE), "peak_MB": peak_MB()}


def memory_of_msd(n_particles, n_frames):
    """Brownian paths made on the fly, so that no file of this length is needed."""
    from atomflow.analysis import MSD
    from atomflow.trajectory import open_trajectory

    class Walk:
        name, n_atoms, layout, notices = "walk", n_particles, "unwrapped", ()

        def __init__(self):
            self.n_frames = n_frames

        def frames(self, indices, atoms=None):
            from atomflow.trajectory import Frame

            rng = np.random.default_rng(0)
            positions = np.zeros((n_particles, 3))
            for index in indices:
                positions = positions + rng.normal(0.0, 0.3, positions.shape)
                yield Frame(index, positions if atoms is None else positions[atoms])

    from atomflow.trajectory import Clock, Topology, Trajectory

    trajectory = Trajectory(Walk(), Topology(n_particles), Clock(np.arange(float(n_frames)), "made up"))
    began, wall = cpu(), time.perf_counter()
    groups = {"all": np.arange(n_particles)}
    one = MSD(open_trajectory(trajectory), species=groups, unwrap="none", drift="none").run().results.species["all"]
    return {
        "cpu_s": cpu() - began,
        "wall_s": time.perf_counter() - wall,
        "peak_MB": peak_MB(),
        "check": one.slope_A2_per_ps,
        "expected": 3 * 0.3**2,
    }


def compile_cost():
    """First use with an empty cache of compiled code, and with a full one."""
    import subprocess
    import sys

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        stem = write_gas(Path(folder), 1000, 2)
        words = f"import benchmarks.analysis as b; print(b.rdf_atomflow({f'{stem}.dcd'!r}, {f'{stem}.data'!r}, 2, b.RARE)['cpu_s'] + b.read_atomflow({f'{stem}.lammpstrj'!r}, {f'{stem}.data'!r}, 2)['cpu_s'])"
        for label in ("empty_cache_cpu_s", "full_cache_cpu_s"):
            env = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(Path(__file__).parents[1])}
            done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=env, check=True)
            found[label] = float(done.stdout)
    return found


# ------------------------------------------------------------------ the run


def in_process(target, *arguments):
    """Run in a process of its own, after a run on little that loads what it imports."""
    # Not a pool's process: those may have no children, and two workers are.
    with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn")) as pool:
        try:
            return pool.submit(target, *arguments).result()
        except Exception as error:
            return {"missing": f"{type(error).__name__}: {error}"[:160]}


def warmed(target, small, large):
    """Twice in one process: on little, so that imports and compiled code are there, then the measurement."""
    target(*small)
    return target(*large)


def beside(title, ours, peers, small, large, repeat, per):
    """One table: seconds of processor time for each unit, and how many times ours."""
    rows = {}
    for name, target in {"atomflow": ours, **peers}.items():
        runs = [in_process(warmed, target, small, large) for _ in range(repeat)]
        if "missing" in runs[0]:
            rows[name] = runs[0]
            continue
        rows[name] = {"ms": 1e3 * statistics.median(run["cpu_s"] for run in runs) / per, "check": runs[0]["check"]}
    own = rows["atomflow"].get("ms")
    for row in rows.values():
        if "ms" in row and own:
            row["ratio"] = row["ms"] / own
    told = ", ".join(
        f"{name} {row['ms']:.3g} ms ({row.get('ratio', 0):.1f}x)" if "ms" in row else f"{name}: {row['missing']}"
        for name, row in rows.items()
    )
    print(f"{title}: {told}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="only the small boxes, one repetition")
    parser.add_argument("--folder", type=Path, help="where the made files go [a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), 1 if options.quick else options.repeat, options.quick)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(folder, repeat, quick):
    found = {"input": __doc__.split("\n\n")[3].replace("\n", " "), "load_before": os.getloadavg()[0]}
    packages = (
        "freud-analysis",
        "MDAnalysis",
        "tidynamics",
        "solvation-analysis",
        "mdtraj",
        "ovito",
        "ase",
        "numpy",
        "numba",
    )
    found["packages"] = {}
    for name in packages:
        try:
            found["packages"][name] = version(name)
        except PackageNotFoundError:
            found["packages"][name] = "not here"
    found["compiling"] = compile_cost()
    sizes = {5_000: (300, 6), 20_000: (240, 3), 100_000: (150, 2)}
    if quick:
        sizes = {5_000: (10, 3)}
    for n_atoms, (frames, fewer) in sizes.items():
        stem = write_gas(folder, n_atoms, frames)
        dump, dcd, top = f"{stem}.lammpstrj", f"{stem}.dcd", f"{stem}.data"
        bytes_ms = 1e3 * statistics.median(bytes_alone(dump) for _ in range(5)) / frames
        readers = {"MDAnalysis": read_mdanalysis, "ase": read_ase, "mdtraj": read_mdtraj, "ovito": read_ovito}
        table = beside(
            f"dump, {n_atoms} atoms, a frame",
            read_atomflow,
            readers,
            (dump, top, 2),
            (dump, top, frames),
            repeat,
            frames,
        )
        found[f"dump_{n_atoms}"] = {**table, "bytes_alone_ms": bytes_ms}
        print(f"  the bytes alone: {bytes_ms:.3g} ms", flush=True)
        for label, pairs in (("rare", RARE), ("all", ALL)):
            few = fewer if label == "all" else frames
            peers = {"freud": rdf_freud, "MDAnalysis": rdf_mdanalysis}
            if n_atoms > (5_000 if label == "all" else 20_000):
                del peers["MDAnalysis"]  # seconds to minutes a frame
            found[f"rdf_{label}_{n_atoms}"] = beside(
                f"RDF, {label}, {n_atoms} atoms, a frame", rdf_atomflow, peers,
                (dcd, top, 2, pairs), (dcd, top, few, pairs), repeat, few,
            )  # fmt: skip
    particles, frames = (100, 2_000) if quick else (500, 10_000)
    walk = write_walk(folder, particles, frames)
    found["msd"] = beside(
        f"MSD, {particles} particles, {frames} frames", msd_atomflow, {"tidynamics": msd_tidynamics, "MDAnalysis": msd_mdanalysis},
        (walk, None, 50), (walk, None, frames), repeat, 1,
    )  # fmt: skip
    top, dcd, frames = electrolyte(folder, 2 if quick else 60)
    found["shells"] = beside(
        "shells, LiPF6 in BN and FEC, a frame", shells_atomflow, {"solvation-analysis": shells_solvation_analysis},
        (dcd, top, 2), (dcd, top, frames), repeat, frames,
    )  # fmt: skip
    stem = write_gas(folder, 20_000, 20 if quick else 160, with_dump=False)
    found["workers"] = in_process(two_workers, f"{stem}.dcd", f"{stem}.data", 20 if quick else 160)
    print("workers", found["workers"], flush=True)
    if not quick:
        stem = write_gas(folder, 100_000, 1_000, with_dump=False)
        for frames in (100, 1_000):
            found[f"memory_rdf_100k_{frames}"] = in_process(memory_of_rdf, f"{stem}.dcd", f"{stem}.data", frames)
        found["memory_msd_2500_x_100000"] = in_process(memory_of_msd, 2_500, 100_000)
        print({key: value for key, value in found.items() if key.startswith("memory")}, flush=True)
    found["load_after"] = os.getloadavg()[0]
    return found


if __name__ == "__main__":
    main()
