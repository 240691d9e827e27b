"""A crate holds a result and everything it came from, and other programs can read it."""

import hashlib
import json
import zipfile

import pytest

from atomflow.cli import main
from atomflow.errors import BadOptionError, OutputError
from atomflow.flow import Flow, Store
from atomflow.flow.export import export_crate, parents, with_ancestors

pytest.importorskip("rocrate")


@pytest.fixture
def made(tmp_path, steps, seen):
    """A store with a graph of five steps, one of them with a file, and its last step."""
    store = Store(tmp_path / "store")
    with Flow(store) as flow:
        squares = flow.map(steps.square, [str(seen)] * 3, [1.0, 2.0, 3.0])
        total = flow.submit(steps.total, str(seen), squares)
        flow.submit(steps.writes, folder=str(seen), text="kept")
    return store, (total.step, total.key)


def test_a_step_leads_to_what_it_came_from(made):
    store, last = made
    entries = with_ancestors(store, [last])
    assert len(entries) == 4
    assert len(parents(store, store.find(*last))) == 3
    with pytest.raises(BadOptionError, match="--store"):
        with_ancestors(store, [(last[0], "0" * 64)])


def test_the_crate_says_what_is_in_it(made, tmp_path):
    from rocrate.rocrate import ROCrate

    store, last = made
    everything = [(entry.step, entry.key) for entry in store.entries()]
    export_crate(store, with_ancestors(store, everything), tmp_path / "crate", "squares", "five steps")
    crate = ROCrate(tmp_path / "crate")
    actions = {a.id: a for a in crate.get_by_type("CreateAction")}
    assert len(actions) == 5 and crate.name == "squares"
    total = actions["#" + "/".join(last)]
    assert len(total["object"]) == 4, "its own inputs and three results"
    for entity in crate.data_entities:
        content = (tmp_path / "crate" / entity.id).read_bytes()
        if "sha256" in entity.properties():
            assert hashlib.sha256(content).hexdigest() == entity["sha256"]
    (kept,) = (tmp_path / "crate").rglob("kept.txt")
    assert kept.read_text() == "kept"
    with pytest.raises(OutputError, match="there already"):
        export_crate(store, [], tmp_path / "crate", "again", "")


def test_a_study_is_exported_from_the_command_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    main(
        [
            "run",
            "cation-anchor",
            "--calculator",
            "xtb",
            "--ions",
            "Li+",
            "--starts",
            "1",
            "--jobs",
            "1",
            "-q",
            "--out",
            "x",
        ]
    )
    capsys.readouterr()
    main(["export", "x", "-o", "x.zip"])
    assert "x.zip: " in capsys.readouterr().out
    with zipfile.ZipFile("x.zip") as crate:
        names = set(crate.namelist())
        graph = json.loads(crate.read("ro-crate-metadata.json"))["@graph"]
    used = json.loads((tmp_path / "x/steps.json").read_text())["steps"]
    assert {f"steps/{row['step']}/{row['key']}/result.json" for row in used} <= names
    assert {"study/result.json", "study/report.html", "study/table.csv"} <= names
    assert sum(item["@type"] == "CreateAction" for item in graph) == len(used) + 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nothing", "-o", "y"], "unknown key"),
        (["export", "x", "-o", "y"], "too short"),
        (["export", "x"], "--out"),
    ],
)
def test_mistakes_get_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1 and not (tmp_path / "y").exists()
