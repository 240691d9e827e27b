"""What ``atomflow status``, ``show`` and ``clean`` say about a store, and what ``clean`` leaves."""

import json
import os
import time

import pytest

from atomflow.cli import main
from atomflow.flow import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMFLOW_STORE", str(tmp_path / "store"))
    kept = Store(tmp_path / "store")
    for number in range(3):
        kept.add("my.step", f"{number:x}" * 64, [number], {"energies_eV": list(range(20))}, 1800.0, "0.0")
    kept.add("my.other", "a" * 64, ["x"], 1.0, 0.5, "0.0")
    return kept


def run(capsys, *arguments):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


def unfinished(store, age_s):
    part = store.folder / "my.step" / f"{'b' * 64}.12345678.part"
    part.mkdir()
    then = time.time() - age_s
    os.utime(part, (then, then))
    return part


def damage(store):
    (store.folder / "my.other" / ("a" * 64) / "result.json").write_text("x")


def test_status_counts(capsys, store):
    unfinished(store, 10)
    damage(store)
    code, out, _ = run(capsys, "status", "--json")
    body = json.loads(out)
    assert code == 0
    by_name = {row["step"]: row for row in body["steps"]}
    assert (by_name["my.step"]["finished"], by_name["my.step"]["unfinished"]) == (3, 1)
    assert by_name["my.step"]["hours"] == pytest.approx(1.5)
    assert (by_name["my.other"]["finished"], body["damaged"]) == (0, 1)
    assert "my.step" in run(capsys, "status")[1]


def test_status_of_nothing(capsys, tmp_path):
    code, out, _ = run(capsys, "status", "--store", str(tmp_path / "none"))
    assert code == 0 and "nothing is finished" in out and not (tmp_path / "none").exists()


def test_show_by_the_beginning_of_the_key(capsys, store):
    code, out, _ = run(capsys, "show", "1111")
    assert code == 0 and "my.step" in out and "... 17 more" in out
    whole = json.loads(run(capsys, "show", "1111", "--json")[1])
    assert whole["result"] == {"energies_eV": list(range(20))} and whole["inputs"] == [1]


@pytest.mark.parametrize("key", ["11", "zzzz", "ffff"])
def test_show_of_what_is_not_there(capsys, store, key):
    code, out, err = run(capsys, "show", key)
    assert code == 2 and err.count("\n") == 1 and key in err and out == ""


def test_show_of_a_key_that_fits_two(capsys, store):
    store.add("my.other", "1" * 63 + "2", [], 1, 0.0, "0.0")
    code, _, err = run(capsys, "show", "1111")
    assert code == 2 and "2 steps" in err


def test_show_of_a_damaged_result(capsys, store):
    path = store.folder / "my.other" / ("a" * 64) / "result.json"
    path.write_text("2.0\n")  # of the same size
    code, _, err = run(capsys, "show", "aaaa")
    assert code == 2 and "checksum" in err and err.count("\n") == 1


def test_clean_says_asks_and_spares_the_rest(capsys, store, monkeypatch):
    code, out, _ = run(capsys, "clean", "--step", "my.other", "--dry-run")
    assert code == 0 and "1 entries" in out and store.find("my.other", "a" * 64)
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(capsys, "clean", "--step", "my.other")[0] == 130
    assert store.find("my.other", "a" * 64)
    assert run(capsys, "clean", "--step", "my.other", "--yes")[0] == 0
    assert store.find("my.other", "a" * 64) is None and len(list(store.keys("my.step"))) == 3
    assert run(capsys, "clean", "--older-than", "1", "--yes")[0] == 0
    assert len(list(store.keys("my.step"))) == 3
    assert run(capsys, "clean", "--all", "--yes")[0] == 0
    assert list(store.keys("my.step")) == []


def test_clean_leaves_what_may_still_be_written(capsys, store):
    young = unfinished(store, 10)
    run(capsys, "clean", "--unfinished", "--yes")
    assert young.exists()
    then = time.time() - 7200
    os.utime(young, (then, then))
    run(capsys, "clean", "--unfinished", "--yes")
    assert not young.exists() and len(list(store.keys("my.step"))) == 3


def test_clean_of_damage(capsys, store):
    damage(store)
    store.find("my.other", "a" * 64)
    assert len(store.put_aside()) == 1
    run(capsys, "clean", "--damaged", "--yes")
    assert store.put_aside() == []


@pytest.mark.parametrize("arguments", [["clean"], ["clean", "--step", "my.stepp"], ["clean", "--older-than", "-1"]])
def test_clean_wants_to_know_what(capsys, store, arguments):
    code, _, err = run(capsys, *arguments)
    assert code == 2 and err.count("\n") == 1
    assert len(list(store.keys("my.step"))) == 3


def test_two_runs_of_different_names_share_what_is_finished(capsys, tmp_path, store):
    pytest.importorskip("tblite")
    words = ["bind", "Li+", "water", "--starts", "2", "--jobs", "1", "--quiet", "--out"]
    assert run(capsys, *words, str(tmp_path / "one"))[0] == 0
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/entry.json")}
    assert len(before) > 6
    assert run(capsys, *words, str(tmp_path / "two"))[0] == 0
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/entry.json")} == before
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert first["results"] == second["results"]


def test_a_damaged_step_is_computed_again_and_said(capsys, tmp_path, store):
    pytest.importorskip("tblite")
    words = ["bind", "Li+", "water", "--starts", "2", "--jobs", "1", "--out"]
    run(capsys, *words, str(tmp_path / "one"))
    name = "atomflow.energetics.relax.relax"
    path = store.folder / name / next(store.keys(name)) / "result.json"
    path.write_text(path.read_text().replace("0", "1", 1))
    code, _, err = run(capsys, *words, str(tmp_path / "two"))
    assert code == 0 and "put aside" in err and "computed again" in err
    first, second = (json.loads((tmp_path / n / "result.json").read_text()) for n in ("one", "two"))
    assert first["results"] == second["results"]


@pytest.mark.parametrize("command", [["status"], ["show", "1111"], ["bind", "Li+", "water"]])
def test_a_newer_store_is_refused_in_one_line(capsys, tmp_path, monkeypatch, store, command):
    monkeypatch.chdir(tmp_path)
    (store.folder / "store.json").write_text('{"layout": 99}')
    code, _, err = run(capsys, *command)
    assert code == 2 and "newer" in err and "--store" in err and err.count("\n") == 1
