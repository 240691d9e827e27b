"""`atomflow list protocols`."""

import json

import pytest

from atomflow.cli import main
from atomflow.dynamics import find_protocol, protocol_names


def run(capsys, *arguments):
    main(list(arguments))
    return capsys.readouterr().out


def test_the_table_has_every_protocol(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys, "list", "protocols")
    for name, title in protocol_names().items():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert title in line
    assert "Stages" in out


def test_the_json_says_stages_time_and_grade(capsys):
    rows = {row["name"]: row for row in json.loads(run(capsys, "list", "protocols", "--json"))}
    assert set(rows) == set(protocol_names())
    assert rows["quick"]["time_ps"] == pytest.approx(31.0)
    assert rows["polymer-full"]["stages"] == 23
    assert rows["polymer-full"]["grade"] == "secondary"
    assert "not settled" in rows["quick"]["cannot"]


def test_a_folder_of_ones_own_is_listed(capsys, tmp_path):
    (tmp_path / "one.yaml").write_text(
        "name: one\ntitle: One\nsource: me\ngrade: assumed\ncannot: []\n"
        "stages: [{name: rest, goal: rest, ensemble: nvt, time_ps: 7, temperature_K: target, check: temperature}]\n"
    )
    rows = {r["name"]: r for r in json.loads(run(capsys, "list", "protocols", "--json", "--folder", str(tmp_path)))}
    assert (rows["one"]["time_ps"], rows["one"]["stages"]) == (7.0, 1)
    assert find_protocol("one", temperature_K=300, folders=tmp_path).cannot == ()


def test_a_broken_file_is_one_line_and_exit_code_2(capsys, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    with pytest.raises(SystemExit) as stop:
        main(["list", "protocols", "--folder", str(tmp_path)])
    assert stop.value.code == 2
    assert "bad.yaml: missing key 'title'" in capsys.readouterr().err
