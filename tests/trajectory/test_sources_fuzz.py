"""Damaged files of every format: a result or an error in one line; no crash, no hang, bounded memory.

The files are opened in a process of their own, with a limit to its memory, compiled kernels checking their bounds, and
every warning an error. Run as a script, this file is that process.
"""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

KINDS = (
    "dcd", "xtc", "xtc-few", "trr", "data", "extxyz", "xyz.gz", "XDATCAR", "XDATCAR-npt", "gro", "pdb", "netcdf", "netcdf4",
    "h5md", "traj", "npy", "npz", "psf", "md.json",
)  # fmt: skip
MEMORY_BYTES, SECONDS_PER_FILE = 4 << 30, 60
LONGEST_MESSAGE = 700


def honest_files(folder):
    """One small honest file of every kind, written with independent packages."""
    import gzip
    import shutil

    import ase.io
    import h5py
    import MDAnalysis
    import MDAnalysisTests
    import netCDF4
    from ase import Atoms

    rng = np.random.default_rng(0)
    cell = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 1.5, 7.0]])
    images = [
        Atoms("Li6O6", positions=rng.uniform(0, 7, (12, 3)), cell=cell * (1 + k / 100), pbc=True) for k in range(4)
    ]
    made = {kind: folder / kind for kind in KINDS}
    universe = MDAnalysis.Universe.empty(12, trajectory=True)
    few = MDAnalysis.Universe.empty(5, trajectory=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, suffix in (("dcd", "dcd"), ("xtc", "xtc"), ("trr", "trr"), ("netcdf", "ncdf")):
            path = str(folder / f"t.{suffix}")
            with MDAnalysis.Writer(path, 12) as writer:
                for image in images:
                    universe.atoms.positions = image.positions
                    universe.dimensions = image.cell.cellpar()
                    writer.write(universe.atoms)
            shutil.move(path, made[kind])
        with MDAnalysis.Writer(str(folder / "few.xtc"), 5) as writer:
            for _ in range(4):
                writer.write(few.atoms)
    shutil.move(folder / "few.xtc", made["xtc-few"])
    ase.io.write(made["extxyz"], images, format="extxyz")
    made["xyz.gz"].write_bytes(gzip.compress(made["extxyz"].read_bytes()))
    ase.io.write(made["XDATCAR-npt"], images, format="vasp-xdatcar")
    ase.io.write(made["XDATCAR"], [images[0]] * 4, format="vasp-xdatcar")
    ase.io.write(made["pdb"], images, format="proteindatabank")
    ase.io.write(made["traj"], images, format="traj")
    data = Path(MDAnalysisTests.__path__[0]) / "data"
    shutil.copy(data / "two_water_gro_multiframe.gro", made["gro"])
    shutil.copy(data / "watdyn.psf", made["psf"])
    np.save(folder / "a.npy", [image.positions for image in images])
    shutil.move(folder / "a.npy", made["npy"])
    np.savez(folder / "a.npz", positions=[image.positions for image in images], elements=["Li"] * 6 + ["O"] * 6)
    shutil.move(folder / "a.npz", made["npz"])
    with h5py.File(made["h5md"], "w") as file:
        places = np.array([image.positions for image in images])
        group = file.create_group("particles/all")
        group.create_dataset("position/value", data=places, chunks=(1, 12, 3), compression="gzip").attrs["unit"] = "nm"
        group.create_dataset("position/step", data=[0, 1, 2, 3])
        group.create_dataset("position/time", data=[0.0, 1, 2, 3]).attrs["unit"] = "ps"
        group.create_dataset("box/edges/value", data=[cell] * 4)
    with netCDF4.Dataset(made["netcdf4"], "w") as file:
        for name, size in (("frame", 4), ("atom", 12), ("spatial", 3)):
            file.createDimension(name, size)
        file.createVariable("coordinates", "f4", ("frame", "atom", "spatial"), zlib=True)[:] = places
        file.createVariable("cell_lengths", "f8", ("frame", "spatial"))[:] = 9
        file.createVariable("time", "f8", ("frame",))[:] = range(4)
        file["time"].units = "picosecond"
    header = "LAMMPS data file, units = real\n\n12 atoms\n2 atom types\n2 bonds\n1 bond types\n\n0 9 xlo xhi\n0 8 ylo yhi\n0 7 zlo zhi\n"
    rows = "\n".join(
        f"{k + 1} {k // 3} {1 + k // 6} 0.5 {x} {y} {z} 0 0 0" for k, (x, y, z) in enumerate(images[0].positions)
    )
    rest = "\nMasses\n\n1 6.94 # Li\n2 15.999 # O\n\nAtoms # full\n\n" + rows + "\n\nBonds\n\n1 1 1 2\n2 1 2 3\n"
    made["data"].write_text(header + rest)
    run = {"topology": "system.data", "trajectory": "t.xyz", "frame_spacing_ps": 1.0, "units": "real"}
    made["md.json"].write_text(json.dumps(run))
    return {kind: path.read_bytes() for kind, path in made.items()}


NAMES = {
    "extxyz": "t.xyz",
    "xyz.gz": "t.xyz.gz",
    "netcdf": "t.nc",
    "netcdf4": "t.nc",
    "XDATCAR-npt": "XDATCAR",
    "data": "system.data",
}
WORDS = (
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e400",
    b"-9999999999999999999",
    b"99999999999",
    b"2147483647",
    b"x",
    b"\xff\xfe",
    b"",
)


def mutate(content, rng):
    """One to three random damages."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _damage(damaged, rng)
    return bytes(damaged)


def _damage(content, rng):
    size = len(content)
    if not size:
        return
    at = rng.randrange(size)
    # The beginning is where the counts are.
    early = rng.randrange(min(size, 300))
    length = rng.choice((1, 4, 37, 500))
    match rng.randrange(10):
        case 0:
            del content[at:]
        case 1:
            for _ in range(rng.choice((1, 3, 30))):
                content[rng.randrange(size)] = rng.randrange(256)
        case 2:
            content[early] = rng.randrange(256)
        case 3:
            place = rng.choice((at, early)) // 4 * 4
            content[place : place + 4] = rng.choice(
                (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x01")
            )
        case 4:
            del content[at : at + length]
        case 5:
            content[at:at] = content[early : early + length]
        case 6:
            content[at : at + length] = bytes(rng.randrange(256) for _ in range(length))
        case 7:
            content[at : at + length] = b"\0" * length
        case 8:
            words = list(re.finditer(rb"[^\s=\":]+", bytes(content)))
            if words:
                word = rng.choice(words[:40] if rng.random() < 0.5 else words)
                content[word.start() : word.end()] = rng.choice(WORDS)
        case 9:
            lines = bytes(content).split(b"\n")
            row = rng.randrange(len(lines))
            match rng.randrange(4):
                case 0:
                    del lines[row]
                case 1:
                    lines.insert(row, lines[rng.randrange(len(lines))])
                case 2:
                    lines[row] = lines[row] * 3000
                case 3:
                    lines[row : row + 2] = [b" ".join(lines[row : row + 2])]
            content[:] = b"\n".join(lines)


def try_one(kind, path):
    """Open a file and read all its frames; what was wrong, "" when it is a result or a proper error."""
    from atomflow.errors import AtomflowError
    from atomflow.trajectory import open_trajectory
    from atomflow.trajectory.file_sources import load_topology

    try:
        if kind in ("data", "psf"):
            topology = load_topology(path)[0]
            assert topology.n_atoms > 0
            assert len(topology.molecules) == topology.n_atoms
        else:
            trajectory = open_trajectory(path.parent if kind == "md.json" else path)
            count = 0
            for frame in trajectory.source.frames(range(trajectory.n_frames)):
                assert frame.positions_A.shape == (trajectory.n_atoms, 3)
                assert frame.positions_A.dtype.kind == "f"
                assert frame.cell_A is None or frame.cell_A.shape == (3, 3)
                count += 1
            assert count == trajectory.n_frames > 0
    except AtomflowError as error:
        text = str(error)
        if "\n" in text or len(text) > LONGEST_MESSAGE or not text.isprintable():
            return f"a message that is not one short line: {text[:200]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def run_batch(folder, kinds, seed, count):
    """Damage and open ``count`` files of every kind; one line of JSON per failure on standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    honest = {kind: (folder / "honest" / kind).read_bytes() for kind in kinds}
    for kind in kinds:
        home = folder / f"try-{kind}"
        home.mkdir(exist_ok=True)
        if kind == "md.json":
            (home / "t.xyz").write_bytes((folder / "honest/extxyz").read_bytes())
            (home / "system.data").write_bytes((folder / "honest/data").read_bytes())
        path = home / NAMES.get(kind, kind if kind in ("XDATCAR", "md.json") else f"t.{kind.partition('-')[0]}")
        # Those of the HDF5 library are each tried in one more process.
        for number in range(count if kind not in ("h5md", "netcdf4") else count // 4 + 1):
            content = honest[kind] if number == 0 else mutate(honest[kind], random.Random(f"{kind}-{seed}-{number}"))
            # A new file every time: the HDF5 library knows an open one again.
            path.unlink(missing_ok=True)
            path.write_bytes(content)
            (folder / "now").write_text(f"{kind} {seed} {number}")
            signal.alarm(SECONDS_PER_FILE)
            started = time.monotonic()
            wrong = try_one(kind, path)
            signal.alarm(0)
            if wrong or (number == 0 and time.monotonic() - started > SECONDS_PER_FILE):
                kept = folder / f"failed-{kind}-{seed}-{number}"
                kept.write_bytes(content)
                sys.stdout.write(json.dumps([kind, number, wrong, str(kept)]) + "\n")
                sys.stdout.flush()


def fuzz(folder, kinds, seed, count):
    """What went wrong in a process of its own."""
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder / "cache"), "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, __file__, str(folder), ",".join(kinds), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60 + 5 * count * len(kinds))
    wrong = done.stdout.splitlines()
    if done.returncode:
        wrong.append(
            f"the process ended with {done.returncode} at {(folder / 'now').read_text()}: {done.stderr[-500:]}"
        )
    return wrong


@pytest.fixture(scope="module")
def playground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "honest").mkdir()
    for kind, content in honest_files(folder / "honest").items():
        (folder / "honest" / kind).write_bytes(content)
    return folder


def test_a_few_damaged_files_of_every_kind(playground):
    assert not fuzz(playground, KINDS, seed=0, count=6)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [KINDS[:4], KINDS[4:9], KINDS[9:14], KINDS[14:]], ids=lambda kinds: "+".join(kinds))
def test_many_damaged_files(playground, kinds):
    """Two thousand of them."""
    assert not fuzz(playground, kinds, seed=1, count=120)


if __name__ == "__main__":
    run_batch(Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4]))
