"""The codec gives back exactly what it was given, and nothing a file could use against us."""

import inspect
import json
import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atomflow import errors
from atomflow.build import molecule
from atomflow.calculators import CalculatorSpec
from atomflow.errors import BadFileError, BadStructureError, ChargeError
from atomflow.model import check_electrons, check_geometry, content_key, dumps, load_file, loads

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda k: k != "$type"), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_data_come_back(data):
    assert loads(dumps(data)) == data


@given(arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(0, 3)), elements=st.floats(allow_nan=False)))
def test_arrays_come_back_exactly(array):
    back = loads(dumps(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


@given(arrays(np.float64, (3, 3), elements=st.floats(-50, 50)), st.booleans())
def test_atoms_come_back_exactly(positions, periodic):
    atoms = Atoms("OH2", positions, cell=[5, 6, 7] if periodic else None, pbc=periodic)
    atoms.info.update(charge=-1, spin=2, name="x")
    atoms.set_array("part", np.array([0, 1, 1]))
    back = loads(dumps(atoms))
    assert np.array_equal(back.positions, atoms.positions)
    assert np.array_equal(back.cell, atoms.cell)
    assert back.info == atoms.info
    assert np.array_equal(back.arrays["part"], [0, 1, 1])


@given(
    arrays(
        st.sampled_from(["<i4", "<u8", ">f4", "<f8", "|b1", "<U3"]), st.sampled_from([(), (0,), (3,), (2, 0), (2, 2)])
    )
)
def test_any_plain_array_comes_back_exactly(array):
    back = loads(dumps(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


def test_a_cell_without_periodicity_comes_back():
    atoms = Atoms("H", [[1, 2, 3]], cell=[4, 5, 6], pbc=False)
    back = loads(dumps(atoms))
    assert np.array_equal(back.cell, atoms.cell)
    assert not back.pbc.any()
    assert loads(dumps(Atoms("H", [[1, 2, 3]], cell=[4, 5, 6], pbc=[True, False, True]))).pbc.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["TFSI-", "DMF", "Li+", "PF6-"])
def test_molecules_come_back(name):
    first = molecule(name)
    back = loads(dumps(first))
    assert np.array_equal(back.atoms.positions, first.atoms.positions)
    assert (back.name, back.charge, back.multiplicity, back.aliases) == (first.name, first.charge, 1, first.aliases)
    assert back.graph.GetNumBonds() == first.graph.GetNumBonds()


@pytest.mark.parametrize("name", ["DMF", "PC", "PVDF-HFP-3", "C[C@H](F)Cl", "F/C=C/F"])
def test_a_molecule_that_came_back_is_written_alike(name):
    """Else it would have another key, and its steps would be done again."""
    text = dumps(molecule(name))
    assert dumps(loads(text)) == text


def test_records_and_special_floats_come_back():
    spec = CalculatorSpec("dft", {"grid": 3})
    assert loads(dumps(spec)) == spec
    assert np.isnan(loads(dumps(float("nan"))))


@pytest.mark.parametrize(
    "text",
    [
        '{"$type": "os.system", "command": "true"}',
        '{"$type": "atomflow.calculator/1", "name": "x", "surprise": 1}',
        '{"$type": "ndarray", "dtype": "|O", "shape": [1], "data": [1]}',
        '{"$type": "atoms"',
        "not json",
        '{"$type": "atoms", "numbers": [1], "positions": [[0,0]], "info": {}}',
    ],
)
def test_what_is_not_ours_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFileError, match=r"x\.json"):
        load_file(path)


@given(st.integers(1, 400))
def test_a_cut_file_is_refused(length):
    text = dumps(molecule("water"))
    with pytest.raises((ValueError, KeyError)):
        loads(text[: min(length, len(text) - 1)])


@pytest.mark.parametrize(
    "thing",
    [
        object(),
        print,
        b"bytes",
        {1: "key"},
        {"$type": "mine"},
        1j,
        np.array([object()]),
        np.array([1j]),
        np.longdouble(1),
        np.ones(2, dtype=np.longdouble),
        np.zeros(2, dtype=[("a", "f8")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        Atoms("H", constraint=FixAtoms([0])),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_objects_that_cannot_come_back_are_not_written(thing):
    with pytest.raises(TypeError):
        dumps(thing)


def test_equal_content_has_equal_keys():
    assert content_key({"a": 1, "b": 2.0}) == content_key(json.loads('{"b": 2.0, "a": 1}'))
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_geometry_and_electrons_are_checked():
    with pytest.raises(BadStructureError, match="finite"):
        check_geometry(Atoms("H", [[0, 0, np.inf]]), "x")
    with pytest.raises(BadStructureError, match="apart"):
        check_geometry(Atoms("H2", [[0, 0, 0], [0, 0, 0.2]]), "x")
    with pytest.raises(ChargeError, match="odd"):
        check_electrons(Atoms("H2O", np.eye(3)), 1, 1, "x")
    with pytest.raises(ChargeError):
        check_electrons(Atoms("H"), 2, 1, "x")


@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownNameError("species", "DMFF", ["DMF"]),
        errors.ChargeError("x", 1, 1, 9),
        errors.MissingBackendError("xtb", "tblite", "pip install tblite"),
        errors.UnsupportedSystemError("xtb", "no", "dft"),
        errors.OutputError("x", "full"),
        errors.SCFError("HF", "Li+", "log", "file.log"),
        errors.BadFileError("x", "y"),
    ],
)
def test_errors_travel_between_processes_whole(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__


def test_every_error_has_one_of_two_exit_codes():
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        if issubclass(cls, errors.AtomflowError):
            assert cls.exit_code == (2 if issubclass(cls, errors.UserError) else 1)


def crystals():
    from pymatgen.core import Lattice, Species, Structure

    garnet = Structure(
        Lattice([[13.0, 0.1, 0.0], [0.0, 12.9, 1 / 3], [0.2, 0.0, 13.1]]),
        [{"Li+": 0.4, "Al3+": 0.2}, {"La3+": 1.0}, {"Zr4+": 0.75, Species("Ta", 5): 0.25}, "O2-"],
        [[0.1, 0.2, 1 / 7], [0.5, 0.5, 0.5], [0.0, -0.25, 1.5], [0.9, 0.9, 0.9]],
        site_properties={"wyckoff": ["a", "b", "c", "d"], "magmom": [0.0, 1.5, None, 2.0]},
        charge=1.0,
        labels=["Li24d", "La", "M", "O"],
    )
    slab = Structure(
        Lattice.cubic(4.0, pbc=(True, True, False)), ["Fe", Species("Fe", 2, spin=4)], [[0, 0, 0], [0.5] * 3]
    )
    return [garnet, slab, Structure(Lattice.cubic(3.0), [], [])]


@pytest.mark.parametrize("number", range(3))
def test_crystals_come_back_exactly(number):
    structure = crystals()[number]
    back = loads(dumps(structure))
    assert back == structure and back.lattice.pbc == structure.lattice.pbc and back.charge == structure.charge
    assert (back.frac_coords == structure.frac_coords).all() and (back.lattice.matrix == structure.lattice.matrix).all()
    assert back.labels == structure.labels and back.site_properties == structure.site_properties
    assert [site.species for site in back] == [site.species for site in structure]
    assert content_key(back) == content_key(structure)


def test_equal_crystals_have_equal_keys():
    from pymatgen.core import Lattice, Species, Structure

    def mixed(*sites):
        return Structure(Lattice.cubic(4.0), [dict(sites)], [[0, 0, 0]])

    whole = mixed((Species("Li", 1), 0.4), (Species("Al", 3), 0.2))
    broken = mixed((Species("Al", 3.0), 0.2), (Species("Li", 1.0), 0.4))
    assert whole == broken and content_key(whole) == content_key(broken)


def test_what_cannot_come_back_is_not_written():
    from pymatgen.core import DummySpecies, IStructure, Lattice, Structure

    with pytest.raises(TypeError, match="species"):
        dumps(Structure(Lattice.cubic(3.0), [DummySpecies("X")], [[0, 0, 0]]))
    with pytest.raises(TypeError, match="IStructure"):
        dumps(IStructure(Lattice.cubic(3.0), ["Li"], [[0, 0, 0]]))


@pytest.mark.parametrize(
    "change", [{"sites": []}, {"sites": [[["Qq", None, None, 1.0]]]}, {"lattice": [1]}, {"charge": "x"}]
)
def test_damaged_crystals_are_refused(change):
    from pymatgen.core import Lattice, Structure

    data = json.loads(dumps(Structure(Lattice.cubic(3.0), ["Li"], [[0, 0, 0]])))
    with pytest.raises(ValueError):
        loads(json.dumps({**data, **change}))
