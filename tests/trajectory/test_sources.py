"""Frames of every format, against MDAnalysis and ASE, and against what was written."""

import bz2
import gzip
import itertools
import pickle
import shutil
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import h5py
import MDAnalysis
import MDAnalysisTests
import netCDF4
import numpy as np
import pytest
from ase import Atoms
from MDAnalysis.coordinates.DCD import DCDReader, DCDWriter
from MDAnalysis.coordinates.H5MD import H5MDReader
from MDAnalysis.coordinates.TRJ import NCDFReader
from MDAnalysis.coordinates.TRR import TRRReader
from MDAnalysis.coordinates.XTC import XTCReader
from MDAnalysis.transformations import translate
from MDAnalysisTests import datafiles
from pymatgen.core import Lattice, Structure
from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory
from pymatgen.io.vasp.outputs import Xdatcar

from atomflow.errors import BadFileError, BadOptionError, TrajectoryError
from atomflow.trajectory import array_source, text_source
from atomflow.trajectory.array_source import ArraySource, WithCell, cell_matrix, read_npy, read_npz
from atomflow.trajectory.ase_source import AseSource, pymatgen_source
from atomflow.trajectory.dcd_source import DcdSource
from atomflow.trajectory.hierarchical_source import H5mdSource, NetcdfSource
from atomflow.trajectory.lammps_units import lammps_units
from atomflow.trajectory.mda_source import MDASource, source_of_universe, times_of_reader
from atomflow.trajectory.text_source import GroSource, XyzSource
from atomflow.trajectory.xdatcar_source import XdatcarSource
from atomflow.trajectory.xdr_source import TrrSource, XtcSource

DATA = Path(MDAnalysisTests.__path__[0]) / "data"
ROTATED = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [-2.0, 1.5, 7.0]])


def everything(source, atoms=None):
    return list(source.frames(range(source.n_frames), atoms))


def assert_as_mdanalysis(source, reader, atol=2e-5, cells=True):
    """Counts, coordinates, cells and times of all frames are those of a reader of MDAnalysis."""
    assert (source.n_frames, source.n_atoms) == (reader.n_frames, reader.n_atoms)
    for frame, moment in zip(everything(source), reader, strict=True):
        np.testing.assert_allclose(frame.positions_A, moment.positions, atol=atol)
        if cells and moment.dimensions is None:
            assert frame.cell_A is None
        elif cells:
            np.testing.assert_allclose(frame.cell_A, moment.triclinic_dimensions, atol=1e-4)
        if frame.time_ps is not None:
            assert frame.time_ps == pytest.approx(moment.time, rel=1e-5)


@pytest.fixture
def copied(tmp_path):
    """A copy of a file, since MDAnalysis leaves an index beside an xtc."""

    def copy(path):
        return shutil.copy(path, tmp_path / Path(path).name)

    return copy


SOURCES = [
    (XtcSource, XTCReader, datafiles.XTC),
    (XtcSource, XTCReader, DATA / "cobrotoxin.xtc"),
    (XtcSource, XTCReader, DATA / "xtc_test_only_10_frame_10_atoms.xtc"),
    (XtcSource, XTCReader, DATA / "xyz_random_walk.xtc"),
    (TrrSource, TRRReader, datafiles.TRR),
    (TrrSource, TRRReader, DATA / "trr_test_only_10_frame_10_atoms.trr"),
    (TrrSource, TRRReader, DATA / "surface.trr"),
    (DcdSource, DCDReader, datafiles.DCD),
    (DcdSource, DCDReader, DATA / "adk_gbis_tmd-fast1_NAMD.dcd"),
    (DcdSource, DCDReader, DATA / "SiN_tric_namd.dcd"),
    (DcdSource, DCDReader, DATA / "watdyn.dcd"),
    (DcdSource, DCDReader, DATA / "lammps/ifabp_apo_100mM.dcd"),
    (NetcdfSource, NCDFReader, DATA / "Amber/bala.ncdf"),
    (NetcdfSource, NCDFReader, DATA / "Amber/ace_tip3p.nc"),
    (NetcdfSource, NCDFReader, DATA / "Amber/tz2.truncoct.nc"),
    (NetcdfSource, NCDFReader, DATA / "Amber/posfor.ncdf"),
    (H5mdSource, H5MDReader, DATA / "cobrotoxin.h5md"),
    (H5mdSource, H5MDReader, DATA / "cu.h5md"),
]


@pytest.mark.parametrize(("ours", "theirs", "path"), SOURCES, ids=lambda x: x.name if isinstance(x, Path) else None)
@pytest.mark.filterwarnings("ignore")
def test_files_of_mdanalysis(ours, theirs, path, copied):
    assert_as_mdanalysis(ours(path), theirs(str(copied(path))))


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.positions_A, b.positions_A)
        assert (a.index, a.time_ps, a.step) == (b.index, b.time_ps, b.step)
        assert (a.cell_A is None) == (b.cell_A is None)
        if a.cell_A is not None:
            np.testing.assert_array_equal(a.cell_A, b.cell_A)


@pytest.fixture
def of_each_kind(tmp_path):
    """A small source of every kind, five frames of twelve atoms."""
    rng = np.random.default_rng(1)
    images = [Atoms("Li4O8", positions=rng.uniform(0, 7, (12, 3)), cell=ROTATED, pbc=True) for _ in range(5)]
    ase.io.write(tmp_path / "t.extxyz", images)
    ase.io.write(tmp_path / "t.traj", images)
    ase.io.write(tmp_path / "XDATCAR", images, format="vasp-xdatcar")
    (tmp_path / "t.extxyz.gz").write_bytes(gzip.compress((tmp_path / "t.extxyz").read_bytes()))
    np.save(tmp_path / "t.npy", [image.positions for image in images])
    structures = [Structure(ROTATED, image.get_chemical_symbols(), image.get_scaled_positions()) for image in images]
    ase.io.write(tmp_path / "t.pdb", images)
    return {
        "extxyz": XyzSource(tmp_path / "t.extxyz"),
        "packed": XyzSource(tmp_path / "t.extxyz.gz"),
        "traj": AseSource(tmp_path / "t.traj"),
        "list": AseSource(images),
        "xdatcar": XdatcarSource(tmp_path / "XDATCAR"),
        "npy": read_npy(tmp_path / "t.npy", ROTATED),
        "pymatgen": pymatgen_source(structures)[0],
        "pdb": MDASource(tmp_path / "t.pdb", "PDB"),
        "xtc": XtcSource(DATA / "xtc_test_only_10_frame_10_atoms.xtc"),
        "trr": TrrSource(DATA / "trr_test_only_10_frame_10_atoms.trr"),
        "dcd": DcdSource(DATA / "watdyn.dcd"),
        "h5md": H5mdSource(DATA / "cu.h5md"),
        "netcdf": NetcdfSource(DATA / "Amber/bala.ncdf"),
        "gro": GroSource(DATA / "two_water_gro_multiframe.gro"),
        "universe": source_of_universe(MDAnalysis.Universe(str(tmp_path / "t.pdb"))),
    }


def test_any_order_some_atoms_again_and_in_another_process(of_each_kind):
    for kind, source in of_each_kind.items():
        whole = everything(source)
        assert len(whole) == source.n_frames > 1, kind
        same(whole, everything(source))
        there = pickle.loads(pickle.dumps(source))
        same(whole, everything(there))
        assert (there.n_atoms, there.n_frames, there.name) == (source.n_atoms, source.n_frames, source.name)
        atoms = np.array([4, 0, 5])
        order = [1, 0, 1]
        for frame, index in zip(source.frames(order, atoms), order, strict=True):
            assert frame.index == index
            np.testing.assert_array_equal(frame.positions_A, whole[index].positions_A[atoms])


def test_frames_do_not_change_when_the_next_is_read(of_each_kind):
    for kind, source in of_each_kind.items():
        frames = source.frames([0, 1])
        first = next(frames)
        before = first.positions_A.copy()
        next(frames)
        np.testing.assert_array_equal(first.positions_A, before, err_msg=kind)


def test_threads_may_share_a_source(of_each_kind):
    for kind, source in of_each_kind.items():
        whole = everything(source)
        with ThreadPoolExecutor(4) as pool:
            sweeps = list(pool.map(lambda _, s=source: everything(s), range(8)))
        for sweep in sweeps:
            assert all(np.array_equal(a.positions_A, b.positions_A) for a, b in zip(whole, sweep, strict=True)), kind


def cut(path, target, count):
    content = Path(path).read_bytes()
    target.write_bytes(content[: len(content) - count])
    return target


@pytest.mark.parametrize(
    ("source", "path", "frames"),
    [
        (XtcSource, DATA / "cobrotoxin.xtc", 2),
        (XtcSource, DATA / "xtc_test_only_10_frame_10_atoms.xtc", 9),
        (TrrSource, DATA / "trr_test_only_10_frame_10_atoms.trr", 9),
        (DcdSource, DATA / "watdyn.dcd", 9),
        (XyzSource, DATA / "2r9r-1b.xyz", 9),
        (GroSource, DATA / "two_water_gro_multiframe.gro", 1),
    ],
)
@pytest.mark.parametrize("count", [4, 50])
def test_a_truncated_file_gives_its_whole_frames_and_says_so(tmp_path, source, path, frames, count):
    shorter = source(cut(path, tmp_path / path.name, count))
    assert shorter.n_frames == frames
    assert [notice.code for notice in shorter.notices] == ["truncated"]
    for ours, whole in zip(everything(shorter), source(path).frames(range(frames)), strict=True):
        np.testing.assert_array_equal(ours.positions_A, whole.positions_A)


def test_what_is_no_frame_at_all(tmp_path):
    for source, path in (
        (XtcSource, DATA / "cobrotoxin.xtc"),
        (TrrSource, DATA / "surface.trr"),
        (DcdSource, DATA / "watdyn.dcd"),
    ):
        short = tmp_path / path.name
        short.write_bytes(path.read_bytes()[:300])
        with pytest.raises(BadFileError, match=r"ends within|is damaged"):
            source(short)


def test_an_xtc_with_a_wide_box_and_strange_precision(tmp_path):
    """Both ways of packing: together, and axis by axis where the box is too wide for that."""
    rng = np.random.default_rng(3)
    for reach, precision in ((5, 1000), (500, 1000), (60000, 1000), (5, 37), (9000, 100000)):
        universe = MDAnalysis.Universe.empty(50, trajectory=True)
        base = rng.uniform(-reach, reach, (10, 1, 3))
        universe.atoms.positions = (base + rng.normal(0, 0.8, (10, 5, 3))).reshape(-1, 3)
        path = str(tmp_path / f"{reach}_{precision}.xtc")
        with MDAnalysis.coordinates.XTC.XTCWriter(path, 50, precision=int(np.log10(precision) + 0.5)) as writer:
            writer.write(universe.atoms)
        ours, theirs = everything(XtcSource(path))[0], XTCReader(path)[0]
        np.testing.assert_allclose(ours.positions_A, theirs.positions, rtol=2e-7, atol=1e-5)
        np.testing.assert_allclose(ours.positions_A, universe.atoms.positions, atol=6 / precision, rtol=1e-6)


@pytest.mark.parametrize("n_atoms", [1, 9, 10, 11, 200])
def test_xtc_of_few_atoms(tmp_path, n_atoms):
    rng = np.random.default_rng(n_atoms)
    universe = MDAnalysis.Universe.empty(n_atoms, trajectory=True)
    universe.atoms.positions = rng.uniform(0, 30, (n_atoms, 3))
    universe.dimensions = [30, 31, 32, 80, 90, 70]
    path = str(tmp_path / "few.xtc")
    with MDAnalysis.Writer(path, n_atoms) as writer:
        writer.write(universe.atoms)
        writer.write(universe.atoms)
    assert_as_mdanalysis(XtcSource(path), XTCReader(path))


def test_no_index_files_are_left_beside_an_xtc(tmp_path):
    path = Path(shutil.copy(DATA / "cobrotoxin.xtc", tmp_path))
    everything(XtcSource(path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_trr_in_double_precision_and_frames_without_coordinates(tmp_path):
    def frame(step, places):
        n = 2
        sizes = [0, 0, 72, 0, 0, 0, 0, 24 * n if places is not None else 0, 24 * n, 0]
        head = struct.pack(">iii12s13i", 1993, 13, 12, b"GMX_trn_file", *sizes, n, step, 0)
        box = np.diag([1.0, 2.0, 3.0]).astype(">f8").tobytes()
        velocities = np.zeros((n, 3), ">f8").tobytes()
        coordinates = b"" if places is None else np.array(places, ">f8").tobytes()
        return head + struct.pack(">dd", step * 0.002, 0.0) + box + coordinates + velocities

    places = [[0.1, 0.2, 0.3], [0.4, 0.5, 1 / 3]]
    path = tmp_path / "double.trr"
    path.write_bytes(frame(0, places) + frame(5, None) + frame(10, places))
    source = TrrSource(path)
    assert source.n_frames == 2
    assert [notice.code for notice in source.notices] == ["frames-left-out"]
    last = everything(source)[1]
    assert last.positions_A.dtype == np.float64
    np.testing.assert_allclose(last.positions_A, 10 * np.array(places), rtol=1e-15)
    assert last.cell_A.diagonal().tolist() == [10, 20, 30]
    assert (last.step, last.time_ps) == (10, 0.02)


@pytest.mark.filterwarnings("ignore:Reader has no dt")
def test_times_that_a_file_does_not_know_are_none(tmp_path):
    universe = MDAnalysis.Universe.empty(12, trajectory=True)
    xtc, dcd = str(tmp_path / "t.xtc"), str(tmp_path / "t.dcd")
    with MDAnalysis.Writer(xtc, 12) as writer:
        for _ in range(3):
            universe.trajectory.ts.time = 0.0
            writer.write(universe.atoms)
    assert XtcSource(xtc).file_times_ps is None
    universe.dimensions = [9, 9, 9, 90, 90, 90]
    with DCDWriter(dcd, 12, dt=0.0) as writer:
        for _ in range(3):
            writer.write(universe.atoms)
    assert DcdSource(dcd).file_times_ps is None
    pdb = tmp_path / "t.pdb"
    ase.io.write(pdb, [Atoms("Li2", positions=[[0, 0, 0], [3, 0, 0]])] * 3)
    assert MDASource(pdb, "PDB").file_times_ps is None
    # The plugin of VMD and mdtraj, which puts a time step of one AKMA unit for want of a better.
    assert DcdSource(DATA / "SiN_tric_namd.dcd").file_times_ps is None


def test_a_dcd_of_lammps_counts_in_the_units_of_lammps():
    path = DATA / "lammps/ifabp_apo_100mM.dcd"
    assert DcdSource(path).file_times_ps is None
    assert DcdSource(path).steps.tolist() == [0, 250, 500, 750, 1000]
    np.testing.assert_allclose(DcdSource(path, lammps_units("real")).file_times_ps, [0, 0.5, 1, 1.5, 2])
    nano = everything(DcdSource(path, lammps_units("nano")))[0]
    np.testing.assert_allclose(nano.positions_A, 10 * everything(DcdSource(path))[0].positions_A)
    np.testing.assert_allclose(nano.cell_A, 10 * everything(DcdSource(path))[0].cell_A)


def nearest_oxygens(positions, cell):
    oxygens = positions[::3].astype(float)
    gaps = oxygens[:, None] - oxygens[None]
    images = [np.linalg.norm(gaps + np.array(n) @ cell, axis=2) for n in itertools.product((-1, 0, 1), repeat=3)]
    nearest = np.min(images, axis=0)
    return nearest[~np.eye(len(oxygens), dtype=bool)].min()


@pytest.mark.filterwarnings("ignore")
def test_a_triclinic_cell_of_charmm_is_a_symmetric_matrix():
    """MDAnalysis turns the cell and leaves the coordinates: two oxygens of water come out 0.7 A apart."""
    frame = everything(DcdSource(DATA / "tip125_tric_C36.dcd"))[9]
    reader = DCDReader(str(DATA / "tip125_tric_C36.dcd"))
    np.testing.assert_array_equal(frame.cell_A, frame.cell_A.T)
    assert abs(np.linalg.det(frame.cell_A)) == pytest.approx(
        abs(np.linalg.det(reader[9].triclinic_dimensions)), rel=0.5
    )
    assert nearest_oxygens(frame.positions_A, frame.cell_A) > 2.3
    assert nearest_oxygens(reader[9].positions, reader[9].triclinic_dimensions) < 1.0


def dcd(n_atoms=3, frames=2, order="<", numbers=(), title=b"test", tail=b"", version=24, cells=True):
    control = [frames, 0, 1, 0, 0, 0, 0, 0, 0, 0, int(cells), 0, 0, 0, 0, 0, 0, 0, 0, version]
    for place, value in numbers:
        control[place] = value
    raw = struct.pack(order + "i4s20ii", 84, b"CORD", *control, 84)
    raw += struct.pack(order + "ii80si", 84, 1, title, 84) + struct.pack(order + "3i", 4, n_atoms, 4)
    for frame in range(frames):
        if cells:
            raw += struct.pack(order + "i6di", 48, 10, 0, 11, 0, 0, 12, 48)
        for axis in range(3):
            values = np.arange(n_atoms) + frame + 10 * axis
            raw += struct.pack(order + f"i{n_atoms}fi", 4 * n_atoms, *values, 4 * n_atoms)
    return raw + tail


def test_dcd_of_the_other_byte_order_and_without_cells(tmp_path):
    path = tmp_path / "big.dcd"
    path.write_bytes(dcd(order=">"))
    frame = everything(DcdSource(path))[1]
    assert frame.positions_A.tolist() == [[1, 11, 21], [2, 12, 22], [3, 13, 23]]
    assert frame.cell_A.diagonal().tolist() == [10, 11, 12]
    path.write_bytes(dcd(cells=False))
    assert everything(DcdSource(path))[1].cell_A is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (dcd(numbers=[(8, 2)]), "2 fixed atoms"),
        (dcd(numbers=[(11, 1)]), "fourth dimension"),
        (dcd(n_atoms=3)[:150], "title"),
        (dcd(n_atoms=3)[:190], "ends within"),
        (dcd(frames=0), "ends within its first frame"),
        (b"TITLE" + dcd(), "not a dcd"),
        (dcd()[:92] + b"\xff" * 8 + dcd()[100:], "title"),
    ],
)
def test_dcd_files_that_cannot_be(tmp_path, content, says):
    path = tmp_path / "bad.dcd"
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=says):
        DcdSource(path)


def test_a_dcd_frame_whose_records_do_not_fit(tmp_path):
    content = bytearray(dcd())
    content[-4:] = b"\1\1\1\1"
    path = tmp_path / "bad.dcd"
    path.write_bytes(content)
    source = DcdSource(path)
    with pytest.raises(BadFileError, match="frame 1 is damaged"):
        everything(source)


def test_extended_xyz_as_ase_reads_it(tmp_path):
    rng = np.random.default_rng(2)
    images = []
    for step in range(4):
        atoms = Atoms("Li2OH", positions=rng.normal(0, 30, (4, 3)), cell=ROTATED * (1 + 0.01 * step), pbc=True)
        atoms.arrays["forces"] = rng.normal(0, 1, (4, 3))
        atoms.arrays["tags_of_mine"] = np.arange(4)
        atoms.info = {"energy": -1.5, "note": 'a "b" c', "time_fs": 500.0 * step}
        images.append(atoms)
    path = tmp_path / "t.extxyz"
    ase.io.write(path, images, columns=["tags_of_mine", "symbols", "forces", "positions"])
    source = XyzSource(path)
    assert source.names == ["Li", "Li", "O", "H"]
    assert source.file_times_ps.tolist() == [0, 0.5, 1.0, 1.5]
    for frame, image in zip(everything(source), ase.io.iread(path), strict=True):
        np.testing.assert_allclose(frame.positions_A, image.positions, atol=1e-12)
        np.testing.assert_allclose(frame.cell_A, np.array(image.cell), atol=1e-12)


def test_periodicity_of_extended_xyz(tmp_path):
    path = tmp_path / "t.xyz"
    for pbc, cells, codes in (("T T T", True, []), ("T T F", True, ["partly-periodic"]), ("F F F", False, [])):
        path.write_text(f'1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="{pbc}"\nLi 1 2 3\n')
        source = XyzSource(path)
        assert (everything(source)[0].cell_A is not None) == cells
        assert [notice.code for notice in source.notices] == codes


def test_cp2k_and_lammps_comments(tmp_path):
    path = tmp_path / "t.xyz"
    path.write_text("".join(f"1\n i = {5 * k}, time = {2.5 * k:.3f}, E = -17.2\nLi {k} 0 0\n" for k in range(3)))
    source = XyzSource(path)
    np.testing.assert_allclose(source.file_times_ps, [0, 0.0025, 0.005])
    assert source.steps.tolist() == [0, 5, 10]
    assert everything(source)[2].positions_A.tolist() == [[2, 0, 0]]
    path.write_text("".join(f"1\nAtoms. Timestep: {100 * k}\n1 {k} 0 0\n" for k in range(3)))
    assert XyzSource(path).steps.tolist() == [0, 100, 200]
    assert XyzSource(path).file_times_ps is None


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_xyz_whatever_it_is_called(tmp_path, pack):
    path = tmp_path / "trajectory"
    path.write_bytes(pack(b"1\n\nLi 1 2 3\n1\n\nLi 4 5 6\n"))
    assert everything(XyzSource(path))[1].positions_A.tolist() == [[4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2\n\nLi 0 0 0\nLi 0 0 0\n3\n\nLi 0 0 0\nLi 0 0 0\nLi 0 0 0\n", "frame 1 does not begin with the 2 atoms"),
        ("2\n\nLi 0 0 0\n", "ends within its first frame"),
        ("1\n\nLi 0 0 zero\n", "frame 0 cannot be read"),
        ("1\n\nLi 0\n", "frame 0 cannot be read"),
        ("999999999\n\nLi 0 0 0\n", "more than the file can hold"),
        ("1\n\n" + "x" * 70000 + "\n", "longer than 64 kB|cannot be read"),
        ('1\nLattice="1 0 0" Properties=species:S:1:pos:R:3\nLi 0 0 0\n', "nine numbers|cannot be read"),
        ("1\nProperties=species:S:1:velo:R:3\nLi 0 0 0\n", "no pos:R:3"),
    ],
)
def test_xyz_that_cannot_be_read(tmp_path, text, says):
    path = tmp_path / "t.xyz"
    path.write_text(text)
    with pytest.raises(BadFileError, match=says) as caught:
        everything(XyzSource(path))
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "UNPACKED_FLOOR", 1 << 20)
    path = tmp_path / "bomb.xyz.gz"
    path.write_bytes(gzip.compress(b"1\n\nLi 0 0 0\n" + b" " * 20_000_000))
    with pytest.raises(BadFileError, match="unpacks to more"):
        XyzSource(path)


def xdatcar(images, variable):
    """As VASP writes it: the header once, or before every frame."""
    lines = []
    for number, (cell, places) in enumerate(images):
        if variable or number == 0:
            lines += ["unknown system", "1.0", *(" ".join(f"{x:.6f}" for x in row) for row in cell), "Li  O", "  2   1"]
        lines.append(f"Direct configuration={number + 1:6d}")
        lines += ["  ".join(f"{x:.8f}" for x in place) for place in places]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("variable", [True, False])
def test_xdatcar_of_constant_and_variable_cell(tmp_path, variable):
    rng = np.random.default_rng(5)
    cells = [ROTATED * (1 + 0.02 * k * variable) for k in range(4)]
    images = [(np.round(cell, 6), np.round(rng.uniform(0, 1, (3, 3)), 8)) for cell in cells]
    path = tmp_path / "XDATCAR"
    path.write_text(xdatcar(images, variable))
    source = XdatcarSource(path)
    assert source.symbols == ["Li", "Li", "O"]
    theirs = ase.io.read(path, index=":", format="vasp-xdatcar")
    pymatgen = Xdatcar(path).structures
    for frame, (cell, places), atoms, structure in zip(everything(source), images, theirs, pymatgen, strict=True):
        np.testing.assert_allclose(frame.cell_A, cell, atol=1e-12)
        np.testing.assert_allclose(frame.positions_A, places @ cell, atol=1e-12)
        np.testing.assert_allclose(frame.positions_A, atoms.positions, atol=1e-9)
        if not variable:
            np.testing.assert_allclose(frame.positions_A, structure.cart_coords, atol=1e-9)


def test_xdatcar_without_symbols_with_volume_and_with_a_hash(tmp_path):
    path = tmp_path / "XDATCAR"
    text = xdatcar([(np.eye(3), [[0, 0, 0.5]] * 3)], variable=False)
    path.write_text(text.replace("\n1.0\n", "\n-27.0\n").replace("Li  O\n", ""))
    source = XdatcarSource(path)
    assert source.symbols is None
    np.testing.assert_allclose(everything(source)[0].cell_A, 3 * np.eye(3))
    path.write_text(text.replace("Li  O", "Li_sv/8b1e1  O/ab12"))
    assert XdatcarSource(path).symbols == ["Li", "Li", "O"]


def test_a_truncated_xdatcar(tmp_path):
    images = [(ROTATED, np.full((3, 3), 0.1 * k)) for k in range(4)]
    for variable, count in itertools.product((True, False), (3, 40)):
        path = tmp_path / "XDATCAR"
        path.write_text(xdatcar(images, variable)[:-count])
        source = XdatcarSource(path)
        assert source.n_frames == 3
        assert [notice.code for notice in source.notices] == ["truncated"]
        assert len(everything(source)) == 3


def test_xdatcar_frames_of_another_size(tmp_path):
    path = tmp_path / "XDATCAR"
    images = [(ROTATED, np.full((3, 3), 0.1 * k)) for k in range(2)]
    path.write_text(
        xdatcar(images, True).replace("  2   1\nDirect configuration=     2", "  1   1\nDirect configuration=     2")
    )
    with pytest.raises(BadFileError, match="a later header"):
        XdatcarSource(path)


def test_a_gro_of_many_frames_of_which_mdanalysis_reads_one(tmp_path):
    path = tmp_path / "t.gro"
    lines = []
    for k in range(3):
        lines += [f"Generated by trjconv : water t= {10 * k:9.5f} step= {k}", "    2"]
        lines += [
            f"    1SOL     OW    1{k + 0.1:8.3f}{0.2:8.3f}{0.3:8.3f}",
            f"    1SOL    HW1    2{-1.0:8.3f}{0.0:8.3f}{12.5:8.3f}",
        ]
        lines += ["   1.00000   2.00000   3.00000   0.00000   0.00000   0.50000   0.00000  -0.25000   0.10000"]
    path.write_text("\n".join(lines) + "\n")
    assert MDAnalysis.coordinates.GRO.GROReader(str(path)).n_frames == 1
    source = GroSource(path)
    assert source.file_times_ps.tolist() == [0, 10, 20]
    frame = everything(source)[2]
    np.testing.assert_allclose(frame.positions_A, [[21, 2, 3], [-10, 0, 125]])
    np.testing.assert_allclose(frame.cell_A, [[10, 0, 0], [5, 20, 0], [-2.5, 1, 30]])


@pytest.mark.filterwarnings("ignore")
def test_a_gro_as_mdanalysis_reads_it():
    reader = MDAnalysis.coordinates.GRO.GROReader(datafiles.GRO)
    assert_as_mdanalysis(GroSource(datafiles.GRO), reader, atol=1e-4)


def lammps_netcdf(path, version="NETCDF3_64BIT_OFFSET"):
    """As LAMMPS' dump netcdf: atoms in any order, an origin, times as steps with a factor."""
    with netCDF4.Dataset(path, "w", format=version) as file:
        file.Conventions = "AMBER"
        for name, size in (("frame", None), ("atom", 3), ("spatial", 3), ("cell_spatial", 3), ("cell_angular", 3)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("frame",))
        time.units, time.scale_factor = "femtosecond", 2.0
        ids = file.createVariable("id", "i4", ("frame", "atom"))
        kinds = file.createVariable("type", "i4", ("frame", "atom"))
        places = file.createVariable("coordinates", "f4", ("frame", "atom", "spatial"))
        places.units = "Angstrom"
        for name in ("cell_origin", "cell_lengths", "cell_angles"):
            file.createVariable(name, "f8", ("frame", "cell_spatial"))
        for variable in file.variables.values():
            variable.set_auto_scale(False)
        for frame, order in enumerate(([2, 0, 1], [1, 2, 0])):
            time[frame] = 100 * frame
            ids[frame] = np.array([10, 20, 30])[order]
            kinds[frame] = np.array([1, 2, 3])[order]
            places[frame] = (np.arange(9).reshape(3, 3) + frame)[order]
            file["cell_origin"][frame] = [-1, 0, 0]
            file["cell_lengths"][frame] = [10, 11, 12]
            file["cell_angles"][frame] = [90, 90, 60]


@pytest.mark.parametrize("version", ["NETCDF3_64BIT_OFFSET", "NETCDF3_CLASSIC", "NETCDF4"])
def test_netcdf_of_lammps_is_sorted_by_id(tmp_path, version):
    path = tmp_path / "t.nc"
    lammps_netcdf(path, version)
    source = NetcdfSource(path)
    np.testing.assert_allclose(source.file_times_ps, [0, 0.2])
    for frame in everything(source):
        np.testing.assert_allclose(frame.positions_A, np.arange(9).reshape(3, 3) + frame.index + [1, 0, 0])
        np.testing.assert_allclose(frame.cell_A, cell_matrix([10, 11, 12, 90, 90, 60]))
    columns = source.columns()
    assert columns["id"].tolist() == [10, 20, 30]
    assert columns["type"].tolist() == [1, 2, 3]
    same(everything(source), everything(pickle.loads(pickle.dumps(source))))


def h5md(path, *, unit="nm", constant_box=True, images=False, boundary=b"periodic", fixed_step=False):
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        places = group.create_dataset("position/value", data=np.arange(18, dtype="f4").reshape(3, 2, 3))
        if unit:
            places.attrs["unit"] = unit
        if fixed_step:
            group.create_dataset("position/step", data=10)
            group.create_dataset("position/time", data=0.5)
        else:
            group.create_dataset("position/step", data=[0, 10, 20])
            group.create_dataset("position/time", data=[0.0, 0.5, 1.0])
        group["position/time"].attrs["unit"] = "fs"
        box = group.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = [boundary] * 3
        if constant_box:
            box.create_dataset("edges", data=[4.0, 5.0, 6.0])
        else:
            box.create_dataset("edges/value", data=np.array([ROTATED / 10] * 3))
        if images:
            group.create_dataset("image/value", data=np.ones((3, 2, 3), "i4"))


def test_h5md_with_constant_box_images_and_a_fixed_step(tmp_path):
    path = tmp_path / "t.h5"
    h5md(path, images=True, fixed_step=True)
    source = H5mdSource(path)
    assert source.layout == "images"
    np.testing.assert_allclose(source.file_times_ps, [0, 0.0005, 0.001])
    assert source.steps.tolist() == [0, 10, 20]
    frame = everything(source)[1]
    np.testing.assert_allclose(frame.positions_A, 10 * (np.arange(6).reshape(2, 3) + 6))
    assert frame.cell_A.diagonal().tolist() == [40, 50, 60]
    assert frame.images.tolist() == [[1, 1, 1]] * 2
    assert next(iter(source.frames([1], np.array([1])))).images.tolist() == [[1, 1, 1]]
    h5md(tmp_path / "npt.h5", constant_box=False)
    np.testing.assert_allclose(everything(H5mdSource(tmp_path / "npt.h5"))[2].cell_A, ROTATED)
    h5md(tmp_path / "open.h5", boundary=b"none")
    assert everything(H5mdSource(tmp_path / "open.h5"))[0].cell_A is None
    h5md(tmp_path / "lammps.h5", unit="")
    assert everything(H5mdSource(tmp_path / "lammps.h5", lammps_units("nano")))[0].positions_A[0, 1] == 10


def test_h5md_that_claims_more_than_it_has(tmp_path):
    path = tmp_path / "t.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("particles/all/position/value", shape=(10, 10**8, 3), dtype="f4", chunks=(1, 1000, 3))
    with pytest.raises(BadFileError, match="has no such data"):
        H5mdSource(path)


@pytest.mark.parametrize(
    "source", [NetcdfSource, H5mdSource, XtcSource, TrrSource, DcdSource, XyzSource, GroSource, XdatcarSource]
)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"CDF\x01", b"CDF\x05\0\0", b"\x89HDF\r\n\x1a\n", b"text\n" * 100, b"\xff" * 999]
)
def test_rubbish_of_any_kind_is_refused_in_a_line(tmp_path, source, content):
    path = tmp_path / "rubbish"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadFileError) as caught:
            source(path)
    assert "\n" not in str(caught.value)


def test_ase_images_of_different_atoms():
    one, other = Atoms("LiO", positions=[[0, 0, 0], [2, 0, 0]]), Atoms("OLi", positions=[[0, 0, 0], [2, 0, 0]])
    with pytest.raises(TrajectoryError, match="another order"):
        AseSource([one, other])
    with pytest.raises(TrajectoryError, match="has 1 atoms"):
        AseSource([one, one[:1]])
    with pytest.raises(TrajectoryError, match="no frames"):
        AseSource([])
    with pytest.raises(TrajectoryError, match="no atoms"):
        AseSource([Atoms()])


def test_a_damaged_traj(tmp_path):
    path = tmp_path / "t.traj"
    ase.io.write(path, [Atoms("Li")] * 3)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadFileError):
        everything(AseSource(path))


def test_pymatgen_trajectories_are_not_wrapped():
    """get_structure would put an atom at 1.2 back to 0.2, and lose the path that it went."""
    fractional = np.array([[[0.9, 0, 0]], [[1.2, 0, 0]], [[2.4, 0, 0]]])
    given = PymatgenTrajectory(["Li"], fractional, lattice=Lattice.cubic(10))
    source, symbols = pymatgen_source(given)
    assert symbols == ["Li"]
    assert [frame.positions_A[0, 0] for frame in everything(source)] == pytest.approx([9, 12, 24])
    moved = PymatgenTrajectory(
        ["Li"], np.array([[[0, 0, 0]], [[0.3, 0, 0]], [[1.2, 0, 0]]]), lattice=Lattice.cubic(10),
        coords_are_displacement=True, base_positions=fractional[0],
    )  # fmt: skip
    assert [frame.positions_A[0, 0] for frame in everything(pymatgen_source(moved)[0])] == pytest.approx([9, 12, 24])
    assert moved.coords_are_displacement
    lattices = [Lattice.cubic(10 + k) for k in range(3)]
    changing = PymatgenTrajectory(["Li"], fractional, lattice=lattices, constant_lattice=False)
    frames = everything(pymatgen_source(changing)[0])
    assert [frame.cell_A[0, 0] for frame in frames] == pytest.approx([10, 11, 12])
    assert [frame.positions_A[0, 0] for frame in frames] == pytest.approx([9, 13.2, 28.8])


def test_pymatgen_structures_with_oxidation_states_and_with_shared_sites():
    plain = Structure(Lattice.cubic(4), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    charged = Structure(Lattice.cubic(4), ["Li+", "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    source, symbols = pymatgen_source([plain, charged])
    assert symbols == ["Li", "O"]
    assert everything(source)[1].cell_A.diagonal().tolist() == [4, 4, 4]
    shared = Structure(Lattice.cubic(4), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]])
    with pytest.raises(TrajectoryError, match="shared by several species"):
        pymatgen_source([shared])
    with pytest.raises(TrajectoryError, match="another order"):
        pymatgen_source([plain, Structure(Lattice.cubic(4), ["O", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])])


def test_cells_of_every_form():
    assert cell_matrix([3, 4, 5]).tolist() == np.diag([3, 4, 5]).tolist()
    np.testing.assert_allclose(
        cell_matrix([3, 4, 5, 70, 80, 100]), ase.geometry.cellpar_to_cell([3, 4, 5, 70, 80, 100]), atol=1e-12
    )
    assert cell_matrix(ROTATED).tolist() == ROTATED.tolist()
    for wrong in (
        [1, 2],
        [0, 1, 1],
        [np.nan] * 3,
        np.zeros((3, 3)),
        [5, 5, 5, 150, 150, 150],
        "cube",
        [1, 1, 1, 0, 0, 0],
    ):
        with pytest.raises(BadOptionError):
            cell_matrix(wrong)


def test_arrays_and_their_cells():
    places = np.arange(24.0).reshape(4, 2, 3)
    assert everything(ArraySource(places))[0].cell_A is None
    edges = np.array([[3.0, 3, 3 + k] for k in range(4)])
    assert [frame.cell_A[2, 2] for frame in everything(ArraySource(places, edges))] == [3, 4, 5, 6]
    integers = everything(ArraySource(places.astype(int)))[1]
    assert integers.positions_A.dtype == np.float64
    assert everything(WithCell(ArraySource(places), [3, 3, 3]))[0].cell_A[0, 0] == 3
    for wrong in (places[0], places.astype(complex), np.zeros((2, 3, 2)), np.array([["a"]])):
        with pytest.raises(BadOptionError, match="of shape"):
            ArraySource(wrong)
    with pytest.raises(TrajectoryError, match="no frames"):
        ArraySource(np.zeros((0, 4, 3)))
    with pytest.raises(BadOptionError, match="for 4 frames"):
        ArraySource(places, np.zeros((5, 3)))


def test_npy_is_mapped_and_npz_read_but_no_pickle(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.arange(24.0).reshape(4, 2, 3))
    source = read_npy(tmp_path / "a.npy")
    assert isinstance(source._positions, np.memmap)
    assert len(pickle.dumps(source)) < 2000
    np.savez(
        tmp_path / "a.npz", positions_A=np.zeros((4, 2, 3)), cell_A=[3, 3, 3], elements=["Li", "O"], times_ps=range(4)
    )
    packed, symbols = read_npz(tmp_path / "a.npz")
    assert symbols == ["Li", "O"]
    assert everything(packed)[3].time_ps == 3
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadFileError, match="cannot be read as a numpy array"):
        read_npy(tmp_path / "o.npy")
    np.savez(tmp_path / "o.npz", positions=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadFileError, match="cannot be read as numpy arrays"):
        read_npz(tmp_path / "o.npz")
    monkeypatch.setattr(array_source, "UNPACKED_FLOOR", 1 << 20)
    np.savez_compressed(tmp_path / "bomb.npz", positions=np.zeros((1, 10**6, 3), "f4"))
    with pytest.raises(BadFileError, match="unpacks to"):
        read_npz(tmp_path / "bomb.npz")


@pytest.mark.filterwarnings("ignore")
def test_universes_go_through_our_readers_where_nothing_else_was_asked(copied):
    path = str(copied(DATA / "cobrotoxin.xtc"))
    universe = MDAnalysis.Universe(str(DATA / "cobrotoxin.pdb"), path, to_guess=())
    source = source_of_universe(universe)
    assert isinstance(source, XtcSource)
    assert_as_mdanalysis(source, universe.trajectory)
    group = universe.atoms[10:30:3]
    some = source_of_universe(group)
    np.testing.assert_allclose(everything(some)[1].positions_A, universe.trajectory[1].positions[10:30:3], atol=2e-5)
    picked = next(iter(some.frames([1], np.array([2, 0]))))
    np.testing.assert_allclose(picked.positions_A, universe.trajectory[1].positions[[16, 10]], atol=2e-5)


@pytest.mark.filterwarnings("ignore")
def test_transformations_and_the_current_frame_of_a_universe_are_kept(copied):
    path = str(copied(DATA / "cobrotoxin.xtc"))
    universe = MDAnalysis.Universe(str(DATA / "cobrotoxin.pdb"), path, to_guess=())
    universe.trajectory.add_transformations(translate([1, 2, 3]))
    universe.trajectory[1]
    source = source_of_universe(universe)
    assert not isinstance(source, XtcSource)
    plain = everything(XtcSource(path))
    np.testing.assert_allclose(everything(source)[2].positions_A, plain[2].positions_A + np.array([1, 2, 3]), atol=1e-4)
    assert universe.trajectory.frame == 1
    there = pickle.loads(pickle.dumps(source))
    np.testing.assert_allclose(everything(there)[0].positions_A, plain[0].positions_A + np.array([1, 2, 3]), atol=1e-4)
    assert source.file_times_ps.tolist() == [0, 50, 100]


def pdb_of(path, places):
    """A PDB of several models of argon in a cube of 12 A."""
    lines = []
    for number, frame in enumerate(places):
        lines.append(f"MODEL     {number + 1:4d}")
        lines.append("CRYST1   12.000   12.000   12.000  90.00  90.00  90.00 P 1           1")
        lines += [
            f"HETATM{i + 1:5d} AR   AR  {i + 1:5d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          AR"
            for i, (x, y, z) in enumerate(frame)
        ]
        lines.append("ENDMDL")
    path.write_text("\n".join([*lines, "END"]) + "\n")
    return str(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["file", "chain", "memory", "one frame"])
def test_a_worker_opens_the_files_of_a_universe_again(tmp_path, monkeypatch, kind):
    """Two processes count what one counts, and no reader of MDAnalysis is packed for it."""
    from MDAnalysis.coordinates.base import ProtoReader

    from atomflow.analysis import RDF

    places = np.random.default_rng(0).uniform(0, 12, (6, 30, 3)).round(3)
    path = pdb_of(tmp_path / "t.pdb", places[:1] if kind == "one frame" else places)
    universe = MDAnalysis.Universe(path, [path, path], to_guess=()) if kind == "chain" else MDAnalysis.Universe(path)
    if kind == "memory":
        universe.transfer_to_memory()
    universe.trajectory.add_transformations(translate([1, 2, 3]))
    source = source_of_universe(universe)
    expected = everything(source)

    def never(self, *_):
        raise AssertionError("a reader was packed")

    monkeypatch.setattr(ProtoReader, "__reduce_ex__", never)
    there = pickle.loads(pickle.dumps(source))
    same(everything(there), expected)
    same(everything(pickle.loads(pickle.dumps(there))), expected)
    counts = []
    for workers in (1, 2):
        analysis = RDF(universe, ["Ar:Ar"], {"Ar": np.arange(30)}, r_max_A=5.0).run(workers=workers)
        counts.append(analysis.results["Ar:Ar"].counts)
    np.testing.assert_array_equal(*counts)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_changed_under_a_universe_is_told_in_one_line(tmp_path):
    places = np.random.default_rng(0).uniform(0, 12, (4, 3, 3))
    universe = MDAnalysis.Universe(pdb_of(tmp_path / "t.pdb", places))
    packed = pickle.dumps(source_of_universe(universe))
    pdb_of(tmp_path / "t.pdb", places[:2])
    with pytest.raises(BadFileError, match=r"t.pdb: is another file than when the Universe was made"):
        everything(pickle.loads(packed))
    (tmp_path / "t.pdb").unlink()
    with pytest.raises(BadFileError, match=r"t.pdb: cannot be opened again by a worker \(.*\)$"):
        everything(pickle.loads(packed))


def test_universes_in_memory_and_chains(copied):
    places = np.random.default_rng(0).uniform(0, 9, (4, 5, 3)).astype("f4")
    universe = MDAnalysis.Universe.empty(5, trajectory=False)
    universe.load_new(places, order="fac")
    source = source_of_universe(universe)
    assert np.shares_memory(source._positions, universe.trajectory.get_array())
    assert source.file_times_ps is None
    np.testing.assert_array_equal(everything(source)[3].positions_A, places[3])
    universe.load_new(places, order="fac", dt=2.0)
    assert source_of_universe(universe).file_times_ps.tolist() == [0, 2, 4, 6]
    with pytest.raises(TrajectoryError, match="no coordinates"):
        source_of_universe(MDAnalysis.Universe.empty(5))
    with pytest.raises(TrajectoryError, match="twice"):
        source_of_universe(universe.atoms[[0, 0]])
    with pytest.raises(TrajectoryError, match="is empty"):
        source_of_universe(universe.atoms[[]])


@pytest.mark.filterwarnings("ignore")
def test_times_given_with_a_universe_are_known(copied):
    path = str(copied(DATA / "watdyn.dcd"))
    assert times_of_reader(DCDReader(path, dt=3.0))[0][:3].tolist() == [0, 3, 6]
    np.testing.assert_allclose(times_of_reader(DCDReader(path))[0][:2], [0.02, 0.04])
