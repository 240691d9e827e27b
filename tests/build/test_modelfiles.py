"""Files that other programs read back: positions, cell, charges, names of sites."""

import io
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from atomflow.build import order, particle, slab
from atomflow.build.modelfiles import FORMATS, model_format, model_text
from atomflow.errors import BadOptionError

READERS = {
    ".cif": "cif",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".pdb": "proteindatabank",
}


@pytest.fixture(scope="module")
def lalzo():
    return order("LALZO", seeds=1, sweeps=20, keep=1).models[0].atoms


@pytest.fixture(scope="module")
def lif_slab():
    return slab("LiF", (1, 1, 0), seeds=1, sweeps=1000, keep=1).models[0].atoms


@pytest.fixture(scope="module")
def ball():
    return particle("LiF", atoms=64, seeds=2, sweeps=200).models[0].atoms


def triclinic(seed, n=9):
    rng = np.random.default_rng(seed)
    cell = cellpar_to_cell([*rng.uniform(6, 12, 3), *rng.uniform(60, 120, 3)])
    atoms = Atoms(["Li"] * 4 + ["O"] * 3 + ["F", "Zr"], scaled_positions=rng.random((n, 3)), cell=cell, pbc=True)
    atoms.set_initial_charges([1.0] * 4 + [-2.0] * 3 + [-1.0, 4.0])
    atoms.new_array("site_label", np.array([f"{s}{i % 3}" for i, s in enumerate(atoms.get_chemical_symbols())]))
    atoms.new_array("wyckoff", np.array(["24d", "96h", "4a"] * 3))
    return atoms


def reread(text, suffix):
    if suffix in (".data", ".lmp"):
        return read(io.StringIO(text), format="lammps-data", atom_style="charge", units="metal")
    return read(io.StringIO(text), format=READERS[suffix])


def by_element(atoms):
    """All distances between atoms of the same element, sorted: what no rotation or order of atoms changes."""
    periodic = bool(atoms.pbc.any())
    return {
        symbol: np.sort(atoms[atoms.symbols == symbol].get_all_distances(mic=periodic).ravel())
        for symbol in set(atoms.get_chemical_symbols())
    }


def check_same(one, other, tolerance):
    assert sorted(one.get_chemical_symbols()) == sorted(other.get_chemical_symbols())
    distances = by_element(other)
    for symbol, expected in by_element(one).items():
        assert distances[symbol] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_crystal_comes_back(suffix, seed):
    atoms = triclinic(seed)
    back = reread(model_text(atoms, suffix), suffix)
    tolerance = 0.02 if suffix == ".pdb" else 1e-4
    assert back.cell.cellpar() == pytest.approx(atoms.cell.cellpar(), abs=0.02 if suffix == ".pdb" else 1e-3)
    back.pbc = True
    check_same(atoms, back, 3 * tolerance)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_garnet_slab_and_ball_come_back(suffix, lalzo, lif_slab, ball):
    for atoms in (lalzo, lif_slab, ball):
        if suffix == ".cif" and not atoms.pbc.any():
            continue
        back = reread(model_text(atoms, suffix), suffix)
        back.pbc = atoms.pbc
        if not atoms.pbc.any():
            back.cell = None
        check_same(atoms, back, 0.006 if suffix == ".pdb" else 1e-4)


@pytest.mark.parametrize("kind", ["lalzo", "lif_slab", "ball"])
def test_charges_of_lammps_data_by_two_readers(kind, request, tmp_path):
    atoms = request.getfixturevalue(kind)
    expected = dict(zip(atoms.get_chemical_symbols(), atoms.get_initial_charges(), strict=True))
    text = model_text(atoms, ".data")
    back = reread(text, ".data")
    assert dict(zip(back.get_chemical_symbols(), back.get_initial_charges(), strict=True)) == expected
    assert back.get_initial_charges().sum() == pytest.approx(0, abs=1e-9)
    (tmp_path / "model.data").write_text(text)
    universe = MDAnalysis.Universe(str(tmp_path / "model.data"), atom_style="id type charge x y z")
    assert universe.atoms.charges == pytest.approx(back.get_initial_charges())
    assert universe.atoms.masses == pytest.approx(atoms.get_masses(), abs=0.01)
    assert universe.atoms.positions == pytest.approx(back.positions, abs=1e-3)


def test_names_of_sites_survive(lalzo):
    back = reread(model_text(lalzo, ".extxyz"), ".extxyz")
    for name in ("site_label", "wyckoff"):
        assert list(back.arrays[name]) == list(lalzo.arrays[name])
    assert back.get_initial_charges() == pytest.approx(lalzo.get_initial_charges())
    assert back.positions == pytest.approx(lalzo.positions, abs=1e-6)
    structure = Structure.from_str(model_text(lalzo, ".cif"), fmt="cif")
    labels = [site.label for site in structure]
    assert len(set(labels)) == len(lalzo)
    assert sorted(label.rpartition("_")[0] for label in labels) == sorted(lalzo.arrays["site_label"])


def test_wyckoff_tags_are_in_the_cif(lalzo):
    text = model_text(lalzo, ".cif")
    assert "wyckoff" in text.lower() and "24d" in text


def test_poscar_groups_its_elements(lalzo):
    structure = Structure.from_str(model_text(lalzo, ".vasp"), fmt="poscar")
    assert structure.composition.formula.replace(" ", "") == "Li25La12Zr8Al1O48"
    names = model_text(lalzo, ".vasp").splitlines()[5].split()
    assert len(names) == len(set(names)) == 5


def test_a_ball_is_boxed_with_room(ball):
    for suffix in (".data", ".vasp"):
        back = reread(model_text(ball, suffix), suffix)
        assert (back.get_scaled_positions(wrap=False) > 0).all() and (back.get_scaled_positions(wrap=False) < 1).all()
        assert back.cell.lengths() == pytest.approx(np.ptp(ball.positions, axis=0) + 20, abs=1e-3)


def test_a_model_is_not_changed_by_writing(lalzo, ball):
    for atoms in (lalzo, ball):
        before = atoms.copy()
        for suffix in FORMATS:
            if suffix != ".cif" or atoms.pbc.any():
                model_text(atoms, suffix)
        assert atoms == before


def test_atoms_without_names_have_a_cif():
    plain = Atoms("LiF", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4, 4, 4], pbc=True)
    assert len(Structure.from_str(model_text(plain, ".cif"), fmt="cif")) == 2


@pytest.mark.parametrize("name", ["x.foo", "x", "x.gz", ".cif.", "x.cif~"])
def test_unknown_suffix(name):
    with pytest.raises(BadOptionError, match=r"\.extxyz"):
        model_format(Path(name))


def test_a_ball_as_cif():
    with pytest.raises(BadOptionError, match="cell"):
        model_format(Path("x.CIF"), periodic=False)
    assert model_format(Path("CONTCAR")) == model_format(Path("a/poscar")) == ".vasp"
