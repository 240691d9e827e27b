"""Our values get onto the scoreboard from a finished study only, and a changed one is found.

Every study here is made up and lives in a temporary folder; no test writes into the repository's ``published/``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from atomflow.cli.published import published as command
from atomflow.errors import BadFileError, BadOptionError, DamagedRecordError, OutputError, UnknownNameError
from atomflow.library import library_folder
from atomflow.report import published_store
from atomflow.report.scoreboard import (
    compare,
    latest_records,
    load_records,
    load_rows,
    record_study,
    scoreboard_table,
    to_markdown,
)

XYZ = "1\nmade up\nLi 0 0 0\n"


def result_of(folder: Path, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "schema": "atomflow.binding/1",
        "study": "cation-anchor",
        "atomflow_version": "0.0.test",
        "created": "2026-01-31T12:00:00+00:00",
        "command": "atomflow run cation-anchor --out made-up",
        "task_time_s": 12.5,
        "inputs": {"seed": 1, "ions": ["Li+", "Zn2+"]},
        "packages": {"pyscf": "0.test"},
        "commit": None,
        "warnings": [{"code": "made-up", "text": "these numbers are made up"}],
        "results": {"binding": [{"ion": "Li+"}]},
        "rows": {
            "P4.a": {
                "grade": "default",
                "values": [
                    {"label": "Li+ - DMF", "value": -2.5, "unit": "eV", "uncertainty": 0.03, "method": "made-up/1"},
                    {"label": "Zn2+ - DMF", "value": -7.25, "unit": "eV", "uncertainty": None, "method": "made-up/1"},
                ],
                "statement": "Zn2+ binds strongest",
                "agrees": True,
                "explanation": "because it was made up so",
            }
        },
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*/*.xyz"))
        },
    }
    return {**data, **changes}


def write_result(folder: Path, data: dict[str, Any]) -> Path:
    (folder / "result.json").write_text(json.dumps(data))
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    (folder / "minima").mkdir(parents=True)
    (folder / "minima" / "Li-DMF.xyz").write_text(XYZ)
    return write_result(folder, result_of(folder))


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return tmp_path / "published"


def edit_json(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def row_body(data: dict[str, Any]) -> dict[str, Any]:
    return data["rows"]["P4.a"]


# ------------------------------------------------------------------------------------------------- recording


def test_the_repository_holds_only_sound_records():
    # Reading checks each one against its kept result.
    ids = {row.id for row in load_rows()}
    assert {item.row for item in load_records()} <= ids


def test_recording_keeps_values_and_evidence(study, board):
    (item,) = record_study(study, board)
    sha = hashlib.sha256((study / "result.json").read_bytes()).hexdigest()
    assert item.result_sha256 == sha
    assert files_of(board) == sorted(
        [
            f"records/P4.a__cation-anchor__{sha[:8]}.json",
            f"results/cation-anchor-{sha[:8]}/minima/Li-DMF.xyz",
            f"results/cation-anchor-{sha[:8]}/result.json",
        ]
    )
    assert (board / "results" / item.evidence_name / "result.json").read_bytes() == (study / "result.json").read_bytes()
    assert load_records(board) == [item]
    assert [(value.label, value.value, value.uncertainty) for value in item.values] == [
        ("Li+ - DMF", -2.5, 0.03),
        ("Zn2+ - DMF", -7.25, None),
    ]
    assert (item.date, item.task_time_s, item.warnings[0].code, item.commit) == ("2026-01-31", 12.5, "made-up", None)
    stated = json.loads((board / "records" / item.file_name).read_text())
    assert stated["schema"] == "atomflow.published-record/1"
    assert stated["inputs"] == {"seed": 1, "ions": ["Li+", "Zn2+"]}


def test_recording_twice_changes_nothing(study, board):
    record_study(study, board)
    before = {path: path.stat().st_mtime_ns for path in (board / "results").rglob("*")}
    record_study(study, board)
    assert {path: path.stat().st_mtime_ns for path in (board / "results").rglob("*")} == before
    assert len(load_records(board)) == 1


def test_a_lost_record_comes_back_from_its_evidence(study, board):
    (item,) = record_study(study, board)
    (board / "records" / item.file_name).unlink()
    assert record_study(board / "results" / item.evidence_name, board) == load_records(board) == [item]


def test_two_rows_share_their_evidence(study, board, tmp_path):
    data = result_of(study, study="litfsi-dissociation")
    body = data["rows"].pop("P4.a")
    data["rows"] = {"P3.b": {**body, "agrees": False}, "P3.a": body}
    records = record_study(write_result(study, data), board)
    assert [item.row for item in records] == ["P3.a", "P3.b"]
    assert len(list((board / "results").iterdir())) == 1
    assert load_records(board) == records


def test_no_records_is_not_an_error(tmp_path):
    assert load_records(tmp_path) == []


def refuse(study: Path, board: Path, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        record_study(study, board)
    assert "\n" not in str(caught.value)
    assert not board.exists() or files_of(board) == []


def test_a_study_without_result_has_not_finished(tmp_path, board):
    refuse(tmp_path, board, BadFileError, "has not finished")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(finished=False), "has not finished"),
        (lambda d: d.update(results={}), "has not finished"),
        (lambda d: d.update(rows={}), "states nothing about a published row"),
        (lambda d: d.pop("schema"), "not a study's result"),
        (lambda d: d.update(study="../evil"), "is no workflow name"),
        (lambda d: d.pop("command"), "command must be text"),
        (lambda d: d.update(created="yesterday"), "not an ISO 8601 date"),
        (lambda d: d.update(task_time_s="long"), "task_time_s must be a number"),
        (lambda d: d.update(warnings=[{"code": 1}]), "a warning must have"),
        (lambda d: d.update(packages={"pyscf": 2}), "pyscf must be text"),
        (lambda d: d.update(inputs=[]), "inputs must be a mapping"),
        (lambda d: d.update(files={"minima/Li-DMF.xyz": "abc"}), "64 small hex digits"),
        (lambda d: d["rows"].update({"../x": row_body(d)}), "is no published row"),
        (lambda d: row_body(d).update(grade="superb"), "grade 'superb' must be one of"),
        (lambda d: row_body(d).update(agrees="yes"), "agrees must be true, false or null"),
        (lambda d: row_body(d).update(values=[]), "at least one value"),
        (lambda d: row_body(d)["values"][0].update(value=None), r"Li\+ - DMF: value must be a number"),
        (lambda d: row_body(d)["values"][0].update(value=True), r"Li\+ - DMF: value must be a number"),
        (lambda d: row_body(d)["values"][0].update(uncertainty=-0.1), "cannot be negative"),
        (lambda d: row_body(d)["values"][0].pop("method"), "method must be text"),
        (lambda d: row_body(d)["values"][0].pop("unit"), "unit must be text"),
        (lambda d: row_body(d)["values"][1].update(label="Li+ - DMF"), "two values have the same label"),
        (lambda d: row_body(d)["values"][0].update(value=float("nan")), "NaN is not a finite number"),
        (lambda d: row_body(d)["values"][0].update(value=float("-inf")), "-Infinity is not a finite number"),
        (
            lambda d: d["results"].update(energy={"$type": "float", "value": "nan"}),
            r"results/energy is not a finite number",
        ),
    ],
)
def test_a_result_no_record_can_carry(study, board, change, message):
    edit_json(study / "result.json", change)
    refuse(study, board, BadFileError, message)


def test_a_number_too_large_to_be_one(study, board):
    text = (study / "result.json").read_text().replace("-7.25", "-1e999")
    (study / "result.json").write_text(text)
    refuse(study, board, BadFileError, "rows/P4.a/values/1/value is not a finite number")


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_a_truncated_result(study, board, text):
    (study / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refuse(study, board, BadFileError, "result.json: not ")


def test_an_unknown_row(study, board):
    edit_json(study / "result.json", lambda d: d.update(rows={"P4.z": row_body(d)}))
    refuse(study, board, UnknownNameError, "unknown published row 'P4.z'")


@pytest.mark.parametrize(
    ("row", "message"),
    [("P3.a", "recomputed by the study 'litfsi-dissociation'"), ("P1.a", "not recomputed by any study yet")],
)
def test_a_row_of_another_study(study, board, row, message):
    edit_json(study / "result.json", lambda d: d.update(rows={row: row_body(d)}))
    refuse(study, board, BadFileError, message)


# ------------------------------------------------------------------------------------------ evidence of a study


def test_a_changed_file_is_not_evidence(study, board):
    (study / "minima" / "Li-DMF.xyz").write_text(XYZ.replace("0 0 0", "0 0 1"))
    refuse(study, board, BadFileError, "changed after the study finished")


def test_a_missing_file_is_not_evidence(study, board):
    (study / "minima" / "Li-DMF.xyz").unlink()
    refuse(study, board, BadFileError, "it is not there")


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "minima/../../secret.txt", "", ".", "result.json", "./result.json", "..\\secret.txt", "a\0b"],
)
def test_a_path_that_leads_elsewhere(study, board, name):
    secret = study.parent / "secret.txt"
    secret.write_text("secret")
    write_result(study, result_of(study, files={name: hashlib.sha256(b"secret").hexdigest()}))
    refuse(study, board, BadFileError, "is not the relative path of a file")


def test_an_absolute_path(study, board):
    secret = study.parent / "secret.txt"
    secret.write_text("secret")
    write_result(study, result_of(study, files={str(secret): hashlib.sha256(b"secret").hexdigest()}))
    refuse(study, board, BadFileError, "is not the relative path of a file")


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_that_leads_out(study, board, folder):
    outside = study.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    name = "link/secret.txt" if folder else "secret.txt"
    (study / ("link" if folder else name)).symlink_to(outside if folder else outside / "secret.txt")
    write_result(study, result_of(study, files={name: hashlib.sha256(b"secret").hexdigest()}))
    refuse(study, board, BadFileError, "leads out of the study's folder")


def test_a_link_inside_is_kept_as_a_file(study, board):
    (study / "minima" / "best.xyz").symlink_to("Li-DMF.xyz")
    (item,) = record_study(write_result(study, result_of(study)), board)
    kept = board / "results" / item.evidence_name / "minima" / "best.xyz"
    assert kept.read_text() == XYZ
    assert not kept.is_symlink()


# ------------------------------------------------------------------------------------------------- tampering


def change_value(data: dict[str, Any]) -> None:
    data["values"][0]["value"] = -2.6


@pytest.mark.parametrize(
    "change",
    [
        change_value,
        lambda d: d.update(agrees=1),
        lambda d: d.update(created="2026-02-01T12:00:00+00:00"),
        lambda d: d.update(result_sha256="0" * 64),
        lambda d: d.update(row="P4.b"),
        lambda d: d.pop("explanation"),
        lambda d: d.update(remark="trust me"),
    ],
)
def test_a_record_edited_by_hand_is_found(study, board, change):
    (item,) = record_study(study, board)
    path = board / "records" / item.file_name
    edit_json(path, change)
    with pytest.raises(DamagedRecordError, match=item.file_name):
        load_records(board)


def test_value_and_result_edited_together_are_found(study, board):
    (item,) = record_study(study, board)
    edit_json(board / "records" / item.file_name, change_value)
    edit_json(board / "results" / item.evidence_name / "result.json", lambda d: change_value(row_body(d)))
    with pytest.raises(DamagedRecordError, match="is not the result that was recorded"):
        load_records(board)


@pytest.mark.parametrize("name", ["minima/Li-DMF.xyz", "result.json"])
@pytest.mark.parametrize("how", ["edited", "removed"])
def test_damaged_evidence_is_found(study, board, name, how):
    (item,) = record_study(study, board)
    path = board / "results" / item.evidence_name / name
    path.write_text(path.read_text() + "\n") if how == "edited" else path.unlink()
    with pytest.raises(DamagedRecordError, match=item.file_name):
        load_records(board)
    with pytest.raises(DamagedRecordError, match="damaged; remove that folder"):
        record_study(study, board)


@pytest.mark.parametrize("name", ["P4.a.json", "P4.a__cation-anchor__00000000.json"])
def test_a_record_put_there_by_hand_is_found(study, board, name):
    (item,) = record_study(study, board)
    (board / "records" / name).write_bytes((board / "records" / item.file_name).read_bytes())
    with pytest.raises(DamagedRecordError, match=name):
        load_records(board)


def test_a_record_renamed_to_another_row_is_found(study, board):
    (item,) = record_study(study, board)
    path = board / "records" / item.file_name
    path.rename(path.with_name(path.name.replace("P4.a", "P4.b")))
    with pytest.raises(DamagedRecordError, match="states nothing of the kind"):
        load_records(board)


# --------------------------------------------------------------------------------------------- where it is written


def test_an_installed_copy_is_not_written(study, tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "atomflow" / "_library" / "published"
    installed.mkdir(parents=True)
    monkeypatch.setattr(published_store, "library_folder", lambda name: installed)
    with pytest.raises(OutputError, match=r"run in a source checkout or pass a folder with --into$") as caught:
        record_study(study)
    assert caught.value.exit_code == 2
    assert files_of(installed) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_write_permission(study, board):
    board.mkdir()
    board.chmod(0o555)
    with pytest.raises(OutputError, match="Permission denied"):
        record_study(study, board)
    assert list(board.iterdir()) == []


def test_a_file_where_the_folder_should_be(study, board):
    board.write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        record_study(study, board)


@pytest.mark.parametrize("at", ["rename", "replace"])
def test_killed_half_way_leaves_nothing_half_written(study, board, monkeypatch, at):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, at, fail)
        with pytest.raises(OutputError, match="No space left on device"):
            record_study(study, board)
    assert not [name for name in files_of(board) if "/." in name]
    assert load_records(board) == []
    assert len(record_study(study, board)) == len(load_records(board)) == 1


# ------------------------------------------------------------------------------------------------- the table


def test_table_has_every_row_and_says_not_yet(study, board):
    record_study(study, board)
    rows = load_rows()
    table = scoreboard_table(rows, load_records(board))
    assert [entry["id"] for entry in table] == [row.id for row in rows]
    by_id = {entry["id"]: entry for entry in table}
    assert by_id["P1.a"]["ours"] == by_id["P1.a"]["command"] == ["not yet"]
    assert by_id["P3.a"]["ours"] == ["not yet"]
    assert by_id["P3.a"]["command"] == ["atomflow run litfsi-dissociation --thorough --out runs/P3.a"]
    ours = by_id["P4.a"]
    assert ours["ours"] == ["Li+ - DMF: -2.500 eV", "Zn2+ - DMF: -7.250 eV", "Zn2+ binds strongest"]
    assert ours["uncertainty"] == ["0.03 eV", "not stated", ""]
    assert (ours["grade"], ours["date"], ours["agrees"], ours["method"]) == (
        "default",
        "2026-01-31",
        "yes",
        ["made-up/1"],
    )
    assert ours["made_by"] == "atomflow run cation-anchor --out made-up"
    assert {tuple(entry) for entry in table} == {tuple(table[0])}
    json.dumps(table)


def test_a_rerun_replaces_and_another_method_stands_beside(study, board):
    record_study(study, board)
    edit_json(
        study / "result.json", lambda d: d.update(created="2026-02-01T01:00:00+02:00")
    )  # 23:00 UTC on 31 January: later than the first
    (newer,) = record_study(study, board)
    for value in row_body(data := result_of(study, created="2025-12-01T00:00:00"))["values"]:
        value["method"] = "made-up/2"
    (other,) = record_study(write_result(study, data), board)
    records = load_records(board)
    assert len(records) == 3
    assert latest_records(records) == [other, newer]
    entries = [entry for entry in scoreboard_table(load_rows(), records) if entry["id"] == "P4.a"]
    assert [entry["method"] for entry in entries] == [["made-up/2"], ["made-up/1"]]


def test_markdown_is_one_line_a_row(study, board):
    edit_json(study / "result.json", lambda d: row_body(d).update(statement="a | b\nc"))
    record_study(study, board)
    table = scoreboard_table(load_rows(), load_records(board))
    lines = to_markdown(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert {line.replace("\\|", "").count("|") for line in lines} == {11}
    assert "`atomflow run cation-anchor --thorough --out runs/P4.a`" in to_markdown(table)
    assert "a \\| b c" in to_markdown(table)
    assert "PL: \\~0.5" in to_markdown(table)


# ------------------------------------------------------------------------------------------------- reruns


def rerun(study: Path, tmp_path: Path, change) -> Path:
    data = result_of(study)
    change(row_body(data)["values"])
    path = tmp_path / "again.json"
    path.write_text(json.dumps(data))
    return path


def test_a_rerun_within_the_tolerance(study, board, tmp_path):
    (item,) = record_study(study, board)
    assert compare(item, study / "result.json") == []
    assert compare(item, rerun(study, tmp_path, lambda v: v[0].update(value=-2.519))) == []
    kJ = -2.5 * 96.48533212
    assert compare(item, rerun(study, tmp_path, lambda v: v[0].update(value=kJ, unit="kJ/mol"))) == []


def test_a_rerun_that_differs(study, board, tmp_path):
    (item,) = record_study(study, board)
    (difference,) = compare(item, rerun(study, tmp_path, lambda v: v[0].update(value=-2.521)))
    assert difference.label == "Li+ - DMF"
    assert (difference.recorded_eV, difference.recomputed_eV) == (-2.5, -2.521)
    assert difference.reason == "off by -0.0210 eV, more than 0.02 eV"
    assert compare(item, rerun(study, tmp_path, lambda v: v[0].update(value=-2.521)), tolerance_eV=0.05) == []


def test_a_rerun_with_other_labels_or_methods(study, board, tmp_path):
    (item,) = record_study(study, board)
    reasons = {
        d.label: d.reason for d in compare(item, rerun(study, tmp_path, lambda v: v[0].update(label="Na+ - DMF")))
    }
    assert reasons == {"Li+ - DMF": "not in the rerun", "Na+ - DMF": "not in the record"}
    (difference,) = compare(item, rerun(study, tmp_path, lambda v: v[1].update(method="made-up/2")))
    assert difference.to_dict()["reason"] == "another method: made-up/2 instead of made-up/1"


def test_a_rerun_that_cannot_be_compared(study, board, tmp_path):
    (item,) = record_study(study, board)
    with pytest.raises(BadOptionError, match="is no energy"):
        compare(item, rerun(study, tmp_path, lambda v: v[0].update(unit="S/cm")))
    other = write_result(study, result_of(study, study="ether-or-carbonyl")) / "result.json"
    with pytest.raises(BadFileError, match="a result of 'ether-or-carbonyl'"):
        compare(item, other)
    with pytest.raises(BadFileError, match="has not finished"):
        compare(item, tmp_path / "none.json")


# ------------------------------------------------------------------------------------------------- the command


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command, [str(item) for item in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_command_lists_every_row(study, board):
    before = files_of(library_folder("published"))
    assert run("--record", study, "--into", board).startswith(
        "recorded P4.a (default, 2 values) in P4.a__cation-anchor__"
    )
    out = run("--into", board)
    assert all(row.id in out for row in load_rows())
    assert "not yet" in out
    assert "Li+ - DMF: -2.500 eV ± 0.03 eV" in out
    assert files_of(library_folder("published")) == before


def test_command_shows_one_row_in_full(study, board):
    run("--record", study, "--into", board)
    out = run("--row", "p4.a", "--into", board)
    for text in (
        "10.1039/d5sc00071h",
        "because it was made up so",
        "these numbers are made up",
        "made-up/1",
        "pyscf 0.test",
        "we did not read",
    ):
        assert text in out
    assert "ours       not yet" in run("--row", "P1.a", "--into", board)


def test_command_prints_json(study, board):
    (recorded,) = json.loads(run("--record", study, "--into", board, "--json"))
    assert recorded["values"][0]["value"] == -2.5
    everything = json.loads(run("--json", "--into", board))
    assert [row["id"] for row in everything] == [row.id for row in load_rows()]
    assert json.loads(run("--json", "--row", "P4.a", "--into", board))["records"] == [recorded]


def test_command_leaves_errors_to_the_main_group(study, board):
    for arguments, error in (
        (["--row", "P7.a"], UnknownNameError),
        (["--record", str(study), "--row", "P4.a", "--into", str(board)], BadOptionError),
        (["--into", str(board)], BadOptionError),
        (["--record", str(board), "--into", str(board)], BadFileError),
    ):
        assert isinstance(CliRunner().invoke(command, arguments).exception, error)


def test_help_has_examples():
    out = run("--help")
    assert "atomflow published --record runs/P4.a\n" in out
