"""Open anything: formats by content, topologies beside the trajectory, units, clocks, and what cannot be opened."""

import gzip
import json
import pickle
import shutil
import warnings
from pathlib import Path

import ase.io
import MDAnalysis
import MDAnalysisTests
import numpy as np
import pytest
import zstandard
from ase import Atoms
from MDAnalysisTests import datafiles
from pymatgen.core import Lattice, Structure
from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory

from atomflow.errors import AtomflowError, BadFileError, BadOptionError, TrajectoryError, UnknownNameError
from atomflow.trajectory import Topology, Trajectory, open_trajectory
from atomflow.trajectory.formats import topology_format, trajectory_format

DATA = Path(MDAnalysisTests.__path__[0]) / "data"
PLACES = np.random.default_rng(7).uniform(0, 10, (4, 3, 3)).round(6)
CELL = np.diag([10.0, 11.0, 12.0])

DATA_FILE = """LAMMPS data file via write_data, timestep = 0{units}

3 atoms
2 atom types
1 bonds

0 10 xlo xhi
0 11 ylo yhi
0 12 zlo zhi

Masses

1 6.94
2 15.999

Atoms # full

1 0 1 1.0 1 2 3
2 7 2 -1.0 4 5 6
5 7 2 0.0 7 8 9

Bonds

1 1 2 5
"""


def dump(places=PLACES, ids=(1, 2, 5), kinds=("1", "2", "2"), columns="id type x y z", head=""):
    """A text dump, its lines not in the order of the ids."""
    lines = []
    for step, frame in enumerate(places):
        lines += [head, "ITEM: TIMESTEP", str(100 * step), "ITEM: NUMBER OF ATOMS", str(len(ids))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", "0 10", "0 11", "0 12", f"ITEM: ATOMS {columns}"]
        rows = [f"{i} {k} {x} {y} {z}" for i, k, (x, y, z) in zip(ids, kinds, frame, strict=True)]
        lines += rows[::-1]
    return "\n".join(line for line in lines if line) + "\n"


@pytest.fixture
def folder(tmp_path):
    """A LAMMPS run: a dump, a data file."""
    (tmp_path / "production.lammpstrj").write_text(dump())
    (tmp_path / "system.data").write_text(DATA_FILE.format(units=", units = real"))
    return tmp_path


def positions(trajectory):
    return np.array([frame.positions_A for frame in trajectory.source.frames(range(trajectory.n_frames))])


def codes(trajectory):
    return [notice.code for notice in trajectory.notices]


def test_a_dump_and_the_data_file_beside_it(folder):
    trajectory = open_trajectory(folder / "production.lammpstrj", timestep_ps=0.001)
    np.testing.assert_allclose(positions(trajectory), PLACES, atol=1e-9)
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    assert trajectory.topology.molecules.tolist() == [0, 1, 1]
    assert trajectory.topology.select("type 2").tolist() == [1, 2]
    assert codes(trajectory) == ["topology-found"]
    assert "system.data" in trajectory.notices[0].text
    np.testing.assert_allclose(trajectory.clock.times_ps, [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", ["dump.lammpstrj", "out.custom", "traj", "x.dump", "log.1"])
def test_a_dump_is_known_by_its_content(tmp_path, name):
    (tmp_path / name).write_text(dump())
    assert trajectory_format(tmp_path / name) == "dump"
    assert open_trajectory(tmp_path / name, dt_ps=1.0).n_frames == 4


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_dumps(tmp_path, pack):
    path = tmp_path / "traj.lammpstrj.packed"
    path.write_bytes(pack(dump().encode()))
    np.testing.assert_allclose(positions(open_trajectory(path, dt_ps=1.0)), PLACES, atol=1e-9)


def test_a_dump_of_a_group_takes_its_atoms_from_the_data_file(folder):
    path = folder / "group.lammpstrj"
    path.write_text(dump(PLACES[:, :2], ids=(1, 5), kinds=("1", "2")))
    for topology in (None, folder / "system.data"):
        trajectory = open_trajectory(path, topology, dt_ps=1.0)
        assert trajectory.topology.ids.tolist() == [1, 5]
        assert trajectory.topology.elements.tolist() == ["Li", "O"]


def test_types_that_changed_are_told(folder):
    (folder / "production.lammpstrj").write_text(dump(kinds=("1", "1", "2")))
    trajectory = open_trajectory(folder / "production.lammpstrj", dt_ps=1.0)
    assert "types-differ" in codes(trajectory)


def test_elements_in_a_dump_and_none_in_the_data_file(folder):
    (folder / "system.data").write_text(DATA_FILE.format(units="").replace("6.94", "1.0").replace("15.999", "1.0"))
    (folder / "production.lammpstrj").write_text(dump(kinds=("Li", "O", "O"), columns="id element x y z"))
    trajectory = open_trajectory(folder / "production.lammpstrj", dt_ps=1.0)
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    assert trajectory.topology.types.tolist() == ["1", "2", "2"]
    assert len(trajectory.topology.bonds) == 1


def test_type_map_without_a_data_file(tmp_path):
    (tmp_path / "t.dump").write_text(dump())
    trajectory = open_trajectory(tmp_path / "t.dump", dt_ps=1.0, type_map={1: "Li", "2": "O"})
    assert trajectory.topology.select("element O").tolist() == [1, 2]
    with pytest.raises(BadOptionError, match="no atom has type '3'"):
        open_trajectory(tmp_path / "t.dump", type_map={"3": "Li"})


def test_units(folder, tmp_path_factory):
    path = folder / "production.lammpstrj"
    nano = open_trajectory(path, dt_ps=1.0, units="nano")
    np.testing.assert_allclose(positions(nano), 10 * PLACES)
    assert next(iter(nano.source.frames([0]))).cell_A[0, 0] == 100
    with pytest.raises(BadOptionError, match="lj are reduced"):
        open_trajectory(path, units="lj")
    with pytest.raises(UnknownNameError, match="did you mean metal"):
        open_trajectory(path, units="metall")
    alone = tmp_path_factory.mktemp("alone") / "t.dump"
    alone.write_text(dump())
    assert "units-assumed" in codes(open_trajectory(alone, dt_ps=1.0))
    (alone.parent / "in.run").write_text("# input\nunits   electron # bohr\ntimestep 0.2\n")
    bohr = open_trajectory(alone, dt_ps=1.0)
    np.testing.assert_allclose(positions(bohr), 0.529177210903 * PLACES, rtol=1e-9)
    (alone.parent / "in.run").write_text("units lj\n")
    assert "lj-units" in codes(open_trajectory(alone, dt_ps=1.0))
    alone.write_text(dump(head="ITEM: UNITS\nnano"))
    np.testing.assert_allclose(positions(open_trajectory(alone, dt_ps=1.0)), 10 * PLACES)


def test_a_clock_from_the_log_beside_the_dump(folder):
    assert "no-clock" in codes(open_trajectory(folder / "production.lammpstrj"))
    (folder / "log.lammps").write_text("LAMMPS\nunits real\ntimestep 2.0\nrun 100\n")
    trajectory = open_trajectory(folder / "production.lammpstrj")
    assert trajectory.clock.spacing_ps == pytest.approx(0.2)
    assert "clock-found" in codes(trajectory)


def test_a_run_folder(tmp_path):
    (tmp_path / "traj.dump").write_text(dump())
    (tmp_path / "a.data").write_text(DATA_FILE.format(units=""))
    run = {"topology": "a.data", "trajectory": "traj.dump", "frame_spacing_ps": 2.5, "units": "real"}
    (tmp_path / "md.json").write_text(json.dumps(run))
    trajectory = open_trajectory(tmp_path)
    assert trajectory.clock.spacing_ps == 2.5
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    assert not {"topology-found", "units-assumed", "no-clock"} & set(codes(trajectory))
    # What the run says of itself goes on with its trajectory.
    said = [{"code": "not-equilibrated", "text": "density: drifting"}, {"code": 3}, "nonsense"]
    (tmp_path / "md.json").write_text(json.dumps(run | {"warnings": said, "finished": False}))
    assert {"not-equilibrated", "run-unfinished"} <= set(codes(open_trajectory(tmp_path)))
    (tmp_path / "md.json").write_text(json.dumps(run | {"units": "nano"}))
    np.testing.assert_allclose(positions(open_trajectory(str(tmp_path))), 10 * PLACES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100000, "cannot be read as JSON"),
        ("[]", 'names no "trajectory"'),
        ('{"trajectory": 3}', 'names no "trajectory"'),
        ('{"trajectory": "../../etc/passwd"}', "outside its folder"),
        ('{"trajectory": "/etc/passwd"}', "outside its folder"),
        ('{"trajectory": "t\\u0000"}', "no file"),
        ('{"trajectory": "missing.dump"}', "no such file"),
        (None, "without md.json; give the trajectory itself, such as .*traj.dump"),
    ],
)
def test_folders_that_name_no_run(tmp_path, content, says):
    (tmp_path / "traj.dump").write_text(dump())
    if content is not None:
        (tmp_path / "md.json").write_text(content)
    with pytest.raises(BadFileError, match=says):
        open_trajectory(tmp_path)


def test_numbers_of_atoms_that_differ(folder):
    other = folder / "other.gro"
    shutil.copy(DATA / "two_water_gro.gro", other)
    with pytest.raises(BadFileError, match=r"has 3 atoms, but the topology .*other.gro has 6") as caught:
        open_trajectory(folder / "production.lammpstrj", other)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadFileError, match="has 4 atoms, but the topology given elements has 2"):
        open_trajectory(np.zeros((5, 4, 3)), ["Li", "O"])


def test_which_topology_beside_a_trajectory(tmp_path):
    shutil.copy(DATA / "watdyn.dcd", tmp_path / "run.dcd")
    assert "no-topology" in codes(open_trajectory(tmp_path / "run.dcd"))
    shutil.copy(DATA / "watdyn.psf", tmp_path / "a.psf")
    shutil.copy(datafiles.PSF, tmp_path / "other.psf")
    found = open_trajectory(tmp_path / "run.dcd")
    assert codes(found) == ["topology-found"]
    assert found.topology.source.endswith("a.psf")
    text = (tmp_path / "a.psf").read_text()
    (tmp_path / "b.psf").write_text(text)
    assert codes(open_trajectory(tmp_path / "run.dcd")) == ["topology-found"]
    changed = text.replace(" OT ", " XT ")
    assert changed != text
    (tmp_path / "b.psf").write_text(changed)
    assert codes(open_trajectory(tmp_path / "run.dcd")) == ["topology-unclear", "no-topology"]
    (tmp_path / "run.psf").write_text(text)
    chosen = open_trajectory(tmp_path / "run.dcd")
    assert chosen.topology.source.endswith("run.psf")


def test_a_dcd_of_lammps_with_units_from_its_input(tmp_path):
    shutil.copy(DATA / "lammps/ifabp_apo_100mM.dcd", tmp_path)
    path = tmp_path / "ifabp_apo_100mM.dcd"
    unknown = open_trajectory(path)
    assert unknown.clock.times_ps is None
    assert {"no-clock", "units-assumed"} <= set(codes(unknown))
    known = open_trajectory(path, units="real")
    assert known.clock.spacing_ps == pytest.approx(0.5)
    shutil.copy(DATA / "lammps/ifabp_apo_100mM.in", tmp_path)
    assert open_trajectory(path).clock.spacing_ps == pytest.approx(0.5)


def test_gromacs_files_with_the_topology_beside_them(tmp_path):
    shutil.copy(DATA / "cobrotoxin.xtc", tmp_path)
    shutil.copy(DATA / "cobrotoxin.pdb", tmp_path)
    trajectory = open_trajectory(tmp_path / "cobrotoxin.xtc")
    assert trajectory.clock.spacing_ps == pytest.approx(50)
    assert codes(trajectory) == ["topology-found", "elements-guessed"]
    assert len(trajectory.topology.select("resname SOL and name OW")) > 4000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cobrotoxin.pdb", "cobrotoxin.xtc"]


def images(n_frames=4):
    return [Atoms("LiO2", positions=PLACES[k], cell=CELL, pbc=True) for k in range(n_frames)]


def structures():
    return [Structure(Lattice(CELL), ["Li", "O", "O"], PLACES[k], coords_are_cartesian=True) for k in range(4)]


def universe():
    made = MDAnalysis.Universe.empty(3, trajectory=False)
    made.add_TopologyAttr("elements", ["Li", "O", "O"])
    made.load_new(PLACES.astype("f4"), order="fac", dimensions=[10, 11, 12, 90, 90, 90])
    return made


@pytest.mark.parametrize(
    "make",
    [
        images,
        structures,
        universe,
        lambda: universe().atoms,
        lambda: PymatgenTrajectory(["Li", "O", "O"], PLACES @ np.linalg.inv(CELL), lattice=CELL),
    ],
    ids=["ase", "pymatgen structures", "Universe", "AtomGroup", "pymatgen Trajectory"],
)
def test_objects(make):
    trajectory = open_trajectory(make(), dt_ps=2.0)
    np.testing.assert_allclose(positions(trajectory), PLACES, atol=2e-6)
    frame = next(iter(trajectory.source.frames([2])))
    np.testing.assert_allclose(frame.cell_A, CELL, atol=1e-5)
    assert trajectory.topology.select("element O").tolist() == [1, 2]
    assert trajectory.clock.times_ps.tolist() == [0, 2, 4, 6]
    there = pickle.loads(pickle.dumps(trajectory))
    np.testing.assert_array_equal(positions(there), positions(trajectory))
    assert open_trajectory(trajectory) is trajectory


def test_arrays():
    trajectory = open_trajectory(PLACES, ["Li", "O", "O"], cell_A=[10, 11, 12], dt_ps=1.0)
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    assert next(iter(trajectory.source.frames([0]))).cell_A.tolist() == CELL.tolist()
    bare = open_trajectory(PLACES.tolist())
    assert codes(bare) == ["no-topology", "no-clock"]
    assert bare.topology.select([0, 2]).tolist() == [0, 2]


def test_a_cell_that_is_given_replaces_the_files(folder):
    trajectory = open_trajectory(folder / "production.lammpstrj", dt_ps=1.0, cell_A=[20, 20, 20])
    assert next(iter(trajectory.source.frames([3]))).cell_A.tolist() == np.diag([20.0] * 3).tolist()
    assert trajectory.source.layout == "wrapped"


def test_an_atom_group_keeps_its_own_numbers(folder):
    made = MDAnalysis.Universe(datafiles.GRO, to_guess=())
    water = made.select_atoms("resname SOL")[:300]
    trajectory = open_trajectory(water, dt_ps=1.0)
    assert trajectory.n_atoms == 300
    oxygens = trajectory.topology.select("name OW")
    np.testing.assert_allclose(
        next(iter(trajectory.source.frames([0], oxygens))).positions_A,
        water.select_atoms("name OW").positions,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "name",
    ["t.extxyz", "t.xyz", "t.traj", "XDATCAR", "t.pdb", "t.npy", "t.npz", "POSCAR.xdatcar"],
)
def test_files_of_every_writer(tmp_path, name):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, PLACES)
    elif name.endswith("npz"):
        np.savez(path, positions=PLACES, cell=CELL, elements=["Li", "O", "O"])
    elif "xdat" in name.lower():
        ase.io.write(path, images(), format="vasp-xdatcar")
    elif name == "t.xyz":
        ase.io.write(path, images(), format="xyz")
    else:
        ase.io.write(path, images())
    trajectory = open_trajectory(path, dt_ps=1.0)
    np.testing.assert_allclose(positions(trajectory), PLACES, atol=1e-3 if name.endswith("pdb") else 1e-6)
    if not name.endswith("npy"):
        assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    cell = next(iter(trajectory.source.frames([0]))).cell_A
    if name in ("t.xyz", "t.npy"):
        assert cell is None
    else:
        np.testing.assert_allclose(cell, CELL, atol=1e-3)


def test_a_topology_beside_an_xyz_of_lammps_types(folder):
    path = folder / "t.xyz"
    path.write_text("".join("3\nAtoms. Timestep: 0\n1 0 0 0\n2 0 0 0\n2 0 0 0\n" for _ in range(2)))
    trajectory = open_trajectory(path, dt_ps=1.0)
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]
    path.write_text("3\n\nLi 0 0 0\nO 0 0 0\nO 0 0 0\n")
    assert len(open_trajectory(path).topology.bonds) == 1
    path.write_text("3\n\nO 0 0 0\nO 0 0 0\nLi 0 0 0\n")
    assert open_trajectory(path).topology.bonds is None


@pytest.mark.filterwarnings("ignore:Reader has no dt")
def test_a_universe_on_a_dump_goes_through_our_reader(folder):
    path = folder / "production.lammpstrj"
    made = MDAnalysis.Universe(str(folder / "system.data"), str(path), format="LAMMPSDUMP", to_guess=())
    trajectory = open_trajectory(made, timestep_ps=0.001)
    assert trajectory.source.layout == "wrapped"
    np.testing.assert_allclose(positions(trajectory), PLACES, atol=1e-9)
    assert trajectory.clock.spacing_ps == pytest.approx(0.1)
    assert trajectory.topology.select("type 2").tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["data", "poscar", "universe", "atoms", "symbols", "topology"])
def test_topologies_of_every_kind(folder, kind):
    given = {
        "data": folder / "system.data",
        "poscar": folder / "POSCAR",
        "universe": universe(),
        "atoms": images()[0],
        "symbols": ["Li", "O", "O"],
        "topology": Topology.from_symbols(["Li", "O", "O"]),
    }[kind]
    ase.io.write(folder / "POSCAR", images()[0])
    trajectory = open_trajectory(PLACES, given, dt_ps=1.0)
    assert trajectory.topology.elements.tolist() == ["Li", "O", "O"]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.pkl", pickle.dumps({"a": 1}), "a Python pickle"),
        ("t.xyz", pickle.dumps([1, 2]), "a Python pickle"),
        ("t.zip", b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        ("t.bin", b"\xf5" + b"\xff" * 7 + b"DUMPCUSTOM1" + b"\0" * 40, "binary2txt"),
        ("t.dat", "some words\n" * 9, "the format is not known"),
        ("t.dat", bytes(range(256)) * 4, "the format is not known"),
        ("t.tng", b"\0" * 64, "pytng"),
        ("t.dump", "", "the file is empty"),
        ("t.gz", gzip.compress(dump().encode())[:-30], "damaged or cut off|ends within|whole frame|truncated"),
        ("t.trz", b"\1" * 200, "does not say its number of atoms"),
    ],
)
def test_files_that_are_no_trajectory(tmp_path, name, content, says):
    with pytest.raises(BadFileError, match=says) as caught:
        trajectory = open_trajectory(write(tmp_path / name, content))
        positions(trajectory)
        if "truncated" in codes(trajectory):
            raise BadFileError(tmp_path, "truncated")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(folder):
    with pytest.raises(BadFileError, match=r"no such file; did you mean production.lammpstrj\?"):
        open_trajectory(folder / "produktion.lammpstrj")
    with pytest.raises(BadFileError, match="there is no folder"):
        open_trajectory(folder / "no" / "t.dump")
    with pytest.raises(BadFileError, match="no such file"):
        open_trajectory(folder / "production.lammpstrj", folder / "nothing.data")
    with pytest.raises(BadFileError, match="not a file name"):
        open_trajectory("t\0.dump")
    with pytest.raises(BadFileError, match="not a file"):
        open_trajectory("/dev/null")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (3, "a int is no trajectory"),
        (None, "a NoneType is no trajectory"),
        ({"a": 1}, "a dict is no trajectory"),
        ([], r"of shape \(0,\)"),
        (["a.dump", "b.dump"], "several files are replicas"),
        ([1, 2, 3], r"of shape \(3,\)"),
        ([[1], [1, 2]], "a list that is neither"),
        (np.zeros((3, 3)), r"of shape \(3, 3\)"),
    ],
)
def test_objects_that_are_no_trajectory(source, says):
    with pytest.raises(BadOptionError, match=says):
        open_trajectory(source)


def test_options_that_make_no_sense(folder):
    opened = open_trajectory(folder / "production.lammpstrj", dt_ps=1.0)
    assert isinstance(opened, Trajectory)
    with pytest.raises(BadOptionError, match="open already"):
        open_trajectory(opened, dt_ps=1.0)
    with pytest.raises(BadOptionError, match="above zero"):
        open_trajectory(folder / "production.lammpstrj", dt_ps=0.0)
    with pytest.raises(BadOptionError, match="a topology is a path"):
        open_trajectory(PLACES, 3)
    with pytest.raises(BadOptionError, match="no volume"):
        open_trajectory(PLACES, cell_A=[0, 1, 1])
    with pytest.raises(TrajectoryError, match="no coordinates"):
        open_trajectory(MDAnalysis.Universe.empty(3))


def test_nothing_reaches_the_terminal(tmp_path, capfd):
    """MDAnalysis warns of missing attributes, invented times and coming changes; its C readers print."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("watdyn.dcd", "cobrotoxin.xtc", "surface.trr", "2r9r-1b.xyz", "cryst_then_model.pdb", "cu.h5md"):
            shutil.copy(DATA / name, tmp_path)
            positions(open_trajectory(tmp_path / name))
        for name in ("Amber/bala.ncdf", "two_water_gro.gro"):
            positions(open_trajectory(DATA / name, dt_ps=1.0))
        (tmp_path / "bad.dcd").write_bytes((DATA / "watdyn.dcd").read_bytes()[:200])
        (tmp_path / "bad.pdb").write_text("ATOM  nonsense\n")
        for name in ("bad.dcd", "bad.pdb"):
            with pytest.raises(AtomflowError):
                positions(open_trajectory(tmp_path / name))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", sorted(path for path in DATA.glob("*.pdb") if path.stat().st_size < 300_000))
def test_every_pdb_of_mdanalysis_opens_or_is_refused_in_a_line(path):
    try:
        trajectory = open_trajectory(path, dt_ps=1.0)
    except AtomflowError as error:
        assert "\n" not in str(error)
    else:
        assert positions(trajectory).shape == (trajectory.n_frames, trajectory.n_atoms, 3)


def test_formats_of_topologies(folder):
    assert topology_format(folder / "system.data") == "data"
    assert topology_format(DATA / "adk.psf") == "PSF"
    with pytest.raises(BadFileError, match="not a topology that is read"):
        topology_format(write(folder / "t.txt", "words\n"))
