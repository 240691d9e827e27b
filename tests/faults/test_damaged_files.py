"""Files that were cut, edited or made up: always one error that names the file, never code that runs."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.build import molecule
from atomflow.energetics import Relaxed
from atomflow.errors import BadFileError
from atomflow.model import dumps, load_file


def whole():
    """One of everything the codec knows, as plain data."""
    water = molecule("water")
    atoms = water.atoms
    atoms.set_array("part", np.array([0, 0, 1]))
    atoms.pbc, atoms.cell = True, [5, 5, 5]
    things = {"molecule": water, "relaxed": Relaxed(atoms, 1.0, True, 3), "tuple": (1, float("nan")), "path": Path("x")}
    return json.loads(dumps(things))


WHOLE = whole()


def places(data, so_far=()):
    """Where a value can be replaced."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*so_far, key)
        yield from places(value, (*so_far, key))


PLACES = list(places(WHOLE))
JUNK = [None, True, -1, 10**40, 1e308, "", "x", [], [1], {}, {"a": []}, [[1, 2, 3]], "|O", "<U9999999999", "V8"]
JUNK += [{"$type": "float", "value": "q"}, {"$type": "nowhere"}, {"$type": ["float"]}, {"$type": "path", "value": 3}]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(JUNK))
def test_a_changed_value_is_read_or_refused(tmp_path_factory, place, junk):
    data = copy.deepcopy(WHOLE)
    home = data
    for key in place[:-1]:
        home = home[key]
    home[place[-1]] = junk
    path = tmp_path_factory.getbasetemp() / "edited.json"
    path.write_text(json.dumps(data))
    try:
        load_file(path)
    except BadFileError as error:
        assert "edited.json" in str(error)  # any other error fails the test


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_a_cut_file_is_refused(tmp_path, share):
    text = json.dumps(WHOLE)
    path = tmp_path / "cut.json"
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(BadFileError, match=r"cut\.json"):
        load_file(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000, b"\x80\x04\x95pickle"])
def test_bytes_that_are_no_json_are_refused(tmp_path, content):
    path = tmp_path / "binary.json"
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=r"binary\.json"):
        load_file(path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(BadFileError, match="No such file"):
        load_file(tmp_path / "nowhere.json")
    with pytest.raises(BadFileError, match="directory"):
        load_file(tmp_path)


def test_a_file_cannot_run_code(tmp_path):
    """Names of modules, classes and pickles in the place of a tag are only unknown tags."""
    marker = tmp_path / "ran"
    path = tmp_path / "evil.json"
    for tag in ("os.system", "builtins.eval", "pathlib.Path.touch", "atomflow.flow.driver.Flow", "pickle"):
        path.write_text(json.dumps({"$type": tag, "value": f"open({str(marker)!r}, 'w')"}))
        with pytest.raises(BadFileError, match="unknown type tag"):
            load_file(path)
    assert not marker.exists()
