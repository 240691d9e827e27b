"""The store: an entry is whole or not there, damage is seen, two drivers never harm each other."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.build import molecule
from atomflow.errors import StoreError
from atomflow.flow import Store

STEP = "some.module.step"
FILES = ("entry.json", "inputs.json", "result.json")


def key(text):
    return hashlib.sha256(text.encode()).hexdigest()


def add(store, name="a", result=None):
    return store.add(STEP, key(name), [name], {"value": 9} if result is None else result, 1.5, "0.0")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_goes_in_comes_out(store):
    atoms = molecule("DMF").atoms
    add(store, result={"atoms": atoms, "array": np.arange(3.0), "pair": (1, float("nan"))})
    entry, result = Store(store.folder).get(STEP, key("a"))
    assert np.array_equal(result["atoms"].positions, atoms.positions) and result["array"].tolist() == [0, 1, 2]
    assert (entry.seconds, entry.step, entry.key) == (1.5, STEP, key("a"))
    assert store.steps() == [STEP] and list(store.keys(STEP)) == [key("a")]
    assert {p.name for p in entry.folder.iterdir()} == set(FILES)
    assert store.unfinished() == store.put_aside() == []


def test_nothing_is_there_before(store):
    assert store.get(STEP, key("a")) is None and store.steps() == [] and not store.folder.exists()


def test_the_second_of_two_equal_entries_is_dropped(store):
    add(store, result={"value": 1})
    add(store, result={"value": 2})
    assert store.get(STEP, key("a"))[1] == {"value": 1}
    assert store.unfinished() == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "binary", "gone", "a bit"])
def test_damage_is_put_aside_and_can_be_computed_again(store, name, damage):
    path = add(store).folder / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    changed = {
        "cut": whole[:-9],
        "empty": b"",
        "binary": b"\xff\xfe\x80",
        "a bit": whole[:middle] + bytes([whole[middle] ^ 0x40]) + whole[middle + 1 :],
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    found = store.get(STEP, key("a"))
    if name == "inputs.json" and damage == "a bit":  # only sizes are looked at where nothing is read
        assert found[1] == {"value": 9}
        with pytest.raises(ValueError, match="checksum"):
            store.read(found[0], name)
        return
    if found is not None:  # a bit of the time or the host may turn: neither enters a result
        assert name == "entry.json" and damage == "a bit" and found[1] == {"value": 9}
        return
    (_, _, reason), (aside,) = store.quarantined[0], store.put_aside()
    assert reason and aside.name.startswith(key("a"))
    add(store)
    assert store.get(STEP, key("a"))[1] == {"value": 9}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_no_flipped_bit_changes_a_result(tmp_path_factory, place, bit):
    store = Store(tmp_path_factory.mktemp("bits"))
    entry = add(store)
    files = [entry.folder / name for name in ("entry.json", "result.json")]
    sizes = [path.stat().st_size for path in files]
    place %= sum(sizes)
    path = files[0] if place < sizes[0] else files[1]
    content = bytearray(path.read_bytes())
    content[place if path is files[0] else place - sizes[0]] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = store.get(STEP, key("a"))
    except StoreError as error:
        assert "newer" in str(error)  # the layout's own digit
        return
    assert found is None or found[1] == {"value": 9}


def test_an_entry_under_a_wrong_key_is_not_believed(store):
    entry = add(store)
    shutil.copytree(entry.folder, entry.folder.with_name(key("b")))
    assert store.get(STEP, key("b")) is None
    assert store.get(STEP, key("a"))[1] == {"value": 9}


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "a/b", "", "entry.json", "a\\b"])
def test_a_manifest_cannot_name_files_elsewhere(store, name):
    path = add(store).folder / "entry.json"
    about = json.loads(path.read_text())
    about["files"][name] = {"bytes": 1, "sha256": "0"}
    path.write_text(json.dumps(about))
    assert store.find(STEP, key("a")) is None and store.quarantined


@pytest.mark.parametrize(
    ("step", "k"), [("..", key("a")), ("a/b", key("a")), (STEP, "../x"), (STEP, ""), ("", key("a"))]
)
def test_names_cannot_leave_the_store(store, step, k):
    with pytest.raises(ValueError, match="cannot be part"):
        store.find(step, k)


def test_a_newer_store_is_left_alone(store):
    add(store)
    (store.folder / "store.json").write_text('{"layout": 2}')
    with pytest.raises(StoreError, match=r"newer atomflow .*--store"):
        Store(store.folder)


def test_an_entry_of_a_newer_layout_is_not_quarantined(store):
    path = add(store).folder / "entry.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layout": 2}))
    with pytest.raises(StoreError, match="newer atomflow"):
        store.find(STEP, key("a"))
    assert path.exists()


def test_a_file_in_the_way_is_the_user_s_error(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StoreError, match="--store"):
        add(Store(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_read_only_store_is_read(store):
    """Root may write anywhere, so the folder is mounted read-only where that can be done, else its mode is changed."""
    add(store)
    done = subprocess.run(["mount", "--bind", "-o", "ro", store.folder, store.folder], capture_output=True)
    if done.returncode and os.geteuid() == 0:
        pytest.skip("root here, and no right to mount: nothing is read-only")
    if done.returncode:
        for folder in (store.folder, store.folder / STEP):
            folder.chmod(0o555)
    try:
        reader = Store(store.folder)
        assert reader.get(STEP, key("a"))[1] == {"value": 9}
        with pytest.raises(StoreError, match=r"cannot be written.*--store"):
            add(reader, "b")
        assert reader.get(STEP, key("b")) is None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", store.folder], check=True)
        else:
            for folder in (store.folder, store.folder / STEP):
                folder.chmod(0o755)


def test_a_full_disk_loses_nothing(small_disk):
    store = Store(small_disk / "store")
    add(store)
    with pytest.raises(StoreError, match="No space left"):
        for number in range(100):
            add(store, f"big {number}", "x" * 20_000)
    assert store.unfinished() == []
    finished = [store.get(STEP, k) for k in store.keys(STEP)]
    assert len(finished) > 3 and all(finished)
    shutil.rmtree(store.get(STEP, key("big 0"))[0].folder)
    add(store, "small")
    assert store.get(STEP, key("small"))[1] == {"value": 9}


def test_a_power_cut_before_the_rename_leaves_an_unfinished_entry(store, monkeypatch):
    class Cut(BaseException):
        pass

    def cut(*_):
        raise Cut

    monkeypatch.setattr(Path, "rename", cut)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # no time to tidy up
    with pytest.raises(Cut):
        add(store)
    monkeypatch.undo()
    (left,) = store.unfinished()
    assert {p.name for p in left.iterdir()} == set(FILES)
    assert store.get(STEP, key("a")) is None
    add(store)
    assert store.get(STEP, key("a"))[1] == {"value": 9}


WRITER = """
import sys
from atomflow.flow import Store
store = Store(sys.argv[1])
for number in range(60):
    key = f"{number:064x}"
    if store.get("some.step", key) is None:
        store.add("some.step", key, [number], {"value": number, "who": sys.argv[2]}, 0.0, "0.0")
"""


def test_two_drivers_at_once_do_no_harm(tmp_path):
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "store"), who], stderr=subprocess.PIPE, text=True
        )
        for who in ("first", "second")
    ]
    for driver in drivers:
        assert driver.communicate()[1] == "" and driver.returncode == 0
    store = Store(tmp_path / "store")
    found = [store.get("some.step", f"{number:064x}") for number in range(60)]
    assert [result["value"] for _, result in found] == list(range(60))
    assert store.unfinished() == store.put_aside() == [] and not store.quarantined


def test_a_killed_writer_leaves_only_whole_entries(tmp_path):
    driver = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(str(tmp_path / "store"),))
    driver.start()
    folder = tmp_path / "store" / "some.step"
    while len(list(folder.glob("*/entry.json"))) < 20:
        assert driver.is_alive()
    driver.kill()
    driver.join()
    store = Store(tmp_path / "store")
    keys = list(store.keys("some.step"))
    assert len(keys) >= 19 and all(store.get("some.step", k) for k in keys)
    assert len(store.unfinished()) <= 1 and not store.quarantined


def _write_for_ever(folder):
    store, number = Store(folder), 0
    while True:
        store.add("some.step", f"{number:064x}", [number], {"value": "x" * 5000}, 0.0, "0.0")
        number += 1
