"""What is written comes back the same, and nothing else is believed."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atomflow.build import molecule
from atomflow.calculators import CalculatorSpec
from atomflow.energetics import Relaxed
from atomflow.errors import BadFileError
from atomflow.model import Notice, content_key, decode, dumps, encode, load_file, loads, record

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text().filter(lambda key: key != "$type")
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=15,
)


def same(a, b):
    """Equality that tells tuples from lists, 1 from 1.0 and True, and takes NaN for itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(PLAIN)
def test_plain_data_comes_back_the_same(data):
    assert same(loads(dumps(data)), data)


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_]),
        shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3),
    )
)
def test_arrays_come_back_bit_for_bit(array):
    back = loads(dumps(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@settings(max_examples=30)
@given(st.integers(0, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_atoms_come_back_the_same(count, seed, periodic):
    rng = np.random.default_rng(seed)
    atoms = Atoms(numbers=rng.integers(1, 100, count), positions=rng.normal(scale=10, size=(count, 3)))
    atoms.set_array("ghost", rng.random(count) < 0.5)
    atoms.info.update(charge=-1, spin=2, name="Ü−x")
    if periodic:
        atoms.set_cell(rng.normal(size=(3, 3)) + 9 * np.eye(3))
        atoms.pbc = (True, False, True)
    back = loads(dumps(atoms))
    assert np.array_equal(back.numbers, atoms.numbers)
    assert np.array_equal(back.positions, atoms.positions)
    assert np.array_equal(back.arrays["ghost"], atoms.arrays["ghost"])
    assert np.array_equal(back.cell, atoms.cell)
    assert np.array_equal(back.pbc, atoms.pbc)
    assert back.info == atoms.info


@pytest.mark.parametrize("name", ["DMF", "TFSI-", "Zn2+", "PF6-"])
def test_molecule_comes_back_with_exact_coordinates_and_bonds(name):
    first = molecule(name)
    back = loads(dumps(first))
    assert np.array_equal(back.atoms.positions, first.atoms.positions)
    assert (back.name, back.charge, back.multiplicity, back.aliases) == (name, first.charge, 1, first.aliases)

    def bonds(m):
        return {(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), str(b.GetBondType())) for b in m.graph.GetBonds()}

    assert bonds(back) == bonds(first)


def test_records_come_back_and_what_is_not_stored_is_left_out():
    relaxed = Relaxed(Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), -31.7, True, 4)
    back = loads(dumps([relaxed, Notice("code", "text"), CalculatorSpec("xtb", {"a": 1}, instance=object())]))
    assert isinstance(back[0], Relaxed)
    assert back[0].energy_eV == relaxed.energy_eV
    assert back[1] == Notice("code", "text")
    assert back[2] == CalculatorSpec("xtb", {"a": 1})
    assert back[2].instance is None


def test_paths_come_back():
    assert loads(dumps(Path("a/b"))) == Path("a/b")


@pytest.mark.parametrize("bad", [object(), {1: 2}, {"$type": "path"}, lambda: None, {1, 2}, b"bytes"])
def test_what_cannot_come_back_is_not_written(bad):
    with pytest.raises(TypeError):
        dumps(bad)


@pytest.mark.parametrize(
    "text",
    [
        '{"$type": "os.system", "command": "true"}',
        '{"$type": "atomflow.errors.UserError"}',
        '{"$type": "atomflow.notice/1", "code": "a", "text": "b", "more": 1}',
        '{"$type": "ndarray", "dtype": "|O", "shape": [1], "data": [1]}',
    ],
)
def test_unknown_tags_and_fields_are_refused(text):
    with pytest.raises(ValueError, match=r"tag|field|objects"):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        '{"$type": "nobody/9"}',
        '{"$type": "ndarray", "dtype": "<f8", "shape": [3], "data": [1.0]}',
        '{"$type": "atoms"}',
        '{"$type": ["list"]}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_not_ours_is_a_bad_file(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFileError, match="x.json"):
        load_file(path)


def test_every_truncation_of_a_file_is_noticed(tmp_path):
    text = dumps({"molecule": molecule("water"), "value": 1.5})
    path = tmp_path / "cut.json"
    for length in range(0, len(text), 37):
        path.write_text(text[:length])
        with pytest.raises(BadFileError):
            load_file(path)
    path.write_text(text)
    assert load_file(path)["value"] == 1.5


def test_a_file_that_is_not_text_is_a_bad_file(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BadFileError):
        load_file(path)


@given(st.dictionaries(KEYS, st.floats(allow_nan=False), min_size=2, max_size=5))
def test_content_key_ignores_the_order_of_keys_only(data):
    assert content_key(data) == content_key(dict(reversed(data.items())))
    first = next(iter(data))
    assert content_key(data) != content_key({**data, first: data[first] + 1.0 if abs(data[first]) < 1e15 else 0.5})


def test_content_key_sees_the_last_digit_the_charge_and_the_type():
    atoms = Atoms("H", [[0.1, 0, 0]])
    key = content_key(atoms)
    moved, charged = atoms.copy(), atoms.copy()
    moved.positions[0, 0] = np.nextafter(0.1, 1)
    charged.info["charge"] = 1
    assert len({key, content_key(moved), content_key(charged)}) == 3
    assert content_key([1]) != content_key((1,)) != content_key([1.0])
    assert content_key(atoms.copy()) == key


def test_a_schema_belongs_to_one_class():
    @dataclasses.dataclass(frozen=True)
    class Other:
        code: str

    with pytest.raises(TypeError, match="taken"):
        record("atomflow.notice/1")(Other)
    with pytest.raises(TypeError, match="dataclass"):
        record("atomflow.test/1")(object)
    assert decode(encode(Notice("a", "b"))) == Notice("a", "b")


def test_output_is_strict_json():
    json.loads(dumps([float("nan"), float("inf")]), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
