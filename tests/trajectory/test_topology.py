"""Topologies: LAMMPS data files, elements, molecules and selections."""

import gzip
import pickle
from pathlib import Path

import ase
import MDAnalysis
import MDAnalysisTests
import numpy as np
import pytest
from MDAnalysisTests.datafiles import GRO, PSF, TPR

from atomflow.errors import BadFileError, BadOptionError, SelectionError
from atomflow.trajectory.datafile import count_atoms, read_data_file
from atomflow.trajectory.elements import element_of_mass, element_of_name, elements_of_types, symbols_of_names
from atomflow.trajectory.file_sources import load_topology
from atomflow.trajectory.mda_topology import read_topology
from atomflow.trajectory.topology import Topology

LAMMPS = Path(MDAnalysisTests.__path__[0]) / "data/lammps"

WATER_AND_ION = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 100, units = real

4 atoms
3 atom types
2 bonds
1 bond types

-1.0 9.0 xlo xhi
0.0 10.0 ylo yhi
0.0 12.0 zlo zhi
2.0 0.5 -1.5 xy xz yz

Masses

1 15.999  # OW
2 1.008  # HW
3 6.94  # Li+

Atoms # full

7 0 3 1.0 5.0 5.0 5.0 0 0 -1
1 1 1 -0.8 0.0 0.0 0.0 0 1 0
2 1 2 0.4 0.9 0.0 0.0 0 0 0
3 1 2 0.4 -0.3 0.9 0.0 0 0 0

Velocities

1 0 0 0
2 0 0 0
3 0 0 0
7 0 0 0

Bonds

1 1 1 2
2 1 1 3
"""


@pytest.fixture
def data(tmp_path):
    def write(text, name="system.data"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_data_file_in_full(data):
    topology = Topology.from_data_file(data(WATER_AND_ION))
    assert topology.ids.tolist() == [1, 2, 3, 7]
    assert topology.types.tolist() == ["1", "2", "2", "3"]
    assert topology.elements.tolist() == ["O", "H", "H", "Li"]
    assert topology.names.tolist() == ["OW", "HW", "HW", "Li+"]
    assert topology.charges_e.tolist() == [-0.8, 0.4, 0.4, 1.0]
    assert topology.masses_u.tolist() == [15.999, 1.008, 1.008, 6.94]
    assert topology.residues.tolist() == [1, 1, 1, 0]
    assert topology.bonds.tolist() == [[0, 1], [0, 2]]
    assert topology.molecules.tolist() == [0, 0, 0, 1]


def test_cell_positions_and_images_of_a_triclinic_data_file(data):
    read = read_data_file(data(WATER_AND_ION))
    assert read.units == "real"
    assert read.cell.tolist() == [[10, 0, 0], [2, 10, 0], [0.5, -1.5, 12]]
    assert read.positions[3].tolist() == [6, 5, 5]
    assert read.images.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, -1]]


@pytest.mark.parametrize(
    "name", ["datatest.data", "cnt-hexagonal-class1.data", "deletedatoms.data", "ifabp_apo_100mM.data.bz2", "mini.data"]
)
def test_data_files_as_mdanalysis_reads_them_where_it_is_right(name):
    """Style full, which MDAnalysis knows: the same types, charges, molecules, masses, bonds, coordinates and cell."""
    ours = read_data_file(LAMMPS / name)
    theirs = MDAnalysis.Universe(str(LAMMPS / name), to_guess=())
    assert ours.style == "full"
    assert ours.types.tolist() == theirs.atoms.types.tolist()
    np.testing.assert_allclose(ours.charges, theirs.atoms.charges, atol=1e-6)
    assert ours.molecules.tolist() == theirs.atoms.resids.tolist()
    topology = Topology.from_data_file(ours)
    np.testing.assert_allclose(topology.masses_u, theirs.atoms.masses)
    if hasattr(theirs, "bonds") and len(theirs.bonds):
        assert {tuple(sorted(pair)) for pair in topology.bonds.tolist()} == {
            tuple(sorted(pair)) for pair in theirs.bonds.to_indices().tolist()
        }
    np.testing.assert_allclose(np.linalg.norm(ours.cell, axis=1), theirs.dimensions[:3], rtol=1e-5)
    # MDAnalysis leaves the origin of the box in the coordinates.
    np.testing.assert_allclose(np.ptp(ours.positions, axis=0), np.ptp(theirs.atoms.positions, axis=0), atol=1e-3)


@pytest.mark.parametrize(
    ("style", "lines", "charges", "molecules"),
    [
        ("atomic", ["1 1 1.5 2 3", "2 2 4 5 6"], None, None),
        ("charge", ["1 1 0.5 1.5 2 3", "2 2 -0.5 4 5 6"], [0.5, -0.5], None),
        ("molecular", ["1 8 1 1.5 2 3", "2 9 2 4 5 6"], None, [8, 9]),
        ("bond", ["1 8 1 1.5 2 3", "2 9 2 4 5 6"], None, [8, 9]),
        ("full", ["1 8 1 0.5 1.5 2 3", "2 9 2 -0.5 4 5 6"], [0.5, -0.5], [8, 9]),
        ("sphere", ["1 1 1.0 2.5 1.5 2 3", "2 2 1.0 2.5 4 5 6"], None, None),
        ("dipole", ["1 1 0.5 1.5 2 3 0 0 1", "2 2 -0.5 4 5 6 0 0 1"], [0.5, -0.5], None),
    ],
)
@pytest.mark.parametrize("flags", ["", " 1 -1 0"])
@pytest.mark.parametrize("hint", [True, False])
def test_atom_styles(data, style, lines, charges, molecules, flags, hint):
    # Only the hint tells these two from others.
    hint = hint or style in ("sphere", "dipole")
    body = "\n".join(line + flags for line in lines)
    text = f"title\n\n2 atoms\n2 atom types\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n\nAtoms{' # ' + style if hint else ''}\n\n{body}\n"
    read = read_data_file(data(text))
    assert read.types.tolist() == ["1", "2"]
    assert read.positions.tolist() == [[1.5, 2, 3], [4, 5, 6]]
    assert (None if read.charges is None else read.charges.tolist()) == charges
    assert (None if read.molecules is None else read.molecules.tolist()) == molecules
    assert (read.images is not None) == bool(flags)


def test_type_labels(data):
    text = (
        WATER_AND_ION.replace(
            "\nMasses\n\n1 15.999  # OW\n2 1.008  # HW\n3 6.94  # Li+\n",
            ("\nAtom Type Labels\n\n1 OW\n2 HW\n3 Li+\n\nMasses\n\nOW 15.999\nHW 1.008\nLi+ 6.94\n"),
        )
        .replace("7 0 3 1.0", "7 0 Li+ 1.0")
        .replace("1 1 1 -0.8", "1 1 OW -0.8")
    )
    topology = Topology.from_data_file(data(text))
    assert topology.types.tolist() == ["1", "2", "2", "3"]
    assert topology.names.tolist() == ["OW", "HW", "HW", "Li+"]
    assert topology.elements.tolist() == ["O", "H", "H", "Li"]


def test_general_triclinic_cell(data):
    text = "t\n\n1 atoms\n1 atom types\n1 1 0 avec\n-1 2 0 bvec\n0 0 3 cvec\n1 1 1 abc origin\n\nAtoms # atomic\n\n1 1 2 3 4\n"
    read = read_data_file(data(text))
    assert read.cell.tolist() == [[1, 1, 0], [-1, 2, 0], [0, 0, 3]]
    assert read.positions.tolist() == [[1, 2, 3]]


def test_units_of_a_data_file(data):
    text = WATER_AND_ION.replace("units = real", "units = si").replace("15.999", "2.6566e-26")
    text = text.replace("1.008 ", "1.6738e-27 ").replace("6.94 ", "1.1524e-26 ").replace(" -0.8 ", " -1.2817e-19 ")
    topology = Topology.from_data_file(data(text))
    np.testing.assert_allclose(topology.masses_u[:1], [15.999], rtol=1e-4)
    np.testing.assert_allclose(topology.charges_e[:1], [-0.8], rtol=1e-4)
    assert topology.elements.tolist() == ["O", "H", "H", "Li"]


def test_a_packed_data_file(tmp_path):
    path = tmp_path / "system.data.gz"
    path.write_bytes(gzip.compress(WATER_AND_ION.encode()))
    assert Topology.from_data_file(path).n_atoms == 4
    assert count_atoms(path) == 4


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("4 atoms", "5 atoms", "says 5 atoms but the section Atoms has 4"),
        ("4 atoms", "3 atoms", "more than the 3 atoms"),
        ("4 atoms", "99999999999999999999 atoms", "not a number"),
        ("7 0 3 1.0", "7 0 9 1.0", "atom type '9'"),
        ("7 0 3 1.0", "1 0 3 1.0", "two atoms have the id 1"),
        ("7 0 3 1.0", "7 0 3 nan", "is not of atom style full"),
        ("7 0 3 1.0", "7 0 3 1.0 2.0", "11 columns"),
        ("Atoms # full", "Atomes # full", "no section Atoms"),
        ("Atoms # full", "Atoms # sphere", "atom type '0'"),
        ("1 1 1 2\n", "1 1 1 22\n", "there is no atom 22"),
        ("1 1 1 2\n", "1 1 one 2\n", "not a whole number"),
        ("2 bonds", "9 bonds", "says 9 bonds"),
        ("-1.0 9.0 xlo", "9.0 9.0 xlo", "no volume"),
        ("-1.0 9.0 xlo", "-1.0 1e400 xlo", "not finite"),
        ("15.999 ", "heavy ", "not a number"),
    ],
)
def test_what_is_wrong_with_a_data_file_is_said_in_a_line(data, old, new, says):
    path = data(WATER_AND_ION.replace(old, new, 1))
    with pytest.raises(BadFileError, match=says) as caught:
        Topology.from_data_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("mass", "element"),
    [
        (1.008, "H"), (6.94, "Li"), (6.9, "Li"), (7.0, "Li"), (12.0, "C"), (12.011, "C"), (14.007, "N"), (14.0, "N"),
        (15.9994, "O"), (18.998, "F"), (22.99, "Na"), (32.06, "S"), (35.45, "Cl"), (28.086, "Si"), (58.933, "Co"),
        # United atoms, beads, dummies, Drude cores and heavy hydrogens are nobody's.
        (14.027, ""), (14.03, ""), (15.035, ""), (16.043, ""), (13.019, ""), (72.0, ""), (0.0, ""), (0.4, ""), (2.014, ""),
        (4.032, ""), (3.024, ""), (11.611, ""), (40.0, ""), (1000.0, ""), (float("nan"), ""),
    ],
)  # fmt: skip
def test_elements_from_masses_only_where_certain(mass, element):
    assert element_of_mass(mass) == element


def test_bead_models_and_repartitioned_masses_are_not_trusted():
    assert set(elements_of_types({"1": 1.0, "2": 1.0}).values()) == {""}
    found = elements_of_types({"1": 3.024, "2": 12.015, "3": 6.94, "4": 35.45})
    assert found == {"1": "", "2": "", "3": "Li", "4": "Cl"}


def test_labels_settle_what_masses_leave_open():
    assert elements_of_types({"1": 11.611, "2": 0.4}, {"1": "C", "2": "D"}) == {"1": "C", "2": ""}
    assert elements_of_types({"1": 14.027}, {"1": "C"}) == {"1": ""}
    assert elements_of_types({"1": 12.011}, {"1": "O"}) == {"1": "C"}


def test_elements_from_names():
    assert symbols_of_names(["LI", "O", "CL"]) == ["Li", "O", "Cl"]
    assert symbols_of_names(["CA", "CB", "Li", "Fe2"]) == ["", "", "Li", "Fe"]
    named = {"OW": "O", "HW1": "H", "CL": "Cl", "C12": "C", "1HB": "H", "SI": "Si", "MW": "", "Li1": "Li"}
    assert {name: element_of_name(name, alone=False) for name in named} == named
    assert element_of_name("NA+", alone=True) == "Na"
    assert element_of_name("CA", alone=False) == "C"


def test_beads_get_no_elements_from_their_names():
    topology, notices = load_topology(Path(GRO).parent / "martini_dppc_chol_bilayer.gro")
    assert topology.elements is None
    assert not notices
    atomistic, notices = load_topology(Path(GRO))
    assert set(atomistic.elements.tolist()) == {"C", "H", "N", "O", "S", "Na", ""}
    assert set(atomistic.names[atomistic.elements == ""].tolist()) == {"MW"}
    assert set(atomistic.masses_u[atomistic.elements == ""].tolist()) == {0.0}
    assert [notice.code for notice in notices] == ["elements-guessed"]


@pytest.mark.filterwarnings("ignore:No coordinate reader")
def test_a_psf():
    psf = read_topology(Path(PSF), "PSF")
    assert psf.n_atoms == 3341
    assert psf.charges_e is not None
    assert len(psf.bonds) == len(MDAnalysis.Universe(PSF, to_guess=()).bonds)
    assert set(psf.elements.tolist()) == {"C", "H", "N", "O", "S"}


@pytest.mark.slow
def test_a_tpr():
    tpr = read_topology(Path(TPR), "TPR")
    assert tpr.n_atoms == 47681
    assert len(np.unique(tpr.molecules)) == len(MDAnalysis.Universe(TPR).atoms.fragments)


def test_molecules_without_bonds_are_residues_and_those_without_either_atoms():
    residues = np.array([5, 5, 2, 2, 0, 0])
    assert Topology(6, residues=residues).molecules.tolist() == [0, 0, 1, 1, 2, 3]
    assert Topology(3, residues=np.array([1, 1, 1])).molecules.tolist() == [0, 1, 2]
    assert Topology(3).molecules.tolist() == [0, 1, 2]
    chain = Topology(5, bonds=np.array([[4, 2], [2, 0]]))
    assert chain.molecules.tolist() == [0, 1, 0, 2, 0]


def test_a_subset_keeps_its_bonds(data):
    topology = Topology.from_data_file(data(WATER_AND_ION)).subset(np.array([3, 0, 2]))
    assert topology.elements.tolist() == ["Li", "O", "H"]
    assert topology.bonds.tolist() == [[1, 2]]


def test_from_ase():
    atoms = ase.Atoms("LiOH", charges=[1, -1.2, 0.2])
    topology = Topology.from_ase(atoms)
    assert topology.select("type Li").tolist() == [0]
    assert topology.select("element O H").tolist() == [1, 2]
    assert topology.charges_e.tolist() == [1, -1.2, 0.2]


def test_selections_as_mdanalysis_makes_them(data):
    topology = Topology.from_data_file(LAMMPS / "a_lot_of_bond_types.data")
    theirs = MDAnalysis.Universe(str(LAMMPS / "a_lot_of_bond_types.data"), to_guess=())
    for text in (
        "type 2 5",
        "mass 10:20",
        "bonded type 2",
        "not type 2",
        "charge -1:-0.5",
        "resid 1",
        "prop mass > 30",
    ):
        assert topology.select(text).tolist() == sorted(theirs.select_atoms(text).ix.tolist()), text
    assert topology.select("element C and name C").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Li", r"did you mean 'element Li'\?"),
        ("type Li", r"finds no atom; did you mean 'element Li'\?"),
        ("elment Li", r"did you mean 'element Li'\?"),
        ("type 9", "there are types 1, 2, 3; elements H, Li, O"),
        ("resname TFSI", "the topology has no residue names"),
        ("(((", "cannot be read"),
        ("", "write one such as"),
        ("type 1 " * 1000, "at most 2000"),
        ("around 3 type 1", "change from frame to frame"),
        ("prop x > 3", "change from frame to frame"),
        ("type 1 and type 2", "finds no atom"),
    ],
)
def test_selections_that_cannot_be(data, text, says):
    topology = Topology.from_data_file(data(WATER_AND_ION))
    with pytest.raises(SelectionError, match=says) as caught:
        topology.select(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_index_arrays_are_checked():
    topology = Topology(4)
    assert topology.select([3, 1]).tolist() == [1, 3]
    assert topology.select(np.array([True, False, True, False])).tolist() == [0, 2]
    for wrong, says in (
        ([4], "there are 4 atoms"), ([-1, 0], "run from -1"), ([1, 1], "twice"), ([], "a selection is"),
        ([0.5], "a selection is"), ([True, False], "a selection is"), (None, "a selection is"),
    ):  # fmt: skip
        with pytest.raises(SelectionError, match=says):
            topology.select(wrong)


def test_atom_groups_of_the_given_universe_and_of_another():
    universe = MDAnalysis.Universe(GRO)
    water = universe.select_atoms("resname SOL")
    topology = Topology.from_universe(water)
    first = water[:6].select_atoms("name OW")
    assert topology.select(first).tolist() == [0, 4]
    assert topology.select("name OW")[:2].tolist() == [0, 4]
    assert topology.molecules[:8].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(SelectionError, match="does not have"):
        topology.select(universe.atoms[:3])
    with pytest.raises(SelectionError, match="another Universe"):
        topology.select(MDAnalysis.Universe(GRO).atoms[:3])


@pytest.mark.filterwarnings("ignore:No coordinate reader")
def test_elements_from_the_masses_of_a_universe_that_has_none():
    universe = MDAnalysis.Universe(PSF, to_guess=())
    topology = Topology.from_universe(universe)
    assert not hasattr(universe.atoms, "elements")
    assert topology.select("element S").tolist() == universe.select_atoms("mass 32:33").ix.tolist()
    assert topology.select("name CA").tolist() == universe.select_atoms("name CA").ix.tolist()


def test_a_universe_is_not_taken_along_to_workers():
    topology = Topology.from_universe(MDAnalysis.Universe(GRO))
    assert len(pickle.dumps(topology)) < 10_000_000
    there = pickle.loads(pickle.dumps(topology))
    assert there.given is None
    assert there.select("name NA").tolist() == topology.select("name NA").tolist()


def test_type_maps(data):
    topology = Topology.from_data_file(data(WATER_AND_ION.replace("15.999", "14.027")))
    assert topology.elements.tolist() == ["", "H", "H", "Li"]
    mapped = topology.with_elements({1: "c"})
    assert mapped.elements.tolist() == ["C", "H", "H", "Li"]
    assert mapped.masses_u[0] == 14.027
    bare = Topology(2, types=np.array(["1", "2"])).with_elements({"1": "Li"})
    assert bare.masses_u[0] == pytest.approx(6.94)
    assert np.isnan(bare.masses_u[1])
    with pytest.raises(BadOptionError, match="no atom has type '8'; there are 1, 2, 3"):
        topology.with_elements({"8": "Li"})
    with pytest.raises(BadOptionError, match="'CT' of type 1 is not an element"):
        topology.with_elements({"1": "CT"})
    with pytest.raises(BadOptionError, match="has no atom types"):
        Topology(2).with_elements({"1": "Li"})


def test_entries_of_the_wrong_length_are_refused():
    with pytest.raises(BadOptionError, match="types has 2 entries"):
        Topology(3, types=np.array(["1", "2"]))
    with pytest.raises(BadOptionError, match="a bond names an atom"):
        Topology(3, bonds=np.array([[0, 3]]))
